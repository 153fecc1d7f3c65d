//! Decides what a refresh makes of the records that it was given: the rows of its view, what
//! is skipped, the text of `SYS_MV_REFRESH_HISTORY.status`, and what the scan's system views
//! show of it.
//!
//! A record that is too large is skipped; anything else that is wrong with one fails the
//! refresh (Developer Guide, "Streaming ingestion to a materialized view").

use std::collections::BTreeMap;
use std::time::Duration;

use super::source::Definition;
use crate::clock::Moment;
use crate::db::{Cell, Context, Db, stream_columns, timestamp_text};
use crate::remote::Record;

/// Records of a batch at most (the lab's own: Redshift's batches are not documented).
const BATCH: i64 = 1_000;

/// What one refresh has read of each shard or partition, batch by batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Scan {
    pub(super) batches: Vec<Batch>,
    pub(super) skipped: Vec<Skipped>,
    /// It ended before the tip of the stream.
    pub(super) more: bool,
}

/// One batch of a shard, as `SYS_STREAM_SCAN_STATES` has a row for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) shard_id: String,
    pub(super) position: String,
    pub(super) scanned: i64,
    pub(super) skipped: i64,
    pub(super) bytes: i64,
    pub(super) first_us: i64,
    pub(super) last_us: i64,
    /// Records between its last one and the shard's end; `None` where the lab cannot tell.
    pub(super) behind: Option<i64>,
    /// How many of the records that the refresh reads of the shard have been read with it.
    pub(super) done: i64,
    pub(super) of: i64,
}

/// A record that was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Skipped {
    pub(super) shard_id: String,
    pub(super) position: String,
    pub(super) arrived_us: i64,
    pub(super) bytes: usize,
}

impl Scan {
    /// What was scanned in `records`, of which those above `largest` bytes are skipped;
    /// `left` is how many are left in each shard, where that is known.
    pub(super) fn of(
        records: &[Record],
        largest: usize,
        more: bool,
        left: Option<&BTreeMap<String, i64>>,
    ) -> Self {
        let mut batches: Vec<Batch> = Vec::new();
        let mut latest: BTreeMap<&str, usize> = BTreeMap::new();
        let mut left_out = Vec::new();
        for record in records {
            let open = latest.get(record.shard_id.as_str());
            let open = open.filter(|at| batches.get(**at).is_some_and(|b| b.scanned < BATCH));
            let at = open.copied().unwrap_or(batches.len());
            if at == batches.len() {
                batches.push(Batch::begin(record));
                latest.insert(&record.shard_id, at);
            }
            let Some(batch) = batches.get_mut(at) else {
                continue;
            };
            batch.position.clone_from(&record.sequence);
            batch.scanned += 1;
            batch.bytes += i64::try_from(record.data.len()).unwrap_or(i64::MAX);
            batch.first_us = batch.first_us.min(record.arrived_us);
            batch.last_us = batch.last_us.max(record.arrived_us);
            if record.data.len() > largest {
                batch.skipped += 1;
                left_out.push(Skipped {
                    shard_id: record.shard_id.clone(),
                    position: record.sequence.clone(),
                    arrived_us: record.arrived_us,
                    bytes: record.data.len(),
                });
            }
        }
        count(&mut batches, left);
        Self {
            batches,
            skipped: left_out,
            more,
        }
    }

    fn scanned(&self) -> i64 {
        self.batches.iter().map(|batch| batch.scanned).sum()
    }

    /// The status of a streaming refresh that succeeded, as `SVL_MV_REFRESH_STATUS` documents
    /// the texts.
    pub(super) fn status(&self) -> String {
        let skipped = i64::try_from(self.skipped.len()).unwrap_or(i64::MAX);
        let mut text = "Refresh successfully updated MV incrementally".to_owned();
        let mut add = |qualifier: &str| {
            text.push_str(". ");
            text.push_str(qualifier);
        };
        if self.scanned() == 0 {
            add("Stream returned no new data");
        } else if skipped == self.scanned() {
            add("All records received from the stream were skipped");
        } else if skipped > 0 {
            add("Some stream records were skipped");
        }
        if self.more {
            add("The stream may contain more data");
        }
        text
    }
}

