//! What the report makes of what it is told late, or not at all.

use std::collections::BTreeMap;
use std::time::Duration;

use tidekeeper_scheduler::{
    Billing, FailureClass, Foreign, Mode, Outcome, Outcomes, Record, RefreshedBy, ViewSpec,
};

use super::estate::Estate;
use super::ledger::Refreshed;
use super::report::{Service, WarehouseReport};
use super::*;
use crate::metrics::world::{World, view as spec};

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(0) + Span::from_secs(seconds)
}

/// Views on a warehouse `rt` that is billed while it is awake.
fn plan(views: Vec<ViewSpec>) -> Plan {
    let mut plan = World::new(views).plan;
    for warehouse in &mut plan.warehouses {
        warehouse.billing = Billing::Serverless;
        warehouse.outcomes = Outcomes::Every;
    }
    plan
}

/// With a target of a minute.
fn observed(id: &str, after: &[&str]) -> ViewSpec {
    ViewSpec {
        mode: Mode::Observe,
        after: after.iter().map(|id| (*id).into()).collect(),
        ..spec(id, MINUTE)
    }
}

fn stream(name: &str, views: &[&str]) -> stream::Settings {
    stream::Settings {
        name: name.to_owned(),
        arn: String::new(),
        roles: Vec::new(),
        endpoint_url: None,
        period: Span::from_secs(6),
        share: 0.2,
        views: views.iter().map(|id| (*id).into()).collect(),
    }
}

fn take_up(estate: &mut Estate, now: i64, plan: &Plan, streams: &[stream::Settings]) {
    let prices = BTreeMap::from([("rt".into(), 3.0)]);
    estate.replace(at(now), plan, streams, &prices);
    for view in estate.views.values_mut() {
        let target = Some(view.target_lag);
        view.seen.target(at(now), target);
        view.rehearsed.target(at(now), target);
    }
}

/// Views since 0.
fn taken_up(views: Vec<ViewSpec>, streams: &[stream::Settings]) -> Estate {
    let mut estate = Estate::default();
    take_up(&mut estate, 0, &plan(views), streams);
    estate
}

/// A view `v` since 0.
fn estate(mode: Mode, probed: Option<&str>) -> Estate {
    let view = ViewSpec {
        mode,
        ..observed("v", &[])
    };
    let streams: Vec<_> = probed.iter().map(|name| stream(name, &["v"])).collect();
    taken_up(vec![view], &streams)
}

fn statement(transaction: i64, began: i64, ended: i64) -> Foreign {
    Foreign {
        by: RefreshedBy::Statement,
        record: Record {
            transaction,
            identity: None,
            user: Some("etl".into()),
            began_at: at(began),
            ended_at: at(ended),
            result: Ok(Outcome::Data),
            unknown: None,
            stale_parent: false,
            read: None,
        },
    }
}

fn read_until(estate: &mut Estate, until: i64) {
    let mut known = World::open(Vec::new()).snapshot().warehouses[0].clone();
    known.sweeps = 1;
    known.records_until = Some(at(until));
    estate.looked_at_records(&known);
}

fn looked(estate: &mut Estate, name: &str, until: i64, arrived: &[i64]) {
    let known = estate.streams.get_mut(name).unwrap();
    known.looked_at = Some(at(until));
    for second in arrived {
        known.exact.add(at(*second), at(*second));
    }
}

fn refreshed(by: Who, began: i64) -> Refreshed {
    Refreshed {
        by,
        began_at: at(began),
        ended_at: at(began + 1),
        failed: false,
        holds: Some(at(began)),
    }
}

fn of(estate: &Estate, id: &str, now: i64) -> Service {
    let id = id.into();
    let view = estate.views.get(&id).unwrap();
    estate.view(&id, view, at(now)).seen
}

fn service(estate: &Estate, now: i64) -> Service {
    of(estate, "v", now)
}

fn warehouse(estate: &Estate, now: i64) -> WarehouseReport {
    let id = "rt".into();
    let warehouse = estate.warehouses.get(&id).unwrap();
    estate.warehouse(&id, warehouse, at(now))
}

