//! One warehouse's calls.
//!
//! Decides: what each call asks for, how long it may take, and which of the scheduler's
//! answers its outcome is. Every submit carries a pinned client token.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_sdk_redshiftdata::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_redshiftdata::operation::describe_statement::DescribeStatementOutput;
use aws_sdk_redshiftdata::operation::list_statements::ListStatementsOutput;
use aws_sdk_redshiftdata::primitives::DateTime;
use aws_sdk_redshiftdata::types::{ExecutionMode, StatusString};
use tidekeeper_scheduler::{
    AttemptId, DescribeAnswer, Failure, FailureClass, Found, Outcome, ResolveAnswer, Span,
    StatementId, StatementStatus, SubmitAnswer, Timestamp, ViewId,
};

use super::classify::{self, CallFailure, Stage};
use super::failure::call_failure;
use super::limit::Limits;
use super::sweep::{Known, Users};
use super::{Auth, Call, Life, Refresh, Settings, Target, names, sql};

/// A connection that is not there by then is taken for unreachable.
pub(super) const CONNECT_LIMIT: Duration = Duration::from_millis(3_100);
/// How long an answer may take beyond the wait that was asked for.
pub(super) const ANSWER_GRACE: Duration = Duration::from_secs(10);
/// ... to a submit: until its answer is given up, nothing else is sent for the view.
const SUBMIT_GRACE: Duration = Duration::from_secs(5);
/// Pages of a hundred statements that a scan reads for each status.
const PAGES_MAX: usize = 20;
const PAGE_SIZE: i32 = 100;
const PAGE_TRIES: u32 = 3;
/// A better estimate of the server's clock is forgotten after this, so that a stepped clock
/// is followed.
const OFFSET_LIFE: Span = Span::from_secs(600);

/// The Data API, as one warehouse's statements see it.
pub struct Client {
    pub(super) api: aws_sdk_redshiftdata::Client,
    pub(super) settings: Settings,
    pub(super) life: Life,
    pub(super) limits: Arc<Limits>,
    has_region: bool,
    pub(super) prefix: String,
    /// The endpoint has refused to be asked to wait.
    pub(super) refuses_wait: AtomicBool,
    pub(super) asked: AtomicU64,
    offset: Mutex<Option<Offset>>,
    /// Attempts whose submit was not answered: their `CreatedAt` may be an earlier one.
    unanswered: Mutex<BTreeSet<u64>>,
    /// What each user's records of refreshes can be asked for.
    pub(super) forms: Mutex<BTreeMap<Auth, Known>>,
    /// Users whose records cannot be read while others' can, and why.
    pub(super) unread: Mutex<BTreeMap<Auth, Failure>>,
    pub(super) users: Users,
    /// The latest look at what runs, shared by all who asked before it began.
    active: tokio::sync::Mutex<Option<Active>>,
}

/// Server's clock minus ours, at most.
#[derive(Clone, Copy)]
struct Offset {
    span: Span,
    at: Timestamp,
}

struct Active {
    begun_at: Timestamp,
    result: Result<Arc<BTreeMap<String, Listed>>, Failure>,
}

#[derive(Clone)]
struct Listed {
    id: String,
    created_at: Option<DateTime>,
}

/// A submit's raw answer, from `ExecuteStatement` and `BatchExecuteStatement` alike.
struct Accepted {
    id: Option<String>,
    created_at: Option<DateTime>,
    status: Option<String>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("warehouse", &self.settings.id)
            .finish_non_exhaustive()
    }
}

impl Client {
    pub(super) fn new(
        api: aws_sdk_redshiftdata::Client,
        settings: Settings,
        life: Life,
        limits: Arc<Limits>,
        has_region: bool,
    ) -> Self {
        Self {
            prefix: names::prefix(&life.instance, &settings.id),
            api,
            settings,
            life,
            limits,
            has_region,
            refuses_wait: AtomicBool::new(false),
            asked: AtomicU64::new(0),
            offset: Mutex::new(None),
            unanswered: Mutex::new(BTreeSet::new()),
            forms: Mutex::new(BTreeMap::new()),
            unread: Mutex::new(BTreeMap::new()),
            users: Users::default(),
            active: tokio::sync::Mutex::new(None),
        }
    }

