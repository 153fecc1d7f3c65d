//! The virtual world: warehouses that run statements, streams that fill.
//!
//! Decides: when a statement starts, what it reads, when and how it ends. Events happen in
//! order of time, ties in the order in which they were planned, so one seed is one history.
//! Two statements of one view at once, and a submit before the adoption scan, are what the
//! daemon must prevent: the world lets them happen and takes note of a violation.
//! Deliberately absent: what the API answers (see `api`), who decides to refresh.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use tidekeeper_scheduler::{
    AttemptId, Event, FailureClass, Outcomes, Seen, Span, Timestamp, ViewId,
};

use crate::agenda::{Happening, Planned};
use crate::arrivals::Arrivals;
use crate::awake::Awake;
use crate::dice::Dice;
use crate::scenario::{Fault, FaultKind, ProbeModel, Scenario, ServiceModel};
use crate::trace::{Attempt, AttemptOutcome};

/// No statement of Redshift may run longer (Data API limits).
const STATEMENT_LIFE: Span = Span::from_secs(24 * 3600);
/// Ended statements that are remembered per view, to answer late questions.
const REMEMBERED: usize = 8;

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) now: Timestamp,
    pub(crate) warehouses: Vec<Warehouse>,
    pub(crate) views: Vec<View>,
    pub(crate) view_by_name: BTreeMap<String, usize>,
    pub(crate) warehouse_by_name: BTreeMap<String, usize>,
    /// Which life of the daemon this is: answers to earlier ones reach nobody.
    pub(crate) life: u32,
    /// Attempts that have ended since they were last taken.
    pub(crate) ended: Vec<Attempt>,
    pub(crate) violations: Vec<String>,
    queue: BinaryHeap<Reverse<Planned>>,
    planned: u64,
    statements: u64,
}

#[derive(Debug)]
pub(crate) struct Warehouse {
    pub(crate) dice: Dice,
    pub(crate) submit_delay: Span,
    pub(crate) jitter: Span,
    pub(crate) api_latency: Span,
    pub(crate) submit_quota: f64,
    pub(crate) faults: Vec<Fault>,
    /// The second in which submits are being counted, and how many there were.
    pub(crate) quota: (i64, f64),
    pub(crate) calls: Calls,
    /// The latest life of the daemon that has looked for what earlier ones left running.
    pub(crate) scanned_by: Option<u32>,
    /// Statements that have not ended.
    pub(crate) active: u32,
    pub(crate) awake: Awake,
    /// What a refresh did is told by the records of the warehouse only.
    pub(crate) keeps_records: bool,
    interference: f64,
    pub(crate) slots: u32,
    running: u32,
    waiting: VecDeque<(usize, u64)>,
}

/// How often each operation of the API was called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Calls {
    pub(crate) submit: u64,
    pub(crate) describe: u64,
    pub(crate) cancel: u64,
    pub(crate) list: u64,
}

#[derive(Debug)]
pub(crate) struct View {
    pub(crate) name: String,
    pub(crate) warehouse: usize,
    /// Oldest first; the last is the newest.
    pub(crate) statements: VecDeque<Statement>,
    /// Up to when the visible view holds the stream.
    pub(crate) data_at: Timestamp,
    pub(crate) arrivals: Arrivals,
    probe: Option<ProbeModel>,
    pub(crate) service: ServiceModel,
    pub(crate) dice: Dice,
}

#[derive(Debug)]
pub(crate) struct Statement {
    pub(crate) id: u64,
    /// What the client token stands for: the life and the attempt that submitted it.
    pub(crate) token: Token,
    pub(crate) submitted_at: Timestamp,
    pub(crate) status: Status,
    pub(crate) waiters: Vec<Waiter>,
    pub(crate) started_at: Timestamp,
    bytes: u64,
    /// Up to when it reads the stream.
    reads_to: Timestamp,
}

