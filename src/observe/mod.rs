//! What happens to views, who makes it happen, and what Tidekeeper would do instead.
//!
//! Decides: what is remembered of refreshes and arrivals, for how long, and what is compared.
//! Deliberately absent: reading records (`warehouse`) and streams (`stream`); wording
//! (`report`); effects of any kind: nothing here ever talks to AWS.
//!
//! ```text
//! the loop's notices ──┐                      ┌─ ledger     how fresh, how often, by whom
//! the loop's state ────┼─ Observer ─ Estate ──┤
//! looks at streams ────┘     │                └─ recording  arrivals, for the simulator
//!                            └─ rehearsal: the same scheduler, with nothing behind it
//! ```

mod ledger;
mod recording;
mod rehearsal;
pub(crate) mod report;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidekeeper_scheduler::{
    Billing, Event, FailureClass, Foreign, Mode, Notice, Outcome, Outcomes, Plan, RefreshedBy,
    Seen, Snapshot, Span, Timestamp, ViewId, WarehouseId,
};
use tokio::sync::{mpsc, watch};

use crate::clock::Clock;
use crate::stream::{self, READABLE_WITHIN, Runs};
use ledger::{AwakeLedger, Ledger, Refreshed, Who};
pub(crate) use recording::Recording;
use recording::Volumes;
pub use rehearsal::Rehearsal;

/// Where a running daemon tells what it has seen.
pub(crate) const REPORT: &str = "/api/v1/report";
pub(crate) const RECORDING: &str = "/api/v1/report/recording";

/// Runs of arrivals that are kept of a stream.
const ARRIVALS: usize = 20_000;
/// Arrivals are kept for so long, to be recorded.
const KEPT: Span = Span::from_secs(24 * 3_600);
const SETTLE_EVERY: Span = Span::from_secs(60);
/// Of a view of which no refresh has been seen.
const FIRST_GUESS: Span = Span::from_secs(1);

/// Watches the estate while the daemon runs.
pub struct Observer {
    clock: Clock,
    estate: Mutex<Estate>,
    /// The rehearsal's queue, and how it stands.
    rehearsal: mpsc::Sender<Event>,
    rehearsed: watch::Receiver<Arc<Snapshot>>,
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observer").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Estate {
    views: BTreeMap<ViewId, View>,
    streams: BTreeMap<String, Arrivals>,
    warehouses: BTreeMap<WarehouseId, Warehouse>,
    settled_at: Option<Timestamp>,
}

struct View {
    warehouse: WarehouseId,
    /// What it is; another one under its name is another view.
    location: Arc<str>,
    /// The stream whose arrivals are known.
    stream: Option<String>,
    mode: Mode,
    follows: bool,
    target_lag: Span,
    since: Timestamp,
    seen: Ledger,
    /// What it would be with Tidekeeper.
    rehearsed: Ledger,
    volumes: Volumes,
    /// Of a refresh before the daemon's start, too.
    last_duration: Option<Span>,
    /// Durations that the rehearsal has used.
    drawn: usize,
    /// Arrivals before are not asked for any more.
    settled: Timestamp,
}

#[derive(Default)]
struct Warehouse {
    since: Timestamp,
    slots: u32,
    /// What a wake-up is billed at least, where being awake is billed.
    wake_minimum: Option<Span>,
    price_per_hour: Option<f64>,
    awake: AwakeLedger,
    /// Up to when its records of refreshes have been read.
    records_until: Option<Timestamp>,
    /// Its records are not to be read.
    records_off: bool,
    /// Why they cannot be read now.
    records_failure: Option<Arc<str>>,
}

/// What is known of a stream's arrivals.
struct Arrivals {
    exact: Runs,
    /// As a probe tells: a record counts as unread until it must have been readable.
    told: Runs,
    /// Of the views that read it.
    views: Vec<ViewId>,
    /// When a probe last told what is unread: nothing is known of the time after.
    looked_at: Option<Timestamp>,
}

impl Arrivals {
    /// What has arrived, and up to when that is all. Where nobody has looked for a day, the
    /// stream is one without a probe.
    fn known(&self, now: Timestamp) -> Option<(&Runs, Timestamp)> {
        let looked_at = self.looked_at.filter(|at| *at >= now - KEPT)?;
        Some((&self.exact, looked_at))
    }
}

impl Observer {
    /// An observer, and the rehearsal that has to run beside it.
    #[must_use]
    pub fn new(clock: Clock) -> (Arc<Self>, Rehearsal) {
        let (rehearsal, inbox) = mpsc::channel(1024);
        let (rehearsed, snapshots, scheduler) = rehearsal::begin(clock);
        let observer = Arc::new(Self {
            clock,
            estate: Mutex::default(),
            rehearsal,
            rehearsed,
        });
        let rehearsal = Rehearsal::new(Arc::clone(&observer), scheduler, inbox, snapshots);
        (observer, rehearsal)
    }

