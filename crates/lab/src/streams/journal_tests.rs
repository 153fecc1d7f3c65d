//! Streams that outlive the lab: what the journal says is what is restored.

use std::collections::BTreeMap;
use std::time::Duration;

use super::journal::Change;
use super::*;

fn world(producer: &str) -> World {
    let text = format!(
        "warehouses = []\nviews = []\n[[streams]]\nname = \"s\"\nshards = 2\nretention = 60\n\
         [[producers]]\nstream = \"s\"\npattern = \"steady\"\nrate = 5\nuntil = 310\n{producer}\n"
    );
    World::from_toml(&text, "test").unwrap()
}

fn secs(value: u64) -> Duration {
    Duration::from_secs(value)
}

fn birth() -> Birth {
    Birth {
        shards: 1,
        retention: secs(86_400),
        on_demand: true,
    }
}

/// A life with everything in it; the journal as it was taken from time to time.
fn live() -> (Streams, Vec<Change>) {
    let mut streams = Streams::new(&world(""));
    streams.keep_journal();
    let mut journal = Vec::new();
    streams.fill(secs(10));
    journal.extend(streams.take_changes());
    assert!(streams.create("mine", &birth(), secs(10)));
    assert!(streams.create("gone", &birth(), secs(10)));
    streams
        .put("mine", 0, "k", vec![0, 255, 10], secs(11))
        .unwrap();
    streams.delete("gone").unwrap();
    streams.fill(secs(20));
    streams.split("s", 0, 1 << 100, secs(20)).unwrap();
    journal.extend(streams.take_changes());
    streams.fill(secs(90));
    streams.merge("s", 2, 3, secs(90)).unwrap();
    streams.set_retention("s", secs(30)).unwrap();
    let tags = BTreeMap::from([("team".to_owned(), "tide".to_owned())]);
    streams.set_tags("mine", tags).unwrap();
    streams.fill(secs(120));
    journal.extend(streams.take_changes());
    (streams, journal)
}

fn logs(streams: &Streams) -> String {
    format!("{:?}", streams.logs)
}

#[test]
fn without_a_journal_nothing_is_remembered() {
    let mut streams = Streams::new(&world(""));
    streams.fill(secs(10));
    assert_eq!(streams.take_changes(), []);
}

#[test]
fn what_the_journal_says_is_restored_exactly_and_producers_go_on_where_they_stopped() {
    let (mut before, journal) = live();
    assert!(!journal.is_empty() && before.log("s").unwrap().shards().len() == 5);
    let mut after = Streams::restore(&world(""), journal).unwrap();
    assert_eq!(logs(&before), logs(&after));
    assert_eq!(after.take_changes(), [], "nothing new has happened");
    before.fill(secs(300));
    after.fill(secs(300));
    assert_eq!(logs(&before), logs(&after));
    assert_eq!(before.take_changes(), after.take_changes());
}

#[test]
fn a_journal_survives_the_trip_through_json() {
    let (_, journal) = live();
    let text = serde_json::to_string(&journal).unwrap();
    assert_eq!(serde_json::from_str::<Vec<Change>>(&text).unwrap(), journal);
}

#[test]
fn puts_below_what_is_forgotten_may_be_left_out() {
    let (mut before, mut journal) = live();
    before.fill(secs(2 * 86_400));
    journal.extend(before.take_changes());
    let mut forgotten = BTreeMap::new();
    for change in &journal {
        if let Change::Trimmed {
            stream,
            shard,
            forgotten: below,
            ..
        } = change
        {
            forgotten.insert((stream.clone(), *shard), *below);
        }
    }
    let whole = journal.len();
    journal.retain(|change| {
        let Change::Put(put) = change else {
            return true;
        };
        let below = forgotten.get(&(put.stream.clone(), put.shard));
        below.is_none_or(|below| put.sequence >= *below)
    });
    assert!(journal.len() < whole, "there was something to leave out");
    let after = Streams::restore(&world(""), journal).unwrap();
    assert_eq!(logs(&before), logs(&after));
}

#[test]
fn an_edited_producer_does_not_rewrite_the_past() {
    let (before, journal) = live();
    let mut after = Streams::restore(&world("bytes = 900"), journal).unwrap();
    assert_eq!(logs(&before), logs(&after));
    after.fill(secs(121));
    let newest = after.log("s").unwrap().shards().iter();
    let newest = newest.filter_map(|shard| shard.records().next_back());
    assert!(newest.into_iter().any(|(_, record)| record.bytes == 900));
}

#[test]
fn a_stream_that_was_added_to_the_world_is_created_and_a_deleted_one_stays_deleted() {
    let mut streams = Streams::new(&world(""));
    streams.keep_journal();
    streams.delete("s").unwrap();
    let journal = streams.take_changes();
    let more = World::from_toml(
        "warehouses = []\nviews = []\n[[streams]]\nname = \"s\"\n[[streams]]\nname = \"new\"\n",
        "test",
    );
    let mut after = Streams::restore(&more.unwrap(), journal).unwrap();
    assert!(after.log("s").is_none());
    assert_eq!(
        after.log("new").unwrap().number(),
        1,
        "no number is used twice"
    );
    assert_eq!(after.take_changes().len(), 1, "and the journal says so");
}

#[test]
fn a_journal_that_contradicts_itself_is_refused_by_its_entry() {
    let (_, mut journal) = live();
    let twice = journal
        .iter()
        .position(|change| matches!(change, Change::Put(_)))
        .unwrap();
    journal.insert(twice + 1, journal.get(twice).unwrap().clone());
    let error = Streams::restore(&world(""), journal).unwrap_err();
    let says = format!("entry {} of the journal of streams", twice + 1);
    assert!(error.to_string().starts_with(&says), "{error}");
}
