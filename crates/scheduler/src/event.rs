//! What goes into the core and what comes out of it.
//!
//! Decides: the vocabulary between the core and its shell. Every [`Command`] is answered by
//! exactly one [`Event`] that echoes its [`AttemptId`], also after a time-out or a panic.
//! Deliberately absent: how a command is carried out.

use std::fmt;
use std::sync::Arc;

use crate::plan::{Phase, Plan, ScheduleId, StatementId, ViewId, WarehouseId};
use crate::record::{Asked, Foreign, Outcome, Read, Sweep};
use crate::time::{Span, Timestamp};

/// One try at refreshing one view, unique in the life of a scheduler.
///
/// A submit that is repeated because its answer was lost keeps its id, so that the statement
/// name and the client token that the shell derives from it stay the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId {
    pub(crate) slot: u32,
    pub(crate) serial: u64,
}

impl AttemptId {
    /// Counts attempts from 1 in the order in which they were begun.
    #[must_use]
    pub fn serial(self) -> u64 {
        self.serial
    }
}

impl fmt::Debug for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.serial)
    }
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.serial)
    }
}

/// An answer or a wish.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The configuration, at start and after every reload.
    Plan(Plan),
    /// A schedule has opened or closed.
    Phase { schedule: ScheduleId, phase: Phase },
    /// Answer to [`Command::Scan`].
    Scanned {
        warehouse: WarehouseId,
        result: Result<Vec<Found>, Failure>,
    },
    /// Answer to [`Command::Submit`].
    Submitted {
        attempt: AttemptId,
        answer: SubmitAnswer,
    },
    /// Answer to [`Command::Describe`].
    Described {
        attempt: AttemptId,
        answer: DescribeAnswer,
    },
    /// Answer to [`Command::Cancel`].
    Cancelled {
        attempt: AttemptId,
        result: Result<(), Failure>,
    },
    /// Answer to [`Command::Resolve`].
    Resolved {
        attempt: AttemptId,
        answer: ResolveAnswer,
    },
    /// Answer to [`Command::Sweep`].
    Swept {
        warehouse: WarehouseId,
        result: Result<Sweep, Failure>,
    },
    /// A probe has looked what lies unread on the view's stream.
    Probed { view: ViewId, seen: Seen },
    /// Refresh this view now: a person's wish, or a pinned time.
    Refresh { view: ViewId, origin: Origin },
    /// Do not schedule this view until it is resumed.
    Pause { view: ViewId },
    /// Ends a pause or a suspension.
    Resume { view: ViewId },
    /// Begin nothing new; stop when all is finished, at `until` at the latest.
    Shutdown { until: Timestamp },
}

/// What an arrival probe saw.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    /// The moment of which it tells, not that at which it told.
    pub at: Timestamp,
    /// When the oldest unread record arrived; `None` when nothing is unread.
    pub oldest: Option<Timestamp>,
    /// Bytes behind, where the probe can tell.
    pub bytes: Option<f64>,
}

/// A statement of an earlier life of the daemon, still running.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    pub view: ViewId,
    pub statement: StatementId,
    /// The server's `CreatedAt`, on the daemon's clock.
    pub created_at: Timestamp,
}

/// How a submit ended.
#[derive(Clone, Debug, PartialEq)]
pub enum SubmitAnswer {
    /// The statement exists.
    Accepted {
        statement: StatementId,
        status: StatementStatus,
    },
    /// The statement does not exist, and will not.
    NotExecuted(Failure),
    /// Nobody knows: the answer was lost on its way, or could not be read.
    MaybeExecuted(Failure),
}

/// How a describe ended.
#[derive(Clone, Debug, PartialEq)]
pub enum DescribeAnswer {
    Status(StatementStatus),
    /// The API does not know the statement (it is older than 24 h).
    Gone(Failure),
    /// The call failed, which says nothing about the statement.
    CallFailed(Failure),
}

/// What a look-up by statement name found.
#[derive(Clone, Debug, PartialEq)]
pub enum ResolveAnswer {
    Found {
        statement: StatementId,
    },
    /// No statement of that name is submitted, picked or started.
    NotRunning,
    CallFailed(Failure),
}

/// A statement's status, reduced to what matters here.
#[derive(Clone, Debug, PartialEq)]
pub enum StatementStatus {
    /// Submitted, picked, started, or a word this program does not know.
    Running,
    Finished {
        /// The server's end time on the daemon's clock; `None` when the answer has none.
        at: Option<Timestamp>,
        outcome: Outcome,
    },
    /// Failed or aborted: nothing was committed.
    Failed(Failure),
}

/// A failure, classified by the shell before it came here.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    pub class: FailureClass,
    /// The service's own words, or the shell's: one line, no secrets.
    pub message: Arc<str>,
    /// What would mend it, where that is known.
    pub mend: Option<Arc<str>>,
}

