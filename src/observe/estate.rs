//! What is known of views, streams and warehouses, kept up to date.
//!
//! Decides: what a refresh made a view show, for how long what is known is kept, and which time
//! counts.
//! Deliberately absent: figures (`report`); who tells of it (`mod`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidekeeper_scheduler::{
    Billing, FailureClass, Foreign, Mode, Outcome, Outcomes, Plan, RefreshedBy, Span, Timestamp,
    ViewId, ViewSnapshot, ViewSpec, WarehouseId, WarehouseSnapshot,
};

use super::ledger::{AwakeLedger, Ledger, Refreshed, Who, oldest_after};
use super::recording::Volumes;
use super::{ARRIVALS, KEPT, SETTLE_EVERY, rehearsal};
use crate::stream::{self, Runs};
use crate::warehouse::rows_of_a_view;

#[derive(Default)]
pub(super) struct Estate {
    pub(super) views: BTreeMap<ViewId, View>,
    pub(super) streams: BTreeMap<String, Arrivals>,
    pub(super) warehouses: BTreeMap<WarehouseId, Warehouse>,
    pub(super) settled_at: Option<Timestamp>,
}

pub(super) struct View {
    pub(super) warehouse: WarehouseId,
    /// What it is; another one under its name is another view.
    pub(super) location: Arc<str>,
    /// The streams that it shows, itself or through its parents; none unless all are probed.
    pub(super) streams: Vec<String>,
    pub(super) mode: Mode,
    /// Its parents.
    pub(super) after: Vec<ViewId>,
    pub(super) target_lag: Span,
    pub(super) since: Timestamp,
    pub(super) seen: Ledger,
    /// What it would be with Tidekeeper.
    pub(super) rehearsed: Ledger,
    pub(super) volumes: Volumes,
    /// Of a refresh before the daemon's start, too.
    pub(super) last_duration: Option<Span>,
    /// Durations that the rehearsal has used.
    pub(super) drawn: usize,
    /// Arrivals before are not asked for any more.
    pub(super) settled: Timestamp,
    /// What the latest look at the records told: how many refreshes, and when the first ended.
    pub(super) told: (u32, Option<Timestamp>),
}

#[derive(Default)]
pub(super) struct Warehouse {
    pub(super) since: Timestamp,
    pub(super) slots: u32,
    /// What a wake-up is billed at least, where being awake is billed.
    pub(super) wake_minimum: Option<Span>,
    pub(super) price_per_hour: Option<f64>,
    pub(super) awake: AwakeLedger,
    /// Since when Tidekeeper's own refreshes are rehearsed, of all its views: while some are
    /// only observed.
    pub(super) rehearsed_since: Option<Timestamp>,
    pub(super) rehearsed_awake: AwakeLedger,
    /// Up to when its records of refreshes have been read.
    pub(super) records_until: Option<Timestamp>,
    /// Its records are not to be read.
    pub(super) records_off: bool,
    /// Why they cannot be read now.
    pub(super) records_failure: Option<Arc<str>>,
}

/// What is known of a stream's arrivals.
pub(super) struct Arrivals {
    pub(super) exact: Runs,
    /// As a probe tells: a record counts as unread until it must have been readable.
    pub(super) told: Runs,
    /// Of the views that read it.
    pub(super) views: Vec<ViewId>,
    /// When a probe last told what is unread: nothing is known of the time after.
    pub(super) looked_at: Option<Timestamp>,
}

impl Arrivals {
    /// What has arrived, and up to when that is all. Where nobody has looked for a day, the
    /// stream is one without a probe.
    fn known(&self, now: Timestamp) -> Option<(&Runs, Timestamp)> {
        let looked_at = self.looked_at.filter(|at| *at >= now - KEPT)?;
        Some((&self.exact, looked_at))
    }
}

/// What a view has seen, and what its rehearsal has made.
pub(super) fn seen(view: &View) -> &Ledger {
    &view.seen
}

pub(super) fn rehearsed(view: &View) -> &Ledger {
    &view.rehearsed
}

