//! Streams of a lab, followed over real sockets: what is told is compared with what the
//! streams hold.

use std::time::Duration;

use aws_sdk_kinesis::config::Credentials;
use aws_sdk_kinesis::primitives::{Blob, DateTime};
use aws_sdk_kinesis::types::ShardIteratorType;
use tidekeeper_lab::World;
use tidekeeper_scheduler::{Seen, Timestamp};
use tokio::net::TcpListener;

use super::*;
use crate::metrics::world::{World as Views, view};

const PERIOD: Span = Span::from_millis(250);
const ROLE: &str = "arn:aws:iam::111111111111:role/TidekeeperProbe";

type Facts = BTreeMap<String, usize>;

/// How long anything may take here.
const PATIENCE: Duration = Duration::from_secs(20);

/// The other side of a prober: knows positions, hears what is seen.
pub(super) struct Watcher {
    pub(super) clock: Clock,
    events: mpsc::Receiver<Event>,
    snapshots: watch::Sender<Arc<Snapshot>>,
    /// Calls by stream, operation and result, and signals by stream and worth.
    facts: watch::Receiver<Facts>,
}

/// A lab and a prober of it.
struct Bench {
    url: String,
    kinesis: aws_sdk_kinesis::Client,
    prober: Prober,
    watcher: Watcher,
    _lab: JoinSet<()>,
}

impl std::ops::Deref for Bench {
    type Target = Watcher;
    fn deref(&self) -> &Watcher {
        &self.watcher
    }
}

impl std::ops::DerefMut for Bench {
    fn deref_mut(&mut self) -> &mut Watcher {
        &mut self.watcher
    }
}

pub(super) fn role(arn: &str) -> AssumeRole {
    AssumeRole {
        arn: arn.to_owned(),
        external_id: None,
    }
}

pub(super) async fn sdk() -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .credentials_provider(Credentials::new("id", "key", None, None, "test"))
        .retry_config(RetryConfig::disabled())
        .load()
        .await
}

fn key(fact: Fact<'_>) -> String {
    match fact {
        Fact::Call {
            stream,
            operation,
            result,
        } => format!("{stream} {operation} {result}"),
        Fact::Signal { stream, up } => format!("{stream} {up}"),
        Fact::Looked { stream, .. } => format!("{stream} looked"),
    }
}

impl Watcher {
    pub(super) fn new() -> (Self, Life) {
        let (events_in, events) = mpsc::channel(1);
        let views = (0..8).map(|number| view(&format!("v{number}"), 60));
        let snapshot = Views::new(views.collect()).scheduler.snapshot();
        let (snapshots, known) = watch::channel(Arc::new(snapshot));
        let (count, facts) = watch::channel(Facts::new());
        let clock = Clock::start();
        let life = Life {
            clock,
            events: events_in,
            snapshots: known,
            on_fact: Arc::new(move |fact| {
                count.send_modify(|facts| *facts.entry(key(fact)).or_default() += 1);
            }),
        };
        let watcher = Self {
            clock,
            events,
            snapshots,
            facts,
        };
        (watcher, life)
    }

    pub(super) fn settings(url: String, views: usize) -> Settings {
        let views = 0..views;
        Settings {
            name: "s".to_owned(),
            arn: "arn:aws:kinesis:eu-west-1:000000000000:stream/s".to_owned(),
            roles: vec![role(ROLE)],
            endpoint_url: Some(url),
            period: PERIOD,
            share: 0.8,
            views: views
                .map(|number| ViewId::from(format!("v{number}").as_str()))
                .collect(),
        }
    }

    /// All views have read up to here.
    pub(super) fn read_up_to(&self, position: Timestamp) {
        self.reading()(position);
    }

    /// The same, for others to do.
    pub(super) fn reading(&self) -> impl Fn(Timestamp) + Send + Sync + use<> {
        let snapshots = self.snapshots.clone();
        move |position| {
            snapshots.send_modify(|snapshot| {
                for view in &mut Arc::make_mut(snapshot).views {
                    view.holds_ts = Some(position);
                }
            });
        }
    }

