//! Decides nothing: a small AWS for the tests of this module, which answers `AssumeRole` in
//! XML and four operations of Kinesis in JSON, writes down every call, and fails on demand.
//!
//! Deliberately absent: signatures and policies (`tests/e2e` has ministack for those).

use std::collections::{BTreeMap, VecDeque};
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::{Aws, Reader};

/// One call: the operation, the signing region, and of whom (`root`, or a role).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) operation: String,
    pub(super) caller: String,
    pub(super) region: String,
    /// The role to assume, the shard or the iterator.
    pub(super) about: String,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Shard {
    pub(super) id: String,
    pub(super) parents: Vec<String>,
    /// A record's sequence number is its place in here.
    pub(super) records: Vec<String>,
    pub(super) closed: bool,
}

/// What the next call of an operation comes to instead.
#[derive(Debug, Clone)]
pub(super) enum Trouble {
    Error(&'static str, &'static str),
    /// No answer, ever.
    Silence,
    /// The answer that it would have had, after the shards have changed to these.
    Reshard(Vec<Shard>),
}

#[derive(Debug, Default)]
pub(super) struct World {
    /// Who may assume a role.
    pub(super) trusts: BTreeMap<String, String>,
    pub(super) shards: Vec<Shard>,
    /// Most records per answer.
    pub(super) page: usize,
    /// Leaves out the next iterator at the end of a closed shard, as Kinesis does.
    pub(super) ends: bool,
    /// Says that every shard is at its tip, whatever is left.
    pub(super) flatters: bool,
    pub(super) troubles: BTreeMap<&'static str, VecDeque<Trouble>>,
    pub(super) calls: Vec<Call>,
}

#[derive(Debug, Clone)]
pub(super) struct Fake {
    pub(super) url: String,
    world: Arc<Mutex<World>>,
    /// Told when a call is met with silence.
    pub(super) silent: Arc<Notify>,
}

impl Fake {
    /// A fake AWS, which ends with the set.
    pub(super) async fn start(servers: &mut JoinSet<()>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fake = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            world: Arc::new(Mutex::new(World {
                page: 1_000,
                ends: true,
                ..World::default()
            })),
            silent: Arc::default(),
        };
        let app = Router::new().fallback(answer).with_state(fake.clone());
        servers.spawn(async move { axum::serve(listener, app).await.unwrap() });
        fake
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    pub(super) fn trouble(&self, operation: &'static str, trouble: Trouble) {
        let mut world = self.world();
        world
            .troubles
            .entry(operation)
            .or_default()
            .push_back(trouble);
    }

    /// The calls of an operation.
    pub(super) fn calls(&self, operation: &str) -> Vec<Call> {
        let world = self.world();
        let wanted = |call: &&Call| call.operation == operation;
        world.calls.iter().filter(wanted).cloned().collect()
    }

    pub(super) fn reader(&self, more: &str) -> Reader {
        let url = &self.url;
        let table = format!(
            "endpoint_url = '{url}'\nregion = 'eu-west-1'\n\
             access_key_id = 'root'\nsecret_access_key = 'hush'\n{more}"
        );
        let aws: Aws = toml::from_str(&table).unwrap();
        let mut reader = Reader::new(&aws);
        let soon = std::time::Duration::from_millis(1);
        reader.chain.retry = reader
            .chain
            .retry
            .with_initial_backoff(soon)
            .with_max_backoff(soon);
        reader
    }
}

async fn answer(State(fake): State<Fake>, headers: HeaderMap, body: String) -> Response {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let scope: Vec<&str> = text(header::AUTHORIZATION.as_str())
        .and_then(|held| held.split_once("Credential="))
        .map(|(_, scope)| scope.split('/').collect())
        .unwrap_or_default();
    let asked: Value = match text("x-amz-target") {
        Some(_) => serde_json::from_str(&body).unwrap(),
        None => form(&body),
    };
    let operation = match text("x-amz-target") {
        Some(target) => target.rsplit('.').next().unwrap_or_default().to_owned(),
        None => field(&asked, "Action"),
    };
    let about = ["RoleArn", "ShardId", "ShardIterator"]
        .iter()
        .map(|name| field(&asked, name))
        .find(|value| !value.is_empty());
    let trouble = {
        let mut world = fake.world();
        world.calls.push(Call {
            operation: operation.clone(),
            caller: (*scope.first().unwrap()).to_owned(),
            region: (*scope.get(2).unwrap()).to_owned(),
            about: about.unwrap_or_default(),
        });
        let planned = world.troubles.get_mut(operation.as_str());
        planned.and_then(VecDeque::pop_front)
    };
    match trouble {
        Some(Trouble::Silence) => {
            fake.silent.notify_one();
            pending().await
        }
        Some(Trouble::Error(code, message)) => refuse(&operation, code, message),
        Some(Trouble::Reshard(shards)) => {
            let answer = fake
                .world()
                .answer(&operation, &asked, scope.first().unwrap());
            fake.world().shards = shards;
            answer
        }
        None => fake
            .world()
            .answer(&operation, &asked, scope.first().unwrap()),
    }
}

