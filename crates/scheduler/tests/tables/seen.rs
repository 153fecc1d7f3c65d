//! Views whose arrivals are probed, catch-ups, and streams that forget.

use tidekeeper_scheduler::{
    Event, Mode, Notice, Outcome, Seen, Span, StatementStatus, ViewSpec, WaitReason,
};

use crate::core::{Core, at, view};

fn probed() -> ViewSpec {
    let mut view = view("v");
    view.probe_every = Some(Span::from_secs(5));
    view
}

fn sees(core: &mut Core, seconds: f64, oldest: Option<f64>) -> Vec<String> {
    let seen = Seen {
        at: at(seconds),
        oldest: oldest.map(at),
        bytes: None,
    };
    let view = "v".into();
    core.give(seconds, Event::Probed { view, seen })
}

fn quiet_after_its_first_refresh() -> Core {
    // Without the jitter of the second refresh.
    let (mut core, _) = Core::started_evenly(4, &[probed()]);
    core.finished(3.0, "v", "s1");
    assert!(sees(&mut core, 4.0, None).is_empty());
    core
}

#[test]
fn while_nothing_is_unread_nothing_is_refreshed() {
    let mut core = quiet_after_its_first_refresh();
    for second in 1..2_000 {
        let now = f64::from(second) * 5.0;
        assert!(core.pass(now).is_empty());
        assert!(sees(&mut core, now, None).is_empty());
    }
    let wait = core.snapshot("v").wait.unwrap();
    assert_eq!(wait.reason, WaitReason::Quiet);
    assert_eq!(core.snapshot("v").data_ts, Some(at(9_995.0)));
}

#[test]
fn the_clock_starts_with_the_oldest_unread_record() {
    let mut core = quiet_after_its_first_refresh();
    for second in (9..3_999).step_by(5) {
        sees(&mut core, f64::from(second), None);
    }
    assert!(sees(&mut core, 4_004.0, Some(4_001.0)).is_empty());
    // 4001 + 60 − 3·2: the target after the record came, less a refresh with its margin.
    let least = 4_001.0 + 60.0 - 6.0;
    for second in [4_009.0, 4_014.0, 4_019.0, 4_024.0, 4_029.0, 4_034.0] {
        assert!(sees(&mut core, second, Some(4_001.0)).is_empty());
    }
    for second in [4_039.0, 4_044.0, 4_049.0, 4_054.0] {
        assert!(sees(&mut core, second, Some(4_001.0)).is_empty());
    }
    assert!((core.due() - least).abs() < 1e-3, "{}", core.due());
    assert_eq!(core.pass(least + 0.001).len(), 1);
}

#[test]
fn what_a_probe_told_of_an_earlier_position_is_read_by_the_refresh_that_had_ended() {
    let mut core = quiet_after_its_first_refresh();
    sees(&mut core, 9.0, Some(8.0));
    for second in (14..60).step_by(5) {
        sees(&mut core, f64::from(second), Some(8.0));
    }
    assert_eq!(core.pass(62.5), ["submit v #2 wait 12s"]);
    // It ends at 64; at 65 the probe still looks from where the view was before.
    sees(&mut core, 65.0, Some(8.0));
    let finished = StatementStatus::Finished {
        at: Some(at(64.0)),
        outcome: Outcome::Data,
    };
    assert!(core.accepted(66.0, "v", "s2", finished).is_empty());
    assert!(core.pass(67.0).is_empty());
    assert!(core.due() > 67.0, "{}", core.due());
}

#[test]
fn a_probe_that_falls_silent_is_believed_for_three_periods() {
    let mut core = quiet_after_its_first_refresh();
    for second in (9..104).step_by(5) {
        sees(&mut core, f64::from(second), None);
    }
    // The last was at 99: believed until 114, then blind from what it proved.
    assert!((core.due() - 114.0).abs() < 1e-6, "{}", core.due());
    assert!(core.pass(114.0).is_empty());
    // 99 + 60 − 3·2.
    let due = core.due();
    assert!((due - 153.0).abs() < 1e-3, "{due}");
    assert_eq!(core.pass(due + 0.001).len(), 1);
}

#[test]
fn more_data_is_fetched_at_once_and_holds_only_what_was_read() {
    let (mut core, _) = Core::started(4, &[view("v")]);
    let more = StatementStatus::Finished {
        at: Some(at(30.0)),
        outcome: Outcome::MoreData {
            up_to: Some(at(-500.0)),
        },
    };
    assert_eq!(
        core.accepted(30.0, "v", "s1", more),
        ["submit v #2 wait 30s"]
    );
    assert_eq!(core.snapshot("v").data_ts, Some(at(-500.0)));
    assert!(core.finished(60.0, "v", "s2").is_empty());
    assert_eq!(core.snapshot("v").data_ts, Some(at(30.0)));
}

#[test]
fn catching_up_takes_a_third_of_the_slots_and_waits_quietly_for_them() {
    let (mut core, _) = Core::started(3, &[view("a"), view("b"), view("c")]);
    let more = |seconds: f64| StatementStatus::Finished {
        at: Some(at(seconds)),
        outcome: Outcome::MoreData { up_to: None },
    };
    assert_eq!(core.accepted(5.0, "a", "s1", more(5.0)).len(), 1);
    assert!(core.accepted(6.0, "b", "s2", more(6.0)).is_empty());
    assert!(core.finished(7.0, "c", "s3").is_empty());
    assert_eq!(core.snapshot("b").wait.unwrap().reason, WaitReason::Slots);
    assert!(core.due() > 7.0, "a hot loop until {}", core.due());
    assert_eq!(core.finished(9.0, "a", "s4"), ["submit b #5 wait 30s"]);
}

