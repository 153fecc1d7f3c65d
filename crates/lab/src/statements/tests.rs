//! Statements on virtual time: order of statuses, slots, locks, batches, cancels, tokens.

use super::engine::{Cancelled, Engine, Filter, Refusal};
use super::*;
use crate::world::World;

const WORLD: &str = r#"
[endpoint]
active_statements = 6

[[warehouses]]
name = "w"
kind = "cluster"
databases = ["dev", "other"]
slots = 2
submit_delay = 0.1
start_delay = 0.1

[[streams]]
name = "s"
shards = 2
[[producers]]
stream = "s"
pattern = "steady"
rate = 10
until = 300

[[views]]
name = "a"
database = "dev"
warehouse = "w"
stream = "s"
service = { fixed = 1 }
[[views]]
name = "b"
database = "dev"
warehouse = "w"
stream = "s"
service = { fixed = 2 }
[[views]]
name = "c"
schema = "Sales"
database = "dev"
warehouse = "w"
stream = "s"
owner = "mv_owner"
[[views]]
name = "stuck"
database = "dev"
warehouse = "w"
stream = "s"
[[views.faults]]
kind = "stuck"
first = 1
[[views]]
name = "slow"
database = "dev"
warehouse = "w"
stream = "s"
service = { fixed = 60 }
[[views.faults]]
kind = "slow_cancel"
seconds = 5
first = 1
[[views.faults]]
kind = "refuse_cancel"
from = 1000
[[views]]
name = "bad"
database = "dev"
warehouse = "w"
stream = "s"
[[views.faults]]
kind = "fail"
text = "ERROR: Invalid digit"
first = 2
"#;

fn engine() -> Engine {
    Engine::new(&World::from_toml(WORLD, "test").unwrap(), 1)
}

fn asked(sqls: &[&str], batch: Option<Mode>) -> Submission {
    let sqls = sqls.iter().map(|sql| (*sql).to_owned()).collect();
    Submission::new(("w", "dev"), sqls, batch)
}

fn refresh(view: &str) -> Submission {
    asked(&[&format!("REFRESH MATERIALIZED VIEW {view}")], None)
}

fn s(seconds: f64) -> Moment {
    Duration::from_secs_f64(seconds)
}

fn status(engine: &Engine, number: u64) -> Status {
    engine.statement(number).unwrap().status
}

/// Runs to the end of everything on the agenda.
fn drain(engine: &mut Engine) {
    while let Some(at) = engine.next_at() {
        engine.advance(at);
    }
}

fn failure(mut asked: Submission, change: impl FnOnce(&mut Submission)) -> (Status, String) {
    let mut engine = engine();
    change(&mut asked);
    let number = engine.submit(asked, s(0.0)).unwrap();
    drain(&mut engine);
    let statement = engine.statement(number).unwrap();
    (
        statement.status,
        statement.error.clone().unwrap_or_default(),
    )
}

/// Checks that every record up to the last read is visible in `view` exactly from one commit.
fn visible(engine: &Engine, view: &str) -> usize {
    let state = engine.views().find(|(id, _)| *id == view).unwrap().1;
    let shards = engine.streams().log("s").unwrap().shards();
    let seen = shards.iter().enumerate().map(|(shard, log)| {
        log.records()
            .filter(|(seq, _)| state.visible_at(shard, *seq).is_some())
            .count()
    });
    seen.sum()
}

#[test]
fn a_refresh_moves_through_every_status_at_its_time() {
    let mut engine = engine();
    let number = engine.submit(refresh("a"), s(10.0)).unwrap();
    for (at, expected) in [
        (10.05, Status::Submitted),
        (10.1, Status::Picked),
        (10.19, Status::Picked),
        (10.2, Status::Started),
        (11.19, Status::Started),
        (11.2, Status::Finished),
    ] {
        engine.advance(s(at));
        assert_eq!(status(&engine, number), expected, "at {at}");
    }
    let statement = engine.statement(number).unwrap();
    let read = statement.units[0].read.unwrap();
    assert_eq!(read.at, s(10.2), "it reads up to the moment it started");
    assert_eq!(statement.duration(), Some(s(1.0)));
    assert!((100..=104).contains(&read.records), "{read:?}");
    assert_eq!(
        visible(&engine, "public.a"),
        usize::try_from(read.records).unwrap()
    );
}

#[test]
fn nothing_is_visible_before_the_refresh_has_ended() {
    let mut engine = engine();
    engine.submit(refresh("a"), s(10.0)).unwrap();
    engine.advance(s(11.0));
    assert_eq!(visible(&engine, "public.a"), 0);
    engine.advance(s(12.0));
    assert!(visible(&engine, "public.a") > 99);
}

