//! The loop on a paused clock with an in-process fake: no sockets here, because a paused
//! clock jumps whenever every task is idle.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use tidekeeper_scheduler::{
    ApiScope, Billing, Mode, Outcome, Outcomes, OverloadOrder, Plan, Priority, StatementId,
    StatementStatus, StatementTimeout, ViewId, ViewSpec, WarehouseId, WarehouseSpec, WhileClosed,
};

use super::*;

/// What the fake does with the next submit; finishes after a second when nothing is left.
enum Play {
    Hang,
    Panic,
}

#[derive(Default)]
struct Fake {
    script: Mutex<VecDeque<Play>>,
    submits: Mutex<Vec<String>>,
}

impl Execute for Fake {
    async fn execute(self: Arc<Self>, command: Command) -> Event {
        match command {
            Command::Scan { warehouse } => Event::Scanned {
                warehouse,
                result: Ok(Vec::new()),
            },
            Command::Submit { attempt, view, .. } => {
                self.submits.lock().unwrap().push(view.to_string());
                let play = self.script.lock().unwrap().pop_front();
                match play {
                    Some(Play::Hang) => std::future::pending().await,
                    Some(Play::Panic) => panic!("as scripted"),
                    None => tokio::time::sleep(Duration::from_secs(1)).await,
                }
                let status = StatementStatus::Finished {
                    at: None,
                    outcome: Outcome::Data,
                };
                let statement = StatementId::from("s");
                let answer = SubmitAnswer::Accepted { statement, status };
                Event::Submitted { attempt, answer }
            }
            Command::Resolve { attempt, .. } => Event::Resolved {
                attempt,
                answer: ResolveAnswer::NotRunning,
            },
            Command::Describe { .. } | Command::Cancel { .. } | Command::Sweep { .. } => {
                unreachable!("every submit here ends at once or never")
            }
        }
    }
}

#[derive(Default)]
struct Facts {
    notices: Vec<Notice>,
    heartbeats: usize,
}

#[derive(Clone, Default)]
struct Record(Arc<Mutex<Facts>>);

impl Report for Record {
    fn notice(&mut self, _: Timestamp, notice: &Notice) {
        self.0.lock().unwrap().notices.push(notice.clone());
    }

    fn state(&mut self, _: Timestamp, _: &Arc<Snapshot>) {
        self.0.lock().unwrap().heartbeats += 1;
    }

    fn broken(&mut self, invariants: &[String]) {
        assert_eq!(invariants, [""; 0], "invariants hold in production too");
    }
}

fn plan(views: &[&str]) -> Plan {
    let view = |id: &&str| ViewSpec {
        id: ViewId::from(*id),
        warehouse: WarehouseId::from("wh"),
        location: (*id).into(),
        target_lag: Span::from_secs(30),
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
    };
    Plan {
        warehouses: vec![WarehouseSpec {
            id: WarehouseId::from("wh"),
            location: "wh".into(),
            api_scope: ApiScope::from("here"),
            submits_per_second: 15.0,
            max_in_flight: 4,
            billing: Billing::Provisioned,
            wake_minimum: Span::from_secs(60),
            overload: OverloadOrder::Fair,
            outcomes: Outcomes::Off,
        }],
        views: views.iter().map(view).collect(),
        schedules: std::collections::BTreeMap::new(),
    }
}

struct Run {
    events: mpsc::Sender<Event>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    record: Record,
    fake: Arc<Fake>,
    clock: Clock,
    ended: JoinSet<Result<(), LoopError>>,
}

async fn start(script: Vec<Play>, views: &[&str]) -> Run {
    let clock = Clock::anchored_to(Timestamp::from_micros(0));
    let scheduler = Scheduler::new(clock.now(), 7);
    let (events, inbox) = mpsc::channel(16);
    let (sender, snapshots) = watch::channel(Arc::new(scheduler.snapshot()));
    let fake = Arc::new(Fake {
        script: Mutex::new(script.into()),
        ..Fake::default()
    });
    let record = Record::default();
    let run_loop = RunLoop {
        scheduler,
        clock,
        executor: Arc::clone(&fake),
        report: record.clone(),
        inbox,
        snapshots: sender,
    };
    let mut ended = JoinSet::new();
    ended.spawn(run_loop.run());
    events.send(Event::Plan(plan(views))).await.unwrap();
    Run {
        events,
        snapshots,
        record,
        fake,
        clock,
        ended,
    }
}

impl Run {
    async fn shut_down(&mut self, budget: Span) {
        let until = self.clock.now() + budget;
        self.events.send(Event::Shutdown { until }).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn views_are_refreshed_again_and_again() {
    let run = start(Vec::new(), &["a", "b"]).await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    let views = run.snapshots.borrow().views.clone();
    // At most T = 30 s apart, and by no means back to back.
    assert!(
        views.iter().all(|view| (10..25).contains(&view.refreshes)),
        "{views:?}"
    );
    assert!(run.record.0.lock().unwrap().heartbeats >= 299);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_never_ends_is_answered_for() {
    let run = start(vec![Play::Hang], &["a"]).await;
    tokio::time::sleep(Duration::from_secs(120)).await;
    let notices = &run.record.0.lock().unwrap().notices;
    let unsure = notices.iter().any(|n| matches!(n, Notice::Unsure { .. }));
    let refreshed = notices
        .iter()
        .any(|n| matches!(n, Notice::Refreshed { .. }));
    assert!(unsure && refreshed, "{notices:?}");
    assert!(run.fake.submits.lock().unwrap().len() >= 2);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_call_ends_the_loop_with_an_error() {
    let mut run = start(vec![Play::Panic], &["a"]).await;
    let ended = run.ended.join_next().await.unwrap().unwrap();
    assert!(
        matches!(ended, Err(LoopError::CallPanicked(_))),
        "{ended:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_what_runs_and_begins_nothing() {
    let mut run = start(Vec::new(), &["a"]).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    run.shut_down(Span::from_secs(25)).await;
    run.ended.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(
        run.clock.now(),
        Timestamp::from_micros(0) + Span::from_secs(1)
    );
    assert_eq!(run.fake.submits.lock().unwrap().len(), 1);
    assert!(run.snapshots.borrow().draining);
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_with_its_budget() {
    let mut run = start(vec![Play::Hang], &["a"]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    run.shut_down(Span::from_secs(5)).await;
    run.ended.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(
        run.clock.now(),
        Timestamp::from_micros(0) + Span::from_secs(6)
    );
    let notices = &run.record.0.lock().unwrap().notices;
    let left = notices
        .iter()
        .any(|n| matches!(n, Notice::LeftRunning { .. }));
    assert!(left, "{notices:?}");
}
