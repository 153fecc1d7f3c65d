//! What Prometheus sees of the daemon.
//!
//! Decides: which facts are counted, and that a series exists exactly as long as its view or
//! warehouse is in the [`Catalog`]. Gauges and counters are kept as plain data and written out
//! at every scrape, so a series goes with its owner without anybody deleting it; histograms,
//! one per warehouse, live in the registry and are dropped by [`Metrics::set_catalog`].
//! Deliberately absent: the default registry and statics (two instances can live in one
//! process), process metrics (the container's own monitoring has them), and labels whose
//! values come from anywhere but the configuration and closed lists.
//!
//! Invariant: a fact about a view or warehouse outside the catalog leaves no trace. Hence
//! [`Metrics::set_catalog`] comes before the scheduler is given the plan.

mod families;
mod scrape;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::{HistogramOpts, HistogramVec, Registry};
use tidekeeper_scheduler::{Foreign, Notice, Snapshot, Timestamp, ViewId, WarehouseId};

use crate::stream;
use families::Family;

/// From a tenth of a second (a small view) to the default statement time-out, 1 h.
const DURATION_BUCKETS: [f64; 14] = [
    0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0,
];
/// Delays are milliseconds while slots are free and a good part of a target lag when not.
const DELAY_BUCKETS: [f64; 12] = [
    0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
];
/// Close around 1, where a cycle turns from in target to missed.
const RATIO_BUCKETS: [f64; 14] = [
    0.25, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0, 1.05, 1.1, 1.25, 1.5, 2.0, 4.0, 8.0,
];

/// What the configuration says of views and warehouses beyond what the scheduler knows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Catalog {
    pub views: BTreeMap<ViewId, ViewInfo>,
    pub warehouses: BTreeSet<WarehouseId>,
    /// What an hour awake costs, where that is configured.
    pub prices: BTreeMap<WarehouseId, f64>,
}

/// The labels of one view.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewInfo {
    pub warehouse: WarehouseId,
    pub database: String,
    pub stream: Option<String>,
    /// Configured labels, for `view_info`.
    pub labels: BTreeMap<String, String>,
}

/// Everything the daemon counts.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    refresh_duration: HistogramVec,
    dispatch_delay: HistogramVec,
    peak_lag_ratio: HistogramVec,
    state: Mutex<State>,
}

/// The facts behind everything but the histograms. Cloned for a scrape, so that writing the
/// page never holds up the loop.
#[derive(Clone, Debug, Default)]
struct State {
    catalog: Arc<Catalog>,
    snapshot: Option<Arc<Snapshot>>,
    totals: BTreeMap<ViewId, Totals>,
    calls: BTreeMap<WarehouseId, BTreeMap<(String, String), u64>>,
    probes: BTreeMap<String, Probes>,
    heartbeat: Option<Timestamp>,
    reload_ok: Option<bool>,
    loaded_at: Option<Timestamp>,
    invalid_views: usize,
    stale_events: u64,
    invariant_violations: u64,
}

/// The counters of one view.
#[derive(Clone, Debug, Default)]
struct Totals {
    /// By outcome and class.
    refreshes: BTreeMap<(&'static str, &'static str), u64>,
    refresh_time: f64,
    in_target: u64,
    missed: u64,
    skipped: u64,
    /// By who made them.
    foreign: BTreeMap<&'static str, u64>,
}

/// What probing one stream has come to.
#[derive(Clone, Debug, Default)]
struct Probes {
    /// By operation and result.
    calls: BTreeMap<(&'static str, &'static str), u64>,
    up: bool,
}

