//! The state of every view at one instant, each with the reason why it waits.
//!
//! Decides: the words in which the scheduler's state is reported.
//! Deliberately absent: formats; the shell turns this into metrics, JSON and pages.

use crate::awake::Awake;
use crate::event::{AttemptId, Failure, FailureClass, Origin};
use crate::plan::{Mode, ScheduleId, StatementId, ViewId, WarehouseId};
use crate::record::Outcome;
use crate::scheduler::Scheduler;
use crate::state::{Due, DueWhy, NeverWhy, State};
use crate::time::{Span, Timestamp};
use crate::view::{Alert, AlertReason, View};
use crate::warehouse::{self, Warehouse};

/// Everything at one instant.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    pub at: Timestamp,
    pub draining: bool,
    /// In the order of their ids.
    pub views: Vec<ViewSnapshot>,
    pub warehouses: Vec<WarehouseSnapshot>,
}

impl Snapshot {
    /// Whether statements may be submitted to a warehouse.
    #[must_use]
    pub fn may_be_used(&self, warehouse: &WarehouseId) -> bool {
        let mut known = self.warehouses.iter();
        known.any(|known| known.warehouse == *warehouse && known.access == Access::Open)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct ViewSnapshot {
    pub view: ViewId,
    pub warehouse: WarehouseId,
    /// It is never submitted.
    pub observed: bool,
    pub state: StateName,
    /// Why it is not being refreshed this moment; `None` while it is.
    pub wait: Option<Wait>,
    /// The attempt in flight and, where it is known, its statement.
    pub attempt: Option<(AttemptId, Option<StatementId>)>,
    /// When the attempt in flight was submitted, and why.
    pub submitted: Option<(Timestamp, Origin)>,
    pub data_ts: Option<Timestamp>,
    /// `data_ts`, or what the latest refresh will have made of it once its verdict is known.
    pub holds_ts: Option<Timestamp>,
    /// What lies unread on its stream; `None` where no probe tells.
    pub unread: Option<Unread>,
    /// When the stream begins to drop what the view has not read.
    pub retention_ends_at: Option<Timestamp>,
    /// What a person should look at, the most urgent first.
    pub alerts: Vec<Alert>,
    /// What the latest refresh did, whoever made it; `None` before one is known.
    pub last_outcome: Option<Outcome>,
    /// Records between what the latest refresh read and the end of its stream, where the
    /// warehouse says so.
    pub records_behind: Option<u64>,
    /// Records that refreshes have left out, as the warehouse reports them.
    pub records_skipped: u64,
    /// Refreshes that the daemon has not made.
    pub foreign_refreshes: u64,
    /// AUTO REFRESH's among them, and how long they took together.
    pub auto_refreshes: (u64, Span),
    /// Since when the daemon refreshes it: its configuration took it up, or stopped to only
    /// observe it.
    pub active_since: Timestamp,
    /// The target that holds at this hour; `None` while closed.
    pub target_lag: Option<Span>,
    /// The configured target.
    pub configured_target_lag: Span,
    pub schedule: Option<ScheduleId>,
    /// It stands on other views, and is refreshed after them.
    pub follows: bool,
    /// The warehouse says that it stands on a view that was not up to date, and it follows none.
    pub stale_parent: bool,
    /// P: how long after `data_ts` the next refresh starts.
    pub interval: Option<Span>,
    /// d̂ of the fixed part of a refresh, and e^q.
    pub expected_duration: Option<Span>,
    pub margin: f64,
    pub last_duration: Option<Span>,
    pub last_success_at: Option<Timestamp>,
    /// Why the latest attempt failed, or why the latest question about it had no answer;
    /// `None` once all is well again.
    pub last_failure: Option<Failure>,
    pub failures_in_a_row: u32,
    pub infeasible: bool,
    /// The (1 − ε) quantile of recent peak lags: the target it could hold.
    pub reachable_target_lag: Option<Span>,
    pub refreshes: u64,
    /// Data API calls that were made for it.
    pub calls: u64,
    pub cycles_in_target: u64,
    pub cycles_missed: u64,
    /// Refreshes whose duration was foreseen, and those of them that took longer: their
    /// share tends to the view's `miss_rate` (control law §3).
    pub judged_refreshes: u64,
    pub late_refreshes: u64,
}

/// What an arrival probe has told of a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unread {
    /// When the oldest unread record arrived; `None`: nothing is unread.
    pub since: Option<Timestamp>,
    /// The moment of which the probe told.
    pub at: Timestamp,
}

impl Unread {
    /// The age of the oldest unread record, zero when there is none.
    #[must_use]
    pub fn age(&self, now: Timestamp) -> Span {
        self.since
            .map_or(Span::ZERO, |since| (now - since).max(Span::ZERO))
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct WarehouseSnapshot {
    pub warehouse: WarehouseId,
    pub access: Access,
    pub in_flight: u32,
    pub slots: u32,
    pub slots_configured: u32,
    pub dispatch_wait: Span,
    pub ignores_wait: bool,
    /// Only where it is billed while awake.
    pub awake: Option<Awake>,
    /// Looks at the warehouse's records of refreshes that succeeded, and why they fail.
    pub sweeps: u64,
    pub sweep_failure: Option<Failure>,
    /// Up to when they tell everything.
    pub records_until: Option<Timestamp>,
    /// The warehouse is away: one view tries now and then.
    pub breaker_open: bool,
    /// Slots that the targets need, as learned, and whether that is too many.
    pub slots_needed: f64,
    pub overloaded: bool,
    /// Views that are due and not admitted.
    pub deferred: usize,
}

/// Whether a warehouse may be used.
#[derive(Clone, Debug, PartialEq)]
pub enum Access {
    /// Statements of an earlier life are being looked for.
    Scanning,
    Blocked {
        failure: Failure,
        retry_at: Timestamp,
    },
    Open,
}

/// A view's state, for labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StateName {
    Waiting,
    Submitting,
    Running,
    Cancelling,
    Unsure,
    Suspended,
    Paused,
    Closed,
}

impl StateName {
    pub const ALL: [Self; 8] = [
        Self::Waiting,
        Self::Submitting,
        Self::Running,
        Self::Cancelling,
        Self::Unsure,
        Self::Suspended,
        Self::Paused,
        Self::Closed,
    ];

    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Submitting => "submitting",
            Self::Running => "running",
            Self::Cancelling => "cancelling",
            Self::Unsure => "unsure",
            Self::Suspended => "suspended",
            Self::Paused => "paused",
            Self::Closed => "closed",
        }
    }
}

