//! A real scheduler, driven by hand, for tests of what is told about it.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidekeeper_scheduler::{
    Billing, Command, Event, Failure, FailureClass, Mode, Notice, Outcome, Outcomes, Output,
    OverloadOrder, Phase, Plan, Priority, ScheduleId, Scheduler, Seen, Snapshot, Span, StatementId,
    StatementStatus, StatementTimeout, SubmitAnswer, Timestamp, ViewId, ViewSpec, WarehouseId,
    WarehouseSpec, WhileClosed,
};

use super::{Catalog, ViewInfo};

/// 2026-01-05 00:00:00 UTC.
const START: Timestamp = Timestamp::from_micros(1_767_571_200_000_000);

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) scheduler: Scheduler,
    pub(crate) now: Timestamp,
    pub(crate) plan: Plan,
    pub(crate) notices: Vec<Notice>,
    pub(crate) commands: Vec<Command>,
}

pub(crate) fn view(id: &str, target_secs: i64) -> ViewSpec {
    ViewSpec {
        id: ViewId::from(id),
        warehouse: WarehouseId::from("rt"),
        location: format!("dev.public.{id}").into(),
        target_lag: Span::from_secs(target_secs),
        miss_rate: 0.05,
        min_interval: Span::from_secs(1),
        max_interval: None,
        priority: Priority::Normal,
        schedule: None,
        closed: WhileClosed::Pause,
        probe_every: Some(Span::from_secs(3)),
        retention: Some(Span::from_secs(86_400)),
        after: Vec::new(),
        mode: Mode::Active,
        timeout: StatementTimeout::Default(Span::from_secs(3_600)),
    }
}

impl World {
    /// Views on the warehouse `rt`, of two slots, which has not been scanned yet. A schedule
    /// `office` is closed for another hour.
    pub(crate) fn new(views: Vec<ViewSpec>) -> Self {
        let warehouse = WarehouseSpec {
            id: WarehouseId::from("rt"),
            location: "rt".into(),
            api_scope: "account/region".into(),
            submits_per_second: 15.0,
            max_in_flight: 2,
            billing: Billing::Provisioned,
            wake_minimum: Span::from_secs(60),
            overload: OverloadOrder::Fair,
            outcomes: Outcomes::Off,
        };
        let office = Phase {
            open: false,
            until: Some(START + Span::from_secs(3_600)),
        };
        let plan = Plan {
            warehouses: vec![warehouse],
            views,
            schedules: BTreeMap::from([(ScheduleId::from("office"), office)]),
        };
        let mut world = Self {
            scheduler: Scheduler::new(START, 1),
            now: START,
            plan: plan.clone(),
            notices: Vec::new(),
            commands: Vec::new(),
        };
        world.tell(Event::Plan(plan));
        world
    }

    /// The same, scanned: nothing was found running.
    pub(crate) fn open(views: Vec<ViewSpec>) -> Self {
        let mut world = Self::new(views);
        world.scanned(Ok(Vec::new()));
        world
    }

    pub(crate) fn scanned(&mut self, result: Result<Vec<tidekeeper_scheduler::Found>, Failure>) {
        let warehouse = WarehouseId::from("rt");
        self.tell(Event::Scanned { warehouse, result });
    }

    pub(crate) fn tell(&mut self, event: Event) {
        self.scheduler.handle(self.now, event);
        self.drain();
    }

    pub(crate) fn pass(&mut self, secs: i64) {
        self.now += Span::from_secs(secs);
        self.scheduler.handle_timeout(self.now);
        self.drain();
    }

    /// From now on the warehouse is billed while it is awake.
    pub(crate) fn bill_while_awake(&mut self) {
        for warehouse in &mut self.plan.warehouses {
            warehouse.billing = Billing::Serverless;
        }
        self.tell(Event::Plan(self.plan.clone()));
    }

    /// A probe sees that nothing is unread.
    pub(crate) fn probe(&mut self, id: &str) {
        let seen = Seen {
            at: self.now,
            oldest: None,
            bytes: None,
        };
        let view = id.into();
        self.tell(Event::Probed { view, seen });
    }

    fn drain(&mut self) {
        loop {
            match self.scheduler.poll() {
                Output::Command(command) => self.commands.push(command),
                Output::Notice(notice) => self.notices.push(notice),
                Output::Wait(_) | Output::Stopped => return,
            }
        }
    }

    /// Passes time until the view is submitted, and answers the submit.
    pub(crate) fn answer(&mut self, id: &str, answer: SubmitAnswer) {
        for _ in 0..10_000 {
            let submitted = self.commands.iter().position(
                |command| matches!(command, Command::Submit { view, .. } if view.as_str() == id),
            );
            let Some(place) = submitted else {
                self.pass(1);
                continue;
            };
            let Command::Submit { attempt, .. } = self.commands.remove(place) else {
                return;
            };
            self.tell(Event::Submitted { attempt, answer });
            return;
        }
        panic!("{id} is never submitted");
    }

    /// The view is refreshed once, in `secs` seconds.
    pub(crate) fn refresh(&mut self, id: &str, secs: i64) {
        let statement = StatementId::from(format!("statement-{id}"));
        let status = StatementStatus::Running;
        let running = SubmitAnswer::Accepted { statement, status };
        self.answer(id, running);
        self.pass(secs);
        let attempt = self.attempt(id);
        let status = StatementStatus::Finished {
            at: Some(self.now),
            outcome: Outcome::Data,
        };
        let answer = tidekeeper_scheduler::DescribeAnswer::Status(status);
        self.tell(Event::Described { attempt, answer });
    }

    pub(crate) fn run(&mut self, id: &str) {
        let statement = StatementId::from(format!("statement-{id}"));
        let status = StatementStatus::Running;
        self.answer(id, SubmitAnswer::Accepted { statement, status });
    }

    pub(crate) fn fail(&mut self, id: &str, class: FailureClass, message: &str) {
        let mut failure = Failure::new(class, message);
        failure.mend = Some("look at the view".into());
        self.answer(id, SubmitAnswer::NotExecuted(failure));
    }

    fn attempt(&self, id: &str) -> tidekeeper_scheduler::AttemptId {
        let views = self.scheduler.snapshot().views;
        let view = views.iter().find(|view| view.view.as_str() == id);
        view.unwrap().attempt.clone().unwrap().0
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::new(self.scheduler.snapshot())
    }

    pub(crate) fn catalog(&self) -> Catalog {
        let views = self.plan.views.iter().map(|spec| {
            let info = ViewInfo {
                warehouse: spec.warehouse.clone(),
                database: "dev".to_owned(),
                stream: Some("clicks".to_owned()),
                labels: BTreeMap::new(),
            };
            (spec.id.clone(), info)
        });
        let warehouses = self.plan.warehouses.iter().map(|spec| spec.id.clone());
        Catalog {
            views: views.collect(),
            warehouses: warehouses.collect(),
            prices: BTreeMap::new(),
        }
    }
}
