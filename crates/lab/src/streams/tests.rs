//! Streams on virtual time: patterns, positions, retention.

use super::*;

fn streams(producer: &str, retention: u32) -> Streams {
    let text = format!(
        "warehouses = []\nviews = []\n[[streams]]\nname = \"s\"\nshards = 3\n\
         retention = {retention}\n[[producers]]\nstream = \"s\"\n{producer}\n"
    );
    Streams::new(&World::from_toml(&text, "test").unwrap())
}

fn secs(value: u64) -> Duration {
    Duration::from_secs(value)
}

fn count(streams: &Streams) -> usize {
    streams
        .log("s")
        .unwrap()
        .shards()
        .iter()
        .map(|shard| shard.records().count())
        .sum()
}

fn times(streams: &Streams) -> Vec<Duration> {
    let shards = streams.log("s").unwrap().shards();
    let mut all: Vec<_> = shards
        .iter()
        .flat_map(|s| s.records().map(|(_, r)| r.at))
        .collect();
    all.sort();
    all
}

#[test]
fn what_arrives_does_not_depend_on_who_asks_when() {
    let mut often = streams("pattern = \"steady\"\nrate = 7", 3600);
    let mut once = streams("pattern = \"steady\"\nrate = 7", 3600);
    for second in 0..=100 {
        often.fill(secs(second));
    }
    once.fill(secs(100));
    let dump = |s: &Streams| format!("{:?}", s.log("s").unwrap().shards());
    assert_eq!(dump(&often), dump(&once));
}

#[test]
fn a_steady_producer_keeps_its_rate_with_gaps_within_a_fifth() {
    let mut streams = streams("pattern = \"steady\"\nrate = 10", 3600);
    streams.fill(secs(600));
    assert!(
        (5_900..6_100).contains(&count(&streams)),
        "{}",
        count(&streams)
    );
    for pair in times(&streams).windows(2) {
        let gap = (pair[1] - pair[0]).as_secs_f64();
        assert!((0.0799..0.1201).contains(&gap), "gap {gap}");
    }
}

#[test]
fn a_sparse_producer_has_the_asked_mean_gap() {
    let mut streams = streams("pattern = \"sparse\"\nevery = 10", 86_400);
    streams.fill(secs(40_000));
    assert!(
        (3_750..4_250).contains(&count(&streams)),
        "{}",
        count(&streams)
    );
}

#[test]
fn a_sparse_producer_with_a_gap_keeps_every_gap_inside_it_and_uses_all_of_it() {
    let mut streams = streams("pattern = \"sparse\"\ngap = [30, 180]", 86_400);
    streams.fill(secs(80_000));
    let times = times(&streams);
    let gaps: Vec<f64> = times
        .windows(2)
        .map(|pair| (pair[1] - pair[0]).as_secs_f64())
        .collect();
    let mean = gaps.iter().sum::<f64>() / f64::from(u32::try_from(gaps.len()).unwrap());
    assert!((95.0..115.0).contains(&mean), "mean {mean}");
    assert!(times[0] >= secs(30), "the first comes after a gap too");
    assert!(gaps.iter().all(|gap| (29.9..180.1).contains(gap)));
    assert!(gaps.iter().any(|gap| *gap < 40.0) && gaps.iter().any(|gap| *gap > 170.0));
}

#[test]
fn bursts_write_only_while_they_are_on() {
    let mut streams = streams("pattern = \"bursts\"\nrate = 20\non = 5\noff = 25", 86_400);
    streams.fill(secs(3_000));
    for at in times(&streams) {
        assert!(at.as_secs_f64() % 30.0 <= 5.001, "arrival at {at:?}");
    }
    assert!(
        (9_000..11_000).contains(&count(&streams)),
        "{}",
        count(&streams)
    );
}

#[test]
fn a_diurnal_producer_is_busier_in_the_first_half_of_its_period() {
    let mut streams = streams(
        "pattern = \"diurnal\"\nrate = 10\namplitude = 1\nperiod = 1000",
        86_400,
    );
    streams.fill(secs(10_000));
    let busy = times(&streams)
        .iter()
        .filter(|t| t.as_secs_f64() % 1000.0 < 500.0)
        .count();
    let all = count(&streams);
    assert!((95_000..105_000).contains(&all), "{all}");
    // Over half a period the sine adds 2/π of the mean.
    assert!(
        busy * 100 > all * 79 && busy * 100 < all * 85,
        "{busy} of {all}"
    );
}

