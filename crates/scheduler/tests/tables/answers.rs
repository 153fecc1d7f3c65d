//! From a submit to the end of its statement.

use tidekeeper_scheduler::{
    DescribeAnswer, Event, FailureClass, Notice, ResolveAnswer, Span, StateName, StatementStatus,
    StatementTimeout, SubmitAnswer,
};

use crate::core::{Core, at, done, failure, view};

const RUNNING: StatementStatus = StatementStatus::Running;

#[test]
fn a_long_poll_that_ends_first_is_followed_by_another() {
    let (mut core, _) = Core::started(4, &[view("v")]);
    assert_eq!(core.running(30.0, "v", "s1"), ["describe v #1 s1 wait 30s"]);
    assert_eq!(
        core.status(60.0, "v", RUNNING),
        ["describe v #1 s1 wait 30s"]
    );
    // It took longer than the target: the next one is due at once.
    assert_eq!(core.status(75.0, "v", done(74.5)), ["submit v #2 wait 30s"]);
    let snapshot = core.snapshot("v");
    assert_eq!(snapshot.data_ts, Some(at(0.0)));
    assert_eq!(snapshot.last_duration, Some(Span::from_secs_f64(74.5)));
}

#[test]
fn where_waits_are_ignored_describes_begin_at_four_fifths_of_the_expectation() {
    let (mut core, second) = Core::on_its_second_refresh();
    // Asked to wait 12 s, answered after 0.1 s: waits are ignored here.
    assert!(core.running(second + 0.1, "v", "s2").is_empty());
    assert!((core.due() - second - 2.4).abs() < 1e-6, "{}", core.due());
    let first = core.due();
    assert_eq!(core.pass(first), ["describe v #2 s2 wait 0s"]);
    assert!(core.status(first + 0.1, "v", RUNNING).is_empty());
    // Then every max(0.5 s, 0.1·d̂).
    assert!((core.due() - first - 0.6).abs() < 1e-6, "{}", core.due());
    let next = core.due();
    assert_eq!(core.pass(next), ["describe v #2 s2 wait 0s"]);
    assert!(core.status(next + 0.1, "v", done(second + 3.0)).is_empty());
    assert_eq!(core.snapshot("v").last_duration, Some(Span::from_secs(3)));
}

#[test]
fn a_lost_answer_is_resolved_and_the_statement_found_is_followed() {
    let (mut core, _) = Core::started(4, &[view("v")]);
    assert!(core.lost(1.0, "v").is_empty());
    assert_eq!(core.state("v"), StateName::Unsure);
    assert!((core.due() - 1.5).abs() < 1e-9, "{}", core.due());
    assert_eq!(core.pass(1.5), ["resolve v #1"]);
    let statement = "s1".into();
    assert_eq!(
        core.resolved(1.6, "v", ResolveAnswer::Found { statement }),
        ["describe v #1 s1 wait 30s"]
    );
    assert!(core.status(4.0, "v", done(3.0)).is_empty());
    assert_eq!(core.snapshot("v").data_ts, Some(at(0.0)));
}

#[test]
fn a_submit_that_does_not_run_is_repeated_under_its_own_name() {
    let (mut core, _) = Core::started(4, &[view("v")]);
    core.lost(1.0, "v");
    core.pass(1.5);
    assert_eq!(
        core.resolved(1.6, "v", ResolveAnswer::NotRunning),
        ["submit v #1 wait 30s"]
    );
    // It had run and ended: the token tells.
    assert!(core.finished(1.7, "v", "s1").is_empty());
    assert_eq!(core.snapshot("v").refreshes, 1);
    assert_eq!(core.snapshot("v").data_ts, Some(at(0.0)));
}

#[test]
fn a_look_up_that_fails_is_repeated_within_half_the_target_lag() {
    for (target, most) in [(6, 3.0), (3600, 30.0)] {
        let mut hasty = view("v");
        hasty.target_lag = Span::from_secs(target);
        let (mut core, _) = Core::started(4, &[hasty]);
        core.lost(1.0, "v");
        let (mut now, mut longest) = (1.5, 0.0_f64);
        assert_eq!(core.pass(now), ["resolve v #1"]);
        for _ in 0..20 {
            let failed = ResolveAnswer::CallFailed(failure(FailureClass::Throttled));
            assert!(core.resolved(now, "v", failed).is_empty());
            let again = core.due();
            longest = longest.max(again - now);
            assert_eq!(core.pass(again), ["resolve v #1"]);
            now = again;
        }
        let jitter = longest / most;
        assert!((0.75..=1.25).contains(&jitter), "{target}: {longest}");
    }
}

#[test]
fn a_question_that_fails_is_asked_again_and_the_statement_is_not_abandoned() {
    let (mut core, _) = Core::started(4, &[view("v")]);
    core.running(30.0, "v", "s1");
    let mut now = 30.0;
    for _ in 0..20 {
        let failed = DescribeAnswer::CallFailed(failure(FailureClass::Throttled));
        assert!(core.described(now, "v", failed).is_empty());
        let again = core.due();
        assert!((again - now) > 0.3 && (again - now) < 13.0, "{again}");
        assert_eq!(core.pass(again), ["describe v #1 s1 wait 30s"]);
        now = again;
    }
    assert_eq!(
        core.status(now + 1.0, "v", done(now)),
        ["submit v #2 wait 30s"]
    );
    assert_eq!(core.snapshot("v").refreshes, 1);
}

