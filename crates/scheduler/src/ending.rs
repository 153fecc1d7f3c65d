//! How attempts end, and what is learned from it.
//!
//! Decides: `data_ts`, the samples of model and margin, cycles, feasibility, backoff and
//! suspension (control law §1–§5, §8).
//! Invariant: `data_ts` never decreases, and never moves on a failure.

use crate::event::{Cycle, Failure, FailureClass, Notice, Origin};
use crate::law::{Verdict, doubling, unit_interval};
use crate::record::{Asked, Outcome};
use crate::scheduler::Scheduler;
use crate::state::{Attempt, Due, DueWhy, State, Suspension};
use crate::sweep::Pressing;
use crate::time::{Span, Timestamp};
use crate::trouble::FeasibilityChange;
use crate::view::{POOLED_BELOW, Unjudged};

/// A suspended view is tried again after this, then after twice as long, and so on.
const PROBE_AFTER: Span = Span::from_secs(15 * 60);
const PROBE_AFTER_MAX: Span = Span::from_secs(6 * 3600);

impl Scheduler {
    /// A refresh has finished and is visible.
    pub(crate) fn succeed(
        &mut self,
        slot: usize,
        attempt: &Attempt,
        server_end: Option<Timestamp>,
        outcome: Outcome,
    ) {
        let finished_at = server_end
            .unwrap_or(self.now)
            .max(attempt.submitted_at)
            .min(self.now);
        // Of the one before nothing more will be heard in time.
        self.conclude(slot, Outcome::Data);
        let Some(view) = self.view_mut(slot) else {
            return;
        };
        view.unanswered = None;
        view.refreshes += 1;
        view.last_finish_at = Some(finished_at);
        view.last_success_at = Some(finished_at);
        view.last_duration = Some(finished_at - attempt.submitted_at);
        view.unjudged = Some(Unjudged {
            attempt: attempt.clone(),
            finished_at,
            trouble: std::mem::take(&mut view.trouble),
        });
        view.forget_seen(attempt.submitted_at);
        let first = view.data_ts.is_none().then_some(Pressing::First);
        let pressing = first.max(attempt.catch_up.then_some(Pressing::CatchUp));
        let (name, index) = (view.spec.id.clone(), view.warehouse);
        if attempt.suspension.is_some() {
            self.notice(Notice::Resumed { view: name.clone() });
        }
        self.breaker_hears_answer(index);
        let asked = Asked {
            view: name,
            attempt: attempt.id,
            submitted_at: attempt.submitted_at,
            finished_at: Some(finished_at),
        };
        let waits = self.ask_verdict(index, asked, pressing);
        if outcome != Outcome::Data || !waits {
            self.conclude(slot, outcome);
        }
        self.settle(slot);
    }

    /// What the latest refresh did is known, or will not be: it counts, and is learned from.
    pub(crate) fn conclude(&mut self, slot: usize, outcome: Outcome) {
        let Some(unjudged) = self.view_mut(slot).and_then(|view| view.unjudged.take()) else {
            return;
        };
        let Unjudged {
            attempt,
            finished_at,
            trouble: _,
        } = unjudged;
        let attempt = &attempt;
        let duration = finished_at - attempt.submitted_at;
        self.learn_duration(slot, attempt, duration, outcome);
        let cycle = self.close_cycle(slot, attempt, finished_at, outcome);
        let Some(view) = self.view_mut(slot) else {
            return;
        };
        view.concluded = Some(attempt.id);
        view.recomputes = outcome == Outcome::Recomputed;
        view.last_outcome = Some(outcome);
        view.data_ts = view.data_ts.max(match outcome {
            Outcome::MoreData { up_to } => attempt.data_ts.min(up_to),
            Outcome::Data
            | Outcome::NoData
            | Outcome::SomeSkipped
            | Outcome::AllSkipped
            | Outcome::Recomputed => attempt.data_ts,
        });
        view.read_at = view.read_at.max(Some(attempt.submitted_at));
        view.catch_up(outcome, attempt.submitted_at);
        if outcome != Outcome::NoData {
            view.changed_at = view.changed_at.max(Some(finished_at));
        }
        view.cycle_void = false;
        let name = view.spec.id.clone();
        self.notice(Notice::Refreshed {
            view: name,
            attempt: attempt.id,
            outcome,
            duration,
            finished_at,
            cycle,
        });
        if let Some(cycle) = cycle {
            self.judge_feasibility(slot, attempt, cycle);
        }
        self.learn_load(slot);
        self.bring_along(slot);
        for child in self.children.get(&slot).cloned().unwrap_or_default() {
            self.offer_news(child, slot);
        }
    }

    fn learn_duration(&mut self, slot: usize, attempt: &Attempt, duration: Span, outcome: Outcome) {
        if !attempt.clean || matches!(outcome, Outcome::MoreData { .. }) {
            return;
        }
        if let Some(foreseen) = attempt.foreseen {
            self.learn_lateness(slot, duration > foreseen);
        }
        if let Some(view) = self.view_mut(slot) {
            view.learn(attempt.size, duration, outcome);
        }
    }