    /// The statements that an earlier life of this instance left running here.
    ///
    /// # Errors
    /// When they cannot be listed, all of them.
    pub async fn scan(&self) -> Result<Vec<Found>, Failure> {
        let active = self.active().await?;
        let found = active.iter().filter_map(|(name, listed)| {
            Some(Found {
                view: names::view_of(&self.prefix, name)?,
                statement: StatementId::from(listed.id.as_str()),
                created_at: self.converted(listed.created_at.as_ref()),
            })
        });
        Ok(found.collect())
    }

    /// Sends a view's refresh, or sends it again under the same name and token.
    pub async fn submit(&self, refresh: &Refresh, attempt: AttemptId, wait: Span) -> SubmitAnswer {
        let name = names::statement_name(&self.prefix, &refresh.view, &self.life.boot, attempt);
        let mut answer = self.send(refresh, &name, self.seconds(wait)).await;
        if matches!(&answer, Err(failure) if failure.refuses_wait) {
            // Refused before anything was executed: the same again, without the wait.
            self.refuses_wait.store(true, Ordering::Relaxed);
            answer = self.send(refresh, &name, None).await;
        }
        let accepted = match answer {
            Ok(accepted) => accepted,
            Err(call) if call.maybe_executed => {
                self.lock_unanswered().insert(attempt.serial());
                return SubmitAnswer::MaybeExecuted(call.failure);
            }
            Err(call) => return SubmitAnswer::NotExecuted(call.failure),
        };
        let Some(id) = accepted.id else {
            self.lock_unanswered().insert(attempt.serial());
            let failure = classify::unreadable("it names no statement").failure;
            return SubmitAnswer::MaybeExecuted(failure);
        };
        self.lock_unanswered().remove(&attempt.serial());
        let statement = StatementId::from(id);
        let stage = classify::stage(accepted.status.as_deref().unwrap_or_default());
        let status = match stage {
            Stage::Running => StatementStatus::Running,
            Stage::Finished if refresh.session.is_empty() => StatementStatus::Finished {
                at: None,
                outcome: Outcome::Data,
            },
            // Why it failed, or what became of the refresh inside a batch, costs a question.
            Stage::Finished | Stage::Failed | Stage::Aborted => {
                match self.describe(&statement, Span::ZERO).await {
                    DescribeAnswer::Status(status) => status,
                    DescribeAnswer::Gone(_) | DescribeAnswer::CallFailed(_) => {
                        StatementStatus::Running
                    }
                }
            }
        };
        SubmitAnswer::Accepted { statement, status }
    }

    /// Asks how a statement stands, and asks the endpoint to hold its answer for `wait`.
    pub async fn describe(&self, statement: &StatementId, wait: Span) -> DescribeAnswer {
        let mut answer = self.ask(statement, self.seconds(wait)).await;
        if matches!(&answer, Err(failure) if failure.refuses_wait) {
            answer = self.ask(statement, None).await;
        }
        match answer {
            Ok(output) => DescribeAnswer::Status(self.status(&output)),
            Err(call) if call.gone => DescribeAnswer::Gone(call.failure),
            Err(call) => DescribeAnswer::CallFailed(call.failure),
        }
    }

    /// Asks for a statement's end; whether it has ended, only a describe can tell.
    ///
    /// # Errors
    /// When the call fails or the cancel is declined.
    pub async fn cancel(&self, statement: &StatementId) -> Result<(), Failure> {
        self.limits.cancel.turn((self.life.now)()).await;
        let call = self.api.cancel_statement().id(statement.as_str());
        let sent = call
            .customize()
            .config_override(answer_within(None, ANSWER_GRACE))
            .send();
        let output = self.counted("CancelStatement", sent.await);
        let output = output.map_err(|call| call.failure)?;
        if output.status() == Some(false) {
            let declined = "the cancel was declined: the statement may have ended";
            return Err(Failure::new(FailureClass::Unknown, declined));
        }
        Ok(())
    }

