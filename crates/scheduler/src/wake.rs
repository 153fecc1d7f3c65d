//! A warehouse that is billed while it is awake: refreshes share wake-ups.
//!
//! Decides: who is drawn into a wake-up that somebody else has to pay for anyway (control law
//! §9). A wake-up is paid for `wake_minimum` at least; whoever has something to read starts as
//! late in it as it is still sure to end inside. Nobody ever starts later than its own latest
//! safe start.
//! Deliberately absent: keeping a warehouse awake, and how long it was (`awake`).

use crate::awake::Awake;
use crate::plan::Billing;
use crate::scheduler::Scheduler;
use crate::state::Due;
use crate::time::{Span, Timestamp};
use crate::view::View;
use crate::warehouse::Warehouse;

/// So soon after a statement the next one costs what it runs, not another minimum.
const JUST_ENDED: Span = Span::from_secs(1);

#[derive(Debug, Default)]
pub(crate) struct Wake {
    latest: Option<WakeUp>,
    /// When the last statement ended.
    ended_at: Option<Timestamp>,
    /// How long it sleeps between wake-ups, on average.
    sleeps: Option<Span>,
}

#[derive(Clone, Copy, Debug)]
struct WakeUp {
    began_at: Timestamp,
    /// Up to when it is surely paid for, whatever runs.
    paid_until: Timestamp,
}

impl Wake {
    /// A statement begins, and pays up to `paid_until` if it wakes the warehouse, that is
    /// unless `others` run. Returns whether it does.
    fn begin(&mut self, now: Timestamp, paid_until: Timestamp, others: bool) -> bool {
        if others || self.is_awake(now) {
            return false;
        }
        if let Some(slept_from) = self.paid_until().max(self.ended_at) {
            let slept = now - slept_from;
            self.sleeps = Some(
                self.sleeps
                    .map_or(slept, |mean| mean.scale(0.7) + slept.scale(0.3)),
            );
        }
        self.latest = Some(WakeUp {
            began_at: now,
            paid_until,
        });
        true
    }

    fn end(&mut self, now: Timestamp) {
        self.ended_at = Some(now);
    }

    /// The submit of `began_at` has not become a statement: it has woken nothing.
    fn refuse(&mut self, began_at: Timestamp, now: Timestamp) {
        if let Some(latest) = &mut self.latest
            && latest.began_at == began_at
            && self.ended_at.is_none_or(|ended_at| ended_at <= began_at)
        {
            latest.paid_until = latest.paid_until.min(now);
        }
    }

    fn paid_until(&self) -> Option<Timestamp> {
        self.latest.map(|latest| latest.paid_until)
    }

    /// Whether the present wake-up is still paid for, or has only just ended.
    fn is_awake(&self, now: Timestamp) -> bool {
        let ended = self.ended_at.map(|at| at + JUST_ENDED);
        self.paid_until()
            .max(ended)
            .is_some_and(|until| now < until)
    }
}

impl Warehouse {
    /// Statements of the daemon that may be running.
    fn running(&self) -> u32 {
        self.in_flight + u32::from(self.sweeps.is_under_way())
    }

    /// One statement more runs than before. Returns whether it wakes the warehouse.
    pub(crate) fn begins(&mut self, now: Timestamp) -> bool {
        self.has_begun(now, now)
    }

    /// The same of a statement that has run since `created_at`.
    pub(crate) fn has_begun(&mut self, created_at: Timestamp, now: Timestamp) -> bool {
        let others = self.running() > 1;
        let paid_until = (created_at + self.spec.wake_minimum).max(now);
        self.awake.begin(now, paid_until, others);
        self.wake.begin(now, paid_until, others)
    }

    /// The submit that was sent at `began_at` was refused.
    pub(crate) fn has_not_begun(&mut self, began_at: Timestamp, now: Timestamp) {
        if self.running() <= 1 {
            self.awake.refuse(began_at, now);
            self.wake.refuse(began_at, now);
        }
    }

    /// One statement fewer runs.
    pub(crate) fn ends(&mut self, now: Timestamp) {
        self.awake.end(now);
        self.wake.end(now);
    }

    /// Whether a further statement wakes nothing: something runs, or the paid time lasts.
    pub(crate) fn is_awake(&self, now: Timestamp) -> bool {
        self.spec.billing == Billing::Provisioned || self.running() > 0 || self.wake.is_awake(now)
    }

    /// How long it was kept awake, where that is billed.
    pub(crate) fn awake(&self, now: Timestamp) -> Option<Awake> {
        let minimum = self.spec.wake_minimum;
        (self.spec.billing == Billing::Serverless)
            .then(|| self.awake.at(now, minimum, self.running() > 0))
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