    /// Moves the margin, the pooled one too while the view borrows it.
    fn learn_lateness(&mut self, slot: usize, late: bool) {
        let Some(Some(view)) = self.views.get_mut(slot) else {
            return;
        };
        let miss_rate = view.spec.miss_rate;
        view.judged += 1;
        view.late += u64::from(late);
        let borrowed = view.margin.samples() < POOLED_BELOW;
        if view.margin.learn(late, miss_rate) == Verdict::RegimeChanged {
            view.model.distrust();
        }
        if borrowed && let Some(warehouse) = self.warehouses.get_mut(view.warehouse) {
            warehouse.margin.learn(late, miss_rate);
            if view.margin.samples() == POOLED_BELOW {
                view.margin.inherit(&warehouse.margin);
            }
        }
    }

    /// A cycle ends with a successful refresh (control law §5). The first refresh is none,
    /// nor is one that a pause or a closed schedule has touched.
    fn close_cycle(
        &mut self,
        slot: usize,
        attempt: &Attempt,
        at: Timestamp,
        outcome: Outcome,
    ) -> Option<Cycle> {
        let view = self.view(slot)?;
        let target_lag = self.target_lag(view)?;
        let before = view.data_ts?;
        // A view on views whose parents have not moved reads nothing: no cycle.
        if view.cycle_void || attempt.data_ts? <= before {
            return None;
        }
        // Where arrivals are seen, a cycle begins with the oldest record that was unread.
        let since = if attempt.probed {
            // One that read nothing has answered to no record.
            attempt.oldest.filter(|_| outcome != Outcome::NoData)?
        } else {
            before
        };
        let cycle = Cycle {
            target_lag,
            peak_lag: at - since,
        };
        let view = self.view_mut(slot)?;
        if cycle.in_target() {
            view.cycles_in_target += 1;
        } else {
            view.cycles_missed += 1;
        }
        Some(cycle)
    }

    fn judge_feasibility(&mut self, slot: usize, attempt: &Attempt, cycle: Cycle) {
        let Some(view) = self.view_mut(slot) else {
            return;
        };
        let hurried = attempt.hurried;
        let change = view
            .feasibility
            .count(cycle.peak_lag, cycle.in_target(), hurried);
        let reachable = view.feasibility.reachable(view.spec.miss_rate);
        let view = view.spec.id.clone();
        match change {
            FeasibilityChange::Infeasible => self.notice(Notice::Infeasible {
                view,
                reachable: reachable.unwrap_or(cycle.peak_lag),
            }),
            FeasibilityChange::Feasible => self.notice(Notice::FeasibleAgain { view }),
            FeasibilityChange::None => {}
        }
    }

    /// A parent has new data: its child goes now, unless it can wait for the next time.
    pub(crate) fn offer_news(&mut self, child: usize, parent: usize) {
        let (Some(view), Some(parent)) = (self.view(child), self.view(parent)) else {
            return;
        };
        let State::Waiting { due } = &view.state else {
            return;
        };
        if matches!(due, Due::Ready { .. }) {
            return;
        }
        let Some(target_lag) = self.target_lag(view) else {
            return;
        };
        let retrying = view.trouble.retry_at.is_some_and(|at| at > self.now);
        let (start_at, _) = self.next_start(view, target_lag);
        let parent_lag = self.target_lag(parent).unwrap_or(parent.spec.target_lag);
        let (parent_next, _) = self.next_start(parent, parent_lag);
        let next_news = parent_next + parent.last_duration.unwrap_or(Span::ZERO);
        let known = self.source_ts(view).is_some();
        self.settle(child);
        let news = self.view(child).is_some_and(|view| self.has_news(view));
        if news && known && !retrying && start_at <= next_news {
            self.queue_now(child, Origin::Parent, self.now);
        }
    }

    /// The submit was refused: no statement exists.
    pub(crate) fn not_executed(&mut self, slot: usize, attempt: Attempt, failure: Failure) {
        let now = self.now;
        let Some(warehouse) = self.view(slot).map(|view| view.warehouse) else {
            return;
        };
        if let Some(warehouse) = self.warehouses.get_mut(warehouse) {
            warehouse.has_not_begun(attempt.called_at, now);
        }
        match failure.class {
            FailureClass::Throttled => {
                if let Some(warehouse) = self.warehouses.get(warehouse)
                    && let Some(budget) = self.budgets.get_mut(&warehouse.spec.api_scope)
                {
                    budget.throttled(now);
                }
            }
            FailureClass::TooManyStatements => {
                if let Some(warehouse) = self.warehouses.get_mut(warehouse) {
                    warehouse.slots.cut(now);
                }
            }
            FailureClass::Transient
            | FailureClass::Unreachable
            | FailureClass::Away
            | FailureClass::Permanent
            | FailureClass::Data
            | FailureClass::TimedOut
            | FailureClass::Cancelled
            | FailureClass::Unknown => return self.end_badly(slot, attempt, failure),
        }
        self.breaker_forgets(warehouse, attempt.id);
        self.requeue(slot, attempt, failure);
    }