impl World {
    fn answer(&self, operation: &str, asked: &Value, caller: &str) -> Response {
        match operation {
            "AssumeRole" => self.assume_role(&field(asked, "RoleArn"), caller),
            "DescribeStreamSummary" => {
                let name = field(asked, "StreamName");
                let arn = format!("arn:aws:kinesis:eu-west-1:111111111111:stream/{name}");
                plain(&json!({ "StreamDescriptionSummary": {
                    "StreamName": name, "StreamARN": arn, "StreamStatus": "ACTIVE",
                    "RetentionPeriodHours": 24, "StreamCreationTimestamp": 1.0,
                    "EnhancedMonitoring": [], "OpenShardCount": 1,
                } }))
            }
            "ListShards" => self.list_shards(asked),
            "GetShardIterator" => {
                let next = match asked.get("StartingSequenceNumber").and_then(Value::as_str) {
                    Some(after) => after.parse::<usize>().unwrap() + 1,
                    None => 0,
                };
                plain(&json!({ "ShardIterator": format!("{}:{next}", field(asked, "ShardId")) }))
            }
            "GetRecords" => self.get_records(asked),
            other => refuse(other, "UnknownOperationException", ""),
        }
    }

    fn assume_role(&self, role: &str, caller: &str) -> Response {
        if self.trusts.get(role).map(String::as_str) != Some(caller) {
            let message = format!(
                "User: {caller} is not authorized to perform: sts:AssumeRole on resource: {role}"
            );
            return refuse("AssumeRole", "AccessDenied", &message);
        }
        let name = role.rsplit('/').next().unwrap_or_default();
        let answer = format!(
            "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
             <AssumeRoleResult><Credentials><AccessKeyId>{name}</AccessKeyId>\
             <SecretAccessKey>hush</SecretAccessKey><SessionToken>token</SessionToken>\
             <Expiration>2100-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult>\
             </AssumeRoleResponse>"
        );
        ([(header::CONTENT_TYPE, "text/xml")], answer).into_response()
    }

    /// Two per page.
    fn list_shards(&self, asked: &Value) -> Response {
        let from: usize = field(asked, "NextToken").parse().unwrap_or(0);
        let listed: Vec<Value> = self.shards.iter().skip(from).take(2).map(listed).collect();
        let mut answer = json!({ "Shards": listed });
        if self.shards.len() > from + 2 {
            answer["NextToken"] = json!((from + 2).to_string());
        }
        plain(&answer)
    }

    fn get_records(&self, asked: &Value) -> Response {
        let iterator = field(asked, "ShardIterator");
        let (id, from) = iterator.split_once(':').unwrap();
        let from: usize = from.parse().unwrap();
        let shard = self.shards.iter().find(|shard| shard.id == id).unwrap();
        let limit = asked.get("Limit").and_then(Value::as_u64).unwrap();
        let most = usize::try_from(limit).unwrap().min(self.page);
        let record = |(at, data): (usize, &String)| {
            json!({
                "SequenceNumber": at.to_string(), "PartitionKey": "key",
                "Data": STANDARD.encode(data), "ApproximateArrivalTimestamp": 1.5,
            })
        };
        let records = shard.records.iter().enumerate();
        let records: Vec<Value> = records.skip(from).take(most).map(record).collect();
        let next = from + records.len();
        let done = next >= shard.records.len();
        let mut answer = json!({
            "Records": records, "MillisBehindLatest": if done || self.flatters { 0 } else { 1_000 },
        });
        if !(done && shard.closed && self.ends) {
            answer["NextShardIterator"] = json!(format!("{id}:{next}"));
        }
        plain(&answer)
    }
}

fn listed(shard: &Shard) -> Value {
    let mut value = json!({
        "ShardId": shard.id,
        "HashKeyRange": { "StartingHashKey": "0", "EndingHashKey": "1" },
        "SequenceNumberRange": { "StartingSequenceNumber": "0" },
    });
    if shard.closed {
        value["SequenceNumberRange"]["EndingSequenceNumber"] = json!("999");
    }
    for (name, parent) in ["ParentShardId", "AdjacentParentShardId"]
        .iter()
        .zip(&shard.parents)
    {
        value[*name] = json!(parent);
    }
    value
}

fn plain(value: &Value) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/x-amz-json-1.1")];
    (kind, value.to_string()).into_response()
}

fn refuse(operation: &str, code: &str, message: &str) -> Response {
    let body = if operation == "AssumeRole" {
        format!(
            "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code>\
             <Message>{message}</Message></Error></ErrorResponse>"
        )
    } else {
        json!({ "__type": code, "message": message }).to_string()
    };
    (StatusCode::BAD_REQUEST, body).into_response()
}

fn field(value: &Value, name: &str) -> String {
    let held = value.get(name).and_then(Value::as_str);
    held.unwrap_or_default().to_owned()
}

/// A form of the query protocol; only what role ARNs need is decoded.
fn form(body: &str) -> Value {
    let pairs = body.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(name, value)| {
            let value = value
                .replace("%3A", ":")
                .replace("%2F", "/")
                .replace("%20", " ");
            (name.to_owned(), Value::String(value))
        })
        .collect::<serde_json::Map<_, _>>()
        .into()
}
