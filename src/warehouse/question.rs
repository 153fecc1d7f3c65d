//! Running a statement that is no refresh, and reading what it answers.
//!
//! Decides: how an answer is waited for and paged, and what its values are. One question is
//! one statement, or a batch when settings go before it. Deliberately absent: what is asked,
//! and asking again.

use std::sync::atomic::Ordering;
use std::time::Duration;

use aws_sdk_redshiftdata::operation::describe_statement::DescribeStatementOutput;
use aws_sdk_redshiftdata::types::{ExecutionMode, Field, StatusString};
use tidekeeper_scheduler::{Failure, FailureClass, Span, StatementId};

use super::classify::{self, CallFailure, Stage};
use super::client::{ANSWER_GRACE, Client, answer_within};
use super::{Auth, Target, names};
use crate::clock::span;

/// How long one call asks the endpoint to wait.
const WAIT: Span = Span::from_secs(20);
/// Between two looks at a statement, the second twice the first and so on: not every endpoint
/// waits, and the account's quota is others' too.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Looks that may fail one after the other.
const FAILED_LOOKS_MAX: u32 = 5;
/// Pages of a result that are read.
const PAGES_MAX: usize = 1_000;

/// A statement, and how long its answer may take, from the submit to the last page.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    pub sql: &'a str,
    /// `SET` statements that go before it.
    pub settings: &'a [String],
    pub database: &'a str,
    pub auth: &'a Auth,
    pub limit: Duration,
}

/// A value as the Data API types it.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Long(i64),
    Double(f64),
    Text(String),
}

impl Value {
    /// Its text, without the blanks that `char` columns are padded with.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Null => String::new(),
            Self::Bool(value) => value.to_string(),
            Self::Long(value) => value.to_string(),
            Self::Double(value) => value.to_string(),
            Self::Text(text) => text.trim_end().to_owned(),
        }
    }
}

/// What a query answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// Names and types, as the API names them.
    pub columns: Vec<(String, String)>,
    pub rows: Vec<Vec<Value>>,
}

impl Rows {
    /// A value by its column's name; `None` where there is no such column.
    #[must_use]
    pub fn value<'a>(&self, row: &'a [Value], column: &str) -> Option<&'a Value> {
        let index = self.columns.iter().position(|(name, _)| name == column)?;
        row.get(index)
    }

    /// Its text; empty where there is no such column.
    #[must_use]
    pub fn text(&self, row: &[Value], column: &str) -> String {
        self.value(row, column).map(Value::text).unwrap_or_default()
    }
}

impl Client {
    /// Runs a statement to its end, and reads its result if it has one.
    ///
    /// # Errors
    /// Why it could not be run, or failed; a statement that is not through in time is
    /// cancelled.
    pub async fn question(&self, question: &Question<'_>) -> Result<Rows, Failure> {
        self.run(question).await.map_err(|call| call.failure)
    }

    async fn run(&self, question: &Question<'_>) -> Result<Rows, CallFailure> {
        self.check_region()?;
        let mut sent = None;
        let answer = self.answer(question, &mut sent);
        if let Ok(answer) = tokio::time::timeout(question.limit, answer).await {
            return answer;
        }
        let told = match sent {
            None => "its submit was not answered".to_owned(),
            Some(id) => match self.cancel(&id).await {
                Ok(()) => "it was cancelled".to_owned(),
                Err(failure) => format!("its cancel failed: {}", failure.message),
            },
        };
        let text = format!(
            "the statement was not through after {} s; {told}",
            question.limit.as_secs()
        );
        Err(refused(FailureClass::TimedOut, &text))
    }

