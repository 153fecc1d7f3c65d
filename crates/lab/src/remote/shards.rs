//! Decides in which order the shards of a stream are read, and where a read ends.
//!
//! Every shard that may be read is asked once per round, so that no busy shard starves the
//! others; a child may be read once its parents have been read to their end. A shard whose
//! position has passed out of retention goes on at its oldest record: Kinesis does that by
//! itself, and what is lost is counted nowhere (assumption: Redshift documents nothing).
//! A position that the stream refuses, because the stream was deleted and created again,
//! fails the refresh (assumption again): to start over would store records twice.
//!
//! Deliberately absent: positions of shards that the stream no longer lists (dropped), and
//! de-aggregation of KPL records, which Redshift does not do either.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::operation::get_records::GetRecordsOutput;
use aws_sdk_kinesis::types::ShardIteratorType;
use tokio::time::{Instant, sleep};

use super::wording::{Answer, Refused, Stop, within};
use super::{Ask, Batch, Position, Record};

/// What one `GetRecords` may return.
const MOST_RECORDS: usize = 10_000;
/// Between rounds that brought nothing: a shard answers five times a second.
const PAUSE: Duration = Duration::from_millis(200);
/// How often in a row an iterator may be found expired.
const MOST_RENEWALS: u32 = 3;

#[derive(Debug)]
struct Shard {
    id: String,
    parents: Vec<String>,
    open: bool,
}

/// Reads from the stored positions to the tip of every shard, or to a limit.
pub(super) async fn read(client: &Client, ask: &Ask, deadline: Instant) -> Result<Batch, Stop> {
    let mut walk = Walk {
        client,
        ask,
        deadline,
        arn: String::new(),
        batch: Batch {
            positions: ask.positions.clone(),
            ..Batch::default()
        },
        bytes: 0,
        answers: 0,
        iterators: BTreeMap::new(),
        renewals: BTreeMap::new(),
        at_tip: BTreeSet::new(),
    };
    match walk.run().await {
        Ok(()) => Ok(walk.batch),
        // What has been read so far is worth keeping.
        Err(Stop::Deadline) if walk.answers > 0 => {
            walk.batch.more = true;
            Ok(walk.batch)
        }
        Err(stop) => Err(stop),
    }
}

struct Walk<'a> {
    client: &'a Client,
    ask: &'a Ask,
    deadline: Instant,
    /// The stream's: `GetRecords` names it, so that its permission can be looked up.
    arn: String,
    batch: Batch,
    bytes: usize,
    /// How many `GetRecords` have been answered.
    answers: u64,
    iterators: BTreeMap<String, String>,
    renewals: BTreeMap<String, u32>,
    at_tip: BTreeSet<String>,
}

