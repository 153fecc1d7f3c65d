//! A warehouse that is billed while it is awake: refreshes share wake-ups.
//!
//! Decides: who is drawn into a wake-up that somebody else has to pay for anyway (control law
//! §9). A wake-up costs a minute at least; whoever has something to read starts as late in it
//! as it is still sure to end inside. Nobody ever starts later than its own latest safe start.
//! Deliberately absent: keeping a warehouse awake.

use crate::plan::Billing;
use crate::scheduler::Scheduler;
use crate::time::{Span, Timestamp};
use crate::view::{Due, View};
use crate::warehouse::Warehouse;

/// What a wake-up costs at least.
const PAID: Span = Span::from_secs(60);
/// So soon after a statement the next one costs what it runs, not another minute.
const JUST_ENDED: Span = Span::from_secs(1);

#[derive(Debug, Default)]
pub(crate) struct Wake {
    /// Up to when the current or latest wake-up is paid for, whatever runs.
    paid_until: Option<Timestamp>,
    /// When the last statement of the latest wake-up ended.
    ended_at: Option<Timestamp>,
    /// How long it sleeps between wake-ups, on average.
    sleeps: Option<Span>,
}

impl Wake {
    /// A statement is submitted, with which `in_flight` are under way. Returns whether it
    /// wakes the warehouse.
    fn submit(&mut self, now: Timestamp, in_flight: u32) -> bool {
        if in_flight > 1 || self.paid_until.is_some_and(|until| now < until) {
            return false;
        }
        if let Some(slept_from) = self.paid_until.max(self.ended_at) {
            let slept = now - slept_from;
            self.sleeps = Some(
                self.sleeps
                    .map_or(slept, |mean| mean.scale(0.7) + slept.scale(0.3)),
            );
        }
        self.paid_until = Some(now + PAID);
        true
    }

    /// A system query keeps it awake like any other statement.
    pub(crate) fn busy(&mut self, now: Timestamp) {
        self.submit(now, 1);
    }

    /// Whether the present wake-up is still paid for, or has only just ended.
    pub(crate) fn is_awake(&self, now: Timestamp) -> bool {
        let ended = self.ended_at.map(|at| at + JUST_ENDED);
        self.paid_until.max(ended).is_some_and(|until| now < until)
    }

    pub(crate) fn end(&mut self, now: Timestamp) {
        self.ended_at = Some(now);
    }
}

impl Scheduler {
    /// A submit goes out: if it wakes its warehouse, all others there look again.
    pub(crate) fn wake(&mut self, index: usize) {
        let now = self.now;
        let Some(warehouse) = self.warehouses.get_mut(index) else {
            return;
        };
        if warehouse.spec.billing != Billing::Serverless
            || !warehouse.wake.submit(now, warehouse.in_flight)
        {
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
            (warehouse.spec.billing, warehouse.wake.paid_until)
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
