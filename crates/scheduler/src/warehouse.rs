//! One warehouse: who may go, how many at once, how fast the API may be called.
//!
//! Decides: slots and their adaptation, the expected dispatch wait (control law §6), the
//! submit budget of an (account, region) (§7), whether long polling works.
//! Deliberately absent: the breaker (see `breaker`), the orders of an overload (`overload`).

use std::collections::BTreeSet;

use crate::awake::AwakeTime;
use crate::breaker::Breaker;
use crate::event::Failure;
use crate::law::Margin;
use crate::overload::Load;
use crate::plan::{Priority, ViewId, WarehouseSpec};
use crate::sweep::Sweeps;
use crate::time::{Span, Timestamp};
use crate::wake::Wake;

/// Outstanding long polls that one warehouse may hold (control law §7).
const LONG_POLLS_MAX: u32 = 256;
/// Throttles closer together than this are one event: the answers were already under way.
const CUT_PAUSE: Span = Span::from_secs(5);
const CUT: f64 = 0.7;
/// A slot comes back after so long without a complaint.
const SLOT_REGROWTH: Span = Span::from_secs(600);

#[derive(Debug)]
pub(crate) struct Warehouse {
    pub(crate) spec: WarehouseSpec,
    /// It stands in the plan. One that has left is not asked anything, and scanned again
    /// when it comes back.
    pub(crate) planned: bool,
    pub(crate) access: Access,
    pub(crate) in_flight: u32,
    pub(crate) long_polls: u32,
    /// Of those in flight, how many catch up.
    pub(crate) catch_ups: u32,
    pub(crate) breaker: Breaker,
    pub(crate) load: Load,
    pub(crate) wake: Wake,
    pub(crate) awake: AwakeTime,
    pub(crate) sweeps: Sweeps,
    pub(crate) slots: Slots,
    /// W: how long a due view is expected to wait here.
    pub(crate) dispatch_wait: Span,
    /// The margin that young views borrow.
    pub(crate) margin: Margin,
    /// The endpoint answers before the asked wait is over: describe polling instead.
    pub(crate) ignores_wait: bool,
    /// Those who want to go: least slack first, ties by priority, then name.
    pub(crate) ready: BTreeSet<(Timestamp, Priority, ViewId)>,
}

/// No submit before the adoption scan has succeeded.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Access {
    Scanning {
        tries: u32,
        /// The warehouse has moved since it was asked: the answer is about another one.
        moved: bool,
    },
    Blocked {
        failure: Failure,
        retry_at: Timestamp,
        tries: u32,
    },
    Open,
}

impl Warehouse {
    pub(crate) fn new(spec: WarehouseSpec, now: Timestamp) -> Self {
        Self {
            slots: Slots::new(spec.max_in_flight, now),
            planned: true,
            spec,
            access: Access::Scanning {
                tries: 0,
                moved: false,
            },
            in_flight: 0,
            long_polls: 0,
            catch_ups: 0,
            breaker: Breaker::default(),
            load: Load::default(),
            wake: Wake::default(),
            awake: AwakeTime::new(now),
            sweeps: Sweeps::default(),
            dispatch_wait: Span::ZERO,
            margin: Margin::default(),
            ignores_wait: false,
            ready: BTreeSet::new(),
        }
    }

    /// Whether it may be used at all.
    pub(crate) fn admits(&self) -> bool {
        self.access == Access::Open
    }

    pub(crate) fn has_room(&self) -> bool {
        self.breaker
            .has_room(self.in_flight, self.slots.effective())
    }

    /// Views that catch up may take a third of the slots.
    pub(crate) fn may_catch_up(&self) -> bool {
        self.catch_ups < self.slots.effective().div_ceil(3)
    }

    pub(crate) fn may_long_poll(&self) -> bool {
        self.long_polls < LONG_POLLS_MAX
    }

    /// Learns from a call that asked for `wait` and came back `elapsed` later with the
    /// statement still running.
    pub(crate) fn learn_wait(&mut self, wait: Span, elapsed: Span) {
        if wait > Span::ZERO {
            self.ignores_wait = elapsed < wait / 2;
        }
    }

    /// One dispatch waited `delay` for its slot; its share of W was `used` (control law §6).
    pub(crate) fn learn_dispatch(&mut self, delay: Span, used: Span) {
        let wait = self.dispatch_wait.as_secs_f64();
        let late = f64::from(u8::from(delay > used));
        let next = wait + 0.005 * wait.max(1.0) * (late - 0.02);
        self.dispatch_wait = Span::from_secs_f64(next.max(0.0));
    }
}

/// How many statements may run at once: the operator's number, less what the warehouse
/// has complained about.
#[derive(Debug)]
pub(crate) struct Slots {
    most: u32,
    now: u32,
    changed_at: Timestamp,
}

