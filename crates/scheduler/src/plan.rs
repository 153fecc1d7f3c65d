//! What the operator wants: the views, the warehouses that hold them, the calendars.
//!
//! Decides: the checked form in which configuration reaches the core, and which part of a
//! view's description is its identity.
//! Deliberately absent: TOML, cron and time zones (the shell turns calendars into [`Phase`]s),
//! SQL names (the core compares [`ViewSpec::location`], it never reads it).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::time::{Span, Timestamp};

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(name: &str) -> Self {
                Self(name.into())
            }
        }

        impl From<String> for $name {
            fn from(name: String) -> Self {
                Self(name.into())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name_type!(
    /// A view, unique in the configuration.
    ViewId
);
name_type!(
    /// A cluster or workgroup in an account and region.
    WarehouseId
);
name_type!(
    /// A calendar that views may follow.
    ScheduleId
);
name_type!(
    /// The account and region whose API quotas a warehouse shares with others.
    ApiScope
);
name_type!(
    /// What the Data API calls a statement's `Id`.
    StatementId
);

/// Everything the operator wants, whole: a reload sends it again.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    pub warehouses: Vec<WarehouseSpec>,
    /// Views whose warehouse is not in `warehouses` are not taken up.
    pub views: Vec<ViewSpec>,
    /// The phase of every schedule at the moment of the plan.
    pub schedules: BTreeMap<ScheduleId, Phase>,
}

/// A warehouse as the scheduler sees it: a number of slots and a share of a quota.
#[derive(Clone, Debug, PartialEq)]
pub struct WarehouseSpec {
    pub id: WarehouseId,
    /// Which cluster or workgroup the name stands for: when it changes, the warehouse is
    /// scanned again before anything is submitted to it.
    pub location: Arc<str>,
    pub api_scope: ApiScope,
    /// `ExecuteStatement` calls per second that may be spent here: `quota_share` · 30/s.
    pub submits_per_second: f64,
    /// Statements of the daemon that may run at once, at least 1.
    pub max_in_flight: u32,
    pub billing: Billing,
    /// What a wake-up is billed at least, where the warehouse is billed while awake.
    pub wake_minimum: Span,
    pub overload: OverloadOrder,
    pub outcomes: Outcomes,
}

/// How closely the warehouse's own records of refreshes are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Outcomes {
    /// What each refresh did is read.
    Every,
    /// Once a minute, and only while the warehouse is awake anyway.
    Sampled,
    /// A finished refresh counts as `data`.
    #[default]
    Off,
}

/// Who goes first when the targets need more slots than there are (control law §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OverloadOrder {
    /// The largest projected lag in targets: all are late alike.
    #[default]
    Fair,
    /// High before normal before low, fair within.
    Priority,
    /// Those that stay in target longest per slot-second; a fifth of the slots for the latest.
    MaxSatisfied,
}

/// How a warehouse is paid for (control law §9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Billing {
    /// Always on: a refresh costs a slot for a while.
    Provisioned,
    /// Per second awake, and a minimum for each wake-up.
    Serverless,
}

/// A view and the freshness it is owed.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewSpec {
    pub id: ViewId,
    pub warehouse: WarehouseId,
    /// Where the view stands (database, schema, name). Two specs with one id and different
    /// locations are different views: what was learned of one says nothing of the other.
    pub location: Arc<str>,
    pub target_lag: Span,
    /// ε: the share of refreshes that may take longer than foreseen (control law §3).
    pub miss_rate: f64,
    pub min_interval: Span,
    pub max_interval: Option<Span>,
    pub priority: Priority,
    /// How often somebody looks what lies unread on its stream; `None`: nobody does.
    pub probe_every: Option<Span>,
    /// How long the stream keeps its records, where that is known: a view is refreshed before
    /// half of it has passed, whatever else is asked (control law §8).
    pub retention: Option<Span>,
    pub schedule: Option<ScheduleId>,
    /// What the schedule means for this view while it is closed.
    pub closed: WhileClosed,
    /// Parents: the view is refreshed after them, its lag measured to them.
    pub after: Vec<ViewId>,
    pub mode: Mode,
    pub timeout: StatementTimeout,
}

/// Among views of equal slack, who goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Priority {
    High,
    #[default]
    Normal,
    Low,
}

/// Whether the daemon acts on what it decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Mode {
    #[default]
    Active,
    /// Decides and reports, never submits.
    Observe,
}

/// What a closed schedule asks of a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum WhileClosed {
    #[default]
    Pause,
    /// A laxer target.
    TargetLag(Span),
}

/// How long a statement may run before it is cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatementTimeout {
    /// Stated by the operator: it always holds.
    Stated(Span),
    /// Only the default: first refreshes and catch-ups may take 24 h.
    Default(Span),
}

/// A schedule at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phase {
    pub open: bool,
    /// The next edge, for reports; the shell sends a new phase when it comes.
    pub until: Option<Timestamp>,
}