#[test]
fn a_producer_stays_inside_its_window() {
    let mut streams = streams(
        "pattern = \"steady\"\nrate = 5\nfrom = 10\nuntil = 20",
        3600,
    );
    streams.fill(secs(100));
    let times = times(&streams);
    assert!(times.first().unwrap() >= &secs(10) && times.last().unwrap() < &secs(20));
    assert!((45..55).contains(&times.len()));
}

#[test]
fn reading_on_from_the_last_position_returns_every_record_exactly_once() {
    let mut streams = streams("pattern = \"sparse\"\nevery = 0.1", 3600);
    let (mut positions, mut seen) = (Vec::new(), 0);
    for second in [1, 3, 3, 4, 10, 57, 100] {
        streams.fill(secs(second));
        let log = streams.log("s").unwrap();
        let stretches = log.unread(&positions, secs(second));
        for (index, stretch) in stretches.iter().enumerate() {
            assert_eq!(stretch.from, positions.get(index).copied().unwrap_or(0));
        }
        seen += log.measure(&stretches).1;
        positions = stretches.iter().map(|stretch| stretch.to).collect();
    }
    assert_eq!(usize::try_from(seen).unwrap(), count(&streams));
}

#[test]
fn a_reader_sees_nothing_that_arrived_after_its_moment() {
    let mut streams = streams("pattern = \"steady\"\nrate = 10", 3600);
    streams.fill(secs(100));
    let log = streams.log("s").unwrap();
    let (_, records) = log.measure(&log.unread(&[], secs(40)));
    assert_eq!(
        usize::try_from(records).unwrap(),
        times(&streams).iter().filter(|at| **at <= secs(40)).count()
    );
}

#[test]
fn a_first_read_starts_at_the_trim_horizon() {
    let mut streams = streams("pattern = \"steady\"\nrate = 10", 30);
    streams.fill(secs(100));
    let log = streams.log("s").unwrap();
    let (_, records) = log.measure(&log.unread(&[], secs(100)));
    assert!((295..=305).contains(&records), "{records} of the last 30 s");
}

#[test]
fn a_reader_whose_position_has_expired_jumps_to_the_trim_horizon() {
    let mut streams = streams("pattern = \"steady\"\nrate = 10", 30);
    streams.fill(secs(10));
    let first = streams.log("s").unwrap().unread(&[], secs(10));
    let positions: Vec<u64> = first.iter().map(|stretch| stretch.to).collect();
    streams.fill(secs(100));
    let log = streams.log("s").unwrap();
    let second = log.unread(&positions, secs(100));
    assert!(
        second
            .iter()
            .zip(&positions)
            .all(|(stretch, position)| stretch.from > *position)
    );
    assert!(log.measure(&second).1 <= 305);
}

#[test]
fn retention_takes_the_text_but_the_arrival_stays_in_the_history_for_a_day() {
    let mut streams = streams("pattern = \"steady\"\nrate = 1\nuntil = 100", 30);
    streams.fill(secs(80));
    let kept = |s: &Streams, with_text: bool| {
        let shards = s.log("s").unwrap().shards();
        shards
            .iter()
            .flat_map(Shard::records)
            .filter(|(_, r)| r.data.is_some() == with_text)
            .count()
    };
    assert!((28..=32).contains(&kept(&streams, true)));
    assert!((45..=55).contains(&kept(&streams, false)));
    streams.fill(secs(2 * 86_400));
    assert_eq!(count(&streams), 0);
}

/// A stream `s` of `shards` shards that nobody but the test writes to.
fn quiet(shards: usize) -> Streams {
    let text = format!(
        "warehouses = []\nviews = []\n[[streams]]\nname = \"s\"\nshards = {shards}\nretention = 30\n"
    );
    Streams::new(&World::from_toml(&text, "test").unwrap())
}

fn put(streams: &mut Streams, key: &str, now: Duration) -> (usize, u64) {
    let shard = streams.log("s").unwrap().route(key, None);
    let data = key.as_bytes().to_vec();
    (shard, streams.put("s", shard, key, data, now).unwrap())
}

