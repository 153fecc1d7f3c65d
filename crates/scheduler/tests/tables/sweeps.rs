//! What the warehouse's own records tell: verdicts, other people's refreshes, the past.

use tidekeeper_scheduler::{
    AlertReason, Billing, Event, Failure, FailureClass, Foreign, Mode, Notice, Outcome, Outcomes,
    Read, Record, RefreshedBy, Span, StateName, Sweep, ViewSpec,
};

use crate::core::{Core, at, failure, plan, view};

pub(crate) fn record(transaction: i64, began: f64, ended: f64, outcome: Outcome) -> Record {
    Record {
        transaction,
        identity: Some(7),
        user: None,
        began_at: at(began),
        ended_at: at(ended),
        result: Ok(outcome),
        unknown: None,
        stale_parent: false,
        read: None,
    }
}

pub(crate) fn swept(core: &mut Core, seconds: f64, sweep: Sweep) -> Vec<String> {
    let warehouse = "wh".into();
    let result = Ok(sweep);
    core.give(seconds, Event::Swept { warehouse, result })
}

pub(crate) fn verdict(core: &mut Core, seconds: f64, view: &str, record: Record) -> Vec<String> {
    let attempt = core.attempt(view);
    let sweep = Sweep {
        verdicts: vec![(attempt, view.into(), record)],
        foreign: Vec::new(),
    };
    swept(core, seconds, sweep)
}

pub(crate) fn others(
    core: &mut Core,
    seconds: f64,
    by: RefreshedBy,
    record: Record,
) -> Vec<String> {
    let sweep = Sweep {
        verdicts: Vec::new(),
        foreign: vec![("v".into(), Foreign { by, record })],
    };
    swept(core, seconds, sweep)
}

/// Scanned, and asked what was before; nobody has gone yet.
pub(crate) fn asked_for_the_past(billing: Billing, outcomes: Outcomes, views: &[ViewSpec]) -> Core {
    let mut plan = plan(4, views);
    for warehouse in &mut plan.warehouses {
        warehouse.outcomes = outcomes;
        warehouse.billing = billing;
    }
    let mut core = Core::new();
    core.plan(0.0, plan);
    assert_eq!(core.scanned(0.0, Vec::new()), ["sweep wh since -86400 []"]);
    core
}

pub(crate) fn started(views: &[ViewSpec]) -> Core {
    let mut core = asked_for_the_past(Billing::Provisioned, Outcomes::Every, views);
    let first = swept(&mut core, 0.5, Sweep::default());
    assert_eq!(first.len(), views.len(), "{first:?}");
    core
}

pub(crate) fn outcomes(core: &Core) -> Vec<Outcome> {
    let notices = core.notices.iter();
    notices
        .filter_map(|notice| {
            let Notice::Refreshed { outcome, .. } = notice else {
                return None;
            };
            Some(*outcome)
        })
        .collect()
}

#[test]
fn a_refresh_holds_nothing_new_before_its_verdict() {
    let mut core = started(&[view("v")]);
    assert_eq!(core.finished(3.0, "v", "s1"), ["sweep wh since -60 [v #1]"]);
    assert_eq!(core.snapshot("v").data_ts, None);
    assert_eq!(core.snapshot("v").holds_ts, Some(at(0.5)));
    assert!(verdict(&mut core, 3.2, "v", record(1, 0.6, 2.9, Outcome::Data)).is_empty());
    assert_eq!(core.snapshot("v").data_ts, Some(at(0.5)));
    assert_eq!(outcomes(&core), [Outcome::Data]);
}

#[test]
fn a_sweep_begins_a_second_after_the_one_before_and_covers_all_that_ended() {
    let mut core = started(&[view("a"), view("b"), view("c")]);
    assert_eq!(
        core.finished(3.0, "a", "s1"),
        ["sweep wh since -60 [a #1, b #2, c #3]"]
    );
    assert!(core.finished(3.1, "b", "s2").is_empty());
    verdict(&mut core, 3.3, "a", record(1, 0.6, 2.9, Outcome::Data));
    assert!(core.finished(3.4, "c", "s3").is_empty());
    assert!((core.due() - 4.0).abs() < 1e-6, "{}", core.due());
    assert_eq!(core.pass(4.0), ["sweep wh since -57 [b #2, c #3]"]);
}

