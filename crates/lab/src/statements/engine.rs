//! Decides how statements are accepted, found, cancelled and forgotten, and keeps the agenda
//! of what happens when.
//!
//! The engine is a state machine on virtual time: callers say what time it is
//! ([`Engine::advance`]) and ask when something will happen next ([`Engine::next_at`]).
//! Invariants: events happen in the order of their times; a slot is held exactly from STARTED
//! to the end. Deliberately absent: waiting, HTTP, quotas per second (that is the wire's).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::catalog::{SchemaKey, SchemaState};
use super::late::Late;
use super::read::Job;
use super::view::ViewState;
use super::warehouse::WarehouseState;
use super::{Statement, Status, Submission, Unit};
use crate::clock::Moment;
use crate::db::Db;
use crate::random::Dice;
use crate::streams::Streams;
use crate::world::{ViewFaultKind, Warehouse, World};

/// Statements and their results are kept for a day (Management Guide, Data API).
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// A `ClientToken` is remembered for eight hours (Management Guide, Data API, "idempotency").
const TOKEN_KEPT: Duration = Duration::from_secs(8 * 3600);

/// From a cancel to the end of what it cancels, unless the view is slow to stop.
const CANCEL_TAKES: Duration = Duration::from_millis(10);

/// What the agenda holds. `run` makes appointments of an earlier unit void.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    Picked(u64),
    Ready(u64),
    UnitEnds {
        statement: u64,
        run: u64,
    },
    TimedOut {
        statement: u64,
        run: u64,
    },
    Abort(u64),
    /// Rows of a system view are shown, that were late.
    Show(u64),
    /// A view, by its number, may be refreshed by the warehouse itself.
    Auto {
        view: i64,
    },
}

/// Why a submission was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    NoWarehouse,
    TooManyActive,
}

/// What became of a cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cancelled {
    Accepted,
    /// Answered with `Status: false`.
    Declined,
    /// It is not running.
    Not(Status),
}

/// Which statements a list shows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    pub(crate) status: Option<Status>,
    pub(crate) name_prefix: Option<String>,
    pub(crate) session: Option<Option<String>>,
    pub(crate) warehouse: Option<String>,
    pub(crate) database: Option<String>,
}

impl Filter {
    fn shows(&self, statement: &Statement) -> bool {
        if statement.auto {
            return false;
        }
        let asked = &statement.asked;
        let name = asked.name.as_deref().unwrap_or_default();
        self.status.is_none_or(|status| status == statement.status)
            && self
                .name_prefix
                .as_deref()
                .is_none_or(|prefix| name.starts_with(prefix))
            && self
                .session
                .as_ref()
                .is_none_or(|session| *session == asked.session)
            && self
                .warehouse
                .as_ref()
                .is_none_or(|warehouse| *warehouse == asked.warehouse)
            && self
                .database
                .as_ref()
                .is_none_or(|database| *database == asked.database)
    }
}

/// Everything that moves in a lab.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(super) seed: u64,
    /// UTC at moment zero.
    epoch: Duration,
    active_limit: usize,
    pub(super) streams: Streams,
    pub(super) views: BTreeMap<String, ViewState>,
    pub(super) warehouses: BTreeMap<String, WarehouseState>,
    pub(super) statements: BTreeMap<u64, Statement>,
    by_id: BTreeMap<String, u64>,
    tokens: BTreeMap<String, (u64, Moment)>,
    agenda: BTreeSet<(Moment, u64, Event)>,
    appointments: u64,
    next: u64,
    ids: Dice,
    pub(super) queries: i64,
    pub(super) ended: Vec<u64>,
    pub(super) db: Db,
    /// Whether a later life of the lab goes on from here.
    pub(super) kept: bool,
    pub(super) schemas: BTreeMap<SchemaKey, SchemaState>,
    /// Views of the world that a statement has dropped.
    pub(super) dropped: BTreeSet<String>,
    /// Whether external schemas lead to streams outside the lab.
    pub(super) remote: bool,
    pub(super) jobs: Vec<Job>,
    pub(super) view_numbers: i64,
    pub(super) late: BTreeMap<u64, Late>,
    /// When to look next for what the system views no longer show.
    pub(super) trim_at: Moment,
}

