//! What changes from outside: the plan, calendars, people's wishes, adoption, shutdown.
//!
//! Decides: what a new plan keeps (what was learned) and what it ends (what is gone, when
//! its statement has ended), and that nothing is submitted before a scan has succeeded.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::{AttemptId, Command, Failure, FailureClass, Found, Notice, Origin};
use crate::law::{doubling, unit_interval};
use crate::plan::{
    ApiScope, Mode, Phase, Plan, ScheduleId, ViewId, ViewSpec, WarehouseId, WarehouseSpec,
};
use crate::record::Outcome;
use crate::scheduler::{Lifecycle, Scheduler};
use crate::state::{Attempt, Due, NeverWhy, State};
use crate::time::{Span, Timestamp};
use crate::trouble::Trouble;
use crate::view::{Leaving, STATEMENT_LIFE_MAX, View};
use crate::warehouse::{Access, Budget, Warehouse};

const SCAN_RETRY: Span = Span::from_secs(1);
const SCAN_RETRY_MAX: Span = Span::from_secs(60);

impl Scheduler {
    pub(crate) fn take_plan(&mut self, plan: Plan) {
        for (schedule, phase) in &plan.schedules {
            self.take_phase(schedule, *phase);
        }
        self.phases = plan.schedules;
        let homes: BTreeSet<WarehouseId> = plan.warehouses.iter().map(|w| w.id.clone()).collect();
        let mut views = plan.views;
        views.retain(|view| homes.contains(&view.warehouse));
        for warehouse in &mut self.warehouses {
            warehouse.planned &= homes.contains(&warehouse.spec.id);
        }
        self.take_warehouses(plan.warehouses);
        let wanted: BTreeSet<ViewId> = views.iter().map(|view| view.id.clone()).collect();
        let gone: Vec<usize> = self
            .by_id
            .iter()
            .filter(|(id, _)| !wanted.contains(*id))
            .map(|(_, slot)| *slot)
            .collect();
        for slot in gone {
            self.leave(slot, Leaving::Removed);
        }
        for spec in views {
            self.take_view(spec);
        }
        self.link_children();
        let idle: Vec<usize> = self.by_id.values().copied().collect();
        for slot in idle {
            self.settle_if_waiting(slot);
        }
    }

    fn take_warehouses(&mut self, specs: Vec<WarehouseSpec>) {
        let now = self.now;
        let mut shares: BTreeMap<ApiScope, f64> = BTreeMap::new();
        for spec in specs {
            let share = shares
                .entry(spec.api_scope.clone())
                .or_insert(spec.submits_per_second);
            *share = share.min(spec.submits_per_second);
            let index = self.warehouse_by_id.get(&spec.id).copied();
            match index.and_then(|index| self.warehouses.get_mut(index)) {
                None => {
                    self.warehouse_by_id
                        .insert(spec.id.clone(), self.warehouses.len());
                    let warehouse = spec.id.clone();
                    self.warehouses.push(Warehouse::new(spec, now));
                    self.command(Command::Scan { warehouse });
                }
                Some(known) => {
                    known.slots.set_most(spec.max_in_flight, now);
                    // What happened there while it was away is not known either.
                    let moved = known.spec.location != spec.location || !known.planned;
                    known.planned = true;
                    known.spec = spec;
                    let pending = matches!(known.access, Access::Scanning { .. });
                    if moved {
                        known.sweeps.moved();
                        known.access = Access::Scanning {
                            tries: 0,
                            moved: pending,
                        };
                    }
                    if moved && !pending {
                        let warehouse = known.spec.id.clone();
                        self.command(Command::Scan { warehouse });
                    }
                }
            }
        }
        for (scope, share) in shares {
            let budget = self.budgets.entry(scope);
            budget
                .or_insert_with(|| Budget::new(share, now))
                .set_share(share);
        }
    }

