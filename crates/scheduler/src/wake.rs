//! A warehouse that is billed while it is awake: refreshes share wake-ups.
//!
//! Decides: when it is awake on the daemon's account, and who is drawn into a wake-up that
//! somebody else has to pay for anyway (control law §9). A wake-up lasts from the statement
//! that finds the warehouse asleep until nothing runs any more, and is paid for `wake_minimum`
//! at least; whoever has something to read starts as late in it as it is still sure to end
//! inside. Nobody ever starts later than its own latest safe start.
//! Deliberately absent: keeping a warehouse awake, and what others do there.

use std::collections::VecDeque;

use crate::plan::Billing;
use crate::scheduler::Scheduler;
use crate::time::{Span, Timestamp};
use crate::view::{Due, View};
use crate::warehouse::Warehouse;

/// So soon after a statement the next one costs what it runs, not another minimum.
const JUST_ENDED: Span = Span::from_secs(1);
const DAY: Span = Span::from_secs(24 * 3600);
/// Wake-ups of a day that are remembered one by one: all of them, unless the minimum is
/// shorter than real ones are.
const REMEMBERED_MAX: usize = 4_096;

#[derive(Debug)]
pub(crate) struct Wake {
    /// The present or latest wake-up.
    latest: Option<WakeUp>,
    /// When the last statement ended.
    ended_at: Option<Timestamp>,
    /// How long it sleeps between wake-ups, on average.
    sleeps: Option<Span>,
    /// How long it was awake in the wake-ups before the latest one.
    total: Span,
    /// Of those, when each began and ended, as far back as `remembers`.
    before: VecDeque<(Timestamp, Timestamp)>,
    remembers: Timestamp,
}

#[derive(Clone, Copy, Debug)]
struct WakeUp {
    began_at: Timestamp,
    /// Up to when it is paid for, whatever runs.
    paid_until: Timestamp,
}

/// What the daemon's own statements have kept awake (Serverless).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Awake {
    /// Since the daemon took the warehouse up.
    pub total: Span,
    /// Up to when the present wake-up is paid for or runs; `None` while asleep.
    pub until: Option<Timestamp>,
    /// How long in the last `day`: 24 h, or less since the daemon took it up.
    pub in_day: Span,
    pub day: Span,
}

impl Wake {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self {
            latest: None,
            ended_at: None,
            sleeps: None,
            total: Span::ZERO,
            before: VecDeque::new(),
            remembers: now,
        }
    }

    /// A statement begins, and is paid for `minimum` if it wakes the warehouse, that is unless
    /// `others` run. Returns whether it does.
    fn begin(&mut self, now: Timestamp, minimum: Span, others: bool) -> bool {
        if others || self.is_awake(now) {
            return false;
        }
        if let Some((began_at, ended_at)) = self.latest_span() {
            let slept = now - ended_at;
            self.sleeps = Some(
                self.sleeps
                    .map_or(slept, |mean| mean.scale(0.7) + slept.scale(0.3)),
            );
            self.total = self.total + (ended_at - began_at);
            self.before.push_back((began_at, ended_at));
        }
        while self.before.front().is_some_and(|(_, ended_at)| {
            now - *ended_at > DAY || self.before.len() > REMEMBERED_MAX
        }) && let Some((_, ended_at)) = self.before.pop_front()
        {
            self.remembers = ended_at;
        }
        self.latest = Some(WakeUp {
            began_at: now,
            paid_until: now + minimum,
        });
        true
    }

    pub(crate) fn end(&mut self, now: Timestamp) {
        self.ended_at = self.ended_at.max(Some(now));
    }

    /// The submit of `began_at` has not become a statement: nothing was woken by it.
    fn refuse(&mut self, began_at: Timestamp, now: Timestamp) {
        if let Some(latest) = &mut self.latest
            && latest.began_at == began_at
            && self.ended_at.is_none_or(|ended_at| ended_at <= began_at)
        {
            latest.paid_until = now.min(latest.paid_until);
        }
    }

    /// Whether the present wake-up is still paid for, or has only just ended.
    fn is_awake(&self, now: Timestamp) -> bool {
        let paid_until = self.latest.map(|latest| latest.paid_until);
        let ended = self.ended_at.map(|at| at + JUST_ENDED);
        paid_until.max(ended).is_some_and(|until| now < until)
    }

    fn paid_until(&self) -> Option<Timestamp> {
        self.latest.map(|latest| latest.paid_until)
    }

    /// When the latest wake-up began, and when it ends if nothing runs any more.
    fn latest_span(&self) -> Option<(Timestamp, Timestamp)> {
        let WakeUp {
            began_at,
            paid_until,
        } = self.latest?;
        Some((
            began_at,
            self.ended_at.unwrap_or(paid_until).max(paid_until),
        ))
    }

    fn awake(&self, now: Timestamp, running: bool) -> Awake {
        let latest = self.latest_span().map(|(began_at, ended_at)| {
            let until = if running { ended_at.max(now) } else { ended_at };
            (began_at, until)
        });
        let day_began = self.remembers.max(now - DAY);
        let within = |from: Timestamp, until: Timestamp, began: Timestamp| {
            (until.min(now) - from.max(began)).max(Span::ZERO)
        };
        let mut total = self.total;
        let mut in_day = Span::ZERO;
        if let Some((began_at, until)) = latest {
            total = total + within(began_at, until, began_at);
        }
        for (from, until) in self.before.iter().copied().chain(latest) {
            in_day = in_day + within(from, until, day_began);
        }
        Awake {
            total,
            until: latest
                .map(|(_, until)| until)
                .filter(|until| running || now < *until),
            in_day,
            day: now - day_began,
        }
    }
}

