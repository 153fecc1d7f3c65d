//! Answers of Kinesis that the lab does not give, over real sockets: expired iterators,
//! throttles, empty pages on the way to the end, a clock that is an hour off.

use std::collections::VecDeque;
use std::sync::Mutex;

use aws_sdk_kinesis::primitives::{DateTime, DateTimeFormat};
use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Barrier;

use super::lab_tests::{Watcher, role, sdk};
use super::*;

/// A request to Kinesis, or to STS for a role.
#[derive(Clone, Debug)]
struct Asked {
    /// The operation, or the role's name.
    what: String,
    /// Whose credentials signed it: a role's are called like it.
    by: String,
    at: Timestamp,
    body: Value,
}

/// A stream that answers `GetRecords` as it is told: the last answer for ever.
struct Script {
    pages: Mutex<VecDeque<(u16, Value)>>,
    asked: Mutex<Vec<Asked>>,
    ahead: Span,
    shards: usize,
    /// So many reads are answered together.
    together: Barrier,
    /// Happens before a page is given.
    on_read: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Script {
    fn new(pages: impl IntoIterator<Item = (u16, Value)>) -> Self {
        Self {
            pages: Mutex::new(pages.into_iter().collect()),
            asked: Mutex::default(),
            ahead: Span::ZERO,
            shards: 1,
            together: Barrier::new(1),
            on_read: Mutex::default(),
        }
    }

    async fn answer(&self, headers: &HeaderMap, body: &str) -> Response {
        let header = |name: &str| headers.get(name).map(|text| text.to_str().unwrap());
        let signed = header("authorization").unwrap();
        let by = signed.split("Credential=").nth(1).unwrap();
        let target = header("x-amz-target").and_then(|target| target.split('.').nth(1));
        let what = target.unwrap_or_else(|| {
            let role = body.split("%3Arole%2F").nth(1).unwrap();
            role.split('&').next().unwrap()
        });
        self.asked.lock().unwrap().push(Asked {
            what: what.to_owned(),
            by: by.split('/').next().unwrap().to_owned(),
            at: crate::clock::wall(),
            body: serde_json::from_str(body).unwrap_or_default(),
        });
        let (status, answer) = match target {
            None => return granted(what).into_response(),
            Some("ListShards") => (200, json!({ "Shards": self.listed() })),
            Some("GetShardIterator") => (200, json!({ "ShardIterator": "i" })),
            Some(_) => {
                self.together.wait().await;
                if let Some(happen) = self.on_read.lock().unwrap().take() {
                    happen();
                }
                self.page()
            }
        };
        let now = crate::clock::wall() + self.ahead;
        let date = DateTime::from_secs(now.as_micros() / 1_000_000);
        let date = date.fmt(DateTimeFormat::HttpDate).unwrap();
        let kind = ("content-type", "application/x-amz-json-1.1".to_owned());
        let status = StatusCode::from_u16(status).unwrap();
        (status, [kind, ("date", date)], answer.to_string()).into_response()
    }

    fn listed(&self) -> Vec<Value> {
        let range = json!({ "StartingSequenceNumber": "1" });
        let keys = json!({ "StartingHashKey": "0", "EndingHashKey": "9" });
        let shards = 0..self.shards;
        shards
            .map(|number| {
                let id = format!("shard-{number}");
                json!({ "ShardId": id, "HashKeyRange": keys, "SequenceNumberRange": range })
            })
            .collect()
    }

    fn page(&self) -> (u16, Value) {
        let mut pages = self.pages.lock().unwrap();
        let page = pages.pop_front().unwrap();
        if pages.is_empty() {
            pages.push_back(page.clone());
        }
        page
    }

    /// Requests of this kind.
    fn asked(&self, what: &str) -> Vec<Asked> {
        let asked = self.asked.lock().unwrap();
        let of_kind = asked.iter().filter(|asked| asked.what == what);
        of_kind.cloned().collect()
    }
}

/// Credentials that are called like their role.
fn granted(role: &str) -> String {
    format!(
        "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
         <AssumeRoleResult><Credentials><AccessKeyId>{role}</AccessKeyId>\
         <SecretAccessKey>b</SecretAccessKey><SessionToken>c</SessionToken>\
         <Expiration>2999-01-01T00:00:00Z</Expiration></Credentials>\
         </AssumeRoleResult></AssumeRoleResponse>"
    )
}

struct Bench {
    watcher: Watcher,
    script: Arc<Script>,
    settings: Settings,
    prober: Prober,
    _server: JoinSet<()>,
}

impl Bench {
    /// Nothing is followed yet.
    async fn new(script: Script) -> Self {
        let script = Arc::new(script);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answers = Arc::clone(&script);
        let router = Router::new().fallback(move |headers: HeaderMap, body: String| {
            let answers = Arc::clone(&answers);
            async move { answers.answer(&headers, &body).await }
        });
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await.unwrap() });
        let (watcher, life) = Watcher::new();
        watcher.read_up_to(watcher.clock.now());
        Self {
            watcher,
            script,
            settings: Watcher::settings(url, 1),
            prober: Prober::with_base(life, sdk().await),
            _server: server,
        }
    }

    async fn follow(&mut self) {
        let settings = self.settings.clone();
        self.prober.replace(vec![settings]).await;
    }
}

