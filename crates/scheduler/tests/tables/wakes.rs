//! How long a warehouse is awake on the daemon's account.

use tidekeeper_scheduler::{
    Awake, Billing, Event, FailureClass, Origin, Outcomes, Plan, Span, ViewSpec,
};

use crate::core::{Core, even, found, plan, view};

fn awake(core: &Core) -> Option<Awake> {
    let warehouses = core.scheduler.snapshot().warehouses;
    warehouses.first().unwrap().awake
}

/// Total and, while awake, until when, in seconds.
fn seconds(core: &Core) -> (f64, Option<f64>) {
    let awake = awake(core).unwrap();
    let until = awake.until.map(|until| until.as_secs_f64());
    (awake.total.as_secs_f64(), until)
}

fn hourly(name: &str) -> ViewSpec {
    ViewSpec {
        target_lag: Span::from_secs(3_600),
        ..view(name)
    }
}

fn opened(plan: Plan) -> Core {
    let mut core = Core::new();
    core.plan(0.0, plan);
    core.scanned(0.0, Vec::new());
    core
}

#[test]
fn a_short_refresh_keeps_it_awake_for_the_minimum_and_counts_as_time_passes() {
    let mut core = opened(even(4, &[hourly("v")]));
    assert_eq!(seconds(&core), (0.0, Some(60.0)));
    core.finished(3.0, "v", "s1");
    assert_eq!(seconds(&core), (3.0, Some(60.0)));
    core.pass(30.0);
    assert_eq!(seconds(&core), (30.0, Some(60.0)));
    core.pass(100.0);
    assert_eq!(seconds(&core), (60.0, None));
}

#[test]
fn a_long_refresh_keeps_it_awake_until_it_ends() {
    let mut core = opened(even(4, &[hourly("v")]));
    core.running(12.0, "v", "s1");
    core.pass(90.0);
    assert_eq!(seconds(&core), (90.0, Some(90.0)));
    core.status(95.0, "v", crate::core::done(95.0));
    core.pass(300.0);
    assert_eq!(seconds(&core), (95.0, None));
}

#[test]
fn statements_that_overlap_share_a_wake_up() {
    let mut core = opened(even(4, &[hourly("a"), hourly("b")]));
    core.running(12.0, "b", "s2");
    core.finished(50.0, "a", "s1");
    core.status(70.0, "b", crate::core::done(70.0));
    core.pass(600.0);
    assert_eq!(seconds(&core), (70.0, None));
}

#[test]
fn a_statement_late_in_a_paid_minute_is_counted_with_a_minute_of_its_own() {
    let mut core = opened(even(4, &[hourly("v")]));
    core.finished(3.0, "v", "s1");
    let (view, origin) = ("v".into(), Origin::Manual);
    let submit = core.give(50.0, Event::Refresh { view, origin });
    assert_eq!(submit.len(), 1, "{submit:?}");
    core.finished(53.0, "v", "s2");
    assert_eq!(seconds(&core), (53.0, Some(110.0)));
    core.pass(600.0);
    assert_eq!(seconds(&core), (110.0, None));
}

#[test]
fn the_minimum_is_the_operators() {
    let mut plan = even(4, &[hourly("v")]);
    plan.warehouses[0].wake_minimum = Span::from_secs(6);
    let mut core = opened(plan);
    core.finished(1.0, "v", "s1");
    core.pass(600.0);
    assert_eq!(seconds(&core), (6.0, None));
}

#[test]
fn a_refused_submit_wakes_nothing() {
    let mut core = opened(even(4, &[hourly("v")]));
    core.refused(0.5, "v", FailureClass::Unreachable);
    assert_eq!(seconds(&core), (0.5, None));
}

#[test]
fn a_failed_refresh_is_paid_for_like_any_other() {
    let mut core = opened(even(4, &[hourly("v")]));
    core.running(12.0, "v", "s1");
    core.pass(61.0);
    let failed = tidekeeper_scheduler::StatementStatus::Failed(crate::core::failure(
        FailureClass::Transient,
    ));
    core.status(80.0, "v", failed);
    assert_eq!(awake(&core).unwrap().total, Span::from_secs(80));
}

#[test]
fn an_adopted_statement_keeps_it_awake_but_its_past_is_an_earlier_lifes() {
    let mut core = Core::new();
    core.plan(100.0, even(4, &[hourly("v")]));
    core.scanned(100.0, vec![found("v", "s0", 90.0)]);
    assert_eq!(seconds(&core), (0.0, Some(150.0)));
}

#[test]
fn a_day_is_remembered_and_what_came_before_is_not() {
    let mut core = opened(even(4, &[hourly("v")]));
    core.finished(3.0, "v", "s1");
    let mut refreshes = 1;
    while refreshes < 40 {
        let due = core.due();
        if core.pass(due).iter().any(|line| line.starts_with("submit")) {
            refreshes += 1;
            core.finished(due + 3.0, "v", &format!("s{refreshes}"));
        }
    }
    let awake = awake(&core).unwrap();
    assert_eq!(awake.day, Span::from_secs(86_400));
    assert!(awake.total > awake.in_day, "{awake:?}");
    // About one wake-up an hour, of a minute each.
    let minutes = awake.in_day.as_secs_f64() / 60.0;
    assert!((23.0..27.0).contains(&minutes), "{awake:?}");
}

#[test]
fn only_what_is_billed_while_awake_is_counted() {
    let core = opened(plan(4, &[hourly("v")]));
    assert_eq!(awake(&core), None);
}

#[test]
fn a_look_at_the_records_keeps_it_awake_like_any_statement() {
    let mut plan = even(4, &[hourly("v")]);
    for warehouse in &mut plan.warehouses {
        assert_eq!(warehouse.billing, Billing::Serverless);
        warehouse.outcomes = Outcomes::Sampled;
    }
    let mut core = Core::new();
    core.plan(0.0, plan);
    assert_eq!(core.scanned(0.0, Vec::new()), ["sweep wh since -86400 []"]);
    assert_eq!(seconds(&core), (0.0, Some(60.0)));
}