impl Failure {
    #[must_use]
    pub fn new(class: FailureClass, message: &str) -> Self {
        Self {
            class,
            message: message.into(),
            mend: None,
        }
    }

    /// Whether both say the same thing, numbers (pids, positions, query ids) aside.
    #[must_use]
    pub fn same_as(&self, other: &Self) -> bool {
        let words = |failure: &Self| -> Vec<char> {
            failure
                .message
                .chars()
                .filter(|c| !c.is_ascii_digit())
                .collect()
        };
        self.class == other.class && words(self) == words(other)
    }
}

/// What now (control law §8); also the `class` label of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailureClass {
    /// The API said slow down.
    Throttled,
    /// The warehouse holds as many active statements as it may.
    TooManyStatements,
    /// Lock, serialization, a server error: soon again.
    Transient,
    /// The endpoint cannot be reached or speaks no sense.
    Unreachable,
    /// The warehouse is paused, resizing, or has spent its usage limit.
    Away,
    /// Wrong until somebody mends it: missing view, owner, permission, role.
    Permanent,
    /// The view's own SQL chokes on a record.
    Data,
    /// The daemon cancelled it for its length.
    TimedOut,
    /// Somebody else cancelled it.
    Cancelled,
    /// Words that no rule knows.
    Unknown,
}

impl FailureClass {
    pub const ALL: [Self; 10] = [
        Self::Throttled,
        Self::TooManyStatements,
        Self::Transient,
        Self::Unreachable,
        Self::Away,
        Self::Permanent,
        Self::Data,
        Self::TimedOut,
        Self::Cancelled,
        Self::Unknown,
    ];

    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Throttled => "throttled",
            Self::TooManyStatements => "too_many_statements",
            Self::Transient => "transient",
            Self::Unreachable => "unreachable",
            Self::Away => "away",
            Self::Permanent => "permanent",
            Self::Data => "data",
            Self::TimedOut => "timeout",
            Self::Cancelled => "cancelled",
            Self::Unknown => "unknown",
        }
    }
}

/// Why a refresh was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Its latest safe start had come.
    Lag,
    /// A parent was refreshed.
    Parent,
    /// A pinned time (`refresh_at`).
    Pinned,
    /// A person asked.
    Manual,
    /// Half-open: does a suspended view work again?
    Probe,
    /// It was found running at start.
    Adopted,
}

impl Origin {
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Lag => "lag",
            Self::Parent => "parent",
            Self::Pinned => "pinned",
            Self::Manual => "manual",
            Self::Probe => "probe",
            Self::Adopted => "adopted",
        }
    }
}

/// Do this, answer with exactly one event.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Find the statements that an earlier life left running on this warehouse.
    Scan { warehouse: WarehouseId },
    /// Send the refresh. `wait` is the long poll to ask for, whole seconds, zero for none.
    Submit {
        attempt: AttemptId,
        view: ViewId,
        wait: Span,
    },
    Describe {
        attempt: AttemptId,
        view: ViewId,
        statement: StatementId,
        wait: Span,
    },
    Cancel {
        attempt: AttemptId,
        view: ViewId,
        statement: StatementId,
    },
    /// Find out by name whether a submit without an answer is running.
    Resolve { attempt: AttemptId, view: ViewId },
    /// Read from the warehouse's own records what these attempts did, and which refreshes of
    /// planned views somebody else has made since.
    Sweep {
        warehouse: WarehouseId,
        since: Timestamp,
        asked: Vec<Asked>,
    },
}

/// What [`crate::Scheduler::poll`] gives.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    Command(Command),
    /// This happened: count it, log it.
    Notice(Notice),
    /// Nothing to do before the deadline, or before the next event.
    Wait(Option<Deadline>),
    /// Shut down; nothing will ever come again.
    Stopped,
}

/// The next moment at which [`crate::Scheduler::handle_timeout`] has something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    pub at: Timestamp,
    pub why: DeadlineReason,
}

/// Every kind of moment that the core can wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadlineReason {
    /// When a view's latest safe start, retry or probe comes.
    Due,
    /// When a running statement is to be asked about, or has run too long.
    Statement,
    /// When a submit without an answer is to be looked up.
    Resolve,
    /// When the API's budget admits the next submit.
    ApiRate,
    /// When a throttled-down warehouse gets a slot back.
    SlotRegrowth,
    /// When a warehouse that is away is tried again.
    Breaker,
    /// When a failed scan is to be tried again.
    Scan,
    /// When a warehouse's records are to be read.
    Sweep,
    /// When a drain's budget ends.
    Drain,
}

