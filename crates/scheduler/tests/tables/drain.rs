//! Shutdown.

use tidekeeper_scheduler::{DescribeAnswer, Event, Notice, ResolveAnswer, StatementStatus};

use crate::core::{Core, at, done, view};

fn shutdown(until: f64) -> Event {
    Event::Shutdown { until: at(until) }
}

#[test]
fn a_drain_waits_for_what_is_in_flight_and_begins_nothing() {
    let (mut core, _) = Core::started(1, &[view("a"), view("b")]);
    assert!(core.give(1.0, shutdown(31.0)).is_empty());
    assert!(!core.stopped);
    assert!(core.finished(3.0, "a", "s").is_empty());
    assert!(core.stopped);
}

#[test]
fn an_idle_scheduler_stops_at_once() {
    let (mut core, second) = Core::on_its_second_refresh();
    core.finished(second + 3.0, "v", "s2");
    assert!(core.give(second + 4.0, shutdown(second + 34.0)).is_empty());
    assert!(core.stopped);
}

#[test]
fn long_polls_of_a_drain_end_within_its_budget() {
    let (mut core, _) = Core::started(4, &[view("v")]);
    core.give(25.0, shutdown(40.0));
    assert_eq!(core.running(30.0, "v", "s1"), ["describe v #1 s1 wait 10s"]);
}

#[test]
fn what_still_runs_when_the_budget_ends_is_left_to_be_adopted() {
    let (mut core, _) = Core::started(4, &[view("v")]);
    core.running(30.0, "v", "s1");
    core.give(31.0, shutdown(40.0));
    assert!(core.pass(39.9).is_empty());
    assert!(!core.stopped);
    assert!(core.pass(40.0).is_empty());
    assert!(core.stopped);
    let left = core.notices.iter();
    let left = left.filter(|notice| matches!(notice, Notice::LeftRunning { .. }));
    assert_eq!(left.count(), 1);
}

#[test]
fn after_it_has_stopped_nothing_ever_comes_again() {
    let (mut core, _) = Core::started(4, &[view("v"), view("w")]);
    core.running(30.0, "v", "s1");
    core.give(31.0, shutdown(40.0));
    core.pass(40.0);
    assert!(core.stopped);
    let notices = core.notices.len();
    let running = DescribeAnswer::Status(StatementStatus::Running);
    assert!(core.described(41.0, "v", running).is_empty());
    assert!(core.finished(42.0, "w", "s2").is_empty());
    assert!(core.pass(90_000.0).is_empty());
    assert_eq!(core.notices.len(), notices);
}

#[test]
fn a_second_shutdown_may_only_shorten_the_budget() {
    let (mut core, _) = Core::started(4, &[view("v")]);
    core.give(1.0, shutdown(31.0));
    core.give(2.0, shutdown(60.0));
    assert!((core.due() - 31.0).abs() < 1e-9);
    core.give(3.0, shutdown(3.0));
    assert!(core.stopped);
}

#[test]
fn a_lost_submit_is_resolved_in_a_drain_and_not_repeated() {
    let (mut core, _) = Core::started(4, &[view("v")]);
    core.give(1.0, shutdown(31.0));
    assert!(core.lost(2.0, "v").is_empty());
    assert_eq!(core.pass(2.5), ["resolve v #1"]);
    assert!(
        core.resolved(2.6, "v", ResolveAnswer::NotRunning)
            .is_empty()
    );
    assert!(core.stopped);
}

#[test]
fn a_success_in_a_drain_counts() {
    let (mut core, _) = Core::started(4, &[view("v")]);
    core.running(30.0, "v", "s1");
    core.give(31.0, shutdown(60.0));
    assert!(core.status(35.0, "v", done(34.0)).is_empty());
    assert!(core.stopped);
    assert_eq!(core.snapshot("v").refreshes, 1);
}
