//! Decides what has to be written down so that streams survive the lab's end, and how they
//! are built up again from it.
//!
//! What producers write is in the journal record by record, like everybody's: a world whose
//! producers were edited between two lives does not rewrite the past. Deliberately absent:
//! where the journal is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::Streams;
use super::log::{Birth, Log};
use super::shard::Record;
use crate::clock::Moment;
use crate::world::World;

/// One thing that happened to the streams. Times are microseconds on the lab's clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Change {
    StreamCreated {
        stream: String,
        number: u32,
        shards: usize,
        retention_us: u64,
        on_demand: bool,
        at_us: u64,
    },
    StreamDeleted {
        stream: String,
    },
    /// `starting_hash_key` is decimal, as Kinesis writes hash keys.
    ShardSplit {
        stream: String,
        shard: usize,
        starting_hash_key: String,
        at_us: u64,
    },
    ShardsMerged {
        stream: String,
        shard: usize,
        adjacent: usize,
        at_us: u64,
    },
    Retention {
        stream: String,
        retention_us: u64,
    },
    /// The stream's tags are these now.
    Tags {
        stream: String,
        tags: BTreeMap<String, String>,
    },
    Put(Put),
    /// Records below `horizon` have lost their data, those below `forgotten` are gone. Puts
    /// below `forgotten` need not be kept, if this is.
    Trimmed {
        stream: String,
        shard: usize,
        horizon: u64,
        forgotten: u64,
    },
    /// Producers have written everything up to and at this moment; older ones of these need
    /// not be kept.
    Filled {
        up_to_us: u64,
    },
}

/// One record, whoever wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Put {
    pub(crate) stream: String,
    pub(crate) shard: usize,
    pub(crate) sequence: u64,
    pub(crate) arrived_us: u64,
    pub(crate) partition_key: String,
    #[serde(with = "base64_text")]
    pub(crate) data: Vec<u8>,
}

/// A change does not fit what came before it.
#[derive(Debug, Clone, Copy, Error, PartialEq, Eq)]
#[error("entry {entry} of the journal of streams does not fit those before it")]
pub(crate) struct BrokenJournal {
    entry: usize,
}

pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl Streams {
    /// Remembers every change from now on, beginning with the streams of the world: to be
    /// called before anything happens to them. After `restore` it changes nothing.
    pub(crate) fn keep_journal(&mut self) {
        let existing = self.logs.iter();
        let created = existing.map(|(name, log)| creation(name, log)).collect();
        self.journal.get_or_insert(created);
    }

    /// What has happened since the last call; nothing unless the journal is kept. All of it
    /// is to be stored, or none: a part of it would let producers write twice.
    pub(crate) fn take_changes(&mut self) -> Vec<Change> {
        let Some(journal) = &mut self.journal else {
            return Vec::new();
        };
        let mut changes = std::mem::take(journal);
        if std::mem::take(&mut self.produced) {
            changes.push(Change::Filled {
                up_to_us: micros(self.filled),
            });
        }
        changes
    }

    /// The streams as the changes left them, their journal kept on. Streams of the world that
    /// the changes never mention are created; producers go on after the last moment filled.
    ///
    /// # Errors
    /// A change that contradicts those before it.
    pub(crate) fn restore(
        world: &World,
        changes: impl IntoIterator<Item = Change>,
    ) -> Result<Self, BrokenJournal> {
        let mut streams = Self::without_streams(world);
        let mut known = BTreeSet::new();
        for (entry, change) in changes.into_iter().enumerate() {
            if let Change::StreamCreated { stream, .. } = &change {
                known.insert(stream.clone());
            }
            if streams.apply(change).is_none() {
                return Err(BrokenJournal { entry });
            }
        }
        streams.skip_to(streams.filled);
        streams.journal = Some(Vec::new());
        for stream in &world.streams {
            if !known.contains(stream.name.get_ref()) {
                streams.create(stream.name.get_ref(), &stream.into(), Moment::ZERO);
            }
        }
        Ok(streams)
    }

    fn apply(&mut self, change: Change) -> Option<()> {
        match change {
            Change::StreamCreated {
                stream,
                number,
                shards,
                retention_us,
                on_demand,
                at_us,
            } => {
                let birth = Birth {
                    shards,
                    retention: Duration::from_micros(retention_us),
                    on_demand,
                };
                let log = Log::new(number, &birth, Duration::from_micros(at_us));
                self.created = self.created.max(number + 1);
                self.logs.insert(stream, log).is_none().then_some(())
            }
            Change::StreamDeleted { stream } => self.delete(&stream),
            Change::ShardSplit {
                stream,
                shard,
                starting_hash_key,
                at_us,
            } => {
                let at = starting_hash_key.parse().ok()?;
                self.split(&stream, shard, at, Duration::from_micros(at_us))
            }
            Change::ShardsMerged {
                stream,
                shard,
                adjacent,
                at_us,
            } => self.merge(&stream, shard, adjacent, Duration::from_micros(at_us)),
            Change::Retention {
                stream,
                retention_us,
            } => self.set_retention(&stream, Duration::from_micros(retention_us)),
            Change::Tags { stream, tags } => self.set_tags(&stream, tags),
            Change::Filled { up_to_us } => {
                self.filled = Duration::from_micros(up_to_us);
                Some(())
            }
            Change::Put(put) => self.apply_put(put),
            Change::Trimmed {
                stream,
                shard,
                horizon,
                forgotten,
            } => {
                let shard = self.logs.get_mut(&stream)?.shards.get_mut(shard)?;
                shard.take_data(horizon);
                shard.forget(forgotten);
                Some(())
            }
        }
    }

    fn apply_put(&mut self, put: Put) -> Option<()> {
        let log = self.logs.get_mut(&put.stream)?;
        let shard = log.shards.get_mut(put.shard)?;
        if shard.records.is_empty() {
            // The beginning may have been left out of the journal since.
            shard.forget(put.sequence);
        }
        let record = Record {
            at: Duration::from_micros(put.arrived_us),
            bytes: u64::try_from(put.data.len()).ok()?,
            partition_key: put.partition_key.into(),
            data: Some(put.data.into()),
        };
        (log.push(put.shard, record)? == put.sequence).then_some(())
    }
}

pub(super) fn creation(name: &str, log: &Log) -> Change {
    Change::StreamCreated {
        stream: name.to_owned(),
        number: log.number(),
        shards: log.shards().len(),
        retention_us: micros(log.retention()),
        on_demand: log.is_on_demand(),
        at_us: micros(log.created()),
    }
}

/// Bytes as base64, where JSON would have a number for each of them.
mod base64_text {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        STANDARD.decode(text).map_err(D::Error::custom)
    }
}
