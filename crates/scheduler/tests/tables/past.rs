//! What happened before: a start that knows its views, and views that are others than before.

use tidekeeper_scheduler::{
    Billing, Event, FailureClass, Foreign, Notice, Outcome, Outcomes, RefreshedBy, Sweep, ViewSpec,
    WaitReason,
};

use crate::core::{at, failure, plan, view};
use crate::sweeps::{asked_for_the_past, others, record, started, swept, verdict};

#[test]
fn a_past_that_could_not_be_read_is_asked_for_again() {
    let mut core = asked_for_the_past(Billing::Provisioned, Outcomes::Every, &[view("v")]);
    let result = Err(failure(FailureClass::Transient));
    let warehouse = "wh".into();
    // Nobody waits for it any longer.
    let next = core.give(0.5, Event::Swept { warehouse, result });
    assert_eq!(next, ["submit v #1 wait 30s"]);
    assert_eq!(core.pass(1.6), ["sweep wh since -86398.4 [v #1]"]);
    let by = RefreshedBy::Statement;
    let past = |transaction: i64, began: f64| {
        let record = record(
            transaction,
            began,
            began + 3.0,
            Outcome::MoreData { up_to: None },
        );
        ("v".into(), Foreign { by, record })
    };
    let sweep = Sweep {
        verdicts: Vec::new(),
        foreign: vec![past(1, -120.0), past(2, -70.0)],
    };
    swept(&mut core, 1.8, sweep);
    let foreign = |notice: &Notice| matches!(notice, Notice::Foreign { .. });
    assert!(!core.notices.iter().any(foreign), "it was before our time");
}

#[test]
fn a_view_that_comes_while_records_are_read_has_its_past_read_next() {
    let mut core = started(&[view("v")]);
    assert_eq!(core.finished(3.0, "v", "s1"), ["sweep wh since -60 [v #1]"]);
    let mut both = plan(4, &[view("v"), view("w")]);
    for warehouse in &mut both.warehouses {
        warehouse.outcomes = Outcomes::Every;
    }
    assert!(core.plan(3.1, both).is_empty(), "its past is not known yet");
    let wait = core.snapshot("w").wait.unwrap();
    assert_eq!(wait.reason, WaitReason::Adopting);
    verdict(&mut core, 3.2, "v", record(1, 0.6, 2.9, Outcome::Data));
    assert_eq!(core.pass(4.0), ["sweep wh since -86396 []"]);
    assert_eq!(
        swept(&mut core, 4.2, Sweep::default()),
        ["submit w #2 wait 30s"]
    );
}

#[test]
fn a_look_back_holds_nobody_back_whose_data_are_known() {
    let mut core = started(&[view("v")]);
    core.finished(3.0, "v", "s1");
    verdict(&mut core, 3.2, "v", record(1, 0.6, 2.9, Outcome::Data));
    let due = core.due();
    let mut both = plan(4, &[view("v"), view("w")]);
    for warehouse in &mut both.warehouses {
        warehouse.outcomes = Outcomes::Every;
    }
    assert_eq!(core.plan(due - 1.0, both).len(), 1, "the look back");
    assert_eq!(core.pass(due), ["submit v #2 wait 10s"]);
}

#[test]
fn who_is_late_at_a_start_does_not_go_with_all_others() {
    let views: Vec<ViewSpec> = ["a", "b", "c", "d"].map(view).into();
    let mut core = asked_for_the_past(Billing::Provisioned, Outcomes::Every, &views);
    let past = views.iter().zip(1..).map(|(view, transaction)| {
        let by = RefreshedBy::Statement;
        let record = record(transaction, -600.0, -597.0, Outcome::Data);
        (view.id.clone(), Foreign { by, record })
    });
    let sweep = Sweep {
        verdicts: Vec::new(),
        foreign: past.collect(),
    };
    assert!(swept(&mut core, 0.5, sweep).is_empty());
    let mut starts = Vec::new();
    while starts.len() < 4 {
        let due = core.due();
        starts.extend(core.pass(due).iter().map(|_| due));
    }
    // Within a tenth of their target of a minute, each at a moment of its own.
    assert!(
        starts.windows(2).all(|pair| pair[0] < pair[1]),
        "{starts:?}"
    );
    assert!(
        starts.iter().all(|at| (0.5..6.5).contains(at)),
        "{starts:?}"
    );
}

