//! Decides what the lab tells about itself: the truth that a judge compares with what a
//! client of the lab believes.
//!
//! Times are seconds on the lab's clock; a time that has not been reached is absent. A batch
//! shows one entry per SQL text, under its sub-statement id.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::clock::Moment;
use crate::kinesis::Kinesis;
use crate::statements::engine::Engine;
use crate::statements::{Statement, Unit};
use crate::streams::shard_id;

/// Everything that the lab knows at one moment.
pub(crate) struct Truth<'a> {
    pub(crate) engine: &'a Engine,
    /// By operation.
    pub(crate) calls: &'a BTreeMap<&'static str, u64>,
    pub(crate) kinesis: &'a Kinesis,
    pub(crate) now: Moment,
}

/// `GET /__lab/history`: statements that were active at or after `since`, arrivals that came
/// or became visible at or after it, and all calls so far.
pub(crate) fn history(truth: &Truth<'_>, since: f64) -> Value {
    let engine = truth.engine;
    let mut statements = Vec::new();
    for (_, statement) in engine.statements() {
        for (index, unit) in statement.units.iter().enumerate() {
            if unit
                .finished
                .is_none_or(|finished| finished.as_secs_f64() >= since)
            {
                statements.push(entry(statement, index, unit));
            }
        }
    }
    let awake: BTreeMap<&str, Value> = engine
        .awake(truth.now)
        .map(|(warehouse, (busy, billed))| {
            (warehouse, json!({ "busy_s": busy, "billed_s": billed }))
        })
        .collect();
    json!({
        "statements": statements,
        "arrivals": arrivals(engine, since),
        "calls": truth.calls,
        "awake": awake,
        "reads": reads(truth),
    })
}

/// How the Kinesis API was asked to read the shards of each stream.
fn reads(truth: &Truth<'_>) -> Value {
    let streams = truth.engine.streams().logs().map(|(stream, log)| {
        let shards = truth.kinesis.shards_read(log.number());
        let shards: BTreeMap<String, Value> = shards
            .map(|(shard, reads)| {
                let reads = json!({
                    "records_calls": reads.records_calls,
                    "iterator_calls": reads.iterator_calls,
                    "most_per_second": reads.most_per_second,
                });
                (shard_id(shard), reads)
            })
            .collect();
        (stream.clone(), json!(shards))
    });
    Value::Object(streams.collect())
}

fn entry(statement: &Statement, index: usize, unit: &Unit) -> Value {
    let asked = &statement.asked;
    let id = match asked.batch {
        None => statement.id.clone(),
        Some(_) => format!("{}:{}", statement.id, index + 1),
    };
    let mut entry = Map::new();
    let mut put = |key: &str, value: Value| entry.insert(key.to_owned(), value);
    put("id", id.into());
    put("warehouse", asked.warehouse.as_str().into());
    put("status", unit.status.name().into());
    put("submitted_s", seconds(statement.created));
    if statement.auto {
        put("auto", true.into());
    }
    if let Some(name) = &asked.name {
        put("name", name.as_str().into());
    }
    if let Some(token) = &asked.token {
        put("token", token.as_str().into());
    }
    if let Some(view) = &unit.view {
        put("view", view.as_str().into());
    }
    if let Some(started) = unit.started {
        put("started_s", seconds(started));
    }
    if let Some(finished) = unit.finished {
        put("finished_s", seconds(finished));
    }
    if let Some(read) = unit.read {
        put("data_s", seconds(read.at));
        if unit.finished.is_some() {
            put("bytes", read.bytes.into());
            put("records", read.records.into());
        }
    }
    Value::Object(entry)
}

fn arrivals(engine: &Engine, since: f64) -> Vec<Value> {
    let mut arrivals = Vec::new();
    for (stream, log) in engine.streams().logs() {
        let readers: Vec<_> = engine
            .views()
            .filter(|(_, state)| state.source.lab_stream() == Some(stream.as_str()))
            .collect();
        for (shard, records) in log.shards().iter().enumerate() {
            for (sequence, record) in records.records() {
                let visible: BTreeMap<&str, f64> = readers
                    .iter()
                    .filter_map(|(id, state)| {
                        let at = state.visible_at(shard, sequence)?;
                        Some((id.as_str(), at.as_secs_f64()))
                    })
                    .collect();
                let arrived = record.at.as_secs_f64();
                if arrived < since && visible.values().all(|at| *at < since) {
                    continue;
                }
                arrivals.push(json!({
                    "stream": stream,
                    "shard": shard,
                    "seq": sequence,
                    "t_s": arrived,
                    "bytes": record.bytes,
                    "visible_s": visible,
                }));
            }
        }
    }
    arrivals
}

/// `GET /__lab/records`: the newest records of each shard that retention has not taken.
pub(crate) fn records(engine: &Engine, stream: &str, limit: usize) -> Option<Value> {
    let log = engine.streams().log(stream)?;
    let mut shown = Vec::new();
    for (shard, records) in log.shards().iter().enumerate() {
        let held = records
            .records()
            .rev()
            .filter_map(|(sequence, record)| Some((sequence, record, record.data.as_ref()?)));
        for (sequence, record, data) in held.take(limit) {
            shown.push(json!({
                "shard": shard,
                "seq": sequence,
                "t_s": record.at.as_secs_f64(),
                "data": String::from_utf8_lossy(data),
            }));
        }
    }
    Some(json!({ "stream": stream, "records": shown }))
}

fn seconds(at: Moment) -> Value {
    at.as_secs_f64().into()
}
