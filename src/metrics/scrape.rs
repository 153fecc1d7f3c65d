//! Facts → metric families, afresh at every scrape.
//!
//! Decides: which series exist and when one is absent rather than 0.
//! Deliberately absent: memory. What is not in the state given is not on the page.

use std::collections::{BTreeMap, BTreeSet};

use prometheus::proto::MetricFamily;
use prometheus::{CounterVec, Error, GaugeVec, Opts, Registry};
use tidekeeper_scheduler::{
    AlertReason, Outcome, RefreshedBy, StateName, Timestamp, ViewSnapshot, WaitReason, WarehouseId,
    WarehouseSnapshot,
};

use super::families::{self as f, Family};
use super::{Catalog, State, ViewInfo};

type Done = Result<(), Error>;

pub(super) fn gather(state: &State) -> Result<Vec<MetricFamily>, Error> {
    let registry = Registry::new();
    daemon(&registry, state)?;
    view_info(&registry, &state.catalog)?;
    view_counters(&registry, state)?;
    api_requests(&registry, state)?;
    stream_probes(&registry, state)?;
    let Some(snapshot) = &state.snapshot else {
        return Ok(registry.gather());
    };
    // A view that is leaving, or moving and still on its old warehouse, is not the
    // configuration's any more.
    let views: Vec<(&ViewSnapshot, &ViewInfo)> = snapshot
        .views
        .iter()
        .filter_map(|view| Some((view, state.catalog.views.get(&view.view)?)))
        .filter(|(view, info)| view.warehouse == info.warehouse)
        .collect();
    let warehouses: Vec<&WarehouseSnapshot> = snapshot
        .warehouses
        .iter()
        .filter(|warehouse| state.catalog.warehouses.contains(&warehouse.warehouse))
        .collect();
    view_lag(&registry, &views, snapshot.at)?;
    view_condition(&registry, &views)?;
    view_history(&registry, &views)?;
    warehouse_gauges(&registry, &warehouses, &views)?;
    Ok(registry.gather())
}

fn gauges(registry: &Registry, family: Family) -> Result<GaugeVec, Error> {
    let gauges = GaugeVec::new(Opts::new(family.name, family.help), family.labels)?;
    registry.register(Box::new(gauges.clone()))?;
    Ok(gauges)
}

fn counters(registry: &Registry, family: Family) -> Result<CounterVec, Error> {
    let counters = CounterVec::new(Opts::new(family.name, family.help), family.labels)?;
    registry.register(Box::new(counters.clone()))?;
    Ok(counters)
}

fn set(gauges: &GaugeVec, labels: &[&str], value: f64) -> Done {
    gauges.get_metric_with_label_values(labels)?.set(value);
    Ok(())
}

/// An unknown value is an absent series.
fn set_known(gauges: &GaugeVec, labels: &[&str], value: Option<f64>) -> Done {
    value.map_or(Ok(()), |value| set(gauges, labels, value))
}

fn count(counters: &CounterVec, labels: &[&str], total: f64) -> Done {
    counters.get_metric_with_label_values(labels)?.inc_by(total);
    Ok(())
}

fn flag(on: bool) -> f64 {
    f64::from(u8::from(on))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus knows no integers; exact up to 2^53"
)]
fn number(count: u64) -> f64 {
    count as f64
}

fn daemon(registry: &Registry, state: &State) -> Done {
    let version = env!("CARGO_PKG_VERSION");
    set(&gauges(registry, f::BUILD_INFO)?, &[version], 1.0)?;
    let reload = gauges(registry, f::RELOAD_SUCCESSFUL)?;
    set_known(&reload, &[], state.reload_ok.map(flag))?;
    let loaded_at = gauges(registry, f::RELOAD_TIMESTAMP)?;
    set_known(&loaded_at, &[], state.loaded_at.map(|at| at.as_secs_f64()))?;
    let invalid = number(u64::try_from(state.invalid_views).unwrap_or(u64::MAX));
    set(&gauges(registry, f::INVALID_VIEWS)?, &[], invalid)?;
    let heartbeat = gauges(registry, f::HEARTBEAT)?;
    set_known(&heartbeat, &[], state.heartbeat.map(|at| at.as_secs_f64()))?;
    let stale = counters(registry, f::STALE_EVENTS)?;
    count(&stale, &[], number(state.stale_events))?;
    let violations = counters(registry, f::INVARIANT_VIOLATIONS)?;
    count(&violations, &[], number(state.invariant_violations))
}

