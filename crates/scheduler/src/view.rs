//! One view: its state, what was learned of it, what is wished of it.
//!
//! Decides: what follows from what was learned for one view alone.
//! Deliberately absent: the states (`state`) and their transitions: `Scheduler::set_state` is
//! the only writer of [`View::state`].

use std::collections::VecDeque;
use std::sync::Arc;

use crate::event::{AttemptId, Failure, Found, Origin, Seen};
use crate::law::{Blind, DurationModel, Fit, Margin, Probed, Rate, doubling};
use crate::plan::{StatementTimeout, ViewSpec};
use crate::record::{Outcome, Told};
use crate::state::{Attempt, Due, NeverWhy, State};
use crate::time::{Span, Timestamp};
use crate::trouble::{Feasibility, Trouble};

/// Before anything is known, a refresh is taken to last a quarter of the target, at most this.
const FIRST_GUESS_MAX: Span = Span::from_secs(10);
/// Below so many refreshes a view borrows its warehouse's margin (control law §3).
pub(crate) const POOLED_BELOW: u32 = 50;
/// A view that catches up goes so often without a pause.
const MORE_AT_ONCE: u32 = 3;
/// No statement of Redshift may run longer (Data API limits).
pub(crate) const STATEMENT_LIFE_MAX: Span = Span::from_secs(24 * 3600);

#[derive(Debug)]
pub(crate) struct View {
    pub(crate) spec: ViewSpec,
    /// Index of its warehouse.
    pub(crate) warehouse: usize,
    pub(crate) state: State,
    /// Up to when the view holds the stream; `None` until a refresh has told.
    pub(crate) data_ts: Option<Timestamp>,
    /// When the daemon took the view up: stands in for an unknown `data_ts` in orderings.
    pub(crate) taken_up_at: Timestamp,
    /// Since when the daemon refreshes it, and does not only observe.
    pub(crate) active_since: Timestamp,
    /// U of the latest attempt.
    pub(crate) last_submit_at: Option<Timestamp>,
    pub(crate) last_finish_at: Option<Timestamp>,
    pub(crate) last_success_at: Option<Timestamp>,
    pub(crate) last_duration: Option<Span>,
    /// When the latest refresh that succeeded began, whoever made it.
    pub(crate) read_at: Option<Timestamp>,
    /// When it last had something in it that it had not before.
    pub(crate) changed_at: Option<Timestamp>,
    /// Late at the daemon's start: it does not begin before.
    pub(crate) not_before: Option<Timestamp>,
    pub(crate) model: DurationModel,
    pub(crate) margin: Margin,
    /// λ̂, where sizes are bytes.
    pub(crate) rate: Option<Rate>,
    /// The latest arrival probe that is not outdated by a refresh.
    pub(crate) seen: Option<Seen>,
    /// Of which moment the latest probe told, outdated or not.
    pub(crate) probed_at: Option<Timestamp>,
    /// The latest refresh stopped before the end of the stream.
    pub(crate) catching_up: bool,
    /// Refreshes in a row that did, how many of the latest came no further, and how far they came.
    pub(crate) more_in_a_row: u32,
    pub(crate) stuck_in_a_row: u32,
    pub(crate) caught_up_to: Option<Timestamp>,
    /// Slots that its target needs, as counted in its warehouse's load.
    pub(crate) load: f64,
    pub(crate) trouble: Trouble,
    /// The latest call about the attempt in flight had no usable answer.
    pub(crate) unanswered: Option<Failure>,
    pub(crate) feasibility: Feasibility,
    /// The open cycle has seen a pause or a closed schedule and does not count.
    pub(crate) cycle_void: bool,
    pub(crate) refreshes: u64,
    /// Calls to the API that were made for it.
    pub(crate) calls: u64,
    pub(crate) cycles_in_target: u64,
    pub(crate) cycles_missed: u64,
    /// Refreshes whose duration was foreseen, and those of them that took longer.
    pub(crate) judged: u64,
    pub(crate) late: u64,
    pub(crate) wish: Wish,
    /// The latest refresh, while what it did is being asked for.
    pub(crate) unjudged: Option<Unjudged>,
    /// The attempt that was concluded last.
    pub(crate) concluded: Option<AttemptId>,
    /// Of the newest record of a refresh that was read.
    pub(crate) told: Told,
    /// What the warehouse calls this view; another one means that it was made anew.
    pub(crate) identity: Option<i64>,
    /// Of when the newest record is that told so.
    pub(crate) identified_at: Option<Timestamp>,
    /// Durations of refreshes that computed the whole view anew, and whether the latest did.
    pub(crate) recompute: DurationModel,
    pub(crate) recomputes: bool,
    /// What is known of it comes from the warehouse's records of an earlier time.
    pub(crate) recalled: bool,
    pub(crate) alert: Option<Alert>,
    /// What the latest refresh did, whoever made it.
    pub(crate) last_outcome: Option<Outcome>,
    /// Records between what the latest refresh read and the end of the stream.
    pub(crate) behind: Option<u64>,
    pub(crate) skipped: u64,
    /// The latest record says that it stands on a view that was not up to date.
    pub(crate) stale_parent: bool,
    pub(crate) foreign: u64,
    /// AUTO REFRESH's among them, and how long they took together.
    pub(crate) auto: (u64, Span),
}

