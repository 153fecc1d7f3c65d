//! A scenario: what the virtual world holds and what will befall it, checked.
//!
//! Deliberately absent: TOML (see `file`), chance (see `dice`), what policies do.

use std::path::PathBuf;
use std::sync::Arc;

use tidekeeper_scheduler::{
    ApiScope, Billing, Mode, Outcomes, OverloadOrder, Plan, Priority, Span, StatementTimeout,
    Timestamp, ViewId, ViewSpec, WarehouseId, WarehouseSpec, WhileClosed,
};

/// The Data API's `ExecuteStatement` quota per second, account and region (AWS documentation).
pub(crate) const SUBMIT_QUOTA: f64 = 30.0;

#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    pub name: String,
    /// The horizon: nothing is decided beyond it.
    pub duration: Span,
    pub seed: u64,
    pub warehouses: Vec<WarehouseModel>,
    pub views: Vec<ViewModel>,
    /// When the daemon is killed.
    pub restarts: Vec<Restart>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct WarehouseModel {
    pub name: String,
    /// Statements that the warehouse really runs at once; the others queue, first come first.
    pub slots: u32,
    /// Statements that the daemon may have in flight.
    pub max_in_flight: u32,
    /// From the submit until the statement wants a slot, and what chance adds at most.
    pub submit_delay: Span,
    pub jitter: Span,
    /// From a fact to the daemon's knowledge of it.
    pub api_latency: Span,
    /// Submits per second that the API takes; the daemon is granted `quota_share` of it.
    pub submit_quota: f64,
    pub quota_share: f64,
    pub billing: Billing,
    /// Whether what refreshes did is read from the warehouse's records. Off: every answer
    /// tells it.
    pub outcomes: Outcomes,
    /// Who goes first when the targets need more slots than there are.
    pub overload: OverloadOrder,
    /// Each further statement that runs at the same time slows one that starts by this share.
    pub interference: f64,
    pub faults: Vec<Fault>,
}

impl WarehouseModel {
    /// A warehouse without delays and faults.
    #[must_use]
    pub fn new(name: &str, slots: u32) -> Self {
        Self {
            name: name.to_owned(),
            slots,
            max_in_flight: slots,
            submit_delay: Span::ZERO,
            jitter: Span::ZERO,
            api_latency: Span::ZERO,
            submit_quota: SUBMIT_QUOTA,
            quota_share: 0.5,
            billing: Billing::Provisioned,
            outcomes: Outcomes::Off,
            overload: OverloadOrder::Fair,
            interference: 0.0,
            faults: Vec::new(),
        }
    }
}

/// Something that goes wrong in a warehouse for a while.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    pub kind: FaultKind,
    pub from: Span,
    pub until: Span,
    /// How many of the calls or statements it hits, 0 to 1.
    pub share: f64,
    /// What `slow` multiplies service times by.
    pub factor: f64,
    /// Only this view, where given; for faults of statements.
    pub view: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Calls are answered with a throttle.
    Throttle,
    /// Submits are carried out and their answer is lost.
    LostAnswers,
    /// Submits are answered with a 500 and not carried out.
    ServerErrors,
    /// The wait asked for is ignored: every call is answered at once.
    IgnoreWait,
    /// No call gets through; what runs goes on.
    Unreachable,
    /// The warehouse is paused: what runs is aborted, submits are refused.
    Away,
    /// Statements fail, for a reason that passes.
    Failing,
    /// Statements fail, for a reason that does not.
    Broken,
    /// Statements never end by themselves (the service kills them after 24 h).
    Stuck,
    /// Service takes `factor` times as long.
    Slow,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ViewModel {
    pub name: String,
    /// Index into [`Scenario::warehouses`].
    pub warehouse: usize,
    pub target_lag: Span,
    pub miss_rate: f64,
    pub min_interval: Span,
    /// Stated by the operator; else 1 h, and more where that is only the default.
    pub statement_timeout: Option<Span>,
    pub priority: Priority,
    pub arrivals: ArrivalModel,
    pub service: ServiceModel,
    /// `None`: blind.
    pub probe: Option<ProbeModel>,
}

impl ViewModel {
    /// A silent view on the first warehouse with the defaults of the configuration.
    #[must_use]
    pub fn new(name: &str, target_lag: Span, fixed: Span) -> Self {
        Self {
            name: name.to_owned(),
            warehouse: 0,
            target_lag,
            miss_rate: 0.05,
            min_interval: Span::from_secs(2),
            statement_timeout: None,
            priority: Priority::Normal,
            arrivals: ArrivalModel::Silent,
            service: ServiceModel {
                fixed,
                per_mb: Span::ZERO,
                sigma: 0.0,
                straggler_share: 0.0,
                straggler_factor: 1.0,
                replay: None,
                most_bytes: None,
            },
            probe: None,
        }
    }
}

