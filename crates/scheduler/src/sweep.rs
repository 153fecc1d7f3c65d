//! Sweeps: reading what refreshes did from the warehouse's own records.
//!
//! Decides: when a warehouse's records are read (one look at a time, each for all refreshes
//! that have ended since the one before), and how long a refresh waits for its verdict.
//! Deliberately absent: how the records are read, and what follows from them (`verdict`).
//! Invariant: a sweep never wakes a workgroup that sleeps, but the first one for views of
//! whose past nothing is known and those for views that are only observed.

use std::collections::VecDeque;

use crate::event::{AttemptId, Command, Deadline, DeadlineReason, Failure, FailureClass, Notice};
use crate::idle::Others;
use crate::law::doubling;
use crate::plan::{Outcomes, WarehouseId};
use crate::record::{Asked, Outcome, Sweep};
use crate::scheduler::Scheduler;
use crate::time::{Span, Timestamp};
use crate::view::View;
use crate::warehouse::{Access, Warehouse};

/// Two sweeps begin at least so long after each other: under load one covers many.
const EVERY: Span = Span::from_secs(1);
const SAMPLED: Span = Span::from_secs(60);
/// ... unless a first refresh is to be judged: others will have ended by then.
const GATHERED: Span = Span::from_secs(5);
/// A record may come late: a verdict is waited for during so many sweeps.
const LOOKS: u32 = 3;
/// Records are read again from so long before the previous sweep, for those that came late.
const OVERLAP: Span = Span::from_secs(60);
/// How far the first sweep looks back, or twice the longest target, ...
const HISTORY: Span = Span::from_secs(24 * 3600);
/// ... as far as warehouses remember.
const HISTORY_MAX: Span = Span::from_secs(7 * 24 * 3600);
/// A warehouse that is busy may let the look back wait in its queue.
const RECALL_PATIENCE: Span = Span::from_secs(5);
const RETRY: Span = Span::from_secs(1);
const RETRY_MAX: Span = Span::from_secs(600);
/// Attempts that one sweep asks for.
const ASKED_MAX: usize = 2_000;

/// What is known of a warehouse's records, and what is wanted of them.
#[derive(Debug)]
pub(crate) struct Sweeps {
    /// Attempts that have ended and of which no record was found yet, with how often it was
    /// looked for.
    ended: VecDeque<(Asked, u32)>,
    /// An attempt that ended by then may have been dropped from the list: its record is not
    /// somebody else's.
    forgotten_until: Option<Timestamp>,
    under_way: Option<UnderWay>,
    pub(crate) begun_at: Option<Timestamp>,
    /// Up to when the records have been read.
    pub(crate) read_until: Option<Timestamp>,
    /// There is a view of whose past nothing is known.
    looks_back: bool,
    /// A view waits for its verdict.
    awaited: bool,
    /// ... and has perhaps left something unread, which no sample may pass over.
    pressing: Option<Pressing>,
    pub(crate) others: Others,
    failures: u32,
    retry_at: Option<Timestamp>,
    pub(crate) last_failure: Option<Failure>,
    pub(crate) completed: u64,
}

/// A refresh may well have left something unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Pressing {
    /// It was the first.
    First,
    /// The one before it has.
    CatchUp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UnderWay {
    /// The look back: views of unknown past do not go before it is answered, or has lasted
    /// too long.
    Recall,
    Sweep,
    /// The warehouse has moved meanwhile: the answer is about another one.
    Elsewhere,
}

impl Default for Sweeps {
    fn default() -> Self {
        Self {
            ended: VecDeque::new(),
            forgotten_until: None,
            under_way: None,
            begun_at: None,
            read_until: None,
            looks_back: true,
            awaited: false,
            pressing: None,
            others: Others::default(),
            failures: 0,
            retry_at: None,
            last_failure: None,
            completed: 0,
        }
    }
}

impl Sweeps {
    pub(crate) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// A view has come of whose past nothing is known.
    pub(crate) fn look_back(&mut self) {
        self.looks_back = true;
    }

    /// The warehouse is another one from now on.
    pub(crate) fn moved(&mut self) {
        *self = Self {
            under_way: self.under_way.map(|_| UnderWay::Elsewhere),
            ..Self::default()
        };
    }

    /// Whether a refresh of then may be one of our own that is not asked for any more.
    pub(crate) fn may_be_forgotten(&self, began_at: Timestamp) -> bool {
        self.forgotten_until.is_some_and(|until| began_at <= until)
    }