/// Views may be labelled differently, but a family's label names must agree: it has the union
/// of them, with "" (to Prometheus: no label) where a view has none.
fn view_info(registry: &Registry, catalog: &Catalog) -> Done {
    let configured = catalog.views.values().flat_map(|info| info.labels.keys());
    let extra: BTreeSet<String> = configured.map(|name| label_name(name)).collect();
    let fixed = f::VIEW_INFO.labels.iter().copied();
    let names: Vec<&str> = fixed.chain(extra.iter().map(String::as_str)).collect();
    let opts = Opts::new(f::VIEW_INFO.name, f::VIEW_INFO.help);
    let gauges = GaugeVec::new(opts, &names)?;
    registry.register(Box::new(gauges.clone()))?;
    for (view, info) in &catalog.views {
        let mut values = vec![
            view.as_str(),
            info.warehouse.as_str(),
            &info.database,
            info.stream.as_deref().unwrap_or_default(),
        ];
        values.extend(extra.iter().map(|name| {
            let own = info.labels.iter().find(|(own, _)| label_name(own) == *name);
            own.map(|(_, value)| value.as_str()).unwrap_or_default()
        }));
        set(&gauges, &values, 1.0)?;
    }
    Ok(())
}

/// A configured label's name as Prometheus accepts it: one bad name must not take the whole
/// page away.
fn label_name(configured: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let name: String = configured
        .chars()
        .map(|c| if allowed(c) { c } else { '_' })
        .collect();
    let usable = name
        .chars()
        .next()
        .is_some_and(|first| !first.is_ascii_digit());
    if usable && !name.starts_with("__") && !f::VIEW_INFO.labels.contains(&name.as_str()) {
        name
    } else {
        format!("label_{name}")
    }
}

fn view_counters(registry: &Registry, state: &State) -> Done {
    let cycles = counters(registry, f::VIEW_CYCLES)?;
    let refreshes = counters(registry, f::REFRESHES)?;
    let seconds = counters(registry, f::REFRESH_SECONDS)?;
    let skipped = counters(registry, f::RECORDS_SKIPPED)?;
    let foreign = counters(registry, f::FOREIGN_REFRESHES)?;
    for (view, info) in &state.catalog.views {
        let Some(totals) = state.totals.get(view) else {
            continue;
        };
        let (view, warehouse) = (view.as_str(), info.warehouse.as_str());
        for (result, total) in [("in_target", totals.in_target), ("missed", totals.missed)] {
            count(&cycles, &[view, warehouse, result], number(total))?;
        }
        // There from the start, so that rate() sees the first refresh.
        let data = [view, warehouse, Outcome::Data.label(), ""];
        count(&refreshes, &data, 0.0)?;
        for ((outcome, class), total) in &totals.refreshes {
            let labels = [view, warehouse, *outcome, *class];
            count(&refreshes, &labels, number(*total))?;
        }
        count(&seconds, &[view, warehouse], totals.refresh_time)?;
        count(&skipped, &[view, warehouse], number(totals.skipped))?;
        for by in [RefreshedBy::Auto, RefreshedBy::Statement] {
            let total = totals.foreign.get(by.label()).copied();
            let labels = [view, warehouse, by.label()];
            count(&foreign, &labels, number(total.unwrap_or_default()))?;
        }
    }
    Ok(())
}

fn api_requests(registry: &Registry, state: &State) -> Done {
    let requests = counters(registry, f::API_REQUESTS)?;
    for (warehouse, calls) in &state.calls {
        for ((operation, result), total) in calls {
            let labels = [warehouse.as_str(), operation, result];
            count(&requests, &labels, number(*total))?;
        }
    }
    Ok(())
}

fn stream_probes(registry: &Registry, state: &State) -> Done {
    let requests = counters(registry, f::STREAM_PROBE_REQUESTS)?;
    let up = gauges(registry, f::STREAM_PROBE_UP)?;
    for (stream, probes) in &state.probes {
        for ((operation, result), total) in &probes.calls {
            let labels = [stream.as_str(), *operation, *result];
            count(&requests, &labels, number(*total))?;
        }
        set(&up, &[stream.as_str()], flag(probes.up))?;
    }
    Ok(())
}

fn view_lag(registry: &Registry, views: &[(&ViewSnapshot, &ViewInfo)], now: Timestamp) -> Done {
    let unread_age = gauges(registry, f::VIEW_UNREAD_AGE)?;
    let data_ts = gauges(registry, f::VIEW_DATA_TIMESTAMP)?;
    let target_lag = gauges(registry, f::VIEW_TARGET_LAG)?;
    let interval = gauges(registry, f::VIEW_INTERVAL)?;
    let min_target = gauges(registry, f::VIEW_MIN_TARGET_LAG)?;
    let deadline = gauges(registry, f::VIEW_RETENTION_DEADLINE)?;
    for (view, _) in views {
        let labels = [view.view.as_str(), view.warehouse.as_str()];
        let age = view.unread.map(|unread| unread.age(now).as_secs_f64());
        set_known(&unread_age, &labels, age)?;
        set_known(&data_ts, &labels, view.data_ts.map(|at| at.as_secs_f64()))?;
        set_known(
            &target_lag,
            &labels,
            view.target_lag.map(|lag| lag.as_secs_f64()),
        )?;
        set_known(
            &interval,
            &labels,
            view.interval.map(|span| span.as_secs_f64()),
        )?;
        if view.infeasible {
            let reachable = view.reachable_target_lag.map(|lag| lag.as_secs_f64());
            set_known(&min_target, &labels, reachable)?;
        }
        let ends_at = view.retention_ends_at.map(|at| at.as_secs_f64());
        set_known(&deadline, &labels, ends_at)?;
    }
    Ok(())
}

