//! What follows from the warehouse's own records of refreshes.
//!
//! Decides: what a verdict does to the refresh that waited for it, what refreshes teach that
//! somebody else has made, or that were made before the daemon's start.
//! Deliberately absent: when records are read (`sweep`), and what a success teaches (`ending`).
//! Invariant: a refresh is concluded exactly once.

use std::collections::BTreeSet;

use crate::event::{AttemptId, Failure, Notice, Origin};
use crate::law::unit_interval;
use crate::plan::{Billing, ViewId};
use crate::record::{Foreign, Outcome, Record, RefreshedBy, Sweep};
use crate::scheduler::Scheduler;
use crate::state::{Due, State};
use crate::time::Span;
use crate::view::{Alert, AlertReason};

/// Views that are late at a start begin within a tenth of their targets, and within this.
const SPREAD_MAX: Span = Span::from_secs(10);

impl Scheduler {
    pub(crate) fn take_records(&mut self, index: usize, sweep: Sweep, recall: bool) {
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
            let ours = self.warehouses.get(index).is_some_and(|warehouse| {
                let began_at = foreign.record.began_at;
                foreign.by == RefreshedBy::Statement && warehouse.sweeps.may_be_forgotten(began_at)
            });
            if known.contains(&slot) && !ours {
                self.take_foreign(slot, foreign);
            } else {
                self.take_history(slot, &foreign.record);
            }
        }
        let Some(warehouse) = self.warehouses.get_mut(index) else {
            return;
        };
        for asked in warehouse.sweeps.looked(&told) {
            if self.awaits(&asked)
                && let Some(&slot) = self.by_id.get(&asked.view)
            {
                self.conclude(slot, Outcome::Data);
                self.settle_if_waiting(slot);
            }
        }
        if recall {
            self.begin_evenly(index);
        }
    }

    /// The past is known. Those who are late do not all start now, nor all together the second
    /// time. On Serverless bunching is what one wants.
    fn begin_evenly(&mut self, index: usize) {
        let (now, seed) = (self.now, self.seed);
        let warehouse = self.warehouses.get(index);
        let spreads = warehouse.is_some_and(|at| at.spec.billing == Billing::Provisioned);
        let slots: Vec<usize> = self.by_id.values().copied().collect();
        for slot in slots {
            self.settle_if_waiting(slot);
            let Some(view) = self.view_mut(slot).filter(|view| view.warehouse == index) else {
                continue;
            };
            let late = match view.state.due() {
                Some(Due::At { at, .. }) => *at <= now,
                Some(Due::Ready { .. } | Due::Never { .. }) | None => false,
            };
            if late && view.recalled && spreads {
                let most = (view.spec.target_lag / 10).min(SPREAD_MAX);
                let share = unit_interval(seed, view.spec.id.as_str(), 0);
                view.recalled = false;
                view.not_before = Some(now + most.scale(share));
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
            return self.take_late_verdict(slot, attempt, record);
        }
        match &record.result {
            Ok(outcome) => {
                self.conclude(slot, *outcome);
                self.settle_if_waiting(slot);
            }
            Err(failure) => self.refute(slot, failure.clone()),
        }
    }

    /// The view has not waited for this, and was taken to hold everything: if it does not,
    /// what is left is fetched now.
    fn take_late_verdict(&mut self, slot: usize, attempt: AttemptId, record: &Record) {
        let Some(view) = self.view_mut(slot) else {
            return;
        };
        let latest = view.concluded == Some(attempt) && view.unjudged.is_none();
        let left = match record.result {
            Ok(outcome) => matches!(outcome, Outcome::MoreData { .. }),
            Err(_) => true,
        };
        if !latest || !left || view.catching_up {
            return;
        }
        view.last_outcome = record.result.as_ref().ok().copied().or(view.last_outcome);
        view.catching_up = true;
        self.settle_if_waiting(slot);
    }

    /// The statement finished, but the warehouse says that the refresh did not.
    fn refute(&mut self, slot: usize, failure: Failure) {
        let Some(unjudged) = self.view_mut(slot).and_then(|view| view.unjudged.take()) else {
            return;
        };
        if self
            .view(slot)
            .is_some_and(|view| matches!(view.state, State::Waiting { .. }))
        {
            if let Some(view) = self.view_mut(slot)
                && view.trouble.is_none()
            {
                view.trouble = unjudged.trouble;
            }
            self.end_badly(slot, unjudged.attempt, failure);
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
        // Records of the view as it was come later than those of the one that is.
        let older = view.identified_at > Some(record.began_at);
        let Some(identity) = record.identity.filter(|_| !older) else {
            return;
        };
        let before = view.identity.replace(identity);
        view.identified_at = Some(record.began_at);
        if before.is_some_and(|before| before != identity) {
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
        let duration = record.ended_at - record.began_at;
        // The gap before the first one is not known, nor is one across the daemon's own.
        if let Some(before) = view
            .last_submit_at
            .filter(|before| *before < record.began_at)
        {
            let gap = (record.began_at - before).as_secs_f64();
            view.learn(gap, duration, outcome);
        }
        view.last_submit_at = view.last_submit_at.max(Some(record.began_at));
        if view.last_success_at < Some(record.ended_at) {
            view.last_success_at = Some(record.ended_at.min(now));
            view.last_duration = Some(duration);
            view.catch_up(outcome, record.began_at);
            view.recomputes = outcome == Outcome::Recomputed;
        }
        view.recalled |= view.refreshes == 0;
        // Whether its schedule was closed meanwhile is not known.
        view.cycle_void |= view.spec.schedule.is_some();
        self.hold(slot, record, outcome);
    }

    /// Somebody else has refreshed the view.
    fn take_foreign(&mut self, slot: usize, foreign: Foreign) {
        let now = self.now;
        let record = &foreign.record;
        self.heed(slot, record);
        if let Ok(outcome) = record.result {
            let ended_at = record.ended_at;
            if let Some(view) = self.view_mut(slot) {
                view.foreign += 1;
                if foreign.by == RefreshedBy::Auto {
                    let (number, busy) = view.auto;
                    view.auto = (number + 1, busy + (ended_at - record.began_at));
                }
            }
            self.hold(slot, record, outcome);
            let Some(view) = self.view_mut(slot) else {
                return;
            };
            view.forget_seen(record.began_at);
            if view.last_success_at <= Some(ended_at) {
                view.last_outcome = Some(outcome);
                view.last_success_at = Some(ended_at.min(now));
            }
            if matches!(view.state, State::Suspended { .. }) {
                // It can be refreshed: whatever was wrong may have been mended.
                self.queue_now(slot, Origin::Probe, now);
            }
            self.settle_if_waiting(slot);
            self.bring_along(slot);
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
        let Some(view) = self.view_mut(slot) else {
            return;
        };
        view.read_at = view.read_at.max(Some(record.began_at));
        if outcome != Outcome::NoData {
            view.changed_at = view.changed_at.max(Some(record.ended_at));
        }
        view.data_ts = view.data_ts.max(held.map(|at| at.min(now)));
    }
}
