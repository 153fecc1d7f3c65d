//! Sweeps: reading what refreshes did from the warehouse's own records.
//!
//! Decides: when a warehouse's records are read (one look at a time, each for all refreshes
//! that have ended since the one before), how long a refresh waits for its verdict, and what
//! follows from verdicts, from refreshes that somebody else made, and from what happened
//! before the daemon started.
//! Deliberately absent: how the records are read, and what a success teaches (`ending`).
//! Invariants: a sweep never wakes a workgroup that sleeps, but the first one after a start
//! and those for views that are only observed; a refresh is concluded exactly once.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::event::{
    AttemptId, Command, Deadline, DeadlineReason, Failure, FailureClass, Notice, Origin,
};
use crate::idle::Others;
use crate::law::doubling;
use crate::plan::{Outcomes, ViewId, WarehouseId};
use crate::record::{Asked, Foreign, Outcome, Record, RefreshedBy, Sweep};
use crate::scheduler::Scheduler;
use crate::time::{Span, Timestamp};
use crate::view::{Alert, AlertReason, State};
use crate::warehouse::{Access, Warehouse};

/// Two sweeps begin at least so long after each other: under load one covers many.
const EVERY: Span = Span::from_secs(1);
const SAMPLED: Span = Span::from_secs(60);
/// A record may come late: a verdict is waited for during so many sweeps.
const LOOKS: u32 = 3;
/// Records are read again from so long before the previous sweep, for those that came late.
const OVERLAP: Span = Span::from_secs(60);
/// How far the first sweep looks back.
const HISTORY: Span = Span::from_secs(24 * 3600);
/// A warehouse that is busy may let the look back wait in its queue.
const RECALL_PATIENCE: Span = Span::from_secs(5);
const RETRY: Span = Span::from_secs(1);
const RETRY_MAX: Span = Span::from_secs(600);
/// Attempts that one sweep asks for.
const ASKED_MAX: usize = 2_000;

/// What is known of a warehouse's records, and what is wanted of them.
#[derive(Debug, Default)]
pub(crate) struct Sweeps {
    /// Attempts that have ended and of which no record was found yet, with how often it was
    /// looked for.
    ended: Vec<(Asked, u32)>,
    under_way: Option<UnderWay>,
    pub(crate) begun_at: Option<Timestamp>,
    /// Up to when the records have been read; `None`: what was before the start is not known.
    pub(crate) read_until: Option<Timestamp>,
    /// A view waits for its verdict.
    awaited: bool,
    pub(crate) others: Others,
    failures: u32,
    retry_at: Option<Timestamp>,
    pub(crate) last_failure: Option<Failure>,
    pub(crate) completed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UnderWay {
    /// The look back: nobody goes before it is answered, or has lasted too long.
    Recall,
    Sweep,
}

impl Sweeps {
    pub(crate) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// A view has come of whose past nothing is known.
    pub(crate) fn look_back(&mut self) {
        self.read_until = None;
    }

    /// When the past has been waited for long enough; `None` before it is asked for.
    fn patience_ends_at(&self) -> Option<Timestamp> {
        (self.under_way == Some(UnderWay::Recall)).then_some(self.begun_at? + RECALL_PATIENCE)
    }
}

impl Warehouse {
    /// What happened before is being read: nobody goes yet, for a while.
    pub(crate) fn recalls(&self, now: Timestamp) -> bool {
        self.spec.outcomes != Outcomes::Off
            && self.sweeps.read_until.is_none()
            && self.sweeps.failures == 0
            && self.sweeps.patience_ends_at().is_none_or(|at| now < at)
    }

    fn spacing(&self) -> Span {
        match self.spec.outcomes {
            // The past is not sampled.
            Outcomes::Sampled if self.sweeps.read_until.is_some() => SAMPLED,
            Outcomes::Every | Outcomes::Sampled | Outcomes::Off => EVERY,
        }
    }

    /// When the next sweep may begin.
    fn next_sweep_at(&self) -> Timestamp {
        let spaced = self.sweeps.begun_at.map(|at| at + self.spacing());
        spaced.max(self.sweeps.retry_at).unwrap_or(Timestamp::MIN)
    }

