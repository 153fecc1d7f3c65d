//! Decides who is too fast: Kinesis's limits per shard and per operation, each a bucket that
//! refills in one second.
//!
//! Producers of the world write past them. `endpoint.kinesis_limits = false` in a world turns
//! them off.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::Operation;
use crate::clock::Moment;

const MIB: f64 = 1024.0 * 1024.0;

/// "Each shard supports up to 1,000 records per second for writes", and "1 MB per second,
/// including partition keys" (Developer Guide, quotas and limits).
const RECORDS_WRITTEN: f64 = 1_000.0;
const BYTES_WRITTEN: f64 = MIB;

/// "Each shard can support up to a maximum total data read rate of 2 MB per second", and
/// "five read transactions per second".
const BYTES_READ: f64 = 2.0 * MIB;
const READS: f64 = 5.0;

#[derive(Debug)]
struct Bucket {
    per_second: f64,
    left: f64,
    at: Moment,
}

impl Bucket {
    fn new(per_second: f64) -> Self {
        Self {
            per_second,
            left: per_second,
            at: Moment::ZERO,
        }
    }

    /// Whether `amount` may be taken. What is larger than the bucket may be when it is full.
    fn has(&mut self, amount: f64, now: Moment) -> bool {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.left = (self.left + passed * self.per_second).min(self.per_second);
        self.left >= amount.min(self.per_second)
    }

    /// May leave less than nothing, which has to refill first.
    fn take(&mut self, amount: f64) {
        self.left -= amount;
    }
}

#[derive(Debug)]
struct ShardLimits {
    records_written: Bucket,
    bytes_written: Bucket,
    bytes_read: Bucket,
    reads: Bucket,
    iterators: Bucket,
}

impl ShardLimits {
    fn new() -> Self {
        Self {
            records_written: Bucket::new(RECORDS_WRITTEN),
            bytes_written: Bucket::new(BYTES_WRITTEN),
            bytes_read: Bucket::new(BYTES_READ),
            reads: Bucket::new(READS),
            iterators: Bucket::new(READS),
        }
    }
}

/// The creation number of a stream, and the index of a shard.
pub(super) type ShardKey = (u32, usize);

/// What has been used of every limit.
#[derive(Debug)]
pub(super) struct Limits {
    enforced: bool,
    shards: BTreeMap<ShardKey, ShardLimits>,
    operations: BTreeMap<Operation, Bucket>,
    reads: BTreeMap<ShardKey, Reads>,
}

/// How a shard was read, for the lab's truth.
#[derive(Debug, Default, Clone)]
pub(crate) struct Reads {
    pub(crate) records_calls: u64,
    pub(crate) iterator_calls: u64,
    /// The most `GetRecords` within one second.
    pub(crate) most_per_second: usize,
    /// Those of the last second.
    recent: VecDeque<Moment>,
}

impl Reads {
    fn records(&mut self, now: Moment) {
        self.records_calls += 1;
        self.recent.push_back(now);
        while let Some(first) = self.recent.front()
            && now.saturating_sub(*first) >= Duration::from_secs(1)
        {
            self.recent.pop_front();
        }
        self.most_per_second = self.most_per_second.max(self.recent.len());
    }
}

impl Limits {
    pub(super) fn new(enforced: bool) -> Self {
        Self {
            enforced,
            shards: BTreeMap::new(),
            operations: BTreeMap::new(),
            reads: BTreeMap::new(),
        }
    }

    pub(super) fn admits(&mut self, operation: Operation, now: Moment) -> bool {
        let Some(per_second) = operation.per_second().filter(|_| self.enforced) else {
            return true;
        };
        let bucket = self.operations.entry(operation);
        let bucket = bucket.or_insert_with(|| Bucket::new(per_second));
        let has = bucket.has(1.0, now);
        if has {
            bucket.take(1.0);
        }
        has
    }

    /// Whether a shard takes one more record of `bytes`, key and data.
    pub(super) fn writes(&mut self, shard: ShardKey, bytes: usize, now: Moment) -> bool {
        let Some(limits) = self.shard(shard) else {
            return true;
        };
        let bytes = count(bytes);
        // Both are asked before one is taken: a refused record uses nothing.
        let has = limits.records_written.has(1.0, now) && limits.bytes_written.has(bytes, now);
        if has {
            limits.records_written.take(1.0);
            limits.bytes_written.take(bytes);
        }
        has
    }

    /// Whether a shard answers one more `GetRecords`. How much it reads is told afterwards.
    pub(super) fn reads(&mut self, shard: ShardKey, now: Moment) -> bool {
        self.reads.entry(shard).or_default().records(now);
        let Some(limits) = self.shard(shard) else {
            return true;
        };
        // "If a call returns 10 MiB, subsequent calls made within the next 5 seconds throw":
        // what was read has to refill to above nothing.
        let has = limits.reads.has(1.0, now) && limits.bytes_read.has(f64::MIN_POSITIVE, now);
        if has {
            limits.reads.take(1.0);
        }
        has
    }

    pub(super) fn has_read(&mut self, shard: ShardKey, bytes: usize) {
        if let Some(limits) = self.shard(shard) {
            limits.bytes_read.take(count(bytes));
        }
    }

    /// Whether a shard answers one more `GetShardIterator`.
    pub(super) fn iterates(&mut self, shard: ShardKey, now: Moment) -> bool {
        self.reads.entry(shard).or_default().iterator_calls += 1;
        let Some(limits) = self.shard(shard) else {
            return true;
        };
        let has = limits.iterators.has(1.0, now);
        if has {
            limits.iterators.take(1.0);
        }
        has
    }

    /// How the shards of a stream were read.
    pub(crate) fn shards_read(&self, stream: u32) -> impl Iterator<Item = (usize, &Reads)> {
        let shards = self.reads.iter().filter(move |((of, _), _)| *of == stream);
        shards.map(|((_, shard), reads)| (*shard, reads))
    }

    pub(super) fn forget(&mut self, stream: u32) {
        self.shards.retain(|(of, _), _| *of != stream);
    }

    fn shard(&mut self, shard: ShardKey) -> Option<&mut ShardLimits> {
        if !self.enforced {
            return None;
        }
        Some(self.shards.entry(shard).or_insert_with(ShardLimits::new))
    }
}

fn count(bytes: usize) -> f64 {
    u32::try_from(bytes).map_or_else(|_| f64::from(u32::MAX), f64::from)
}

/// How long an iterator and a page's token live.
pub(super) const TOLERATED: Duration = Duration::from_secs(300);
