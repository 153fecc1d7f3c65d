//! A scheduler at the bench: inputs in, commands out as short lines of text.

use std::collections::BTreeMap;

use tidekeeper_scheduler::{
    ApiScope, AttemptId, Billing, Command, Deadline, DescribeAnswer, Event, Failure, FailureClass,
    Found, Mode, Notice, Outcome, Outcomes, Output, OverloadOrder, Plan, Priority, ResolveAnswer,
    Scheduler, Span, StateName, StatementStatus, StatementTimeout, SubmitAnswer, Timestamp, ViewId,
    ViewSnapshot, ViewSpec, WarehouseSpec, WhileClosed,
};

pub(crate) struct Core {
    pub(crate) scheduler: Scheduler,
    pub(crate) notices: Vec<Notice>,
    pub(crate) deadline: Option<Deadline>,
    pub(crate) stopped: bool,
    attempts: BTreeMap<String, AttemptId>,
}

pub(crate) fn at(seconds: f64) -> Timestamp {
    Timestamp::default() + Span::from_secs_f64(seconds)
}

pub(crate) fn warehouse(slots: u32) -> WarehouseSpec {
    WarehouseSpec {
        id: "wh".into(),
        location: "wh".into(),
        api_scope: ApiScope::from("account/region"),
        submits_per_second: 15.0,
        max_in_flight: slots,
        billing: Billing::Provisioned,
        wake_minimum: Span::from_secs(60),
        overload: OverloadOrder::Fair,
        outcomes: Outcomes::Off,
    }
}

/// A target of 60 s and the defaults.
pub(crate) fn view(name: &str) -> ViewSpec {
    ViewSpec {
        id: name.into(),
        warehouse: "wh".into(),
        location: name.into(),
        target_lag: Span::from_secs(60),
        miss_rate: 0.05,
        min_interval: Span::from_secs(2),
        max_interval: None,
        priority: Priority::Normal,
        schedule: None,
        closed: WhileClosed::Pause,
        probe_every: None,
        retention: None,
        after: Vec::new(),
        mode: Mode::Active,
        timeout: StatementTimeout::Default(Span::from_secs(3600)),
    }
}

pub(crate) fn plan(slots: u32, views: &[ViewSpec]) -> Plan {
    Plan {
        warehouses: vec![warehouse(slots)],
        views: views.to_vec(),
        schedules: BTreeMap::new(),
    }
}

/// A plan under which no refresh is jittered: bunching is what Serverless wants.
pub(crate) fn even(slots: u32, views: &[ViewSpec]) -> Plan {
    let mut plan = plan(slots, views);
    for warehouse in &mut plan.warehouses {
        warehouse.billing = Billing::Serverless;
    }
    plan
}

pub(crate) fn failure(class: FailureClass) -> Failure {
    Failure::new(class, class.label())
}

pub(crate) fn found(view: &str, statement: &str, created: f64) -> Found {
    Found {
        view: view.into(),
        statement: statement.into(),
        created_at: at(created),
    }
}

impl Core {
    pub(crate) fn new() -> Self {
        Self {
            scheduler: Scheduler::new(at(0.0), 1),
            notices: Vec::new(),
            deadline: None,
            stopped: false,
            attempts: BTreeMap::new(),
        }
    }

    /// At second 0 with a plan, the scan answered: what is due has been submitted.
    pub(crate) fn started(slots: u32, views: &[ViewSpec]) -> (Self, Vec<String>) {
        Self::started_with(plan(slots, views))
    }

    pub(crate) fn started_evenly(slots: u32, views: &[ViewSpec]) -> (Self, Vec<String>) {
        Self::started_with(even(slots, views))
    }

    fn started_with(plan: Plan) -> (Self, Vec<String>) {
        let mut core = Self::new();
        assert_eq!(core.plan(0.0, plan), ["scan wh"]);
        let submits = core.scanned(0.0, Vec::new());
        (core, submits)
    }

    /// One view `v` with a first refresh of 3 s behind it, and the second in flight.
    pub(crate) fn on_its_second_refresh() -> (Self, f64) {
        let (mut core, _) = Self::started(4, &[view("v")]);
        assert!(core.finished(3.0, "v", "s1").is_empty());
        let due = core.due();
        assert_eq!(core.pass(due), ["submit v #2 wait 12s"]);
        (core, due)
    }

    pub(crate) fn give(&mut self, seconds: f64, event: Event) -> Vec<String> {
        self.scheduler.handle(at(seconds), event);
        self.commands()
    }

    pub(crate) fn pass(&mut self, seconds: f64) -> Vec<String> {
        self.scheduler.handle_timeout(at(seconds));
        self.commands()
    }

    /// When the scheduler wants to be asked again, in seconds.
    pub(crate) fn due(&self) -> f64 {
        self.deadline.unwrap().at.as_secs_f64()
    }

