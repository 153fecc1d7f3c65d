//! What Tidekeeper would do with the views that it only observes.
//!
//! Decides: that the very scheduler of the daemon plays it, on the daemon's clock, told what
//! the daemon is told, with refreshes that last as long as those that were seen.
//! Deliberately absent: a warehouse. Nothing is ever submitted, and nothing ever fails.

use std::sync::Arc;

use tidekeeper_scheduler::{
    Command, DescribeAnswer, Event, Mode, Notice, Outcome, Outcomes, Plan, ResolveAnswer,
    Scheduler, Snapshot, StatementId, StatementStatus, SubmitAnswer, Sweep, Timestamp, ViewId,
};
use tokio::sync::{mpsc, watch};

use super::Observer;
use crate::clock::{Clock, duration};
use crate::run_loop::{Execute, LoopError, Report, RunLoop};

const SEED: u64 = 1;

/// A rehearsal that has not begun.
#[derive(Debug)]
pub struct Rehearsal(RunLoop<Stage, Prompter>);

impl Rehearsal {
    pub(super) fn new(
        observer: Arc<Observer>,
        scheduler: Scheduler,
        inbox: mpsc::Receiver<Event>,
        snapshots: watch::Sender<Arc<Snapshot>>,
    ) -> Self {
        Self(RunLoop {
            scheduler,
            clock: observer.clock,
            executor: Arc::new(Stage(Arc::clone(&observer))),
            report: Prompter(observer),
            inbox,
            snapshots,
        })
    }

    /// Plays until the shutdown that the daemon is told of.
    ///
    /// # Errors
    /// When a part of it panicked.
    pub async fn run(self) -> Result<(), LoopError> {
        self.0.run().await
    }
}

type Begun = (
    watch::Receiver<Arc<Snapshot>>,
    watch::Sender<Arc<Snapshot>>,
    Scheduler,
);

/// A scheduler without a plan.
pub(super) fn begin(clock: Clock) -> Begun {
    let scheduler = Scheduler::new(clock.now(), SEED);
    let (sender, receiver) = watch::channel(Arc::new(scheduler.snapshot()));
    (receiver, sender, scheduler)
}

/// The plan of the views that are only observed, as if they were not.
pub(super) fn plan(plan: &Plan) -> Plan {
    let mut rehearsed = plan.clone();
    rehearsed.views.retain(|view| view.mode == Mode::Observe);
    let ids: Vec<ViewId> = rehearsed.views.iter().map(|view| view.id.clone()).collect();
    for view in &mut rehearsed.views {
        view.mode = Mode::Active;
        view.after.retain(|parent| ids.contains(parent));
    }
    for warehouse in &mut rehearsed.warehouses {
        // There are no records to read.
        warehouse.outcomes = Outcomes::Off;
    }
    rehearsed
}

/// Where refreshes take their time and do nothing.
#[derive(Debug)]
struct Stage(Arc<Observer>);

impl Execute for Stage {
    async fn execute(self: Arc<Self>, command: Command) -> Event {
        match command {
            Command::Scan { warehouse } => {
                let result = Ok(Vec::new());
                Event::Scanned { warehouse, result }
            }
            Command::Submit { attempt, view, .. } => {
                tokio::time::sleep(duration(self.0.duration(&view))).await;
                let statement = StatementId::from("rehearsed");
                let status = finished();
                let answer = SubmitAnswer::Accepted { statement, status };
                Event::Submitted { attempt, answer }
            }
            Command::Describe { attempt, .. } => {
                let answer = DescribeAnswer::Status(finished());
                Event::Described { attempt, answer }
            }
            Command::Cancel { attempt, .. } => Event::Cancelled {
                attempt,
                result: Ok(()),
            },
            Command::Resolve { attempt, .. } => Event::Resolved {
                attempt,
                answer: ResolveAnswer::NotRunning,
            },
            Command::Sweep { warehouse, .. } => {
                let result = Ok(Sweep::default());
                Event::Swept { warehouse, result }
            }
        }
    }
}

fn finished() -> StatementStatus {
    StatementStatus::Finished {
        at: None,
        outcome: Outcome::Data,
    }
}

/// Takes down what was played.
#[derive(Debug)]
struct Prompter(Arc<Observer>);

impl Report for Prompter {
    fn notice(&mut self, _: Timestamp, notice: &Notice) {
        if let Notice::Refreshed {
            view,
            duration,
            finished_at,
            ..
        } = notice
        {
            let began_at = *finished_at - *duration;
            self.0.rehearsed(view, began_at, *finished_at);
        }
    }

    fn state(&mut self, at: Timestamp, snapshot: &Arc<Snapshot>) {
        self.0.rehearsed_state(at, snapshot);
    }

    fn broken(&mut self, invariants: &[String]) {
        if !invariants.is_empty() {
            tracing::warn!(?invariants, "invariants do not hold in the rehearsal");
        }
    }
}