impl Engine {
    /// A lab at `epoch`, its rows in `db`. `id_seed` makes the ids differ between two runs of
    /// one world; `kept` says that `db` outlives the lab, and may come from an earlier life.
    ///
    /// # Errors
    /// When a view of the world, or of the earlier life, cannot be defined.
    pub(crate) fn open(
        world: &World,
        id_seed: u64,
        epoch: Duration,
        db: Db,
        kept: bool,
    ) -> Result<Self, String> {
        let mut engine = Self {
            seed: world.seed,
            epoch,
            active_limit: world.endpoint.active_statements(),
            streams: Streams::new(world),
            views: BTreeMap::new(),
            warehouses: world
                .warehouses
                .iter()
                .map(|spec| {
                    let name = spec.name.get_ref().clone();
                    (name, WarehouseState::new(spec.clone()))
                })
                .collect(),
            statements: BTreeMap::new(),
            by_id: BTreeMap::new(),
            tokens: BTreeMap::new(),
            agenda: BTreeSet::new(),
            appointments: 0,
            next: 0,
            ids: Dice::new(id_seed, "statement ids"),
            queries: 0,
            ended: Vec::new(),
            db,
            kept,
            schemas: BTreeMap::new(),
            dropped: BTreeSet::new(),
            remote: world.aws.is_some(),
            jobs: Vec::new(),
            view_numbers: 0,
            late: BTreeMap::new(),
            trim_at: Moment::ZERO,
        };
        engine.build(world)?;
        let views: Vec<String> = engine.views.keys().cloned().collect();
        for id in views {
            engine.expect_auto(&id, Moment::ZERO);
        }
        Ok(engine)
    }

    /// A lab in memory, at a fixed time.
    #[cfg(test)]
    pub(crate) fn new(world: &World, id_seed: u64) -> Self {
        let epoch = Duration::from_secs(1_770_000_000);
        Self::open(world, id_seed, epoch, Db::open(None).unwrap(), false).unwrap()
    }

    /// UTC at a moment, in microseconds since 1970.
    pub(crate) fn utc_us(&self, at: Moment) -> i64 {
        i64::try_from((self.epoch + at).as_micros()).unwrap_or(i64::MAX)
    }

    /// Lets everything happen that is due up to and at `now`.
    pub(crate) fn advance(&mut self, now: Moment) {
        while let Some(&(at, _, event)) = self.agenda.first()
            && at <= now
        {
            self.agenda.pop_first();
            self.happen(event, at);
        }
        self.streams.fill(now);
        self.forget(now);
        self.trim(now);
    }

    /// When something happens next, if nobody asks for anything before.
    pub(crate) fn next_at(&self) -> Option<Moment> {
        self.agenda.first().map(|(at, _, _)| *at)
    }