/// Up to when a view holds its stream after a refresh that did that, of a stream or of parents
/// that were there up to `source`.
pub(super) fn holds(outcome: Outcome, source: Option<Timestamp>) -> Option<Timestamp> {
    match outcome {
        Outcome::MoreData { up_to } => source.min(up_to),
        Outcome::Data
        | Outcome::NoData
        | Outcome::SomeSkipped
        | Outcome::AllSkipped
        | Outcome::Recomputed => source,
    }
}

/// The streams that every view shows, itself or through its parents; none unless all of them
/// are probed.
fn shown_streams(plan: &Plan, streams: &[stream::Settings]) -> BTreeMap<ViewId, Vec<String>> {
    let specs: BTreeMap<&ViewId, &ViewSpec> = plan.views.iter().map(|at| (&at.id, at)).collect();
    let read = streams.iter().flat_map(|stream| {
        let views = stream.views.iter();
        views.map(|view| (view, &stream.name))
    });
    let read: BTreeMap<&ViewId, &String> = read.collect();
    let shown = |id: &ViewId| {
        let (mut pending, mut met, mut found) = (vec![id], BTreeSet::new(), BTreeSet::new());
        while let Some(id) = pending.pop() {
            let spec = specs.get(id)?;
            if spec.after.is_empty() {
                found.insert((*read.get(id)?).clone());
            } else if met.insert(id) {
                pending.extend(&spec.after);
            }
        }
        Some(found.into_iter().collect())
    };
    let all = plan.views.iter();
    all.filter_map(|spec| Some((spec.id.clone(), shown(&spec.id)?)))
        .collect()
}

/// What has arrived in all streams that a view shows, and up to when that is all.
pub(super) fn arrivals<'a>(
    streams: &'a BTreeMap<String, Arrivals>,
    view: &View,
    now: Timestamp,
) -> Option<(Vec<&'a Runs>, Timestamp)> {
    let known = view
        .streams
        .iter()
        .map(|name| streams.get(name)?.known(now));
    let known: Vec<(&Runs, Timestamp)> = known.collect::<Option<_>>()?;
    let looked_at = known.iter().map(|(_, at)| *at).min()?;
    Some((known.into_iter().map(|(runs, _)| runs).collect(), looked_at))
}

impl Estate {
    pub(super) fn replace(
        &mut self,
        now: Timestamp,
        plan: &Plan,
        streams: &[stream::Settings],
        prices: &BTreeMap<WarehouseId, f64>,
    ) {
        let mut views = std::mem::take(&mut self.views);
        let mut shown = shown_streams(plan, streams);
        for spec in &plan.views {
            let kept = views.remove(&spec.id);
            let kept = kept.filter(|view| view.location == spec.location && view.mode == spec.mode);
            let mut view = kept.unwrap_or_else(|| View {
                warehouse: spec.warehouse.clone(),
                location: Arc::clone(&spec.location),
                streams: Vec::new(),
                mode: spec.mode,
                after: Vec::new(),
                target_lag: spec.target_lag,
                since: now,
                seen: Ledger::new(now),
                rehearsed: Ledger::new(now),
                volumes: Volumes::default(),
                last_duration: None,
                drawn: 0,
                settled: Timestamp::MIN,
                told: (0, None),
            });
            view.warehouse = spec.warehouse.clone();
            view.streams = shown.remove(&spec.id).unwrap_or_default();
            view.after.clone_from(&spec.after);
            view.target_lag = spec.target_lag;
            self.views.insert(spec.id.clone(), view);
        }
        let mut known = std::mem::take(&mut self.streams);
        for stream in streams {
            let arrivals = known.remove(&stream.name).unwrap_or_else(|| Arrivals {
                exact: Runs::at_most(ARRIVALS),
                told: Runs::at_most(ARRIVALS),
                views: Vec::new(),
                looked_at: None,
            });
            let views = stream.views.clone();
            let arrivals = Arrivals { views, ..arrivals };
            self.streams.insert(stream.name.clone(), arrivals);
        }
        let mut known = std::mem::take(&mut self.warehouses);
        for spec in &plan.warehouses {
            let mut warehouse = known.remove(&spec.id).unwrap_or_else(|| Warehouse {
                since: now,
                ..Warehouse::default()
            });
            warehouse.slots = spec.max_in_flight;
            warehouse.wake_minimum = match spec.billing {
                Billing::Serverless => Some(spec.wake_minimum),
                Billing::Provisioned => None,
            };
            warehouse.records_off = spec.outcomes == Outcomes::Off;
            warehouse.price_per_hour = prices.get(&spec.id).copied();
            let before = warehouse.rehearsed_since;
            warehouse.rehearsed_since =
                rehearsal::plays(plan, &spec.id).then(|| before.unwrap_or(now));
            if warehouse.rehearsed_since != before {
                warehouse.rehearsed_awake = AwakeLedger::default();
                let views = self.views.values_mut();
                for view in views.filter(|view| view.warehouse == spec.id) {
                    view.rehearsed = Ledger::new(now);
                }
            }
            self.warehouses.insert(spec.id.clone(), warehouse);
        }
    }