pub(crate) type Token = (u32, u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// On its way to a slot, or queueing for one; the moment is when it can start at the
    /// earliest.
    Submitted {
        wants_slot_at: Timestamp,
    },
    Started {
        ends_at: Timestamp,
        fate: Fate,
    },
    Ended {
        at: Timestamp,
        fate: Fate,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Data,
    NoData,
    /// It has read no further than this.
    MoreData(Timestamp),
    Failed(FailureClass),
}

/// Somebody holds a connection open for the end of a statement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiter {
    pub(crate) attempt: AttemptId,
    pub(crate) submit: bool,
    pub(crate) until: Timestamp,
    /// The end of the wait is planned.
    pub(crate) planned: bool,
}

impl World {
    pub(crate) fn new(scenario: &Scenario, seed: u64) -> Self {
        let warehouses = scenario.warehouses.iter().map(|model| Warehouse {
            dice: Dice::new(seed, &format!("warehouse/{}", model.name)),
            submit_delay: model.submit_delay,
            jitter: model.jitter,
            api_latency: model.api_latency,
            submit_quota: model.submit_quota,
            faults: model.faults.clone(),
            quota: (i64::MIN, 0.0),
            calls: Calls::default(),
            scanned_by: None,
            active: 0,
            awake: Awake::default(),
            keeps_records: model.outcomes != Outcomes::Off,
            interference: model.interference,
            slots: model.slots,
            running: 0,
            waiting: VecDeque::new(),
        });
        let views = scenario.views.iter().map(|model| View {
            name: model.name.clone(),
            warehouse: model.warehouse,
            statements: VecDeque::new(),
            data_at: Timestamp::default(),
            arrivals: Arrivals::new(&model.arrivals, seed, &model.name),
            probe: model.probe,
            service: model.service.clone(),
            dice: Dice::new(seed, &format!("service/{}", model.name)),
        });
        let mut world = Self {
            now: Timestamp::default(),
            warehouses: warehouses.collect(),
            views: views.collect(),
            view_by_name: BTreeMap::new(),
            warehouse_by_name: BTreeMap::new(),
            life: 0,
            ended: Vec::new(),
            violations: Vec::new(),
            queue: BinaryHeap::new(),
            planned: 0,
            statements: 0,
        };
        let names = scenario.views.iter().map(|view| view.name.clone());
        world.view_by_name = names.enumerate().map(|(i, name)| (name, i)).collect();
        let names = scenario.warehouses.iter().map(|w| w.name.clone());
        world.warehouse_by_name = names.enumerate().map(|(i, name)| (name, i)).collect();
        for (warehouse, model) in scenario.warehouses.iter().enumerate() {
            for fault in &model.faults {
                if fault.kind == FaultKind::Away {
                    let at = Timestamp::default() + fault.from;
                    world.plan(at, Happening::GoesAway { warehouse });
                }
            }
        }
        world
    }

    /// When something happens next.
    pub(crate) fn next_at(&self) -> Option<Timestamp> {
        self.queue.peek().map(|Reverse(planned)| planned.at)
    }

    /// Lets the next thing happen; an answer to the living daemon is handed out.
    pub(crate) fn step(&mut self) -> Option<Event> {
        let Reverse(planned) = self.queue.pop()?;
        self.now = self.now.max(planned.at);
        match planned.what {
            Happening::WantsSlot { view, statement } => self.wants_slot(view, statement),
            Happening::Ends { view, statement } => self.end_if_running(view, statement),
            Happening::WaitOver { view, statement } => self.wait_over(view, statement),
            Happening::GoesAway { warehouse } => self.abort_all(warehouse),
            Happening::Probe { view } => self.probe(view),
            Happening::Answer { life, event } => return (life == self.life).then_some(event),
        }
        None
    }

    /// What has begun ends; nobody is told any more.
    pub(crate) fn run_out(&mut self) {
        self.kill_daemon();
        while self.warehouses.iter().any(|warehouse| warehouse.active > 0) && !self.queue.is_empty()
        {
            self.step();
        }
    }

    /// The daemon dies: its connections with it, its statements not.
    pub(crate) fn kill_daemon(&mut self) {
        self.life += 1;
        for view in &mut self.views {
            for statement in &mut view.statements {
                statement.waiters.clear();
            }
        }
    }