    fn take_view(&mut self, spec: ViewSpec) {
        let Some(&warehouse) = self.warehouse_by_id.get(&spec.warehouse) else {
            return;
        };
        let Some(&slot) = self.by_id.get(&spec.id) else {
            return self.add_view(spec, warehouse);
        };
        let Some(view) = self.view_mut(slot) else {
            return;
        };
        if view.spec.location != spec.location || view.spec.warehouse != spec.warehouse {
            return self.leave(slot, Leaving::Replaced(Box::new(spec)));
        }
        view.wish.leaving = None;
        if view.spec == spec {
            return;
        }
        // A priority or name change would leave a stale key in the admission queue.
        let suspended = matches!(view.state, State::Suspended { .. });
        view.wish.refresh = view.state.wish().filter(|_| !view.wish.paused);
        if !view.state.in_flight() {
            self.set_state(slot, State::Paused);
        }
        let now = self.now;
        if let Some(view) = self.view_mut(slot) {
            if view.spec.mode == Mode::Observe && spec.mode == Mode::Active {
                view.active_since = now;
            }
            let adopted = view.spec.after.is_empty() && !spec.after.is_empty();
            view.spec = spec;
            if adopted {
                self.stand_on_parents(slot);
            }
        }
        if let Some(view) = self.view_mut(slot) {
            if suspended {
                view.trouble = Trouble::default();
            }
            if !view.state.in_flight() {
                self.settle(slot);
            }
        }
    }

    /// It was taken for a view on a stream: what it holds was reckoned from the wrong end.
    fn stand_on_parents(&mut self, slot: usize) {
        let Some(source) = self.view(slot).map(|view| self.source_ts(view)) else {
            return;
        };
        if let Some(view) = self.view_mut(slot) {
            view.data_ts = view.data_ts.min(source);
        }
    }

    fn add_view(&mut self, spec: ViewSpec, warehouse: usize) {
        let slot = self
            .views
            .iter()
            .position(Option::is_none)
            .unwrap_or(self.views.len());
        if slot == self.views.len() {
            self.views.push(None);
        }
        self.by_id.insert(spec.id.clone(), slot);
        let view = spec.id.clone();
        let mut added = View::new(spec, warehouse, self.now);
        // Older ones have been ended by the service.
        let oldest = self.now - STATEMENT_LIFE_MAX;
        let orphans = self.orphans.remove(&(warehouse, view.clone()));
        added.wish.adopt = orphans.unwrap_or_default();
        added.wish.adopt.retain(|found| found.created_at >= oldest);
        if let Some(place) = self.views.get_mut(slot) {
            *place = Some(added);
        }
        if let Some(home) = self.warehouses.get_mut(warehouse) {
            home.sweeps.look_back();
        }
        self.notice(Notice::ViewAdded { view });
        self.settle(slot);
    }

    /// Gone at once when idle, else when its statement has ended.
    fn leave(&mut self, slot: usize, leaving: Leaving) {
        let Some(view) = self.view_mut(slot) else {
            return;
        };
        view.wish.leaving = Some(leaving);
        if !view.state.in_flight() {
            self.leave_if_wished(slot);
        }
    }

    /// Carries out a wish to leave. The view is idle, or its statement has just ended.
    pub(crate) fn leave_if_wished(&mut self, slot: usize) -> bool {
        let Some(leaving) = self.view_mut(slot).and_then(|v| v.wish.leaving.take()) else {
            return false;
        };
        self.conclude(slot, Outcome::Data);
        self.forget_load(slot);
        // Paused is the state that no index knows.
        self.set_state(slot, State::Paused);
        let Some(view) = self.views.get_mut(slot).and_then(Option::take) else {
            return true;
        };
        self.by_id.remove(&view.spec.id);
        if !view.wish.adopt.is_empty() {
            let key = (view.warehouse, view.spec.id.clone());
            self.orphans.insert(key, view.wish.adopt);
        }
        self.notice(Notice::ViewRemoved {
            view: view.spec.id.clone(),
        });
        if let Leaving::Replaced(spec) = leaving
            && let Some(&warehouse) = self.warehouse_by_id.get(&spec.warehouse)
        {
            self.add_view(*spec, warehouse);
        }
        self.link_children();
        true
    }

    fn link_children(&mut self) {
        let mut children: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (slot, view) in self.views.iter().enumerate() {
            let parents = view.iter().flat_map(|view| &view.spec.after);
            for parent in parents.filter_map(|id| self.by_id.get(id)) {
                children.entry(*parent).or_default().push(slot);
            }
        }
        self.children = children;
    }

    /// Recomputes when a waiting view is due; one that was asked for keeps its place.
    pub(crate) fn settle_if_waiting(&mut self, slot: usize) {
        if self.view(slot).is_some_and(|view| {
            matches!(view.state, State::Waiting { .. }) && view.state.wish().is_none()
        }) {
            self.settle(slot);
        }
    }