#[test]
fn statements_beyond_the_slots_wait_as_picked_in_the_order_of_arrival() {
    let mut engine = engine();
    let numbers: Vec<u64> = ["b", "a", "a", "b"]
        .iter()
        .map(|v| engine.submit(refresh(v), s(0.0)).unwrap())
        .collect();
    engine.advance(s(0.5));
    let statuses: Vec<Status> = numbers.iter().map(|n| status(&engine, *n)).collect();
    assert_eq!(
        statuses,
        [
            Status::Started,
            Status::Started,
            Status::Picked,
            Status::Picked
        ]
    );
    engine.advance(s(1.3));
    assert_eq!(status(&engine, numbers[2]), Status::Started);
    assert_eq!(status(&engine, numbers[3]), Status::Picked);
    drain(&mut engine);
    assert!(
        numbers
            .iter()
            .all(|n| status(&engine, *n) == Status::Finished)
    );
}

#[test]
fn two_refreshes_of_one_view_overlap_and_read_every_record_once() {
    let mut engine = engine();
    let first = engine.submit(refresh("a"), s(10.0)).unwrap();
    let second = engine.submit(refresh("a"), s(10.3)).unwrap();
    engine.advance(s(10.6));
    assert_eq!(status(&engine, first), Status::Started);
    assert_eq!(
        status(&engine, second),
        Status::Started,
        "it waits for the lock, STARTED"
    );
    assert!(engine.statement(second).unwrap().units[0].read.is_none());
    drain(&mut engine);
    let read = |n| engine.statement(n).unwrap().units[0].read.unwrap();
    assert_eq!(
        read(second).at,
        s(11.2),
        "it reads from when it has the lock"
    );
    let records = usize::try_from(read(first).records + read(second).records).unwrap();
    assert_eq!(visible(&engine, "public.a"), records);
}

#[test]
fn the_limit_of_active_statements_holds_per_warehouse() {
    let mut engine = engine();
    for _ in 0..6 {
        engine.submit(refresh("a"), s(0.0)).unwrap();
    }
    assert_eq!(
        engine.submit(refresh("a"), s(0.0)),
        Err(Refusal::TooManyActive)
    );
    drain(&mut engine);
    assert!(engine.submit(refresh("a"), s(100.0)).is_ok());
}

#[test]
fn an_unknown_warehouse_is_refused() {
    let mut submission = refresh("a");
    submission.warehouse = "elsewhere".to_owned();
    assert_eq!(
        engine().submit(submission, s(0.0)),
        Err(Refusal::NoWarehouse)
    );
}

#[test]
fn a_token_returns_its_statement_for_eight_hours() {
    let mut engine = engine();
    let with_token = || Submission {
        token: Some("t".to_owned()),
        ..refresh("a")
    };
    let first = engine.submit(with_token(), s(0.0)).unwrap();
    assert_eq!(
        engine.submit(with_token(), s(8.0 * 3600.0 - 1.0)),
        Ok(first)
    );
    let later = engine.submit(with_token(), s(8.0 * 3600.0)).unwrap();
    assert_ne!(later, first);
    assert_eq!(
        engine.submit(with_token(), s(8.0 * 3600.0 + 1.0)),
        Ok(later)
    );
}

#[test]
fn a_statement_is_forgotten_after_a_day() {
    let mut engine = engine();
    let number = engine.submit(refresh("a"), s(0.0)).unwrap();
    let id = engine.statement(number).unwrap().id.clone();
    engine.advance(s(86_399.0));
    assert_eq!(engine.find(&id), Some(number));
    engine.advance(s(86_400.0));
    assert_eq!(engine.find(&id), None);
}

#[test]
fn statements_that_redshift_would_refuse_fail_with_its_words() {
    let sql = |text: &str| asked(&[text], None);
    for (submission, expected) in [
        (
            refresh("none"),
            "ERROR: relation \"public.none\" does not exist",
        ),
        (
            refresh("nowhere.a"),
            "ERROR: schema \"nowhere\" does not exist",
        ),
        (
            refresh("sales.c"),
            "ERROR: must be owner of materialized view c",
        ),
        (
            refresh("x.public.a"),
            "ERROR: cross-database reference to database \"x\" is not supported",
        ),
        (refresh("bad"), "ERROR: Invalid digit"),
        (
            sql("REFRESH MATERIALIZED TABLE a"),
            "ERROR: syntax error at or near \"TABLE\"\n  Position: 22",
        ),
    ] {
        assert_eq!(
            failure(submission, |_| ()),
            (Status::Failed, expected.to_owned())
        );
    }
    let (status, error) = failure(refresh("a"), |s| "nodb".clone_into(&mut s.database));
    assert_eq!(
        (status, error.as_str()),
        (Status::Failed, "FATAL: database \"nodb\" does not exist")
    );
    let (_, error) = failure(refresh("a"), |s| "other".clone_into(&mut s.database));
    assert_eq!(
        error, "ERROR: relation \"public.a\" does not exist",
        "views belong to a database"
    );
    let (status, _) = failure(refresh("sales.c"), |s| {
        s.db_user = Some("mv_owner".to_owned());
    });
    assert_eq!(status, Status::Finished);
}

