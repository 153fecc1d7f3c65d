//! The Data API of the virtual world: the core's commands in, its events out.
//!
//! Decides: quotas, client tokens, long polls, and what the faults make of a call.
//! Invariant: every command is answered by exactly one event, or never where the daemon that
//! asked has died.

use tidekeeper_scheduler::{
    AttemptId, Command, DescribeAnswer, Event, Failure, FailureClass, Found, Outcome,
    ResolveAnswer, Span, StatementId, StatementStatus, SubmitAnswer, Timestamp, ViewId,
    WarehouseId,
};

use crate::agenda::Happening;
use crate::scenario::FaultKind;
use crate::trace::{Attempt, AttemptOutcome};
use crate::world::{Fate, Status, Waiter, World};

/// Statements that one warehouse may hold, ended ones aside (Data API limits).
const ACTIVE_MAX: u32 = 500;

/// What becomes of a call before it reaches the warehouse.
enum Refusal {
    NotExecuted(FailureClass),
    MaybeExecuted(FailureClass),
}

impl World {
    pub(crate) fn execute(&mut self, command: Command) {
        match command {
            Command::Scan { warehouse } => self.scan(warehouse),
            Command::Submit {
                attempt,
                view,
                wait,
            } => self.submit(attempt, &view, wait),
            Command::Describe {
                attempt,
                view,
                statement,
                wait,
            } => self.describe(attempt, &view, &statement, wait),
            Command::Cancel {
                attempt,
                view,
                statement,
            } => self.cancel(attempt, &view, &statement),
            Command::Resolve { attempt, view } => self.resolve(attempt, &view),
            Command::Sweep {
                warehouse,
                since,
                asked,
            } => self.sweep(warehouse, since, &asked),
        }
    }

    /// A submit by somebody who does not read the answer. `false` where the API refuses.
    pub(crate) fn submit_and_forget(&mut self, view: usize, token: u64) -> bool {
        let Some(warehouse) = self.views.get(view).map(|view| view.warehouse) else {
            return false;
        };
        if let Some(calls) = self.warehouses.get_mut(warehouse) {
            calls.calls.submit += 1;
        }
        if let Some(refusal) = self.refusal(warehouse, true) {
            let (Refusal::NotExecuted(class) | Refusal::MaybeExecuted(class)) = refusal;
            self.note_refused(view, class);
            return false;
        }
        let life = self.life;
        self.create(view, (life, token));
        true
    }

    fn submit(&mut self, attempt: AttemptId, name: &ViewId, wait: Span) {
        let answered = |answer| Event::Submitted { attempt, answer };
        let Some(&view) = self.view_by_name.get(name.as_str()) else {
            let failure = failure(FailureClass::Permanent);
            let event = answered(SubmitAnswer::NotExecuted(failure));
            return self.plan(
                self.now,
                Happening::Answer {
                    life: self.life,
                    event,
                },
            );
        };
        let Some(warehouse) = self.views.get(view).map(|view| view.warehouse) else {
            return;
        };
        if let Some(warehouse) = self.warehouses.get_mut(warehouse) {
            warehouse.calls.submit += 1;
        }
        let scanned_by = self.warehouses.get(warehouse).and_then(|w| w.scanned_by);
        if scanned_by != Some(self.life) {
            let violation = format!("{name}: submitted before a scan, at {:?}", self.now);
            self.violations.push(violation);
        }
        let token = (self.life, attempt.serial());
        let statements = self.views.get(view).map(|view| &view.statements);
        let known = statements.and_then(|s| s.iter().find(|s| s.token == token).map(|s| s.id));
        if let Some(refusal) = self.refusal(warehouse, true) {
            let answer = match refusal {
                Refusal::NotExecuted(class) => {
                    if known.is_none() {
                        self.note_refused(view, class);
                    }
                    SubmitAnswer::NotExecuted(failure(class))
                }
                Refusal::MaybeExecuted(class) => SubmitAnswer::MaybeExecuted(failure(class)),
            };
            return self.answer(warehouse, answered(answer));
        }
        let full = self
            .warehouses
            .get(warehouse)
            .is_some_and(|w| w.active >= ACTIVE_MAX);
        if known.is_none() && full {
            self.note_refused(view, FailureClass::TooManyStatements);
            let failure = failure(FailureClass::TooManyStatements);
            return self.answer(warehouse, answered(SubmitAnswer::NotExecuted(failure)));
        }
        let statement = known.unwrap_or_else(|| self.create(view, token));
        if self.strikes(warehouse, FaultKind::LostAnswers) {
            let failure = failure(FailureClass::Unreachable);
            return self.answer(warehouse, answered(SubmitAnswer::MaybeExecuted(failure)));
        }
        self.poll(warehouse, view, statement, (attempt, true), wait);
    }

