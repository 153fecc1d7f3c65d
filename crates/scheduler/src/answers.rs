//! Answers: from a submit to the end of its statement.
//!
//! Decides: what is asked next of a statement, when one has run too long, and how a submit
//! whose answer was lost is settled before anything else is sent for the view.
//! Invariant: a statement is never abandoned because a call about it failed.

use crate::event::{
    AttemptId, Command, DescribeAnswer, Failure, FailureClass, Notice, ResolveAnswer,
    StatementStatus, SubmitAnswer,
};
use crate::law::{doubling, unit_interval};
use crate::plan::StatementId;
use crate::scheduler::Scheduler;
use crate::state::{Ask, Attempt, State};
use crate::time::{Span, Timestamp};
use crate::view::View;

/// A submit without an answer is looked up after this: it may still be on its way.
const RESOLVE_AFTER: Span = Span::from_millis(500);
const RESOLVE_BACKOFF_MAX: Span = Span::from_secs(30);
/// A submit is repeated under its name at most so often before the attempt is given up.
const REPEATS_MAX: u32 = 6;
/// Client tokens live 8 h; beyond this a repeat might run twice.
const TOKEN_LIFE: Span = Span::from_secs(7 * 3600);
const DESCRIBE_BACKOFF_MAX: Span = Span::from_secs(10);
/// Describe polling: never more often than this, nor more rarely than the other.
const POLL_MIN: Span = Span::from_millis(500);
const POLL_MAX: Span = Span::from_secs(30);
/// A cancel that had no effect is sent again after this.
const CANCEL_AGAIN: Span = Span::from_secs(60);
const CANCEL_POLL: Span = Span::from_secs(1);

impl Scheduler {
    pub(crate) fn take_submit_answer(&mut self, id: AttemptId, answer: SubmitAnswer) {
        let Some((slot, mut attempt)) = self.submitting(id) else {
            return self.drop_stale(id);
        };
        match answer {
            SubmitAnswer::Accepted { statement, status } => {
                attempt.call_failures = 0;
                match status {
                    StatementStatus::Running => {
                        self.learn_wait(slot, &attempt);
                        self.watch(slot, attempt, statement);
                    }
                    StatementStatus::Finished { at, outcome } => {
                        self.succeed(slot, &attempt, at, outcome);
                    }
                    StatementStatus::Failed(failure) => self.fail(slot, attempt, failure),
                }
            }
            SubmitAnswer::NotExecuted(failure) => self.not_executed(slot, attempt, failure),
            SubmitAnswer::MaybeExecuted(failure) => self.become_unsure(slot, attempt, failure),
        }
    }

    pub(crate) fn take_describe_answer(&mut self, id: AttemptId, answer: DescribeAnswer) {
        let Some((slot, attempt)) = self.watched(id) else {
            return self.drop_stale(id);
        };
        match answer {
            DescribeAnswer::Status(StatementStatus::Running) => {
                self.learn_wait(slot, &attempt);
                self.still_running(slot);
            }
            DescribeAnswer::Status(StatementStatus::Finished { at, outcome }) => {
                self.succeed(slot, &attempt, at, outcome);
            }
            DescribeAnswer::Status(StatementStatus::Failed(failure)) => {
                let failure = blame(&attempt, failure);
                self.fail(slot, attempt, failure);
            }
            DescribeAnswer::Gone(failure) => self.fail(slot, attempt, failure),
            DescribeAnswer::CallFailed(failure) => {
                self.call_failed(slot, failure, POLL_MIN, DESCRIBE_BACKOFF_MAX);
            }
        }
    }

    pub(crate) fn take_cancel_answer(&mut self, id: AttemptId, result: Result<(), Failure>) {
        let Some((slot, _)) = self.watched(id) else {
            return self.drop_stale(id);
        };
        match result {
            Ok(()) => self.ask_again_at(slot, self.now),
            // Also where the cancel was declined because the statement has ended: look.
            Err(failure) => self.call_failed(slot, failure, CANCEL_POLL, DESCRIBE_BACKOFF_MAX),
        }
    }