#[test]
fn more_data_goes_again_at_once_and_holds_what_was_read() {
    let mut core = started(&[view("v")]);
    core.finished(3.0, "v", "s1");
    let more = Outcome::MoreData {
        up_to: Some(at(-900.0)),
    };
    let next = verdict(&mut core, 3.2, "v", record(1, 0.6, 2.9, more));
    assert_eq!(next, ["submit v #2 wait 30s"]);
    assert_eq!(core.snapshot("v").data_ts, Some(at(-900.0)));
}

#[test]
fn a_refresh_without_a_record_counts_as_data_after_three_looks() {
    let mut core = started(&[view("v")]);
    core.finished(3.0, "v", "s1");
    for look in [3.2, 4.2, 5.2] {
        assert_eq!(core.snapshot("v").data_ts, None);
        swept(&mut core, look, Sweep::default());
        core.pass(look + 0.8);
    }
    assert_eq!(core.snapshot("v").data_ts, Some(at(0.5)));
    assert_eq!(outcomes(&core), [Outcome::Data]);
}

#[test]
fn a_record_that_comes_after_nobody_waits_is_still_asked_for_by_its_attempt() {
    let mut core = started(&[view("v")]);
    core.finished(3.0, "v", "s1");
    let first = core.attempt("v");
    for look in [3.2, 4.2, 5.2] {
        swept(&mut core, look, Sweep::default());
        core.pass(look + 0.8);
    }
    let due = core.due();
    core.pass(due);
    assert_eq!(
        core.finished(due + 3.0, "v", "s2"),
        ["sweep wh since -55 [v #1, v #2]"]
    );
    let mut late = record(1, 0.6, 2.9, Outcome::SomeSkipped);
    late.read = Some(Read {
        records: 9,
        skipped: 4,
        bytes: 900,
        newest: None,
        behind: None,
        reason: None,
    });
    let sweep = Sweep {
        verdicts: vec![(first, "v".into(), late)],
        foreign: Vec::new(),
    };
    swept(&mut core, due + 3.2, sweep);
    let shown = core.snapshot("v");
    assert_eq!((shown.records_skipped, shown.foreign_refreshes), (4, 0));
    core.pass(due + 5.0);
    assert!(
        core.notices
            .iter()
            .any(|notice| matches!(notice, Notice::Skipped { .. }))
    );
}

#[test]
fn a_view_whose_parents_nobody_has_named_is_told_of() {
    for (after, told) in [(Vec::new(), true), (vec!["parent".into()], false)] {
        let mut child = view("v");
        child.after = after;
        let views = [view("parent"), child];
        let mut core = asked_for_the_past(Billing::Provisioned, Outcomes::Every, &views);
        swept(&mut core, 0.5, Sweep::default());
        core.finished(3.0, "parent", "s1");
        let mut theirs = record(1, 1.0, 2.0, Outcome::NoData);
        theirs.stale_parent = true;
        others(&mut core, 3.2, RefreshedBy::Statement, theirs);
        let notice = Notice::StaleParent { view: "v".into() };
        assert_eq!(core.notices.contains(&notice), told);
        assert_eq!(core.snapshot("v").stale_parent, told);
    }
}

#[test]
fn records_that_cannot_be_read_cost_no_refresh() {
    let mut core = started(&[view("v")]);
    core.finished(3.0, "v", "s1");
    let warehouse = "wh".into();
    let result = Err(failure(FailureClass::Permanent));
    core.give(3.2, Event::Swept { warehouse, result });
    assert_eq!(core.snapshot("v").data_ts, Some(at(0.5)));
    let due = core.due();
    assert_eq!(core.pass(due), ["submit v #2 wait 10s"]);
    // The next one does not wait for a verdict, and nobody looks for ten minutes.
    assert!(core.finished(due + 3.0, "v", "s2").is_empty());
    assert_eq!(core.snapshot("v").data_ts, Some(at(due)));
}

