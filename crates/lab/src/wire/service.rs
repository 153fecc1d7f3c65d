//! Decides what a request does to the lab: quotas, faults, the operations themselves and
//! their long polls.
//!
//! One lock guards everything, and nobody waits while holding it. The engine is advanced to
//! the present before every look, so that what is seen is always exact; `drive` advances it
//! when nobody looks and wakes the long polls.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use super::answer::{Writer, has_ended};
use super::error::ApiError;
use super::faults::{Faults, Misfortune};
use super::quota::Bucket;
use super::request::{Ask, Fields, List, Submit};
use super::result::{self, Format};
use crate::clock::{Clock, Moment};
use crate::db::Db;
use crate::history::Truth;
use crate::kinesis::{self, Kinesis};
use crate::random::Dice;
use crate::remote::Reader;
use crate::statements::engine::{Cancelled, Engine, Filter, Refusal};
use crate::statements::lives;
use crate::statements::read::Job;
use crate::statements::{Statement, Status, Submission};
use crate::world::{Operation, WarehouseKind, World};

/// Producers write at least this often, so that nobody has to wait for an hour's records.
const IDLE: Duration = Duration::from_secs(1);

/// A lab at work.
#[derive(Debug)]
pub(crate) struct Service {
    clock: Clock,
    writer: Writer,
    /// Reads streams outside the lab.
    reader: Option<Reader>,
    waiters_per_statement: usize,
    refused_roles: Vec<String>,
    inner: Mutex<Inner>,
    /// The agenda has changed.
    changed: Notify,
    /// True once the lab is to end: long polls then answer at once.
    closing: watch::Receiver<bool>,
}

#[derive(Debug)]
struct Inner {
    engine: Engine,
    buckets: BTreeMap<Operation, Bucket>,
    faults: Faults,
    kinesis: Kinesis,
    calls: BTreeMap<&'static str, u64>,
    waiters: BTreeMap<u64, (Arc<Notify>, usize)>,
    request_ids: Dice,
    scheduled: Option<Moment>,
}

/// A request that has passed the gate.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) operation: Operation,
    pub(super) misfortune: Misfortune,
    pub(super) session: Option<String>,
}

/// How an operation ended.
#[derive(Debug)]
pub(super) enum Outcome {
    Answer(Value),
    Lost(crate::world::Loss),
}

impl Service {
    /// A lab whose clock starts now, or goes on where an earlier life's has come to.
    ///
    /// # Errors
    /// When the data of an earlier life cannot be read, or a view cannot be defined.
    pub(crate) fn open(world: &World, closing: watch::Receiver<bool>) -> Result<Self, String> {
        let db = Db::open(world.data.as_deref()).map_err(|error| error.to_string())?;
        let clock = if world.data.is_some() {
            let first = lives::first_epoch_us(&db, Clock::utc_now_us())
                .map_err(|error| error.to_string())?;
            Clock::resume(Duration::from_micros(
                u64::try_from(first).unwrap_or_default(),
            ))
        } else {
            Clock::start()
        };
        // Two lives of one world must not hand out the same ids.
        let started = clock.epoch() + clock.now();
        let id_seed = world.seed ^ u64::try_from(started.as_micros()).unwrap_or_default();
        let engine = Engine::open(world, id_seed, clock.epoch(), db, world.data.is_some())?;
        let bucket = |operation| (operation, Bucket::new(world.endpoint.quota(operation)));
        let inner = Inner {
            engine,
            buckets: Operation::ALL.into_iter().map(bucket).collect(),
            faults: Faults::new(world.seed, world.faults.clone()),
            kinesis: Kinesis::new(world.endpoint.kinesis_limits()),
            calls: BTreeMap::new(),
            waiters: BTreeMap::new(),
            request_ids: Dice::new(id_seed, "request ids"),
            scheduled: None,
        };
        Ok(Self {
            reader: world.aws.as_ref().map(Reader::new),
            writer: Writer {
                epoch: clock.epoch(),
            },
            clock,
            waiters_per_statement: world.endpoint.waiters_per_statement(),
            refused_roles: world.endpoint.refused_roles().to_vec(),
            inner: Mutex::new(inner),
            changed: Notify::new(),
            closing,
        })
    }