    /// Looks a submit without an answer up by its name.
    pub async fn resolve(&self, view: &ViewId, attempt: AttemptId) -> ResolveAnswer {
        let name = names::statement_name(&self.prefix, view, &self.life.boot, attempt);
        match self.active().await {
            Ok(active) => match active.get(&name) {
                Some(listed) => ResolveAnswer::Found {
                    statement: StatementId::from(listed.id.as_str()),
                },
                None => ResolveAnswer::NotRunning,
            },
            Err(failure) => ResolveAnswer::CallFailed(failure),
        }
    }

    /// What runs now under this instance's names. A look that began after it was asked for
    /// serves everybody who waits.
    async fn active(&self) -> Result<Arc<BTreeMap<String, Listed>>, Failure> {
        let asked_at = (self.life.now)();
        let mut latest = self.active.lock().await;
        if let Some(active) = &*latest
            && active.begun_at >= asked_at
        {
            return active.result.clone();
        }
        let begun_at = (self.life.now)();
        let result = self.list().await.map(Arc::new);
        *latest = Some(Active {
            begun_at,
            result: result.clone(),
        });
        result
    }

    /// In the order in which a statement lives, so that none slips through between two
    /// lists; never `ALL`, which pages through a day of finished ones.
    async fn list(&self) -> Result<BTreeMap<String, Listed>, Failure> {
        let mut active = BTreeMap::new();
        for status in [
            StatusString::Submitted,
            StatusString::Picked,
            StatusString::Started,
        ] {
            let mut next = None;
            for page in 0.. {
                if page == PAGES_MAX {
                    let wrong = format!("more than {} statements are {status}", PAGES_MAX * 100);
                    return Err(Failure::new(FailureClass::Unknown, &wrong));
                }
                let output = self.sure_page(&status, next).await?;
                for statement in output.statements() {
                    if let Some(name) = statement.statement_name() {
                        let listed = Listed {
                            id: statement.id().to_owned(),
                            created_at: statement.created_at().copied(),
                        };
                        active.insert(name.to_owned(), listed);
                    }
                }
                next = output.next_token().map(ToOwned::to_owned);
                if next.is_none() {
                    break;
                }
            }
        }
        Ok(active)
    }

    /// A page that fails is asked for again in its next turn: a look that began anew would
    /// hardly ever end where one call in seven fails.
    async fn sure_page(
        &self,
        status: &StatusString,
        next: Option<String>,
    ) -> Result<ListStatementsOutput, Failure> {
        let mut tries = 1;
        loop {
            self.limits.list.turn((self.life.now)()).await;
            let failure = match self.list_page(status, next.clone()).await {
                Ok(page) => return Ok(page),
                Err(call) => call.failure,
            };
            let passing = matches!(
                failure.class,
                FailureClass::Throttled | FailureClass::Transient
            );
            if !passing || tries == PAGE_TRIES {
                return Err(failure);
            }
            tries += 1;
        }
    }

    async fn list_page(
        &self,
        status: &StatusString,
        next: Option<String>,
    ) -> Result<ListStatementsOutput, CallFailure> {
        self.check_region()?;
        let mut call = self
            .api
            .list_statements()
            .statement_name(&self.prefix)
            .status(status.clone())
            .max_results(PAGE_SIZE)
            .set_next_token(next);
        call = match &self.settings.target {
            Target::Cluster(name) => call.cluster_identifier(name),
            Target::Workgroup(name) => call.workgroup_name(name),
        };
        let sent = call
            .customize()
            .config_override(answer_within(None, ANSWER_GRACE))
            .send();
        self.counted("ListStatements", sent.await)
    }

    async fn send(
        &self,
        refresh: &Refresh,
        name: &str,
        wait: Option<i32>,
    ) -> Result<Accepted, CallFailure> {
        self.check_region()?;
        let sent_at = (self.life.now)();
        let accepted = if refresh.session.is_empty() {
            self.execute(refresh, name, wait).await?
        } else {
            self.execute_batch(refresh, name, wait).await?
        };
        self.learn_offset(name, sent_at, accepted.created_at.as_ref());
        Ok(accepted)
    }