    pub(crate) fn take_phase(&mut self, schedule: &ScheduleId, phase: Phase) {
        let before = self.phases.insert(schedule.clone(), phase);
        let turned = before.is_none_or(|before| before.open != phase.open);
        let followers: Vec<usize> = self
            .by_id
            .values()
            .copied()
            .filter(|slot| {
                self.view(*slot)
                    .is_some_and(|view| view.spec.schedule.as_ref() == Some(schedule))
            })
            .collect();
        for slot in followers {
            if let Some(view) = self.view_mut(slot) {
                view.cycle_void |= turned;
            }
            if turned {
                self.settle_if_waiting(slot);
            }
        }
    }

    pub(crate) fn take_refresh_wish(&mut self, view: &ViewId, origin: Origin) {
        let Some(&slot) = self.by_id.get(view) else {
            return;
        };
        let Some(view) = self.view(slot) else {
            return;
        };
        let manual = origin == Origin::Manual;
        match &view.state {
            State::Waiting { .. } => self.queue_now(slot, origin, self.now),
            State::Suspended { .. } if manual => self.queue_now(slot, origin, self.now),
            State::Paused if manual => {
                let due = Due::Never {
                    why: NeverWhy::Closed,
                };
                self.set_state(slot, State::Waiting { due });
                self.queue_now(slot, origin, self.now);
            }
            // One in flight is joined: what it will show is what was asked for.
            State::Submitting { .. }
            | State::Running { .. }
            | State::Cancelling { .. }
            | State::Unsure { .. }
            | State::Suspended { .. }
            | State::Paused => {}
        }
    }

    pub(crate) fn take_pause(&mut self, id: &ViewId) {
        let Some(&slot) = self.by_id.get(id) else {
            return;
        };
        let Some(view) = self.view_mut(slot) else {
            return;
        };
        view.wish.paused = true;
        view.cycle_void = true;
        self.forget_load(slot);
        let Some(view) = self.view(slot) else {
            return;
        };
        if !view.state.in_flight() {
            self.set_state(slot, State::Paused);
        }
        self.notice(Notice::Paused { view: id.clone() });
    }

    pub(crate) fn take_resume(&mut self, id: &ViewId) {
        let Some(&slot) = self.by_id.get(id) else {
            return;
        };
        let Some(view) = self.view_mut(slot) else {
            return;
        };
        view.cycle_void |= view.wish.paused;
        view.wish.paused = false;
        if !view.state.in_flight() {
            view.trouble = Trouble::default();
            self.settle(slot);
        }
        self.notice(Notice::Resumed { view: id.clone() });
    }

    pub(crate) fn take_scan(&mut self, id: &WarehouseId, result: Result<Vec<Found>, Failure>) {
        let Some(&index) = self.warehouse_by_id.get(id) else {
            return;
        };
        let now = self.now;
        let luck = unit_interval(self.seed, id.as_str(), now.as_micros().unsigned_abs());
        let Some(warehouse) = self.warehouses.get_mut(index) else {
            return;
        };
        let Access::Scanning { tries, moved } = warehouse.access else {
            return;
        };
        if moved {
            warehouse.access = Access::Scanning {
                tries,
                moved: false,
            };
            let warehouse = id.clone();
            return self.command(Command::Scan { warehouse });
        }
        match result {
            Ok(found) => {
                warehouse.access = Access::Open;
                self.dispatch_wanted = true;
                let adopted = self.adopt(index, found);
                self.notice(Notice::WarehouseReady {
                    warehouse: id.clone(),
                    adopted,
                });
            }
            Err(failure) => {
                let wait = if failure.class == FailureClass::Permanent {
                    SCAN_RETRY_MAX
                } else {
                    doubling(SCAN_RETRY, tries, SCAN_RETRY_MAX)
                };
                let retry_at = now + wait.scale(0.75 + 0.5 * luck);
                warehouse.access = Access::Blocked {
                    failure: failure.clone(),
                    retry_at,
                    tries: tries.saturating_add(1),
                };
                self.notice(Notice::WarehouseBlocked {
                    warehouse: id.clone(),
                    failure,
                    retry_at,
                });
            }
        }
    }