    fn estate(&self) -> MutexGuard<'_, Estate> {
        // What is lost by a panic elsewhere is a figure in a report.
        self.estate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a configuration up. Views that stay keep what is known of them.
    pub fn replace(
        &self,
        plan: &Plan,
        streams: &[stream::Settings],
        prices: &BTreeMap<WarehouseId, f64>,
    ) {
        self.estate()
            .replace(self.clock.now(), plan, streams, prices);
        self.rehearse(Event::Plan(rehearsal::plan(plan)));
    }

    /// What the daemon is told of the world, the rehearsal is told too.
    pub fn rehearse(&self, event: Event) {
        if self.rehearsal.try_send(event).is_err() {
            tracing::debug!("the rehearsal does not keep up; an event is dropped");
        }
    }

    /// What a probe has seen.
    pub fn looked(&self, stream: &str, at: Timestamp, arrivals: &[(Timestamp, Timestamp)]) {
        let mut estate = self.estate();
        let Some(known) = estate.streams.get_mut(stream) else {
            return;
        };
        known.looked_at = known.looked_at.max(Some(at));
        for (first, last) in arrivals {
            known.exact.add(*first, *last);
            let told = if first == last {
                *last + READABLE_WITHIN
            } else {
                *last
            };
            known.told.add(*first, told);
        }
        let rehearsed = Arc::clone(&self.rehearsed.borrow());
        for view in &rehearsed.views {
            if let Some(holds) = view.holds_ts.filter(|_| known.views.contains(&view.view)) {
                self.rehearse(Event::Probed {
                    view: view.view.clone(),
                    seen: Seen {
                        at,
                        oldest: known.told.oldest_after(holds),
                        bytes: None,
                    },
                });
            }
        }
    }

    /// What happens to views, as far as the loop knows.
    pub(crate) fn notice(&self, notice: &Notice) {
        if let Notice::Foreign { view, refresh, .. } = notice {
            self.estate().foreign(view, refresh);
        }
        if let Notice::Read {
            view,
            began_at,
            read,
        } = notice
            && let Some(view) = self.estate().views.get_mut(view)
        {
            view.volumes.read(*began_at, read);
        }
        if let Notice::Failed {
            view,
            failure,
            duration,
            ..
        } = notice
        {
            let now = self.clock.now();
            self.estate()
                .failed(view, failure.class, now - *duration, now);
        }
        if let Notice::Refreshed {
            view,
            outcome,
            duration,
            finished_at,
            ..
        } = notice
        {
            let began_at = *finished_at - *duration;
            let refreshed = Refreshed {
                by: Who::Tidekeeper,
                began_at,
                ended_at: *finished_at,
                failed: false,
                holds: holds(*outcome, began_at),
            };
            self.estate().refreshed(view, refreshed);
        }
    }

    /// How everything stands.
    pub(crate) fn state(&self, at: Timestamp, snapshot: &Snapshot) {
        let mut estate = self.estate();
        for known in &snapshot.warehouses {
            if let Some(warehouse) = estate.warehouses.get_mut(&known.warehouse) {
                warehouse.records_until = known.records_until.filter(|_| known.sweeps > 0);
                let failure = known.sweep_failure.as_ref();
                warehouse.records_failure = failure.map(|failure| Arc::clone(&failure.message));
            }
        }
        for known in &snapshot.views {
            if let Some(view) = estate.views.get_mut(&known.view) {
                view.target_lag = known.configured_target_lag;
                view.last_duration = known.last_duration;
                view.seen.target(at, known.target_lag);
                view.rehearsed.target(at, known.target_lag);
                if let Some(holds) = known.data_ts
                    && (known.follows || view.seen.is_empty())
                {
                    view.seen.shows(at, holds);
                }
            }
        }
        estate.settle(at);
    }

    /// A refresh that the rehearsal has made.
    fn rehearsed(&self, view: &ViewId, began_at: Timestamp, ended_at: Timestamp) {
        if let Some(view) = self.estate().views.get_mut(view) {
            let holds = (!view.follows).then_some(began_at);
            view.rehearsed.refreshed(Refreshed {
                by: Who::Tidekeeper,
                began_at,
                ended_at,
                failed: false,
                holds,
            });
        }
    }

    /// How the rehearsal stands: what views on views hold is their parents'.
    fn rehearsed_state(&self, at: Timestamp, snapshot: &Snapshot) {
        let mut estate = self.estate();
        for known in snapshot.views.iter().filter(|view| view.follows) {
            if let Some(view) = estate.views.get_mut(&known.view)
                && let Some(holds) = known.data_ts
            {
                view.rehearsed.shows(at, holds);
            }
        }
    }