    pub(crate) fn take_resolve_answer(&mut self, id: AttemptId, answer: ResolveAnswer) {
        let Some((slot, mut attempt)) = self.unsure(id) else {
            return self.drop_stale(id);
        };
        let Some(view) = self.view(slot).map(|view| view.spec.id.clone()) else {
            return;
        };
        match answer {
            ResolveAnswer::Found { statement } => {
                self.notice(Notice::Resolved {
                    view,
                    attempt: id,
                    running: true,
                });
                attempt.call_failures = 0;
                self.watch(slot, attempt, statement);
            }
            ResolveAnswer::NotRunning => {
                self.notice(Notice::Resolved {
                    view,
                    attempt: id,
                    running: false,
                });
                self.repeat_or_give_up(slot, attempt);
            }
            ResolveAnswer::CallFailed(failure) => {
                let most = self.view(slot).map_or(RESOLVE_BACKOFF_MAX, patience);
                self.call_failed(slot, failure, RESOLVE_AFTER, most);
            }
        }
    }

    /// The statement does not run: either it never did, or it has ended. Under its own name
    /// and token it can be sent again; the service answers a known token without acting.
    fn repeat_or_give_up(&mut self, slot: usize, attempt: Attempt) {
        let age = self.now - attempt.submitted_at;
        if self.draining() {
            return self.settle(slot);
        }
        if attempt.call_failures >= REPEATS_MAX || age > TOKEN_LIFE {
            let failure = Failure::new(
                FailureClass::Unreachable,
                "no answer to a submit could be read, and no such statement is running",
            );
            return self.fail(slot, attempt, failure);
        }
        self.submit(slot, attempt);
    }

    fn become_unsure(&mut self, slot: usize, mut attempt: Attempt, failure: Failure) {
        let Some(view) = self.view_mut(slot) else {
            return;
        };
        view.unanswered = Some(failure.clone());
        let patience = patience(view);
        let view = view.spec.id.clone();
        let wait = doubling(RESOLVE_AFTER, attempt.call_failures, patience);
        attempt.call_failures += 1;
        attempt.clean = false;
        attempt.foreseen = None;
        self.notice(Notice::Unsure {
            view,
            attempt: attempt.id,
            failure,
        });
        let ask = Ask::At(self.now + wait);
        self.set_state(slot, State::Unsure { attempt, ask });
    }

    /// The statement runs: follow it to its end.
    pub(crate) fn watch(&mut self, slot: usize, attempt: Attempt, statement: StatementId) {
        let give_up_at = attempt.submitted_at + attempt.limit;
        let ask = Ask::At(self.now);
        self.set_state(
            slot,
            State::Running {
                attempt,
                statement,
                ask,
                give_up_at,
            },
        );
        self.still_running(slot);
    }

    /// A running statement's moment has come: a question, or the end of its time.
    pub(crate) fn statement_deadline(&mut self, slot: usize) {
        let Some(State::Running { give_up_at, .. }) = self.view(slot).map(|view| &view.state)
        else {
            return;
        };
        if *give_up_at <= self.now {
            self.begin_cancel(slot);
        } else {
            self.ask_describe(slot);
        }
    }

    pub(crate) fn cancel_deadline(&mut self, slot: usize) {
        let Some(State::Cancelling { again_at, .. }) = self.view(slot).map(|view| &view.state)
        else {
            return;
        };
        if *again_at <= self.now {
            self.send_cancel(slot);
        } else {
            self.ask_describe(slot);
        }
    }

    pub(crate) fn ask_resolve(&mut self, slot: usize) {
        let Some(view) = self.view(slot) else {
            return;
        };
        let State::Unsure { attempt, .. } = &view.state else {
            return;
        };
        let (attempt, view) = (attempt.clone(), view.spec.id.clone());
        self.call(
            slot,
            Command::Resolve {
                attempt: attempt.id,
                view,
            },
        );
        let ask = Ask::Asked { long_poll: false };
        self.set_state(slot, State::Unsure { attempt, ask });
    }

    /// Asks at once where the endpoint holds its answer, else when an answer is likely
    /// (control law §7: first at 0.8·d̂, then every 0.1·d̂).
    fn still_running(&mut self, slot: usize) {
        let Some(view) = self.view(slot) else {
            return;
        };
        let (Some(attempt), Some(warehouse)) =
            (view.state.attempt(), self.warehouses.get(view.warehouse))
        else {
            return;
        };
        let cancelling = matches!(view.state, State::Cancelling { .. });
        let at = if cancelling {
            self.now + CANCEL_POLL
        } else if !warehouse.ignores_wait && warehouse.may_long_poll() {
            self.now
        } else {
            poll_at(attempt, self.now)
        };
        self.ask_again_at(slot, at);
    }