/// A refresh that has finished and of which is not yet known what it did.
#[derive(Clone, Debug)]
pub(crate) struct Unjudged {
    pub(crate) attempt: Attempt,
    pub(crate) finished_at: Timestamp,
    /// What was wrong before, and is again should the verdict be bad.
    pub(crate) trouble: Trouble,
}

/// Something that a person should look at although refreshes succeed.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    pub reason: AlertReason,
    pub text: Arc<str>,
    pub since: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlertReason {
    /// Nothing of what refreshes receive is in the view.
    AllSkipped,
    /// Its own SQL fails on the same record again and again.
    DataError,
    /// More than half of the stream's retention has passed since the view's data.
    Retention,
}

impl AlertReason {
    pub const ALL: [Self; 3] = [Self::AllSkipped, Self::DataError, Self::Retention];

    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::AllSkipped => "all_skipped",
            Self::DataError => "data_error",
            Self::Retention => "retention",
        }
    }
}

/// What is to happen once the view is idle again.
#[derive(Debug, Default)]
pub(crate) struct Wish {
    pub(crate) paused: bool,
    /// Refresh at the front of the queue.
    pub(crate) refresh: Option<Origin>,
    pub(crate) leaving: Option<Leaving>,
    /// Further statements of an earlier life, to be awaited one after the other.
    pub(crate) adopt: VecDeque<Found>,
}

/// A view in flight cannot go at once.
#[derive(Debug)]
pub(crate) enum Leaving {
    Removed,
    /// The id now means another view.
    Replaced(Box<ViewSpec>),
}

impl View {
    pub(crate) fn new(spec: ViewSpec, warehouse: usize, now: Timestamp) -> Self {
        Self {
            spec,
            warehouse,
            state: State::Waiting {
                due: Due::Never {
                    why: NeverWhy::Closed,
                },
            },
            data_ts: None,
            taken_up_at: now,
            active_since: now,
            last_submit_at: None,
            last_finish_at: None,
            last_success_at: None,
            last_duration: None,
            read_at: None,
            changed_at: None,
            not_before: None,
            model: DurationModel::default(),
            margin: Margin::default(),
            rate: None,
            seen: None,
            probed_at: None,
            catching_up: false,
            more_in_a_row: 0,
            stuck_in_a_row: 0,
            caught_up_to: None,
            load: 0.0,
            trouble: Trouble::default(),
            unanswered: None,
            feasibility: Feasibility::default(),
            cycle_void: false,
            refreshes: 0,
            calls: 0,
            cycles_in_target: 0,
            cycles_missed: 0,
            judged: 0,
            late: 0,
            wish: Wish::default(),
            unjudged: None,
            concluded: None,
            told: Told::default(),
            identity: None,
            identified_at: None,
            recompute: DurationModel::default(),
            recomputes: false,
            recalled: false,
            alert: None,
            last_outcome: None,
            behind: None,
            skipped: 0,
            stale_parent: false,
            foreign: 0,
            auto: (0, Span::ZERO),
        }
    }

