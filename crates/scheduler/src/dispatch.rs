//! Admission: of those who are due, who may go now.
//!
//! Decides: order, slots and API budget (control law §6, §7), and what an attempt remembers.
//! Deliberately absent: the overload orders (see `overload`).

use crate::event::{AttemptId, Command, Deadline, DeadlineReason, Notice, Origin};
use crate::law::unit_interval;
use crate::plan::{Billing, Mode};
use crate::scheduler::Scheduler;
use crate::state::{Attempt, Due, DueWhy, State};
use crate::time::{Span, Timestamp};
use crate::view::View;

/// A long poll is at most this long (`WaitTimeSeconds` 1–30).
pub(crate) const WAIT_MAX: Span = Span::from_secs(30);
/// A submit waits at least so long where it may: most refreshes end inside it.
const SUBMIT_WAIT_MIN: Span = Span::from_secs(5);
/// A dispatch within this of its due time has not been deferred.
const AT_ONCE: Span = Span::from_millis(250);

impl Scheduler {
    /// Starts everyone who may start, least slack first.
    pub(crate) fn dispatch(&mut self) {
        if self.draining() {
            return;
        }
        for budget in self.budgets.values_mut() {
            budget.refill(self.now);
        }
        while let Some(slot) = self.next_admissible() {
            self.start(slot);
        }
    }

    fn next_admissible(&self) -> Option<usize> {
        let first = self
            .warehouses
            .iter()
            .filter(|warehouse| warehouse.admits() && warehouse.has_room())
            .filter(|warehouse| {
                let budget = self.budgets.get(&warehouse.spec.api_scope);
                budget.is_some_and(crate::warehouse::Budget::admits)
            })
            .filter_map(|warehouse| self.next_in_queue(warehouse))
            .min()?;
        Some(first.1)
    }

    /// When the API budget or a slot that comes back will admit somebody who waits.
    pub(crate) fn admission_deadline(&self) -> Option<Deadline> {
        self.warehouses
            .iter()
            .filter(|warehouse| warehouse.admits() && !warehouse.ready.is_empty())
            .filter_map(|warehouse| {
                if warehouse.has_room() {
                    // Where all who wait catch up, the end of another catch-up lets them in;
                    // where their past is not known, the look back.
                    self.next_in_queue(warehouse)?;
                    let budget = self.budgets.get(&warehouse.spec.api_scope)?;
                    return Some(Deadline {
                        at: budget.admits_at(),
                        why: DeadlineReason::ApiRate,
                    });
                }
                if let Some(at) = warehouse.breaker.probes_at() {
                    return Some(Deadline {
                        at,
                        why: DeadlineReason::Breaker,
                    });
                }
                let at = warehouse.slots.regrows_at()?;
                Some(Deadline {
                    at,
                    why: DeadlineReason::SlotRegrowth,
                })
            })
            .min_by_key(|deadline| deadline.at)
    }

    fn start(&mut self, slot: usize) {
        let Some(view) = self.view(slot) else {
            return;
        };
        let Some(Due::Ready {
            since,
            origin,
            hurried,
            ..
        }) = view.state.due().cloned()
        else {
            return;
        };
        if view.spec.mode == Mode::Observe {
            self.observe(slot, origin);
            return;
        }
        let delay = self.now - since;
        let id = AttemptId {
            slot: u32::try_from(slot).unwrap_or(u32::MAX),
            serial: self.attempts + 1,
        };
        let attempt = self.attempt(view, id, origin, hurried && delay <= AT_ONCE);
        let name = view.spec.id.clone();
        let index = view.warehouse;
        // W is learned from views on their ordinary rhythm only.
        if origin == Origin::Lag && view.holds().is_some() && view.trouble.is_none() {
            let warehouse = view.warehouse;
            let most = view.spec.target_lag / 10;
            if let Some(warehouse) = self.warehouses.get_mut(warehouse) {
                let used = warehouse.dispatch_wait.min(most);
                warehouse.learn_dispatch(delay, used);
            }
        }
        self.attempts = id.serial;
        if let Some(warehouse) = self.warehouses.get_mut(index) {
            warehouse.breaker.dispatched(id);
        }
        if let Some(view) = self.view_mut(slot) {
            view.last_submit_at = Some(attempt.submitted_at);
            view.not_before = None;
        }
        self.notice(Notice::Dispatched {
            view: name,
            attempt: id,
            origin,
            delay,
        });
        self.submit(slot, attempt);
        self.wake(index);
    }

    /// Hands out the submit of an attempt, the first time or again under the same name.
    pub(crate) fn submit(&mut self, slot: usize, mut attempt: Attempt) {
        let Some(view) = self.view(slot) else {
            return;
        };
        let id = view.spec.id.clone();
        let wait = self.submit_wait(view, &attempt);
        if let Some(warehouse) = self.warehouses.get(view.warehouse)
            && let Some(budget) = self.budgets.get_mut(&warehouse.spec.api_scope)
        {
            budget.spend();
        }
        attempt.called_at = self.now;
        attempt.called_wait = wait;
        self.call(
            slot,
            Command::Submit {
                attempt: attempt.id,
                view: id,
                wait,
            },
        );
        let long_poll = wait > Span::ZERO;
        self.set_state(slot, State::Submitting { attempt, long_poll });
    }