#[test]
fn a_view_that_is_due_again_does_not_wait_for_its_verdict() {
    let mut core = started(&[view("v")]);
    assert_eq!(core.finished(3.0, "v", "s1"), ["sweep wh since -60 [v #1]"]);
    let due = core.due();
    assert_eq!(core.pass(due), ["submit v #2 wait 30s"]);
    // It comes while the next one runs.
    let first = core.notices.iter().find_map(|notice| {
        let Notice::Dispatched { attempt, .. } = notice else {
            return None;
        };
        Some(*attempt)
    });
    let sweep = Sweep {
        verdicts: vec![(
            first.unwrap(),
            "v".into(),
            record(1, 0.6, 2.9, Outcome::NoData),
        )],
        foreign: Vec::new(),
    };
    assert!(swept(&mut core, due + 0.5, sweep).is_empty());
    assert_eq!(core.state("v"), StateName::Submitting);
    assert_eq!(core.snapshot("v").data_ts, Some(at(0.5)));
    assert_eq!(outcomes(&core), [Outcome::NoData]);
}

#[test]
fn a_workgroup_that_sleeps_is_not_woken_for_a_verdict() {
    let views = [view("v")];
    let mut core = asked_for_the_past(Billing::Serverless, Outcomes::Every, &views);
    assert_eq!(swept(&mut core, 0.5, Sweep::default()).len(), 1);
    core.finished(3.0, "v", "s1");
    verdict(&mut core, 3.2, "v", record(1, 0.6, 2.9, Outcome::Data));
    // Nothing is looked for before the view's next refresh.
    let due = core.due();
    assert!(due > 40.0, "{due}");
    assert_eq!(core.pass(due), ["submit v #2 wait 10s"]);
}

/// A view on Serverless whose first refresh is being asked about: it may have had more to read
/// than one refresh reads.
fn sampled() -> Core {
    let views = [view("v")];
    let mut core = asked_for_the_past(Billing::Serverless, Outcomes::Sampled, &views);
    assert_eq!(swept(&mut core, 0.5, Sweep::default()).len(), 1);
    assert!(core.finished(3.0, "v", "s1").is_empty());
    // Others will have ended by then.
    assert_eq!(core.pass(5.0), ["sweep wh since -60 [v #1]"]);
    core
}

#[test]
fn on_serverless_a_sample_a_minute_is_enough() {
    let mut core = sampled();
    verdict(&mut core, 5.2, "v", record(1, 0.6, 2.9, Outcome::Data));
    let due = core.due();
    assert!(due < 60.0, "{due}");
    assert_eq!(core.pass(due), ["submit v #2 wait 10s"]);
    assert!(core.finished(due + 3.0, "v", "s2").is_empty());
    assert_eq!(core.snapshot("v").data_ts, Some(at(due)), "not waited for");
}

#[test]
fn on_serverless_a_catch_up_is_no_matter_for_samples() {
    let mut core = sampled();
    let more = Outcome::MoreData {
        up_to: Some(at(-900.0)),
    };
    let first = record(1, 0.6, 2.9, more);
    let next = verdict(&mut core, 5.2, "v", first);
    assert_eq!(next, ["submit v #2 wait 30s"]);
    // Less than a minute after the look before.
    let next = core.finished(7.0, "v", "s2");
    assert_eq!(next, ["sweep wh since -55 [v #2]", "submit v #3 wait 30s"]);
}

