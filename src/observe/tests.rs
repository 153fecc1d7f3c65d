//! What the report makes of what it is told late, or not at all.

use super::*;

const MINUTE: i64 = 60;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(0) + Span::from_secs(seconds)
}

/// A view `v` with a target of a minute on a warehouse `w`, since 0.
fn estate(mode: Mode, stream: Option<&str>) -> Estate {
    let mut estate = Estate::default();
    let warehouse = Warehouse {
        since: at(0),
        ..Warehouse::default()
    };
    estate.warehouses.insert("w".into(), warehouse);
    let mut seen = Ledger::new(at(0));
    seen.target(at(0), Some(Span::from_secs(MINUTE)));
    let view = View {
        warehouse: "w".into(),
        location: "v".into(),
        stream: stream.map(ToOwned::to_owned),
        mode,
        follows: false,
        target_lag: Span::from_secs(MINUTE),
        since: at(0),
        rehearsed: seen.clone(),
        seen,
        volumes: Volumes::default(),
        last_duration: None,
        drawn: 0,
        settled: Timestamp::MIN,
    };
    estate.views.insert("v".into(), view);
    if let Some(name) = stream {
        let arrivals = Arrivals {
            exact: Runs::at_most(ARRIVALS),
            told: Runs::at_most(ARRIVALS),
            views: vec!["v".into()],
            looked_at: None,
        };
        estate.streams.insert(name.to_owned(), arrivals);
    }
    estate
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

fn service(estate: &Estate, now: i64) -> report::Service {
    let id = "v".into();
    let view = estate.views.get(&id).unwrap();
    estate.view(&id, view, at(now)).seen
}

#[test]
fn records_that_are_read_hours_late_count_as_if_they_had_been_read_at_once() {
    let mut estate = estate(Mode::Observe, None);
    let id = "v".into();
    estate.refreshed(&id, refreshed(Who::Statement, 0));
    let read = |estate: &mut Estate, until: i64| {
        estate
            .warehouses
            .get_mut(&"w".into())
            .unwrap()
            .records_until = Some(at(until));
    };
    read(&mut estate, 30);
    // For three hours the records cannot be read.
    for minute in 1..180 {
        estate.settle(at(minute * MINUTE));
    }
    assert_eq!(service(&estate, 180 * MINUTE).in_target, Some(1.0));
    for half in 1..360 {
        estate.refreshed(&id, refreshed(Who::Statement, half * 30));
    }
    read(&mut estate, 180 * MINUTE);
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
    estate.streams.get_mut("s").unwrap().looked_at = Some(at(10 * MINUTE));
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
    estate.warehouses.get_mut(&"w".into()).unwrap().wake_minimum = Some(Span::from_secs(MINUTE));
    estate.failed(&id, FailureClass::Unreachable, at(10), at(13));
    let awake = |estate: &Estate| estate.warehouses[&"w".into()].awake.total(at(500));
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
    assert_eq!(service.mean_refresh_seconds, Some(3.0));
}
