//! Decides how a statement moves from SUBMITTED to its end: slots, units, view locks, reads
//! and commits.
//!
//! A refresh is STARTED while it queues for its view's lock, and reads only once it has it:
//! two refreshes of one view overlap in the history, and still read every record once.
//! Invariants: locks and slots are given back on every way out; nothing uncommitted stays.

use std::time::Duration;

use super::engine::{Engine, Event};
use super::{Mode, Status};
use crate::clock::Moment;
use crate::sql::{Command, Setting, ViewName};
use crate::world::ViewFaultKind;

/// How long a statement takes that does nothing but fail or set something.
const QUICK: Duration = Duration::from_millis(5);

/// Process ids count up from here, as large as Redshift's are.
const FIRST_PID: i64 = 1_073_741_824;

impl Engine {
    pub(super) fn pick(&mut self, number: u64, at: Moment) {
        let Some(statement) = self.statements.get_mut(&number) else {
            return;
        };
        statement.status = Status::Picked;
        statement.updated = at;
        for unit in &mut statement.units {
            unit.status = Status::Picked;
            unit.updated = at;
        }
        let name = &statement.asked.warehouse;
        let delay = self
            .warehouses
            .get(name)
            .map(|w| w.spec.start_delay())
            .unwrap_or_default();
        self.appoint(at + delay, Event::Ready(number));
    }

    /// The connection is made: the statement may run as soon as there is a slot.
    pub(super) fn ready(&mut self, number: u64, at: Moment) {
        let Some(statement) = self.statements.get(&number) else {
            return;
        };
        let name = statement.asked.warehouse.clone();
        let database = statement.asked.database.clone();
        let Some(warehouse) = self.warehouses.get_mut(&name) else {
            return;
        };
        if !warehouse.spec.databases.contains(&database) {
            let text = format!("FATAL: database \"{database}\" does not exist");
            if let Some(statement) = self.statements.get_mut(&number)
                && let Some(unit) = statement.units.first_mut()
            {
                unit.settle(Status::Failed, Some(text.clone()), at);
            }
            return self.conclude(number, Status::Failed, Some(text), at);
        }
        warehouse.queue.push_back(number);
        self.dispatch(&name, at);
    }

    fn dispatch(&mut self, warehouse: &str, at: Moment) {
        while let Some(state) = self.warehouses.get_mut(warehouse)
            && state.running.len() < state.spec.slots()
            && let Some(number) = state.queue.pop_front()
        {
            state.running.insert(number);
            let Some(statement) = self.statements.get_mut(&number) else {
                continue;
            };
            statement.status = Status::Started;
            statement.started = Some(at);
            statement.updated = at;
            statement.pid = i64::try_from(number).ok().map(|number| FIRST_PID + number);
            self.run_unit(number, at);
        }
    }

    /// Runs the current unit; without one, the statement is finished.
    fn run_unit(&mut self, number: u64, at: Moment) {
        let Some(statement) = self.statements.get_mut(&number) else {
            return;
        };
        statement.run += 1;
        let run = statement.run;
        let Some(unit) = statement.units.get_mut(statement.current) else {
            return self.complete(number, at);
        };
        self.queries += 1;
        unit.query_id = Some(self.queries);
        unit.status = Status::Started;
        unit.started = Some(at);
        unit.updated = at;
        let command = unit.command.clone();
        if let Ok(Command::Set(setting)) = &command {
            match setting {
                Setting::StatementTimeout(timeout) => statement.timeout = *timeout,
                Setting::CaseSensitive(on) => statement.case_sensitive = *on,
                Setting::Other => {}
            }
        } else if let Some(timeout) = statement.timeout {
            self.appoint(
                at + timeout,
                Event::TimedOut {
                    statement: number,
                    run,
                },
            );
        }
        let verdict = match command {
            Err(text) => Some(text),
            Ok(Command::Set(_)) => None,
            Ok(Command::Refresh(name)) => match self.admit(number, &name, at) {
                Ok(true) => return self.read(number, &name.id(), at),
                Ok(false) => return,
                Err(text) => Some(text),
            },
            Ok(command) => self.run_at_once(number, &command, at).err(),
        };
        self.end_unit_at(number, at + QUICK, verdict);
    }

    /// Runs what needs no lock and no stream, and keeps its result.
    fn run_at_once(&mut self, number: u64, command: &Command, at: Moment) -> Result<(), String> {
        self.streams.fill(at);
        let Some(caller) = self.caller(number) else {
            return Ok(());
        };
        let sql = self
            .statements
            .get(&number)
            .and_then(|statement| statement.units.get(statement.current))
            .map(|unit| unit.sql.clone())
            .unwrap_or_default();
        let result = self.execute(&caller, command, &sql, at)?;
        if let Some(statement) = self.statements.get_mut(&number)
            && let Some(unit) = statement.units.get_mut(statement.current)
        {
            unit.result = result;
        }
        Ok(())
    }

