//! What happens to views, who makes it happen, and what Tidekeeper would do instead.
//!
//! Decides: what is remembered of refreshes and arrivals, for how long, and what is compared.
//! Deliberately absent: reading records (`warehouse`) and streams (`stream`); wording
//! (`words`); effects of any kind: nothing here ever talks to AWS.
//!
//! ```text
//! the loop's notices ──┐                      ┌─ ledger     how fresh, how often, by whom
//! the loop's state ────┼─ Observer ─ Estate ──┤
//! looks at streams ────┘     │                └─ recording  arrivals, for the simulator
//!                            └─ rehearsal: the same scheduler, with nothing behind it
//! ```

mod estate;
mod ledger;
mod recording;
mod rehearsal;
pub(crate) mod report;
#[cfg(test)]
mod tests;
mod words;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidekeeper_scheduler::{
    Event, Notice, Plan, Seen, Snapshot, Span, Timestamp, ViewId, WarehouseId,
};
use tokio::sync::{mpsc, watch};

use crate::clock::Clock;
use crate::stream::{self, READABLE_WITHIN};
use estate::{Estate, holds, rehearsed, seen};
use ledger::{Refreshed, Who};
pub(crate) use recording::Recording;
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
        if let Notice::Foreign { view, refresh } = notice {
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
            let mut estate = self.estate();
            let began_at = *finished_at - *duration;
            let refreshed = Refreshed {
                by: Who::Tidekeeper,
                began_at,
                ended_at: *finished_at,
                failed: false,
                holds: holds(*outcome, estate.source(view, began_at, seen)),
            };
            estate.refreshed(view, refreshed);
        }
    }

    /// How everything stands.
    pub(crate) fn state(&self, at: Timestamp, snapshot: &Snapshot) {
        let mut estate = self.estate();
        for known in &snapshot.warehouses {
            estate.looked_at_records(known);
        }
        for known in &snapshot.views {
            estate.stands(at, known);
        }
        estate.settle(at);
    }

    /// A refresh that the rehearsal has made.
    fn rehearsed(&self, id: &ViewId, began_at: Timestamp, ended_at: Timestamp) {
        let mut estate = self.estate();
        let refreshed = Refreshed {
            by: Who::Tidekeeper,
            began_at,
            ended_at,
            failed: false,
            holds: estate.source(id, began_at, rehearsed),
        };
        if let Some(view) = estate.views.get_mut(id) {
            view.rehearsed.refreshed(refreshed);
            if view.lasts_as_seen() {
                let warehouse = view.warehouse.clone();
                estate.rehearsed_statement(&warehouse, began_at, ended_at);
            }
        }
    }

    /// A look at the records that the rehearsal has made.
    fn rehearsed_sweep(&self, id: &WarehouseId, began_at: Timestamp, ended_at: Timestamp) {
        self.estate().rehearsed_statement(id, began_at, ended_at);
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