    pub(crate) fn retry_scans(&mut self) {
        for index in 0..self.warehouses.len() {
            let now = self.now;
            let Some(warehouse) = self.warehouses.get_mut(index) else {
                return;
            };
            if let Access::Blocked {
                retry_at, tries, ..
            } = warehouse.access
                && retry_at <= now
                && warehouse.planned
            {
                warehouse.access = Access::Scanning {
                    tries,
                    moved: false,
                };
                let warehouse = warehouse.spec.id.clone();
                self.command(Command::Scan { warehouse });
            }
        }
    }

    /// Takes over what was found running; statements of views that are not in the plan run
    /// out by themselves, unless their view comes back.
    fn adopt(&mut self, warehouse: usize, mut found: Vec<Found>) -> usize {
        found.sort_by_key(|statement| statement.created_at);
        let mut adopted = 0;
        for statement in found {
            let slot = self.by_id.get(&statement.view).copied();
            let slot =
                slot.filter(|slot| self.view(*slot).is_some_and(|v| v.warehouse == warehouse));
            let Some((slot, view)) = slot.and_then(|slot| Some((slot, self.view_mut(slot)?)))
            else {
                let key = (warehouse, statement.view.clone());
                self.orphans.entry(key).or_default().push_back(statement);
                continue;
            };
            view.wish.adopt.push_back(statement);
            adopted += 1;
            if !view.state.in_flight() {
                self.adopt_next(slot);
            }
        }
        adopted
    }

    /// Follows the next statement of an earlier life, if there is one.
    pub(crate) fn adopt_next(&mut self, slot: usize) -> bool {
        let now = self.now;
        let serial = self.attempts + 1;
        let Some(view) = self.view_mut(slot) else {
            return false;
        };
        let Some(found) = view.wish.adopt.pop_front() else {
            return false;
        };
        let created_at = found.created_at.min(now);
        let target_lag = view.spec.target_lag;
        let id = AttemptId {
            slot: u32::try_from(slot).unwrap_or(u32::MAX),
            serial,
        };
        let attempt = Attempt {
            id,
            origin: Origin::Adopted,
            submitted_at: created_at,
            called_at: now,
            called_wait: Span::ZERO,
            size: 0.0,
            oldest: None,
            probed: false,
            catch_up: false,
            foreseen: None,
            expected: None,
            // What its parents held when it began is not known any more.
            data_ts: view.spec.after.is_empty().then_some(created_at),
            clean: false,
            hurried: false,
            call_failures: 0,
            suspension: None,
            limit: view.statement_limit(target_lag),
            timed_out: false,
        };
        let (name, index) = (view.spec.id.clone(), view.warehouse);
        self.attempts = serial;
        self.notice(Notice::Adopted {
            view: name,
            attempt: id,
            statement: found.statement.clone(),
        });
        self.watch(slot, attempt, found.statement);
        if let Some(warehouse) = self.warehouses.get_mut(index) {
            warehouse.has_begun(created_at, now);
        }
        true
    }

    pub(crate) fn take_shutdown(&mut self, until: Timestamp) {
        for index in 0..self.warehouses.len() {
            self.conclude_unjudged(index);
        }
        self.lifecycle = match self.lifecycle {
            Lifecycle::Running => Lifecycle::Draining { until },
            Lifecycle::Draining { until: before } => Lifecycle::Draining {
                until: before.min(until),
            },
            Lifecycle::Stopped => Lifecycle::Stopped,
        };
    }

    pub(crate) fn drain_left(&self) -> Span {
        match self.lifecycle {
            Lifecycle::Running | Lifecycle::Stopped => Span::MAX,
            Lifecycle::Draining { until } => (until - self.now).max(Span::ZERO),
        }
    }

    /// The drain's budget is over: what still runs is left to a later life to adopt.
    pub(crate) fn end_drain_when_due(&mut self) {
        let Lifecycle::Draining { until } = self.lifecycle else {
            return;
        };
        if until > self.now {
            return;
        }
        let left: Vec<(ViewId, AttemptId)> = self
            .views
            .iter()
            .flatten()
            .filter_map(|view| Some((view.spec.id.clone(), view.state.attempt()?.id)))
            .collect();
        for (view, attempt) in left {
            self.notice(Notice::LeftRunning { view, attempt });
        }
        self.lifecycle = Lifecycle::Stopped;
    }
}