fn view_condition(registry: &Registry, views: &[(&ViewSnapshot, &ViewInfo)]) -> Done {
    let states = gauges(registry, f::VIEW_STATE)?;
    let reasons = gauges(registry, f::VIEW_WAIT_REASON)?;
    let slo_active = gauges(registry, f::VIEW_SLO_ACTIVE)?;
    let infeasible = gauges(registry, f::VIEW_INFEASIBLE)?;
    let alerts = gauges(registry, f::VIEW_ALERT)?;
    for (view, _) in views {
        let (id, warehouse) = (view.view.as_str(), view.warehouse.as_str());
        for state in StateName::ALL {
            let labels = [id, warehouse, state.label()];
            set(&states, &labels, flag(view.state == state))?;
        }
        for reason in AlertReason::ALL {
            let labels = [id, warehouse, reason.label()];
            let raised = view.alerts.iter().any(|alert| alert.reason == reason);
            set(&alerts, &labels, flag(raised))?;
        }
        let waits_for = view.wait.map(|wait| wait.reason);
        for reason in WaitReason::ALL {
            let labels = [id, warehouse, reason.label()];
            set(&reasons, &labels, flag(waits_for == Some(reason)))?;
        }
        set(
            &slo_active,
            &[id, warehouse],
            flag(is_owed_its_target(view)),
        )?;
        set(&infeasible, &[id, warehouse], flag(view.infeasible))?;
    }
    Ok(())
}

/// A suspended view is owed its target all the same: that is what the alert is for.
fn is_owed_its_target(view: &ViewSnapshot) -> bool {
    let waits_for = view.wait.map(|wait| wait.reason);
    view.target_lag.is_some()
        && view.state != StateName::Paused
        && waits_for != Some(WaitReason::Observe)
}

fn view_history(registry: &Registry, views: &[(&ViewSnapshot, &ViewInfo)]) -> Done {
    let duration = gauges(registry, f::VIEW_LAST_DURATION)?;
    let success = gauges(registry, f::VIEW_LAST_SUCCESS)?;
    for (view, _) in views {
        let labels = [view.view.as_str(), view.warehouse.as_str()];
        let took = view.last_duration.map(|span| span.as_secs_f64());
        set_known(&duration, &labels, took)?;
        let at = view.last_success_at.map(|at| at.as_secs_f64());
        set_known(&success, &labels, at)?;
    }
    Ok(())
}

fn warehouse_gauges(
    registry: &Registry,
    warehouses: &[&WarehouseSnapshot],
    views: &[(&ViewSnapshot, &ViewInfo)],
) -> Done {
    let in_flight = gauges(registry, f::IN_FLIGHT)?;
    let slots = gauges(registry, f::SLOTS)?;
    let breaker = gauges(registry, f::BREAKER_OPEN)?;
    let deferred = gauges(registry, f::DEFERRED)?;
    let awake = counters(registry, f::AWAKE_SECONDS)?;
    let mut waiting: BTreeMap<(&WarehouseId, WaitReason), u64> = BTreeMap::new();
    for (view, _) in views {
        if let Some(wait) = view.wait {
            *waiting.entry((&view.warehouse, wait.reason)).or_default() += 1;
        }
    }
    for warehouse in warehouses {
        let id = warehouse.warehouse.as_str();
        set(&in_flight, &[id], f64::from(warehouse.in_flight))?;
        set(&slots, &[id], f64::from(warehouse.slots))?;
        let open = f64::from(u8::from(warehouse.breaker_open));
        set(&breaker, &[id], open)?;
        if let Some(time) = warehouse.awake {
            count(&awake, &[id], time.total.as_secs_f64())?;
        }
        for reason in WaitReason::ALL.into_iter().filter(|r| r.is_deferral()) {
            let views = waiting.get(&(&warehouse.warehouse, reason));
            let views = number(views.copied().unwrap_or_default());
            set(&deferred, &[id, reason.label()], views)?;
        }
    }
    Ok(())
}
