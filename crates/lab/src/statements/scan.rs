//! Decides what a refresh makes of the records that it was given: the rows of its view, what
//! is skipped, the text of `SYS_MV_REFRESH_HISTORY.status`, and what the scan's system views
//! show of it.
//!
//! A record that is too large is skipped; anything else that is wrong with one fails the
//! refresh (Developer Guide, "Streaming ingestion to a materialized view").

use std::collections::BTreeMap;

use super::source::Definition;
use crate::db::{Cell, Context, Db, stream_columns, timestamp_text};
use crate::remote::Record;

/// What one refresh has read of each shard or partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Scan {
    pub(super) shards: Vec<ShardScan>,
    pub(super) skipped: Vec<Skipped>,
    /// It ended before the tip of the stream.
    pub(super) more: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ShardScan {
    pub(super) shard_id: String,
    pub(super) position: String,
    pub(super) scanned: i64,
    pub(super) skipped: i64,
    pub(super) bytes: i64,
    pub(super) first_us: i64,
    pub(super) last_us: i64,
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
    /// What was scanned in `records`, of which those above `largest` bytes are skipped.
    pub(super) fn of(records: &[Record], largest: usize, more: bool) -> Self {
        let mut shards: BTreeMap<&str, ShardScan> = BTreeMap::new();
        let mut left_out = Vec::new();
        for record in records {
            let shard = shards
                .entry(&record.shard_id)
                .or_insert_with(|| ShardScan::begin(record));
            shard.position.clone_from(&record.sequence);
            shard.scanned += 1;
            shard.bytes += i64::try_from(record.data.len()).unwrap_or(i64::MAX);
            shard.first_us = shard.first_us.min(record.arrived_us);
            shard.last_us = shard.last_us.max(record.arrived_us);
            if record.data.len() > largest {
                shard.skipped += 1;
                left_out.push(Skipped {
                    shard_id: record.shard_id.clone(),
                    position: record.sequence.clone(),
                    arrived_us: record.arrived_us,
                    bytes: record.data.len(),
                });
            }
        }
        Self {
            shards: shards.into_values().collect(),
            skipped: left_out,
            more,
        }
    }

    fn scanned(&self) -> i64 {
        self.shards.iter().map(|shard| shard.scanned).sum()
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

impl ShardScan {
    fn begin(record: &Record) -> Self {
        Self {
            shard_id: record.shard_id.clone(),
            position: String::new(),
            scanned: 0,
            skipped: 0,
            bytes: 0,
            first_us: record.arrived_us,
            last_us: record.arrived_us,
        }
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
