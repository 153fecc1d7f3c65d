//! What people wish: refresh now, pause, resume; and views that follow their parents.

use tidekeeper_scheduler::{Event, FailureClass, Notice, Origin, StateName, WaitReason};

use crate::core::{Core, plan, view};

fn refresh(name: &str) -> Event {
    Event::Refresh {
        view: name.into(),
        origin: Origin::Manual,
    }
}

fn pause(name: &str) -> Event {
    Event::Pause { view: name.into() }
}

fn resume(name: &str) -> Event {
    Event::Resume { view: name.into() }
}

#[test]
fn a_manual_refresh_goes_at_once() {
    let (mut core, second) = Core::on_its_second_refresh();
    core.finished(second + 3.0, "v", "s2");
    assert_eq!(
        core.give(second + 4.0, refresh("v")),
        ["submit v #3 wait 12s"]
    );
}

#[test]
fn a_manual_refresh_joins_one_in_flight() {
    let (mut core, second) = Core::on_its_second_refresh();
    assert!(core.give(second + 1.0, refresh("v")).is_empty());
    assert!(core.finished(second + 3.0, "v", "s2").is_empty());
}

#[test]
fn a_manual_refresh_goes_to_the_front_of_the_queue() {
    let (mut core, _) = Core::started(1, &[view("a"), view("b"), view("c")]);
    assert!(core.give(1.0, refresh("c")).is_empty());
    assert_eq!(core.finished(3.0, "a", "s"), ["submit c #2 wait 30s"]);
}

#[test]
fn a_manual_refresh_in_the_queue_survives_a_reload() {
    let (mut core, _) = Core::started(1, &[view("a"), view("b")]);
    // `b` has been refreshed and is not due for a while when a person asks for it.
    core.finished(3.0, "a", "s");
    core.finished(6.0, "b", "s");
    core.give(6.5, refresh("a"));
    assert!(core.give(7.0, refresh("b")).is_empty());
    assert!(core.plan(8.0, plan(1, &[view("a"), view("b")])).is_empty());
    assert_eq!(core.finished(9.0, "a", "s"), ["submit b #4 wait 12s"]);
}

#[test]
fn a_manual_refresh_survives_a_throttle() {
    let (mut core, second) = Core::on_its_second_refresh();
    core.finished(second + 3.0, "v", "s2");
    core.give(second + 4.0, refresh("v"));
    assert!(
        core.refused(second + 4.1, "v", FailureClass::Throttled)
            .is_empty()
    );
    let again = core.due();
    assert!(again < second + 5.0, "{again}");
}

#[test]
fn a_paused_view_rests_until_it_is_resumed() {
    let (mut core, second) = Core::on_its_second_refresh();
    core.finished(second + 3.0, "v", "s2");
    assert!(core.give(second + 4.0, pause("v")).is_empty());
    assert_eq!(core.deadline, None);
    assert!(core.pass(second + 4_000.0).is_empty());
    assert_eq!(
        core.give(second + 4_001.0, resume("v")),
        ["submit v #3 wait 12s"]
    );
}

#[test]
fn a_view_paused_in_flight_rests_when_its_statement_has_ended() {
    let (mut core, second) = Core::on_its_second_refresh();
    assert!(core.give(second + 1.0, pause("v")).is_empty());
    assert_eq!(core.state("v"), StateName::Submitting);
    assert!(core.finished(second + 3.0, "v", "s2").is_empty());
    assert_eq!(core.state("v"), StateName::Paused);
}

#[test]
fn a_cycle_that_a_pause_has_touched_does_not_count() {
    for paused_in_flight in [false, true] {
        let (mut core, second) = Core::on_its_second_refresh();
        if paused_in_flight {
            core.give(second + 1.0, pause("v"));
            core.finished(second + 3.0, "v", "s2");
        } else {
            core.finished(second + 3.0, "v", "s2");
            core.give(second + 4.0, pause("v"));
        }
        core.give(second + 4_000.0, resume("v"));
        core.finished(second + 4_003.0, "v", "s3");
        assert_eq!(core.snapshot("v").cycles_missed, 0, "{paused_in_flight}");
    }
}

#[test]
fn a_paused_view_is_refreshed_once_where_a_person_asks() {
    let (mut core, second) = Core::on_its_second_refresh();
    core.finished(second + 3.0, "v", "s2");
    core.give(second + 4.0, pause("v"));
    assert_eq!(
        core.give(second + 5.0, refresh("v")),
        ["submit v #3 wait 12s"]
    );
    core.finished(second + 8.0, "v", "s3");
    assert_eq!(core.state("v"), StateName::Paused);
}

#[test]
fn a_child_goes_after_its_parent_and_never_before() {
    let mut child = view("child");
    child.after = vec!["parent".into()];
    let (mut core, first) = Core::started(4, &[child, view("parent")]);
    assert_eq!(first, ["submit parent #1 wait 30s"]);
    assert_eq!(
        core.snapshot("child").wait.unwrap().reason,
        WaitReason::Parent
    );
    assert_eq!(
        core.finished(3.0, "parent", "s1"),
        ["submit child #2 wait 30s"]
    );
    core.finished(5.0, "child", "s2");
    // Its data is its parent's.
    assert_eq!(
        core.snapshot("child").data_ts,
        core.snapshot("parent").data_ts
    );
    assert_eq!(
        core.snapshot("child").wait.unwrap().reason,
        WaitReason::Parent
    );
}

#[test]
fn observe_mode_reports_and_submits_nothing() {
    let mut seen = view("v");
    seen.mode = tidekeeper_scheduler::Mode::Observe;
    let (mut core, first) = Core::started(4, &[seen]);
    assert!(first.is_empty());
    for _ in 0..5 {
        let due = core.due();
        assert!(core.pass(due).is_empty());
    }
    let would = core.notices.iter();
    let would = would.filter(|notice| matches!(notice, Notice::WouldRefresh { .. }));
    assert_eq!(would.count(), 6);
}
