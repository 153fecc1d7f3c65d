//! The page that Prometheus reads, from a real scheduler's states.

use std::collections::{BTreeMap, BTreeSet};

use tidekeeper_scheduler::{
    AttemptId, Event, FailureClass, Mode, Outcome, ScheduleId, StateName, ViewId, WaitReason,
    WarehouseId,
};

use crate::stream::Fact;

use super::families::{ALL, Family, Kind};
use super::world::{World, view};
use super::*;

fn metrics_of(world: &World) -> Metrics {
    let metrics = Metrics::new().unwrap();
    metrics.set_catalog(world.catalog());
    for notice in &world.notices {
        metrics.observe(notice);
    }
    metrics.publish(&world.snapshot());
    metrics
}

/// The value of one series, by its exact name and labels as they are written.
fn value(page: &str, series: &str) -> Option<f64> {
    page.lines().find_map(|line| {
        let (name, value) = line.rsplit_once(' ')?;
        (name == series).then(|| value.parse().unwrap())
    })
}

/// Every family has a series here: one view infeasible, one refused, one call counted, one
/// stream probed.
fn full() -> Metrics {
    let mut world = World::open(vec![view("orders", 30), view("tight", 2)]);
    for _ in 0..8 {
        world.refresh("tight", 5);
    }
    world.refresh("orders", 3);
    world.refresh("orders", 3);
    world.fail("orders", FailureClass::Transient, "serializable isolation");
    world.probe("orders");
    world.bill_while_awake();
    let metrics = metrics_of(&world);
    metrics.count_call("rt", "execute", "ok");
    metrics.set_probed(["clicks".to_owned()].into());
    probe(&metrics, "clicks");
    metrics.heartbeat(world.now);
    metrics.config_loaded(true, world.now, 1);
    metrics
}

fn probe(metrics: &Metrics, stream: &str) {
    metrics.count_probe(Fact::Call {
        stream,
        operation: "GetRecords",
        result: "ok",
    });
    metrics.count_probe(Fact::Signal { stream, up: true });
}

