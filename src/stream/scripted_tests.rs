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

use super::lab_tests::{Watcher, sdk};
use super::*;

const GRANTED: &str = "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
    <AssumeRoleResult><Credentials><AccessKeyId>a</AccessKeyId><SecretAccessKey>b</SecretAccessKey>\
    <SessionToken>c</SessionToken><Expiration>2999-01-01T00:00:00Z</Expiration></Credentials>\
    </AssumeRoleResult></AssumeRoleResponse>";

/// A stream of one shard that answers `GetRecords` as it is told: the last answer for ever.
struct Script {
    pages: Mutex<VecDeque<(u16, Value)>>,
    /// What iterators were asked for.
    iterators: Mutex<Vec<Value>>,
    ahead: Span,
}

impl Script {
    fn answer(&self, headers: &HeaderMap, body: &str) -> Response {
        let target = headers.get("x-amz-target").map(|target| target.to_str());
        let (status, answer) = match target {
            None => return GRANTED.into_response(),
            Some(Ok("Kinesis_20131202.ListShards")) => {
                let range = json!({ "StartingSequenceNumber": "1" });
                let keys = json!({ "StartingHashKey": "0", "EndingHashKey": "9" });
                let shard = json!({ "ShardId": "shard-0", "HashKeyRange": keys, "SequenceNumberRange": range });
                (200, json!({ "Shards": [shard] }))
            }
            Some(Ok("Kinesis_20131202.GetShardIterator")) => {
                let asked = serde_json::from_str(body).unwrap();
                self.iterators.lock().unwrap().push(asked);
                (200, json!({ "ShardIterator": "i" }))
            }
            Some(_) => {
                let mut pages = self.pages.lock().unwrap();
                let page = pages.pop_front().unwrap();
                if pages.is_empty() {
                    pages.push_back(page.clone());
                }
                page
            }
        };
        let now = crate::clock::wall() + self.ahead;
        let date = DateTime::from_secs(now.as_micros() / 1_000_000);
        let date = date.fmt(DateTimeFormat::HttpDate).unwrap();
        let kind = ("content-type", "application/x-amz-json-1.1".to_owned());
        let status = StatusCode::from_u16(status).unwrap();
        (status, [kind, ("date", date)], answer.to_string()).into_response()
    }
}

struct Bench {
    watcher: Watcher,
    script: Arc<Script>,
    _prober: Prober,
    _server: JoinSet<()>,
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

async fn bench(pages: impl IntoIterator<Item = (u16, Value)>, ahead: Span) -> Bench {
    let script = Arc::new(Script {
        pages: Mutex::new(pages.into_iter().collect()),
        iterators: Mutex::default(),
        ahead,
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answers = Arc::clone(&script);
    let router = Router::new().fallback(move |headers: HeaderMap, body: String| {
        let answers = Arc::clone(&answers);
        async move { answers.answer(&headers, &body) }
    });
    let mut server = JoinSet::new();
    server.spawn(async move { axum::serve(listener, router).await.unwrap() });
    let (watcher, life) = Watcher::new();
    let mut prober = Prober::with_base(life, sdk().await);
    watcher.read_up_to(watcher.clock.now());
    prober.replace(vec![Watcher::settings(url, 1)]).await;
    Bench {
        watcher,
        script,
        _prober: prober,
        _server: server,
    }
}

#[tokio::test]
async fn an_expired_iterator_is_replaced_from_where_the_last_look_ended() {
    let pages = [
        page(&[], 0),
        refusal("ExpiredIteratorException"),
        page(&[], 0),
    ];
    let mut bench = bench(pages, Span::ZERO).await;
    let first = bench.watcher.next().await.1;
    bench.watcher.next().await;
    assert_eq!(bench.watcher.counted("s GetRecords expired"), 1);
    let iterators = bench.script.iterators.lock().unwrap();
    assert_eq!(iterators.len(), 2);
    assert_eq!(iterators[1]["ShardIteratorType"], "AT_TIMESTAMP");
    let since = iterators[1]["Timestamp"].as_f64().unwrap();
    assert!(since <= first.at.as_secs_f64() && since > first.at.as_secs_f64() - 3.0);
}

#[tokio::test]
async fn empty_pages_before_the_end_tell_nothing_and_are_read_on_from() {
    let pages = [page(&[], 9_000), page(&[], 4_000), page(&[], 0)];
    let mut bench = bench(pages, Span::ZERO).await;
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
    let mut bench = bench(pages, Span::ZERO).await;
    let before = bench.watcher.next().await.1.at;
    let after = bench.watcher.next().await.1.at;
    assert_eq!(bench.watcher.counted("s GetRecords throttled"), 3);
    assert_eq!(bench.watcher.counted("s false"), 3);
    assert!(after - before >= Span::from_secs(1), "four periods");
}

#[tokio::test]
async fn a_clock_of_kinesis_that_is_an_hour_ahead_is_translated() {
    let hour = Span::from_secs(3_600);
    let stamp = (crate::clock::wall() + hour + Span::from_secs(1)).as_secs_f64();
    let mut bench = bench([page(&[stamp], 0), page(&[], 0)], hour).await;
    let seen = bench.watcher.next().await.1;
    let off = seen.oldest.unwrap() - seen.at;
    assert!(
        off <= Span::from_secs(3) && off >= Span::from_secs(-3),
        "{off}"
    );
    let iterators = bench.script.iterators.lock().unwrap();
    let since = iterators[0]["Timestamp"].as_f64().unwrap();
    assert!(since > stamp - 10.0, "asked on Kinesis's clock: {since}");
}