    /// Whether a refresh that ends now will be told of soon enough to wait for it.
    fn tells_soon(&self, now: Timestamp) -> bool {
        let soon = match self.spec.outcomes {
            Outcomes::Every => true,
            Outcomes::Sampled => self.next_sweep_at() <= now && self.sweeps.under_way.is_none(),
            Outcomes::Off => false,
        };
        soon && self.sweeps.failures == 0 && self.access == Access::Open && self.is_awake(now)
    }
}

impl Scheduler {
    /// An attempt has ended; returns whether its verdict is worth waiting for.
    pub(crate) fn ask_verdict(&mut self, index: usize, asked: Asked) -> bool {
        let (now, draining) = (self.now, self.draining());
        let Some(warehouse) = self.warehouses.get_mut(index) else {
            return false;
        };
        if warehouse.spec.outcomes == Outcomes::Off || draining {
            return false;
        }
        let ended = &mut warehouse.sweeps.ended;
        if ended.len() == ASKED_MAX {
            ended.remove(0);
        }
        ended.push((asked, 0));
        let soon = warehouse.tells_soon(now);
        warehouse.sweeps.awaited |= soon;
        soon
    }

    /// The next moment at which a sweep may begin that is wanted.
    pub(crate) fn sweep_deadline(&self) -> Option<Deadline> {
        let patience = self.warehouses.iter().filter_map(|warehouse| {
            let at = warehouse.sweeps.patience_ends_at()?;
            (at > self.now).then_some(at)
        });
        (0..self.warehouses.len())
            .filter_map(|index| self.sweep_at(index))
            .chain(patience)
            .min()
            .map(|at| Deadline {
                at,
                why: DeadlineReason::Sweep,
            })
    }

    fn sweep_at(&self, index: usize) -> Option<Timestamp> {
        let warehouse = self.warehouses.get(index)?;
        let sweeps = &warehouse.sweeps;
        let open = warehouse.planned && warehouse.access == Access::Open;
        if warehouse.spec.outcomes == Outcomes::Off
            || !open
            || sweeps.under_way.is_some()
            || self.draining()
        {
            return None;
        }
        let budget = self.budgets.get(&warehouse.spec.api_scope)?;
        let admitted = if budget.admits() {
            Timestamp::MIN
        } else {
            budget.admits_at()
        };
        let earliest = warehouse.next_sweep_at().max(admitted);
        if sweeps.read_until.is_none() {
            return Some(earliest);
        }
        let awake = warehouse.is_awake(self.now);
        if awake && sweeps.ended.iter().any(|(asked, _)| self.awaits(asked)) {
            return Some(earliest);
        }
        let begun_at = sweeps.begun_at.unwrap_or(self.now);
        Some(earliest.max(begun_at + self.idle(index, warehouse)?))
    }

    /// Whether a view waits for what the sweep will say of this attempt.
    fn awaits(&self, asked: &Asked) -> bool {
        let slot = self.by_id.get(&asked.view).copied();
        slot.and_then(|slot| self.view(slot)?.unjudged.as_ref())
            .is_some_and(|unjudged| unjudged.attempt.id == asked.attempt)
    }

    /// Begins every sweep whose moment has come.
    pub(crate) fn begin_sweeps(&mut self) {
        let now = self.now;
        for index in 0..self.warehouses.len() {
            let Some(warehouse) = self.warehouses.get(index) else {
                return;
            };
            if warehouse.spec.outcomes == Outcomes::Off {
                continue;
            }
            if let Some(budget) = self.budgets.get_mut(&warehouse.spec.api_scope) {
                budget.refill(now);
            }
            if self.sweep_at(index).is_some_and(|at| at <= now) {
                self.begin_sweep(index);
            } else if self
                .warehouses
                .get(index)
                .is_some_and(|warehouse| warehouse.sweeps.awaited && !warehouse.is_awake(now))
            {
                // It has fallen asleep: not woken for this.
                self.conclude_unjudged(index);
            }
        }
    }