impl Warehouse {
    /// Statements of the daemon that may be running.
    fn running(&self) -> u32 {
        self.in_flight + u32::from(self.sweeps.is_under_way())
    }

    /// One statement more runs now than before. Returns whether it wakes the warehouse.
    pub(crate) fn begins(&mut self, now: Timestamp) -> bool {
        let others = self.running() > 1;
        self.wake.begin(now, self.spec.wake_minimum, others)
    }

    /// One statement more is known to run, since `created_at`.
    pub(crate) fn has_begun(&mut self, created_at: Timestamp, now: Timestamp) {
        let others = self.running() > 1;
        let left = created_at + self.spec.wake_minimum - now;
        self.wake.begin(now, left.max(Span::ZERO), others);
    }

    /// The submit that was sent at `began_at` was refused.
    pub(crate) fn has_not_begun(&mut self, began_at: Timestamp, now: Timestamp) {
        if self.running() <= 1 {
            self.wake.refuse(began_at, now);
        }
    }

    /// Whether a further statement wakes nothing: something runs, or the paid time lasts.
    pub(crate) fn is_awake(&self, now: Timestamp) -> bool {
        self.spec.billing == Billing::Provisioned || self.running() > 0 || self.wake.is_awake(now)
    }

    pub(crate) fn awake(&self, now: Timestamp) -> Option<Awake> {
        (self.spec.billing == Billing::Serverless).then(|| self.wake.awake(now, self.running() > 0))
    }
}

impl Scheduler {
    /// A submit goes out: if it wakes its warehouse, all others there look again.
    pub(crate) fn wake(&mut self, index: usize) {
        let now = self.now;
        let Some(warehouse) = self.warehouses.get_mut(index) else {
            return;
        };
        if warehouse.spec.billing != Billing::Serverless || !warehouse.begins(now) {
            return;
        }
        let slots: Vec<usize> = self.by_id.values().copied().collect();
        for slot in slots {
            let waits = self.view(slot).is_some_and(|view| {
                let due = view.state.due();
                view.warehouse == index && matches!(due, Some(Due::At { .. }))
            });
            if waits {
                self.settle_if_waiting(slot);
            }
        }
    }

    /// X, or earlier where a wake-up is paid for that the view had better use.
    pub(crate) fn aligned(
        &self,
        view: &View,
        warehouse: &Warehouse,
        start: Timestamp,
    ) -> Timestamp {
        let (Billing::Serverless, Some(paid_until)) =
            (warehouse.spec.billing, warehouse.wake.paid_until())
        else {
            return start;
        };
        if paid_until <= self.now || view.holds().is_none() {
            return start;
        }
        let draws = if view.sees_arrivals(self.now) {
            true
        } else {
            let next_wake = paid_until + warehouse.wake.sleeps.unwrap_or(Span::ZERO);
            start < next_wake
        };
        let lasts = view
            .expected(self.now)
            .scale(view.margin_factor(&warehouse.margin));
        let last_chance = paid_until - lasts;
        if draws && last_chance > self.now {
            start.min(last_chance)
        } else {
            start
        }
    }
}
