//! How many events per second the core takes, all views on their ordinary rhythm.
//!
//! One iteration lets virtual time run until every view has been refreshed some ten times:
//! each refresh is one time-out, one submit, and the answer to its long poll.

#![expect(clippy::unwrap_used, reason = "a benchmark")]

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tidekeeper_scheduler::{
    ApiScope, AttemptId, Billing, Command, Event, Mode, Outcome, Outcomes, Output, OverloadOrder,
    Plan, Priority, Scheduler, Span, StatementStatus, StatementTimeout, SubmitAnswer, Timestamp,
    ViewSpec, WarehouseSpec, WhileClosed,
};

const HORIZON: Span = Span::from_secs(600);
const SERVICE: Span = Span::from_secs(1);

fn plan(views: usize) -> Plan {
    let views = (0..views).map(|number| {
        let name = format!("schema.view_{number:04}");
        ViewSpec {
            id: name.as_str().into(),
            warehouse: "wh".into(),
            location: name.as_str().into(),
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
    });
    Plan {
        warehouses: vec![WarehouseSpec {
            id: "wh".into(),
            location: "wh".into(),
            api_scope: ApiScope::from("account/region"),
            submits_per_second: 1_000.0,
            max_in_flight: 64,
            billing: Billing::Provisioned,
            wake_minimum: Span::from_secs(60),
            overload: OverloadOrder::Fair,
            outcomes: Outcomes::Off,
        }],
        views: views.collect(),
        schedules: BTreeMap::new(),
    }
}

/// Runs to the horizon and counts the events, time-outs among them.
fn live(plan: &Plan) -> u64 {
    let mut scheduler = Scheduler::new(Timestamp::default(), 1);
    let mut answers: BinaryHeap<Reverse<(Timestamp, AttemptId)>> = BinaryHeap::new();
    let mut events = 2;
    let mut now = Timestamp::default();
    scheduler.handle(now, Event::Plan(plan.clone()));
    let (warehouse, result) = ("wh".into(), Ok(Vec::new()));
    scheduler.handle(now, Event::Scanned { warehouse, result });
    while now < Timestamp::default() + HORIZON {
        let deadline = loop {
            match scheduler.poll() {
                Output::Command(Command::Submit { attempt, .. }) => {
                    answers.push(Reverse((now + SERVICE, attempt)));
                }
                Output::Wait(deadline) => break deadline,
                Output::Stopped => break None,
                other @ (Output::Command(_) | Output::Notice(_)) => {
                    black_box(other);
                }
            }
        };
        let answer = answers.peek().map(|Reverse((at, _))| *at);
        let deadline = deadline.map(|deadline| deadline.at);
        now = now.max(answer.into_iter().chain(deadline).min().unwrap());
        if answer.is_some_and(|at| at <= now) {
            let Reverse((_, attempt)) = answers.pop().unwrap();
            let status = StatementStatus::Finished {
                at: Some(now),
                outcome: Outcome::Data,
            };
            let answer = SubmitAnswer::Accepted {
                statement: "8a1b2c3d-0000-0000-0000-000000000000".into(),
                status,
            };
            scheduler.handle(now, Event::Submitted { attempt, answer });
        } else {
            scheduler.handle_timeout(now);
        }
        events += 1;
    }
    events
}

fn events(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("events");
    for views in [200, 1_000] {
        let plan = plan(views);
        group.throughput(Throughput::Elements(live(&plan)));
        group.bench_with_input(
            BenchmarkId::from_parameter(views),
            &plan,
            |bencher, plan| {
                bencher.iter(|| live(black_box(plan)));
            },
        );
    }
    group.finish();
}

criterion_group!(benches, events);
criterion_main!(benches);