    /// ... and a little further than anything that is there.
    fn read_everything(&self) -> Timestamp {
        let position = self.clock.now() + READABLE_WITHIN;
        self.read_up_to(position);
        position
    }

    pub(super) async fn next(&mut self) -> (ViewId, Seen) {
        let event = tokio::time::timeout(PATIENCE, self.events.recv());
        let event = event.await.unwrap().unwrap();
        let Event::Probed { view, seen } = event else {
            panic!("{event:?}");
        };
        assert!(seen.at <= self.clock.now());
        (view, seen)
    }

    async fn until_at(&mut self, position: Timestamp) {
        for _ in 0..20 {
            if self.next().await.1.at > position {
                return;
            }
        }
        panic!("twenty looks were not enough");
    }

    /// The first of the next events whose oldest unread record is as wanted.
    async fn until(&mut self, wanted: impl Fn(Option<Timestamp>) -> bool) -> Seen {
        for _ in 0..6 {
            let (_, seen) = self.next().await;
            if wanted(seen.oldest) {
                return seen;
            }
        }
        panic!("six looks were not enough");
    }

    /// Waits until something has been counted so often.
    pub(super) async fn count_to(&mut self, what: &str, times: usize) {
        let reached = |facts: &Facts| facts.get(what).is_some_and(|found| *found >= times);
        let reached = self.facts.wait_for(reached);
        drop(
            tokio::time::timeout(PATIENCE, reached)
                .await
                .unwrap()
                .unwrap(),
        );
    }

    pub(super) fn counted(&self, what: &str) -> usize {
        self.facts.borrow().get(what).copied().unwrap_or(0)
    }
}

impl Bench {
    async fn new(world: &str) -> Self {
        let world = format!("warehouses = []\nviews = []\n{world}");
        let world = World::from_toml(&world, "world").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mut lab = JoinSet::new();
        lab.spawn(async move {
            let served = tidekeeper_lab::serve(world, listener, std::future::pending());
            served.await.unwrap();
        });
        let (watcher, life) = Watcher::new();
        let sdk = sdk().await;
        let to_lab = sdk.to_builder().endpoint_url(&url).build();
        Self {
            kinesis: aws_sdk_kinesis::Client::new(&to_lab),
            prober: Prober::with_base(life, sdk),
            url,
            watcher,
            _lab: lab,
        }
    }

    async fn with_stream(shards: i32) -> Self {
        let bench = Self::new("streams = []").await;
        bench.create(shards).await;
        bench
    }

    async fn create(&self, shards: i32) {
        let create = self.kinesis.create_stream().stream_name("s");
        create.shard_count(shards).send().await.unwrap();
    }

    fn settings(&self, views: usize) -> Settings {
        Watcher::settings(self.url.clone(), views)
    }

    async fn follow(&mut self, views: usize) {
        let settings = self.settings(views);
        self.prober.replace(vec![settings]).await;
    }

    async fn put(&self, key: &str) {
        let put = self.kinesis.put_record().stream_name("s");
        let put = put.partition_key(key).data(Blob::new("x"));
        put.send().await.unwrap();
    }

    fn assert_one_read_a_look(&self, shards: usize) {
        // One more look may have begun.
        let least = self.counted("s true") * shards;
        let reads = self.counted("s GetRecords ok");
        let most = (self.counted("s true") + 1) * shards;
        assert!((least..=most).contains(&reads), "{shards} shards: {reads}");
    }