    fn commands(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            match self.scheduler.poll() {
                Output::Command(command) => lines.push(self.line(command)),
                Output::Notice(notice) => self.notices.push(notice),
                Output::Wait(deadline) => {
                    self.deadline = deadline;
                    break;
                }
                Output::Stopped => {
                    self.stopped = true;
                    break;
                }
            }
        }
        assert_eq!(self.scheduler.broken_invariants(), [""; 0]);
        lines
    }

    fn line(&mut self, command: Command) -> String {
        match command {
            Command::Scan { warehouse } => format!("scan {warehouse}"),
            Command::Submit {
                attempt,
                view,
                wait,
            } => {
                self.attempts.insert(view.to_string(), attempt);
                format!("submit {view} {attempt:?} wait {wait}")
            }
            Command::Describe {
                attempt,
                view,
                statement,
                wait,
            } => {
                self.attempts.insert(view.to_string(), attempt);
                format!("describe {view} {attempt:?} {statement} wait {wait}")
            }
            Command::Cancel {
                attempt,
                view,
                statement,
            } => format!("cancel {view} {attempt:?} {statement}"),
            Command::Resolve { attempt, view } => format!("resolve {view} {attempt:?}"),
            Command::Sweep {
                warehouse,
                since,
                asked,
            } => {
                let asked: Vec<String> = asked
                    .iter()
                    .map(|asked| format!("{} {:?}", asked.view, asked.attempt))
                    .collect();
                let since = (since - at(0.0)).as_secs_f64();
                format!("sweep {warehouse} since {since} [{}]", asked.join(", "))
            }
        }
    }

    pub(crate) fn attempt(&self, view: &str) -> AttemptId {
        *self.attempts.get(view).unwrap()
    }

    pub(crate) fn plan(&mut self, seconds: f64, plan: Plan) -> Vec<String> {
        self.give(seconds, Event::Plan(plan))
    }

    pub(crate) fn scanned(&mut self, seconds: f64, found: Vec<Found>) -> Vec<String> {
        let warehouse = "wh".into();
        let result = Ok(found);
        self.give(seconds, Event::Scanned { warehouse, result })
    }

    pub(crate) fn submitted(
        &mut self,
        seconds: f64,
        view: &str,
        answer: SubmitAnswer,
    ) -> Vec<String> {
        let attempt = self.attempt(view);
        self.give(seconds, Event::Submitted { attempt, answer })
    }

    pub(crate) fn accepted(
        &mut self,
        seconds: f64,
        view: &str,
        statement: &str,
        status: StatementStatus,
    ) -> Vec<String> {
        let statement = statement.into();
        self.submitted(seconds, view, SubmitAnswer::Accepted { statement, status })
    }

    pub(crate) fn running(&mut self, seconds: f64, view: &str, statement: &str) -> Vec<String> {
        self.accepted(seconds, view, statement, StatementStatus::Running)
    }

    /// The submit's long poll saw the end.
    pub(crate) fn finished(&mut self, seconds: f64, view: &str, statement: &str) -> Vec<String> {
        self.accepted(seconds, view, statement, done(seconds))
    }

    pub(crate) fn refused(&mut self, seconds: f64, view: &str, class: FailureClass) -> Vec<String> {
        self.submitted(seconds, view, SubmitAnswer::NotExecuted(failure(class)))
    }

    pub(crate) fn lost(&mut self, seconds: f64, view: &str) -> Vec<String> {
        let lost = failure(FailureClass::Unreachable);
        self.submitted(seconds, view, SubmitAnswer::MaybeExecuted(lost))
    }

    pub(crate) fn described(
        &mut self,
        seconds: f64,
        view: &str,
        answer: DescribeAnswer,
    ) -> Vec<String> {
        let attempt = self.attempt(view);
        self.give(seconds, Event::Described { attempt, answer })
    }

    pub(crate) fn status(
        &mut self,
        seconds: f64,
        view: &str,
        status: StatementStatus,
    ) -> Vec<String> {
        self.described(seconds, view, DescribeAnswer::Status(status))
    }

    pub(crate) fn resolved(
        &mut self,
        seconds: f64,
        view: &str,
        answer: ResolveAnswer,
    ) -> Vec<String> {
        let attempt = self.attempt(view);
        self.give(seconds, Event::Resolved { attempt, answer })
    }

    pub(crate) fn cancelled(
        &mut self,
        seconds: f64,
        view: &str,
        result: Result<(), Failure>,
    ) -> Vec<String> {
        let attempt = self.attempt(view);
        self.give(seconds, Event::Cancelled { attempt, result })
    }

    pub(crate) fn snapshot(&self, view: &str) -> ViewSnapshot {
        let id = ViewId::from(view);
        let mut views = self.scheduler.snapshot().views.into_iter();
        views.find(|view| view.view == id).unwrap()
    }

    pub(crate) fn state(&self, view: &str) -> StateName {
        self.snapshot(view).state
    }
}

pub(crate) fn done(seconds: f64) -> StatementStatus {
    StatementStatus::Finished {
        at: Some(at(seconds)),
        outcome: Outcome::Data,
    }
}