impl Metrics {
    /// Metrics of nothing yet.
    ///
    /// # Errors
    /// If two metrics had the same name.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let histogram = |family: Family, buckets: &[f64]| {
            let opts = HistogramOpts::new(family.name, family.help).buckets(buckets.to_vec());
            let histogram = HistogramVec::new(opts, family.labels)?;
            registry.register(Box::new(histogram.clone()))?;
            Ok::<_, prometheus::Error>(histogram)
        };
        Ok(Self {
            refresh_duration: histogram(families::REFRESH_DURATION, &DURATION_BUCKETS)?,
            dispatch_delay: histogram(families::DISPATCH_DELAY, &DELAY_BUCKETS)?,
            peak_lag_ratio: histogram(families::CYCLE_PEAK_LAG_RATIO, &RATIO_BUCKETS)?,
            state: Mutex::default(),
            registry,
        })
    }

    /// The views and warehouses that are configured now. Series of all others go; a view that
    /// has moved to another warehouse starts from zero, as its series do.
    pub fn set_catalog(&self, catalog: Catalog) {
        let mut state = self.state();
        let old = std::mem::replace(&mut state.catalog, Arc::new(catalog));
        let new = Arc::clone(&state.catalog);
        let stayed = |view: &ViewId| match (old.views.get(view), new.views.get(view)) {
            (Some(before), Some(after)) => before.warehouse == after.warehouse,
            (None, _) | (_, None) => false,
        };
        state.totals.retain(|view, _| stayed(view));
        for view in new.views.keys() {
            state.totals.entry(view.clone()).or_default();
        }
        state.calls.retain(|id, _| new.warehouses.contains(id));
        for histogram in self.histograms() {
            for gone in old.warehouses.difference(&new.warehouses) {
                // It fails for what was never there, and then there is nothing to do.
                let _absent = histogram.remove_label_values(&[gone.as_str()]);
            }
            for id in &new.warehouses {
                // Creates the empty series, so that rate() works from the first observation.
                let _created = histogram.get_metric_with_label_values(&[id.as_str()]);
            }
        }
    }

    /// What is configured now.
    #[must_use]
    pub fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.state().catalog)
    }

    /// Counts a fact.
    pub fn observe(&self, notice: &Notice) {
        match notice {
            Notice::Dispatched { view, delay, .. } => {
                self.sample(&self.dispatch_delay, view, delay.as_secs_f64());
            }
            Notice::Refreshed {
                view,
                outcome,
                duration,
                cycle,
                ..
            } => {
                let seconds = duration.as_secs_f64();
                self.count_refresh(view, (outcome.label(), ""), seconds);
                self.sample(&self.refresh_duration, view, seconds);
                let Some(cycle) = cycle else {
                    return;
                };
                self.count_cycle(view, cycle.in_target());
                let target = cycle.target_lag.as_secs_f64();
                if target > 0.0 {
                    let ratio = cycle.peak_lag.as_secs_f64() / target;
                    self.sample(&self.peak_lag_ratio, view, ratio);
                }
            }
            Notice::Failed {
                view,
                failure,
                duration,
                ..
            } => {
                let labels = ("failed", failure.class.label());
                self.count_refresh(view, labels, duration.as_secs_f64());
            }
            Notice::Foreign { view, refresh } => self.count_foreign(view, refresh),
            Notice::Skipped { view, records, .. } => {
                if let Some(totals) = self.state().totals.get_mut(view) {
                    totals.skipped += records;
                }
            }
            Notice::Stale { .. } => self.state().stale_events += 1,
            // A suspension comes with the failure that caused it; the others are states,
            // which the snapshot shows.
            Notice::WouldRefresh { .. }
            | Notice::Adopted { .. }
            | Notice::Read { .. }
            | Notice::Unsure { .. }
            | Notice::Resolved { .. }
            | Notice::CallFailed { .. }
            | Notice::TimedOut { .. }
            | Notice::Suspended { .. }
            | Notice::Resumed { .. }
            | Notice::Paused { .. }
            | Notice::Infeasible { .. }
            | Notice::FeasibleAgain { .. }
            | Notice::ViewAdded { .. }
            | Notice::ViewRemoved { .. }
            | Notice::WarehouseReady { .. }
            | Notice::WarehouseBlocked { .. }
            | Notice::BreakerOpened { .. }
            | Notice::BreakerClosed { .. }
            | Notice::Overload { .. }
            | Notice::UnknownStatus { .. }
            | Notice::StaleParent { .. }
            | Notice::Recreated { .. }
            | Notice::SweepFailed { .. }
            | Notice::LeftRunning { .. } => {}
        }
    }

    /// The state that gauges show from now on.
    pub fn publish(&self, snapshot: &Arc<Snapshot>) {
        self.state().snapshot = Some(Arc::clone(snapshot));
    }

    /// Counts a call to the Data API. Both `operation` and `result` must come from closed
    /// lists: they become labels.
    pub fn count_call(&self, warehouse: &str, operation: &str, result: &str) {
        let warehouse = WarehouseId::from(warehouse);
        let mut state = self.state();
        if state.catalog.warehouses.contains(&warehouse) {
            let calls = state.calls.entry(warehouse).or_default();
            *calls
                .entry((operation.to_owned(), result.to_owned()))
                .or_default() += 1;
        }
    }

    /// The streams that are probed now. Series of all others go.
    pub fn set_probed(&self, streams: BTreeSet<String>) {
        let mut state = self.state();
        state.probes.retain(|stream, _| streams.contains(stream));
        for stream in streams {
            state.probes.entry(stream).or_default();
        }
    }

    /// Counts what a probe did, or what came of it.
    pub fn count_probe(&self, fact: stream::Fact<'_>) {
        let mut state = self.state();
        match fact {
            stream::Fact::Call {
                stream,
                operation,
                result,
            } => {
                if let Some(probes) = state.probes.get_mut(stream) {
                    *probes.calls.entry((operation, result)).or_default() += 1;
                }
            }
            stream::Fact::Looked { .. } => {}
            stream::Fact::Signal { stream, up } => {
                if let Some(probes) = state.probes.get_mut(stream) {
                    probes.up = up;
                }
            }
        }
    }

    /// The loop came round.
    pub fn heartbeat(&self, at: Timestamp) {
        self.state().heartbeat = Some(at);
    }

    /// The configuration was loaded, or could not be: then the last good one stays in force,
    /// with its time and its count of invalid views.
    pub fn config_loaded(&self, ok: bool, at: Timestamp, invalid_views: usize) {
        let mut state = self.state();
        state.reload_ok = Some(ok);
        if ok {
            state.loaded_at = Some(at);
            state.invalid_views = invalid_views;
        }
    }

    /// `found` more invariants were found broken.
    pub fn invariant_violations(&self, found: u64) {
        self.state().invariant_violations += found;
    }

    /// The page in text format 0.0.4.
    ///
    /// # Errors
    /// If a metric's name or labels are not what Prometheus accepts.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        let state = self.state().clone();
        let mut families = self.registry.gather();
        families.extend(scrape::gather(&state)?);
        families.sort_by(|a, b| a.name().cmp(b.name()));
        prometheus::TextEncoder::new().encode_to_string(&families)
    }

    /// One that did not take place is none.
    fn count_foreign(&self, view: &ViewId, refresh: &Foreign) {
        if refresh.record.result.is_ok()
            && let Some(totals) = self.state().totals.get_mut(view)
        {
            *totals.foreign.entry(refresh.by.label()).or_default() += 1;
        }
    }

    fn count_refresh(&self, view: &ViewId, labels: (&'static str, &'static str), seconds: f64) {
        if let Some(totals) = self.state().totals.get_mut(view) {
            *totals.refreshes.entry(labels).or_default() += 1;
            totals.refresh_time += seconds.max(0.0);
        }
    }

    fn count_cycle(&self, view: &ViewId, in_target: bool) {
        if let Some(totals) = self.state().totals.get_mut(view) {
            let count = if in_target {
                &mut totals.in_target
            } else {
                &mut totals.missed
            };
            *count += 1;
        }
    }

    fn sample(&self, histogram: &HistogramVec, view: &ViewId, value: f64) {
        // The lock is held while sampling, lest a reload in between drop the series and this
        // bring it back.
        let state = self.state();
        let Some(info) = state.catalog.views.get(view) else {
            return;
        };
        if state.catalog.warehouses.contains(&info.warehouse)
            && let Ok(series) = histogram.get_metric_with_label_values(&[info.warehouse.as_str()])
        {
            series.observe(value);
        }
    }

    fn histograms(&self) -> [&HistogramVec; 3] {
        [
            &self.refresh_duration,
            &self.dispatch_delay,
            &self.peak_lag_ratio,
        ]
    }

    /// Plain counters are right also after a panic elsewhere: the poison is ignored.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