#[test]
fn a_statement_that_runs_too_long_is_cancelled_and_confirmed_dead() {
    let mut slow = view("v");
    slow.timeout = StatementTimeout::Stated(Span::from_secs(40));
    let (mut core, _) = Core::started(4, &[slow]);
    assert_eq!(core.running(30.0, "v", "s1"), ["describe v #1 s1 wait 10s"]);
    assert!((core.due() - 40.0).abs() < 1e-9);
    assert_eq!(core.pass(40.0), ["cancel v #1 s1"]);
    assert_eq!(core.state("v"), StateName::Cancelling);
    // The long poll that was still open ends; the cancel is on its way.
    assert!(core.status(40.1, "v", RUNNING).is_empty());
    assert_eq!(
        core.cancelled(40.2, "v", Ok(())),
        ["describe v #1 s1 wait 5s"]
    );
    assert_eq!(core.state("v"), StateName::Cancelling);
    let aborted = StatementStatus::Failed(failure(FailureClass::Cancelled));
    assert!(core.status(40.3, "v", aborted).is_empty());
    let failed = core.snapshot("v").last_failure.unwrap();
    assert_eq!(failed.class, FailureClass::TimedOut);
    // Backed off, with twice the time.
    let again = core.due();
    assert!(again < 41.4, "{again}");
    assert_eq!(core.pass(again), ["submit v #2 wait 30s"]);
    core.running(again + 30.0, "v", "s2");
    assert!((core.due() - again - 80.0).abs() < 1e-6, "{}", core.due());
}

#[test]
fn a_cancel_that_is_declined_is_followed_by_a_look() {
    let mut slow = view("v");
    slow.timeout = StatementTimeout::Stated(Span::from_secs(40));
    let (mut core, _) = Core::started(4, &[slow]);
    core.running(30.0, "v", "s1");
    core.status(39.9, "v", RUNNING);
    assert_eq!(core.pass(40.0), ["cancel v #1 s1"]);
    core.status(40.9, "v", RUNNING);
    let declined = Err(failure(FailureClass::Unknown));
    assert!(core.cancelled(40.9, "v", declined).is_empty());
    let look = core.due();
    assert!((41.6..42.2).contains(&look), "{look}");
    assert_eq!(core.pass(look), ["describe v #1 s1 wait 5s"]);
    core.status(look, "v", done(40.15));
    assert_eq!(core.snapshot("v").refreshes, 1);
}

#[test]
fn answers_to_attempts_that_are_no_more_are_dropped_and_counted() {
    let (mut core, second) = Core::on_its_second_refresh();
    let old = core.attempt("v");
    core.finished(second + 3.0, "v", "s2");
    let answers = [
        Event::Submitted {
            attempt: old,
            answer: SubmitAnswer::Accepted {
                statement: "s2".into(),
                status: done(second + 3.0),
            },
        },
        Event::Described {
            attempt: old,
            answer: DescribeAnswer::Status(RUNNING),
        },
        Event::Cancelled {
            attempt: old,
            result: Ok(()),
        },
        Event::Resolved {
            attempt: old,
            answer: ResolveAnswer::NotRunning,
        },
    ];
    let before = core.snapshot("v");
    for (number, answer) in answers.into_iter().enumerate() {
        assert!(core.give(second + 3.0, answer).is_empty());
        assert_eq!(core.scheduler.stale_events(), number as u64 + 1);
        assert_eq!(core.notices.last(), Some(&Notice::Stale { attempt: old }));
    }
    assert_eq!(core.snapshot("v"), before);
}

#[test]
fn a_statement_that_is_too_old_to_be_known_is_a_failure_and_the_view_goes_on() {
    let (mut core, _) = Core::started(4, &[view("v")]);
    core.running(30.0, "v", "s1");
    let gone = DescribeAnswer::Gone(failure(FailureClass::Unknown));
    assert!(core.described(31.0, "v", gone).is_empty());
    assert_eq!(core.snapshot("v").data_ts, None);
    let again = core.due();
    assert_eq!(core.pass(again), ["submit v #2 wait 30s"]);
}

#[test]
fn a_time_out_counts_as_late() {
    let mut slow = view("v");
    slow.timeout = StatementTimeout::Stated(Span::from_secs(40));
    let (mut core, _) = Core::started_evenly(4, &[slow]);
    core.finished(3.0, "v", "s1");
    let second = core.due();
    core.pass(second);
    core.running(second + 12.0, "v", "s2");
    assert_eq!(core.pass(second + 40.0), ["cancel v #2 s2"]);
    core.cancelled(second + 40.1, "v", Ok(()));
    let aborted = StatementStatus::Failed(failure(FailureClass::Cancelled));
    core.status(second + 40.2, "v", aborted);
    let snapshot = core.snapshot("v");
    assert_eq!((snapshot.judged_refreshes, snapshot.late_refreshes), (1, 1));
    assert!(snapshot.margin > 2.0, "{}", snapshot.margin);
}