    async fn execute(
        &self,
        refresh: &Refresh,
        name: &str,
        wait: Option<i32>,
    ) -> Result<Accepted, CallFailure> {
        let mut call = self
            .api
            .execute_statement()
            .sql(sql::refresh(refresh, name))
            .database(&refresh.database)
            .statement_name(name)
            .client_token(names::client_token(name))
            .set_wait_time_seconds(wait);
        call = match &self.settings.target {
            Target::Cluster(cluster) => call.cluster_identifier(cluster),
            Target::Workgroup(workgroup) => call.workgroup_name(workgroup),
        };
        call = match &refresh.auth {
            Auth::Iam => call,
            Auth::DbUser(user) => call.db_user(user),
            Auth::Secret(arn) => call.secret_arn(arn),
        };
        let sent = call
            .customize()
            .config_override(answer_within(wait, SUBMIT_GRACE))
            .send();
        let output = self.counted("ExecuteStatement", sent.await)?;
        Ok(Accepted {
            id: output.id().map(ToOwned::to_owned),
            created_at: output.created_at().copied(),
            status: output.status().map(|status| status.as_str().to_owned()),
        })
    }

    async fn execute_batch(
        &self,
        refresh: &Refresh,
        name: &str,
        wait: Option<i32>,
    ) -> Result<Accepted, CallFailure> {
        let mut call = self
            .api
            .batch_execute_statement()
            .execution_mode(ExecutionMode::AutoCommit)
            .database(&refresh.database)
            .statement_name(name)
            .client_token(names::client_token(name))
            .set_wait_time_seconds(wait);
        for setting in sql::settings(&refresh.session) {
            call = call.sqls(setting);
        }
        call = call.sqls(sql::refresh(refresh, name));
        call = match &self.settings.target {
            Target::Cluster(cluster) => call.cluster_identifier(cluster),
            Target::Workgroup(workgroup) => call.workgroup_name(workgroup),
        };
        call = match &refresh.auth {
            Auth::Iam => call,
            Auth::DbUser(user) => call.db_user(user),
            Auth::Secret(arn) => call.secret_arn(arn),
        };
        let sent = call
            .customize()
            .config_override(answer_within(wait, SUBMIT_GRACE))
            .send();
        let output = self.counted("BatchExecuteStatement", sent.await)?;
        Ok(Accepted {
            id: output.id().map(ToOwned::to_owned),
            created_at: output.created_at().copied(),
            status: output.status().map(|status| status.as_str().to_owned()),
        })
    }

    pub(super) async fn ask(
        &self,
        statement: &StatementId,
        wait: Option<i32>,
    ) -> Result<DescribeStatementOutput, CallFailure> {
        self.limits.describe.turn((self.life.now)()).await;
        let call = self
            .api
            .describe_statement()
            .id(statement.as_str())
            .set_wait_time_seconds(wait);
        let sent = call
            .customize()
            .config_override(answer_within(wait, ANSWER_GRACE))
            .send();
        self.counted("DescribeStatement", sent.await)
    }

    /// A batch is as good as its last statement, the refresh.
    fn status(&self, output: &DescribeStatementOutput) -> StatementStatus {
        let parent = classify::stage(output.status().map_or("", StatusString::as_str));
        let error = output.error().unwrap_or_default();
        let (stage, error, ended_at) = match output.sub_statements().last() {
            Some(last) if parent != Stage::Running => {
                let own = last.error().unwrap_or(error);
                let stage = classify::stage(last.status().map_or("", |status| status.as_str()));
                // A batch that has ended before its last statement began has failed.
                let stage = if stage == Stage::Running {
                    Stage::Failed
                } else {
                    stage
                };
                (
                    stage,
                    own,
                    last.updated_at().or_else(|| output.updated_at()),
                )
            }
            Some(_) | None => (parent, error, output.updated_at()),
        };
        match stage {
            Stage::Running => StatementStatus::Running,
            Stage::Finished => StatementStatus::Finished {
                at: self.end(ended_at),
                outcome: Outcome::Data,
            },
            Stage::Failed => StatementStatus::Failed(classify::statement_error(false, error)),
            Stage::Aborted => StatementStatus::Failed(classify::statement_error(true, error)),
        }
    }

