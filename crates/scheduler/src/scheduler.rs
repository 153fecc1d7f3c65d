//! The state machine: events in, outputs out.
//!
//! Decides: which event is for whom, when the next deadline is, and that state, deadline
//! index and admission queues change together.
//! Invariants: at most one attempt per view; only [`Scheduler::set_state`] writes a state;
//! `poll` ends with `Wait` or `Stopped`, so a timer cannot be forgotten.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::event::{
    AttemptId, Command, Deadline, DeadlineReason, Event, Found, Notice, Origin, Output,
};
use crate::plan::{ApiScope, Phase, ScheduleId, ViewId, WarehouseId, WhileClosed};
use crate::state::{Due, DueWhy, NeverWhy, State};
use crate::time::{Span, Timestamp};
use crate::view::View;
use crate::warehouse::{Access, Budget, Warehouse};

/// Keeps every view of a plan inside its target lag.
#[derive(Debug)]
pub struct Scheduler {
    pub(crate) now: Timestamp,
    pub(crate) seed: u64,
    /// Slots are reused; `by_id` tells who stands where.
    pub(crate) views: Vec<Option<View>>,
    pub(crate) by_id: BTreeMap<ViewId, usize>,
    /// Views that are refreshed after the view in the key's slot.
    pub(crate) children: BTreeMap<usize, Vec<usize>>,
    pub(crate) warehouses: Vec<Warehouse>,
    pub(crate) warehouse_by_id: BTreeMap<WarehouseId, usize>,
    pub(crate) budgets: BTreeMap<ApiScope, Budget>,
    pub(crate) phases: BTreeMap<ScheduleId, Phase>,
    /// Statements of an earlier life on a warehouse whose view is not in the plan (now): if
    /// it comes back, they are awaited first.
    pub(crate) orphans: BTreeMap<(usize, ViewId), VecDeque<Found>>,
    /// One entry for every view whose state has a deadline.
    pub(crate) deadlines: BTreeSet<(Timestamp, usize)>,
    pub(crate) outputs: VecDeque<Output>,
    pub(crate) attempts: u64,
    pub(crate) lifecycle: Lifecycle,
    /// Somebody may have become admissible since the last dispatch.
    pub(crate) dispatch_wanted: bool,
    pub(crate) stale_events: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lifecycle {
    Running,
    Draining { until: Timestamp },
    Stopped,
}

impl Scheduler {
    /// A scheduler without views. `seed` drives jitter and nothing else.
    #[must_use]
    pub fn new(now: Timestamp, seed: u64) -> Self {
        Self {
            now,
            seed,
            views: Vec::new(),
            by_id: BTreeMap::new(),
            children: BTreeMap::new(),
            warehouses: Vec::new(),
            warehouse_by_id: BTreeMap::new(),
            budgets: BTreeMap::new(),
            phases: BTreeMap::new(),
            orphans: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            outputs: VecDeque::new(),
            attempts: 0,
            lifecycle: Lifecycle::Running,
            dispatch_wanted: false,
            stale_events: 0,
        }
    }

    /// An answer or a wish came in. Answers to attempts that are no more are dropped and
    /// counted. `now` must not be earlier than in any call before; an earlier one is taken
    /// as the latest seen.
    pub fn handle(&mut self, now: Timestamp, event: Event) {
        self.advance(now);
        if self.lifecycle == Lifecycle::Stopped {
            return;
        }
        match event {
            Event::Plan(plan) => self.take_plan(plan),
            Event::Phase { schedule, phase } => self.take_phase(&schedule, phase),
            Event::Scanned { warehouse, result } => self.take_scan(&warehouse, result),
            Event::Submitted { attempt, answer } => self.take_submit_answer(attempt, answer),
            Event::Described { attempt, answer } => self.take_describe_answer(attempt, answer),
            Event::Cancelled { attempt, result } => self.take_cancel_answer(attempt, result),
            Event::Resolved { attempt, answer } => self.take_resolve_answer(attempt, answer),
            Event::Swept { warehouse, result } => self.take_sweep(&warehouse, result),
            Event::Probed { view, seen } => self.take_probe(&view, seen),
            Event::Refresh { view, origin } => self.take_refresh_wish(&view, origin),
            Event::Pause { view } => self.take_pause(&view),
            Event::Resume { view } => self.take_resume(&view),
            Event::Shutdown { until } => self.take_shutdown(until),
        }
        self.pass_deadlines();
    }

    /// Time has passed. A spurious call does nothing.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.advance(now);
        self.pass_deadlines();
    }