/// Why a view waits, and until when at the latest where that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    pub reason: WaitReason,
    pub until: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WaitReason {
    /// Its latest safe start has not come.
    NotDue,
    /// A failure is being waited out.
    Backoff,
    /// Its parents have nothing new for it.
    Parent,
    Closed,
    Paused,
    Suspended,
    /// Due, but every slot of the warehouse is taken.
    Slots,
    /// Due, but the API budget is spent.
    ApiRate,
    /// Due, but what an earlier life has left is still being looked for: running statements,
    /// then what the views hold.
    Adopting,
    /// Due, but the warehouse is away.
    Breaker,
    /// A probe has found nothing unread.
    Quiet,
    /// Due, but the scan fails.
    WarehouseBlocked,
    /// The daemon is shutting down.
    Draining,
    /// `observe` mode: it is never submitted.
    Observe,
}

impl WaitReason {
    pub const ALL: [Self; 14] = [
        Self::NotDue,
        Self::Backoff,
        Self::Parent,
        Self::Closed,
        Self::Paused,
        Self::Suspended,
        Self::Slots,
        Self::ApiRate,
        Self::Adopting,
        Self::Breaker,
        Self::Quiet,
        Self::WarehouseBlocked,
        Self::Draining,
        Self::Observe,
    ];

    /// Whether the view is due and only its admission is missing.
    #[must_use]
    pub fn is_deferral(self) -> bool {
        match self {
            Self::Slots
            | Self::ApiRate
            | Self::Adopting
            | Self::Breaker
            | Self::WarehouseBlocked
            | Self::Draining => true,
            Self::NotDue
            | Self::Quiet
            | Self::Backoff
            | Self::Parent
            | Self::Closed
            | Self::Paused
            | Self::Suspended
            | Self::Observe => false,
        }
    }

    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::NotDue => "not_due",
            Self::Backoff => "backoff",
            Self::Parent => "parent",
            Self::Closed => "closed",
            Self::Paused => "paused",
            Self::Suspended => "suspended",
            Self::Slots => "slots",
            Self::ApiRate => "api_rate",
            Self::Adopting => "adopting",
            Self::Breaker => "breaker",
            Self::Quiet => "no_data",
            Self::WarehouseBlocked => "warehouse_blocked",
            Self::Draining => "draining",
            Self::Observe => "observe",
        }
    }
}

