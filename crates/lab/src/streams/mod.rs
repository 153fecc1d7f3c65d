//! Decides what a stream holds: sharded logs of records with their arrival times, filled by
//! producers as time passes, trimmed at the end of retention.
//!
//! Invariants: within a shard sequence numbers have no gaps and arrival times never
//! decrease; what a producer writes depends on the world alone, not on who asks when.
//! Deliberately absent: who has read what (a view's positions are the view's).

mod producer;
mod users;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::clock::Moment;
use crate::world::World;
use producer::Source;

/// Arrivals stay in the history for at least this long, as statements do.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);

/// One record of a shard.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) at: Moment,
    pub(crate) bytes: u64,
    /// The text, while retention lasts.
    pub(crate) data: Option<Box<str>>,
}

/// A part of a shard: sequence numbers `from..to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// A log: sequence numbers count up from 0.
#[derive(Debug, Default)]
pub(crate) struct Shard {
    first: u64,
    records: VecDeque<Record>,
    /// Records below this have lost their text.
    trimmed: u64,
}

impl Shard {
    fn sequence(&self, index: usize) -> u64 {
        self.first + u64::try_from(index).unwrap_or(u64::MAX)
    }

    fn index(&self, sequence: u64) -> usize {
        usize::try_from(sequence.saturating_sub(self.first)).unwrap_or(usize::MAX)
    }

    fn push(&mut self, record: Record) {
        self.records.push_back(record);
    }

    /// The first sequence number that arrived after `moment`: a reader who read up to
    /// `moment` goes on there.
    pub(crate) fn end(&self, moment: Moment) -> u64 {
        self.sequence(self.records.partition_point(|record| record.at <= moment))
    }

    /// `TRIM_HORIZON`: the first record that retention has not taken at `now`.
    pub(crate) fn horizon(&self, now: Moment, retention: Duration) -> u64 {
        self.sequence(
            self.records
                .partition_point(|record| record.at + retention <= now),
        )
    }

    /// Bytes and records of a stretch.
    pub(crate) fn measure(&self, stretch: Stretch) -> (u64, u64) {
        let (from, to) = (self.index(stretch.from), self.index(stretch.to));
        let (mut bytes, mut records) = (0, 0);
        for record in self
            .records
            .range(from.min(self.records.len())..to.min(self.records.len()))
        {
            bytes += record.bytes;
            records += 1;
        }
        (bytes, records)
    }

    /// The records, oldest first, with their sequence numbers.
    pub(crate) fn records(&self) -> impl DoubleEndedIterator<Item = (u64, &Record)> {
        self.records
            .iter()
            .enumerate()
            .map(|(index, record)| (self.sequence(index), record))
    }

    fn trim(&mut self, now: Moment, retention: Duration) {
        let horizon = self.horizon(now, retention);
        while self.trimmed < horizon {
            let index = self.index(self.trimmed);
            if let Some(record) = self.records.get_mut(index) {
                record.data = None;
            }
            self.trimmed += 1;
        }
        let forgotten = retention.max(REMEMBERED);
        while self
            .records
            .front()
            .is_some_and(|record| record.at + forgotten <= now)
        {
            self.records.pop_front();
            self.first += 1;
        }
    }
}

/// A stream's shards and how long they keep what they hold.
#[derive(Debug)]
pub(crate) struct Log {
    retention: Duration,
    shards: Vec<Shard>,
}

impl Log {
    pub(crate) fn shards(&self) -> &[Shard] {
        &self.shards
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
    pub(crate) fn measure(&self, stretches: &[Stretch]) -> (u64, u64) {
        let mut sum = (0, 0);
        for (shard, stretch) in self.shards.iter().zip(stretches) {
            let (bytes, records) = shard.measure(*stretch);
            sum = (sum.0 + bytes, sum.1 + records);
        }
        sum
    }
}

/// Every stream of the world, and the producers that fill them.
#[derive(Debug)]
pub(crate) struct Streams {
    logs: BTreeMap<String, Log>,
    sources: Vec<Source>,
    /// When each source writes next, soonest first.
    agenda: BTreeSet<(Moment, usize)>,
}

impl Streams {
    pub(crate) fn new(world: &World) -> Self {
        let log = |stream: &crate::world::Stream| Log {
            retention: stream.retention(),
            shards: (0..stream.shards()).map(|_| Shard::default()).collect(),
        };
        let logs = world
            .streams
            .iter()
            .map(|s| (s.name.get_ref().clone(), log(s)))
            .collect();
        let sources: Vec<Source> = world
            .producers
            .iter()
            .enumerate()
            .map(|(index, producer)| Source::new(world.seed, index, producer))
            .collect();
        let agenda = sources
            .iter()
            .enumerate()
            .filter_map(|(index, source)| source.next_at().map(|at| (at, index)))
            .collect();
        Self {
            logs,
            sources,
            agenda,
        }
    }

    /// Lets the producers write everything that arrives up to and at `now`.
    pub(crate) fn fill(&mut self, now: Moment) {
        while let Some(&(at, index)) = self.agenda.first()
            && at <= now
        {
            self.agenda.pop_first();
            let Some(source) = self.sources.get_mut(index) else {
                continue;
            };
            let (throw, text) = source.write();
            if let Some(log) = self.logs.get_mut(source.stream()) {
                // The throw stands for the hash of a partition key.
                let shards = log.shards.len();
                let chosen = usize::try_from(throw).unwrap_or_default() % shards.max(1);
                if let Some(shard) = log.shards.get_mut(chosen) {
                    let bytes = u64::try_from(text.len()).unwrap_or(u64::MAX);
                    shard.push(Record {
                        at,
                        bytes,
                        data: Some(text.into_boxed_str()),
                    });
                }
            }
            if let Some(next) = source.next_at() {
                self.agenda.insert((next, index));
            }
        }
        for log in self.logs.values_mut() {
            for shard in &mut log.shards {
                shard.trim(now, log.retention);
            }
        }
    }

    pub(crate) fn log(&self, stream: &str) -> Option<&Log> {
        self.logs.get(stream)
    }

    pub(crate) fn logs(&self) -> impl Iterator<Item = (&String, &Log)> {
        self.logs.iter()
    }
}

#[cfg(test)]
mod tests;