    /// The statements of which a unit has ended since the last call.
    pub(crate) fn take_ended(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.ended)
    }

    pub(super) fn appoint(&mut self, at: Moment, event: Event) {
        self.appointments += 1;
        self.agenda.insert((at, self.appointments, event));
    }

    fn happen(&mut self, event: Event, at: Moment) {
        match event {
            Event::Picked(statement) => self.pick(statement, at),
            Event::Ready(statement) => self.ready(statement, at),
            Event::UnitEnds { statement, run } => {
                if self.runs(statement, run) {
                    self.end_unit(statement, at);
                }
            }
            Event::TimedOut { statement, run } => {
                if self.runs(statement, run) {
                    self.time_out(statement, at);
                }
            }
            Event::Abort(statement) => self.abort(statement, at),
            Event::Show(rows) => self.show(rows),
            Event::Auto { view } => self.auto_refresh(view, at),
        }
    }

    pub(super) fn runs(&self, statement: u64, run: u64) -> bool {
        self.statements
            .get(&statement)
            .is_some_and(|known| known.status == Status::Started && known.run == run)
    }

    pub(crate) fn warehouse(&self, name: &str) -> Option<&Warehouse> {
        self.warehouses.get(name).map(|state| &state.spec)
    }

    /// Of each warehouse, for how many seconds it was busy and is billed.
    pub(crate) fn awake(&self, now: Moment) -> impl Iterator<Item = (&str, (f64, f64))> {
        let warehouses = self.warehouses.iter();
        warehouses.map(move |(name, state)| (name.as_str(), state.awake(now)))
    }

    pub(crate) fn streams(&self) -> &Streams {
        &self.streams
    }

    /// For `kinesis`, which puts into them and reshapes them.
    pub(crate) fn streams_mut(&mut self) -> &mut Streams {
        &mut self.streams
    }

    pub(crate) fn views(&self) -> impl Iterator<Item = (&String, &ViewState)> {
        self.views.iter()
    }

    pub(crate) fn statements(&self) -> impl DoubleEndedIterator<Item = (u64, &Statement)> {
        self.statements
            .iter()
            .map(|(number, statement)| (*number, statement))
    }

    pub(crate) fn statement(&self, number: u64) -> Option<&Statement> {
        self.statements.get(&number)
    }

    /// The number of the statement with this id.
    pub(crate) fn find(&self, id: &str) -> Option<u64> {
        self.by_id.get(id).copied()
    }

    /// Accepts a submission, or returns the statement that its token stands for already.
    pub(crate) fn submit(&mut self, asked: Submission, now: Moment) -> Result<u64, Refusal> {
        self.advance(now);
        let known = asked
            .token
            .as_ref()
            .and_then(|token| self.tokens.get(token));
        if let Some(&(number, at)) = known
            && at + TOKEN_KEPT > now
        {
            return Ok(number);
        }
        self.accept(asked, false, now)
    }

    /// Takes a statement in: a client's, or the warehouse's own, of which the Data API does not
    /// know.
    pub(super) fn accept(
        &mut self,
        asked: Submission,
        auto: bool,
        now: Moment,
    ) -> Result<u64, Refusal> {
        let warehouse = self
            .warehouses
            .get_mut(&asked.warehouse)
            .ok_or(Refusal::NoWarehouse)?;
        if !auto {
            if warehouse.active >= self.active_limit {
                return Err(Refusal::TooManyActive);
            }
            warehouse.active += 1;
        }
        let user = asked
            .db_user
            .clone()
            .unwrap_or_else(|| warehouse.spec.db_user.clone());
        let picked_at = now + warehouse.spec.submit_delay();
        let number = self.next;
        self.next += 1;
        let id = uuid::Builder::from_random_bytes(self.ids.bytes16())
            .into_uuid()
            .to_string();
        if !auto {
            self.by_id.insert(id.clone(), number);
        }
        if let Some(token) = &asked.token {
            self.tokens.insert(token.clone(), (number, now));
        }
        let statement = Statement {
            id,
            user,
            status: Status::Submitted,
            created: now,
            updated: now,
            started: None,
            finished: None,
            pid: None,
            error: None,
            units: asked
                .sqls
                .iter()
                .map(|sql| Unit::new(sql, &asked.parameters, now))
                .collect(),
            asked,
            current: 0,
            timeout: None,
            case_sensitive: false,
            run: 0,
            staged: Vec::new(),
            locks: Vec::new(),
            waits_for: None,
            auto,
        };
        self.statements.insert(number, statement);
        self.appoint(picked_at, Event::Picked(number));
        Ok(number)
    }

    /// Asks a running statement to stop.
    pub(crate) fn cancel(&mut self, number: u64, now: Moment) -> Cancelled {
        self.advance(now);
        let Some(statement) = self.statements.get(&number) else {
            return Cancelled::Not(Status::Aborted);
        };
        // API reference of CancelStatement: "To be canceled, a query must be running."
        if statement.status != Status::Started {
            return Cancelled::Not(statement.status);
        }
        let mut takes = CANCEL_TAKES;
        if let Some(unit) = statement.units.get(statement.current)
            && let Some(view) = unit.view.as_ref().and_then(|id| self.views.get(id))
        {
            for fault in view.view.faults(unit.attempt, now) {
                match fault {
                    ViewFaultKind::RefuseCancel => return Cancelled::Declined,
                    ViewFaultKind::SlowCancel(time) => takes = *time,
                    ViewFaultKind::Missing
                    | ViewFaultKind::Stuck
                    | ViewFaultKind::Fail(_)
                    | ViewFaultKind::Status(_) => {}
                }
            }
        }
        self.appoint(now + takes, Event::Abort(number));
        Cancelled::Accepted
    }

    /// Statements, newest first: at most `limit` of those numbered below `below`. The second
    /// part is where the next page starts, if there is one.
    pub(crate) fn list(
        &self,
        filter: &Filter,
        below: Option<u64>,
        limit: usize,
    ) -> (Vec<&Statement>, Option<u64>) {
        let mut shown = self
            .statements
            .range(..below.unwrap_or(u64::MAX))
            .rev()
            .filter(|(_, statement)| filter.shows(statement));
        let mut page = Vec::new();
        let mut last = None;
        for (number, statement) in shown.by_ref().take(limit) {
            page.push(statement);
            last = Some(*number);
        }
        let more = shown.next().is_some();
        (page, last.filter(|_| more))
    }

    fn forget(&mut self, now: Moment) {
        let old: Vec<u64> = self
            .statements
            .iter()
            .take_while(|(_, statement)| statement.created + KEPT <= now)
            .filter(|(_, statement)| statement.status.is_terminal())
            .map(|(number, _)| *number)
            .collect();
        for number in old {
            if let Some(statement) = self.statements.remove(&number) {
                self.by_id.remove(&statement.id);
                if let Some(token) = &statement.asked.token
                    && self.tokens.get(token).is_some_and(|(of, _)| *of == number)
                {
                    self.tokens.remove(token);
                }
            }
        }
    }
}