#[test]
fn a_failed_refresh_reads_nothing_and_the_next_one_reads_it_all() {
    let mut engine = engine();
    for at in [1.0, 5.0] {
        let number = engine.submit(refresh("bad"), s(at)).unwrap();
        engine.advance(s(at + 3.0));
        assert_eq!(status(&engine, number), Status::Failed);
        assert!(engine.statement(number).unwrap().units[0].read.is_none());
    }
    assert_eq!(visible(&engine, "public.bad"), 0);
    let third = engine.submit(refresh("bad"), s(10.0)).unwrap();
    drain(&mut engine);
    assert_eq!(status(&engine, third), Status::Finished);
    assert!(visible(&engine, "public.bad") > 99);
}

#[test]
fn a_stuck_refresh_ends_when_it_is_cancelled_and_leaves_lock_and_slot() {
    let mut engine = engine();
    let stuck = engine.submit(refresh("stuck"), s(0.0)).unwrap();
    let waiting = engine.submit(refresh("stuck"), s(1.0)).unwrap();
    engine.advance(s(5000.0));
    assert_eq!(
        (status(&engine, stuck), status(&engine, waiting)),
        (Status::Started, Status::Started)
    );
    assert_eq!(engine.cancel(stuck, s(5000.0)), Cancelled::Accepted);
    drain(&mut engine);
    let statement = engine.statement(stuck).unwrap();
    assert_eq!(statement.status, Status::Aborted);
    assert_eq!(
        statement.error.as_deref(),
        Some("ERROR:  Query (1) cancelled on user's request")
    );
    assert_eq!(status(&engine, waiting), Status::Finished);
    assert_eq!(
        engine.cancel(stuck, s(6000.0)),
        Cancelled::Not(Status::Aborted)
    );
}

#[test]
fn only_a_running_statement_can_be_cancelled() {
    let mut engine = engine();
    let number = engine.submit(refresh("a"), s(0.0)).unwrap();
    assert_eq!(
        engine.cancel(number, s(0.05)),
        Cancelled::Not(Status::Submitted)
    );
    assert_eq!(
        engine.cancel(number, s(0.15)),
        Cancelled::Not(Status::Picked)
    );
    assert_eq!(
        engine.cancel(number, s(9.0)),
        Cancelled::Not(Status::Finished)
    );
}

#[test]
fn a_cancel_can_be_slow_or_declined() {
    let mut engine = engine();
    let slow = engine.submit(refresh("slow"), s(0.0)).unwrap();
    engine.advance(s(1.0));
    assert_eq!(engine.cancel(slow, s(1.0)), Cancelled::Accepted);
    engine.advance(s(5.9));
    assert_eq!(status(&engine, slow), Status::Started);
    engine.advance(s(6.0));
    assert_eq!(status(&engine, slow), Status::Aborted);
    let declined = engine.submit(refresh("slow"), s(1000.0)).unwrap();
    assert_eq!(engine.cancel(declined, s(1001.0)), Cancelled::Declined);
    drain(&mut engine);
    assert_eq!(status(&engine, declined), Status::Finished);
}

#[test]
fn a_waiting_refresh_that_is_cancelled_leaves_the_queue_of_the_lock() {
    let mut engine = engine();
    let first = engine.submit(refresh("b"), s(0.0)).unwrap();
    let second = engine.submit(refresh("b"), s(0.0)).unwrap();
    engine.advance(s(0.5));
    assert_eq!(engine.cancel(second, s(0.5)), Cancelled::Accepted);
    drain(&mut engine);
    assert_eq!(
        (status(&engine, first), status(&engine, second)),
        (Status::Finished, Status::Aborted)
    );
    let third = engine.submit(refresh("b"), s(10.0)).unwrap();
    drain(&mut engine);
    assert_eq!(status(&engine, third), Status::Finished);
}

#[test]
fn a_statement_timeout_fails_with_the_words_of_a_cancel_and_one_l() {
    let mut engine = engine();
    let sqls = [
        "SET statement_timeout TO 400",
        "REFRESH MATERIALIZED VIEW a",
    ];
    let number = engine
        .submit(asked(&sqls, Some(Mode::AutoCommit)), s(0.0))
        .unwrap();
    drain(&mut engine);
    let statement = engine.statement(number).unwrap();
    assert_eq!(statement.status, Status::Failed);
    assert_eq!(
        statement.error.as_deref(),
        Some("ERROR:  Query (2) canceled on user's request")
    );
    assert_eq!(statement.units[1].duration(), Some(s(0.4)));
    assert_eq!(visible(&engine, "public.a"), 0);
}