#[test]
fn records_that_are_read_hours_late_count_as_if_they_had_been_read_at_once() {
    let mut estate = estate(Mode::Observe, None);
    let id = "v".into();
    estate.refreshed(&id, refreshed(Who::Statement, 0));
    read_until(&mut estate, 30);
    // For three hours the records cannot be read.
    for minute in 1..180 {
        estate.settle(at(minute * MINUTE));
    }
    assert_eq!(service(&estate, 180 * MINUTE).in_target, Some(1.0));
    for half in 1..360 {
        estate.refreshed(&id, refreshed(Who::Statement, half * 30));
    }
    read_until(&mut estate, 180 * MINUTE);
    estate.settle(at(181 * MINUTE));
    let service = service(&estate, 181 * MINUTE);
    assert_eq!(service.in_target, Some(1.0), "{service:?}");
    assert!(service.known_seconds > 179.0 * 60.0, "{service:?}");
}

#[test]
fn while_nobody_looks_at_a_stream_its_views_do_not_pass_for_fresh() {
    let mut estate = estate(Mode::Active, Some("s"));
    let id = "v".into();
    estate.refreshed(&id, refreshed(Who::Tidekeeper, 0));
    looked(&mut estate, "s", 10 * MINUTE, &[]);
    for minute in 1..120 {
        estate.settle(at(minute * MINUTE));
    }
    let service = |now| service(&estate, now);
    let (known, share) = (
        |now| service(now).known_seconds,
        |now| service(now).in_target,
    );
    assert!(
        (known(120 * MINUTE) - 599.0).abs() < 1e-6,
        "the probe told of ten minutes"
    );
    assert_eq!(share(120 * MINUTE), Some(1.0));
    // After a day without a look the clock decides, as without a probe.
    let day = 25 * 60 * MINUTE;
    assert!(share(day).unwrap() < 0.1, "{:?}", service(day));
}

#[test]
fn failed_attempts_of_the_daemon_itself_count() {
    let mut estate = estate(Mode::Active, None);
    let id = "v".into();
    estate.failed(&id, FailureClass::Unreachable, at(10), at(13));
    let awake = |estate: &Estate| estate.warehouses[&"rt".into()].awake.total(at(500));
    assert_eq!(
        awake(&estate),
        Span::ZERO,
        "nothing ran, as far as is known"
    );
    estate.failed(&id, FailureClass::Data, at(100), at(103));
    assert_eq!(awake(&estate), Span::from_secs(MINUTE));
    let service = service(&estate, 500);
    let counts = (service.failed, service.refreshes, service.tidekeeper);
    assert_eq!(counts, (2, 2, 2));
    let mean = service.mean_refresh_seconds;
    assert_eq!(mean, Some(3.0), "of what surely ran");
}

#[test]
fn a_refresh_before_the_start_keeps_a_workgroup_awake_after_it() {
    let mut estate = estate(Mode::Observe, None);
    let mut known = World::open(vec![observed("v", &[])]).snapshot().views[0].clone();
    known.data_ts = Some(at(-20));
    known.last_success_at = Some(at(-18));
    known.last_duration = Some(Span::from_secs(2));
    for second in [1, 2] {
        estate.stands(at(second), &known);
    }
    read_until(&mut estate, 100);
    let share = warehouse(&estate, 100).seen.awake_share;
    assert_eq!(share, Some(0.4), "a minute since its start");
}

#[test]
fn a_view_on_views_shows_since_its_refresh_ended_what_its_parents_held_as_it_began() {
    let mut estate = taken_up(vec![observed("p", &[]), observed("c", &["p"])], &[]);
    // Told together, an hour later: each minute the parent, 20 s later the child.
    for minute in 0..60 {
        let began = minute * MINUTE;
        let parent = statement(2 * minute, began, began + 10);
        let child = statement(2 * minute + 1, began + 20, began + 30);
        estate.foreign(&"p".into(), &parent);
        estate.foreign(&"c".into(), &child);
    }
    read_until(&mut estate, HOUR);
    let parent = of(&estate, "p", HOUR);
    let share = parent.in_target.unwrap();
    assert!((share - 5.0 / 6.0).abs() < 0.01, "late for 10 s: {share}");
    let child = of(&estate, "c", HOUR);
    let share = child.in_target.unwrap();
    assert!((share - 0.5).abs() < 0.01, "late for 30 s: {share}");
}