#[test]
fn what_the_past_tells_of_empty_refreshes_is_what_an_empty_one_takes() {
    let mut core = asked_for_the_past(Billing::Provisioned, Outcomes::Every, &[view("v")]);
    let mut foreign = Vec::new();
    for number in 0..50_i32 {
        let began = -3_600.0 + 60.0 * f64::from(number);
        let (lasts, outcome) = if number % 5 == 0 {
            (3.0, Outcome::Data)
        } else {
            (0.3, Outcome::NoData)
        };
        let record = record(number.into(), began, began + lasts, outcome);
        let by = RefreshedBy::Statement;
        foreign.push(("v".into(), Foreign { by, record }));
    }
    let verdicts = Vec::new();
    swept(&mut core, 0.5, Sweep { verdicts, foreign });
    core.pass(core.due());
    // One that has something to read is foreseen as such: P is (60 − 0.6) / (1 + 2·0.045).
    let interval = core.snapshot("v").interval.unwrap().as_secs_f64();
    assert!((50.0..56.0).contains(&interval), "{interval}");
}

#[test]
fn a_view_that_comes_later_has_its_past_read_at_once() {
    let views = [view("v")];
    let mut core = asked_for_the_past(Billing::Serverless, Outcomes::Sampled, &views);
    swept(&mut core, 0.5, Sweep::default());
    core.finished(3.0, "v", "s1");
    core.pass(5.0);
    verdict(&mut core, 5.2, "v", record(1, 0.6, 2.9, Outcome::Data));
    let mut both = plan(4, &[view("v"), view("w")]);
    for warehouse in &mut both.warehouses {
        warehouse.outcomes = Outcomes::Sampled;
        warehouse.billing = Billing::Serverless;
    }
    assert_eq!(core.plan(10.0, both), ["sweep wh since -86390 []"]);
    let first = swept(&mut core, 10.2, Sweep::default());
    assert_eq!(first, ["submit w #2 wait 30s"]);
}

#[test]
fn the_past_is_remembered_and_nothing_is_refreshed_for_nothing() {
    let mut core = asked_for_the_past(Billing::Provisioned, Outcomes::Every, &[view("v")]);
    let past = |transaction: i64, began: f64| {
        let by = RefreshedBy::Statement;
        let record = record(transaction, began, began + 3.0, Outcome::Data);
        ("v".into(), Foreign { by, record })
    };
    let sweep = Sweep {
        verdicts: Vec::new(),
        foreign: vec![past(1, -120.0), past(2, -70.0), past(3, -20.0)],
    };
    assert!(swept(&mut core, 1.0, sweep).is_empty(), "fresh enough");
    assert_eq!(core.snapshot("v").data_ts, Some(at(-20.0)));
    // −20 + 60 − 3·2, and no jitter: they are not bunched.
    assert!((core.due() - 34.0).abs() < 1e-3, "{}", core.due());
    let foreign = |notice: &Notice| matches!(notice, Notice::Foreign { .. });
    assert!(!core.notices.iter().any(foreign), "it was before our time");
}

#[test]
fn a_past_that_is_not_told_in_five_seconds_is_done_without() {
    let mut core = asked_for_the_past(Billing::Provisioned, Outcomes::Every, &[view("v")]);
    assert_eq!(
        core.snapshot("v").wait.unwrap().reason,
        WaitReason::Adopting
    );
    assert!((core.due() - 5.0).abs() < 1e-6, "{}", core.due());
    assert_eq!(core.pass(5.0), ["submit v #1 wait 30s"]);
}

#[test]
fn records_of_a_view_as_it_was_do_not_make_it_another_one_again() {
    let mut core = started(&[view("v")]);
    core.finished(3.0, "v", "s1");
    verdict(&mut core, 3.2, "v", record(1, 0.6, 2.9, Outcome::Data));
    core.pass(63.2);
    let mut anew = record(
        3,
        40.0,
        42.0,
        Outcome::MoreData {
            up_to: Some(at(-300.0)),
        },
    );
    anew.identity = Some(8);
    others(&mut core, 63.4, RefreshedBy::Statement, anew);
    assert_eq!(
        core.snapshot("v").data_ts,
        Some(at(-300.0)),
        "it begins anew"
    );
    core.pass(123.4);
    others(
        &mut core,
        123.6,
        RefreshedBy::Statement,
        record(2, 20.0, 22.0, Outcome::Data),
    );
    let recreated = |notice: &&Notice| matches!(notice, Notice::Recreated { .. });
    assert_eq!(core.notices.iter().filter(recreated).count(), 1);
}

#[test]
fn a_view_made_anew_is_learned_anew() {
    let mut core = started(&[view("v")]);
    core.finished(3.0, "v", "s1");
    verdict(&mut core, 3.2, "v", record(1, 0.6, 2.9, Outcome::Data));
    assert!(core.snapshot("v").expected_duration.is_some());
    let mut theirs = record(2, 10.0, 12.0, Outcome::Data);
    theirs.identity = Some(8);
    core.pass(64.0);
    others(&mut core, 64.2, RefreshedBy::Auto, theirs);
    assert!(
        core.notices
            .contains(&Notice::Recreated { view: "v".into() })
    );
    assert_eq!(core.snapshot("v").expected_duration, None);
}
