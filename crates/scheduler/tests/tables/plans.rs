//! Reloads and adoption: what is kept, what ends, what is taken over.

use std::collections::BTreeMap;

use tidekeeper_scheduler::{Event, FailureClass, Notice, Phase, Span, StateName, WhileClosed};

use crate::core::{Core, at, done, even, found, plan, view};

#[test]
fn an_identical_reload_changes_nothing() {
    let (mut core, second) = Core::on_its_second_refresh();
    core.finished(second + 3.0, "v", "s2");
    let (before, due) = (core.snapshot("v"), core.due());
    assert!(core.plan(second + 4.0, plan(4, &[view("v")])).is_empty());
    assert_eq!(core.snapshot("v"), before);
    assert!((core.due() - due).abs() < 1e-9);
}

#[test]
fn a_shorter_target_keeps_what_was_learned() {
    let (mut core, second) = Core::on_its_second_refresh();
    core.finished(second + 3.0, "v", "s2");
    let mut hasty = view("v");
    hasty.target_lag = Span::from_secs(30);
    let due = core.due();
    assert!(core.plan(second + 4.0, plan(4, &[hasty])).is_empty());
    assert!((due - core.due() - 30.0).abs() < 1e-6);
    assert_eq!(core.snapshot("v").refreshes, 2);
}

#[test]
fn a_removed_view_in_flight_is_awaited() {
    let (mut core, _) = Core::started(4, &[view("v"), view("w")]);
    assert!(core.plan(1.0, plan(4, &[view("w")])).is_empty());
    assert_eq!(core.state("v"), StateName::Submitting);
    assert_eq!(core.running(30.0, "v", "s1"), ["describe v #1 s1 wait 30s"]);
    assert!(core.status(40.0, "v", done(39.0)).is_empty());
    assert!(
        core.notices
            .contains(&Notice::ViewRemoved { view: "v".into() })
    );
    assert_eq!(core.scheduler.snapshot().views.len(), 1);
}

#[test]
fn a_view_removed_and_brought_back_in_flight_goes_on_as_if_nothing_had_been() {
    let (mut core, second) = Core::on_its_second_refresh();
    core.plan(second + 1.0, plan(4, &[]));
    core.plan(second + 2.0, plan(4, &[view("v")]));
    assert!(core.finished(second + 3.0, "v", "s2").is_empty());
    assert_eq!(core.snapshot("v").refreshes, 2);
}

#[test]
fn a_moved_view_is_another_one_once_its_statement_has_ended() {
    let (mut core, second) = Core::on_its_second_refresh();
    let mut moved = view("v");
    moved.location = "elsewhere".into();
    assert!(core.plan(second + 1.0, plan(4, &[moved])).is_empty());
    assert_eq!(
        core.finished(second + 3.0, "v", "s2"),
        ["submit v #3 wait 30s"]
    );
    let snapshot = core.snapshot("v");
    assert_eq!((snapshot.refreshes, snapshot.data_ts), (0, None));
}

#[test]
fn a_statement_of_an_earlier_life_is_followed_before_anything_is_sent() {
    let mut core = Core::new();
    core.plan(100.0, even(4, &[view("v"), view("w")]));
    assert_eq!(
        core.scanned(101.0, vec![found("v", "s0", 97.0)]),
        ["describe v #1 s0 wait 30s", "submit w #2 wait 30s"]
    );
    assert!(core.status(105.0, "v", done(104.0)).is_empty());
    assert_eq!(core.snapshot("v").data_ts, Some(at(97.0)));
}

#[test]
fn an_adopted_statement_fills_a_slot() {
    let mut core = Core::new();
    core.plan(100.0, even(1, &[view("v"), view("w")]));
    assert_eq!(
        core.scanned(101.0, vec![found("v", "s0", 97.0)]),
        ["describe v #1 s0 wait 30s"]
    );
    assert_eq!(
        core.status(105.0, "v", done(104.0)),
        ["submit w #2 wait 30s"]
    );
}

#[test]
fn two_statements_of_an_earlier_life_are_awaited_one_after_the_other() {
    let mut core = Core::new();
    core.plan(100.0, even(4, &[view("v")]));
    let both = vec![found("v", "s1", 98.0), found("v", "s0", 97.0)];
    assert_eq!(core.scanned(101.0, both), ["describe v #1 s0 wait 30s"]);
    assert_eq!(
        core.status(105.0, "v", done(104.0)),
        ["describe v #2 s1 wait 30s"]
    );
    assert!(core.status(106.0, "v", done(105.0)).is_empty());
    assert_eq!(core.snapshot("v").data_ts, Some(at(98.0)));
}

#[test]
fn a_statement_found_for_a_view_outside_the_plan_is_followed_when_the_view_comes_back() {
    let mut core = Core::new();
    core.plan(100.0, even(4, &[]));
    assert!(core.scanned(101.0, vec![found("v", "s0", 97.0)]).is_empty());
    assert_eq!(
        core.plan(110.0, even(4, &[view("v")])),
        ["describe v #1 s0 wait 30s"]
    );
    assert!(core.status(115.0, "v", done(114.0)).is_empty());
    assert_eq!(core.snapshot("v").data_ts, Some(at(97.0)));
}