async fn bench(pages: impl IntoIterator<Item = (u16, Value)>) -> Bench {
    let mut bench = Bench::new(Script::new(pages)).await;
    bench.follow().await;
    bench
}

fn page(records: &[f64], behind: u64) -> (u16, Value) {
    let records = records.iter().map(|at| {
        json!({
            "SequenceNumber": "1", "Data": "", "PartitionKey": "k",
            "ApproximateArrivalTimestamp": at,
        })
    });
    let records: Vec<Value> = records.collect();
    let page =
        json!({ "Records": records, "NextShardIterator": "n", "MillisBehindLatest": behind });
    (200, page)
}

fn refusal(code: &str) -> (u16, Value) {
    (400, json!({ "__type": code, "message": "no" }))
}

#[tokio::test]
async fn the_probe_role_is_assumed_at_the_end_of_the_warehouse_s_roles() {
    let mut bench = Bench::new(Script::new([page(&[], 0)])).await;
    let mut last = role("arn:aws:iam::222222222222:role/Last");
    last.external_id = Some("me".to_owned());
    let first = role("arn:aws:iam::222222222222:role/First");
    bench.settings.roles.splice(0..0, [first, last]);
    bench.follow().await;
    bench.watcher.next().await;
    let asked = bench.script.asked.lock().unwrap();
    let asked: Vec<_> = asked.iter().map(|a| (&*a.by, &*a.what)).collect();
    let walked = [
        ("id", "First"),
        ("First", "Last"),
        ("Last", "TidekeeperProbe"),
        ("TidekeeperProbe", "ListShards"),
        ("TidekeeperProbe", "GetShardIterator"),
        ("TidekeeperProbe", "GetRecords"),
    ];
    assert!(asked.starts_with(&walked), "{asked:?}");
}

#[tokio::test]
async fn each_of_many_streams_keeps_its_credentials() {
    let mut bench = Bench::new(Script::new([page(&[], 0)])).await;
    let names: Vec<String> = (0..70).map(|number| format!("s{number}")).collect();
    let settings = names.iter().map(|name| Settings {
        name: name.clone(),
        ..bench.settings.clone()
    });
    let settings = settings.map(|settings| Settings {
        views: Vec::new(),
        ..settings
    });
    bench.prober.replace(settings.collect()).await;
    for name in &names {
        bench.watcher.count_to(&format!("{name} true"), 3).await;
    }
    assert_eq!(bench.script.asked("TidekeeperProbe").len(), names.len());
}

#[tokio::test]
async fn an_expired_iterator_is_replaced_within_the_look_from_where_the_last_one_ended() {
    let pages = [
        page(&[], 0),
        refusal("ExpiredIteratorException"),
        page(&[], 0),
    ];
    let mut bench = bench(pages).await;
    let first = bench.watcher.next().await.1;
    bench.watcher.next().await;
    assert_eq!(bench.watcher.counted("s GetRecords expired"), 1);
    assert_eq!(bench.watcher.counted("s false"), 0);
    let iterators = bench.script.asked("GetShardIterator");
    assert_eq!(iterators.len(), 2);
    assert_eq!(iterators[1].body["ShardIteratorType"], "AT_TIMESTAMP");
    let since = iterators[1].body["Timestamp"].as_f64().unwrap();
    assert!(since <= first.at.as_secs_f64() && since > first.at.as_secs_f64() - 3.0);
}

#[tokio::test]
async fn an_iterator_that_expires_at_once_ends_the_look() {
    let expired = refusal("ExpiredIteratorException");
    let pages = [page(&[], 0), expired.clone(), expired, page(&[], 0)];
    let mut bench = bench(pages).await;
    bench.watcher.next().await;
    bench.watcher.next().await;
    assert_eq!(bench.watcher.counted("s false"), 1);
}

#[tokio::test]
async fn reads_of_one_look_are_as_far_apart_as_the_share_demands() {
    let empty = [page(&[], 9_000), page(&[], 6_000), page(&[], 3_000)];
    let mut bench = Bench::new(Script::new(empty.into_iter().chain([page(&[], 0)]))).await;
    bench.settings.period = Span::from_secs(3_600);
    bench.follow().await;
    bench.watcher.next().await;
    let reads = bench.script.asked("GetRecords");
    assert_eq!(reads.len(), 4, "in one look");
    let apart = |two: &[Asked]| two[1].at - two[0].at;
    let least = reads.windows(2).map(apart).min().unwrap();
    assert!(least >= Span::from_millis(250), "{least}: a share of 0.8");
}