    /// What to do next. Call until it says [`Output::Wait`] or [`Output::Stopped`].
    pub fn poll(&mut self) -> Output {
        if let Some(output) = self.outputs.pop_front() {
            return output;
        }
        if std::mem::take(&mut self.dispatch_wanted) {
            self.dispatch();
        }
        if let Some(output) = self.outputs.pop_front() {
            return output;
        }
        if matches!(self.lifecycle, Lifecycle::Draining { .. }) && self.in_flight() == 0 {
            self.lifecycle = Lifecycle::Stopped;
        }
        match self.lifecycle {
            Lifecycle::Stopped => Output::Stopped,
            Lifecycle::Running | Lifecycle::Draining { .. } => Output::Wait(self.next_deadline()),
        }
    }

    /// Answers that came for attempts that were no more.
    #[must_use]
    pub fn stale_events(&self) -> u64 {
        self.stale_events
    }

    /// Statements that the warehouses may be running for us.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.warehouses.iter().map(|w| w.in_flight).sum()
    }

    fn advance(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
    }

    pub(crate) fn draining(&self) -> bool {
        self.lifecycle != Lifecycle::Running
    }

    pub(crate) fn view(&self, slot: usize) -> Option<&View> {
        self.views.get(slot)?.as_ref()
    }

    pub(crate) fn view_mut(&mut self, slot: usize) -> Option<&mut View> {
        self.views.get_mut(slot)?.as_mut()
    }

    /// The slot of the view that is on this attempt now.
    pub(crate) fn slot_of(&self, attempt: AttemptId) -> Option<usize> {
        let slot = usize::try_from(attempt.slot).ok()?;
        let current = self.view(slot)?.state.attempt()?;
        (current.id == attempt).then_some(slot)
    }

    pub(crate) fn command(&mut self, command: Command) {
        self.outputs.push_back(Output::Command(command));
    }

    /// A call for one view, counted as its cost.
    pub(crate) fn call(&mut self, slot: usize, command: Command) {
        if let Some(view) = self.view_mut(slot) {
            view.calls += 1;
        }
        self.command(command);
    }

    pub(crate) fn notice(&mut self, notice: Notice) {
        self.outputs.push_back(Output::Notice(notice));
    }

    pub(crate) fn drop_stale(&mut self, attempt: AttemptId) {
        self.stale_events += 1;
        self.notice(Notice::Stale { attempt });
    }

    /// The only writer of a view's state: keeps the deadline index, the admission queue and
    /// the counts of its warehouse in step. Returns the state that was.
    pub(crate) fn set_state(&mut self, slot: usize, state: State) -> Option<State> {
        let now = self.now;
        let view = self.views.get_mut(slot)?.as_mut()?;
        let warehouse = self.warehouses.get_mut(view.warehouse)?;
        let ready_key = |state: &State, view: &View| match state.due() {
            Some(Due::Ready { start_by, .. }) => {
                Some((*start_by, view.spec.priority, view.spec.id.clone()))
            }
            Some(Due::At { .. } | Due::Never { .. }) | None => None,
        };
        if let Some(at) = view.state.deadline() {
            self.deadlines.remove(&(at, slot));
        }
        if let Some(key) = ready_key(&view.state, view) {
            warehouse.ready.remove(&key);
        }
        warehouse.in_flight -= u32::from(view.state.in_flight());
        warehouse.long_polls -= u32::from(view.state.long_polls());
        warehouse.catch_ups -= u32::from(view.state.catches_up());
        if let Some(at) = state.deadline() {
            self.deadlines.insert((at, slot));
        }
        if let Some(key) = ready_key(&state, view) {
            warehouse.ready.insert(key);
        }
        warehouse.in_flight += u32::from(state.in_flight());
        warehouse.long_polls += u32::from(state.long_polls());
        warehouse.catch_ups += u32::from(state.catches_up());
        if view.state.in_flight() && !state.in_flight() {
            warehouse.ends(now);
        }
        self.dispatch_wanted = true;
        Some(std::mem::replace(&mut view.state, state))
    }

    fn pass_deadlines(&mut self) {
        // First, so that nothing is asked for whose answer nobody will read.
        self.end_drain_when_due();
        if self.lifecycle == Lifecycle::Stopped {
            return;
        }
        while let Some(&(at, slot)) = self.deadlines.first() {
            if at > self.now {
                break;
            }
            self.view_deadline(slot);
        }
        self.retry_scans();
        self.pass_breakers();
        self.begin_sweeps();
        let now = self.now;
        for warehouse in &mut self.warehouses {
            if warehouse.slots.regrows_at().is_some_and(|at| at <= now) {
                warehouse.slots.regrow(now);
                self.dispatch_wanted = true;
            }
        }
        self.dispatch_wanted |= self.warehouses.iter().any(|w| !w.ready.is_empty());
    }

    /// Must change the state so that its deadline is later than now, or gone.
    fn view_deadline(&mut self, slot: usize) {
        let Some(view) = self.view(slot) else {
            return;
        };
        match &view.state {
            State::Waiting { .. } | State::Suspended { .. } => self.make_ready(slot),
            State::Running { .. } => self.statement_deadline(slot),
            State::Cancelling { .. } => self.cancel_deadline(slot),
            State::Unsure { .. } => self.ask_resolve(slot),
            State::Submitting { .. } | State::Paused => {}
        }
    }

    /// The view's moment has come: it joins its warehouse's queue.
    fn make_ready(&mut self, slot: usize) {
        let Some(view) = self.view(slot) else {
            return;
        };
        let Some(Due::At { at, why, hurried }) = view.state.due().cloned() else {
            return;
        };
        let origin = match why {
            // The probe is not believed any more: back to what can be known without it.
            DueWhy::Quiet => return self.settle(slot),
            DueWhy::Lag | DueWhy::Retry | DueWhy::Observe | DueWhy::Retention => Origin::Lag,
            DueWhy::Probe => Origin::Probe,
            DueWhy::Wish(origin) => origin,
        };
        let due = Due::Ready {
            since: at,
            origin,
            start_by: if why == DueWhy::Retention {
                Timestamp::MIN
            } else {
                self.place_in_queue(view, origin)
            },
            hurried,
        };
        self.set_due(slot, due);
    }

    /// Changes when an idle view wants to go; waiting stays waiting, suspended suspended.
    pub(crate) fn set_due(&mut self, slot: usize, due: Due) {
        let Some(view) = self.view(slot) else {
            return;
        };
        let state = match &view.state {
            State::Suspended { suspension, .. } => State::Suspended {
                suspension: suspension.clone(),
                due,
            },
            State::Waiting { .. } => State::Waiting { due },
            State::Paused
            | State::Submitting { .. }
            | State::Running { .. }
            | State::Cancelling { .. }
            | State::Unsure { .. } => return,
        };
        self.set_state(slot, state);
    }

    /// The target that holds at this hour; `None` while the view's schedule is closed.
    pub(crate) fn target_lag(&self, view: &View) -> Option<Span> {
        let closed = view
            .spec
            .schedule
            .as_ref()
            .and_then(|schedule| self.phases.get(schedule))
            .is_some_and(|phase| !phase.open);
        match (closed, view.spec.closed) {
            (false, _) => Some(view.spec.target_lag),
            (true, WhileClosed::TargetLag(lag)) => Some(lag),
            (true, WhileClosed::Pause) => None,
        }
    }

    /// The latest safe start by which the queue is ordered: not clamped, nothing kept back
    /// for the queue itself.
    pub(crate) fn start_by(&self, view: &View) -> Timestamp {
        let Some(warehouse) = self.warehouses.get(view.warehouse) else {
            return self.now;
        };
        let target_lag = self.target_lag(view).unwrap_or(view.spec.target_lag);
        let probed = view
            .seen(self.now)
            .and_then(|seen| view.probed_start(seen, target_lag, &warehouse.margin, Span::ZERO));
        if let Some(start) = probed {
            return start;
        }
        let latest = view.latest_start(target_lag, &warehouse.margin, Span::ZERO);
        view.holds().unwrap_or(view.taken_up_at) + latest
    }

    /// Where an idle view belongs now: gone, replaced, adopting, paused, or waiting.
    pub(crate) fn settle(&mut self, slot: usize) {
        if self.leave_if_wished(slot) || self.adopt_next(slot) {
            return;
        }
        let now = self.now;
        let Some(view) = self.view(slot) else {
            return;
        };
        if view.wish.paused {
            self.set_state(slot, State::Paused);
            return;
        }
        let due = self.next_due(view);
        let view_wish = view.wish.refresh;
        self.set_state(slot, State::Waiting { due });
        if let Some(origin) = view_wish {
            self.queue_now(slot, origin, now);
        }
        if let Some(view) = self.view_mut(slot) {
            view.wish.refresh = None;
        }
    }

    /// When an idle, active view is to be refreshed next (control law §4).
    fn next_due(&self, view: &View) -> Due {
        let due = self.next_due_unguarded(view);
        // Before the stream forgets what the view has not read (control law §8); a view on
        // views can do nothing about it before they have.
        let Some(retention) = view.spec.retention else {
            return due;
        };
        if !view.spec.after.is_empty() && !self.has_news(view) {
            return due;
        }
        let guard = view.holds().unwrap_or(view.taken_up_at) + retention / 2;
        let guard = guard
            .max(self.now)
            .max(view.trouble.retry_at.unwrap_or(guard));
        match due {
            Due::At { at, .. } if at < guard => due,
            Due::At {
                why: DueWhy::Quiet | DueWhy::Retry,
                ..
            } => due,
            Due::At { .. } | Due::Never { .. } | Due::Ready { .. } => Due::At {
                at: guard,
                why: DueWhy::Retention,
                hurried: false,
            },
        }
    }

    fn next_due_unguarded(&self, view: &View) -> Due {
        let Some(target_lag) = self.target_lag(view) else {
            return Due::Never {
                why: NeverWhy::Closed,
            };
        };
        if !view.spec.after.is_empty() && !self.has_news(view) {
            return Due::Never {
                why: NeverWhy::Parent,
            };
        }
        if let Some(seen) = view.seen(self.now).filter(|seen| seen.oldest.is_none())
            && view.holds().is_some()
            && !view.catching_up
        {
            return Due::At {
                at: view.believed_until(seen),
                why: DueWhy::Quiet,
                hurried: false,
            };
        }
        let (start_at, hurried) = self.next_start(view, target_lag);
        let start_at = start_at
            .max(self.now)
            .max(view.not_before.unwrap_or(self.now));
        match view.trouble.retry_at {
            Some(retry_at) if retry_at > start_at => Due::At {
                at: retry_at,
                why: DueWhy::Retry,
                hurried: false,
            },
            Some(_) | None => Due::At {
                at: start_at,
                why: DueWhy::Lag,
                hurried,
            },
        }
    }

    /// X, and whether it had already passed.
    pub(crate) fn next_start(&self, view: &View, target_lag: Span) -> (Timestamp, bool) {
        let Some(warehouse) = self.warehouses.get(view.warehouse) else {
            return (self.now, false);
        };
        let Some(data_ts) = view.holds() else {
            return (self.now, false);
        };
        if view.catching_up {
            return (view.catches_up_at(self.now), false);
        }
        let wait = warehouse.dispatch_wait;
        let probed = view
            .seen(self.now)
            .and_then(|seen| view.probed_start(seen, target_lag, &warehouse.margin, wait));
        if let Some(start) = probed {
            let least = view.last_submit_at.unwrap_or(data_ts) + view.spec.min_interval;
            let aligned = self.aligned(view, warehouse, start);
            return (aligned.max(least), start <= self.now);
        }
        let latest = view.latest_start(target_lag, &warehouse.margin, wait);
        let interval = view.interval(latest);
        let hurried = data_ts + latest <= self.now;
        let start = data_ts + self.debunched(view, interval);
        let aligned = self.aligned(view, warehouse, start);
        let least = data_ts + view.spec.min_interval;
        (aligned.max(least).min(start), hurried)
    }

    /// Whether the parents of a view have seen data that it has not.
    pub(crate) fn has_news(&self, view: &View) -> bool {
        match (self.source_ts(view), view.holds()) {
            (Some(source), Some(data_ts)) => source > data_ts,
            (Some(_), None) => true,
            (None, _) => false,
        }
    }

    /// Up to when a refresh begun now would hold the stream: now, or for a view on views
    /// what the least fresh parent holds.
    pub(crate) fn source_ts(&self, view: &View) -> Option<Timestamp> {
        if view.spec.after.is_empty() {
            return Some(self.now);
        }
        let parents = view.spec.after.iter().map(|id| {
            let parent = self.view(*self.by_id.get(id)?)?;
            parent.data_ts
        });
        // `None` (a parent that has never been refreshed) is less than every moment.
        parents.min().flatten()
    }

    fn next_deadline(&self) -> Option<Deadline> {
        let view = self.deadlines.first().and_then(|&(at, slot)| {
            let why = match &self.view(slot)?.state {
                State::Waiting { .. } | State::Suspended { .. } => DeadlineReason::Due,
                State::Unsure { .. } => DeadlineReason::Resolve,
                State::Running { .. }
                | State::Cancelling { .. }
                | State::Submitting { .. }
                | State::Paused => DeadlineReason::Statement,
            };
            Some(Deadline { at, why })
        });
        let drain = match self.lifecycle {
            Lifecycle::Draining { until } => Some(Deadline {
                at: until,
                why: DeadlineReason::Drain,
            }),
            Lifecycle::Running | Lifecycle::Stopped => None,
        };
        let admission = (!self.draining()).then(|| self.admission_deadline());
        let scans = self
            .warehouses
            .iter()
            .filter(|warehouse| warehouse.planned)
            .filter_map(|warehouse| match warehouse.access {
                Access::Blocked { retry_at, .. } => Some(Deadline {
                    at: retry_at,
                    why: DeadlineReason::Scan,
                }),
                Access::Scanning { .. } | Access::Open => None,
            });
        view.into_iter()
            .chain(drain)
            .chain(admission.flatten())
            .chain(self.sweep_deadline())
            .chain(scans)
            .min_by_key(|deadline| deadline.at)
    }
}
