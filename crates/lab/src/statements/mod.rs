//! Decides what a statement is: its parts, its statuses, what it has read.
//!
//! A statement has one unit, or, as a batch, one per SQL text. Times are [`Moment`]s; the wire
//! turns them into UTC. Deliberately absent: how statements move (that is `engine`).

mod auto;
pub(crate) mod catalog;
pub(crate) mod engine;
mod late;
pub(crate) mod lives;
pub(crate) mod read;
mod run;
mod scan;
pub(crate) mod source;
#[cfg(test)]
mod stress;
mod system;
#[cfg(test)]
mod tests;
mod view;
mod warehouse;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Moment;
use crate::db::Table;
use crate::remote::Position;
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
    /// Named parameters and their values.
    pub(crate) parameters: Vec<(String, String)>,
    /// Who asked: the access key of the request, as the "IAM session".
    pub(crate) session: Option<String>,
}

impl Submission {
    /// Statements and where they run, and nothing that need not be said.
    pub(crate) fn new(
        (warehouse, database): (&str, &str),
        sqls: Vec<String>,
        batch: Option<Mode>,
    ) -> Self {
        Self {
            sqls,
            batch,
            warehouse: warehouse.to_owned(),
            database: database.to_owned(),
            name: None,
            token: None,
            db_user: None,
            secret_arn: None,
            result_format: None,
            parameters: Vec::new(),
            session: None,
        }
    }
}

/// A statement that was accepted.
#[derive(Debug)]
pub(crate) struct Statement {
    pub(crate) id: String,
    pub(crate) asked: Submission,
    /// The warehouse's own: no client sees it.
    pub(crate) auto: bool,
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
    /// `SET enable_case_sensitive_identifier`, for the units after it.
    case_sensitive: bool,
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
    /// What a query has answered.
    pub(crate) result: Option<Table>,
    /// What `SYS_MV_REFRESH_HISTORY` will say of a refresh that succeeds.
    refresh_status: Option<String>,
    /// How long it stood in line for its view's lock.
    lock_wait: Duration,
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
    /// The positions in a stream elsewhere.
    remote: Option<BTreeMap<String, Position>>,
    rows: read::Rows,
    /// A view over others: the versions that its rows, all new, were made from.
    replace: Option<BTreeMap<String, u64>>,
    scan: scan::Scan,
}

impl Statement {
    /// How long it ran, once it has ended.
    pub(crate) fn duration(&self) -> Option<Duration> {
        Some(self.finished?.saturating_sub(self.started?))
    }
}

impl Unit {
    fn new(sql: &str, parameters: &[(String, String)], now: Moment) -> Self {
        let command = crate::sql::parse(&crate::sql::bind(sql, parameters));
        let view = match &command {
            Ok(Command::Refresh(name)) => Some(name.id()),
            Ok(_) | Err(_) => None,
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
            result: None,
            refresh_status: None,
            lock_wait: Duration::ZERO,
            attempt: 0,
            verdict: None,
        }
    }

    /// How long it ran, once it has ended.
    pub(crate) fn duration(&self) -> Option<Duration> {
        Some(self.finished?.saturating_sub(self.started?))
    }

    fn kind(&self) -> &'static str {
        self.command.as_ref().map_or("OTHER", Command::kind)
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
