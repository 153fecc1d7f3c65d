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