impl Slots {
    fn new(most: u32, at: Timestamp) -> Self {
        let most = most.max(1);
        Self {
            most,
            now: most,
            changed_at: at,
        }
    }

    pub(crate) fn effective(&self) -> u32 {
        self.now
    }

    /// The operator has set another number.
    pub(crate) fn set_most(&mut self, most: u32, at: Timestamp) {
        if self.most != most.max(1) {
            *self = Self::new(most, at);
        }
    }

    /// Too many statements: make do with 0.7 of the slots.
    pub(crate) fn cut(&mut self, at: Timestamp) {
        if self.now == self.most || at - self.changed_at >= CUT_PAUSE {
            self.now = (self.now * 7 / 10).max(1);
            self.changed_at = at;
        }
    }

    /// Gives back one slot for each ten minutes since the last change.
    pub(crate) fn regrow(&mut self, at: Timestamp) {
        while self.regrows_at().is_some_and(|then| then <= at) {
            self.now += 1;
            self.changed_at += SLOT_REGROWTH;
        }
    }

    pub(crate) fn regrows_at(&self) -> Option<Timestamp> {
        (self.now < self.most).then(|| self.changed_at + SLOT_REGROWTH)
    }
}

/// The submits that one (account, region) may make: a token bucket whose rate is cut by
/// throttles and grows back (control law §7).
#[derive(Debug)]
pub(crate) struct Budget {
    /// Submits per second that the operator grants.
    share: f64,
    rate: f64,
    tokens: f64,
    updated_at: Timestamp,
    cut_at: Option<Timestamp>,
}

impl Budget {
    pub(crate) fn new(share: f64, now: Timestamp) -> Self {
        Self {
            share,
            rate: share,
            tokens: share.max(1.0),
            updated_at: now,
            cut_at: None,
        }
    }

    pub(crate) fn set_share(&mut self, share: f64) {
        self.share = share;
        self.rate = self.rate.clamp(0.1 * share, share);
    }

    pub(crate) fn refill(&mut self, now: Timestamp) {
        let elapsed = (now - self.updated_at).as_secs_f64().max(0.0);
        self.updated_at = now;
        self.rate = (self.rate + 0.05 * self.share * elapsed).min(self.share);
        self.tokens = (self.tokens + self.rate * elapsed).min(self.share.max(1.0));
    }

    /// Call [`Self::refill`] first.
    pub(crate) fn admits(&self) -> bool {
        self.tokens >= 1.0
    }

    pub(crate) fn spend(&mut self) {
        self.tokens -= 1.0;
    }

    /// When the next submit is admitted, if it is not already.
    pub(crate) fn admits_at(&self) -> Timestamp {
        let missing = (1.0 - self.tokens).max(0.0);
        // One microsecond more, so that rounding never wakes us just too early.
        self.updated_at + Span::from_secs_f64(missing / self.rate) + Span::from_micros(1)
    }

    pub(crate) fn throttled(&mut self, now: Timestamp) {
        self.refill(now);
        if self.cut_at.is_some_and(|at| now - at < CUT_PAUSE) {
            return;
        }
        self.cut_at = Some(now);
        self.rate = (self.rate * CUT).max(0.1 * self.share);
        self.tokens = self.tokens.min(0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_micros(0) + Span::from_secs(secs)
    }

    #[test]
    fn throttles_within_five_seconds_cut_the_rate_once() {
        let mut budget = Budget::new(10.0, at(0));
        budget.throttled(at(1));
        budget.throttled(at(2));
        assert!((budget.rate - 7.5).abs() < 1e-9, "{}", budget.rate);
        for second in 7..200 {
            budget.throttled(at(second));
        }
        assert!(budget.rate >= 1.0, "a tenth of the share stays");
    }

    #[test]
    fn the_rate_grows_back_by_a_twentieth_of_the_share_per_second() {
        let mut budget = Budget::new(10.0, at(0));
        budget.throttled(at(0));
        budget.refill(at(2));
        assert!((budget.rate - 8.0).abs() < 1e-9, "{}", budget.rate);
        budget.refill(at(60));
        assert!((budget.rate - 10.0).abs() < 1e-9);
    }

    #[test]
    fn a_cut_slot_comes_back_after_ten_minutes() {
        let mut slots = Slots::new(10, at(0));
        slots.cut(at(0));
        assert_eq!(slots.effective(), 7);
        slots.regrow(at(599));
        assert_eq!(slots.effective(), 7);
        slots.regrow(at(1_200));
        assert_eq!(slots.effective(), 9);
    }

    #[test]
    fn one_slot_always_stays() {
        let mut slots = Slots::new(2, at(0));
        for i in 0..10 {
            slots.cut(at(i * 10));
        }
        assert_eq!(slots.effective(), 1);
    }
}