    /// When everything on the stream arrived.
    async fn arrivals(&self) -> Vec<Timestamp> {
        let shards = self.kinesis.list_shards().stream_name("s").send().await;
        let mut arrivals = Vec::new();
        for shard in shards.unwrap().shards() {
            let iterator = self
                .kinesis
                .get_shard_iterator()
                .stream_name("s")
                .shard_id(shard.shard_id())
                .shard_iterator_type(ShardIteratorType::TrimHorizon);
            let iterator = iterator.send().await.unwrap().shard_iterator;
            let page = self.kinesis.get_records().set_shard_iterator(iterator);
            let page = page.send().await.unwrap();
            let stamps = page.records().iter();
            let stamps = stamps.map(|record| record.approximate_arrival_timestamp().unwrap());
            arrivals.extend(stamps.map(moment));
        }
        arrivals.sort();
        arrivals
    }
}

fn moment(at: &DateTime) -> Timestamp {
    Timestamp::from_micros(i64::try_from(at.as_nanos() / 1_000).unwrap())
}

#[tokio::test]
async fn what_lies_unread_is_told_through_silence_arrivals_and_a_reshard() {
    let mut bench = Bench::with_stream(2).await;
    bench.read_up_to(bench.clock.now());
    bench.follow(1).await;
    let before = bench.next().await.1;
    let quiet = bench.next().await.1;
    assert_eq!((before.oldest, quiet.oldest), (None, None));
    assert!(before.at < quiet.at);

    bench.put("a").await;
    let seen = bench.until(|oldest| oldest.is_some()).await;
    assert_eq!(seen.oldest, Some(bench.arrivals().await[0]));
    bench.put("b").await;
    let seen = bench.next().await.1;
    assert_eq!(seen.oldest, Some(bench.arrivals().await[0]), "still");
    bench.read_everything();
    bench.until(|oldest| oldest.is_none()).await;

    let known = bench.arrivals().await.len();
    for shard in ["shardId-000000000000", "shardId-000000000001"] {
        let split = bench.kinesis.split_shard().stream_name("s");
        let middle = match shard {
            "shardId-000000000000" => 1_u128 << 126,
            _ => 3_u128 << 126,
        };
        let split = split.shard_to_split(shard);
        split
            .new_starting_hash_key(middle.to_string())
            .send()
            .await
            .unwrap();
    }
    for key in ["a", "b", "c", "d", "e", "f"] {
        bench.put(key).await;
    }
    // In the past of all of them, in the future of those before the split.
    let first = bench.arrivals().await[known];
    bench.read_up_to(first - Span::from_millis(1));
    let seen = bench.until(|oldest| oldest.is_some()).await;
    assert!(seen.oldest <= Some(first), "{seen:?} {first:?}");
    let position = bench.read_everything();
    bench.until_at(position).await;
    assert_eq!(bench.next().await.1.oldest, None);
    bench.put("z").await;
    let seen = bench.until(|oldest| oldest.is_some()).await;
    assert_eq!(seen.oldest, bench.arrivals().await.last().copied());
}

#[tokio::test]
async fn shards_that_are_merged_are_followed_into_the_new_one() {
    let mut bench = Bench::with_stream(2).await;
    bench.read_up_to(bench.clock.now());
    bench.follow(1).await;
    bench.next().await;
    for key in ["a", "b", "c", "d"] {
        bench.put(key).await;
    }
    let merge = bench.kinesis.merge_shards().stream_name("s");
    let merge = merge.shard_to_merge("shardId-000000000000");
    let merge = merge.adjacent_shard_to_merge("shardId-000000000001");
    merge.send().await.unwrap();
    let seen = bench.until(|oldest| oldest.is_some()).await;
    assert_eq!(seen.oldest, Some(bench.arrivals().await[0]), "on a parent");
    let position = bench.read_everything();
    bench.until_at(position).await;
    assert_eq!(bench.next().await.1.oldest, None);
    bench.put("z").await;
    let seen = bench.until(|oldest| oldest.is_some()).await;
    assert_eq!(seen.oldest, bench.arrivals().await.last().copied());
    // The parents have been read to their ends: one shard is left to be looked at.
    bench.next().await;
    let before = bench.counted("s GetRecords ok");
    bench.next().await;
    let reads = bench.counted("s GetRecords ok") - before;
    assert!(
        reads <= 2,
        "{reads}: one a look, and one more may have begun"
    );
}