    pub(crate) fn plan(&mut self, at: Timestamp, what: Happening) {
        self.planned += 1;
        let number = self.planned;
        self.queue.push(Reverse(Planned { at, number, what }));
    }

    pub(crate) fn statement_mut(&mut self, view: usize, id: u64) -> Option<&mut Statement> {
        let statements = &mut self.views.get_mut(view)?.statements;
        statements.iter_mut().rev().find(|s| s.id == id)
    }

    /// A fault of this kind that is in force now.
    pub(crate) fn fault(&self, warehouse: usize, kind: FaultKind, view: &str) -> Option<&Fault> {
        let since = self.now - Timestamp::default();
        let faults = &self.warehouses.get(warehouse)?.faults;
        faults.iter().find(|fault| {
            fault.kind == kind
                && fault.from <= since
                && since < fault.until
                && fault.view.as_ref().is_none_or(|name| name == view)
        })
    }

    /// A statement comes into being. Whether another one of the view is active is exactly
    /// what the daemon must prevent.
    pub(crate) fn create(&mut self, index: usize, token: Token) -> u64 {
        self.statements += 1;
        let (id, now) = (self.statements, self.now);
        let Some(view) = self.views.get_mut(index) else {
            return id;
        };
        if view.statements.iter().any(Statement::active) {
            let violation = format!("{}: two statements at once, at {now:?}", view.name);
            self.violations.push(violation);
        }
        let warehouse = view.warehouse;
        if view.statements.len() >= REMEMBERED
            && view
                .statements
                .front()
                .is_some_and(|oldest| !oldest.active())
        {
            view.statements.pop_front();
        }
        let wants_slot_at = self.warehouses.get_mut(warehouse).map_or(now, |warehouse| {
            warehouse.awake.submit(now, warehouse.active);
            warehouse.active += 1;
            now + warehouse.submit_delay + warehouse.dice.up_to(warehouse.jitter)
        });
        view.statements.push_back(Statement {
            id,
            token,
            submitted_at: now,
            status: Status::Submitted { wants_slot_at },
            waiters: Vec::new(),
            started_at: now,
            bytes: 0,
            reads_to: now,
        });
        let wants = Happening::WantsSlot {
            view: index,
            statement: id,
        };
        self.plan(wants_slot_at, wants);
        id
    }

    fn wants_slot(&mut self, view: usize, statement: u64) {
        let active = self
            .statement_mut(view, statement)
            .is_some_and(|s| s.active());
        let Some(index) = self.views.get(view).map(|view| view.warehouse) else {
            return;
        };
        let Some(warehouse) = self.warehouses.get_mut(index).filter(|_| active) else {
            return;
        };
        if warehouse.running < warehouse.slots {
            self.start(view, statement);
        } else {
            warehouse.waiting.push_back((view, statement));
            self.plan_wait_ends(view, statement);
        }
    }

