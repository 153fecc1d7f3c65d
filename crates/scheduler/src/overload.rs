//! More work than slots: who goes first then.
//!
//! Decides: what share of its slots a warehouse's targets need, when that is too much, and the
//! three orders (control law §6). Deliberately absent: changing anybody's target.

use crate::event::Notice;
use crate::plan::{OverloadOrder, Priority};
use crate::scheduler::Scheduler;
use crate::time::Timestamp;
use crate::view::View;
use crate::warehouse::Warehouse;

const ENTER: f64 = 0.97;
const LEAVE: f64 = 0.90;
/// So many evaluations in a row.
const EVALUATIONS: u32 = 3;
/// Of `max_satisfied`, one slot in so many goes to the latest.
const FOR_THE_LATEST: u32 = 5;

/// Slots that the targets of a warehouse need: `Û = Σ a(1 + ρ)/(T − a) + ρ`.
#[derive(Debug, Default)]
pub(crate) struct Load {
    pub(crate) slots_needed: f64,
    pub(crate) overloaded: bool,
    beyond: u32,
}

impl Load {
    /// Returns whether it has turned.
    fn evaluate(&mut self, slots: u32) -> bool {
        let used = self.slots_needed / f64::from(slots.max(1));
        let turning = if self.overloaded {
            used < LEAVE
        } else {
            used > ENTER
        };
        self.beyond = if turning { self.beyond + 1 } else { 0 };
        if self.beyond < EVALUATIONS {
            return false;
        }
        self.overloaded = !self.overloaded;
        self.beyond = 0;
        true
    }
}

impl Scheduler {
    /// A refresh has ended: what its view needs may have changed.
    pub(crate) fn learn_load(&mut self, slot: usize) {
        let Some(view) = self.view(slot) else {
            return;
        };
        let target_lag = self.target_lag(view).unwrap_or(view.spec.target_lag);
        let (needs, index) = (view.slots_needed(target_lag), view.warehouse);
        let Some(view) = self.view_mut(slot) else {
            return;
        };
        let before = std::mem::replace(&mut view.load, needs);
        if let Some(warehouse) = self.warehouses.get_mut(index) {
            warehouse.load.slots_needed += needs - before;
            let slots = warehouse.slots.effective();
            if warehouse.load.evaluate(slots) {
                let notice = Notice::Overload {
                    warehouse: warehouse.spec.id.clone(),
                    overloaded: warehouse.load.overloaded,
                    factor: warehouse.load.slots_needed / f64::from(slots.max(1)),
                };
                self.notice(notice);
            }
        }
    }

    /// A view leaves or rests: it needs nothing.
    pub(crate) fn forget_load(&mut self, slot: usize) {
        let Some(view) = self.view_mut(slot) else {
            return;
        };
        let (before, index) = (std::mem::take(&mut view.load), view.warehouse);
        if let Some(warehouse) = self.warehouses.get_mut(index) {
            warehouse.load.slots_needed = (warehouse.load.slots_needed - before).max(0.0);
        }
    }

    /// Of those who stand in a warehouse's queue, who goes next.
    pub(crate) fn next_in_queue(&self, warehouse: &Warehouse) -> Option<(Timestamp, usize)> {
        let candidates = warehouse.ready.iter().filter_map(|(start_by, _, id)| {
            let slot = *self.by_id.get(id)?;
            let view = self.view(slot)?;
            let goes = !view.catching_up || warehouse.may_catch_up();
            let goes = goes && !warehouse.holds_back(view, self.now);
            goes.then_some((*start_by, slot, view))
        });
        let mut candidates = candidates.peekable();
        let first = candidates
            .peek()
            .map(|(start_by, slot, _)| (*start_by, *slot))?;
        // What was asked for, or is about to be lost, stands before every order.
        if !warehouse.load.overloaded || first.0 == Timestamp::MIN {
            return Some(first);
        }
        let losing = candidates.clone().filter_map(|(start_by, slot, view)| {
            let (_, ends_at) = view.loses_from(self.now)?;
            Some((ends_at, (start_by, slot)))
        });
        if let Some((_, first)) = losing.min() {
            return Some(first);
        }
        let order = warehouse.spec.overload;
        let for_the_latest = warehouse.in_flight.is_multiple_of(FOR_THE_LATEST);
        candidates
            .map(|(start_by, slot, view)| {
                let latest = self.projected_lag(view);
                let rank = match order {
                    OverloadOrder::Fair => (0.0, latest),
                    OverloadOrder::Priority => (importance(view.spec.priority), latest),
                    OverloadOrder::MaxSatisfied if for_the_latest => (0.0, latest),
                    OverloadOrder::MaxSatisfied => (0.0, worth(view)),
                };
                (rank, start_by, slot)
            })
            .max_by(|(a, ..), (b, ..)| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)))
            .map(|(_, start_by, slot)| (start_by, slot))
    }

    /// The lag, in targets, that the view will have reached if it goes now.
    fn projected_lag(&self, view: &View) -> f64 {
        let target_lag = self.target_lag(view).unwrap_or(view.spec.target_lag);
        let since = view
            .oldest_unread()
            .unwrap_or_else(|| view.holds().unwrap_or(view.taken_up_at));
        let lag = (self.now - since).as_secs_f64() + view.expected(self.now).as_secs_f64();
        lag / target_lag.as_secs_f64().max(1e-3)
    }
}

fn importance(priority: Priority) -> f64 {
    match priority {
        Priority::High => 2.0,
        Priority::Normal => 1.0,
        Priority::Low => 0.0,
    }
}

/// How long the view stays in target per second that a slot spends on it.
fn worth(view: &View) -> f64 {
    let weight = match view.spec.priority {
        Priority::High => 3.0,
        Priority::Normal => 1.0,
        Priority::Low => 1.0 / 3.0,
    };
    let target = view.spec.target_lag.as_secs_f64();
    let lasts = view.fit(view.spec.target_lag).fixed.max(1e-3);
    weight * (target - lasts) / lasts
}
