//! Random work on the engine: whatever is submitted, cancelled, timed out or failed in
//! whatever order, records are read exactly once and nothing is held for ever.

use std::collections::BTreeMap;

use super::engine::{Cancelled, Engine};
use super::*;
use crate::random::Dice;
use crate::world::World;

const WORLD: &str = r#"
[[warehouses]]
name = "w"
kind = "cluster"
databases = ["dev"]
slots = 3
[[streams]]
name = "s"
shards = 2
[[streams]]
name = "t"
retention = 5
[[producers]]
stream = "s"
pattern = "sparse"
every = 0.1
[[producers]]
stream = "t"
pattern = "bursts"
rate = 20
on = 1
off = 2
[[views]]
name = "a"
database = "dev"
warehouse = "w"
stream = "s"
service = { fixed = 0.5, sigma = 0.5, stragglers = { probability = 0.1, factor = 10 } }
[[views]]
name = "b"
database = "dev"
warehouse = "w"
stream = "s"
service = { fixed = 1, sigma = 1 }
faults = [{ kind = "fail", text = "ERROR: 1023", from = 5, until = 12 }]
[[views]]
name = "c"
database = "dev"
warehouse = "w"
stream = "t"
service = { fixed = 0.2, sigma = 1 }
faults = [{ kind = "stuck", first = 2 }, { kind = "slow_cancel", seconds = 0.7, first = 5 }]
"#;

const SQLS: [&str; 6] = [
    "REFRESH MATERIALIZED VIEW a",
    "REFRESH MATERIALIZED VIEW b",
    "REFRESH MATERIALIZED VIEW c",
    "SET statement_timeout TO 900",
    "REFRESH MATERIALIZED VIEW none",
    "REFRESH MATERIALIZED VIEW a CASCADE",
];

fn submission(dice: &mut Dice) -> Submission {
    let batch = match dice.below(4) {
        0 => Some(Mode::Transaction),
        1 => Some(Mode::AutoCommit),
        _ => None,
    };
    let texts = if batch.is_some() {
        1 + dice.below(4)
    } else {
        1
    };
    let sqls = (0..texts).map(|_| dice.pick(&SQLS).to_owned()).collect();
    Submission::new(("w", "dev"), sqls, batch)
}

/// What must hold at every moment.
fn check(engine: &Engine) {
    let open = engine
        .statements()
        .filter(|(_, s)| !s.status.is_terminal())
        .count();
    let warehouse = &engine.warehouses["w"];
    assert_eq!(warehouse.active, open, "active statements");
    assert!(warehouse.running.len() <= warehouse.spec.slots(), "slots");
    for (number, statement) in engine.statements() {
        let started = statement.status == Status::Started;
        assert_eq!(
            warehouse.running.contains(&number),
            started,
            "a slot for what is STARTED"
        );
        assert!(
            started || statement.locks.is_empty(),
            "locks of {statement:?}"
        );
        assert!(
            started || statement.staged.is_empty(),
            "staged reads of {statement:?}"
        );
        if statement.status.is_terminal() {
            assert!(
                statement.units.iter().all(|unit| unit.status.is_terminal()),
                "{statement:?}"
            );
        }
    }
    for (id, view) in engine.views() {
        if let Some(holder) = view.holder() {
            let holder = engine.statement(holder).unwrap();
            assert!(holder.locks.contains(id), "{id} is locked by {holder:?}");
        }
    }
}

/// Every record is visible in a view once for each record that its finished refreshes read.
fn check_reads(engine: &Engine) -> u64 {
    let mut read: BTreeMap<String, u64> = BTreeMap::new();
    for (_, statement) in engine.statements() {
        for unit in &statement.units {
            if let (Some(view), Some(part)) = (&unit.view, unit.read) {
                *read.entry(view.clone()).or_default() += part.records;
            }
        }
    }
    for (id, state) in engine.views() {
        let log = engine.streams().log(state.view.stream.get_ref()).unwrap();
        let shards = log.shards().iter().enumerate();
        let visible = shards.flat_map(|(shard, records)| {
            records
                .records()
                .filter(move |(seq, _)| state.visible_at(shard, *seq).is_some())
        });
        let visible = u64::try_from(visible.count()).unwrap();
        assert_eq!(
            visible,
            read.get(id).copied().unwrap_or(0),
            "records visible in {id}"
        );
    }
    read.values().sum()
}

fn run(seed: u64) -> u64 {
    let mut engine = Engine::new(&World::from_toml(WORLD, "test").unwrap(), seed);
    let mut dice = Dice::new(seed, "stress");
    let mut now = Moment::ZERO;
    let mut numbers = Vec::new();
    for _ in 0..60 {
        now += dice.exponential(Duration::from_millis(400));
        if !numbers.is_empty() && dice.chance(0.3) {
            engine.cancel(numbers[dice.below(numbers.len())], now);
        } else {
            numbers.push(engine.submit(submission(&mut dice), now).unwrap());
        }
        check(&engine);
    }
    // Stuck ones are cancelled, over and over, until nothing is left.
    for _ in 0..2_000 {
        now = engine
            .next_at()
            .unwrap_or(now + Duration::from_secs(1))
            .max(now);
        engine.advance(now);
        check(&engine);
        let running: Vec<u64> = numbers
            .iter()
            .copied()
            .filter(|n| !engine.statement(*n).unwrap().status.is_terminal())
            .collect();
        if running.is_empty() {
            return check_reads(&engine);
        }
        if engine.next_at().is_none() {
            let cancelled = running
                .iter()
                .filter(|n| engine.cancel(**n, now) == Cancelled::Accepted);
            assert!(
                cancelled.count() > 0,
                "seed {seed}: nothing moves and nothing can be cancelled"
            );
        }
    }
    panic!("seed {seed}: work is left");
}

#[test]
fn random_work_reads_every_record_once_and_ends() {
    let read: u64 = (0..150).map(run).sum();
    assert!(read > 10_000, "the runs read something: {read}");
}