    pub(super) fn end_unit_at(&mut self, number: u64, at: Moment, verdict: Option<String>) {
        let Some(statement) = self.statements.get_mut(&number) else {
            return;
        };
        if let Some(unit) = statement.units.get_mut(statement.current) {
            unit.verdict = verdict;
        }
        let run = statement.run;
        self.appoint(
            at,
            Event::UnitEnds {
                statement: number,
                run,
            },
        );
    }

    /// Checks a refresh and asks for its view's lock: true when it has it, false when it
    /// queues for it.
    fn admit(&mut self, number: u64, name: &ViewName, at: Moment) -> Result<bool, String> {
        let schema_known = self
            .caller(number)
            .is_some_and(|caller| self.schema_exists(&caller, &name.schema));
        let Some(statement) = self.statements.get_mut(&number) else {
            return Ok(false);
        };
        let id = name.id();
        let database = &statement.asked.database;
        if let Some(other) = name.database.as_ref().filter(|other| *other != database) {
            return Err(format!(
                "ERROR: cross-database reference to database \"{other}\" is not supported"
            ));
        }
        let warehouse = &statement.asked.warehouse;
        if !schema_known {
            return Err(format!("ERROR: schema \"{}\" does not exist", name.schema));
        }
        let missing = format!("ERROR: relation \"{id}\" does not exist");
        let known = self
            .views
            .get_mut(&id)
            .filter(|state| state.lives_in(warehouse, database));
        let Some(view) = known else {
            return Err(missing);
        };
        view.attempts += 1;
        let attempt = view.attempts;
        if let Some(unit) = statement.units.get_mut(statement.current) {
            unit.attempt = attempt;
        }
        if view
            .view
            .faults(attempt, at)
            .any(|f| matches!(f, ViewFaultKind::Missing))
        {
            return Err(missing);
        }
        if view
            .view
            .owner
            .as_ref()
            .is_some_and(|owner| *owner != statement.user)
        {
            return Err(format!(
                "ERROR: must be owner of materialized view {}",
                name.view
            ));
        }
        if view.acquire(number) {
            if !statement.locks.contains(&id) {
                statement.locks.push(id);
            }
            return Ok(true);
        }
        statement.waits_for = Some(id.clone());
        if self.deadlocked(number) {
            self.stop_waiting(number);
            return Err("ERROR: deadlock detected".to_owned());
        }
        Ok(false)
    }

    /// Whether the statement waits, through a chain of holders, for itself.
    fn deadlocked(&self, number: u64) -> bool {
        let mut at = number;
        for _ in 0..=self.views.len() {
            let waits_for = self.statements.get(&at).and_then(|s| s.waits_for.as_ref());
            let Some(holder) = waits_for
                .and_then(|id| self.views.get(id))
                .and_then(super::view::ViewState::holder)
            else {
                return false;
            };
            if holder == number {
                return true;
            }
            at = holder;
        }
        false
    }

    fn stop_waiting(&mut self, number: u64) {
        if let Some(statement) = self.statements.get_mut(&number)
            && let Some(id) = statement.waits_for.take()
            && let Some(view) = self.views.get_mut(&id)
        {
            view.release(number);
        }
    }

    pub(super) fn end_unit(&mut self, number: u64, at: Moment) {
        let Some(statement) = self.statements.get_mut(&number) else {
            return;
        };
        let Some(unit) = statement.units.get_mut(statement.current) else {
            return;
        };
        let verdict = unit.verdict.take();
        let status = if verdict.is_some() {
            Status::Failed
        } else {
            Status::Finished
        };
        unit.settle(status, verdict.clone(), at);
        let ended = statement.current;
        statement.current += 1;
        self.ended.push(number);
        let mode = statement.asked.batch;
        self.write_end(number, ended);
        if verdict.is_some() {
            self.roll_back(number, at);
            if mode != Some(Mode::AutoCommit) {
                return self.conclude(number, Status::Failed, verdict, at);
            }
        } else if mode != Some(Mode::Transaction) {
            self.commit(number, at);
        }
        self.run_unit(number, at);
    }

