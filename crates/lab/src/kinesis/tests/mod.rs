//! The lab's Kinesis on virtual time: a lab of one stream, and what the tests ask of it.

mod records;
mod shards;

use std::borrow::Borrow;

use serde_json::{Value, json};

use super::*;
use crate::world::World;

struct Lab {
    kinesis: Kinesis,
    streams: Streams,
    scope: Scope,
    now: Moment,
}

impl Lab {
    fn new(limits: bool) -> Self {
        let world = World::from_toml("warehouses = []\nviews = []\nstreams = []\n", "test");
        Self {
            kinesis: Kinesis::new(limits),
            streams: Streams::new(&world.unwrap()),
            scope: Scope {
                region: "eu-west-1".to_owned(),
                account: ACCOUNT.to_owned(),
                epoch: Duration::from_secs(1_700_000_000),
            },
            now: Moment::from_secs(10),
        }
    }

    /// With a stream `s` of so many shards.
    fn with(shards: usize, limits: bool) -> Self {
        let mut lab = Self::new(limits);
        lab.ok(
            "CreateStream",
            json!({ "StreamName": "s", "ShardCount": shards }),
        );
        lab
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.streams.fill(self.now);
    }

    fn ask(&mut self, operation: &str, body: &Value) -> Answer {
        let operation = Operation::from_name(operation).unwrap();
        let fields = Fields::read(body.to_string().as_bytes())?;
        let (streams, scope) = (&mut self.streams, &self.scope);
        self.kinesis
            .answer(streams, operation, scope, fields, self.now)
    }

    fn ok(&mut self, operation: &str, body: impl Borrow<Value>) -> Value {
        self.ask(operation, body.borrow()).unwrap()
    }

    fn refusal(&mut self, operation: &str, body: impl Borrow<Value>) -> Refusal {
        self.ask(operation, body.borrow()).unwrap_err()
    }

    /// Puts a record with this key and text; its sequence number.
    fn put(&mut self, key: &str, text: &str) -> String {
        let body = json!({ "StreamName": "s", "PartitionKey": key, "Data": base64(text) });
        string(self.ok("PutRecord", body).get("SequenceNumber"))
    }

    fn iterator(&mut self, shard: usize, kind: &str, more: &Value) -> String {
        let mut body = json!({
            "StreamName": "s",
            "ShardId": format!("shardId-{shard:012}"),
            "ShardIteratorType": kind,
        });
        let more = more.as_object().cloned().unwrap_or_default();
        body.as_object_mut().unwrap().extend(more);
        string(self.ok("GetShardIterator", body).get("ShardIterator"))
    }

    fn read(&mut self, iterator: &str) -> Value {
        self.ok("GetRecords", json!({ "ShardIterator": iterator }))
    }

    /// The partition keys from an iterator on.
    fn keys(&mut self, shard: usize, kind: &str, more: &Value) -> Vec<String> {
        let iterator = self.iterator(shard, kind, more);
        keys(&self.read(&iterator))
    }
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

fn string(value: Option<&Value>) -> String {
    value.and_then(Value::as_str).unwrap().to_owned()
}

fn each<'a>(answer: &'a Value, list: &str, member: &str) -> Vec<&'a Value> {
    let items = answer.pointer(list).and_then(Value::as_array).unwrap();
    items.iter().filter_map(|item| item.get(member)).collect()
}

fn keys(answer: &Value) -> Vec<String> {
    let keys = each(answer, "/Records", "PartitionKey").into_iter();
    keys.map(|key| string(Some(key))).collect()
}

fn shard_ids(answer: &Value, list: &str) -> Vec<String> {
    let ids = each(answer, list, "ShardId").into_iter();
    ids.map(|id| {
        string(Some(id))
            .trim_start_matches("shardId-00000000000")
            .to_owned()
    })
    .collect()
}

const NOTHING: Value = Value::Null;
const HALF: &str = "170141183460469231731687303715884105728";
