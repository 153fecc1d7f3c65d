//! Decides what one stream is: its shards and their families, which of them takes a record,
//! and what a reader with positions has not read yet.
//!
//! Invariants: the open shards cover the hash keys without gap or overlap; a child's index is
//! above its parents'. Deliberately absent: who has read what (a view's positions are the
//! view's).

use std::collections::BTreeMap;
use std::time::Duration;

use super::hash::{HashRange, hash_key};
use super::sequence::{sequence_text, shard_id};
use super::shard::{Record, Shard, Stretch};
use crate::clock::Moment;

/// What a stream is created with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Birth {
    pub(crate) shards: usize,
    pub(crate) retention: Duration,
    pub(crate) on_demand: bool,
}

/// A record as a reader of the stream gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StreamRecord<'a> {
    pub(crate) arrived: Moment,
    pub(crate) partition_key: &'a str,
    pub(crate) shard_id: String,
    pub(crate) sequence: String,
    pub(crate) data: &'a [u8],
}

/// A stream's shards and how long they keep what they hold.
#[derive(Debug)]
pub(crate) struct Log {
    number: u32,
    created: Moment,
    on_demand: bool,
    pub(super) retention: Duration,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) shards: Vec<Shard>,
    /// The open shards, by the first hash key of each.
    open: BTreeMap<u128, usize>,
}

impl Log {
    pub(super) fn new(number: u32, birth: &Birth, now: Moment) -> Self {
        let mut log = Self {
            number,
            created: now,
            on_demand: birth.on_demand,
            retention: birth.retention,
            tags: BTreeMap::new(),
            shards: Vec::new(),
            open: BTreeMap::new(),
        };
        for range in HashRange::even(birth.shards) {
            log.add(range, Vec::new(), now);
        }
        log
    }

    /// Which of the lab's streams this is, counted by creation: a stream that is deleted and
    /// created again has another number, and positions in the old one mean nothing in it.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    pub(crate) fn created(&self) -> Moment {
        self.created
    }

    pub(crate) fn is_on_demand(&self) -> bool {
        self.on_demand
    }

    pub(crate) fn retention(&self) -> Duration {
        self.retention
    }

    pub(crate) fn tags(&self) -> &BTreeMap<String, String> {
        &self.tags
    }

    pub(crate) fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// The indices of the open shards, in order of their hash keys.
    pub(crate) fn open(&self) -> impl Iterator<Item = usize> {
        self.open.values().copied()
    }

    /// The shard that takes a record now.
    pub(crate) fn route(&self, partition_key: &str, explicit: Option<u128>) -> usize {
        let key = explicit.unwrap_or_else(|| hash_key(partition_key));
        let owner = self.open.range(..=key).next_back();
        owner.map_or(0, |(_, index)| *index)
    }

    /// The children of a shard, once it has any.
    pub(crate) fn children(&self, parent: usize) -> impl Iterator<Item = (usize, &Shard)> {
        let shards = self.shards.iter().enumerate();
        shards.filter(move |(_, shard)| shard.parents.contains(&parent))
    }

    fn add(&mut self, range: HashRange, parents: Vec<usize>, now: Moment) {
        self.open.insert(range.start, self.shards.len());
        self.shards.push(Shard::new(range, parents, now));
    }

    fn close(&mut self, index: usize, now: Moment) {
        if let Some(shard) = self.shards.get_mut(index) {
            shard.closed = Some(now);
            self.open.remove(&shard.range.start);
        }
    }

    fn open_range(&self, index: usize) -> Option<HashRange> {
        let shard = self.shards.get(index)?;
        shard.closed.is_none().then_some(shard.range)
    }

    /// Closes a shard and opens two, the second from hash key `at` on. None where the shard
    /// is not open or does not own `at`, or nothing would be left of the first.
    pub(super) fn split(&mut self, index: usize, at: u128, now: Moment) -> Option<()> {
        let HashRange { start, end } = self.open_range(index)?;
        if at <= start || at > end {
            return None;
        }
        self.close(index, now);
        let left = HashRange { start, end: at - 1 };
        self.add(left, vec![index], now);
        self.add(HashRange { start: at, end }, vec![index], now);
        Some(())
    }

    /// Closes two adjacent shards and opens one. None where they are not open or adjacent.
    pub(super) fn merge(&mut self, index: usize, adjacent: usize, now: Moment) -> Option<()> {
        let (one, other) = (self.open_range(index)?, self.open_range(adjacent)?);
        if !one.is_adjacent(other) {
            return None;
        }
        self.close(index, now);
        self.close(adjacent, now);
        let range = HashRange {
            start: one.start.min(other.start),
            end: one.end.max(other.end),
        };
        self.add(range, vec![index, adjacent], now);
        Some(())
    }

    /// Appends to an open shard; the record's sequence number.
    pub(super) fn push(&mut self, index: usize, record: Record) -> Option<u64> {
        let shard = self.shards.get_mut(index)?;
        shard.closed.is_none().then(|| shard.push(record))
    }

    /// What a reader at `positions` (one per shard, missing ones at 0) reads when it reads
    /// up to `now`: from its position, or from `TRIM_HORIZON` where retention has passed it.
    pub(crate) fn unread(&self, positions: &[u64], now: Moment) -> Vec<Stretch> {
        let starts = positions.iter().copied().chain(std::iter::repeat(0));
        self.shards
            .iter()
            .zip(starts)
            .map(|(shard, start)| {
                let from = start.max(shard.horizon(now, self.retention));
                Stretch {
                    from,
                    to: shard.end(now).max(from),
                }
            })
            .collect()
    }

    /// Bytes and records of one stretch per shard.
    #[cfg(test)]
    pub(crate) fn measure(&self, stretches: &[Stretch]) -> (u64, u64) {
        let mut sum = (0, 0);
        for (shard, stretch) in self.shards.iter().zip(stretches) {
            let (bytes, records) = shard.measure(*stretch);
            sum = (sum.0 + bytes, sum.1 + records);
        }
        sum
    }

    /// The records of one stretch per shard, shard after shard, without those whose data
    /// retention has taken.
    pub(crate) fn read<'a>(
        &'a self,
        stretches: &'a [Stretch],
    ) -> impl Iterator<Item = StreamRecord<'a>> {
        let shards = self.shards.iter().zip(stretches).enumerate();
        shards.flat_map(move |(index, (shard, stretch))| {
            shard
                .stretch(*stretch)
                .filter_map(move |(sequence, record)| {
                    Some(StreamRecord {
                        arrived: record.at,
                        partition_key: &record.partition_key,
                        shard_id: shard_id(index),
                        sequence: sequence_text(self.number, index, sequence),
                        data: record.data.as_deref()?,
                    })
                })
        })
    }
}