#[test]
fn statements_still_to_be_awaited_outlive_the_view_that_was_moved() {
    let mut core = Core::new();
    core.plan(100.0, plan(4, &[view("v")]));
    let both = vec![found("v", "s0", 97.0), found("v", "s1", 98.0)];
    core.scanned(101.0, both);
    let mut moved = view("v");
    moved.location = "elsewhere".into();
    core.plan(102.0, plan(4, &[moved]));
    assert_eq!(
        core.status(105.0, "v", done(104.0)),
        ["describe v #2 s1 wait 30s"]
    );
}

#[test]
fn a_closed_schedule_keeps_a_view_at_rest_or_slows_it_down() {
    let phase = |open| Phase { open, until: None };
    for (closed, rests) in [
        (WhileClosed::Pause, true),
        (WhileClosed::TargetLag(Span::from_secs(600)), false),
    ] {
        let mut officed = view("v");
        officed.schedule = Some("office".into());
        officed.closed = closed;
        let mut with_office = plan(4, &[officed]);
        with_office.schedules = BTreeMap::from([("office".into(), phase(true))]);
        let mut core = Core::new();
        core.plan(0.0, with_office);
        core.scanned(0.0, Vec::new());
        core.finished(3.0, "v", "s1");
        let second = core.due();
        core.pass(second);
        core.finished(second + 3.0, "v", "s2");
        let close = Event::Phase {
            schedule: "office".into(),
            phase: phase(false),
        };
        assert!(core.give(second + 4.0, close).is_empty());
        assert_eq!(core.state("v") == StateName::Closed, rests);
        if rests {
            assert_eq!(core.deadline, None);
        } else {
            assert!((core.due() - second - 594.0).abs() < 0.1, "{}", core.due());
        }
        let open = Event::Phase {
            schedule: "office".into(),
            phase: phase(true),
        };
        assert_eq!(
            core.give(second + 400.0, open),
            ["submit v #3 wait 12s"],
            "{closed:?}"
        );
        core.finished(second + 403.0, "v", "s3");
        assert_eq!(core.snapshot("v").cycles_missed, 0);
    }
}

#[test]
fn a_view_whose_warehouse_leaves_the_plan_is_not_kept() {
    let (mut core, _) = Core::started(4, &[view("v")]);
    core.finished(3.0, "v", "s1");
    let mut homeless = plan(4, &[view("v")]);
    homeless.warehouses.clear();
    core.plan(4.0, homeless);
    assert!(core.scheduler.snapshot().views.is_empty());
}

#[test]
fn a_scan_of_where_a_warehouse_stood_before_opens_nothing() {
    let mut core = Core::new();
    core.plan(0.0, plan(4, &[view("v")]));
    let mut moved = plan(4, &[view("v")]);
    for warehouse in &mut moved.warehouses {
        warehouse.location = "elsewhere".into();
    }
    assert!(core.plan(1.0, moved).is_empty());
    // The answer is about the old place.
    assert_eq!(core.scanned(2.0, vec![found("v", "s0", -5.0)]), ["scan wh"]);
    assert_eq!(core.scanned(3.0, Vec::new()), ["submit v #1 wait 30s"]);
}

#[test]
fn a_warehouse_that_has_left_is_not_asked_and_is_scanned_again_when_it_comes_back() {
    let mut core = Core::new();
    core.plan(0.0, plan(4, &[view("v")]));
    let refused = Event::Scanned {
        warehouse: "wh".into(),
        result: Err(crate::core::failure(FailureClass::Unreachable)),
    };
    core.give(1.0, refused);
    let mut without = plan(4, &[]);
    without.warehouses.clear();
    assert!(core.plan(1.5, without).is_empty());
    assert!(core.pass(100.0).is_empty(), "nobody needs it");
    assert!(core.scheduler.snapshot().warehouses.is_empty());
    assert_eq!(core.plan(200.0, plan(4, &[view("v")])), ["scan wh"]);
    assert_eq!(core.scanned(201.0, Vec::new()), ["submit v #1 wait 30s"]);
}

#[test]
fn a_schedule_that_a_reload_finds_turned_voids_the_open_cycle() {
    let mut followed = view("v");
    followed.schedule = Some("office".into());
    followed.closed = WhileClosed::TargetLag(Span::from_secs(3_600));
    let with = |open| {
        let mut plan = plan(4, &[followed.clone()]);
        let phase = Phase { open, until: None };
        plan.schedules.insert("office".into(), phase);
        plan
    };
    let mut core = Core::new();
    core.plan(0.0, with(false));
    core.scanned(0.0, Vec::new());
    core.finished(3.0, "v", "s1");
    // An hour and a half of closed quiet is no missed minute of the open target.
    assert_eq!(core.plan(1_800.0, with(true)), ["submit v #2 wait 12s"]);
    core.finished(1_803.0, "v", "s2");
    assert_eq!(core.snapshot("v").cycles_missed, 0);
}
