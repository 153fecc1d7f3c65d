//! The only loop: polls the scheduler, carries its commands out on a `JoinSet`, feeds the
//! answers back, and turns facts into metrics and log lines.
//!
//! Decides: the order in which it listens, and that every command is answered by exactly one
//! event, also when a call hangs. A panic in a call ends the loop with an error, and the
//! process with it: the orchestrator restarts it, and state is rebuilt from Redshift.
//! Deliberately absent: decisions about views. They are the scheduler's.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tidekeeper_scheduler::{
    Command, DescribeAnswer, Event, Failure, FailureClass, Notice, Output, ResolveAnswer,
    Scheduler, Snapshot, Span, SubmitAnswer, Timestamp,
};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::clock::{Clock, duration};

/// A call may take so long beyond the wait it asks for, before its answer counts as lost.
/// The client's own limits are tighter; this one only keeps the promise that every command
/// is answered.
const CALL_GRACE: Span = Span::from_secs(60);
/// A scan reads pages at a limited rate.
const SCAN_LIMIT: Duration = Duration::from_secs(180);
/// A look at the warehouse's records waits in its queue like any query.
const SWEEP_LIMIT: Duration = Duration::from_secs(60);
/// How often the loop reports although nothing happens: it is also the heartbeat.
const REPORT_EVERY: Span = Span::from_secs(1);
/// ... and while things happen.
const REPORT_WHILE_BUSY: Span = Span::from_millis(100);
const CHECK_INVARIANTS_EVERY: Span = Span::from_secs(60);

/// Carries out commands.
pub trait Execute: Send + Sync + 'static {
    /// Does what the command says and tells how it ended.
    fn execute(self: Arc<Self>, command: Command) -> impl Future<Output = Event> + Send;
}

/// Where the loop reports to.
pub trait Report {
    /// Something happened.
    fn notice(&mut self, at: Timestamp, notice: &Notice);
    /// The loop is alive, and this is how everything stands.
    fn state(&mut self, at: Timestamp, snapshot: &Arc<Snapshot>);
    /// These invariants do not hold.
    fn broken(&mut self, invariants: &[String]);
}

/// Why the loop ended badly.
#[derive(Debug, thiserror::Error)]
pub enum LoopError {
    #[error("a call to the warehouse panicked")]
    CallPanicked(#[source] tokio::task::JoinError),
}

/// A running scheduler and its surroundings.
#[derive(Debug)]
pub struct RunLoop<E, R> {
    pub scheduler: Scheduler,
    pub clock: Clock,
    pub executor: Arc<E>,
    pub report: R,
    /// Plans, calendars, people's wishes, shutdown.
    pub inbox: mpsc::Receiver<Event>,
    pub snapshots: watch::Sender<Arc<Snapshot>>,
}

impl<E: Execute, R: Report> RunLoop<E, R> {
    /// Runs until the scheduler has stopped; calls still under way then are dropped.
    ///
    /// # Errors
    /// When a call panicked.
    pub async fn run(mut self) -> Result<(), LoopError> {
        let mut calls = JoinSet::new();
        let mut reported_at = self.clock.now();
        self.publish();
        let mut busy = false;
        let mut check_at = reported_at + CHECK_INVARIANTS_EVERY;
        loop {
            let deadline = match self.drain_outputs(&mut calls) {
                Next::Stopped => {
                    self.publish();
                    return Ok(());
                }
                Next::Wait(deadline) => deadline,
            };
            let now = self.clock.now();
            let mut report_at = reported_at
                + if busy {
                    REPORT_WHILE_BUSY
                } else {
                    REPORT_EVERY
                };
            if now >= report_at {
                self.publish();
                (reported_at, busy) = (now, false);
                report_at = now + REPORT_EVERY;
            }
            if now >= check_at {
                self.report.broken(&self.scheduler.broken_invariants());
                check_at = now + CHECK_INVARIANTS_EVERY;
            }
            let wake = deadline.map_or(report_at, |at| at.min(report_at));
            // Answers first: they free slots. Wishes next: a shutdown must not wait behind a
            // timer. The timer last: it only ever means that nothing else came.
            tokio::select! {
                biased;
                Some(answer) = calls.join_next() => {
                    let event = answer.map_err(LoopError::CallPanicked)?;
                    self.scheduler.handle(self.clock.now(), event);
                    busy = true;
                }
                Some(event) = self.inbox.recv() => {
                    self.scheduler.handle(self.clock.now(), event);
                    busy = true;
                }
                () = tokio::time::sleep_until(self.clock.instant(wake)) => {
                    self.scheduler.handle_timeout(self.clock.now());
                }
            }
        }
    }

    /// Hands out everything the scheduler wants now.
    fn drain_outputs(&mut self, calls: &mut JoinSet<Event>) -> Next {
        loop {
            match self.scheduler.poll() {
                Output::Command(command) => {
                    let executor = Arc::clone(&self.executor);
                    calls.spawn(answer_in_time(executor, command));
                }
                Output::Notice(notice) => self.report.notice(self.clock.now(), &notice),
                Output::Wait(deadline) => {
                    return Next::Wait(deadline.map(|deadline| deadline.at));
                }
                Output::Stopped => return Next::Stopped,
            }
        }
    }

    fn publish(&mut self) {
        let snapshot = Arc::new(self.scheduler.snapshot());
        self.report.state(self.clock.now(), &snapshot);
        self.snapshots.send_replace(snapshot);
    }
}

/// What the scheduler left the loop to do.
enum Next {
    Wait(Option<Timestamp>),
    Stopped,
}

/// Carries out one command; when no answer comes in time, answers for it.
async fn answer_in_time<E: Execute>(executor: Arc<E>, command: Command) -> Event {
    let limit = match &command {
        Command::Scan { .. } | Command::Resolve { .. } => SCAN_LIMIT,
        Command::Sweep { .. } => SWEEP_LIMIT,
        Command::Submit { wait, .. } | Command::Describe { wait, .. } => {
            duration(*wait + CALL_GRACE)
        }
        Command::Cancel { .. } => duration(CALL_GRACE),
    };
    let lost = no_answer(&command);
    tokio::time::timeout(limit, executor.execute(command))
        .await
        .unwrap_or(lost)
}

/// The event that says that nobody knows how a command ended.
fn no_answer(command: &Command) -> Event {
    let failure = Failure::new(FailureClass::Unreachable, "the call did not end in time");
    match command {
        Command::Scan { warehouse } => Event::Scanned {
            warehouse: warehouse.clone(),
            result: Err(failure),
        },
        Command::Sweep { warehouse, .. } => Event::Swept {
            warehouse: warehouse.clone(),
            result: Err(failure),
        },
        Command::Submit { attempt, .. } => Event::Submitted {
            attempt: *attempt,
            answer: SubmitAnswer::MaybeExecuted(failure),
        },
        Command::Describe { attempt, .. } => Event::Described {
            attempt: *attempt,
            answer: DescribeAnswer::CallFailed(failure),
        },
        Command::Cancel { attempt, .. } => Event::Cancelled {
            attempt: *attempt,
            result: Err(failure),
        },
        Command::Resolve { attempt, .. } => Event::Resolved {
            attempt: *attempt,
            answer: ResolveAnswer::CallFailed(failure),
        },
    }
}

#[cfg(test)]
mod tests;