    fn ask_again_at(&mut self, slot: usize, at: Timestamp) {
        let ask = Ask::At(at);
        let Some(state) = self.view(slot).map(|view| with_ask(&view.state, ask)) else {
            return;
        };
        if let Some(state) = state {
            self.set_state(slot, state);
        }
    }

    fn ask_describe(&mut self, slot: usize) {
        let Some(view) = self.view(slot) else {
            return;
        };
        let (statement, wanted) = match &view.state {
            State::Running {
                statement,
                give_up_at,
                ..
            } => (statement.clone(), *give_up_at - self.now),
            State::Cancelling { statement, .. } => (statement.clone(), CANCEL_POLL * 5),
            State::Waiting { .. }
            | State::Submitting { .. }
            | State::Unsure { .. }
            | State::Suspended { .. }
            | State::Paused => return,
        };
        let ignored = self
            .warehouses
            .get(view.warehouse)
            .is_none_or(|warehouse| warehouse.ignores_wait);
        let wait = if ignored {
            Span::ZERO
        } else {
            self.long_poll_wait(view.warehouse, wanted)
        };
        let long_poll = wait > Span::ZERO;
        let Some(mut state) = with_ask(&view.state, Ask::Asked { long_poll }) else {
            return;
        };
        let view = view.spec.id.clone();
        if let State::Running { attempt, .. } | State::Cancelling { attempt, .. } = &mut state {
            attempt.called_at = self.now;
            attempt.called_wait = wait;
            let attempt = attempt.id;
            self.call(
                slot,
                Command::Describe {
                    attempt,
                    view,
                    statement,
                    wait,
                },
            );
        }
        self.set_state(slot, state);
    }

    fn begin_cancel(&mut self, slot: usize) {
        let Some(view) = self.view(slot) else {
            return;
        };
        let State::Running {
            attempt, statement, ..
        } = &view.state
        else {
            return;
        };
        let (mut attempt, statement) = (attempt.clone(), statement.clone());
        let view = view.spec.id.clone();
        attempt.timed_out = true;
        attempt.call_failures = 0;
        self.notice(Notice::TimedOut {
            view,
            attempt: attempt.id,
            statement: statement.clone(),
            limit: attempt.limit,
        });
        let state = State::Cancelling {
            attempt,
            statement,
            ask: Ask::Asked { long_poll: false },
            again_at: self.now,
        };
        self.set_state(slot, state);
        self.send_cancel(slot);
    }

    fn send_cancel(&mut self, slot: usize) {
        let Some(view) = self.view(slot) else {
            return;
        };
        let State::Cancelling {
            attempt, statement, ..
        } = &view.state
        else {
            return;
        };
        let (attempt, statement) = (attempt.clone(), statement.clone());
        let view = view.spec.id.clone();
        self.call(
            slot,
            Command::Cancel {
                attempt: attempt.id,
                view,
                statement: statement.clone(),
            },
        );
        let state = State::Cancelling {
            attempt,
            statement,
            ask: Ask::Asked { long_poll: false },
            again_at: self.now + CANCEL_AGAIN,
        };
        self.set_state(slot, state);
    }

    /// A question about a statement had no answer. It is asked again, ever more slowly.
    fn call_failed(&mut self, slot: usize, failure: Failure, first: Span, most: Span) {
        let seed = self.seed;
        let Some(view) = self.view_mut(slot) else {
            return;
        };
        let name = view.spec.id.clone();
        // The counter of calls is no part of what the indexes are built from.
        let (State::Running { attempt, .. }
        | State::Cancelling { attempt, .. }
        | State::Unsure { attempt, .. }) = &mut view.state
        else {
            return;
        };
        let wait = doubling(first, attempt.call_failures, most);
        attempt.call_failures += 1;
        let (id, calls) = (attempt.id, u64::from(attempt.call_failures));
        view.unanswered = Some(failure.clone());
        let luck = unit_interval(seed, name.as_str(), id.serial() * 1_000 + calls);
        self.notice(Notice::CallFailed {
            view: name,
            attempt: id,
            failure,
        });
        self.ask_again_at(slot, self.now + wait.scale(0.75 + 0.5 * luck));
    }