/// A fact, for logs and metrics.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// A submit was handed to the shell, `delay` after the view became due.
    Dispatched {
        view: ViewId,
        attempt: AttemptId,
        origin: Origin,
        delay: Span,
    },
    /// `observe` mode: here a refresh would have been submitted.
    WouldRefresh {
        view: ViewId,
        origin: Origin,
    },
    /// A statement of an earlier life is being waited for.
    Adopted {
        view: ViewId,
        attempt: AttemptId,
        statement: StatementId,
    },
    /// A refresh ended well.
    Refreshed {
        view: ViewId,
        attempt: AttemptId,
        outcome: Outcome,
        /// From submit to finish.
        duration: Span,
        finished_at: Timestamp,
        /// The cycle it closed; `None` for a first refresh and for a view not on duty.
        cycle: Option<Cycle>,
    },
    /// Somebody else has refreshed the view, or has tried to.
    Foreign {
        view: ViewId,
        refresh: Foreign,
    },
    /// What one of the daemon's own refreshes has read of its stream.
    Read {
        view: ViewId,
        began_at: Timestamp,
        read: Read,
    },
    /// A refresh has left records out.
    Skipped {
        view: ViewId,
        /// 0 where the scan's records could not be read.
        records: u64,
        all: bool,
        reason: Option<Arc<str>>,
    },
    /// The warehouse says of a refresh what no rule knows.
    UnknownStatus {
        view: ViewId,
        text: Arc<str>,
    },
    /// The view stands on a view that was not up to date, and follows none.
    StaleParent {
        view: ViewId,
    },
    /// The view was dropped and created again: what was learned of it is forgotten.
    Recreated {
        view: ViewId,
    },
    /// The warehouse's records could not be read; refreshes count as `data` meanwhile.
    SweepFailed {
        warehouse: WarehouseId,
        failure: Failure,
        retry_at: Timestamp,
    },
    /// An attempt ended badly and the view is to be tried again at `retry_at`.
    Failed {
        view: ViewId,
        attempt: AttemptId,
        failure: Failure,
        duration: Span,
        retry_at: Timestamp,
    },
    /// The submit's fate is unknown; nothing else is sent for the view until it is known.
    Unsure {
        view: ViewId,
        attempt: AttemptId,
        failure: Failure,
    },
    /// The fate of an unsure submit is known: it runs, or it is sent again under its name.
    Resolved {
        view: ViewId,
        attempt: AttemptId,
        running: bool,
    },
    /// A question about a statement failed; it is asked again.
    CallFailed {
        view: ViewId,
        attempt: AttemptId,
        failure: Failure,
    },
    /// A statement has run for `limit` and is being cancelled.
    TimedOut {
        view: ViewId,
        attempt: AttemptId,
        statement: StatementId,
        limit: Span,
    },
    /// The daemon stops trying; it will look again at `probe_at`.
    Suspended {
        view: ViewId,
        failure: Failure,
        probe_at: Timestamp,
    },
    /// A suspension or pause is over.
    Resumed {
        view: ViewId,
    },
    Paused {
        view: ViewId,
    },
    /// Three cycles in a row were missed although the view never waited.
    Infeasible {
        view: ViewId,
        /// The target it could hold, as observed.
        reachable: Span,
    },
    /// Three cycles in a row were held again.
    FeasibleAgain {
        view: ViewId,
    },
    ViewAdded {
        view: ViewId,
    },
    ViewRemoved {
        view: ViewId,
    },
    /// The warehouse may be used: `adopted` statements were found running.
    WarehouseReady {
        warehouse: WarehouseId,
        adopted: usize,
    },
    /// The warehouse may not be used before a scan succeeds.
    WarehouseBlocked {
        warehouse: WarehouseId,
        failure: Failure,
        retry_at: Timestamp,
    },
    /// The warehouse is away: nobody is sent there but one view now and then.
    BreakerOpened {
        warehouse: WarehouseId,
        failure: Failure,
        probe_at: Timestamp,
    },
    /// It answers again; the views come back in steps.
    BreakerClosed {
        warehouse: WarehouseId,
    },
    /// The targets need more slots than the warehouse has, or no more than it has again.
    Overload {
        warehouse: WarehouseId,
        overloaded: bool,
        /// Slots that the targets need ÷ slots.
        factor: f64,
    },
    /// An answer to an attempt that is no more.
    Stale {
        attempt: AttemptId,
    },
    /// The drain's budget ended with this statement still running; a later life adopts it.
    LeftRunning {
        view: ViewId,
        attempt: AttemptId,
    },
}

/// From one successful refresh to the next (control law §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cycle {
    pub target_lag: Span,
    /// Clock lag just before the refresh became visible.
    pub peak_lag: Span,
}

impl Cycle {
    #[must_use]
    pub fn in_target(&self) -> bool {
        self.peak_lag <= self.target_lag
    }
}