#[test]
fn who_did_not_wait_for_its_verdict_fetches_what_is_left_when_it_hears_of_it() {
    let mut slow = view("v");
    slow.target_lag = Span::from_secs(3_600);
    let mut core = started(&[slow]);
    core.finished(3.0, "v", "s1");
    for look in [3.2, 4.2, 5.2] {
        swept(&mut core, look, Sweep::default());
        core.pass(look + 0.8);
    }
    assert_eq!(outcomes(&core), [Outcome::Data]);
    assert_eq!(core.pass(65.1), ["sweep wh since -55 [v #1]"]);
    let more = Outcome::MoreData { up_to: None };
    let late = record(1, 0.6, 2.9, more);
    assert_eq!(
        verdict(&mut core, 65.3, "v", late),
        ["submit v #2 wait 10s"]
    );
}

#[test]
fn after_a_failed_look_a_workgroup_is_looked_at_again() {
    let mut core = asked_for_the_past(Billing::Serverless, Outcomes::Every, &[view("v")]);
    swept(&mut core, 0.5, Sweep::default());
    assert_eq!(core.finished(3.0, "v", "s1"), ["sweep wh since -60 [v #1]"]);
    let result = Err(failure(FailureClass::Throttled));
    let warehouse = "wh".into();
    core.give(3.2, Event::Swept { warehouse, result });
    assert_eq!(core.snapshot("v").data_ts, None, "it is still waited for");
    assert_eq!(core.pass(4.3), ["sweep wh since -60 [v #1]"]);
    verdict(&mut core, 4.5, "v", record(1, 0.6, 2.9, Outcome::NoData));
    assert_eq!(outcomes(&core), [Outcome::NoData]);
}

#[test]
fn a_refresh_that_failed_in_the_records_again_and_again_suspends_the_view() {
    let mut core = started(&[view("v")]);
    let mut now = 3.0;
    for number in 1..=2 {
        core.finished(now, "v", &format!("s{number}"));
        let mut refused = record(number, now - 2.0, now - 0.1, Outcome::Data);
        let words = Failure::new(FailureClass::Permanent, "Refresh failed. MV was not found");
        refused.result = Err(words);
        verdict(&mut core, now + 0.2, "v", refused);
        let due = core.due();
        core.pass(due);
        now = due + 3.0;
    }
    assert_eq!(core.state("v"), StateName::Suspended);
    assert_eq!(core.snapshot("v").data_ts, None, "nothing was read");
}

#[test]
fn an_automatic_refresh_that_did_not_take_place_is_none() {
    let mut core = started(&[view("v")]);
    core.finished(3.0, "v", "s1");
    verdict(&mut core, 3.2, "v", record(1, 0.6, 2.9, Outcome::Data));
    core.pass(63.2);
    let mut aborted = record(2, 10.0, 12.0, Outcome::Data);
    aborted.result = Err(Failure::new(
        FailureClass::Transient,
        "Auto refresh aborted",
    ));
    others(&mut core, 63.4, RefreshedBy::Auto, aborted);
    let shown = core.snapshot("v");
    assert_eq!((shown.auto_refreshes.0, shown.foreign_refreshes), (0, 0));
}

#[test]
fn somebody_elses_refresh_counts_once_and_is_not_repeated() {
    let mut core = started(&[view("v")]);
    core.finished(3.0, "v", "s1");
    verdict(&mut core, 3.2, "v", record(1, 0.6, 2.9, Outcome::Data));
    let idle = core.pass(63.0);
    assert!(
        idle.iter().any(|line| line.starts_with("sweep")),
        "{idle:?}"
    );
    let mut core = started(&[view("v")]);
    core.finished(3.0, "v", "s1");
    for _ in 0..2 {
        let theirs = record(2, 10.0, 12.0, Outcome::Data);
        others(&mut core, 20.0, RefreshedBy::Auto, theirs);
        core.pass(60.0);
    }
    assert_eq!(core.snapshot("v").data_ts, Some(at(10.0)));
    let foreign = core.notices.iter();
    let foreign = foreign.filter(|notice| matches!(notice, Notice::Foreign { .. }));
    assert_eq!(foreign.count(), 1);
}

