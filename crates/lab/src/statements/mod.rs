//! Decides what a statement is: its parts, its statuses, what it has read.
//!
//! A statement has one unit, or, as a batch, one per SQL text. Times are [`Moment`]s; the wire
//! turns them into UTC. Deliberately absent: how statements move (that is `engine`).

pub(crate) mod engine;
mod run;
#[cfg(test)]
mod stress;
#[cfg(test)]
mod tests;
mod view;

use std::time::Duration;

use crate::clock::Moment;
use crate::sql::Command;
use crate::streams::Stretch;

/// The Data API's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Status {
    Submitted,
    Picked,
    Started,
    Finished,
    Failed,
    Aborted,
}

impl Status {
    pub(crate) const ALL: [Self; 6] = [
        Self::Submitted,
        Self::Picked,
        Self::Started,
        Self::Finished,
        Self::Failed,
        Self::Aborted,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Submitted => "SUBMITTED",
            Self::Picked => "PICKED",
            Self::Started => "STARTED",
            Self::Finished => "FINISHED",
            Self::Failed => "FAILED",
            Self::Aborted => "ABORTED",
        }
    }

    pub(crate) const fn is_terminal(self) -> bool {
        matches!(self, Self::Finished | Self::Failed | Self::Aborted)
    }
}

/// How the statements of a batch are committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Transaction,
    AutoCommit,
}

impl Mode {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Transaction => "TRANSACTION",
            Self::AutoCommit => "AUTO_COMMIT",
        }
    }
}

/// What a client hands in.
#[derive(Debug, Clone)]
pub(crate) struct Submission {
    pub(crate) sqls: Vec<String>,
    /// None for `ExecuteStatement`.
    pub(crate) batch: Option<Mode>,
    pub(crate) warehouse: String,
    pub(crate) database: String,
    pub(crate) name: Option<String>,
    pub(crate) token: Option<String>,
    pub(crate) db_user: Option<String>,
    pub(crate) secret_arn: Option<String>,
    pub(crate) result_format: Option<String>,
    /// Who asked: the access key of the request, as the "IAM session".
    pub(crate) session: Option<String>,
}

/// A statement that was accepted.
#[derive(Debug)]
pub(crate) struct Statement {
    pub(crate) id: String,
    pub(crate) asked: Submission,
    /// The database user that it runs as.
    pub(crate) user: String,
    pub(crate) status: Status,
    pub(crate) created: Moment,
    pub(crate) updated: Moment,
    pub(crate) started: Option<Moment>,
    pub(crate) finished: Option<Moment>,
    pub(crate) pid: Option<i64>,
    pub(crate) error: Option<String>,
    pub(crate) units: Vec<Unit>,
    /// The unit that runs, or the next one.
    current: usize,
    /// `SET statement_timeout`, for the units after it.
    timeout: Option<Duration>,
    /// Which try at moving on is the latest; older appointments are void.
    run: u64,
    /// Reads that are not committed yet.
    staged: Vec<Staged>,
    /// Views whose locks it holds.
    locks: Vec<String>,
    /// The view whose lock it waits for.
    waits_for: Option<String>,
}

/// One SQL text of a statement.
#[derive(Debug)]
pub(crate) struct Unit {
    pub(crate) sql: String,
    command: Result<Command, String>,
    /// `schema.view` as the text names it, for a refresh.
    pub(crate) view: Option<String>,
    pub(crate) status: Status,
    pub(crate) updated: Moment,
    pub(crate) started: Option<Moment>,
    pub(crate) finished: Option<Moment>,
    pub(crate) query_id: Option<i64>,
    pub(crate) error: Option<String>,
    pub(crate) read: Option<Read>,
    /// Which refresh of its view it is, from 1.
    attempt: u64,
    /// The error that it will end with, where that is settled before its time is up.
    verdict: Option<String>,
}

/// What a refresh has read, and up to when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Read {
    pub(crate) at: Moment,
    pub(crate) bytes: u64,
    pub(crate) records: u64,
}

#[derive(Debug)]
struct Staged {
    view: String,
    unit: usize,
    stretches: Vec<Stretch>,
}

impl Statement {
    /// How long it ran, once it has ended.
    pub(crate) fn duration(&self) -> Option<Duration> {
        Some(self.finished?.saturating_sub(self.started?))
    }
}

impl Unit {
    fn new(sql: &str, now: Moment) -> Self {
        let command = crate::sql::parse(sql);
        let view = match &command {
            Ok(Command::Refresh(name)) => Some(name.id()),
            Ok(Command::Set(_)) | Err(_) => None,
        };
        Self {
            sql: sql.to_owned(),
            command,
            view,
            status: Status::Submitted,
            updated: now,
            started: None,
            finished: None,
            query_id: None,
            error: None,
            read: None,
            attempt: 0,
            verdict: None,
        }
    }

    /// How long it ran, once it has ended.
    pub(crate) fn duration(&self) -> Option<Duration> {
        Some(self.finished?.saturating_sub(self.started?))
    }

    fn settle(&mut self, status: Status, error: Option<String>, now: Moment) {
        self.status = status;
        self.error = error;
        self.updated = now;
        self.finished = Some(now);
        if status != Status::Finished {
            self.read = None;
        }
    }
}
