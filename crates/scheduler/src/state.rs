//! The states that a view can be in, and what each of them waits for.
//!
//! Deliberately absent: transitions. `Scheduler::set_state` is the only writer, because the
//! deadline and admission indexes must follow it.

use crate::event::{AttemptId, Failure, Origin};
use crate::plan::StatementId;
use crate::time::{Span, Timestamp};

#[derive(Debug)]
pub(crate) enum State {
    /// Idle.
    Waiting { due: Due },
    /// The submit is under way.
    Submitting { attempt: Attempt, long_poll: bool },
    /// The statement exists.
    Running {
        attempt: Attempt,
        statement: StatementId,
        ask: Ask,
        /// When it has run too long.
        give_up_at: Timestamp,
    },
    /// It ran too long; it counts as running until a describe says otherwise.
    Cancelling {
        attempt: Attempt,
        statement: StatementId,
        ask: Ask,
        /// When to send the cancel again.
        again_at: Timestamp,
    },
    /// The submit's answer was lost: it may be running.
    Unsure { attempt: Attempt, ask: Ask },
    /// The daemon has given up until `due`.
    Suspended { suspension: Suspension, due: Due },
    /// A person asked for rest.
    Paused,
}

/// When an idle view wants to go.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Due {
    At {
        at: Timestamp,
        why: DueWhy,
        /// The latest safe start had already passed when this was computed.
        hurried: bool,
    },
    /// It wants to go now and stands in its warehouse's queue.
    Ready {
        since: Timestamp,
        origin: Origin,
        /// Latest safe start, by which the queue is ordered.
        start_by: Timestamp,
        hurried: bool,
    },
    /// Not before something else happens.
    Never { why: NeverWhy },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DueWhy {
    /// The latest safe start.
    Lag,
    /// The wait after a failure.
    Retry,
    /// A suspended view is tried again.
    Probe,
    /// Nothing is unread: when the probe that said so is not believed any more.
    Quiet,
    /// The stream is about to lose records that the view has not read.
    Retention,
    /// `observe` mode: when it would be refreshed again.
    Observe,
    /// Somebody asked for it, and the API would not have it at once.
    Wish(Origin),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NeverWhy {
    /// Its schedule is closed.
    Closed,
    /// Its parents have nothing new for it.
    Parent,
}

/// The next question about a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    At(Timestamp),
    /// Asked; the answer is due.
    Asked {
        long_poll: bool,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) id: AttemptId,
    pub(crate) origin: Origin,
    /// U: when the submit was handed out, or the server created an adopted statement.
    pub(crate) submitted_at: Timestamp,
    /// When the last call for it went out.
    pub(crate) called_at: Timestamp,
    /// The long poll that the last call asked for.
    pub(crate) called_wait: Span,
    /// x of the duration model.
    pub(crate) size: f64,
    /// The oldest record that was known to be unread, where arrivals are seen.
    pub(crate) oldest: Option<Timestamp>,
    /// Arrivals were seen when it was submitted.
    pub(crate) probed: bool,
    /// The refresh before it stopped before the end of the stream.
    pub(crate) catch_up: bool,
    /// d̂·e^q at submit; `None` where nothing was foreseen, or it cannot be judged.
    pub(crate) foreseen: Option<Span>,
    /// d̂ at submit, for polling.
    pub(crate) expected: Option<Span>,
    /// Up to when the view will hold the stream if this succeeds.
    pub(crate) data_ts: Option<Timestamp>,
    /// Whether its duration is a sample of the model.
    pub(crate) clean: bool,
    /// It started at once after the previous one, and had to.
    pub(crate) hurried: bool,
    /// How often its calls have failed in a row.
    pub(crate) call_failures: u32,
    /// Set when the view was suspended as it began.
    pub(crate) suspension: Option<Suspension>,
    pub(crate) limit: Span,
    /// It was cancelled for its length, by the daemon.
    pub(crate) timed_out: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Suspension {
    pub(crate) failure: Failure,
    pub(crate) since: Timestamp,
    /// Half-open probes that failed.
    pub(crate) probes: u32,
}

impl State {
    /// Whether the warehouse may be running a statement for the view.
    pub(crate) fn in_flight(&self) -> bool {
        self.attempt().is_some()
    }

    pub(crate) fn attempt(&self) -> Option<&Attempt> {
        match self {
            Self::Submitting { attempt, .. }
            | Self::Running { attempt, .. }
            | Self::Cancelling { attempt, .. }
            | Self::Unsure { attempt, .. } => Some(attempt),
            Self::Waiting { .. } | Self::Suspended { .. } | Self::Paused => None,
        }
    }

    pub(crate) fn due(&self) -> Option<&Due> {
        match self {
            Self::Waiting { due } | Self::Suspended { due, .. } => Some(due),
            Self::Submitting { .. }
            | Self::Running { .. }
            | Self::Cancelling { .. }
            | Self::Unsure { .. }
            | Self::Paused => None,
        }
    }

    /// Whether a refresh is in flight that catches up.
    pub(crate) fn catches_up(&self) -> bool {
        self.attempt().is_some_and(|attempt| attempt.catch_up)
    }

    /// The wish that an idle view is about to fulfil.
    pub(crate) fn wish(&self) -> Option<Origin> {
        match self.due()? {
            Due::Ready {
                origin: origin @ (Origin::Manual | Origin::Pinned),
                ..
            }
            | Due::At {
                why: DueWhy::Wish(origin),
                ..
            } => Some(*origin),
            Due::Ready { .. } | Due::At { .. } | Due::Never { .. } => None,
        }
    }

    /// The next moment at which this state wants to be looked at.
    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        let asking = |ask: &Ask| match ask {
            Ask::At(at) => Some(*at),
            Ask::Asked { .. } => None,
        };
        match self {
            Self::Waiting { due } | Self::Suspended { due, .. } => match due {
                Due::At { at, .. } => Some(*at),
                Due::Ready { .. } | Due::Never { .. } => None,
            },
            Self::Submitting { .. } | Self::Paused => None,
            Self::Running {
                ask, give_up_at, ..
            } => Some(asking(ask).map_or(*give_up_at, |at| at.min(*give_up_at))),
            Self::Cancelling { ask, again_at, .. } => {
                Some(asking(ask).map_or(*again_at, |at| at.min(*again_at)))
            }
            Self::Unsure { ask, .. } => asking(ask),
        }
    }

    /// Whether a call that asks the endpoint to wait is under way.
    pub(crate) fn long_polls(&self) -> bool {
        match self {
            Self::Submitting { long_poll, .. } => *long_poll,
            Self::Running { ask, .. } | Self::Cancelling { ask, .. } | Self::Unsure { ask, .. } => {
                matches!(ask, Ask::Asked { long_poll: true })
            }
            Self::Waiting { .. } | Self::Suspended { .. } | Self::Paused => false,
        }
    }
}
