//! A scenario: what the virtual world holds and what will befall it, checked.
//!
//! Deliberately absent: TOML (see `file`), chance (see `dice`), what policies do.

use std::path::PathBuf;
use std::sync::Arc;

use tidekeeper_scheduler::{
    ApiScope, Billing, Mode, Plan, Priority, Span, StatementTimeout, Timestamp, ViewId, ViewSpec,
    WarehouseId, WarehouseSpec, WhileClosed,
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
    pub arrivals: ArrivalModel,
    pub service: ServiceModel,
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
            arrivals: ArrivalModel::Silent,
            service: ServiceModel {
                fixed,
                per_mb: Span::ZERO,
                sigma: 0.0,
                straggler_share: 0.0,
                straggler_factor: 1.0,
            },
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum ArrivalModel {
    /// Nothing ever comes.
    Silent,
    /// An even flow.
    Steady { bytes_per_s: f64 },
    /// Records of one size at exponential gaps.
    Poisson { mean_gap: Span, bytes: u64 },
    /// Records as listed, in order of time.
    Listed {
        file: PathBuf,
        records: Arc<[(Timestamp, u64)]>,
    },
}

/// `(fixed + per_mb · megabytes) · e^(sigma·z)`, z standard normal, and some take longer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ServiceModel {
    pub fixed: Span,
    /// Per 10⁶ bytes.
    pub per_mb: Span,
    pub sigma: f64,
    pub straggler_share: f64,
    pub straggler_factor: f64,
}

impl ServiceModel {
    /// Without noise: what the lower bound reckons with.
    #[must_use]
    pub fn noise_free(&self, bytes: u64) -> Span {
        #[expect(
            clippy::cast_precision_loss,
            reason = "a share of a megabyte is no matter"
        )]
        let megabytes = bytes as f64 / 1e6;
        self.fixed + self.per_mb.scale(megabytes)
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
            billing: Billing::Provisioned,
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
                priority: Priority::Normal,
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
