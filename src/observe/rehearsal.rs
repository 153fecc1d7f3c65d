//! What Tidekeeper would do with the views that it only observes.
//!
//! Decides: that the very scheduler of the daemon plays it, on the daemon's clock, told what
//! the daemon is told, with refreshes that last as long as those that were seen. Where some
//! views of a warehouse are active, they play too: parents, slots and wake-ups are shared.
//! Deliberately absent: a warehouse. Nothing is ever submitted, and nothing ever fails.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use tidekeeper_scheduler::{
    Asked, AttemptId, Command, DescribeAnswer, Event, Mode, Notice, Outcome, Plan, Record,
    ResolveAnswer, Scheduler, Snapshot, Span, StatementId, StatementStatus, SubmitAnswer, Sweep,
    Timestamp, ViewId, WarehouseId,
};
use tokio::sync::{mpsc, watch};

use super::Observer;
use crate::clock::{Clock, duration};
use crate::run_loop::{Execute, LoopError, Report, RunLoop};

const SEED: u64 = 1;
/// How long a look at a warehouse's records takes.
const SWEEP: Span = Span::from_secs(1);

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
            executor: Arc::new(Stage {
                observer: Arc::clone(&observer),
                ends: Mutex::default(),
            }),
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

/// Whether some of the warehouse's views are only observed.
pub(super) fn plays(plan: &Plan, warehouse: &WarehouseId) -> bool {
    let mut views = plan.views.iter();
    views.any(|view| view.warehouse == *warehouse && view.mode == Mode::Observe)
}

/// The plan, as if no view were only observed, of the warehouses where some are.
pub(super) fn plan(plan: &Plan) -> Plan {
    let mut rehearsed = plan.clone();
    let warehouses = &mut rehearsed.warehouses;
    warehouses.retain(|warehouse| plays(plan, &warehouse.id));
    let played: BTreeSet<&WarehouseId> = warehouses.iter().map(|at| &at.id).collect();
    rehearsed
        .views
        .retain(|view| played.contains(&view.warehouse));
    for view in &mut rehearsed.views {
        view.mode = Mode::Active;
    }
    rehearsed
}

/// Where refreshes take their time and do nothing.
#[derive(Debug)]
struct Stage {
    observer: Arc<Observer>,
    /// When the refreshes end that are under way.
    ends: Mutex<BTreeMap<AttemptId, Timestamp>>,
}

impl Stage {
    fn ends(&self) -> std::sync::MutexGuard<'_, BTreeMap<AttemptId, Timestamp>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it stands with a refresh when it ends, or after `wait`.
    async fn status(&self, attempt: AttemptId, wait: Span) -> StatementStatus {
        let now = self.observer.clock.now();
        // One that was cancelled has ended.
        let ends_at = self.ends().get(&attempt).copied().unwrap_or(now);
        let rest = ends_at - now;
        tokio::time::sleep(duration(rest.min(wait))).await;
        if rest > wait {
            return StatementStatus::Running;
        }
        self.ends().remove(&attempt);
        StatementStatus::Finished {
            at: Some(ends_at),
            outcome: Outcome::Data,
        }
    }

    /// A look at records that say of each refresh that it read something.
    async fn sweep(&self, warehouse: WarehouseId, asked: Vec<Asked>) -> Event {
        let began_at = self.observer.clock.now();
        tokio::time::sleep(duration(SWEEP)).await;
        let ended_at = self.observer.clock.now();
        self.observer
            .rehearsed_sweep(&warehouse, began_at, ended_at);
        let verdicts = asked.into_iter().filter_map(verdict);
        let result = Ok(Sweep {
            verdicts: verdicts.collect(),
            foreign: Vec::new(),
        });
        Event::Swept { warehouse, result }
    }
}

fn verdict(asked: Asked) -> Option<(AttemptId, ViewId, Record)> {
    let record = Record {
        transaction: i64::try_from(asked.attempt.serial()).ok()?,
        identity: None,
        user: None,
        began_at: asked.submitted_at,
        ended_at: asked.finished_at?,
        result: Ok(Outcome::Data),
        unknown: None,
        stale_parent: false,
        read: None,
    };
    Some((asked.attempt, asked.view, record))
}

impl Execute for Stage {
    async fn execute(self: Arc<Self>, command: Command) -> Event {
        match command {
            Command::Scan { warehouse } => {
                let result = Ok(Vec::new());
                Event::Scanned { warehouse, result }
            }
            Command::Submit {
                attempt,
                view,
                wait,
            } => {
                let ends_at = self.observer.clock.now() + self.observer.duration(&view);
                self.ends().insert(attempt, ends_at);
                let statement = StatementId::from("rehearsed");
                let status = self.status(attempt, wait).await;
                let answer = SubmitAnswer::Accepted { statement, status };
                Event::Submitted { attempt, answer }
            }
            Command::Describe { attempt, wait, .. } => {
                let answer = DescribeAnswer::Status(self.status(attempt, wait).await);
                Event::Described { attempt, answer }
            }
            Command::Cancel { attempt, .. } => {
                self.ends().remove(&attempt);
                let result = Ok(());
                Event::Cancelled { attempt, result }
            }
            Command::Resolve { attempt, .. } => Event::Resolved {
                attempt,
                answer: ResolveAnswer::NotRunning,
            },
            Command::Sweep {
                warehouse, asked, ..
            } => self.sweep(warehouse, asked).await,
        }
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

    fn state(&mut self, _: Timestamp, _: &Arc<Snapshot>) {}

    fn broken(&mut self, invariants: &[String]) {
        if !invariants.is_empty() {
            tracing::warn!(?invariants, "invariants do not hold in the rehearsal");
        }
    }
}
