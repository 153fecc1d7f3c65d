//! Failures: what is tried again, what is not, and what is learned from neither.

use tidekeeper_scheduler::{Event, FailureClass, Notice, StateName, StatementStatus};

use crate::core::{Core, failure, view};

fn failed(class: FailureClass) -> StatementStatus {
    StatementStatus::Failed(failure(class))
}

#[test]
fn the_second_identical_permanent_error_suspends_and_a_probe_comes_after_15_min() {
    let (mut core, _) = Core::started(4, &[view("v")]);
    let permanent = failed(FailureClass::Permanent);
    assert!(core.accepted(1.0, "v", "s1", permanent.clone()).is_empty());
    assert_eq!(core.state("v"), StateName::Waiting);
    let again = core.due();
    assert!((16.0..=31.0).contains(&again), "{again}");
    assert_eq!(core.pass(again), ["submit v #2 wait 30s"]);
    assert!(
        core.accepted(again, "v", "s2", permanent.clone())
            .is_empty()
    );
    assert_eq!(core.state("v"), StateName::Suspended);
    assert!((core.due() - again - 900.0).abs() < 1e-6);
    let probe = core.due();
    assert_eq!(core.pass(probe), ["submit v #3 wait 30s"]);
    assert!(core.accepted(probe, "v", "s3", permanent).is_empty());
    assert!((core.due() - probe - 1_800.0).abs() < 1e-6);
    let suspensions = core.notices.iter();
    let suspensions = suspensions.filter(|notice| matches!(notice, Notice::Suspended { .. }));
    assert_eq!(suspensions.count(), 1);
}

#[test]
fn a_probe_that_succeeds_ends_the_suspension() {
    let (mut core, _) = Core::started(4, &[view("v")]);
    for statement in ["s1", "s2"] {
        let permanent = failed(FailureClass::Permanent);
        let now = core.scheduler.snapshot().at.as_secs_f64();
        core.accepted(now, "v", statement, permanent);
        let due = core.due();
        core.pass(due);
    }
    let probe = core.scheduler.snapshot().at.as_secs_f64();
    assert!(core.finished(probe + 3.0, "v", "s3").is_empty());
    assert_eq!(core.state("v"), StateName::Waiting);
    assert!(
        core.notices
            .iter()
            .any(|n| matches!(n, Notice::Resumed { .. }))
    );
}

#[test]
fn a_person_may_end_a_suspension() {
    let (mut core, _) = Core::started(4, &[view("v")]);
    core.accepted(1.0, "v", "s1", failed(FailureClass::Permanent));
    let again = core.due();
    core.pass(again);
    core.accepted(again, "v", "s2", failed(FailureClass::Permanent));
    let view = "v".into();
    assert_eq!(
        core.give(again + 1.0, Event::Resume { view }),
        ["submit v #3 wait 30s"]
    );
}

#[test]
fn data_never_moves_on_a_failure() {
    let (mut core, second) = Core::on_its_second_refresh();
    let before = core.snapshot("v").data_ts;
    core.accepted(second + 1.0, "v", "s2", failed(FailureClass::Transient));
    assert_eq!(core.snapshot("v").data_ts, before);
    assert_eq!(core.snapshot("v").failures_in_a_row, 1);
}

#[test]
fn transient_errors_wait_half_the_target_at_most_and_suspend_at_the_fifth_in_a_row() {
    let (mut core, _) = Core::started(4, &[view("v")]);
    let mut now = 0.5;
    for attempt in 1..5 {
        // Whatever they say.
        let words = ["lock", "serialization", "connection", "internal"];
        let word = words.get(attempt - 1).unwrap();
        let transient = tidekeeper_scheduler::Failure::new(FailureClass::Transient, word);
        core.accepted(now, "v", "s", StatementStatus::Failed(transient));
        let due = core.due();
        assert!(due - now <= 30.0 && due > now, "{due}");
        assert_eq!(core.pass(due).len(), 1);
        now = due;
    }
    core.accepted(now, "v", "s", failed(FailureClass::Transient));
    assert_eq!(core.state("v"), StateName::Suspended);
}

#[test]
fn throttles_are_not_held_against_the_view() {
    let (mut core, _) = Core::started(4, &[view("v")]);
    for _ in 0..40 {
        let now = core.scheduler.snapshot().at.as_secs_f64();
        core.refused(now, "v", FailureClass::Throttled);
        while core.state("v") != StateName::Submitting {
            let due = core.due();
            core.pass(due);
        }
    }
    assert_eq!(core.snapshot("v").failures_in_a_row, 0);
    assert!(
        !core
            .notices
            .iter()
            .any(|n| matches!(n, Notice::Suspended { .. }))
    );
}