    fn locked<R>(&self, act: impl FnOnce(&mut Inner, Moment) -> R) -> R {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        inner.engine.advance(now);
        let result = act(&mut inner, now);
        inner.engine.keep();
        for number in inner.engine.take_ended() {
            if let Some((wakers, _)) = inner.waiters.get(&number) {
                wakers.notify_waiters();
            }
        }
        let next = inner.engine.next_at();
        if inner.scheduled != next || inner.engine.has_jobs() {
            inner.scheduled = next;
            self.changed.notify_one();
        }
        result
    }

    /// Lets time pass, and reads what is to be read elsewhere. Never ends.
    pub(crate) async fn drive(self: &Arc<Self>) {
        let mut reads = JoinSet::new();
        loop {
            let (next, now, jobs) = self.locked(|inner, now| {
                let jobs = inner.engine.take_jobs();
                (inner.engine.next_at(), now, jobs)
            });
            for job in jobs {
                reads.spawn(Arc::clone(self).fetch(job));
            }
            let wake = next.map_or(now + IDLE, |next| next.min(now + IDLE));
            // A change comes first: what is due may be earlier now.
            tokio::select! {
                biased;
                () = self.changed.notified() => {}
                Some(read) = reads.join_next() => {
                    if let Err(error) = read {
                        tracing::error!(%error, "a read of a stream elsewhere died");
                    }
                }
                () = tokio::time::sleep_until(self.clock.instant(wake)) => {}
            }
        }
    }

    async fn fetch(self: Arc<Self>, job: Job) {
        let began = self.clock.now();
        let result = match &self.reader {
            Some(reader) => reader.read(job.ask).await,
            None => Err("ERROR: internal error\n  Detail: there is no stream elsewhere".to_owned()),
        };
        self.locked(|inner, now| {
            inner
                .engine
                .fetched(job.statement, job.run, began, result, now);
        });
    }

    /// Resolves once the lab is to end.
    pub(super) async fn closed(&self) {
        let mut closing = self.closing.clone();
        // An error means that the sender is gone, which is an end as well.
        if closing.wait_for(|closing| *closing).await.is_err() {
            tracing::debug!("the lab was dropped");
        }
    }

    pub(super) fn request_id(&self) -> String {
        let bytes = self.locked(|inner, _| inner.request_ids.bytes16());
        uuid::Builder::from_random_bytes(bytes)
            .into_uuid()
            .to_string()
    }