#[test]
fn views_on_probed_parents_are_judged_by_what_arrived_and_not_by_the_clock() {
    let views = vec![
        observed("quiet", &[]),
        observed("busy", &[]),
        observed("child", &["quiet", "busy"]),
    ];
    let streams = [stream("q", &["quiet"]), stream("b", &["busy"])];
    let mut estate = taken_up(views, &streams);
    let seconds: Vec<i64> = (0..HOUR - MINUTE).collect();
    looked(&mut estate, "q", HOUR, &[]);
    looked(&mut estate, "b", HOUR, &seconds);
    estate.foreign(&"quiet".into(), &statement(0, 0, 1));
    for half in 0..120 {
        let began = half * 30;
        estate.foreign(&"busy".into(), &statement(2 * half + 1, began, began + 2));
        let child = statement(2 * half + 2, began + 3, began + 5);
        estate.foreign(&"child".into(), &child);
    }
    read_until(&mut estate, HOUR);
    let child = of(&estate, "child", HOUR);
    assert_eq!(child.in_target, Some(1.0), "{child:?}");
    // Nobody refreshes it any more, and something comes to the quiet stream.
    let mut later = estate;
    read_until(&mut later, 2 * HOUR);
    looked(&mut later, "b", 2 * HOUR, &[]);
    looked(&mut later, "q", 2 * HOUR, &[HOUR + MINUTE]);
    let late = 1.0 - of(&later, "child", 2 * HOUR).in_target.unwrap();
    assert!((late - 58.0 / 120.0).abs() < 0.01, "{late}");
}

#[test]
fn what_a_full_answer_has_left_out_counts_as_unknown() {
    let mut estate = estate(Mode::Observe, None);
    estate.refreshed(&"v".into(), refreshed(Who::Statement, 0));
    read_until(&mut estate, 30);
    // A night without access; then the latest fifty.
    let night = 14 * HOUR;
    for row in 0..50 {
        let began = night - (50 - row) * 30;
        estate.foreign(&"v".into(), &statement(row, began, began + 1));
    }
    read_until(&mut estate, night);
    let service = service(&estate, night);
    assert_eq!(service.in_target, Some(1.0), "{service:?}");
    assert!(service.known_seconds < 31.0 * 60.0, "{service:?}");
    let often = service.refreshes_per_hour.unwrap();
    assert!((often - 120.0).abs() < 5.0, "{often}");
}

#[test]
fn what_nobody_has_told_is_unknown_and_not_zero() {
    let estate = estate(Mode::Observe, None);
    assert_eq!(service(&estate, HOUR).refreshes_per_hour, None);
    let warehouse = warehouse(&estate, HOUR);
    assert_eq!(warehouse.seen.refreshes_per_hour, None);
    assert_eq!(warehouse.seen.awake_share, None);
    assert_eq!(
        warehouse.explain,
        "how often its views are refreshed is not known"
    );
}

/// Refreshed by others every minute, and by Tidekeeper every ten; each takes 1 s.
fn compared(views: Vec<ViewSpec>) -> Estate {
    let mut estate = taken_up(views, &[]);
    let id = "v".into();
    for minute in 0..60 {
        estate.refreshed(&id, refreshed(Who::Statement, minute * MINUTE));
    }
    for began in (0..6).map(|number| number * 10 * MINUTE) {
        let view = estate.views.get_mut(&id).unwrap();
        view.rehearsed.refreshed(refreshed(Who::Tidekeeper, began));
        estate.rehearsed_statement(&"rt".into(), at(began), at(began + 1));
    }
    read_until(&mut estate, HOUR);
    estate
}

#[test]
fn what_tidekeeper_would_save_is_told() {
    let report = warehouse(&compared(vec![observed("v", &[])]), HOUR);
    let saves = report.saves;
    assert_eq!(saves.refreshes_per_hour, Some(54.0));
    assert_eq!(saves.busy_seconds_per_hour, Some(54.0));
    let awake = saves.awake_seconds_per_day.unwrap();
    assert!((awake - 0.9 * 86_400.0).abs() < 1e-6, "{awake}");
    let price = saves.price_per_day.unwrap();
    assert!((price - 0.9 * 72.0).abs() < 1e-6, "{price}");
    assert_eq!(
        report.explain,
        "60.0 refreshes and 60 s of work an hour, awake 100.0 % of the time, 72.00 a day; \
         Tidekeeper: 6.0 refreshes and 6 s of work an hour, awake 10.0 % of the time, 7.20 a day; \
         it would save 54.0 refreshes an hour, 54 s of work an hour, 21.6 h awake a day and \
         64.80 a day"
    );
}