#[tokio::test]
async fn a_view_that_falls_back_during_a_look_is_told_by_the_next_one() {
    let now = crate::clock::wall();
    let before = now - Span::from_secs(10);
    let arrival = now - Span::from_secs(5);
    let pages = [
        page(&[], 0),
        page(&[arrival.as_secs_f64()], 0),
        page(&[], 0),
    ];
    let mut bench = Bench::new(Script::new(pages)).await;
    let read_up_to = bench.watcher.reading();
    let falls_back: Box<dyn FnOnce() + Send> = Box::new(move || read_up_to(before));
    *bench.script.on_read.lock().unwrap() = Some(falls_back);
    bench.follow().await;
    let seen = bench.watcher.next().await.1;
    let off = seen.oldest.unwrap() - arrival;
    assert!(off.as_secs_f64().abs() < 0.01, "{seen:?} {arrival:?}");
}

#[tokio::test]
async fn a_view_that_moves_between_looks_is_told_what_is_known_and_nothing_is_asked() {
    let arrival = crate::clock::wall() - Span::from_secs(5);
    // Records kept coming from then on.
    let pages = [page(&[arrival.as_secs_f64()], 9)];
    let mut bench = Bench::new(Script::new(pages)).await;
    bench.settings.period = Span::from_secs(3_600);
    bench.watcher.read_up_to(arrival - Span::from_secs(1));
    bench.follow().await;
    let looked = bench.watcher.next().await.1;
    assert!(looked.oldest.unwrap() < arrival + Span::from_secs(1));
    // Not known that far: nothing is told of it.
    bench.watcher.read_up_to(looked.at + Span::from_secs(1));
    let position = arrival + Span::from_secs(3);
    bench.watcher.read_up_to(position);
    let told = bench.watcher.next().await.1;
    assert_eq!(told.at, looked.at);
    assert_eq!(told.oldest, Some(position + Span::from_micros(1)));
    assert_eq!(bench.script.asked("GetRecords").len(), 1);
}

#[tokio::test]
async fn many_shards_are_looked_at_many_at_once() {
    let script = Script {
        shards: 128,
        together: Barrier::new(32),
        ..Script::new([page(&[], 0)])
    };
    let mut bench = Bench::new(script).await;
    bench.settings.period = Span::from_secs(3_600);
    bench.follow().await;
    assert_eq!(bench.watcher.next().await.1.oldest, None);
    assert_eq!(bench.script.asked("GetRecords").len(), 128);
}

#[tokio::test]
async fn a_look_that_takes_longer_than_it_is_believed_is_no_signal() {
    let mut bench = Bench::new(Script::new([page(&[], 0)])).await;
    // No answer is there within three of these.
    bench.settings.period = Span::from_micros(1);
    bench.settings.views.clear();
    bench.follow().await;
    bench.watcher.count_to("s false", 3).await;
    assert_eq!(bench.watcher.counted("s true"), 0);
}

#[tokio::test]
async fn empty_pages_before_the_end_tell_nothing_and_are_read_on_from() {
    let pages = [page(&[], 9_000), page(&[], 4_000), page(&[], 0)];
    let mut bench = bench(pages).await;
    assert_eq!(bench.watcher.next().await.1.oldest, None);
    // A share of 0.8 allows one read in a quarter of a second: the others had to wait.
    assert_eq!(bench.watcher.counted("s false"), 2);
    assert!(bench.watcher.counted("s GetRecords ok") >= 3);
}

#[tokio::test]
async fn a_throttled_stream_tells_nothing_and_is_asked_less_often() {
    let throttled = refusal("ProvisionedThroughputExceededException");
    let pages = [
        page(&[], 0),
        throttled.clone(),
        throttled.clone(),
        throttled,
        page(&[], 0),
    ];
    let mut bench = bench(pages).await;
    let before = bench.watcher.next().await.1.at;
    let after = bench.watcher.next().await.1.at;
    assert_eq!(bench.watcher.counted("s GetRecords throttled"), 3);
    // ... and what is told at a slow pace is not believed for all of it.
    assert!(bench.watcher.counted("s false") >= 3);
    assert!(after - before >= Span::from_secs(1), "four periods");
}

#[tokio::test]
async fn a_clock_of_kinesis_that_is_an_hour_ahead_is_translated() {
    let hour = Span::from_secs(3_600);
    let stamp = (crate::clock::wall() + hour + Span::from_secs(1)).as_secs_f64();
    let script = Script {
        ahead: hour,
        ..Script::new([page(&[stamp], 0), page(&[], 0)])
    };
    let mut bench = Bench::new(script).await;
    bench.follow().await;
    let seen = bench.watcher.next().await.1;
    let off = seen.oldest.unwrap() - seen.at;
    assert!(
        off <= Span::from_secs(3) && off >= Span::from_secs(-3),
        "{off}"
    );
    let iterators = bench.script.asked("GetShardIterator");
    let since = iterators[0].body["Timestamp"].as_f64().unwrap();
    assert!(since > stamp - 10.0, "asked on Kinesis's clock: {since}");
}