    /// Not the view's fault: it goes again soon, and nothing is held against it.
    fn requeue(&mut self, slot: usize, attempt: Attempt, failure: Failure) {
        let (now, luck) = (self.now, self.luck(slot, attempt.id.serial()));
        let Some(view) = self.view_mut(slot) else {
            return;
        };
        view.trouble.throttles += 1;
        let target_lag = view.spec.target_lag;
        let retry_at = now + view.trouble.backoff(failure.class, target_lag, luck);
        view.trouble.retry_at = Some(retry_at);
        let name = view.spec.id.clone();
        self.notice(Notice::CallFailed {
            view: name,
            attempt: attempt.id,
            failure,
        });
        match attempt.suspension {
            Some(suspension) => self.suspend_until(slot, suspension, retry_at),
            None => self.settle(slot),
        }
        if matches!(attempt.origin, Origin::Manual | Origin::Pinned) {
            let due = Due::At {
                at: retry_at,
                why: DueWhy::Wish(attempt.origin),
                hurried: false,
            };
            self.set_due(slot, due);
        }
    }

    /// A statement has ended badly, or may have run: what it leaves in the warehouse's records
    /// is our own.
    pub(crate) fn fail(&mut self, slot: usize, attempt: Attempt, failure: Failure) {
        let now = self.now;
        let Some(view) = self.view(slot) else {
            return;
        };
        let index = view.warehouse;
        let asked = Asked {
            view: view.spec.id.clone(),
            attempt: attempt.id,
            submitted_at: attempt.submitted_at,
            finished_at: Some(now),
        };
        self.ask_verdict(index, asked, None);
        self.end_badly(slot, attempt, failure);
    }

    /// An attempt has ended badly.
    pub(crate) fn end_badly(&mut self, slot: usize, attempt: Attempt, failure: Failure) {
        // How long it would have taken is unknown; that it was late is not.
        if attempt.timed_out && attempt.foreseen.is_some() {
            self.learn_lateness(slot, true);
        }
        let (now, luck) = (self.now, self.luck(slot, attempt.id.serial()));
        let Some(view) = self.view_mut(slot) else {
            return;
        };
        view.last_finish_at = Some(now);
        view.trouble.count(&failure, now);
        view.unanswered = None;
        let index = view.warehouse;
        let blameless = self.breaker_hears_failure(index, attempt.id, &failure);
        let Some(view) = self.view_mut(slot) else {
            return;
        };
        if blameless {
            view.trouble.absolve();
        }
        let suspension = match attempt.suspension {
            Some(before) => Some(Suspension {
                failure: failure.clone(),
                since: before.since,
                probes: before.probes + u32::from(attempt.origin == Origin::Probe),
            }),
            None if !blameless && view.trouble.suspends(failure.class) => Some(Suspension {
                failure: failure.clone(),
                since: now,
                probes: 0,
            }),
            None => None,
        };
        let backoff = match &suspension {
            Some(suspension) => doubling(PROBE_AFTER, suspension.probes, PROBE_AFTER_MAX),
            // It waits in the queue until the breaker lets it through.
            None if blameless => Span::ZERO,
            None => view
                .trouble
                .backoff(failure.class, view.spec.target_lag, luck),
        };
        let retry_at = now + backoff;
        view.trouble.retry_at = Some(retry_at);
        let name = view.spec.id.clone();
        self.notice(Notice::Failed {
            view: name.clone(),
            attempt: attempt.id,
            failure: failure.clone(),
            duration: now - attempt.submitted_at,
            retry_at,
        });
        let Some(suspension) = suspension else {
            return self.settle(slot);
        };
        if suspension.probes == 0 && suspension.since == now {
            self.notice(Notice::Suspended {
                view: name,
                failure,
                probe_at: retry_at,
            });
        }
        self.suspend_until(slot, suspension, retry_at);
    }

    fn suspend_until(&mut self, slot: usize, suspension: Suspension, probe_at: Timestamp) {
        if self.leave_if_wished(slot) || self.adopt_next(slot) {
            return;
        }
        if self.view(slot).is_some_and(|view| view.wish.paused) {
            self.set_state(slot, State::Paused);
            return;
        }
        let due = Due::At {
            at: probe_at,
            why: DueWhy::Probe,
            hurried: false,
        };
        self.set_state(slot, State::Suspended { suspension, due });
    }

    fn luck(&self, slot: usize, attempt: u64) -> f64 {
        self.view(slot).map_or(0.5, |view| {
            unit_interval(self.seed, view.spec.id.as_str(), attempt)
        })
    }
}