    fn start(&mut self, index: usize, id: u64) {
        let now = self.now;
        let fate = self.fate(index);
        let slow = self.slowness(index);
        let Some(view) = self.views.get_mut(index) else {
            return;
        };
        let (warehouse, mut reads_to) = (view.warehouse, now);
        let mut bytes = view.arrivals.unread(now).bytes;
        let most = view.service.most_bytes.filter(|most| *most < bytes);
        if let Some(most) = most {
            reads_to = view.arrivals.filled_at(now, most);
            bytes = most;
        }
        let others = self.warehouses.get(warehouse).map_or(0.0, |warehouse| {
            warehouse.interference * f64::from(warehouse.running)
        });
        let mut service = view.service.noise_free(now, bytes);
        service = service.scale(slow * (1.0 + others));
        service = service.scale(view.service.noise(&mut view.dice));
        let (fate, service) = match fate {
            Some(FaultKind::Stuck) => (Fate::Failed(FailureClass::Cancelled), STATEMENT_LIFE),
            Some(FaultKind::Broken) => (Fate::Failed(FailureClass::Permanent), service),
            Some(_) => (Fate::Failed(FailureClass::Transient), service),
            None if most.is_some() => (Fate::MoreData(reads_to), service),
            None if bytes <= 0.0 => (Fate::NoData, service),
            None => (Fate::Data, service),
        };
        let ends_at = now + service.min(STATEMENT_LIFE).max(Span::from_millis(1));
        if let Some(statement) = self.statement_mut(index, id) {
            statement.status = Status::Started { ends_at, fate };
            statement.started_at = now;
            statement.reads_to = reads_to;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "bytes are counted whole"
            )]
            let whole = bytes.round() as u64;
            statement.bytes = whole;
        }
        if let Some(warehouse) = self.warehouses.get_mut(warehouse) {
            warehouse.running += 1;
        }
        self.plan(
            ends_at,
            Happening::Ends {
                view: index,
                statement: id,
            },
        );
        self.plan_wait_ends(index, id);
    }

    /// Lets the arrival probes begin, each at its own moment of its period.
    pub(crate) fn begin_probes(&mut self) {
        for view in 0..self.views.len() {
            let first = self.views.get_mut(view).and_then(|view| {
                let every = view.probe?.every;
                Some(Timestamp::default() + view.dice.up_to(every))
            });
            if let Some(first) = first {
                self.plan(first, Happening::Probe { view });
            }
        }
    }

    fn probe(&mut self, index: usize) {
        let (now, life) = (self.now, self.life);
        let Some(view) = self.views.get_mut(index) else {
            return;
        };
        let Some(probe) = view.probe else {
            return;
        };
        let unread = view.arrivals.unread(now);
        let event = Event::Probed {
            view: ViewId::from(view.name.as_str()),
            seen: Seen {
                at: now,
                oldest: unread.oldest,
                bytes: probe.bytes.then_some(unread.bytes),
            },
        };
        self.plan(now + probe.delay, Happening::Answer { life, event });
        self.plan(now + probe.every, Happening::Probe { view: index });
    }

    /// What a fault makes of a statement that starts now.
    fn fate(&mut self, index: usize) -> Option<FaultKind> {
        let view = self.views.get(index)?;
        let warehouse = view.warehouse;
        for kind in [FaultKind::Stuck, FaultKind::Broken, FaultKind::Failing] {
            let name = &self.views.get(index)?.name;
            let Some(share) = self.fault(warehouse, kind, name).map(|fault| fault.share) else {
                continue;
            };
            if self.views.get_mut(index)?.dice.happens(share) {
                return Some(kind);
            }
        }
        None
    }

    fn slowness(&self, index: usize) -> f64 {
        let Some(view) = self.views.get(index) else {
            return 1.0;
        };
        let slow = self.fault(view.warehouse, FaultKind::Slow, &view.name);
        slow.map_or(1.0, |fault| fault.factor)
    }

    fn end_if_running(&mut self, view: usize, id: u64) {
        let fate = match self.statement_mut(view, id).map(|s| s.status) {
            Some(Status::Started { fate, .. }) => fate,
            Some(Status::Submitted { .. } | Status::Ended { .. }) | None => return,
        };
        self.end(view, id, fate);
    }

    /// A statement ends now, by itself or not.
    pub(crate) fn end(&mut self, index: usize, id: u64, fate: Fate) {
        let now = self.now;
        let Some(view) = self.views.get_mut(index) else {
            return;
        };
        let before = view.data_at;
        let found = view.statements.iter_mut().rev().find(|s| s.id == id);
        let Some(statement) = found.filter(|statement| statement.active()) else {
            return;
        };
        let started = matches!(statement.status, Status::Started { .. });
        let started_at = if started { statement.started_at } else { now };
        statement.status = Status::Ended { at: now, fate };
        let waiters = std::mem::take(&mut statement.waiters);
        let (submitted_at, bytes) = (statement.submitted_at, statement.bytes);
        let reads_to = statement.reads_to;
        let succeeded = !matches!(fate, Fate::Failed(_));
        let oldest = view.arrivals.unread(now).oldest;
        if succeeded {
            view.data_at = reads_to;
            view.arrivals.hold(reads_to);
        }
        let warehouse = view.warehouse;
        self.ended.push(Attempt {
            view: index,
            submit: submitted_at,
            start: started_at,
            finish: now,
            data: if succeeded { reads_to } else { before },
            oldest,
            bytes: if succeeded { bytes } else { 0 },
            outcome: AttemptOutcome::from(fate),
            ran: started,
        });
        if let Some(warehouse) = self.warehouses.get_mut(warehouse) {
            warehouse.active -= 1;
            warehouse.awake.end(now);
            warehouse.running -= u32::from(started);
            if !started {
                warehouse.waiting.retain(|waiting| *waiting != (index, id));
            }
        }
        for waiter in waiters {
            self.answer_status(index, id, waiter.attempt, waiter.submit);
        }
        self.fill_slots(warehouse);
    }

    fn fill_slots(&mut self, index: usize) {
        while let Some(warehouse) = self.warehouses.get_mut(index)
            && warehouse.running < warehouse.slots
            && let Some((view, statement)) = warehouse.waiting.pop_front()
        {
            self.start(view, statement);
        }
    }

    fn abort_all(&mut self, warehouse: usize) {
        let mut active: Vec<(usize, u64)> = Vec::new();
        for (index, view) in self.views.iter().enumerate() {
            let here = view.warehouse == warehouse;
            let statements = view.statements.iter().filter(|s| here && s.active());
            active.extend(statements.map(|statement| (index, statement.id)));
        }
        if let Some(warehouse) = self.warehouses.get_mut(warehouse) {
            warehouse.waiting.clear();
        }
        for (view, statement) in active {
            self.end(view, statement, Fate::Failed(FailureClass::Away));
        }
    }

    /// Plans the end of every wait that will not see the end of its statement.
    fn plan_wait_ends(&mut self, view: usize, id: u64) {
        let now = self.now;
        let Some(statement) = self.statement_mut(view, id) else {
            return;
        };
        let ends_at = match statement.status {
            Status::Started { ends_at, .. } => Some(ends_at),
            Status::Submitted { .. } | Status::Ended { .. } => None,
        };
        let mut ends = Vec::new();
        for waiter in &mut statement.waiters {
            if !waiter.planned && ends_at.is_none_or(|ends_at| waiter.until < ends_at) {
                waiter.planned = true;
                ends.push(waiter.until.max(now));
            }
        }
        for at in ends {
            let statement = id;
            self.plan(at, Happening::WaitOver { view, statement });
        }
    }

    /// Holds a connection open until the statement ends or the wait is over.
    pub(crate) fn wait_for(&mut self, view: usize, id: u64, mut waiter: Waiter) {
        let now = self.now;
        let Some(statement) = self.statement_mut(view, id) else {
            return;
        };
        let plan_now = match statement.status {
            // The end is planned when it wants its slot, unless that is over or too late.
            Status::Submitted { wants_slot_at } => {
                waiter.until <= wants_slot_at || wants_slot_at <= now
            }
            Status::Started { ends_at, .. } => waiter.until < ends_at,
            Status::Ended { .. } => false,
        };
        waiter.planned = plan_now;
        statement.waiters.push(waiter);
        if plan_now {
            let statement = id;
            self.plan(waiter.until, Happening::WaitOver { view, statement });
        }
    }

    fn wait_over(&mut self, view: usize, id: u64) {
        let now = self.now;
        let Some(statement) = self.statement_mut(view, id) else {
            return;
        };
        let mut over = Vec::new();
        statement.waiters.retain(|waiter| {
            let waits = waiter.until > now;
            if !waits {
                over.push(*waiter);
            }
            waits
        });
        for waiter in over {
            self.answer_status(view, id, waiter.attempt, waiter.submit);
        }
    }
}

impl Statement {
    pub(crate) fn active(&self) -> bool {
        match self.status {
            Status::Submitted { .. } | Status::Started { .. } => true,
            Status::Ended { .. } => false,
        }
    }
}