impl Scheduler {
    /// The state of every view at this instant.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let views = self.by_id.values().filter_map(|slot| {
            let view = self.view(*slot)?;
            Some(self.view_snapshot(view, self.warehouses.get(view.warehouse)?))
        });
        Snapshot {
            at: self.now,
            draining: self.draining(),
            views: views.collect(),
            warehouses: self
                .warehouses
                .iter()
                .filter(|warehouse| warehouse.planned || warehouse.in_flight > 0)
                .map(|warehouse| warehouse_snapshot(warehouse, self.now))
                .collect(),
        }
    }

    fn view_snapshot(&self, view: &View, warehouse: &Warehouse) -> ViewSnapshot {
        let target_lag = self.target_lag(view);
        let interval = target_lag.map(|lag| {
            view.interval(view.latest_start(lag, &warehouse.margin, warehouse.dispatch_wait))
        });
        let attempt = view.state.attempt();
        let statement = match &view.state {
            State::Running { statement, .. } | State::Cancelling { statement, .. } => {
                Some(statement.clone())
            }
            State::Waiting { .. }
            | State::Submitting { .. }
            | State::Unsure { .. }
            | State::Suspended { .. }
            | State::Paused => None,
        };
        ViewSnapshot {
            view: view.spec.id.clone(),
            warehouse: view.spec.warehouse.clone(),
            state: self.state_name(view),
            wait: self.wait(view, warehouse),
            attempt: attempt.map(|attempt| (attempt.id, statement)),
            submitted: attempt.map(|attempt| (attempt.submitted_at, attempt.origin)),
            data_ts: view.data_ts,
            holds_ts: view.holds(),
            unread: view.unread(self.now),
            retention_ends_at: view.retention_ends_at(),
            alerts: self.alerts(view),
            last_outcome: view.last_outcome,
            records_behind: view.behind,
            records_skipped: view.skipped,
            observed: view.spec.mode == Mode::Observe,
            foreign_refreshes: view.foreign,
            auto_refreshes: view.auto,
            active_since: view.active_since,
            target_lag,
            configured_target_lag: view.spec.target_lag,
            schedule: view.spec.schedule.clone(),
            follows: !view.spec.after.is_empty(),
            stale_parent: view.misses_a_parent(),
            interval,
            expected_duration: view
                .present_model()
                .fit()
                .map(|fit| Span::from_secs_f64(fit.fixed)),
            margin: view.margin_factor(&warehouse.margin),
            last_duration: view.last_duration,
            last_success_at: view.last_success_at,
            last_failure: view
                .unanswered
                .as_ref()
                .or(view.trouble.last.as_ref())
                .cloned(),
            failures_in_a_row: view.trouble.in_a_row,
            infeasible: view.feasibility.infeasible,
            reachable_target_lag: view.feasibility.reachable(view.spec.miss_rate),
            refreshes: view.refreshes,
            calls: view.calls,
            cycles_in_target: view.cycles_in_target,
            cycles_missed: view.cycles_missed,
            judged_refreshes: view.judged,
            late_refreshes: view.late,
        }
    }

    fn state_name(&self, view: &View) -> StateName {
        match &view.state {
            // The guard of its retention may have set it a moment all the same.
            State::Waiting {
                due:
                    Due::Never {
                        why: NeverWhy::Closed,
                    }
                    | Due::At {
                        why: DueWhy::Retention,
                        ..
                    },
            } if self.target_lag(view).is_none() => StateName::Closed,
            State::Waiting { .. } => StateName::Waiting,
            State::Submitting { .. } => StateName::Submitting,
            State::Running { .. } => StateName::Running,
            State::Cancelling { .. } => StateName::Cancelling,
            State::Unsure { .. } => StateName::Unsure,
            State::Suspended { .. } => StateName::Suspended,
            State::Paused => StateName::Paused,
        }
    }

    /// What a person should look at although the view may be refreshed all the same, what
    /// cannot be mended later first.
    fn alerts(&self, view: &View) -> Vec<Alert> {
        let attempt = view.state.attempt();
        let suspension = match &view.state {
            State::Suspended { suspension, .. } => Some(suspension),
            State::Waiting { .. }
            | State::Submitting { .. }
            | State::Running { .. }
            | State::Cancelling { .. }
            | State::Unsure { .. }
            | State::Paused => attempt.and_then(|attempt| attempt.suspension.as_ref()),
        };
        let suspension = suspension.filter(|of| of.failure.class == FailureClass::Data);
        let data_error = suspension.map(|suspension| Alert {
            reason: AlertReason::DataError,
            text: suspension.failure.message.clone(),
            since: suspension.since,
        });
        let retention = view.loses_from(self.now).map(|(half, ends_at)| {
            let left = (ends_at - self.now).max(Span::ZERO);
            let text = format!("the stream begins to drop what the view has not read in {left}");
            Alert {
                reason: AlertReason::Retention,
                text: text.into(),
                since: half,
            }
        });
        let alerts = retention.into_iter().chain(data_error);
        alerts.chain(view.alert.clone()).collect()
    }

    fn wait(&self, view: &View, warehouse: &Warehouse) -> Option<Wait> {
        let forever = |reason| {
            Some(Wait {
                reason,
                until: None,
            })
        };
        let due = match &view.state {
            State::Paused => return forever(WaitReason::Paused),
            State::Waiting { due } | State::Suspended { due, .. } => due,
            State::Submitting { .. }
            | State::Running { .. }
            | State::Cancelling { .. }
            | State::Unsure { .. } => return None,
        };
        let suspended = matches!(view.state, State::Suspended { .. });
        match due {
            Due::Never {
                why: NeverWhy::Closed,
            } => Some(Wait {
                reason: WaitReason::Closed,
                until: view
                    .spec
                    .schedule
                    .as_ref()
                    .and_then(|schedule| self.phases.get(schedule)?.until),
            }),
            Due::Never {
                why: NeverWhy::Parent,
            } => forever(WaitReason::Parent),
            Due::At { at, why, .. } => Some(Wait {
                reason: match why {
                    _ if suspended => WaitReason::Suspended,
                    _ if view.spec.mode == Mode::Observe => WaitReason::Observe,
                    DueWhy::Retention if self.target_lag(view).is_none() => WaitReason::Closed,
                    DueWhy::Lag | DueWhy::Observe | DueWhy::Retention => WaitReason::NotDue,
                    DueWhy::Quiet => WaitReason::Quiet,
                    DueWhy::Retry | DueWhy::Wish(_) => WaitReason::Backoff,
                    DueWhy::Probe => WaitReason::Suspended,
                },
                until: Some(*at),
            }),
            Due::Ready { .. } => Some(self.deferral(view, warehouse)),
        }
    }

    fn deferral(&self, view: &View, warehouse: &Warehouse) -> Wait {
        let wait = |reason, until| Wait { reason, until };
        if self.draining() {
            return wait(WaitReason::Draining, None);
        }
        match &warehouse.access {
            warehouse::Access::Scanning { .. } => return wait(WaitReason::Adopting, None),
            warehouse::Access::Blocked { retry_at, .. } => {
                return wait(WaitReason::WarehouseBlocked, Some(*retry_at));
            }
            warehouse::Access::Open => {}
        }
        if warehouse.holds_back(view, self.now) {
            return wait(WaitReason::Adopting, None);
        }
        if warehouse.breaker.is_open() {
            return wait(WaitReason::Breaker, warehouse.breaker.probes_at());
        }
        if !warehouse.has_room() || (view.catching_up && !warehouse.may_catch_up()) {
            return wait(WaitReason::Slots, None);
        }
        let budget = self.budgets.get(&warehouse.spec.api_scope);
        wait(
            WaitReason::ApiRate,
            budget.map(warehouse::Budget::admits_at),
        )
    }
}

fn warehouse_snapshot(warehouse: &Warehouse, now: Timestamp) -> WarehouseSnapshot {
    WarehouseSnapshot {
        warehouse: warehouse.spec.id.clone(),
        access: match &warehouse.access {
            warehouse::Access::Scanning { .. } => Access::Scanning,
            warehouse::Access::Blocked {
                failure, retry_at, ..
            } => Access::Blocked {
                failure: failure.clone(),
                retry_at: *retry_at,
            },
            warehouse::Access::Open => Access::Open,
        },
        in_flight: warehouse.in_flight,
        slots: warehouse.slots.effective(),
        slots_configured: warehouse.spec.max_in_flight,
        dispatch_wait: warehouse.dispatch_wait,
        ignores_wait: warehouse.ignores_wait,
        awake: warehouse.awake(now),
        sweeps: warehouse.sweeps.completed,
        sweep_failure: warehouse.sweeps.last_failure.clone(),
        records_until: warehouse.sweeps.read_until,
        breaker_open: warehouse.breaker.is_open(),
        slots_needed: warehouse.load.slots_needed,
        overloaded: warehouse.load.overloaded,
        deferred: warehouse.ready.len(),
    }
}