fn label_names(page: &str, family: &Family) -> BTreeSet<String> {
    let series = page.lines().filter_map(|line| {
        let rest = line.strip_prefix(family.name)?;
        let rest = match family.kind {
            Kind::Histogram => rest.strip_prefix("_sum")?,
            Kind::Counter | Kind::Gauge => rest,
        };
        let (labels, _) = rest.strip_prefix('{')?.split_once('}')?;
        Some(labels.to_owned())
    });
    series
        .flat_map(|labels| {
            let names = labels.split(',').filter_map(|pair| pair.split_once('='));
            names.map(|(name, _)| name.to_owned()).collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn the_page_holds_every_metric_as_declared_and_no_other() {
    let page = full().render().unwrap();
    let types: BTreeMap<&str, &str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .collect();
    let declared: BTreeMap<&str, &str> = ALL
        .iter()
        .map(|family| (family.name, kind(family)))
        .collect();
    assert_eq!(types, declared);
    for family in ALL {
        let declared: BTreeSet<String> = family.labels.iter().map(|l| (*l).to_owned()).collect();
        assert_eq!(label_names(&page, family), declared, "{}", family.name);
    }
}

fn kind(family: &Family) -> &'static str {
    match family.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    }
}

#[test]
fn names_and_help_follow_the_conventions() {
    for family in ALL {
        let name = family.name;
        assert!(name.starts_with("tidekeeper_"), "{name}");
        let total = name.ends_with("_total");
        assert_eq!(family.kind == Kind::Counter, total, "{name}: _total");
        assert!(family.help.ends_with('.'), "{name}: help is a sentence");
        for unit in ["_ms", "_millis", "_minutes", "_hours", "_percent"] {
            assert!(!name.contains(unit), "{name}: base units only");
        }
    }
}

#[test]
fn the_table_for_readers_lists_every_metric_as_declared_and_no_other() {
    let table = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md"));
    let rows: BTreeMap<String, (String, String)> = table
        .lines()
        .filter_map(|line| {
            let cells: Vec<&str> = line
                .strip_prefix("| `")?
                .split('|')
                .map(str::trim)
                .collect();
            assert_eq!(
                cells.len(),
                7,
                "name, type, labels, unit, meaning, example: {line}"
            );
            let name = cells[0].trim_end_matches('`').to_owned();
            let labels = cells[2].replace(['`', ' '], "");
            assert!(cells[4].len() > 10 && cells[5].contains(&name), "{line}");
            Some((name, (cells[1].to_owned(), labels)))
        })
        .collect();
    let declared: BTreeMap<String, (String, String)> = ALL
        .iter()
        .map(|family| {
            let labels = match family.labels {
                [] => "–".to_owned(),
                labels => labels.join(","),
            };
            let labels = if family.name == "tidekeeper_view_info" {
                labels + ",configuredlabels"
            } else {
                labels
            };
            (family.name.to_owned(), (kind(family).to_owned(), labels))
        })
        .collect();
    assert_eq!(rows, declared);
}

#[test]
fn the_table_for_readers_names_every_value_of_the_closed_lists() {
    let table = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md"));
    let reasons = || WaitReason::ALL.into_iter();
    let outcomes = [
        Outcome::Data,
        Outcome::NoData,
        Outcome::MoreData { up_to: None },
        Outcome::SomeSkipped,
        Outcome::AllSkipped,
        Outcome::Recomputed,
    ];
    let classes = FailureClass::ALL.map(FailureClass::label);
    let lists: [(&str, Vec<&str>); 5] = [
        ("view_state", StateName::ALL.map(StateName::label).into()),
        (
            "view_wait_reason",
            reasons().map(WaitReason::label).collect(),
        ),
        (
            "deferred_views",
            reasons()
                .filter(|reason| reason.is_deferral())
                .map(WaitReason::label)
                .collect(),
        ),
        ("refreshes_total", outcomes.map(Outcome::label).into()),
        ("refreshes_total", classes.into()),
    ];
    for (metric, labels) in lists {
        let head = format!("| `tidekeeper_{metric}` |");
        let row = table.lines().find(|line| line.starts_with(&head)).unwrap();
        let words: BTreeSet<&str> = row
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .collect();
        for label in labels {
            assert!(words.contains(label), "{metric}: {label}");
        }
    }
}

#[test]
fn a_refresh_moves_its_view_and_its_warehouse() {
    let mut world = World::open(vec![view("orders", 30)]);
    let page = metrics_of(&world).render().unwrap();
    let data =
        r#"tidekeeper_refreshes_total{class="",outcome="data",view="orders",warehouse="rt"}"#;
    let data_ts = r#"tidekeeper_view_data_timestamp_seconds{view="orders",warehouse="rt"}"#;
    assert_eq!(value(&page, data), Some(0.0), "there before the first one");
    assert_eq!(value(&page, data_ts), None, "unknown is absent, not 0");

    let submitted_at = world.now;
    world.refresh("orders", 3);
    world.refresh("orders", 4);
    let page = metrics_of(&world).render().unwrap();
    assert_eq!(value(&page, data), Some(2.0));
    assert!(value(&page, data_ts).unwrap() > submitted_at.as_secs_f64());
    let of_view = |name: &str| {
        let series = format!(r#"tidekeeper_{name}{{view="orders",warehouse="rt"}}"#);
        value(&page, &series)
    };
    assert_eq!(of_view("refresh_seconds_total"), Some(7.0));
    assert_eq!(of_view("view_last_refresh_duration_seconds"), Some(4.0));
    assert_eq!(of_view("view_target_lag_seconds"), Some(30.0));
    assert_eq!(of_view("view_slo_active"), Some(1.0));
    assert_eq!(of_view("view_infeasible"), Some(0.0));
    assert_eq!(of_view("view_min_target_lag_seconds"), None);
    assert_eq!(
        of_view("view_retention_deadline_timestamp_seconds"),
        Some(value(&page, data_ts).unwrap() + 86_400.0)
    );
    let cycles = r#"tidekeeper_view_cycles_total{result="in_target",view="orders",warehouse="rt"}"#;
    assert_eq!(value(&page, cycles), Some(1.0), "the first closes no cycle");
    let count = r#"tidekeeper_refresh_duration_seconds_count{warehouse="rt"}"#;
    assert_eq!(value(&page, count), Some(2.0));
    let in_target = r#"tidekeeper_cycle_peak_lag_ratio_bucket{warehouse="rt",le="1"}"#;
    assert_eq!(value(&page, in_target), Some(1.0), "{page}");
}

#[test]
fn exactly_one_state_and_one_reason_is_1() {
    let mut world = World::open(vec![view("orders", 30)]);
    world.refresh("orders", 3);
    let page = metrics_of(&world).render().unwrap();
    let ones = |family: &str| -> Vec<&str> {
        let lines = page.lines();
        lines
            .filter(|line| line.starts_with(&format!("{family}{{")) && line.ends_with(" 1"))
            .collect()
    };
    assert_eq!(
        ones("tidekeeper_view_state"),
        [r#"tidekeeper_view_state{state="waiting",view="orders",warehouse="rt"} 1"#]
    );
    assert_eq!(
        ones("tidekeeper_view_wait_reason"),
        [r#"tidekeeper_view_wait_reason{reason="not_due",view="orders",warehouse="rt"} 1"#]
    );
}

#[test]
fn a_failure_counts_once_under_its_class_also_when_it_suspends() {
    let mut world = World::open(vec![view("orders", 30)]);
    for _ in 0..2 {
        world.fail("orders", FailureClass::Permanent, "permission denied");
    }
    let suspended = world
        .notices
        .iter()
        .any(|notice| matches!(notice, Notice::Suspended { .. }));
    assert!(suspended, "{:?}", world.notices);
    let page = metrics_of(&world).render().unwrap();
    let failed = r#"tidekeeper_refreshes_total{class="permanent",outcome="failed",view="orders",warehouse="rt"}"#;
    assert_eq!(value(&page, failed), Some(2.0));
    let state = r#"tidekeeper_view_state{state="suspended",view="orders",warehouse="rt"}"#;
    assert_eq!(value(&page, state), Some(1.0));
    let owed = r#"tidekeeper_view_slo_active{view="orders",warehouse="rt"}"#;
    assert_eq!(value(&page, owed), Some(1.0), "it is owed its target");
}

#[test]
fn closed_paused_and_observed_views_are_owed_nothing() {
    let mut closed = view("closed", 30);
    closed.schedule = Some(ScheduleId::from("office"));
    let mut observed = view("observed", 30);
    observed.mode = Mode::Observe;
    let mut world = World::open(vec![closed, observed, view("paused", 30)]);
    world.refresh("paused", 1);
    world.tell(Event::Pause {
        view: ViewId::from("paused"),
    });
    world.pass(1);
    let page = metrics_of(&world).render().unwrap();
    let of = |name: &str, view: &str| {
        let series = format!(r#"tidekeeper_view_{name}{{view="{view}",warehouse="rt"}}"#);
        value(&page, &series)
    };
    for view in ["closed", "observed", "paused"] {
        assert_eq!(of("slo_active", view), Some(0.0), "{view}");
    }
    assert_eq!(of("target_lag_seconds", "closed"), None);
    assert_eq!(of("interval_seconds", "closed"), None);
    assert_eq!(of("target_lag_seconds", "paused"), Some(30.0));
}

#[test]
fn an_infeasible_view_says_what_it_could_hold() {
    let page = full().render().unwrap();
    let of = |name: &str, view: &str| {
        let series = format!(r#"tidekeeper_view_{name}{{view="{view}",warehouse="rt"}}"#);
        value(&page, &series)
    };
    assert_eq!(of("infeasible", "tight"), Some(1.0));
    assert!(of("min_target_lag_seconds", "tight").unwrap() > 2.0);
    assert_eq!(of("min_target_lag_seconds", "orders"), None);
}

#[test]
fn due_views_without_a_slot_are_counted_by_reason() {
    let views = ["a", "b", "c"].map(|id| view(id, 30)).to_vec();
    let mut world = World::new(views);
    let page = metrics_of(&world).render().unwrap();
    let deferred = |page: &str, reason: &str| {
        let series = format!(r#"tidekeeper_deferred_views{{reason="{reason}",warehouse="rt"}}"#);
        value(page, &series)
    };
    assert_eq!(deferred(&page, "adopting"), Some(3.0));
    assert_eq!(deferred(&page, "slots"), Some(0.0));
    world.scanned(Ok(Vec::new()));
    let page = metrics_of(&world).render().unwrap();
    assert_eq!(deferred(&page, "adopting"), Some(0.0));
    assert_eq!(deferred(&page, "slots"), Some(1.0));
    let in_flight = r#"tidekeeper_in_flight_statements{warehouse="rt"}"#;
    assert_eq!(value(&page, in_flight), Some(2.0));
    assert_eq!(
        value(&page, r#"tidekeeper_warehouse_slots{warehouse="rt"}"#),
        Some(2.0)
    );
}

#[test]
fn series_of_removed_views_and_warehouses_go_and_late_facts_do_not_bring_them_back() {
    let mut world = World::open(vec![view("orders", 30), view("gone", 30)]);
    world.refresh("orders", 3);
    world.refresh("gone", 3);
    let metrics = metrics_of(&world);
    metrics.count_call("rt", "execute", "ok");
    assert!(metrics.render().unwrap().contains(r#"view="gone""#));

    let mut catalog = world.catalog();
    catalog.views.remove(&ViewId::from("gone"));
    metrics.set_catalog(catalog);
    for notice in &world.notices {
        metrics.observe(notice);
    }
    let page = metrics.render().unwrap();
    assert!(!page.contains(r#"view="gone""#), "{page}");
    assert!(page.contains(r#"view="orders""#));

    metrics.set_catalog(Catalog::default());
    for notice in &world.notices {
        metrics.observe(notice);
    }
    metrics.count_call("rt", "execute", "ok");
    metrics.publish(&world.snapshot());
    let page = metrics.render().unwrap();
    assert!(!page.contains(r#"warehouse="rt""#), "{page}");
}

#[test]
fn a_view_that_moves_counts_from_zero_on_its_new_warehouse() {
    let mut world = World::open(vec![view("orders", 30)]);
    world.refresh("orders", 3);
    let metrics = metrics_of(&world);
    let mut catalog = world.catalog();
    let new = WarehouseId::from("dwh");
    catalog.warehouses.insert(new.clone());
    let info = catalog.views.get_mut(&ViewId::from("orders")).unwrap();
    info.warehouse = new;
    metrics.set_catalog(catalog);
    let page = metrics.render().unwrap();
    let data =
        r#"tidekeeper_refreshes_total{class="",outcome="data",view="orders",warehouse="dwh"}"#;
    assert_eq!(value(&page, data), Some(0.0));
    assert!(!page.contains(r#"view="orders",warehouse="rt""#), "{page}");
}

#[test]
fn configured_labels_are_united_and_made_acceptable() {
    let world = World::open(vec![view("a", 30), view("b", 30)]);
    let mut catalog = world.catalog();
    let labels = [
        ("a", "team", "x\"y\n"),
        ("b", "cost-centre", "7"),
        ("b", "view", "z"),
    ];
    for (view, name, value) in labels {
        let info = catalog.views.get_mut(&ViewId::from(view)).unwrap();
        info.labels.insert(name.to_owned(), value.to_owned());
    }
    let metrics = Metrics::new().unwrap();
    metrics.set_catalog(catalog);
    let page = metrics.render().unwrap();
    let infos: Vec<&str> = page
        .lines()
        .filter(|line| line.starts_with("tidekeeper_view_info"))
        .collect();
    assert_eq!(
        infos,
        [
            r#"tidekeeper_view_info{cost_centre="",database="dev",label_view="",stream="clicks",team="x\"y\n",view="a",warehouse="rt"} 1"#,
            r#"tidekeeper_view_info{cost_centre="7",database="dev",label_view="z",stream="clicks",team="",view="b",warehouse="rt"} 1"#,
        ]
    );
    metrics.set_catalog(world.catalog());
    assert!(!metrics.render().unwrap().contains("team"), "they go again");
}

#[test]
fn a_failed_reload_keeps_the_time_and_the_count_of_the_good_one() {
    let metrics = Metrics::new().unwrap();
    let at = |secs: i64| Timestamp::from_micros(secs * 1_000_000);
    metrics.config_loaded(true, at(100), 2);
    metrics.config_loaded(false, at(200), 9);
    metrics.heartbeat(at(205));
    metrics.invariant_violations(3);
    let page = metrics.render().unwrap();
    let plain = |name: &str| value(&page, &format!("tidekeeper_{name}"));
    assert_eq!(plain("config_last_reload_successful"), Some(0.0));
    assert_eq!(
        plain("config_last_reload_success_timestamp_seconds"),
        Some(100.0)
    );
    assert_eq!(plain("config_invalid_views"), Some(2.0));
    assert_eq!(plain("loop_heartbeat_timestamp_seconds"), Some(205.0));
    assert_eq!(plain("invariant_violations_total"), Some(3.0));
    assert_eq!(plain("stale_events_total"), Some(0.0));
    assert!(page.contains("# HELP tidekeeper_build_info "), "{page}");
}

#[test]
fn stale_answers_are_counted() {
    let mut world = World::open(vec![view("orders", 30)]);
    world.run("orders");
    let attempt: AttemptId = world.snapshot().views[0].attempt.clone().unwrap().0;
    let answer = tidekeeper_scheduler::DescribeAnswer::Status(
        tidekeeper_scheduler::StatementStatus::Finished {
            at: None,
            outcome: Outcome::NoData,
        },
    );
    for _ in 0..2 {
        let answer = answer.clone();
        world.tell(Event::Described { attempt, answer });
    }
    let page = metrics_of(&world).render().unwrap();
    assert_eq!(value(&page, "tidekeeper_stale_events_total"), Some(1.0));
    let no_data =
        r#"tidekeeper_refreshes_total{class="",outcome="no_data",view="orders",warehouse="rt"}"#;
    assert_eq!(value(&page, no_data), Some(1.0));
}

#[test]
fn two_instances_in_one_process_do_not_meet() {
    let world = World::open(vec![view("orders", 30)]);
    let (one, other) = (metrics_of(&world), Metrics::new().unwrap());
    one.invariant_violations(1);
    let page = other.render().unwrap();
    assert_eq!(
        value(&page, "tidekeeper_invariant_violations_total"),
        Some(0.0)
    );
    assert!(!page.contains("orders"));
}

#[test]
fn the_page_is_text_that_ends_with_a_line_feed_and_repeats_no_series() {
    let page = full().render().unwrap();
    assert!(page.ends_with('\n'));
    let mut seen = BTreeSet::new();
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let series = line.rsplit_once(' ').unwrap().0;
        assert!(seen.insert(series), "{series} is there twice");
    }
}

#[test]
fn a_stream_that_is_not_probed_any_more_leaves_no_series() {
    let metrics = Metrics::new().unwrap();
    metrics.set_probed(["clicks".to_owned(), "orders".to_owned()].into());
    probe(&metrics, "clicks");
    let page = metrics.render().unwrap();
    let up = |stream: &str| format!("tidekeeper_stream_probe_up{{stream=\"{stream}\"}}");
    assert_eq!(value(&page, &up("clicks")), Some(1.0));
    assert_eq!(value(&page, &up("orders")), Some(0.0), "nothing seen yet");
    metrics.set_probed(["orders".to_owned()].into());
    probe(&metrics, "clicks");
    let page = metrics.render().unwrap();
    assert!(!page.contains("clicks"), "{page}");
}

#[test]
fn awake_time_is_counted_where_it_is_billed() {
    let series = "tidekeeper_awake_seconds_total{warehouse=\"rt\"}";
    let mut world = World::open(vec![view("orders", 600)]);
    world.refresh("orders", 3);
    let page = metrics_of(&world).render().unwrap();
    assert_eq!(value(&page, series), None);
    world.bill_while_awake();
    world.refresh("orders", 3);
    world.pass(100);
    let page = metrics_of(&world).render().unwrap();
    assert_eq!(value(&page, series), Some(60.0));
}