    /// What `/__lab/history` and `/__lab/records` look at.
    pub(super) fn look<R>(&self, see: impl FnOnce(&Truth<'_>) -> R) -> R {
        self.locked(|inner, now| {
            see(&Truth {
                engine: &inner.engine,
                calls: &inner.calls,
                kinesis: &inner.kinesis,
                now,
            })
        })
    }

    /// Does what was asked of the lab's Kinesis, which nobody ever waits for.
    pub(super) fn kinesis(
        &self,
        operation: &str,
        region: Option<String>,
        body: &[u8],
    ) -> Result<Value, kinesis::Refusal> {
        let operation = kinesis::Operation::from_name(operation)
            .ok_or_else(kinesis::Refusal::unknown_operation)?;
        let fields = kinesis::Fields::read(body);
        let scope = kinesis::Scope {
            region: region.unwrap_or_else(|| kinesis::REGION.to_owned()),
            account: kinesis::ACCOUNT.to_owned(),
            epoch: self.clock.epoch(),
        };
        self.locked(|inner, now| {
            *inner.calls.entry(operation.counted()).or_default() += 1;
            let streams = inner.engine.streams_mut();
            inner
                .kinesis
                .answer(streams, operation, &scope, fields?, now)
        })
    }

    /// Counts a call that nothing else is asked of, and says what time it is, since 1970.
    pub(super) fn count(&self, operation: &'static str) -> Duration {
        self.locked(|inner, now| {
            *inner.calls.entry(operation).or_default() += 1;
            self.clock.epoch() + now
        })
    }

    /// Whether the world lets nobody assume this role.
    pub(super) fn refuses_role(&self, arn: &str) -> bool {
        self.refused_roles.iter().any(|role| role == arn)
    }

    /// Counts a request, throws the dice of the faults and takes from the quota.
    pub(super) fn admit(
        &self,
        operation: Operation,
        request: &str,
    ) -> Result<Misfortune, ApiError> {
        self.locked(|inner, now| {
            *inner.calls.entry(operation.name()).or_default() += 1;
            let mut misfortune = inner.faults.strike(operation, now, request);
            if let Some(error) = misfortune.refused.take() {
                return Err(error);
            }
            let bucket = inner.buckets.get_mut(&operation);
            if bucket.is_some_and(|bucket| !bucket.take(now)) {
                return Err(ApiError::throttled());
            }
            Ok(misfortune)
        })
    }

    /// Does what was asked.
    pub(super) async fn perform(
        self: &Arc<Self>,
        admitted: Admitted,
        body: &[u8],
    ) -> Result<Outcome, ApiError> {
        let fields = Fields::read(body)?;
        let misfortune = admitted.misfortune.clone();
        let answer = match admitted.operation {
            Operation::ExecuteStatement => return self.submit(fields.execute()?, admitted).await,
            Operation::BatchExecuteStatement => {
                return self.submit(fields.batch()?, admitted).await;
            }
            Operation::DescribeStatement => self.describe(fields.ask()?, &misfortune).await?,
            Operation::GetStatementResult => {
                let ask = fields.ask()?;
                self.result(ask, Format::Json, &misfortune).await?
            }
            Operation::GetStatementResultV2 => {
                let ask = fields.ask()?;
                self.result(ask, Format::Csv, &misfortune).await?
            }
            Operation::CancelStatement => self.cancel(&fields.ask()?)?,
            Operation::ListStatements => self.list(fields.list()?, admitted.session)?,
        };
        misfortune
            .refused_after
            .map_or(Ok(Outcome::Answer(answer)), Err)
    }

    async fn submit(
        self: &Arc<Self>,
        request: Submit,
        admitted: Admitted,
    ) -> Result<Outcome, ApiError> {
        let wait = effective_wait(request.wait, &admitted.misfortune)?;
        let kind = request.kind;
        let submission = Submission {
            sqls: request.sqls,
            batch: request.batch,
            warehouse: request.warehouse,
            database: request.database,
            name: request.name,
            token: request.token,
            db_user: request.db_user,
            secret_arn: request.secret_arn,
            result_format: request.result_format,
            parameters: request.parameters,
            session: admitted.session,
        };
        let number = self.locked(|inner, now| {
            let here = inner.engine.warehouse(&submission.warehouse);
            if here.is_none_or(|warehouse| warehouse.kind != kind) {
                return Err(no_endpoint());
            }
            inner
                .engine
                .submit(submission, now)
                .map_err(|refusal| match refusal {
                    Refusal::NoWarehouse => no_endpoint(),
                    Refusal::TooManyActive => ApiError::too_many_active(),
                })
        })?;
        if let Some(loss) = admitted.misfortune.lost {
            return Ok(Outcome::Lost(loss));
        }
        if let Some(error) = admitted.misfortune.refused_after {
            return Err(error);
        }
        if let Some(seconds) = wait {
            // Execute does not declare the exception of too many waiters: no limit here.
            self.wait(number, None, seconds, usize::MAX).await?;
        }
        let answer = self.with(number, "", |statement, kind| {
            self.writer.submitted(statement, kind, wait.is_some())
        })?;
        Ok(Outcome::Answer(answer))
    }

    async fn describe(
        self: &Arc<Self>,
        ask: Ask,
        misfortune: &Misfortune,
    ) -> Result<Value, ApiError> {
        let wait = effective_wait(ask.wait, misfortune)?;
        let number = self.find(&ask)?;
        if let Some(seconds) = wait {
            self.wait(number, ask.unit, seconds, self.waiters_per_statement)
                .await?;
        }
        self.with(number, &ask.text, |statement, kind| {
            let unit = ask
                .unit
                .and_then(|n| Some((n, statement.units.get(n.checked_sub(1)?)?)));
            match unit {
                None => self.writer.described(statement, kind),
                Some((number, unit)) => self.writer.described_unit(statement, kind, number, unit),
            }
        })
    }

    async fn result(
        self: &Arc<Self>,
        ask: Ask,
        format: Format,
        misfortune: &Misfortune,
    ) -> Result<Value, ApiError> {
        let wait = effective_wait(ask.wait, misfortune)?;
        let number = self.find(&ask)?;
        if let Some(seconds) = wait {
            self.wait(number, ask.unit, seconds, self.waiters_per_statement)
                .await?;
        }
        self.locked(|inner, _| {
            let statement = inner
                .engine
                .statement(number)
                .ok_or_else(|| does_not_exist(&ask.text))?;
            let unit = match (ask.unit, statement.asked.batch) {
                (Some(unit), _) => statement.units.get(unit.saturating_sub(1)),
                (None, None) => statement.units.first(),
                // A batch has results by its parts only.
                (None, Some(_)) => None,
            };
            let ended = unit.filter(|unit| unit.status == Status::Finished);
            let Some(table) = ended.and_then(|unit| unit.result.as_ref()) else {
                return Err(ApiError::not_found(
                    &ask.text,
                    "Query does not have result. Please check query status with \
                     DescribeStatement.",
                ));
            };
            let submitted_as = statement.asked.result_format.as_deref();
            result::page(table, format, submitted_as, ask.next_token.as_deref())
        })
    }

    fn cancel(&self, ask: &Ask) -> Result<Value, ApiError> {
        if ask.unit.is_some() {
            return Err(ApiError::validation(
                "A sub-statement cannot be canceled: cancel its batch statement.",
            ));
        }
        let number = self.find(ask)?;
        let id = &ask.id;
        match self.locked(|inner, now| inner.engine.cancel(number, now)) {
            Cancelled::Accepted => Ok(json!({ "Status": true })),
            Cancelled::Declined => Ok(json!({ "Status": false })),
            Cancelled::Not(status) if status.is_terminal() => Err(ApiError::validation(format!(
                "Could not cancel a query that is already in {} state with ID: {id}",
                status.name()
            ))),
            Cancelled::Not(status) => Err(ApiError::validation(format!(
                "Could not cancel a query that is in {} state with ID: {id}",
                status.name()
            ))),
        }
    }

    fn list(&self, list: List, session: Option<String>) -> Result<Value, ApiError> {
        let below = list.next_token.as_deref().map(read_token).transpose()?;
        let filter = Filter {
            status: list.status,
            name_prefix: list.name_prefix,
            session: (!list.role_level).then_some(session),
            warehouse: list.warehouse.as_ref().map(|(_, name)| name.clone()),
            database: list.database,
        };
        self.locked(|inner, _| {
            if let Some((kind, name)) = &list.warehouse
                && inner
                    .engine
                    .warehouse(name)
                    .is_none_or(|warehouse| warehouse.kind != *kind)
            {
                return Err(no_endpoint());
            }
            let (page, next) = inner.engine.list(&filter, below, list.limit);
            let entries: Vec<Value> = page.into_iter().map(|s| self.writer.listed(s)).collect();
            let mut answer = json!({ "Statements": entries });
            if let (Some(next), Some(fields)) = (next, answer.as_object_mut()) {
                let token = URL_SAFE_NO_PAD.encode(next.to_be_bytes());
                fields.insert("NextToken".to_owned(), token.into());
            }
            Ok(answer)
        })
    }

    fn find(&self, ask: &Ask) -> Result<u64, ApiError> {
        self.locked(|inner, _| {
            let number = inner.engine.find(&ask.id).filter(|number| match ask.unit {
                None => true,
                Some(unit) => inner.engine.statement(*number).is_some_and(|statement| {
                    statement.asked.batch.is_some() && (1..=statement.units.len()).contains(&unit)
                }),
            });
            number.ok_or_else(|| does_not_exist(&ask.text))
        })
    }

    fn with(
        &self,
        number: u64,
        id: &str,
        see: impl FnOnce(&Statement, WarehouseKind) -> Value,
    ) -> Result<Value, ApiError> {
        self.locked(|inner, _| {
            let statement = inner
                .engine
                .statement(number)
                .ok_or_else(|| does_not_exist(id))?;
            let warehouse = inner.engine.warehouse(&statement.asked.warehouse);
            let kind = warehouse.map_or(WarehouseKind::Cluster, |warehouse| warehouse.kind);
            Ok(see(statement, kind))
        })
    }

    /// Waits until the statement (or one unit of it) has ended, at most for `seconds`.
    async fn wait(
        self: &Arc<Self>,
        number: u64,
        unit: Option<usize>,
        seconds: u64,
        limit: usize,
    ) -> Result<(), ApiError> {
        let ended = |inner: &Inner| {
            inner
                .engine
                .statement(number)
                .is_none_or(|statement| has_ended(statement, unit))
        };
        let entered = self.locked(|inner, now| {
            if ended(inner) {
                return Ok(None);
            }
            let (wakers, count) = inner.waiters.entry(number).or_default();
            if *count >= limit {
                return Err(ApiError::too_many_waiting());
            }
            *count += 1;
            Ok(Some((
                Arc::clone(wakers),
                now + Duration::from_secs(seconds),
            )))
        })?;
        let Some((wakers, deadline)) = entered else {
            return Ok(());
        };
        let _place = Place {
            service: Arc::clone(self),
            number,
        };
        loop {
            let woken = wakers.notified();
            tokio::pin!(woken);
            // Registered before the look, so that an end between the two is not missed.
            woken.as_mut().enable();
            if self.locked(|inner, _| ended(inner)) {
                return Ok(());
            }
            // An end of the statement comes first, then the end of the lab, then of patience.
            tokio::select! {
                biased;
                () = woken => {}
                () = self.closed() => return Ok(()),
                () = tokio::time::sleep_until(self.clock.instant(deadline)) => return Ok(()),
            }
        }
    }
}

/// A place among those who wait for a statement; given back also when the client hangs up.
struct Place {
    service: Arc<Service>,
    number: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inner = self
            .service
            .inner
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some((_, count)) = inner.waiters.get_mut(&self.number) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                inner.waiters.remove(&self.number);
            }
        }
    }
}

fn effective_wait(asked: Option<u64>, misfortune: &Misfortune) -> Result<Option<u64>, ApiError> {
    if asked.is_some() && misfortune.refuse_wait {
        return Err(ApiError::validation("WaitTimeSeconds is not supported."));
    }
    Ok(asked.filter(|_| !misfortune.ignore_wait))
}

fn read_token(token: &str) -> Result<u64, ApiError> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok();
    let number = bytes
        .and_then(|bytes| bytes.try_into().ok())
        .map(u64::from_be_bytes);
    number.ok_or_else(|| ApiError::validation("NextToken is not valid."))
}

fn no_endpoint() -> ApiError {
    ApiError::validation("Redshift endpoint doesn't exist in this region.")
}

fn does_not_exist(id: &str) -> ApiError {
    ApiError::not_found(id, "Query does not exist.")
}