    /// Up to when it holds the stream as far as planning goes: a refresh whose verdict is
    /// awaited is taken to have read everything.
    pub(crate) fn holds(&self) -> Option<Timestamp> {
        let unjudged = self.unjudged.as_ref();
        let told = unjudged.and_then(|unjudged| unjudged.attempt.data_ts);
        self.data_ts.max(told)
    }

    /// Half of the stream's retention has passed since what the view holds: when, and when the
    /// stream begins to drop the rest.
    pub(crate) fn loses_from(&self, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
        let retention = self.spec.retention?;
        let unknown = self.taken_up_at + retention;
        let ends_at = self.retention_ends_at().unwrap_or(unknown);
        let half = ends_at - retention / 2;
        (half < now).then_some((half, ends_at))
    }

    /// When the stream begins to drop what the view has not read: the oldest unread record's
    /// age counts where it is known.
    pub(crate) fn retention_ends_at(&self) -> Option<Timestamp> {
        let since = self.oldest_unread().or(self.data_ts)?;
        Some(since + self.spec.retention?)
    }

    /// It is another view under the same name: what it holds is not known either.
    pub(crate) fn forget(&mut self) {
        self.data_ts = None;
        self.read_at = None;
        self.seen = None;
        self.behind = None;
        self.catching_up = false;
        self.more_in_a_row = 0;
        self.stuck_in_a_row = 0;
        self.caught_up_to = None;
        self.recomputes = false;
        self.model = DurationModel::default();
        self.recompute = DurationModel::default();
        self.margin = Margin::default();
        self.feasibility = Feasibility::default();
        self.rate = None;
        self.alert = None;
    }

    /// After a refresh that began then: whether the next one goes at once.
    pub(crate) fn catch_up(&mut self, outcome: Outcome, began_at: Timestamp) {
        let Outcome::MoreData { up_to } = outcome else {
            self.catching_up = false;
            self.more_in_a_row = 0;
            self.stuck_in_a_row = 0;
            self.caught_up_to = None;
            return;
        };
        self.more_in_a_row = self.more_in_a_row.saturating_add(1);
        let headway = up_to > self.caught_up_to;
        self.stuck_in_a_row = if headway {
            0
        } else {
            self.stuck_in_a_row.saturating_add(1)
        };
        self.caught_up_to = self.caught_up_to.max(up_to);
        // "May contain more": of a stream that never rests that is said for ever.
        let near = up_to.is_some_and(|up_to| began_at - up_to <= self.spec.target_lag / 10);
        self.catching_up = !(near && self.more_in_a_row > MORE_AT_ONCE);
    }

    /// From when on it catches up: at once, unless it makes no headway.
    pub(crate) fn catches_up_at(&self, now: Timestamp) -> Timestamp {
        let stuck = self.stuck_in_a_row > MORE_AT_ONCE;
        let before = self.last_submit_at.filter(|_| stuck);
        before.map_or(now, |before| now.max(before + self.spec.min_interval))
    }

    /// Learns from a refresh of this size how long the next ones take. One that stopped half-way
    /// says nothing of how long the whole takes.
    pub(crate) fn learn(&mut self, size: f64, duration: Span, outcome: Outcome) {
        match outcome {
            Outcome::MoreData { .. } => {}
            Outcome::NoData => self.model.learn(0.0, duration),
            Outcome::Recomputed => self.recompute.learn(size, duration),
            Outcome::Data | Outcome::SomeSkipped | Outcome::AllSkipped => {
                self.model.learn(size, duration);
            }
        }
    }