    fn describe(&mut self, attempt: AttemptId, view: &ViewId, id: &StatementId, wait: Span) {
        let Some((view, warehouse, statement)) = self.find(view, id) else {
            let answer = DescribeAnswer::Gone(failure(FailureClass::Unknown));
            let event = Event::Described { attempt, answer };
            return self.plan(
                self.now,
                Happening::Answer {
                    life: self.life,
                    event,
                },
            );
        };
        if let Some(warehouse) = self.warehouses.get_mut(warehouse) {
            warehouse.calls.describe += 1;
        }
        if let Some(failure) = self.question_fails(warehouse) {
            let answer = DescribeAnswer::CallFailed(failure);
            return self.answer(warehouse, Event::Described { attempt, answer });
        }
        self.poll(warehouse, view, statement, (attempt, false), wait);
    }

    /// Answers when the statement ends, at the end of the wait at the latest.
    fn poll(
        &mut self,
        warehouse: usize,
        view: usize,
        statement: u64,
        (attempt, submit): (AttemptId, bool),
        wait: Span,
    ) {
        let active = self
            .statement_mut(view, statement)
            .is_some_and(|s| s.active());
        let ignored = self.fault(warehouse, FaultKind::IgnoreWait, "").is_some();
        if !active || ignored || wait <= Span::ZERO {
            return self.answer_status(view, statement, attempt, submit);
        }
        let until = self.now + wait;
        let waiter = Waiter {
            attempt,
            submit,
            until,
            planned: false,
        };
        self.wait_for(view, statement, waiter);
    }

    /// Tells the daemon how a statement stands.
    pub(crate) fn answer_status(
        &mut self,
        view: usize,
        statement: u64,
        attempt: AttemptId,
        submit: bool,
    ) {
        let Some(warehouse) = self.views.get(view).map(|view| view.warehouse) else {
            return;
        };
        let status = match self.statement_mut(view, statement).map(|s| s.status) {
            Some(Status::Submitted { .. } | Status::Started { .. }) | None => {
                StatementStatus::Running
            }
            Some(Status::Ended { at, fate }) => {
                let records = self.warehouses.get(warehouse).map(|w| w.keeps_records);
                ended(at, fate, records == Some(true))
            }
        };
        let event = if submit {
            Event::Submitted {
                attempt,
                answer: SubmitAnswer::Accepted {
                    statement: StatementId::from(statement.to_string()),
                    status,
                },
            }
        } else {
            Event::Described {
                attempt,
                answer: DescribeAnswer::Status(status),
            }
        };
        self.answer(warehouse, event);
    }

    fn cancel(&mut self, attempt: AttemptId, view: &ViewId, id: &StatementId) {
        let Some((view, warehouse, statement)) = self.find(view, id) else {
            let result = Err(failure(FailureClass::Unknown));
            let event = Event::Cancelled { attempt, result };
            return self.plan(
                self.now,
                Happening::Answer {
                    life: self.life,
                    event,
                },
            );
        };
        if let Some(warehouse) = self.warehouses.get_mut(warehouse) {
            warehouse.calls.cancel += 1;
        }
        let failed = self.question_fails(warehouse);
        let active = self
            .statement_mut(view, statement)
            .is_some_and(|s| s.active());
        let result = match failed {
            Some(failure) => Err(failure),
            // "Could not cancel a query that is already in FINISHED state".
            None if !active => Err(failure(FailureClass::Unknown)),
            None => {
                self.end(view, statement, Fate::Failed(FailureClass::Cancelled));
                Ok(())
            }
        };
        self.answer(warehouse, Event::Cancelled { attempt, result });
    }

    fn resolve(&mut self, attempt: AttemptId, name: &ViewId) {
        let Some(&view) = self.view_by_name.get(name.as_str()) else {
            let answer = ResolveAnswer::NotRunning;
            let event = Event::Resolved { attempt, answer };
            return self.plan(
                self.now,
                Happening::Answer {
                    life: self.life,
                    event,
                },
            );
        };
        let Some(warehouse) = self.views.get(view).map(|view| view.warehouse) else {
            return;
        };
        if let Some(warehouse) = self.warehouses.get_mut(warehouse) {
            warehouse.calls.list += 1;
        }
        let token = (self.life, attempt.serial());
        let answer = if let Some(failure) = self.question_fails(warehouse) {
            ResolveAnswer::CallFailed(failure)
        } else {
            let mut statements = self
                .views
                .iter()
                .skip(view)
                .take(1)
                .flat_map(|v| &v.statements);
            let running = statements.find(|s| s.token == token && s.active());
            running.map_or(ResolveAnswer::NotRunning, |statement| {
                ResolveAnswer::Found {
                    statement: StatementId::from(statement.id.to_string()),
                }
            })
        };
        self.answer(warehouse, Event::Resolved { attempt, answer });
    }