#[test]
fn a_view_that_nobody_refreshes_is_left_out_of_the_forecast_and_named() {
    let report = warehouse(
        &compared(vec![observed("v", &[]), observed("idle", &[])]),
        HOUR,
    );
    let often = report.forecast.and_then(|of| of.refreshes_per_hour);
    assert_eq!(often, Some(6.0));
    let end = "; not in the forecast, for no refresh was seen: idle";
    assert!(report.explain.ends_with(end), "{}", report.explain);
}

#[test]
fn beside_an_active_view_the_others_are_known_as_far_as_they_have_been_looked_at() {
    let views = vec![observed("v", &[]), spec("active", MINUTE)];
    let mut estate = compared(views);
    // Nobody has looked for an hour.
    estate.refreshed(&"active".into(), refreshed(Who::Tidekeeper, 2 * HOUR - 1));
    let report = warehouse(&estate, 2 * HOUR);
    assert_eq!(report.until, crate::clock::moment(at(HOUR)));
    assert_eq!(report.seen.refreshes_per_hour, Some(60.0 + 0.5));
    assert_eq!(report.seen.awake_share, Some(1.0));
}

#[test]
fn a_rehearsal_that_began_later_is_measured_by_its_own_time() {
    let mut estate = taken_up(vec![spec("v", MINUTE), spec("kept", MINUTE)], &[]);
    assert_eq!(warehouse(&estate, HOUR).forecast, None);
    let views = vec![observed("v", &[]), spec("kept", MINUTE)];
    take_up(&mut estate, 9 * HOUR, &plan(views), &[]);
    for id in ["v".into(), "kept".into()] {
        let view = estate.views.get_mut(&id).unwrap();
        view.last_duration = Some(Span::from_secs(1));
        view.rehearsed
            .refreshed(refreshed(Who::Tidekeeper, 9 * HOUR));
    }
    estate.rehearsed_statement(&"rt".into(), at(9 * HOUR), at(9 * HOUR + 30 * MINUTE));
    let forecast = warehouse(&estate, 10 * HOUR).forecast.unwrap();
    assert_eq!(forecast.awake_share, Some(0.5));
    assert_eq!(forecast.refreshes_per_hour, Some(2.0));
}

/// The report after an hour's rehearsal of views whose refreshes last so many seconds.
async fn rehearsed_for_an_hour(views: Vec<ViewSpec>, lasts: i64) -> report::Report {
    let (observer, rehearsal) = Observer::new(Clock::anchored_to(at(0)));
    observer.replace(&plan(views), &[], &BTreeMap::new());
    for view in observer.estate().views.values_mut() {
        view.last_duration = Some(Span::from_secs(lasts));
        view.rehearsed.target(at(0), Some(view.target_lag));
    }
    let hour = Duration::from_secs(3_600);
    let ended = tokio::time::timeout(hour, rehearsal.run()).await;
    assert!(ended.is_err(), "it plays on");
    observer.report()
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_outlasts_every_wait_ends_in_the_rehearsal_too() {
    let lax = ViewSpec {
        target_lag: Span::from_secs(15 * MINUTE),
        ..observed("v", &[])
    };
    let report = rehearsed_for_an_hour(vec![lax], 150).await;
    let forecast = report.views[0].forecast.as_ref().unwrap();
    assert!((4..12).contains(&forecast.refreshes), "{forecast:?}");
    let mean = forecast.mean_refresh_seconds.unwrap();
    assert!((150.0..151.0).contains(&mean), "{forecast:?}");
    assert!(forecast.in_target.unwrap() > 0.95, "{forecast:?}");
}

#[tokio::test(start_paused = true)]
async fn an_observed_child_of_an_active_parent_has_a_forecast() {
    let child = ViewSpec {
        target_lag: Span::from_secs(5 * MINUTE),
        ..observed("child", &["parent"])
    };
    let views = vec![spec("parent", 2 * MINUTE), child];
    let report = rehearsed_for_an_hour(views, 3).await;
    let forecast = report.views[0].forecast.as_ref().unwrap();
    assert!(forecast.in_target.unwrap() > 0.95, "{forecast:?}");
    assert_eq!(report.views[1].forecast, None);
    let warehouse = report.warehouses[0].forecast.unwrap();
    let awake = warehouse.awake_share.unwrap();
    assert!((0.4..0.95).contains(&awake), "sweeps too: {awake}");
}