/// Unread age at `at` of who has read up to `position`.
fn age(arrivals: &[Timestamp], position: Timestamp, at: Timestamp) -> f64 {
    let mut unread = arrivals.iter().filter(|stamp| **stamp > position);
    let oldest = unread.next().filter(|oldest| **oldest <= at);
    oldest.map_or(0.0, |oldest| (at - *oldest).as_secs_f64())
}

#[tokio::test]
async fn the_age_that_is_told_is_true_to_within_a_period_and_a_second() {
    let bursts = r#"
        streams = [{ name = "s", shards = 2 }]
        [[producers]]
        stream = "s"
        pattern = "bursts"
        rate = 30
        on = 0.5
        off = 1.0
    "#;
    let mut bench = Bench::new(bursts).await;
    let begun = bench.clock.now();
    bench.read_up_to(begun);
    bench.follow(1).await;
    let (mut told, mut positions) = (Vec::new(), [begun; 3]);
    for look in 0..24 {
        let (_, seen) = bench.next().await;
        told.push((seen, positions));
        let position = if look % 6 == 5 {
            bench.clock.now()
        } else {
            positions[2]
        };
        // The next events may have been made with those before.
        positions = [positions[1], positions[2], position];
        bench.read_up_to(position);
    }
    let arrivals = bench.arrivals().await;
    assert!(arrivals.len() > 20, "{} records", arrivals.len());
    let allowed = (PERIOD + Span::from_secs(1)).as_secs_f64();
    let (mut read, mut unread) = (0, 0);
    for (seen, positions) in told {
        let said = seen
            .oldest
            .map_or(0.0, |oldest| (seen.at - oldest).as_secs_f64().max(0.0));
        let near = |position| (said - age(&arrivals, position, seen.at)).abs() <= allowed;
        assert!(positions.into_iter().any(near), "{seen:?} {positions:?}");
        if seen.oldest.is_some() {
            unread += 1;
        } else {
            read += 1;
        }
    }
    assert!(read > 0 && unread > 0, "{read} {unread}");
}

#[tokio::test]
async fn a_shard_is_read_once_a_look_whatever_the_number_of_shards_and_views() {
    for (shards, views) in [(1, 1), (8, 1), (64, 1), (8, 8)] {
        let mut bench = Bench::with_stream(shards).await;
        bench.read_up_to(bench.clock.now());
        bench.follow(views).await;
        let looks = 4;
        let mut told = BTreeMap::new();
        for _ in 0..looks * views {
            let (view, seen) = bench.next().await;
            assert_eq!(seen.oldest, None);
            *told.entry(view).or_insert(0) += 1;
        }
        assert_eq!(told.len(), views);
        let shards = usize::try_from(shards).unwrap();
        bench.assert_one_read_a_look(shards);
        assert_eq!(bench.counted("s GetRecords throttled"), 0);
        assert_eq!(bench.counted("s ListShards ok"), 1);
        assert_eq!(bench.counted("s GetShardIterator ok"), shards);
    }
}

#[tokio::test]
async fn records_that_keep_coming_cost_one_read_a_look_too() {
    let mut bench = Bench::with_stream(1).await;
    let begun = bench.clock.now();
    bench.read_up_to(begun);
    bench.follow(1).await;
    for _ in 0..6 {
        for _ in 0..3 {
            bench.put("k").await;
        }
        bench.next().await;
    }
    bench.assert_one_read_a_look(1);
    let seen = bench.until(|oldest| oldest.is_some()).await;
    let first = bench.arrivals().await[0];
    assert_eq!(seen.oldest, Some(first));
}

#[tokio::test]
async fn what_came_before_the_start_is_seen() {
    let mut bench = Bench::with_stream(2).await;
    let position = bench.clock.now();
    bench.put("a").await;
    bench.put("b").await;
    let first = bench.arrivals().await[0];
    bench.read_up_to(position);
    bench.follow(1).await;
    assert_eq!(bench.next().await.1.oldest, Some(first));
}