    fn learn_wait(&mut self, slot: usize, attempt: &Attempt) {
        let elapsed = self.now - attempt.called_at;
        let Some(warehouse) = self.view(slot).map(|view| view.warehouse) else {
            return;
        };
        if let Some(warehouse) = self.warehouses.get_mut(warehouse) {
            warehouse.learn_wait(attempt.called_wait, elapsed);
        }
        if let Some(view) = self.view_mut(slot)
            && let State::Running { attempt, .. } | State::Cancelling { attempt, .. } =
                &mut view.state
        {
            attempt.call_failures = 0;
            view.unanswered = None;
        }
    }

    fn submitting(&self, id: AttemptId) -> Option<(usize, Attempt)> {
        let slot = self.slot_of(id)?;
        match &self.view(slot)?.state {
            State::Submitting { attempt, .. } => Some((slot, attempt.clone())),
            State::Waiting { .. }
            | State::Running { .. }
            | State::Cancelling { .. }
            | State::Unsure { .. }
            | State::Suspended { .. }
            | State::Paused => None,
        }
    }

    fn watched(&self, id: AttemptId) -> Option<(usize, Attempt)> {
        let slot = self.slot_of(id)?;
        match &self.view(slot)?.state {
            State::Running { attempt, .. } | State::Cancelling { attempt, .. } => {
                Some((slot, attempt.clone()))
            }
            State::Waiting { .. }
            | State::Submitting { .. }
            | State::Unsure { .. }
            | State::Suspended { .. }
            | State::Paused => None,
        }
    }

    fn unsure(&self, id: AttemptId) -> Option<(usize, Attempt)> {
        let slot = self.slot_of(id)?;
        match &self.view(slot)?.state {
            State::Unsure { attempt, .. } => Some((slot, attempt.clone())),
            State::Waiting { .. }
            | State::Submitting { .. }
            | State::Running { .. }
            | State::Cancelling { .. }
            | State::Suspended { .. }
            | State::Paused => None,
        }
    }
}

/// How long a submit's fate may stay unasked: nothing else is sent for the view until it is
/// known, so this is as short as the wait after a failure (control law §8). What is asked is
/// shared by the whole warehouse and paced by the shell.
fn patience(view: &View) -> Span {
    let half = view.spec.target_lag / 2;
    half.max(RESOLVE_AFTER).min(RESOLVE_BACKOFF_MAX)
}

/// When describe polling should ask next.
fn poll_at(attempt: &Attempt, now: Timestamp) -> Timestamp {
    let Some(expected) = attempt.expected else {
        let elapsed = now - attempt.submitted_at;
        return now + (elapsed / 2).max(POLL_MIN).min(POLL_MAX);
    };
    let likely = attempt.submitted_at + expected.scale(0.8);
    let step = expected.scale(0.1).max(POLL_MIN).min(POLL_MAX);
    if likely > now { likely } else { now + step }
}

/// The same state with another question pending.
fn with_ask(state: &State, ask: Ask) -> Option<State> {
    match state {
        State::Running {
            attempt,
            statement,
            give_up_at,
            ..
        } => Some(State::Running {
            attempt: attempt.clone(),
            statement: statement.clone(),
            ask,
            give_up_at: *give_up_at,
        }),
        State::Cancelling {
            attempt,
            statement,
            again_at,
            ..
        } => Some(State::Cancelling {
            attempt: attempt.clone(),
            statement: statement.clone(),
            ask,
            again_at: *again_at,
        }),
        State::Unsure { attempt, .. } => Some(State::Unsure {
            attempt: attempt.clone(),
            ask,
        }),
        State::Waiting { .. }
        | State::Submitting { .. }
        | State::Suspended { .. }
        | State::Paused => None,
    }
}

/// A statement that the daemon itself cancelled failed for its length, whatever is said.
fn blame(attempt: &Attempt, failure: Failure) -> Failure {
    if !attempt.timed_out {
        return failure;
    }
    let limit = attempt.limit;
    let message = format!(
        "ran longer than {limit} and was cancelled: {}",
        failure.message
    );
    let mend = "raise statement_timeout, or see what the statement waits for".into();
    Failure {
        class: FailureClass::TimedOut,
        message: message.into(),
        mend: Some(mend),
    }
}