    /// The wait to send, unless the endpoint does not take one.
    pub(super) fn seconds(&self, wait: Span) -> Option<i32> {
        let seconds = i32::try_from(wait.as_micros() / 1_000_000).unwrap_or(30);
        let asks = seconds > 0 && !self.refuses_wait.load(Ordering::Relaxed);
        asks.then_some(seconds.min(30))
    }

    pub(super) fn check_region(&self) -> Result<(), CallFailure> {
        if self.has_region {
            return Ok(());
        }
        Err(classify::not_sent("no region is known for this warehouse"))
    }

    /// Counts a request, and reads its failure.
    pub(super) fn counted<T, E>(
        &self,
        operation: &'static str,
        answer: Result<T, SdkError<E>>,
    ) -> Result<T, CallFailure>
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let answer = answer.map_err(|error| call_failure(&error));
        let result = match &answer {
            Ok(_) => "ok",
            Err(call) => call.failure.class.label(),
        };
        tracing::trace!(warehouse = %self.settings.id, operation, result, "called");
        (self.life.on_call)(Call {
            warehouse: &self.settings.id,
            operation,
            result,
        });
        answer
    }

    /// `CreatedAt` lies between sending and receiving: less the time of sending it is the
    /// server's clock minus ours, and a little more. The least of many is the best.
    pub(super) fn learn_offset(
        &self,
        name: &str,
        sent_at: Timestamp,
        created_at: Option<&DateTime>,
    ) {
        let serial = name
            .rsplit('-')
            .next()
            .and_then(|serial| serial.parse().ok());
        let repeated = serial.is_some_and(|serial| self.lock_unanswered().contains(&serial));
        let Some(created_at) = created_at.filter(|_| !repeated) else {
            return;
        };
        let span = timestamp(created_at) - sent_at;
        let mut offset = self.offset.lock().unwrap_or_else(PoisonError::into_inner);
        let keep = offset.is_some_and(|best| best.span < span && sent_at - best.at < OFFSET_LIFE);
        if !keep {
            *offset = Some(Offset { span, at: sent_at });
        }
    }

    /// A moment of the server's, on our clock.
    fn converted(&self, at: Option<&DateTime>) -> Timestamp {
        self.end(at).unwrap_or_else(|| (self.life.now)())
    }

    fn end(&self, at: Option<&DateTime>) -> Option<Timestamp> {
        Some(timestamp(at?) - self.offset_span())
    }

    /// Server's clock minus ours, as far as it is known.
    pub(super) fn offset_span(&self) -> Span {
        let offset = *self.offset.lock().unwrap_or_else(PoisonError::into_inner);
        offset.map_or(Span::ZERO, |offset| offset.span)
    }

    fn lock_unanswered(&self) -> std::sync::MutexGuard<'_, BTreeSet<u64>> {
        let mut unanswered = self
            .unanswered
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Attempts that were given up are never asked for again: keep the set small.
        while unanswered.len() > 4096 {
            unanswered.pop_first();
        }
        unanswered
    }
}

fn timestamp(at: &DateTime) -> Timestamp {
    let micros = at.as_nanos() / 1_000;
    Timestamp::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
}

/// The limit of one call: longer than the wait it asks for.
pub(super) fn answer_within(
    wait: Option<i32>,
    grace: Duration,
) -> aws_sdk_redshiftdata::config::Builder {
    let wait = Duration::from_secs(u64::try_from(wait.unwrap_or(0)).unwrap_or(0));
    let limits = TimeoutConfig::builder()
        .connect_timeout(CONNECT_LIMIT)
        .operation_attempt_timeout(wait + grace)
        .build();
    aws_sdk_redshiftdata::config::Builder::new().timeout_config(limits)
}