    /// From the submit to the last page of the result. The statement's id is put down as soon
    /// as it is known, for whoever gives the answer up.
    async fn answer(
        &self,
        question: &Question<'_>,
        under_way: &mut Option<StatementId>,
    ) -> Result<Rows, CallFailure> {
        let name = self.question_name();
        // The id comes with the answer to the submit: in time for a cancel.
        let wait = self.seconds(WAIT.min(span(question.limit) / 2));
        let mut sent = self.put(question, &name, wait).await;
        if matches!(&sent, Err(failure) if failure.refuses_wait) {
            self.refuses_wait.store(true, Ordering::Relaxed);
            sent = self.put(question, &name, None).await;
        }
        let sent = sent?;
        let id = StatementId::from(sent.id);
        *under_way = Some(id.clone());
        let ended = match sent.ended {
            Some(ended) => ended.result,
            None => self.ended(&id).await?,
        };
        match ended {
            Some(result) => self.result(&result).await,
            None => Ok(Rows::default()),
        }
    }

    /// Not a view's: the adoption scan passes over it.
    fn question_name(&self) -> String {
        let serial = self.asked.fetch_add(1, Ordering::Relaxed);
        format!("{}question/{}-{serial}q", self.prefix, self.life.boot)
    }

    async fn put(
        &self,
        question: &Question<'_>,
        name: &str,
        wait: Option<i32>,
    ) -> Result<Sent, CallFailure> {
        let token = names::client_token(name);
        let sent_at = (self.life.now)();
        let (id, ended) = if question.settings.is_empty() {
            let mut call = self
                .api
                .execute_statement()
                .sql(question.sql)
                .database(question.database)
                .statement_name(name)
                .client_token(token)
                .set_wait_time_seconds(wait);
            call = match &self.settings.target {
                Target::Cluster(cluster) => call.cluster_identifier(cluster),
                Target::Workgroup(workgroup) => call.workgroup_name(workgroup),
            };
            call = match question.auth {
                Auth::Iam => call,
                Auth::DbUser(user) => call.db_user(user),
                Auth::Secret(arn) => call.secret_arn(arn),
            };
            let within = answer_within(wait, ANSWER_GRACE);
            let sent = call.customize().config_override(within).send();
            let output = self.counted("ExecuteStatement", sent.await)?;
            self.learn_offset(name, sent_at, output.created_at());
            let status = output.status().map_or("", |status| status.as_str());
            // A failure's text costs a question.
            let ended = classify::stage(status) == Stage::Finished;
            let id = output.id().map(ToOwned::to_owned);
            let result = id.clone().filter(|_| output.has_result_set() == Some(true));
            (id, ended.then_some(Ended { result }))
        } else {
            let mut call = self
                .api
                .batch_execute_statement()
                .execution_mode(ExecutionMode::AutoCommit)
                .set_sqls(Some(question.settings.to_vec()))
                .sqls(question.sql)
                .database(question.database)
                .statement_name(name)
                .client_token(token)
                .set_wait_time_seconds(wait);
            call = match &self.settings.target {
                Target::Cluster(cluster) => call.cluster_identifier(cluster),
                Target::Workgroup(workgroup) => call.workgroup_name(workgroup),
            };
            call = match question.auth {
                Auth::Iam => call,
                Auth::DbUser(user) => call.db_user(user),
                Auth::Secret(arn) => call.secret_arn(arn),
            };
            let within = answer_within(wait, ANSWER_GRACE);
            let sent = call.customize().config_override(within).send();
            let output = self.counted("BatchExecuteStatement", sent.await)?;
            (output.id().map(ToOwned::to_owned), None)
        };
        let id = id.ok_or_else(|| classify::unreadable("it names no statement"))?;
        Ok(Sent { id, ended })
    }

