//! Who goes first, and how many.

use tidekeeper_scheduler::{FailureClass, Priority, Span, WaitReason};

use crate::core::{Core, view};

#[test]
fn least_slack_goes_first_then_priority_then_name() {
    let mut views = vec![view("d"), view("c"), view("b"), view("a")];
    for (view, (target, priority)) in views.iter_mut().zip([
        (30, Priority::Low),
        (60, Priority::Normal),
        (60, Priority::High),
        (60, Priority::Normal),
    ]) {
        view.target_lag = Span::from_secs(target);
        view.priority = priority;
    }
    let (mut core, first) = Core::started_evenly(1, &views);
    assert_eq!(first, ["submit d #1 wait 30s"]);
    assert_eq!(core.finished(3.0, "d", "s"), ["submit b #2 wait 30s"]);
    assert_eq!(core.finished(6.0, "b", "s"), ["submit a #3 wait 30s"]);
    assert_eq!(core.finished(9.0, "a", "s"), ["submit c #4 wait 30s"]);
    assert!(core.finished(12.0, "c", "s").is_empty());
}

#[test]
fn no_more_go_than_there_are_slots_and_the_others_say_why() {
    let (mut core, first) = Core::started_evenly(2, &[view("a"), view("b"), view("c")]);
    assert_eq!(first, ["submit a #1 wait 30s", "submit b #2 wait 30s"]);
    let wait = core.snapshot("c").wait.unwrap();
    assert_eq!(wait.reason, WaitReason::Slots);
    assert!(core.pass(2.0).is_empty());
    assert_eq!(core.finished(3.0, "b", "s"), ["submit c #3 wait 30s"]);
}

#[test]
fn a_spent_budget_defers_and_then_admits() {
    let mut plan = crate::core::plan(50, &[view("a"), view("b"), view("c")]);
    for warehouse in &mut plan.warehouses {
        warehouse.submits_per_second = 2.0;
    }
    let mut core = Core::new();
    core.plan(0.0, plan);
    assert_eq!(
        core.scanned(0.0, Vec::new()),
        ["submit a #1 wait 30s", "submit b #2 wait 30s"]
    );
    assert_eq!(core.snapshot("c").wait.unwrap().reason, WaitReason::ApiRate);
    assert!((core.due() - 0.5).abs() < 1e-4, "{}", core.due());
    let due = core.due();
    assert_eq!(core.pass(due), ["submit c #3 wait 30s"]);
}

#[test]
fn a_throttled_submit_is_requeued_and_the_budget_is_cut() {
    let mut plan = crate::core::plan(50, &[view("a"), view("b")]);
    for warehouse in &mut plan.warehouses {
        warehouse.submits_per_second = 2.0;
    }
    let mut core = Core::new();
    core.plan(0.0, plan);
    core.scanned(0.0, Vec::new());
    assert!(core.refused(0.1, "a", FailureClass::Throttled).is_empty());
    let snapshot = core.snapshot("a");
    assert_eq!(snapshot.failures_in_a_row, 0);
    assert_eq!(snapshot.wait.unwrap().reason, WaitReason::Backoff);
    // Its backoff is 0.25 s at most, but the bucket was emptied and fills at 0.7 of the rate.
    let mut submits = Vec::new();
    let mut now = 0.1;
    while submits.is_empty() {
        now = core.due();
        submits = core.pass(now);
    }
    assert_eq!(submits, ["submit a #3 wait 30s"]);
    assert!((0.65..0.85).contains(&now), "{now}");
}

#[test]
fn too_many_statements_cost_slots() {
    let views: Vec<_> = (0..10).map(|i| view(&format!("v{i}"))).collect();
    let (mut core, first) = Core::started(10, &views);
    assert_eq!(first.len(), 10);
    core.refused(0.1, "v0", FailureClass::TooManyStatements);
    let snapshot = core.scheduler.snapshot();
    let slots: Vec<_> = snapshot.warehouses.iter().map(|w| w.slots).collect();
    assert_eq!(slots, [7]);
    // Nine are in flight: nobody goes before three of them have ended.
    let due = core.due();
    assert!(core.pass(due).is_empty());
    assert_eq!(core.snapshot("v0").wait.unwrap().reason, WaitReason::Slots);
    assert!(core.finished(3.0, "v1", "s").is_empty());
    assert!(core.finished(3.0, "v2", "s").is_empty());
    assert_eq!(core.finished(3.0, "v3", "s"), ["submit v0 #11 wait 30s"]);
}