/// How far each batch came, from its shard's first to its last.
fn count(batches: &mut [Batch], left: Option<&BTreeMap<String, i64>>) {
    let mut of: BTreeMap<String, i64> = BTreeMap::new();
    for batch in &mut *batches {
        let done = of.entry(batch.shard_id.clone()).or_default();
        *done += batch.scanned;
        batch.done = *done;
    }
    for batch in batches {
        batch.of = of.get(&batch.shard_id).copied().unwrap_or_default();
        let left = left.map(|left| left.get(&batch.shard_id).copied().unwrap_or_default());
        batch.behind = left.map(|left| left + batch.of - batch.done);
    }
}

impl Batch {
    fn begin(record: &Record) -> Self {
        Self {
            shard_id: record.shard_id.clone(),
            position: String::new(),
            scanned: 0,
            skipped: 0,
            bytes: 0,
            first_us: record.arrived_us,
            last_us: record.arrived_us,
            behind: None,
            done: 0,
            of: 0,
        }
    }

    /// When it was read by a refresh that lasted from `started` to `ended`: the lab has read
    /// all at once, and shows it as if batch came after batch.
    pub(super) fn logged(&self, started: Moment, ended: Moment) -> Moment {
        let share = |count: i64| u128::try_from(count).unwrap_or_default();
        let took = ended.saturating_sub(started).as_micros();
        let gone = took * share(self.done) / share(self.of).max(1);
        started + Duration::from_micros(u64::try_from(gone).unwrap_or(u64::MAX))
    }
}

/// The rows that a definition makes of these records, or why the refresh fails.
pub(super) fn rows(
    db: &Db,
    definition: &Definition,
    records: Vec<Record>,
    largest: usize,
    context: &Context,
) -> Result<Vec<Vec<Cell>>, String> {
    let refreshed = timestamp_text(context.now_us);
    let cells: Vec<Vec<Cell>> = records
        .into_iter()
        .filter(|record| record.data.len() <= largest)
        .map(|record| {
            vec![
                Cell::Text(timestamp_text(record.arrived_us)),
                Cell::Text(record.partition_key),
                Cell::Text(record.shard_id),
                Cell::Text(record.sequence),
                Cell::Text(refreshed.clone()),
                Cell::Bytes(record.data),
            ]
        })
        .collect();
    let table = db.select_stream(&definition.query, &stream_columns(), &cells, context)?;
    Ok(table.rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(shard: &str, number: i64) -> Record {
        Record {
            arrived_us: number,
            partition_key: String::new(),
            shard_id: shard.to_owned(),
            sequence: number.to_string(),
            data: vec![0; 10],
        }
    }

    #[test]
    fn a_shard_is_read_in_batches_that_tell_how_far_they_are_from_its_end() {
        let records: Vec<Record> = (0..2_500)
            .map(|number| record("a", number))
            .chain((0..3).map(|number| record("b", number)))
            .collect();
        let left = BTreeMap::from([("a".to_owned(), 7), ("b".to_owned(), 40)]);
        let scan = Scan::of(&records, 100, true, Some(&left));
        let (started, ended) = (Duration::from_secs(10), Duration::from_secs(35));
        let told = scan.batches.iter().map(|batch| {
            let logged = batch.logged(started, ended).as_secs();
            (batch.shard_id.as_str(), batch.scanned, batch.behind, logged)
        });
        let told: Vec<_> = told.collect();
        let a = [
            ("a", 1_000, Some(1_507), 20),
            ("a", 1_000, Some(507), 30),
            ("a", 500, Some(7), 35),
        ];
        assert_eq!(told, [&a[..], &[("b", 3, Some(40), 35)]].concat());
        let unknown = Scan::of(&records, 100, true, None);
        assert!(unknown.batches.iter().all(|batch| batch.behind.is_none()));
    }
}
