//! Decides which streams there are and what happens to them: producers fill them as time
//! passes, others put records in, retention trims them, shards are split and merged.
//!
//! Invariant: what a producer writes depends on the world alone, not on who asks when.
//! Deliberately absent: who has read what (a view's positions are the view's), and every
//! limit of Kinesis (that is in `kinesis`).

mod hash;
pub(crate) mod journal;
mod log;
mod producer;
mod sequence;
mod shard;
mod users;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::clock::Moment;
use crate::world::World;
use journal::{Change, Put, creation, micros};
use producer::Source;

pub(crate) use log::{Birth, Log};
pub(crate) use sequence::{SequenceNumber, sequence_text, shard_id, shard_index};
pub(crate) use shard::{Record, Shard, Stretch};

/// Every stream of the lab, and the producers that fill some of them.
#[derive(Debug)]
pub(crate) struct Streams {
    /// By name; case matters.
    logs: BTreeMap<String, Log>,
    sources: Vec<Source>,
    /// When each source writes next, soonest first.
    agenda: BTreeSet<(Moment, usize)>,
    /// Producers have written everything up to and at this moment.
    filled: Moment,
    /// How many streams have ever been created.
    created: u32,
    /// What has happened and nobody has taken; none while no journal is kept.
    journal: Option<Vec<Change>>,
    /// A producer has written since the journal was taken.
    produced: bool,
}

impl Streams {
    pub(crate) fn new(world: &World) -> Self {
        let mut streams = Self::without_streams(world);
        for stream in &world.streams {
            streams.create(stream.name.get_ref(), &stream.into(), Moment::ZERO);
        }
        streams
    }

    /// The producers of the world, and nothing for them to write to.
    fn without_streams(world: &World) -> Self {
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
            logs: BTreeMap::new(),
            sources,
            agenda,
            filled: Moment::ZERO,
            created: 0,
            journal: None,
            produced: false,
        }
    }

    /// Lets the producers write everything that arrives up to and at `now`.
    pub(crate) fn fill(&mut self, now: Moment) {
        while let Some((at, stream, key, text)) = self.produce(now) {
            if let Some(log) = self.logs.get(&stream) {
                let shard = log.route(&key, None);
                self.put(&stream, shard, &key, text.into_bytes(), at);
                self.produced = true;
            }
        }
        self.filled = self.filled.max(now);
        for (name, log) in &mut self.logs {
            for (index, shard) in log.shards.iter_mut().enumerate() {
                if shard.trim(now, log.retention)
                    && let Some(journal) = &mut self.journal
                {
                    journal.push(Change::Trimmed {
                        stream: name.clone(),
                        shard: index,
                        horizon: shard.trimmed,
                        forgotten: shard.first,
                    });
                }
            }
        }
    }

    /// The next record that a producer writes up to `now`: when, where, its partition key,
    /// its text.
    fn produce(&mut self, now: Moment) -> Option<(Moment, String, String, String)> {
        let (at, index) = self.agenda.first().copied().filter(|(at, _)| *at <= now)?;
        self.agenda.pop_first();
        let source = self.sources.get_mut(index)?;
        let (throw, text) = source.write();
        if let Some(next) = source.next_at() {
            self.agenda.insert((next, index));
        }
        Some((at, source.stream().to_owned(), throw.to_string(), text))
    }

    /// Lets the producers go on after `moment`, as if they had written up to it.
    fn skip_to(&mut self, moment: Moment) {
        while self.produce(moment).is_some() {}
    }

    pub(crate) fn log(&self, stream: &str) -> Option<&Log> {
        self.logs.get(stream)
    }

    pub(crate) fn logs(&self) -> impl Iterator<Item = (&String, &Log)> {
        self.logs.iter()
    }

    fn note(&mut self, change: impl FnOnce() -> Change) {
        if let Some(journal) = &mut self.journal {
            journal.push(change());
        }
    }

    /// Creates a stream; false where the name is taken.
    pub(crate) fn create(&mut self, stream: &str, birth: &Birth, now: Moment) -> bool {
        if self.logs.contains_key(stream) {
            return false;
        }
        let log = Log::new(self.created, birth, now);
        self.created += 1;
        self.note(|| creation(stream, &log));
        self.logs.insert(stream.to_owned(), log);
        true
    }

    /// Deletes a stream and all that it holds. Producers that write to it write to nobody.
    pub(crate) fn delete(&mut self, stream: &str) -> Option<()> {
        self.logs.remove(stream)?;
        self.note(|| Change::StreamDeleted {
            stream: stream.to_owned(),
        });
        Some(())
    }

    /// Appends a record to an open shard, which [`Log::route`] names; its sequence number.
    pub(crate) fn put(
        &mut self,
        stream: &str,
        shard: usize,
        partition_key: &str,
        data: Vec<u8>,
        now: Moment,
    ) -> Option<u64> {
        let copy = self.journal.as_ref().map(|_| data.clone());
        let record = Record {
            at: now,
            bytes: u64::try_from(data.len()).unwrap_or(u64::MAX),
            partition_key: partition_key.into(),
            data: Some(data.into()),
        };
        let sequence = self.logs.get_mut(stream)?.push(shard, record)?;
        if let Some(data) = copy {
            self.note(|| {
                Change::Put(Put {
                    stream: stream.to_owned(),
                    shard,
                    sequence,
                    arrived_us: micros(now),
                    partition_key: partition_key.to_owned(),
                    data,
                })
            });
        }
        Some(sequence)
    }

    /// Splits an open shard in two at a hash key, which the second then begins with.
    pub(crate) fn split(
        &mut self,
        stream: &str,
        shard: usize,
        at: u128,
        now: Moment,
    ) -> Option<()> {
        self.logs.get_mut(stream)?.split(shard, at, now)?;
        self.note(|| Change::ShardSplit {
            stream: stream.to_owned(),
            shard,
            starting_hash_key: at.to_string(),
            at_us: micros(now),
        });
        Some(())
    }

    /// Merges two open shards whose hash keys touch.
    pub(crate) fn merge(
        &mut self,
        stream: &str,
        shard: usize,
        adjacent: usize,
        now: Moment,
    ) -> Option<()> {
        self.logs.get_mut(stream)?.merge(shard, adjacent, now)?;
        self.note(|| Change::ShardsMerged {
            stream: stream.to_owned(),
            shard,
            adjacent,
            at_us: micros(now),
        });
        Some(())
    }

    /// Changes how long a stream keeps data; what it has taken already stays taken.
    pub(crate) fn set_retention(&mut self, stream: &str, retention: Duration) -> Option<()> {
        self.logs.get_mut(stream)?.retention = retention;
        self.note(|| Change::Retention {
            stream: stream.to_owned(),
            retention_us: micros(retention),
        });
        Some(())
    }

    /// Replaces a stream's tags.
    pub(crate) fn set_tags(&mut self, stream: &str, tags: BTreeMap<String, String>) -> Option<()> {
        self.logs.get_mut(stream)?.tags.clone_from(&tags);
        self.note(|| Change::Tags {
            stream: stream.to_owned(),
            tags,
        });
        Some(())
    }
}

impl From<&crate::world::Stream> for Birth {
    fn from(stream: &crate::world::Stream) -> Self {
        Self {
            shards: stream.shards(),
            retention: stream.retention(),
            on_demand: false,
        }
    }
}

#[cfg(test)]
mod journal_tests;
#[cfg(test)]
mod tests;
