//! What goes wrong with a view, and what follows.
//!
//! Decides: backoff after a failure and when failures suspend (control law §8), and when a
//! target counts as out of reach (§4). Deliberately absent: what a failure means (the shell
//! classifies it) and transitions (`ending`).

use std::collections::VecDeque;

use crate::event::{Failure, FailureClass};
use crate::law::doubling;
use crate::time::{Span, Timestamp};

/// Peak lags kept to say which target a view could hold.
const PEAKS_KEPT: usize = 64;
/// So many missed cycles in a row make a view infeasible, so many held ones feasible again.
const FEASIBILITY_RUN: u32 = 3;

/// What went wrong since the last success.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trouble {
    pub(crate) in_a_row: u32,
    /// How often in a row the same thing went wrong.
    pub(crate) same: u32,
    pub(crate) timeouts: u32,
    pub(crate) throttles: u32,
    pub(crate) last: Option<Failure>,
    /// When the two latest failures that may be the warehouse's happened.
    passing: [Option<Timestamp>; 2],
    pub(crate) retry_at: Option<Timestamp>,
}

#[derive(Debug, Default)]
pub(crate) struct Feasibility {
    misses: u32,
    hits: u32,
    pub(crate) infeasible: bool,
    peaks: VecDeque<Span>,
}

/// A change of mind about whether the target can be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FeasibilityChange {
    None,
    Infeasible,
    Feasible,
}

impl Trouble {
    /// Counts a failure, and says how often it has now happened in a row.
    pub(crate) fn count(&mut self, failure: &Failure, now: Timestamp) {
        if matches!(
            failure.class,
            FailureClass::Transient | FailureClass::Unreachable | FailureClass::Away
        ) {
            self.passing = [Some(now), self.passing[0]];
        } else {
            self.passing = [None; 2];
        }
        self.in_a_row = self.in_a_row.saturating_add(1);
        let repeated = self.last.as_ref().is_some_and(|last| last.same_as(failure));
        self.same = if repeated {
            self.same.saturating_add(1)
        } else {
            1
        };
        if failure.class == FailureClass::TimedOut {
            self.timeouts = self.timeouts.saturating_add(1);
        }
        self.last = Some(failure.clone());
    }

    /// Whether the last two attempts both failed for a reason that may be the warehouse's.
    pub(crate) fn failed_twice_since(&self, since: Timestamp) -> bool {
        self.passing
            .iter()
            .all(|at| at.is_some_and(|at| at >= since))
    }

    /// Forgets failures that were the warehouse's. Returns whether there were any.
    pub(crate) fn absolve(&mut self) -> bool {
        let guilty = self.passing.first().copied().flatten().is_some();
        if guilty {
            self.in_a_row = 0;
            self.same = 0;
            self.retry_at = None;
            self.passing = [None; 2];
        }
        guilty
    }

    pub(crate) fn is_none(&self) -> bool {
        self.in_a_row == 0 && self.throttles == 0
    }

    /// Whether the daemon stops trying (control law §8).
    pub(crate) fn suspends(&self, class: FailureClass) -> bool {
        match class {
            FailureClass::Permanent => self.same >= 2,
            FailureClass::Data => self.same >= 3,
            FailureClass::TimedOut => self.timeouts >= 3,
            FailureClass::Transient => self.in_a_row >= 5,
            FailureClass::Throttled
            | FailureClass::TooManyStatements
            | FailureClass::Unreachable
            | FailureClass::Away
            | FailureClass::Cancelled
            | FailureClass::Unknown => false,
        }
    }

    /// How long to stay away; `luck` in [0, 1) spreads those who fail together.
    pub(crate) fn backoff(&self, class: FailureClass, target_lag: Span, luck: f64) -> Span {
        let n = self.in_a_row.saturating_sub(1);
        let patience = (target_lag / 2).min(Span::from_secs(300));
        let half_jitter = |span: Span| span.scale(0.5 + 0.5 * luck);
        match class {
            FailureClass::Transient | FailureClass::TimedOut => {
                let ceiling = doubling(Span::from_secs(1), n, patience);
                ceiling.scale(luck).max(Span::from_millis(100))
            }
            FailureClass::Throttled | FailureClass::TooManyStatements => {
                let n = self.throttles.saturating_sub(1);
                let ceiling = doubling(Span::from_millis(250), n, Span::from_secs(5));
                ceiling.scale(luck).max(Span::from_millis(20))
            }
            FailureClass::Unreachable => {
                half_jitter(doubling(Span::from_secs(1), n, Span::from_secs(300)))
            }
            FailureClass::Permanent => half_jitter(patience.min(Span::from_secs(30))),
            FailureClass::Data => {
                half_jitter(doubling(Span::from_secs(30), 2 * n, Span::from_secs(900)))
            }
            FailureClass::Away | FailureClass::Cancelled | FailureClass::Unknown => {
                half_jitter(doubling(Span::from_secs(15), n, Span::from_secs(300)))
            }
        }
    }
}

impl Feasibility {
    /// Counts a cycle. A miss counts only where nothing but the refresh itself was slow.
    pub(crate) fn count(&mut self, peak: Span, held: bool, hurried: bool) -> FeasibilityChange {
        if self.peaks.len() == PEAKS_KEPT {
            self.peaks.pop_front();
        }
        self.peaks.push_back(peak);
        self.hits = if held { self.hits.saturating_add(1) } else { 0 };
        self.misses = match (held, hurried) {
            (true, _) => 0,
            (false, true) => self.misses.saturating_add(1),
            (false, false) => self.misses,
        };
        if !self.infeasible && self.misses >= FEASIBILITY_RUN {
            self.infeasible = true;
            return FeasibilityChange::Infeasible;
        }
        if self.infeasible && self.hits >= FEASIBILITY_RUN {
            self.infeasible = false;
            return FeasibilityChange::Feasible;
        }
        FeasibilityChange::None
    }

    /// The (1 − ε) quantile of the peak lags seen lately: a target the view could hold.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index into at most 64 values"
    )]
    pub(crate) fn reachable(&self, miss_rate: f64) -> Option<Span> {
        let mut peaks: Vec<Span> = self.peaks.iter().copied().collect();
        peaks.sort_unstable();
        let rank = ((1.0 - miss_rate) * peaks.len() as f64).ceil() as usize;
        peaks.get(rank.saturating_sub(1)).copied()
    }
}