    /// How long a refresh of the view would take: as long as one of those that were seen.
    fn duration(&self, view: &ViewId) -> Span {
        let mut estate = self.estate();
        let Some(view) = estate.views.get_mut(view) else {
            return FIRST_GUESS;
        };
        let known = view.seen.durations().len().max(1);
        let duration = view.seen.durations().nth(view.drawn % known);
        view.drawn += 1;
        duration.or(view.last_duration).unwrap_or(FIRST_GUESS)
    }
}

/// Up to when a view holds its stream after a refresh that began then and did that.
fn holds(outcome: Outcome, began_at: Timestamp) -> Option<Timestamp> {
    match outcome {
        Outcome::MoreData { up_to } => up_to.map(|up_to| up_to.min(began_at)),
        Outcome::Data
        | Outcome::NoData
        | Outcome::SomeSkipped
        | Outcome::AllSkipped
        | Outcome::Recomputed => Some(began_at),
    }
}

impl Estate {
    fn replace(
        &mut self,
        now: Timestamp,
        plan: &Plan,
        streams: &[stream::Settings],
        prices: &BTreeMap<WarehouseId, f64>,
    ) {
        let mut views = std::mem::take(&mut self.views);
        for spec in &plan.views {
            let stream = streams.iter().find(|s| s.views.contains(&spec.id));
            let kept = views.remove(&spec.id);
            let kept = kept.filter(|view| view.location == spec.location && view.mode == spec.mode);
            let mut view = kept.unwrap_or_else(|| View {
                warehouse: spec.warehouse.clone(),
                location: Arc::clone(&spec.location),
                stream: None,
                mode: spec.mode,
                follows: false,
                target_lag: spec.target_lag,
                since: now,
                seen: Ledger::new(now),
                rehearsed: Ledger::new(now),
                volumes: Volumes::default(),
                last_duration: None,
                drawn: 0,
                settled: Timestamp::MIN,
            });
            view.warehouse = spec.warehouse.clone();
            view.stream = stream.map(|stream| stream.name.clone());
            view.follows = !spec.after.is_empty();
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
            self.warehouses.insert(spec.id.clone(), warehouse);
        }
    }

    fn foreign(&mut self, id: &ViewId, refresh: &Foreign) {
        let record = &refresh.record;
        let began_at = record.began_at;
        if let Some(view) = self.views.get_mut(id) {
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
            holds: outcome.and_then(|outcome| holds(outcome, began_at)),
        };
        self.refreshed(id, refreshed);
    }

    /// An attempt of this daemon that ended badly. Only of some it is sure that they ran.
    fn failed(&mut self, id: &ViewId, class: FailureClass, began_at: Timestamp, at: Timestamp) {
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
            view.seen.refreshed(refreshed);
        }
    }

    fn refreshed(&mut self, id: &ViewId, refreshed: Refreshed) {
        let Some(view) = self.views.get_mut(id) else {
            return;
        };
        let (began_at, ended_at) = (refreshed.began_at, refreshed.ended_at);
        let holds = refreshed.holds.filter(|_| !view.follows);
        let refreshed = Refreshed { holds, ..refreshed };
        view.seen.refreshed(refreshed);
        if let Some(warehouse) = self.warehouses.get_mut(&view.warehouse)
            && let Some(minimum) = warehouse.wake_minimum
        {
            warehouse.awake.ran(began_at, ended_at, minimum);
        }
    }

    /// Forgets what nobody can ask for any more.
    fn settle(&mut self, now: Timestamp) {
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
            let arrivals = view.stream.as_ref().and_then(|name| streams.get(name));
            let known = arrivals.and_then(|arrivals| arrivals.known(now));
            let looked_at = known.map_or(now, |(_, at)| at.min(now));
            let exact = known.map(|(runs, _)| runs);
            // What is told later than that must still find its place.
            let told = view.told_until(warehouses.get(&view.warehouse), now);
            let seen = view.seen.settle(told.min(looked_at), exact);
            let rehearsed = view.rehearsed.settle(looked_at, exact);
            let positions = seen.into_iter().chain(rehearsed);
            view.settled = positions.min().unwrap_or(Timestamp::MIN);
        }
        for known in streams.values_mut() {
            let readers = known.views.iter().filter_map(|id| views.get(id));
            let settled = readers.map(|view| view.settled).min();
            let settled = settled.unwrap_or(now);
            known.exact.forget_before(settled.min(now - KEPT));
            known.told.forget_before(settled);
        }
    }
}