/// What comes on a view's stream. Rates are bytes per second.
#[derive(Clone, Debug, PartialEq)]
pub enum ArrivalModel {
    /// Nothing ever comes.
    Silent,
    /// A record every so often, the first at random within the first period.
    Periodic { every: Span, bytes: f64 },
    /// An even flow.
    Steady { bytes_per_s: f64 },
    /// An even flow whose producer is away for a while, and then sends what it has kept.
    Outage {
        bytes_per_s: f64,
        from: Span,
        until: Span,
        flush: Span,
    },
    /// A flow between two rates, lowest at the start of each day, highest at noon.
    Diurnal { low: f64, high: f64 },
    /// An even flow that is on and off, each for an exponential time: (mean time, rate).
    OnOff { on: (Span, f64), off: (Span, f64) },
    /// Records at exponential gaps, all of one size or of exponential sizes.
    Poisson {
        mean_gap: Span,
        bytes: f64,
        exponential: bool,
    },
    /// Heavy-tailed records at exponential gaps on an even flow.
    Pareto {
        mean_gap: Span,
        shape: f64,
        least: f64,
        most: f64,
        bytes_per_s: f64,
    },
    /// Records as listed, in order of time.
    Listed {
        file: PathBuf,
        records: Arc<[(Timestamp, u64)]>,
    },
}

/// An arrival probe: every so often it learns, `delay` later, what lay unread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProbeModel {
    pub every: Span,
    pub delay: Span,
    /// It tells bytes behind, not only the oldest time.
    pub bytes: bool,
}

/// `(fixed + per_mb · megabytes) · e^(sigma·z)`, z standard normal, and some take longer.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceModel {
    pub fixed: Span,
    /// Per 10⁶ bytes.
    pub per_mb: Span,
    pub sigma: f64,
    pub straggler_share: f64,
    pub straggler_factor: f64,
    /// Durations in force from a time on, in place of `fixed` and `per_mb`.
    pub replay: Option<Arc<[(Timestamp, Span)]>>,
    /// A refresh reads at most so many bytes and then says that there may be more.
    pub most_bytes: Option<f64>,
}

impl ServiceModel {
    /// Without noise: what the lower bound reckons with.
    #[must_use]
    pub fn noise_free(&self, at: Timestamp, bytes: f64) -> Span {
        if let Some(replay) = &self.replay {
            let later = replay.partition_point(|(from, _)| *from <= at);
            return replay
                .get(later.saturating_sub(1))
                .map_or(self.fixed, |(_, duration)| *duration);
        }
        self.fixed + self.per_mb.scale(bytes / 1e6)
    }
}

/// The daemon is killed at `at` and starts anew `down` later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restart {
    pub at: Span,
    pub down: Span,
}

impl Scenario {
    /// The end of the run.
    pub(crate) fn horizon(&self) -> Timestamp {
        Timestamp::default() + self.duration
    }

    /// What the production scheduler is told at start.
    #[must_use]
    pub fn plan(&self) -> Plan {
        let warehouses = self.warehouses.iter().map(|warehouse| WarehouseSpec {
            id: WarehouseId::from(warehouse.name.as_str()),
            location: warehouse.name.as_str().into(),
            api_scope: ApiScope::from(warehouse.name.as_str()),
            submits_per_second: warehouse.submit_quota * warehouse.quota_share,
            max_in_flight: warehouse.max_in_flight,
            billing: warehouse.billing,
            wake_minimum: Span::from_secs(60),
            overload: warehouse.overload,
            outcomes: warehouse.outcomes,
        });
        let views = self.views.iter().filter_map(|view| {
            let warehouse = self.warehouses.get(view.warehouse)?;
            Some(ViewSpec {
                id: ViewId::from(view.name.as_str()),
                warehouse: WarehouseId::from(warehouse.name.as_str()),
                location: view.name.as_str().into(),
                target_lag: view.target_lag,
                miss_rate: view.miss_rate,
                min_interval: view.min_interval,
                max_interval: None,
                priority: view.priority,
                probe_every: view.probe.map(|probe| probe.every),
                retention: None,
                schedule: None,
                closed: WhileClosed::Pause,
                after: Vec::new(),
                mode: Mode::Active,
                timeout: view.statement_timeout.map_or(
                    StatementTimeout::Default(Span::from_secs(3600)),
                    StatementTimeout::Stated,
                ),
            })
        });
        Plan {
            warehouses: warehouses.collect(),
            views: views.collect(),
            schedules: std::collections::BTreeMap::default(),
        }
    }
}
