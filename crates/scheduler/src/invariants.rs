//! What must hold after every step, written once.
//!
//! Run after every simulated step, and once a minute in production into a counter.

use std::collections::BTreeSet;

use crate::scheduler::Scheduler;
use crate::state::Due;

impl Scheduler {
    /// Every invariant that does not hold now, in words; empty when all is well.
    #[must_use]
    pub fn broken_invariants(&self) -> Vec<String> {
        let mut broken = Vec::new();
        self.check_deadlines(&mut broken);
        self.check_warehouses(&mut broken);
        for view in self.views.iter().flatten() {
            let id = &view.spec.id;
            if view.data_ts.is_some_and(|data_ts| data_ts > self.now) {
                broken.push(format!("{id}: data_ts lies in the future"));
            }
            if view.wish.leaving.is_some() && !view.state.in_flight() {
                broken.push(format!("{id}: removed, idle, and still here"));
            }
        }
        for (id, slot) in &self.by_id {
            if self.view(*slot).is_none_or(|view| view.spec.id != *id) {
                broken.push(format!("{id}: its slot holds another view"));
            }
        }
        broken
    }

    fn check_deadlines(&self, broken: &mut Vec<String>) {
        let wanted: BTreeSet<_> = self
            .views
            .iter()
            .enumerate()
            .filter_map(|(slot, view)| Some((view.as_ref()?.state.deadline()?, slot)))
            .collect();
        if wanted != self.deadlines {
            broken.push("the deadline index differs from the states".to_owned());
        }
    }

    fn check_warehouses(&self, broken: &mut Vec<String>) {
        for (index, warehouse) in self.warehouses.iter().enumerate() {
            let id = &warehouse.spec.id;
            let views = || {
                let views = self.views.iter().flatten();
                views.filter(move |view| view.warehouse == index)
            };
            let in_flight = views().filter(|view| view.state.in_flight()).count();
            if Ok(in_flight) != usize::try_from(warehouse.in_flight) {
                broken.push(format!("{id}: the count of statements in flight is off"));
            }
            let polls = views().filter(|view| view.state.long_polls()).count();
            if Ok(polls) != usize::try_from(warehouse.long_polls) {
                broken.push(format!("{id}: the count of long polls is off"));
            }
            let catch_ups = views().filter(|view| view.state.catches_up()).count();
            if Ok(catch_ups) != usize::try_from(warehouse.catch_ups) {
                broken.push(format!("{id}: the count of catch-ups is off"));
            }
            let ready: BTreeSet<_> = views()
                .filter_map(|view| match view.state.due()? {
                    Due::Ready { start_by, .. } => {
                        Some((*start_by, view.spec.priority, view.spec.id.clone()))
                    }
                    Due::At { .. } | Due::Never { .. } => None,
                })
                .collect();
            if ready != warehouse.ready {
                broken.push(format!("{id}: the admission queue differs from the states"));
            }
        }
    }
}