    fn begin_sweep(&mut self, index: usize) {
        let now = self.now;
        let running = self.views.iter().flatten().filter_map(|view| {
            let attempt = view.state.attempt()?;
            (view.warehouse == index).then(|| Asked {
                view: view.spec.id.clone(),
                attempt: attempt.id,
                submitted_at: attempt.submitted_at,
                finished_at: None,
            })
        });
        let running: Vec<Asked> = running.collect();
        let Some(warehouse) = self.warehouses.get_mut(index) else {
            return;
        };
        let sweeps = &mut warehouse.sweeps;
        let recall = sweeps.read_until.is_none();
        let since = sweeps.read_until.map_or(now - HISTORY, |at| at - OVERLAP);
        let ended = sweeps.ended.iter().map(|(asked, _)| asked.clone());
        let asked: Vec<Asked> = ended.chain(running).collect();
        sweeps.begun_at = Some(now);
        sweeps.under_way = Some(if recall {
            UnderWay::Recall
        } else {
            UnderWay::Sweep
        });
        warehouse.begins(now);
        let scope = warehouse.spec.api_scope.clone();
        let warehouse = warehouse.spec.id.clone();
        if let Some(budget) = self.budgets.get_mut(&scope) {
            budget.spend();
        }
        self.command(Command::Sweep {
            warehouse,
            since,
            asked,
        });
    }

    pub(crate) fn take_sweep(&mut self, id: &WarehouseId, result: Result<Sweep, Failure>) {
        let now = self.now;
        let Some(&index) = self.warehouse_by_id.get(id) else {
            return;
        };
        let Some(warehouse) = self.warehouses.get_mut(index) else {
            return;
        };
        let Some(under_way) = warehouse.sweeps.under_way.take() else {
            return;
        };
        warehouse.ends(now);
        self.dispatch_wanted = true;
        match result {
            Ok(sweep) => {
                warehouse.sweeps.read_until = warehouse.sweeps.begun_at;
                warehouse.sweeps.failures = 0;
                warehouse.sweeps.retry_at = None;
                warehouse.sweeps.last_failure = None;
                warehouse.sweeps.completed += 1;
                self.take_records(index, sweep, under_way == UnderWay::Recall);
            }
            Err(failure) => self.sweep_failed(index, failure),
        }
    }

    fn sweep_failed(&mut self, index: usize, failure: Failure) {
        let now = self.now;
        let Some(warehouse) = self.warehouses.get_mut(index) else {
            return;
        };
        let sweeps = &mut warehouse.sweeps;
        let wait = if failure.class == FailureClass::Permanent {
            RETRY_MAX
        } else {
            doubling(RETRY, sweeps.failures, RETRY_MAX)
        };
        sweeps.failures = sweeps.failures.saturating_add(1);
        sweeps.retry_at = Some(now + wait);
        // What was before the start is not asked for again: by then everybody has gone.
        sweeps.read_until = sweeps.read_until.or(Some(now));
        let news = sweeps
            .last_failure
            .as_ref()
            .is_none_or(|before| !before.same_as(&failure));
        sweeps.last_failure = Some(failure.clone());
        if failure.class == FailureClass::Throttled
            && let Some(budget) = self.budgets.get_mut(&warehouse.spec.api_scope)
        {
            budget.throttled(now);
        }
        let warehouse = warehouse.spec.id.clone();
        if news {
            self.notice(Notice::SweepFailed {
                warehouse,
                failure,
                retry_at: now + wait,
            });
        }
        self.conclude_unjudged(index);
    }