fn batch(mode: Mode, views: &[&str]) -> (Engine, u64) {
    let mut engine = engine();
    let sqls: Vec<String> = views
        .iter()
        .map(|view| format!("REFRESH MATERIALIZED VIEW {view}"))
        .collect();
    let sqls: Vec<&str> = sqls.iter().map(String::as_str).collect();
    let number = engine.submit(asked(&sqls, Some(mode)), s(10.0)).unwrap();
    drain(&mut engine);
    (engine, number)
}

fn unit_statuses(engine: &Engine, number: u64) -> Vec<Status> {
    engine
        .statement(number)
        .unwrap()
        .units
        .iter()
        .map(|unit| unit.status)
        .collect()
}

#[test]
fn an_auto_commit_batch_goes_on_after_a_failure() {
    let (engine, number) = batch(Mode::AutoCommit, &["a", "none", "b"]);
    assert_eq!(
        unit_statuses(&engine, number),
        [Status::Finished, Status::Failed, Status::Finished]
    );
    assert_eq!(status(&engine, number), Status::Failed);
    assert!(visible(&engine, "public.a") > 0 && visible(&engine, "public.b") > 0);
}

#[test]
fn a_transaction_with_a_failure_leaves_nothing_behind() {
    let (engine, number) = batch(Mode::Transaction, &["a", "none", "b"]);
    assert_eq!(
        unit_statuses(&engine, number),
        [Status::Finished, Status::Failed, Status::Aborted]
    );
    assert_eq!(
        visible(&engine, "public.a") + visible(&engine, "public.b"),
        0
    );
    assert!(engine.statement(number).unwrap().units[0].read.is_none());
}

#[test]
fn a_transaction_is_visible_at_its_end_and_reads_on_from_itself() {
    let (engine, number) = batch(Mode::Transaction, &["a", "b", "a"]);
    let statement = engine.statement(number).unwrap();
    assert_eq!(statement.status, Status::Finished);
    let records = |unit: usize| statement.units[unit].read.unwrap().records;
    assert_eq!(
        visible(&engine, "public.a"),
        usize::try_from(records(0) + records(2)).unwrap()
    );
    assert!(records(2) < records(0));
    let state = engine.views().find(|(id, _)| *id == "public.a").unwrap().1;
    assert_eq!(state.visible_at(0, 0), statement.finished);
}

#[test]
fn two_transactions_that_wait_for_each_other_are_parted() {
    let mut engine = engine();
    let (ab, ba) = (
        ["REFRESH MATERIALIZED VIEW a", "REFRESH MATERIALIZED VIEW b"],
        ["REFRESH MATERIALIZED VIEW b", "REFRESH MATERIALIZED VIEW a"],
    );
    let first = engine
        .submit(asked(&ab, Some(Mode::Transaction)), s(0.0))
        .unwrap();
    let second = engine
        .submit(asked(&ba, Some(Mode::Transaction)), s(0.0))
        .unwrap();
    drain(&mut engine);
    assert_eq!(status(&engine, first), Status::Finished);
    let error = engine.statement(second).unwrap().error.clone();
    assert_eq!(error.as_deref(), Some("ERROR: deadlock detected"));
}

#[test]
fn a_list_pages_from_the_newest_and_filters() {
    let mut engine = engine();
    for (index, name) in ["td/a/1", "td/a/2", "TD/a/3", "td/b/4", "td/a/5"]
        .iter()
        .enumerate()
    {
        let session = Some(if index == 0 { "old" } else { "new" }.to_owned());
        let named = Submission {
            name: Some((*name).to_owned()),
            session,
            ..refresh("a")
        };
        engine.submit(named, s(0.0)).unwrap();
    }
    let names = |filter: &Filter, below, limit| {
        let (page, next) = engine.list(filter, below, limit);
        let names: Vec<String> = page
            .iter()
            .map(|statement| statement.asked.name.clone().unwrap())
            .collect();
        (names, next)
    };
    let prefix = Filter {
        name_prefix: Some("td/a/".to_owned()),
        ..Filter::default()
    };
    let (page, next) = names(&prefix, None, 2);
    assert_eq!(page, ["td/a/5", "td/a/2"]);
    let (page, next) = names(&prefix, next, 2);
    assert_eq!(
        (page.as_slice(), next),
        (["td/a/1".to_owned()].as_slice(), None)
    );
    let session = Filter {
        session: Some(Some("old".to_owned())),
        ..Filter::default()
    };
    assert_eq!(names(&session, None, 9).0, ["td/a/1"]);
    let finished = Filter {
        status: Some(Status::Finished),
        ..Filter::default()
    };
    assert!(names(&finished, None, 9).0.is_empty());
}