    /// Whether it stands on a view that nobody has named as its parent.
    pub(crate) fn misses_a_parent(&self) -> bool {
        self.stale_parent && self.spec.after.is_empty()
    }

    /// d̂ for a gap; before any sample a guess from the target.
    pub(crate) fn fit(&self, target_lag: Span) -> Fit {
        self.present_model().fit().unwrap_or_else(|| Fit {
            fixed: (target_lag / 4).min(FIRST_GUESS_MAX).as_secs_f64(),
            slope: 0.0,
        })
    }

    /// A view whose latest refresh computed it anew will do so again, until one does not.
    pub(crate) fn present_model(&self) -> &DurationModel {
        if self.recomputes {
            &self.recompute
        } else {
            &self.model
        }
    }

    /// e^q: its own, or the warehouse's while it has few samples.
    pub(crate) fn margin_factor(&self, pooled: &Margin) -> f64 {
        if self.margin.samples() < POOLED_BELOW {
            pooled.factor()
        } else {
            self.margin.factor()
        }
    }

    /// P before clamping to the intervals that the operator allows.
    pub(crate) fn latest_start(&self, target_lag: Span, pooled: &Margin, wait: Span) -> Span {
        self.law(target_lag, pooled, wait).latest_start()
    }

    fn law(&self, target_lag: Span, pooled: &Margin, wait: Span) -> Blind {
        Blind {
            target_lag,
            fit: self.fit(target_lag),
            rate: self.rate(),
            margin: self.margin_factor(pooled),
            dispatch_wait: wait.min(target_lag / 10),
        }
    }

    /// X of a view whose arrivals are seen and that has something unread; not clamped.
    pub(crate) fn probed_start(
        &self,
        seen: Seen,
        target_lag: Span,
        pooled: &Margin,
        wait: Span,
    ) -> Option<Timestamp> {
        let oldest = seen.oldest?;
        let behind = match (self.rate, seen.bytes) {
            (Some(_), bytes) => bytes.unwrap_or(0.0),
            (None, _) => (seen.at - self.holds().unwrap_or(oldest)).as_secs_f64(),
        };
        let probed = Probed {
            blind: self.law(target_lag, pooled, wait),
            age: seen.at - oldest,
            behind,
        };
        Some(seen.at + probed.latest_start())
    }

    /// d̂ of a refresh that starts now.
    pub(crate) fn expected(&self, now: Timestamp) -> Span {
        let fit = self.fit(self.spec.target_lag);
        Span::from_secs_f64(fit.fixed + fit.slope * self.size(now).0)
    }

    /// `a(1 + ρ)/(T − a) + ρ`: the slots that holding its target takes (control law §6).
    pub(crate) fn slots_needed(&self, target_lag: Span) -> f64 {
        let fit = self.fit(target_lag);
        let rho = fit.slope * self.rate();
        let room = target_lag.as_secs_f64() - fit.fixed;
        if room <= fit.fixed {
            return 1.0;
        }
        (fit.fixed * (1.0 + rho) / room + rho).min(1.0)
    }

    /// P as it is used.
    pub(crate) fn interval(&self, latest_start: Span) -> Span {
        let longest = self.spec.max_interval.unwrap_or(Span::MAX);
        latest_start.max(self.spec.min_interval).min(longest)
    }

    /// How long the next statement may run (control law §8).
    pub(crate) fn statement_limit(&self, target_lag: Span) -> Span {
        let base = match self.spec.timeout {
            StatementTimeout::Stated(limit) => limit,
            StatementTimeout::Default(_) if self.holds().is_none() || self.catching_up => {
                STATEMENT_LIFE_MAX
            }
            StatementTimeout::Default(limit) => {
                let fit = self.fit(target_lag);
                let expected = fit.fixed + fit.slope * self.rate() * target_lag.as_secs_f64();
                limit.max(Span::from_secs_f64(4.0 * expected))
            }
        };
        doubling(base, self.trouble.timeouts, STATEMENT_LIFE_MAX)
    }
}