#[tokio::test]
async fn a_view_that_has_read_less_than_the_others_makes_older_records_known() {
    let mut bench = Bench::with_stream(1).await;
    let position = bench.clock.now();
    bench.put("a").await;
    let first = bench.arrivals().await[0];
    bench.read_everything();
    bench.follow(1).await;
    assert_eq!(bench.next().await.1.oldest, None);
    bench.read_up_to(position - Span::from_secs(3));
    let seen = bench.until(|oldest| oldest.is_some()).await;
    assert_eq!(seen.oldest, Some(first));
}

#[tokio::test]
async fn a_view_without_a_position_is_told_nothing() {
    let mut bench = Bench::with_stream(1).await;
    bench.read_up_to(bench.clock.now());
    bench.snapshots.send_modify(|snapshot| {
        Arc::make_mut(snapshot).views[0].holds_ts = None;
    });
    bench.follow(2).await;
    for _ in 0..3 {
        assert_eq!(bench.next().await.0, ViewId::from("v1"));
    }
}

#[tokio::test]
async fn a_stream_that_comes_later_or_comes_again_is_followed_from_then_on() {
    let mut bench = Bench::new("streams = []").await;
    bench.read_up_to(bench.clock.now());
    bench.follow(1).await;
    bench.count_to("s ListShards error", 1).await;
    assert_eq!(bench.counted("s true"), 0);
    bench.create(1).await;
    assert_eq!(bench.next().await.1.oldest, None);
    let delete = bench.kinesis.delete_stream().stream_name("s").send();
    delete.await.unwrap();
    bench.create(2).await;
    bench.put("a").await;
    bench.put("b").await;
    let seen = bench.until(|oldest| oldest.is_some()).await;
    assert_eq!(seen.oldest, Some(bench.arrivals().await[0]));
}

#[tokio::test]
async fn without_the_role_nothing_is_told() {
    let refused =
        format!("streams = [{{ name = \"s\" }}]\n[endpoint]\nrefused_roles = [\"{ROLE}\"]");
    let mut bench = Bench::new(&refused).await;
    bench.read_up_to(bench.clock.now());
    bench.follow(1).await;
    bench.count_to("s false", 2).await;
    assert_eq!(bench.counted("s true"), 0);
    assert!(bench.events.try_recv().is_err());
}

#[tokio::test]
async fn a_stream_that_hangs_holds_up_no_other() {
    let mut bench = Bench::with_stream(1).await;
    bench.read_up_to(bench.clock.now());
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hanging = Settings {
        name: "hanging".to_owned(),
        endpoint_url: Some(format!("http://{}", silent.local_addr().unwrap())),
        ..bench.settings(1)
    };
    let settings = bench.settings(1);
    bench.prober.replace(vec![hanging, settings]).await;
    for _ in 0..3 {
        bench.next().await;
    }
    assert_eq!(bench.counted("hanging true"), 0);
}

#[tokio::test]
async fn an_unchanged_stream_is_followed_on_and_a_removed_one_no_more() {
    let mut bench = Bench::with_stream(1).await;
    bench.read_up_to(bench.clock.now());
    bench.follow(1).await;
    bench.next().await;
    bench.follow(1).await;
    bench.next().await;
    bench.next().await;
    assert_eq!(bench.counted("s ListShards ok"), 1);
    bench.follow(2).await;
    bench.next().await;
    assert_eq!(
        bench.counted("s ListShards ok"),
        2,
        "its views have changed"
    );
    bench.prober.replace(Vec::new()).await;
    let ended = async { while bench.prober.tasks.join_next().await.is_some() {} };
    tokio::time::timeout(PATIENCE, ended).await.unwrap();
    assert!(bench.prober.followed.is_empty());
    bench.prober.stop();
    bench.follow(1).await;
    assert!(
        bench.prober.followed.is_empty(),
        "what was stopped stays so"
    );
}