#[test]
fn between_a_refresh_and_the_next_probe_nothing_is_known_to_be_unread() {
    let mut core = quiet_after_its_first_refresh();
    for second in (9..60).step_by(5) {
        sees(&mut core, f64::from(second), Some(8.5));
    }
    let age = |core: &Core, seconds: f64| {
        let unread = core.snapshot("v").unread;
        unread.map(|unread| unread.age(at(seconds)).as_secs_f64())
    };
    assert_eq!(core.pass(62.6), ["submit v #2 wait 12s"]);
    assert_eq!(age(&core, 62.6), Some(54.1), "not visible yet");
    core.finished(64.0, "v", "s2");
    assert_eq!(age(&core, 64.0), Some(0.0));
    core.pass(75.0);
    assert_eq!(age(&core, 75.0), None, "no probe has told for too long");
}

#[test]
fn what_a_probe_told_of_while_a_refresh_ran_is_known_after_it() {
    let mut core = quiet_after_its_first_refresh();
    for second in (9..60).step_by(5) {
        sees(&mut core, f64::from(second), Some(8.5));
    }
    assert_eq!(core.pass(62.6), ["submit v #2 wait 12s"]);
    sees(&mut core, 70.0, Some(8.5));
    core.finished(72.0, "v", "s2");
    assert_eq!(
        core.snapshot("v").unread,
        None,
        "what was seen at 70 may be unread"
    );
    // From its new position: it began at 62.6, and something has come since.
    let view = "v".into();
    let seen = Seen {
        at: at(70.0),
        oldest: Some(at(63.0)),
        bytes: None,
    };
    core.give(72.1, Event::Probed { view, seen });
    let unread = core.snapshot("v").unread.unwrap();
    assert!((unread.age(at(72.1)).as_secs_f64() - 9.1).abs() < 1e-6);
}

#[test]
fn a_probe_that_saw_nothing_does_not_stop_a_catch_up() {
    let mut core = quiet_after_its_first_refresh();
    sees(&mut core, 9.0, Some(8.5));
    for second in (14..60).step_by(5) {
        sees(&mut core, f64::from(second), Some(8.5));
    }
    assert_eq!(core.pass(62.5), ["submit v #2 wait 12s"]);
    sees(&mut core, 64.0, None);
    let more = StatementStatus::Finished {
        at: Some(at(64.5)),
        outcome: Outcome::MoreData {
            up_to: Some(at(8.7)),
        },
    };
    assert_eq!(
        core.accepted(65.0, "v", "s2", more),
        ["submit v #3 wait 12s"]
    );
}

#[test]
fn a_stream_that_never_rests_is_not_caught_up_with_for_ever() {
    let (mut core, _) = Core::started_evenly(4, &[view("v")]);
    let mut now = 0.0;
    for number in 2..=4 {
        now += 5.0;
        let more = StatementStatus::Finished {
            at: Some(at(now)),
            outcome: Outcome::MoreData {
                up_to: Some(at(now - 5.5)),
            },
        };
        let next = core.accepted(now, "v", "s", more);
        assert_eq!(next, [format!("submit v #{number} wait 30s")]);
    }
    let more = StatementStatus::Finished {
        at: Some(at(20.0)),
        outcome: Outcome::MoreData {
            up_to: Some(at(14.5)),
        },
    };
    assert!(core.accepted(20.0, "v", "s", more).is_empty());
    assert!(core.due() > 30.0, "{}", core.due());
}

#[test]
fn a_backlog_is_caught_up_with_back_to_back_as_long_as_there_is_headway() {
    for (headway, at_once) in [(true, true), (false, false)] {
        let (mut core, _) = Core::started_evenly(4, &[view("v")]);
        let mut now = 0.0;
        for number in 2..=10 {
            now += 1.5;
            let read = if headway {
                f64::from(number) * 100.0
            } else {
                0.0
            };
            let more = StatementStatus::Finished {
                at: Some(at(now)),
                outcome: Outcome::MoreData {
                    up_to: Some(at(-3_600.0 + read)),
                },
            };
            let mut next = core.accepted(now, "v", "s", more);
            if next.is_empty() {
                now += 0.5;
                next = core.pass(now);
            }
            assert_eq!(next.len(), 1, "{number}: {next:?}");
        }
        assert_eq!((now - 13.5).abs() < 1e-6, at_once, "{now}");
    }
}

#[test]
fn a_view_that_is_only_observed_is_told_of_once_not_at_every_probe() {
    let mut observed = probed();
    observed.mode = Mode::Observe;
    let (mut core, _) = Core::started_evenly(4, &[observed]);
    for second in (5..40).step_by(5) {
        sees(&mut core, f64::from(second), Some(1.0));
    }
    let told = |notice: &&Notice| matches!(notice, Notice::WouldRefresh { .. });
    assert_eq!(core.notices.iter().filter(told).count(), 1);
}