#[test]
fn a_record_goes_to_the_shard_that_owns_the_hash_of_its_key() {
    let log = quiet(2);
    let log = log.log("s").unwrap();
    // MD5 of "a" starts with 0c, that of "c" with 4a, that of "b" with 92.
    assert_eq!((log.route("a", None), log.route("c", None)), (0, 0));
    assert_eq!(log.route("b", None), 1);
    assert_eq!(log.route("b", Some(0)), 0, "an explicit key wins");
    assert_eq!(log.route("a", Some(u128::MAX)), 1);
}

#[test]
fn records_of_a_split_shard_go_to_its_children_and_are_read_after_its_own() {
    let mut streams = quiet(1);
    put(&mut streams, "a", secs(1));
    streams.split("s", 0, 1 << 127, secs(2)).unwrap();
    assert_eq!(put(&mut streams, "a", secs(3)), (1, 0));
    assert_eq!(put(&mut streams, "b", secs(3)), (2, 0));
    assert_eq!(
        streams.put("s", 0, "a", Vec::new(), secs(4)),
        None,
        "closed"
    );
    let log = streams.log("s").unwrap();
    let parents: Vec<_> = log.shards().iter().map(Shard::parents).collect();
    assert_eq!(parents, [&[][..], &[0], &[0]]);
    let stretches = log.unread(&[], secs(4));
    let read: Vec<log::StreamRecord<'_>> = log.read(&stretches).collect();
    let keys: Vec<_> = read.iter().map(|record| record.partition_key).collect();
    assert_eq!(keys, ["a", "a", "b"]);
    assert!(read.is_sorted_by(|one, next| one.sequence < next.sequence));
    assert_eq!(read.last().unwrap().shard_id, "shardId-000000000002");
    assert_eq!(read.last().unwrap().data, b"b");
}

#[test]
fn a_merge_needs_two_open_shards_whose_keys_touch() {
    let mut streams = quiet(3);
    assert_eq!(streams.merge("s", 0, 2, secs(1)), None);
    assert_eq!(streams.merge("s", 0, 0, secs(1)), None);
    streams.merge("s", 1, 0, secs(1)).unwrap();
    assert_eq!(streams.merge("s", 1, 2, secs(1)), None, "1 is closed");
    streams.merge("s", 3, 2, secs(2)).unwrap();
    let log = streams.log("s").unwrap();
    assert_eq!(log.open().collect::<Vec<_>>(), [4]);
    let last = log.shards().last().unwrap();
    assert_eq!((last.range().start, last.range().end), (0, u128::MAX));
    assert_eq!(last.parents(), [3, 2]);
}

#[test]
fn a_split_must_leave_something_on_both_sides() {
    let mut streams = quiet(2);
    assert_eq!(streams.split("s", 1, 0, secs(1)), None);
    assert_eq!(streams.split("s", 1, 1 << 127, secs(1)), None);
    assert_eq!(streams.split("s", 0, 1 << 127, secs(1)), None);
    assert_eq!(streams.split("s", 2, 1, secs(1)), None);
    assert_eq!(streams.split("s", 0, 1, secs(1)), Some(()));
}

#[test]
fn what_retention_took_is_not_read_even_from_an_old_stretch() {
    let mut streams = quiet(1);
    put(&mut streams, "old", secs(1));
    let stretches = streams.log("s").unwrap().unread(&[], secs(1));
    assert_eq!(streams.log("s").unwrap().read(&stretches).count(), 1);
    streams.fill(secs(31));
    assert_eq!(streams.log("s").unwrap().read(&stretches).count(), 0);
}

#[test]
fn a_longer_retention_does_not_bring_back_what_a_shorter_one_took() {
    let mut streams = quiet(1);
    put(&mut streams, "old", secs(1));
    streams.fill(secs(40));
    streams.set_retention("s", secs(1_000)).unwrap();
    let log = streams.log("s").unwrap();
    let shard = log.shards().first().unwrap();
    assert_eq!(shard.horizon(secs(40), log.retention()), 1);
}

#[test]
fn a_stream_created_again_under_a_name_is_another_stream() {
    let mut streams = quiet(1);
    let birth = Birth {
        shards: 2,
        retention: secs(30),
        on_demand: false,
    };
    assert!(!streams.create("s", &birth, secs(1)), "the name is taken");
    assert!(streams.create("S", &birth, secs(1)), "case matters");
    streams.delete("s").unwrap();
    assert!(streams.create("s", &birth, secs(2)));
    assert_eq!(streams.log("s").unwrap().number(), 2);
}
