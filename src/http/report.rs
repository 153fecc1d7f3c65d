//! A snapshot as the API shows it.
//!
//! Decides: the names and units of the JSON (an interface): moments are RFC 3339 in UTC with
//! milliseconds, durations are numbers of seconds and say so in their names, what is unknown
//! is `null`.
//! Deliberately absent: wording (`explain.rs`) and HTML (`page.rs`).

use std::collections::BTreeMap;

use serde::Serialize;
use tidekeeper_scheduler::{
    Access, Alert, Failure, Outcome, Snapshot, Span, Timestamp, ViewSnapshot, Wait, WarehouseId,
    WarehouseSnapshot,
};

use super::awake::{self, AwakeReport};
use super::explain;
use crate::clock::moment;
use crate::cost::{self, Estimate};

/// `GET /api/v1/views`.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    /// When the report was written; lags are as of this moment.
    pub(super) at: Option<String>,
    /// When the loop last published its state.
    pub(super) snapshot_at: Option<String>,
    pub(super) draining: bool,
    pub(super) warehouses: Vec<WarehouseReport>,
    pub(super) views: Vec<ViewReport>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct WarehouseReport {
    pub(super) warehouse: String,
    /// `scanning`, `blocked` or `open`.
    pub(super) access: &'static str,
    pub(super) blocked: Option<BlockedReport>,
    pub(super) in_flight: u32,
    pub(super) slots: u32,
    pub(super) slots_configured: u32,
    pub(super) deferred: usize,
    dispatch_wait_seconds: f64,
    ignores_wait: bool,
    breaker_open: bool,
    /// Slots that the targets need, as learned.
    slots_needed: f64,
    overloaded: bool,
    /// How often its records of refreshes were read, and why they cannot be.
    sweeps: u64,
    pub(super) sweep_failure: Option<FailureReport>,
    /// What keeping it awake costs; `null` where that is not what is billed.
    pub(super) awake: Option<AwakeReport>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct BlockedReport {
    pub(super) failure: FailureReport,
    retry_at: Option<String>,
}

/// `GET /api/v1/views/{id}`.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ViewReport {
    pub(super) view: String,
    pub(super) warehouse: String,
    /// `active` or `observe`.
    pub(super) mode: &'static str,
    pub(super) state: &'static str,
    pub(super) wait: Option<WaitReport>,
    data_timestamp: Option<String>,
    pub(super) clock_lag_seconds: Option<f64>,
    /// Age of the oldest record that it has not read, 0 when there is none; `null` where no
    /// probe tells.
    pub(super) unread_age_seconds: Option<f64>,
    pub(super) target_lag_seconds: Option<f64>,
    configured_target_lag_seconds: f64,
    schedule: Option<String>,
    pub(super) interval_seconds: Option<f64>,
    pub(super) expected_refresh_seconds: Option<f64>,
    margin_factor: f64,
    pub(super) in_flight: Option<InFlightReport>,
    pub(super) last_refresh_seconds: Option<f64>,
    pub(super) last_success_at: Option<String>,
    pub(super) last_failure: Option<FailureReport>,
    /// What the latest refresh did, whoever made it.
    last_outcome: Option<&'static str>,
    records_behind: Option<u64>,
    records_skipped: u64,
    /// Refreshes that somebody else has made.
    foreign_refreshes: u64,
    /// AUTO REFRESH's among them, and the warehouse's time that they took together.
    auto_refreshes: u64,
    auto_refresh_seconds: f64,
    /// When its stream begins to drop what it has not read.
    retention_deadline: Option<String>,
    /// What a person should look at, and all of it, the most urgent first.
    pub(super) alert: Option<AlertReport>,
    alerts: Vec<AlertReport>,
    failures_in_a_row: u32,
    pub(super) infeasible: bool,
    pub(super) reachable_target_lag_seconds: Option<f64>,
    pub(super) refreshes: u64,
    /// Data API calls made for the view.
    pub(super) api_calls: u64,
    pub(super) cycles: CyclesReport,
    /// Why it is as it is, in plain words.
    pub(super) explain: String,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct AlertReport {
    pub(super) reason: &'static str,
    text: String,
    since: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct WaitReport {
    pub(super) reason: &'static str,
    until: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct InFlightReport {
    attempt: u64,
    statement: Option<String>,
    submitted_at: Option<String>,
    origin: Option<&'static str>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct FailureReport {
    pub(super) class: &'static str,
    pub(super) message: String,
    pub(super) mend: Option<String>,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct CyclesReport {
    pub(super) in_target: u64,
    pub(super) missed: u64,
}

impl Report {
    /// `prices` are what an hour awake costs, where that is configured.
    pub(super) fn new(
        snapshot: &Snapshot,
        prices: &BTreeMap<WarehouseId, f64>,
        now: Timestamp,
    ) -> Self {
        let priced = |at: &WarehouseSnapshot| prices.get(&at.warehouse).copied();
        let estimates: BTreeMap<&WarehouseId, (&WarehouseSnapshot, Option<Estimate>)> = snapshot
            .warehouses
            .iter()
            .map(|at| (&at.warehouse, (at, cost::estimate(snapshot, at))))
            .collect();
        let warehouses = estimates.values().map(|(at, estimate)| {
            let awake = AwakeReport::new(at, estimate.as_ref(), priced(at), now);
            warehouse(at, awake)
        });
        let views = snapshot.views.iter().map(|one| {
            let Some((at, estimate)) = estimates.get(&one.warehouse) else {
                return view(one, None, now);
            };
            let mut report = view(one, Some(at), now);
            let told = estimate.as_ref().and_then(|estimate| {
                awake::of_view(&one.view, at.warehouse.as_str(), estimate, priced(at))
            });
            report.explain += &told.unwrap_or_default();
            report
        });
        Self {
            at: moment(now),
            snapshot_at: moment(snapshot.at),
            draining: snapshot.draining,
            warehouses: warehouses.collect(),
            views: views.collect(),
        }
    }
}

fn warehouse(warehouse: &WarehouseSnapshot, awake: Option<AwakeReport>) -> WarehouseReport {
    let (access, blocked) = match &warehouse.access {
        Access::Scanning => ("scanning", None),
        Access::Open => ("open", None),
        Access::Blocked {
            failure: why,
            retry_at,
        } => {
            let blocked = BlockedReport {
                failure: failure(why),
                retry_at: moment(*retry_at),
            };
            ("blocked", Some(blocked))
        }
    };
    WarehouseReport {
        warehouse: warehouse.warehouse.to_string(),
        access,
        blocked,
        in_flight: warehouse.in_flight,
        slots: warehouse.slots,
        slots_configured: warehouse.slots_configured,
        deferred: warehouse.deferred,
        dispatch_wait_seconds: warehouse.dispatch_wait.as_secs_f64(),
        ignores_wait: warehouse.ignores_wait,
        breaker_open: warehouse.breaker_open,
        slots_needed: warehouse.slots_needed,
        overloaded: warehouse.overloaded,
        sweeps: warehouse.sweeps,
        sweep_failure: warehouse.sweep_failure.as_ref().map(failure),
        awake,
    }
}

fn view(view: &ViewSnapshot, warehouse: Option<&WarehouseSnapshot>, now: Timestamp) -> ViewReport {
    let in_flight = view
        .attempt
        .as_ref()
        .map(|(attempt, statement)| InFlightReport {
            attempt: attempt.serial(),
            statement: statement.as_ref().map(ToString::to_string),
            submitted_at: view.submitted.and_then(|(at, _)| moment(at)),
            origin: view.submitted.map(|(_, origin)| origin.label()),
        });
    ViewReport {
        view: view.view.to_string(),
        warehouse: view.warehouse.to_string(),
        mode: if view.observed { "observe" } else { "active" },
        state: view.state.label(),
        wait: view.wait.map(wait),
        data_timestamp: view.data_ts.and_then(moment),
        clock_lag_seconds: view.data_ts.map(|data_ts| (now - data_ts).as_secs_f64()),
        unread_age_seconds: view.unread.map(|unread| unread.age(now).as_secs_f64()),
        target_lag_seconds: view.target_lag.map(Span::as_secs_f64),
        configured_target_lag_seconds: view.configured_target_lag.as_secs_f64(),
        schedule: view.schedule.as_ref().map(ToString::to_string),
        interval_seconds: view.interval.map(Span::as_secs_f64),
        expected_refresh_seconds: view.expected_duration.map(Span::as_secs_f64),
        margin_factor: view.margin,
        in_flight,
        last_refresh_seconds: view.last_duration.map(Span::as_secs_f64),
        last_success_at: view.last_success_at.and_then(moment),
        last_failure: view.last_failure.as_ref().map(failure),
        last_outcome: view.last_outcome.map(Outcome::label),
        records_behind: view.records_behind,
        records_skipped: view.records_skipped,
        foreign_refreshes: view.foreign_refreshes,
        auto_refreshes: view.auto_refreshes.0,
        auto_refresh_seconds: view.auto_refreshes.1.as_secs_f64(),
        retention_deadline: view.retention_ends_at.and_then(moment),
        alert: view.alerts.first().map(alert),
        alerts: view.alerts.iter().map(alert).collect(),
        failures_in_a_row: view.failures_in_a_row,
        infeasible: view.infeasible,
        reachable_target_lag_seconds: view.reachable_target_lag.map(Span::as_secs_f64),
        refreshes: view.refreshes,
        api_calls: view.calls,
        cycles: CyclesReport {
            in_target: view.cycles_in_target,
            missed: view.cycles_missed,
        },
        explain: explain::view(view, warehouse, now),
    }
}

fn alert(alert: &Alert) -> AlertReport {
    AlertReport {
        reason: alert.reason.label(),
        text: alert.text.to_string(),
        since: moment(alert.since),
    }
}

fn wait(wait: Wait) -> WaitReport {
    WaitReport {
        reason: wait.reason.label(),
        until: wait.until.and_then(moment),
    }
}

fn failure(failure: &Failure) -> FailureReport {
    FailureReport {
        class: failure.class.label(),
        message: failure.message.to_string(),
        mend: failure.mend.as_ref().map(ToString::to_string),
    }
}