    /// Up to when what a view shows was there for a refresh that began then: now, or what its
    /// parents held. A parent whose streams have brought nothing since holds all.
    pub(super) fn source(
        &self,
        id: &ViewId,
        began_at: Timestamp,
        ledger: fn(&View) -> &Ledger,
    ) -> Option<Timestamp> {
        let parents = self.views.get(id).map_or(&[][..], |view| &view.after);
        if parents.is_empty() {
            return Some(began_at);
        }
        let held = parents.iter().map(|id| {
            let parent = self.views.get(id)?;
            let shown = ledger(parent).shown_at(began_at)?;
            let Some((runs, looked_at)) = arrivals(&self.streams, parent, began_at) else {
                return Some(shown);
            };
            let unread = oldest_after(&runs, shown).map(|at| at - Span::from_micros(1));
            Some(unread.unwrap_or(looked_at).min(began_at).max(shown))
        });
        // A parent of which nothing is known is less than every moment.
        held.min().flatten()
    }

    /// How a view stands, and what it did before it was watched.
    pub(super) fn stands(&mut self, at: Timestamp, known: &ViewSnapshot) {
        let Some(view) = self.views.get_mut(&known.view) else {
            return;
        };
        view.target_lag = known.configured_target_lag;
        view.last_duration = known.last_duration;
        view.seen.target(at, known.target_lag);
        view.rehearsed.target(at, known.target_lag);
        let Some(holds) = known.data_ts.filter(|_| view.seen.is_empty()) else {
            return;
        };
        view.seen.shows(at, holds);
        if let (Some(ended_at), Some(lasted)) = (known.last_success_at, known.last_duration)
            && let Some(warehouse) = self.warehouses.get_mut(&view.warehouse)
            && let Some(minimum) = warehouse.wake_minimum
        {
            // What it still keeps awake is of the time that is watched.
            let until = ended_at.max(ended_at - lasted + minimum);
            if until > warehouse.since {
                warehouse.awake.ran(warehouse.since, until, Span::ZERO);
            }
        }
    }

    /// How far a warehouse's records have been read. Where an answer was full, what came before
    /// its first row is not known.
    pub(super) fn looked_at_records(&mut self, known: &WarehouseSnapshot) {
        let Some(warehouse) = self.warehouses.get_mut(&known.warehouse) else {
            return;
        };
        let failure = known.sweep_failure.as_ref();
        warehouse.records_failure = failure.map(|failure| Arc::clone(&failure.message));
        let until = known.records_until.filter(|_| known.sweeps > 0);
        let before = std::mem::replace(&mut warehouse.records_until, until);
        if before == until {
            return;
        }
        let views = self.views.values_mut();
        for view in views.filter(|view| view.warehouse == known.warehouse) {
            let (rows, first) = std::mem::take(&mut view.told);
            if let (Some(before), Some(until), Some(first)) = (before, until, first)
                && rows >= rows_of_a_view(until - before)
                && first > before
            {
                view.seen.unknown(before, first);
            }
        }
    }