impl Walk<'_> {
    async fn run(&mut self) -> Result<(), Stop> {
        self.arn = self.describe().await?;
        loop {
            let shards = self.list().await?;
            self.batch
                .positions
                .retain(|id, _| shards.iter().any(|shard| shard.id == *id));
            let ended = self.read_rounds(&shards).await?;
            // A shard that has just ended may have children younger than the list.
            if !ended || self.batch.more {
                return Ok(());
            }
        }
    }

    async fn describe(&self) -> Result<String, Stop> {
        let call = self
            .client
            .describe_stream_summary()
            .stream_name(&self.ask.stream)
            .send();
        let answer = within(self.deadline, call)
            .await?
            .map_err(|error| self.refused("DescribeStreamSummary", Answer::of(&error)))?;
        let summary = answer.stream_description_summary;
        Ok(summary
            .map(|summary| summary.stream_arn)
            .unwrap_or_default())
    }

    async fn list(&self) -> Result<Vec<Shard>, Stop> {
        let mut shards = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let call = self.client.list_shards();
            let call = match token {
                None => call.stream_name(&self.ask.stream),
                Some(token) => call.next_token(token),
            };
            let page = within(self.deadline, call.send())
                .await?
                .map_err(|error| self.refused("ListShards", Answer::of(&error)))?;
            shards.extend(page.shards().iter().map(|shard| {
                Shard {
                    id: shard.shard_id().to_owned(),
                    parents: [shard.parent_shard_id(), shard.adjacent_parent_shard_id()]
                        .into_iter()
                        .flatten()
                        .map(str::to_owned)
                        .collect(),
                    open: shard
                        .sequence_number_range()
                        .is_none_or(|range| range.ending_sequence_number().is_none()),
                }
            }));
            token = page.next_token().map(str::to_owned);
            if token.is_none() {
                return Ok(shards);
            }
        }
    }

    /// Whether a shard was read to its end on the way.
    async fn read_rounds(&mut self, shards: &[Shard]) -> Result<bool, Stop> {
        let mut ended = false;
        let mut idle = false;
        loop {
            let ready: Vec<&Shard> = shards
                .iter()
                .filter(|shard| self.is_ready(shard, shards))
                .collect();
            if ready.is_empty() {
                return Ok(ended);
            }
            if idle {
                within(self.deadline, sleep(PAUSE)).await?;
            }
            let before = self.batch.records.len();
            let mut ended_now = false;
            for shard in ready {
                if self.batch.more || self.is_full() {
                    self.batch.more = true;
                    return Ok(ended);
                }
                ended_now |= self.ask_once(shard).await?;
            }
            ended |= ended_now;
            idle = !ended_now && self.batch.records.len() == before;
        }
    }

    fn is_ready(&self, shard: &Shard, shards: &[Shard]) -> bool {
        let listed = |id: &str| shards.iter().any(|shard| shard.id == id);
        !self.has_ended(&shard.id)
            && !self.at_tip.contains(&shard.id)
            && shard
                .parents
                .iter()
                .all(|parent| !listed(parent) || self.has_ended(parent))
    }

    fn has_ended(&self, shard: &str) -> bool {
        self.batch.positions.get(shard) == Some(&Position::Ended)
    }

    fn is_full(&self) -> bool {
        self.batch.records.len() >= self.ask.max_records || self.bytes >= self.ask.max_bytes
    }

    /// One `GetRecords`; whether the shard has ended.
    async fn ask_once(&mut self, shard: &Shard) -> Result<bool, Stop> {
        let iterator = match self.iterators.remove(&shard.id) {
            Some(iterator) => iterator,
            None => self.iterator(shard).await?,
        };
        let room = self
            .ask
            .max_records
            .saturating_sub(self.batch.records.len())
            .clamp(1, MOST_RECORDS);
        let call = self
            .client
            .get_records()
            .shard_iterator(iterator)
            .stream_arn(&self.arn)
            .limit(i32::try_from(room).unwrap_or(i32::MAX))
            .send();
        match within(self.deadline, call).await? {
            Ok(answer) => {
                self.answers += 1;
                self.renewals.remove(&shard.id);
                Ok(self.take(shard, &answer))
            }
            Err(error) => {
                let answer = Answer::of(&error);
                let renewals = self.renewals.entry(shard.id.clone()).or_default();
                *renewals += 1;
                // The next round asks for a new one, after the last record that was read.
                if answer.code.as_deref() == Some("ExpiredIteratorException")
                    && *renewals <= MOST_RENEWALS
                {
                    return Ok(false);
                }
                Err(self.refused("GetRecords", answer))
            }
        }
    }

    async fn iterator(&self, shard: &Shard) -> Result<String, Stop> {
        let call = self
            .client
            .get_shard_iterator()
            .stream_name(&self.ask.stream)
            .shard_id(&shard.id);
        let call = match self.batch.positions.get(&shard.id) {
            Some(Position::After(sequence)) => call
                .shard_iterator_type(ShardIteratorType::AfterSequenceNumber)
                .starting_sequence_number(sequence),
            None | Some(Position::Ended) => {
                call.shard_iterator_type(ShardIteratorType::TrimHorizon)
            }
        };
        let answer = within(self.deadline, call.send())
            .await?
            .map_err(|error| self.position_refused(shard, Answer::of(&error)))?;
        Ok(answer.shard_iterator().unwrap_or_default().to_owned())
    }

    /// Keeps as much of an answer as the limits allow; whether the shard has ended.
    fn take(&mut self, shard: &Shard, answer: &GetRecordsOutput) -> bool {
        for record in answer.records() {
            let arrived_us = record.approximate_arrival_timestamp().map_or(0, |at| {
                at.secs() * 1_000_000 + i64::from(at.subsec_nanos() / 1_000)
            });
            let data = record.data().as_ref();
            let too_much = self.bytes.saturating_add(data.len()) > self.ask.max_bytes;
            // One record always fits, or a large one would be in the way for ever.
            if self.is_full() || (too_much && !self.batch.records.is_empty()) {
                self.batch.more = true;
                return false;
            }
            self.bytes = self.bytes.saturating_add(data.len());
            self.batch.positions.insert(
                shard.id.clone(),
                Position::After(record.sequence_number().to_owned()),
            );
            self.batch.records.push(Record {
                arrived_us,
                partition_key: record.partition_key().unwrap_or_default().to_owned(),
                shard_id: shard.id.clone(),
                sequence: record.sequence_number().to_owned(),
                data: data.to_vec(),
            });
        }
        let at_tip = answer.millis_behind_latest().unwrap_or(0) == 0;
        // Not every implementation ends a closed shard by leaving out the next iterator.
        let drained = at_tip && !shard.open && answer.records().is_empty();
        match answer.next_shard_iterator() {
            Some(next) if !drained => {
                self.iterators.insert(shard.id.clone(), next.to_owned());
                // A closed shard is read on to its end, where its children begin.
                if at_tip && shard.open {
                    self.at_tip.insert(shard.id.clone());
                }
                false
            }
            Some(_) | None => {
                self.batch
                    .positions
                    .insert(shard.id.clone(), Position::Ended);
                true
            }
        }
    }

    fn refused(&self, action: &str, answer: Answer) -> Stop {
        Stop::Refused(Refused::kinesis(self.ask, action, answer))
    }

    fn position_refused(&self, shard: &Shard, answer: Answer) -> Stop {
        let position = self.batch.positions.get(&shard.id);
        let answer = match (answer.code.as_deref(), position) {
            (Some("InvalidArgumentException"), Some(Position::After(sequence))) => {
                let id = &shard.id;
                answer.about(&format!(
                    "the stored position {sequence} of {id} is refused"
                ))
            }
            (Some(_) | None, _) => answer,
        };
        self.refused("GetShardIterator", answer)
    }
}