    fn take_records(&mut self, index: usize, sweep: Sweep, recall: bool) {
        // Of these everything that is new happened in this life.
        let known: BTreeSet<usize> = self
            .by_id
            .values()
            .copied()
            .filter(|slot| !recall || self.view(*slot).is_some_and(|view| !view.told.is_nothing()))
            .collect();
        let told: Vec<AttemptId> = sweep.verdicts.iter().map(|(id, ..)| *id).collect();
        for (attempt, view, record) in sweep.verdicts {
            self.take_verdict(attempt, &view, &record);
        }
        if let Some(warehouse) = self.warehouses.get_mut(index) {
            let began = sweep
                .foreign
                .iter()
                .map(|(_, foreign)| foreign.record.began_at);
            warehouse.hear_of_others(began);
        }
        for (view, foreign) in sweep.foreign {
            let Some(&slot) = self.by_id.get(&view) else {
                continue;
            };
            let transaction = foreign.record.transaction;
            let news = self.view_mut(slot).map(|view| view.told.hears(transaction));
            if news != Some(true) {
                continue;
            }
            self.meet_identity(slot, &foreign.record);
            if known.contains(&slot) {
                self.take_foreign(slot, foreign);
            } else {
                self.take_history(slot, &foreign.record);
            }
        }
        let Some(warehouse) = self.warehouses.get_mut(index) else {
            return;
        };
        let begun_at = warehouse.sweeps.begun_at;
        let mut given_up = Vec::new();
        warehouse.sweeps.ended.retain_mut(|(asked, looks)| {
            if told.contains(&asked.attempt) {
                return false;
            }
            // One that ended while the sweep was under way was not asked for.
            *looks += u32::from(asked.finished_at <= begun_at);
            if *looks == LOOKS {
                given_up.push(asked.clone());
            }
            // While a record may still be read, it must not pass for somebody else's.
            *looks < LOOKS || asked.finished_at >= begun_at.map(|at| at - OVERLAP)
        });
        for asked in given_up {
            if self.awaits(&asked)
                && let Some(&slot) = self.by_id.get(&asked.view)
            {
                self.conclude(slot, Outcome::Data);
                self.settle_if_waiting(slot);
            }
        }
        if recall {
            let slots: Vec<usize> = self.by_id.values().copied().collect();
            for slot in slots {
                self.settle_if_waiting(slot);
            }
        }
    }

    /// Every refresh of a warehouse that waits for its verdict counts as `data`.
    pub(crate) fn conclude_unjudged(&mut self, index: usize) {
        if let Some(warehouse) = self.warehouses.get_mut(index) {
            warehouse.sweeps.awaited = false;
        }
        let slots: Vec<usize> = self.by_id.values().copied().collect();
        for slot in slots {
            let waits = self
                .view(slot)
                .is_some_and(|view| view.warehouse == index && view.unjudged.is_some());
            if waits {
                self.conclude(slot, Outcome::Data);
                self.settle_if_waiting(slot);
            }
        }
    }

    fn take_verdict(&mut self, attempt: AttemptId, id: &ViewId, record: &Record) {
        let Some(&slot) = self.by_id.get(id) else {
            return;
        };
        self.meet_identity(slot, record);
        let Some(view) = self.view_mut(slot) else {
            return;
        };
        view.told.hears(record.transaction);
        let awaited = view
            .unjudged
            .as_ref()
            .is_some_and(|unjudged| unjudged.attempt.id == attempt);
        self.heed(slot, record);
        if let Some(read) = record.read.clone() {
            self.notice(Notice::Read {
                view: id.clone(),
                began_at: record.began_at,
                read,
            });
        }
        if !awaited {
            return;
        }
        match &record.result {
            Ok(outcome) => {
                self.conclude(slot, *outcome);
                self.settle_if_waiting(slot);
            }
            Err(text) => self.refute(slot, text),
        }
    }

    /// The statement finished, but the warehouse says that the refresh did not.
    fn refute(&mut self, slot: usize, text: &Arc<str>) {
        let Some(unjudged) = self.view_mut(slot).and_then(|view| view.unjudged.take()) else {
            return;
        };
        let failure = Failure::new(FailureClass::Unknown, text);
        if self
            .view(slot)
            .is_some_and(|view| matches!(view.state, State::Waiting { .. }))
        {
            self.fail(slot, unjudged.attempt, failure);
        }
    }

    /// What a record says beside its outcome: skipped records, words that nobody knows.
    fn heed(&mut self, slot: usize, record: &Record) {
        let now = self.now;
        let Some(view) = self.view_mut(slot) else {
            return;
        };
        let id = view.spec.id.clone();
        let all = record.result == Ok(Outcome::AllSkipped);
        let skipped = record.read.as_ref().map_or(0, |read| read.skipped);
        view.skipped += skipped;
        view.behind = record.read.as_ref().and_then(|read| read.behind);
        view.stale_parent = record.stale_parent;
        let misses_a_parent = view.misses_a_parent();
        let reason = record.read.as_ref().and_then(|read| read.reason.clone());
        if all && view.alert.is_none() {
            let text = reason
                .clone()
                .unwrap_or_else(|| "every record that the stream gave was skipped".into());
            view.alert = Some(Alert {
                reason: AlertReason::AllSkipped,
                text,
                since: now,
            });
        } else if !all && matches!(record.result, Ok(Outcome::Data | Outcome::SomeSkipped)) {
            view.alert = None;
        }
        if skipped > 0 || all || record.result == Ok(Outcome::SomeSkipped) {
            self.notice(Notice::Skipped {
                view: id.clone(),
                records: skipped,
                all,
                reason,
            });
        }
        if let Some(text) = record.unknown.clone() {
            let view = id.clone();
            self.notice(Notice::UnknownStatus { view, text });
        }
        if misses_a_parent {
            self.notice(Notice::StaleParent { view: id });
        }
    }