    fn ask(&mut self, asked: Asked) {
        if self.ended.len() == ASKED_MAX
            && let Some((dropped, _)) = self.ended.pop_front()
        {
            self.forgotten_until = self.forgotten_until.max(dropped.finished_at);
        }
        self.ended.push_back((asked, 0));
    }

    /// After a sweep that told of these attempts: who is asked for again, and who is given up.
    pub(crate) fn looked(&mut self, told: &[AttemptId]) -> Vec<Asked> {
        let begun_at = self.begun_at;
        let mut given_up = Vec::new();
        self.ended.retain_mut(|(asked, looks)| {
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
        given_up
    }

    /// When the past has been waited for long enough; `None` before it is asked for.
    fn patience_ends_at(&self) -> Option<Timestamp> {
        let waited_for = self.looks_back || self.under_way == Some(UnderWay::Recall);
        (waited_for && self.under_way.is_some()).then_some(self.begun_at? + RECALL_PATIENCE)
    }
}

impl Warehouse {
    /// What happened before is being read: who is not known does not go yet, for a while.
    pub(crate) fn recalls(&self, now: Timestamp) -> bool {
        let sweeps = &self.sweeps;
        self.spec.outcomes != Outcomes::Off
            && (sweeps.looks_back || sweeps.under_way == Some(UnderWay::Recall))
            && sweeps.failures == 0
            && sweeps.patience_ends_at().is_none_or(|at| now < at)
    }

    /// Whether the view has to wait until its past is known.
    pub(crate) fn holds_back(&self, view: &View, now: Timestamp) -> bool {
        view.holds().is_none() && self.recalls(now)
    }

    fn spacing(&self) -> Span {
        if self.spec.outcomes != Outcomes::Sampled || self.sweeps.looks_back {
            return EVERY;
        }
        match self.sweeps.pressing {
            None => SAMPLED,
            Some(Pressing::First) => GATHERED,
            Some(Pressing::CatchUp) => EVERY,
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
            Outcomes::Sampled => {
                self.sweeps.pressing.is_some()
                    || (self.next_sweep_at() <= now && self.sweeps.under_way.is_none())
            }
            Outcomes::Off => false,
        };
        soon && self.sweeps.failures == 0 && self.access == Access::Open && self.is_awake(now)
    }
}

impl Scheduler {
    /// An attempt has ended; returns whether its verdict is worth waiting for.
    pub(crate) fn ask_verdict(
        &mut self,
        index: usize,
        asked: Asked,
        pressing: Option<Pressing>,
    ) -> bool {
        let (now, draining) = (self.now, self.draining());
        let Some(warehouse) = self.warehouses.get_mut(index) else {
            return false;
        };
        if warehouse.spec.outcomes == Outcomes::Off || draining {
            return false;
        }
        warehouse.sweeps.ask(asked);
        warehouse.sweeps.pressing = warehouse.sweeps.pressing.max(pressing);
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
        let awake = warehouse.is_awake(self.now);
        let again = sweeps.failures > 0;
        if sweeps.looks_back && (awake || !again) {
            return Some(earliest);
        }
        // After a failure nobody waits any more, but whoever ended is still to be told of.
        let mut ended = sweeps.ended.iter();
        if awake && ended.any(|(asked, _)| again || self.awaits(asked)) {
            return Some(earliest);
        }
        let begun_at = sweeps.begun_at.unwrap_or(self.now);
        Some(earliest.max(begun_at + self.idle(index, warehouse)?))
    }

    /// Whether a view waits for what the sweep will say of this attempt.
    pub(crate) fn awaits(&self, asked: &Asked) -> bool {
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
        let targets = self.views.iter().flatten();
        let targets = targets.filter(|view| view.warehouse == index);
        let longest = targets.map(|view| view.spec.target_lag).max();
        let Some(warehouse) = self.warehouses.get_mut(index) else {
            return;
        };
        let sweeps = &mut warehouse.sweeps;
        let recall = std::mem::take(&mut sweeps.looks_back);
        sweeps.pressing = None;
        let history = longest.map_or(HISTORY, |target| (target * 2).clamp(HISTORY, HISTORY_MAX));
        let read_until = sweeps.read_until.filter(|_| !recall);
        let since = read_until.map_or(now - history, |at| at - OVERLAP);
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
        if under_way == UnderWay::Elsewhere {
            return;
        }
        warehouse.sweeps.looks_back |= under_way == UnderWay::Recall && result.is_err();
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
        let hopeless = failure.class == FailureClass::Permanent || sweeps.failures >= LOOKS;
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
        if hopeless {
            self.conclude_unjudged(index);
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
}