    /// The system views' rows of a unit that has ended by itself.
    fn write_end(&mut self, number: u64, ended: usize) {
        let unit = self
            .statements
            .get(&number)
            .and_then(|statement| statement.units.get(ended));
        let Some(unit) = unit else { return };
        // The documented texts say of a refresh that could not read only this much.
        let failed = "Refresh failed due to an internal error";
        let status = match unit.status {
            Status::Finished => unit.refresh_status.clone(),
            Status::Failed => Some(failed.to_owned()),
            Status::Submitted | Status::Picked | Status::Started | Status::Aborted => None,
        };
        self.write_history(number, ended, status.as_deref());
    }

    pub(super) fn time_out(&mut self, number: u64, at: Moment) {
        self.stop_waiting(number);
        if let Some(statement) = self.statements.get_mut(&number)
            && let Some(unit) = statement.units.get_mut(statement.current)
        {
            // Redshift's words for a statement_timeout; a person's cancel has two l.
            let query = unit.query_id.unwrap_or_default();
            unit.verdict = Some(format!(
                "ERROR:  Query ({query}) canceled on user's request"
            ));
        }
        self.end_unit(number, at);
    }

    pub(super) fn abort(&mut self, number: u64, at: Moment) {
        let Some(statement) = self.statements.get_mut(&number) else {
            return;
        };
        if statement.status != Status::Started {
            return;
        }
        let mut text = None;
        let current = statement.current;
        if let Some(unit) = statement.units.get_mut(current) {
            let query = unit.query_id.unwrap_or_default();
            text = Some(format!(
                "ERROR:  Query ({query}) cancelled on user's request"
            ));
            unit.settle(Status::Aborted, text.clone(), at);
        }
        self.write_history(number, current, None);
        self.stop_waiting(number);
        self.roll_back(number, at);
        self.conclude(number, Status::Aborted, text, at);
    }

    /// Every unit is through.
    fn complete(&mut self, number: u64, at: Moment) {
        self.commit(number, at);
        let Some(statement) = self.statements.get(&number) else {
            return;
        };
        // Of an AUTO_COMMIT batch with failures AWS says only that the others are not
        // affected; the lab calls the whole FAILED, with the first error.
        let failed = statement
            .units
            .iter()
            .find(|unit| unit.status == Status::Failed);
        match failed.map(|unit| unit.error.clone()) {
            Some(error) => self.conclude(number, Status::Failed, error, at),
            None => self.conclude(number, Status::Finished, None, at),
        }
    }

    /// Makes everything visible that the statement has read.
    fn commit(&mut self, number: u64, at: Moment) {
        let Some(statement) = self.statements.get_mut(&number) else {
            return;
        };
        let staged = std::mem::take(&mut statement.staged);
        self.commit_all(number, &staged, at);
        self.unlock(number, at);
    }

    fn roll_back(&mut self, number: u64, at: Moment) {
        let Some(statement) = self.statements.get_mut(&number) else {
            return;
        };
        for staged in std::mem::take(&mut statement.staged) {
            if let Some(unit) = statement.units.get_mut(staged.unit) {
                unit.read = None;
            }
        }
        self.unlock(number, at);
    }

    fn unlock(&mut self, number: u64, at: Moment) {
        let Some(statement) = self.statements.get_mut(&number) else {
            return;
        };
        for id in std::mem::take(&mut statement.locks) {
            let next = self
                .views
                .get_mut(&id)
                .and_then(|view| view.release(number));
            let Some(next) = next else { continue };
            if let Some(waiting) = self.statements.get_mut(&next) {
                waiting.waits_for = None;
                waiting.locks.push(id.clone());
                if let Some(unit) = waiting.units.get_mut(waiting.current) {
                    unit.lock_wait = at.saturating_sub(unit.started.unwrap_or(at));
                }
            }
            self.read(next, &id, at);
        }
    }

    /// Ends a statement: what has not run is ABORTED, the slot goes to the next.
    fn conclude(&mut self, number: u64, status: Status, error: Option<String>, at: Moment) {
        let Some(statement) = self.statements.get_mut(&number) else {
            return;
        };
        statement.status = status;
        statement.error = error;
        statement.updated = at;
        statement.finished = Some(at);
        for unit in &mut statement.units {
            if !unit.status.is_terminal() {
                unit.settle(Status::Aborted, None, at);
            }
        }
        self.ended.push(number);
        let name = statement.asked.warehouse.clone();
        if let Some(warehouse) = self.warehouses.get_mut(&name) {
            if let Some(started) = statement.started {
                warehouse.worked(started, at);
            }
            warehouse.running.remove(&number);
            if !statement.auto {
                warehouse.active = warehouse.active.saturating_sub(1);
            }
        }
        self.dispatch(&name, at);
    }
}