    fn attempt(&self, view: &View, id: AttemptId, origin: Origin, hurried: bool) -> Attempt {
        let target_lag = self.target_lag(view).unwrap_or(view.spec.target_lag);
        let (size, known) = view.size(self.now);
        let expected = view.present_model().fit().map(|_| view.expected(self.now));
        let foreseen = self.warehouses.get(view.warehouse).and_then(|warehouse| {
            let factor = view.margin_factor(&warehouse.margin);
            expected.map(|expected| expected.scale(factor))
        });
        let suspension = match &view.state {
            State::Suspended { suspension, .. } => Some(suspension.clone()),
            State::Waiting { .. }
            | State::Submitting { .. }
            | State::Running { .. }
            | State::Cancelling { .. }
            | State::Unsure { .. }
            | State::Paused => None,
        };
        Attempt {
            id,
            origin,
            submitted_at: self.now,
            called_at: self.now,
            called_wait: Span::ZERO,
            size,
            oldest: view.seen(self.now).and_then(|seen| seen.oldest),
            probed: view.sees_arrivals(self.now),
            catch_up: view.catching_up,
            foreseen: foreseen.filter(|_| known),
            expected,
            data_ts: self.source_ts(view),
            clean: known && !view.catching_up,
            hurried,
            call_failures: 0,
            suspension,
            limit: view.statement_limit(target_lag),
            timed_out: false,
        }
    }

    /// How long a submit asks the endpoint to hold its answer: well beyond the refresh's
    /// expected end, but no longer, so that a lost answer is noticed soon.
    fn submit_wait(&self, view: &View, attempt: &Attempt) -> Span {
        let enough = attempt
            .expected
            .map_or(view.spec.target_lag, |expected| expected * 4)
            .max(SUBMIT_WAIT_MIN);
        self.long_poll_wait(view.warehouse, enough.min(attempt.limit))
    }

    /// The wait to ask for: whole seconds, zero where no long poll may be made.
    pub(crate) fn long_poll_wait(&self, warehouse: usize, wanted: Span) -> Span {
        let Some(warehouse) = self.warehouses.get(warehouse) else {
            return Span::ZERO;
        };
        if !warehouse.may_long_poll() {
            return Span::ZERO;
        }
        let second = Span::from_secs(1);
        let capped = wanted.min(WAIT_MAX).min(self.drain_left()).max(second);
        Span::from_secs((capped + second - Span::from_micros(1)).as_micros() / 1_000_000)
    }

    /// `observe` mode: report, and wait as long as a refresh would have lasted.
    fn observe(&mut self, slot: usize, origin: Origin) {
        let Some(view) = self.view(slot) else {
            return;
        };
        let id = view.spec.id.clone();
        let target_lag = self.target_lag(view).unwrap_or(view.spec.target_lag);
        let interval = self.warehouses.get(view.warehouse).map(|warehouse| {
            view.interval(view.latest_start(target_lag, &warehouse.margin, Span::ZERO))
        });
        let due = Due::At {
            at: self.now + interval.unwrap_or(target_lag),
            why: DueWhy::Observe,
            hurried: false,
        };
        self.set_due(slot, due);
        self.notice(Notice::WouldRefresh { view: id, origin });
    }

    /// Breaks up views that were all due at start: the second refresh is drawn from the
    /// whole interval (control law §4). Not on Serverless, where bunching is what one wants.
    pub(crate) fn debunched(&self, view: &View, interval: Span) -> Span {
        let provisioned = self
            .warehouses
            .get(view.warehouse)
            .is_some_and(|warehouse| warehouse.spec.billing == Billing::Provisioned);
        if view.refreshes != 1 || view.recalled || !provisioned || !view.spec.after.is_empty() {
            return interval;
        }
        let share = unit_interval(self.seed, view.spec.id.as_str(), 1);
        interval.scale(share).max(view.spec.min_interval)
    }

    /// Least slack first; what was asked for goes to the front.
    pub(crate) fn place_in_queue(&self, view: &View, origin: Origin) -> Timestamp {
        match origin {
            Origin::Manual | Origin::Pinned => Timestamp::MIN,
            Origin::Lag | Origin::Parent | Origin::Probe | Origin::Adopted => self.start_by(view),
        }
    }

    /// A person's wish or a parent's success puts an idle view into the queue at once.
    pub(crate) fn queue_now(&mut self, slot: usize, origin: Origin, since: Timestamp) {
        let Some(view) = self.view(slot) else {
            return;
        };
        let due = Due::Ready {
            since,
            origin,
            start_by: self.place_in_queue(view, origin),
            hurried: false,
        };
        self.set_due(slot, due);
    }
}