#[test]
fn records_are_told_in_any_order() {
    let mut core = started(&[view("v")]);
    core.finished(3.0, "v", "s1");
    let theirs = Foreign {
        by: RefreshedBy::Statement,
        record: record(1, -0.5, 0.4, Outcome::Data),
    };
    let sweep = Sweep {
        verdicts: vec![(
            core.attempt("v"),
            "v".into(),
            record(2, 0.6, 2.9, Outcome::Data),
        )],
        foreign: vec![("v".into(), theirs)],
    };
    swept(&mut core, 3.2, sweep);
    assert_eq!(core.snapshot("v").foreign_refreshes, 1);
    let held = core.snapshot("v").data_ts;
    core.pass(63.2);
    let late = record(3, -4.0, -3.0, Outcome::Data);
    others(&mut core, 63.4, RefreshedBy::Statement, late);
    assert_eq!(core.snapshot("v").foreign_refreshes, 2);
    assert_eq!(core.snapshot("v").data_ts, held, "it holds no less for it");
}

#[test]
fn a_view_into_which_nothing_comes_raises_an_alert_until_something_does() {
    let mut core = started(&[view("v")]);
    core.finished(3.0, "v", "s1");
    let mut skipped = record(1, 0.6, 2.9, Outcome::AllSkipped);
    skipped.read = Some(Read {
        records: 5,
        skipped: 5,
        bytes: 10_000_000,
        newest: None,
        behind: None,
        reason: Some("record too large".into()),
    });
    verdict(&mut core, 3.2, "v", skipped);
    let alert = core.snapshot("v").alerts.remove(0);
    assert_eq!(alert.reason, AlertReason::AllSkipped);
    assert_eq!(&*alert.text, "record too large");
    let counted = |notice: &Notice| {
        matches!(
            notice,
            Notice::Skipped {
                records: 5,
                all: true,
                ..
            }
        )
    };
    assert!(core.notices.iter().any(counted));
    core.pass(core.due());
    core.finished(60.0, "v", "s2");
    verdict(&mut core, 60.2, "v", record(2, 57.0, 59.0, Outcome::Data));
    assert_eq!(core.snapshot("v").alerts, []);
}

/// When the records are looked at in this time, while somebody refreshes the view so often.
fn looks(core: &mut Core, from: f64, to: f64, every: Option<f64>) -> Vec<f64> {
    let mut looks = Vec::new();
    let mut now = from;
    let mut told = from;
    while now < to {
        now = core.due().max(now + 0.001);
        if !core.pass(now).iter().any(|line| line.starts_with("sweep")) {
            continue;
        }
        looks.push(now);
        let mut sweep = Sweep::default();
        while let Some(every) = every
            && told + every < now
        {
            told += every;
            let by = RefreshedBy::Statement;
            let record = record(at(told).as_micros(), told, told + 1.0, Outcome::Data);
            sweep.foreign.push(("v".into(), Foreign { by, record }));
        }
        swept(core, now + 0.1, sweep);
    }
    looks
}

#[test]
fn a_workgroup_that_is_only_observed_is_woken_rarely_unless_others_keep_it_awake() {
    let observed = || {
        let mut view = view("v");
        view.mode = Mode::Observe;
        let mut core = asked_for_the_past(Billing::Serverless, Outcomes::Sampled, &[view]);
        swept(&mut core, 0.5, Sweep::default());
        core
    };
    let mut core = observed();
    let minutes = looks(&mut core, 0.5, 900.0, None).len();
    assert!((13..=15).contains(&minutes), "at first every minute");
    let rarely = looks(&mut core, 900.0, 8_100.0, None).len();
    assert!((8..=9).contains(&rarely), "{rarely}");
    let mut core = observed();
    let minutes = looks(&mut core, 0.5, 4_500.0, Some(60.0)).len();
    assert!((73..=76).contains(&minutes), "{minutes}");
    let rarely = looks(&mut core, 4_500.0, 8_100.0, Some(150.0)).len();
    assert!((4..=9).contains(&rarely), "{rarely}");
}