    /// Lists what earlier lives have left running.
    fn scan(&mut self, name: WarehouseId) {
        let Some(&index) = self.warehouse_by_name.get(name.as_str()) else {
            let result = Err(failure(FailureClass::Permanent));
            let event = Event::Scanned {
                warehouse: name,
                result,
            };
            return self.plan(
                self.now,
                Happening::Answer {
                    life: self.life,
                    event,
                },
            );
        };
        if let Some(warehouse) = self.warehouses.get_mut(index) {
            warehouse.calls.list += 1;
        }
        let life = self.life;
        let result = if let Some(failure) = self.question_fails(index) {
            Err(failure)
        } else {
            let mut found = Vec::new();
            for view in self.views.iter().filter(|view| view.warehouse == index) {
                let active = view.statements.iter().filter(|s| s.active());
                let foreign = active.filter(|statement| statement.token.0 != life);
                found.extend(foreign.map(|statement| Found {
                    view: ViewId::from(view.name.as_str()),
                    statement: StatementId::from(statement.id.to_string()),
                    created_at: statement.submitted_at,
                }));
            }
            if let Some(warehouse) = self.warehouses.get_mut(index) {
                warehouse.scanned_by = Some(life);
            }
            Ok(found)
        };
        let event = Event::Scanned {
            warehouse: name,
            result,
        };
        self.answer(index, event);
    }

    fn find(&self, view: &ViewId, id: &StatementId) -> Option<(usize, usize, u64)> {
        let index = *self.view_by_name.get(view.as_str())?;
        let id: u64 = id.as_str().parse().ok()?;
        let view = self.views.get(index)?;
        view.statements
            .iter()
            .find(|statement| statement.id == id)?;
        Some((index, view.warehouse, id))
    }

    fn refusal(&mut self, warehouse: usize, submit: bool) -> Option<Refusal> {
        use Refusal::{MaybeExecuted, NotExecuted};
        if self.strikes(warehouse, FaultKind::Unreachable) {
            return Some(NotExecuted(FailureClass::Unreachable));
        }
        if self.over_quota(warehouse, submit) || self.strikes(warehouse, FaultKind::Throttle) {
            return Some(NotExecuted(FailureClass::Throttled));
        }
        if submit && self.strikes(warehouse, FaultKind::Away) {
            return Some(NotExecuted(FailureClass::Away));
        }
        // Whoever reads a 500 cannot know whether it was carried out.
        self.strikes(warehouse, FaultKind::ServerErrors)
            .then_some(MaybeExecuted(FailureClass::Transient))
    }

    pub(crate) fn question_fails(&mut self, warehouse: usize) -> Option<Failure> {
        self.refusal(warehouse, false).map(|refusal| {
            let (Refusal::NotExecuted(class) | Refusal::MaybeExecuted(class)) = refusal;
            failure(class)
        })
    }

    fn strikes(&mut self, warehouse: usize, kind: FaultKind) -> bool {
        let share = self.fault(warehouse, kind, "").map(|fault| fault.share);
        let warehouse = self.warehouses.get_mut(warehouse);
        share.is_some_and(|share| warehouse.is_some_and(|w| w.dice.happens(share)))
    }

    fn over_quota(&mut self, warehouse: usize, submit: bool) -> bool {
        let second = (self.now - Timestamp::default()).as_micros() / 1_000_000;
        let Some(warehouse) = self.warehouses.get_mut(warehouse).filter(|_| submit) else {
            return false;
        };
        if warehouse.quota.0 != second {
            warehouse.quota = (second, 0.0);
        }
        warehouse.quota.1 += 1.0;
        warehouse.quota.1 > warehouse.submit_quota
    }

    /// A submit that the API refused is an attempt too.
    fn note_refused(&mut self, view: usize, class: FailureClass) {
        let now = self.now;
        let data = self.views.get(view).map_or(now, |view| view.data_at);
        self.ended.push(Attempt {
            view,
            submit: now,
            start: now,
            finish: now,
            data,
            oldest: None,
            bytes: 0,
            outcome: AttemptOutcome::Failed(class),
            ran: false,
        });
    }

    pub(crate) fn answer(&mut self, warehouse: usize, event: Event) {
        let latency = self
            .warehouses
            .get(warehouse)
            .map_or(Span::ZERO, |w| w.api_latency);
        let life = self.life;
        self.plan(self.now + latency, Happening::Answer { life, event });
    }
}

fn ended(at: Timestamp, fate: Fate, untold: bool) -> StatementStatus {
    let finished = |outcome| StatementStatus::Finished {
        at: Some(at),
        outcome,
    };
    match fate {
        Fate::NoData | Fate::MoreData(_) if untold => finished(Outcome::Data),
        Fate::Data => finished(Outcome::Data),
        Fate::NoData => finished(Outcome::NoData),
        Fate::MoreData(up_to) => finished(Outcome::MoreData { up_to: Some(up_to) }),
        Fate::Failed(class) => StatementStatus::Failed(failure(class)),
    }
}

fn failure(class: FailureClass) -> Failure {
    Failure::new(class, class.label())
}