    /// A view that was made anew is another view: what was learned of it does not hold.
    fn meet_identity(&mut self, slot: usize, record: &Record) {
        let Some(view) = self.view_mut(slot) else {
            return;
        };
        let before = view.identity;
        view.identity = record.identity.or(before);
        if before.is_some() && view.identity != before {
            view.forget();
            let view = view.spec.id.clone();
            self.notice(Notice::Recreated { view });
        }
    }

    /// A refresh from before the daemon's start: `data_ts` and durations.
    fn take_history(&mut self, slot: usize, record: &Record) {
        let now = self.now;
        let Some(view) = self.view_mut(slot) else {
            return;
        };
        let Ok(outcome) = record.result else {
            return;
        };
        // The gap before the first one is not known.
        if let Some(before) = view.last_submit_at.filter(|_| view.spec.after.is_empty())
            && !matches!(outcome, Outcome::MoreData { .. } | Outcome::Recomputed)
        {
            let gap = (record.began_at - before).as_secs_f64();
            view.model.learn(gap, record.ended_at - record.began_at);
        }
        view.last_submit_at = view.last_submit_at.max(Some(record.began_at));
        view.last_success_at = view.last_success_at.max(Some(record.ended_at.min(now)));
        view.last_duration = Some(record.ended_at - record.began_at);
        view.catching_up = matches!(outcome, Outcome::MoreData { .. });
        view.recalled = true;
        self.hold(slot, record, outcome);
    }

    /// Somebody else has refreshed the view.
    fn take_foreign(&mut self, slot: usize, foreign: Foreign) {
        let now = self.now;
        let record = &foreign.record;
        self.heed(slot, record);
        if let Some(view) = self.view_mut(slot) {
            view.foreign += 1;
            if foreign.by == RefreshedBy::Auto {
                let (number, busy) = view.auto;
                view.auto = (number + 1, busy + (record.ended_at - record.began_at));
            }
        }
        if let Ok(outcome) = record.result {
            self.hold(slot, record, outcome);
            let Some(view) = self.view_mut(slot) else {
                return;
            };
            let ended_at = record.ended_at;
            view.forget_seen(ended_at);
            view.last_outcome = Some(outcome);
            view.last_success_at = view.last_success_at.max(Some(ended_at));
            if matches!(view.state, State::Suspended { .. }) {
                // It can be refreshed: whatever was wrong may have been mended.
                self.queue_now(slot, Origin::Probe, now);
            }
            self.settle_if_waiting(slot);
            for child in self.children.get(&slot).cloned().unwrap_or_default() {
                self.offer_news(child, slot);
            }
        }
        if let Some(view) = self.view(slot).map(|view| view.spec.id.clone()) {
            self.notice(Notice::Foreign {
                view,
                refresh: foreign,
            });
        }
    }

    /// Up to when the view holds its stream after a refresh that is only known by its record.
    fn hold(&mut self, slot: usize, record: &Record, outcome: Outcome) {
        let now = self.now;
        let Some(view) = self.view(slot) else {
            return;
        };
        let held = if view.spec.after.is_empty() {
            Some(record.began_at)
        } else {
            // What its parents held then is what they hold now, if none has moved since.
            let parents = view.spec.after.iter().map(|id| {
                let parent = self.view(*self.by_id.get(id)?)?;
                (parent.last_success_at? <= record.began_at).then_some(parent.data_ts?)
            });
            parents.min().flatten()
        };
        let held = match outcome {
            Outcome::MoreData { up_to } => held.min(up_to),
            Outcome::Data
            | Outcome::NoData
            | Outcome::SomeSkipped
            | Outcome::AllSkipped
            | Outcome::Recomputed => held,
        };
        if let Some(view) = self.view_mut(slot) {
            view.data_ts = view.data_ts.max(held.map(|at| at.min(now)));
        }
    }
}