    pub(super) fn rehearsed_statement(
        &mut self,
        id: &WarehouseId,
        began_at: Timestamp,
        ended_at: Timestamp,
    ) {
        if let Some(warehouse) = self.warehouses.get_mut(id)
            && let Some(minimum) = warehouse.wake_minimum
        {
            let awake = &mut warehouse.rehearsed_awake;
            awake.ran(began_at, ended_at, minimum);
        }
    }

    pub(super) fn foreign(&mut self, id: &ViewId, refresh: &Foreign) {
        let record = &refresh.record;
        let began_at = record.began_at;
        let source = self.source(id, began_at, seen);
        if let Some(view) = self.views.get_mut(id) {
            let (rows, first) = view.told;
            let first = first.map_or(record.ended_at, |at| at.min(record.ended_at));
            view.told = (rows + 1, Some(first));
            if let Some(read) = &record.read {
                view.volumes.read(began_at, read);
            }
            if let (Some(user), RefreshedBy::Statement) = (&record.user, refresh.by) {
                view.seen.made_by(user);
            }
        }
        let outcome = record.result.as_ref().ok().copied();
        let refreshed = Refreshed {
            by: match refresh.by {
                RefreshedBy::Auto => Who::Auto,
                RefreshedBy::Statement => Who::Statement,
            },
            began_at,
            ended_at: record.ended_at,
            failed: outcome.is_none(),
            holds: outcome.and_then(|outcome| holds(outcome, source)),
        };
        self.refreshed(id, refreshed);
    }

    /// An attempt of this daemon that ended badly. Only of some it is sure that they ran.
    pub(super) fn failed(
        &mut self,
        id: &ViewId,
        class: FailureClass,
        began_at: Timestamp,
        at: Timestamp,
    ) {
        let refreshed = Refreshed {
            by: Who::Tidekeeper,
            began_at,
            ended_at: at,
            failed: true,
            holds: None,
        };
        let ran = [
            FailureClass::Data,
            FailureClass::TimedOut,
            FailureClass::Cancelled,
        ];
        if ran.contains(&class) {
            self.refreshed(id, refreshed);
        } else if let Some(view) = self.views.get_mut(id) {
            view.seen.tried(Who::Tidekeeper);
        }
    }

    pub(super) fn refreshed(&mut self, id: &ViewId, refreshed: Refreshed) {
        let Some(view) = self.views.get_mut(id) else {
            return;
        };
        let (began_at, ended_at) = (refreshed.began_at, refreshed.ended_at);
        view.seen.refreshed(refreshed);
        if let Some(warehouse) = self.warehouses.get_mut(&view.warehouse)
            && let Some(minimum) = warehouse.wake_minimum
        {
            warehouse.awake.ran(began_at, ended_at, minimum);
        }
    }

    /// Forgets what nobody can ask for any more.
    pub(super) fn settle(&mut self, now: Timestamp) {
        if self.settled_at.is_some_and(|at| now < at + SETTLE_EVERY) {
            return;
        }
        self.settled_at = Some(now);
        let Self {
            views,
            streams,
            warehouses,
            ..
        } = self;
        for view in views.values_mut() {
            let known = arrivals(streams, view, now);
            let looked_at = known.as_ref().map_or(now, |(_, at)| (*at).min(now));
            let exact = known.as_ref().map(|(runs, _)| runs.as_slice());
            // What is told later than that must still find its place.
            let told = view.told_until(warehouses.get(&view.warehouse), now);
            let seen = view.seen.settle(told.min(looked_at), exact);
            let rehearsed = view.rehearsed.settle(looked_at, exact);
            let positions = seen.into_iter().chain(rehearsed);
            view.settled = positions.min().unwrap_or(Timestamp::MIN);
        }
        for (name, known) in streams.iter_mut() {
            let readers = views.values().filter(|view| view.streams.contains(name));
            let settled = readers.map(|view| view.settled).min();
            let settled = settled.unwrap_or(now);
            known.exact.forget_before(settled.min(now - KEPT));
            known.told.forget_before(settled);
        }
    }
}