    /// Waits for the end; the id under which the result is, if there is one.
    async fn ended(&self, id: &StatementId) -> Result<Option<String>, CallFailure> {
        let mut pause = FIRST_PAUSE;
        let mut failed = 0;
        loop {
            match self.look(id).await {
                Ok(output) => {
                    failed = 0;
                    if let Some(ended) = end(id, &output)? {
                        return Ok(ended.result);
                    }
                }
                // The statement runs on: what is not known yet is asked again.
                Err(call) if passing(&call) && failed < FAILED_LOOKS_MAX => failed += 1,
                Err(call) => return Err(call),
            }
            tokio::time::sleep(pause).await;
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    }

    /// How a statement stands; without a wait where the endpoint refuses one.
    async fn look(&self, id: &StatementId) -> Result<DescribeStatementOutput, CallFailure> {
        let answer = self.ask(id, self.seconds(WAIT)).await;
        match answer {
            Err(call) if call.refuses_wait => self.ask(id, None).await,
            Ok(_) | Err(_) => answer,
        }
    }

    async fn result(&self, id: &str) -> Result<Rows, CallFailure> {
        let mut rows = Rows::default();
        let mut next = None;
        for _ in 0..PAGES_MAX {
            self.limits.result.turn((self.life.now)()).await;
            let call = self.api.get_statement_result().id(id).set_next_token(next);
            let within = answer_within(None, ANSWER_GRACE);
            let sent = call.customize().config_override(within).send();
            let page = self.counted("GetStatementResult", sent.await)?;
            if rows.columns.is_empty() {
                let column = |column: &aws_sdk_redshiftdata::types::ColumnMetadata| {
                    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
                    (text(column.name()), text(column.type_name()))
                };
                rows.columns = page.column_metadata().iter().map(column).collect();
            }
            let records = page.records().iter();
            rows.rows
                .extend(records.map(|record| record.iter().map(value).collect()));
            next = page.next_token().map(ToOwned::to_owned);
            if next.is_none() {
                return Ok(rows);
            }
        }
        let text = format!("the result has more than {PAGES_MAX} pages");
        Err(refused(FailureClass::Unknown, &text))
    }
}

/// A statement that was sent, and its end where that was told at once.
struct Sent {
    id: String,
    ended: Option<Ended>,
}

/// A statement that is through, and under which id its result is.
struct Ended {
    result: Option<String>,
}

/// `None` while it runs. A batch is as good as its last statement.
fn end(id: &StatementId, output: &DescribeStatementOutput) -> Result<Option<Ended>, CallFailure> {
    let status = output.status().map_or("", StatusString::as_str);
    let last = output.sub_statements().last();
    let error = last
        .and_then(|last| last.error())
        .or_else(|| output.error())
        .unwrap_or_default();
    match classify::stage(status) {
        Stage::Running => Ok(None),
        Stage::Failed => Err(engine(false, error)),
        Stage::Aborted => Err(engine(true, error)),
        Stage::Finished => {
            let own = last.map(|last| (last.id().to_owned(), last.has_result_set()));
            let (id, has_result) =
                own.unwrap_or_else(|| (id.as_str().to_owned(), output.has_result_set()));
            Ok(Some(Ended {
                result: (has_result == Some(true)).then_some(id),
            }))
        }
    }
}

/// Whether a failed look says nothing about the statement.
fn passing(call: &CallFailure) -> bool {
    match call.failure.class {
        FailureClass::Throttled | FailureClass::Transient | FailureClass::Unreachable => true,
        FailureClass::TooManyStatements
        | FailureClass::Away
        | FailureClass::Permanent
        | FailureClass::Data
        | FailureClass::TimedOut
        | FailureClass::Cancelled
        | FailureClass::Unknown => false,
    }
}

fn refused(class: FailureClass, text: &str) -> CallFailure {
    CallFailure {
        maybe_executed: true,
        gone: false,
        refuses_wait: false,
        failure: Failure::new(class, text),
    }
}

fn engine(aborted: bool, text: &str) -> CallFailure {
    CallFailure {
        maybe_executed: true,
        gone: false,
        refuses_wait: false,
        failure: classify::statement_error(aborted, text),
    }
}

fn value(field: &Field) -> Value {
    if let Field::BooleanValue(value) = field {
        Value::Bool(*value)
    } else if let Field::LongValue(value) = field {
        Value::Long(*value)
    } else if let Field::DoubleValue(value) = field {
        Value::Double(*value)
    } else if let Field::StringValue(text) = field {
        Value::Text(text.clone())
    } else if let Field::BlobValue(bytes) = field {
        Value::Text(hex(bytes.as_ref()))
    } else {
        Value::Null
    }
}

/// Bytes as the warehouse prints VARBYTE.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
