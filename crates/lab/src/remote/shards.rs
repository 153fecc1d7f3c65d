//! Decides in which order shards are read, where each is taken up, and when enough is read.
//!
//! A position that retention has passed is read from the oldest record there is: what is
//! lost in between is lost (an assumption, as is what a deleted and recreated stream does:
//! its old positions are refused, and so is the refresh).

use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_kinesis::types::{Shard, ShardIteratorType};

use super::{Ask, Batch, Position, Record, wording};

/// How often a throttled call is made again, after so long each time.
const AGAIN: usize = 5;
const PAUSE: Duration = Duration::from_millis(300);

struct Reading<'a> {
    client: &'a Client,
    role: &'a str,
    ask: Ask,
    /// The stream's ARN: `GetRecords` names it, so that its permission can be looked up.
    arn: String,
    batch: Batch,
    bytes: usize,
}

pub(super) async fn read(client: &Client, role: &str, ask: Ask) -> Result<Batch, String> {
    let batch = Batch {
        positions: ask.positions.clone(),
        ..Batch::default()
    };
    let mut reading = Reading {
        client,
        role,
        ask,
        arn: String::new(),
        batch,
        bytes: 0,
    };
    reading.arn = reading.describe().await?;
    let shards = reading.shards().await?;
    for shard in &shards {
        if reading.batch.positions.get(&shard.shard_id) == Some(&Position::Ended) {
            continue;
        }
        if !reading.parents_are_read(shard, &shards) {
            reading.batch.more = true;
            continue;
        }
        let closed = shard
            .sequence_number_range
            .as_ref()
            .is_some_and(|range| range.ending_sequence_number.is_some());
        reading.shard(&shard.shard_id, closed).await?;
    }
    // A shard that retention has removed needs no position any more.
    let held: Vec<&str> = shards.iter().map(|shard| shard.shard_id.as_str()).collect();
    reading
        .batch
        .positions
        .retain(|shard, _| held.contains(&shard.as_str()));
    Ok(reading.batch)
}

impl Reading<'_> {
    async fn describe(&self) -> Result<String, String> {
        let answer = self
            .client
            .describe_stream_summary()
            .stream_name(&self.ask.stream)
            .send()
            .await
            .map_err(|error| self.refusal("DescribeStreamSummary", &error))?;
        let summary = answer.stream_description_summary;
        Ok(summary
            .map(|summary| summary.stream_arn)
            .unwrap_or_default())
    }

    /// Every shard, parents first.
    async fn shards(&self) -> Result<Vec<Shard>, String> {
        let mut shards = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let request = self.client.list_shards();
            let request = match token.take() {
                Some(token) => request.next_token(token),
                None => request.stream_name(&self.ask.stream),
            };
            let answer = request
                .send()
                .await
                .map_err(|error| self.refusal("ListShards", &error))?;
            shards.extend(answer.shards.unwrap_or_default());
            match answer.next_token {
                Some(next) => token = Some(next),
                None => break,
            }
        }
        // Ids are numbered in order of creation, so that parents come first.
        shards.sort_by(|one, other| one.shard_id.cmp(&other.shard_id));
        Ok(shards)
    }

    fn parents_are_read(&self, shard: &Shard, shards: &[Shard]) -> bool {
        [&shard.parent_shard_id, &shard.adjacent_parent_shard_id]
            .into_iter()
            .flatten()
            .filter(|parent| shards.iter().any(|known| known.shard_id == **parent))
            .all(|parent| self.batch.positions.get(parent) == Some(&Position::Ended))
    }

    fn is_full(&self) -> bool {
        self.batch.records.len() >= self.ask.max_records || self.bytes >= self.ask.max_bytes
    }

    /// Reads one shard to its tip; of a `closed` one that is its end, also where the last
    /// answer still names an iterator.
    async fn shard(&mut self, id: &str, closed: bool) -> Result<(), String> {
        let mut iterator = self.iterator(id).await?;
        let mut throttled = 0;
        loop {
            if self.is_full() {
                self.batch.more = true;
                return Ok(());
            }
            let left = self.ask.max_records - self.batch.records.len();
            let answer = self
                .client
                .get_records()
                .shard_iterator(&iterator)
                .stream_arn(&self.arn)
                .limit(i32::try_from(left.clamp(1, 10_000)).unwrap_or(10_000))
                .send()
                .await;
            let answer = match answer {
                Ok(answer) => answer,
                Err(error) => match error.code() {
                    Some("ExpiredIteratorException") => {
                        iterator = self.iterator(id).await?;
                        continue;
                    }
                    Some("ProvisionedThroughputExceededException") if throttled < AGAIN => {
                        throttled += 1;
                        tokio::time::sleep(PAUSE).await;
                        continue;
                    }
                    Some(_) | None => return Err(self.refusal("GetRecords", &error)),
                },
            };
            for record in answer.records {
                let data = record.data.into_inner();
                self.bytes += data.len();
                self.batch.positions.insert(
                    id.to_owned(),
                    Position::After(record.sequence_number.clone()),
                );
                self.batch.records.push(Record {
                    arrived_us: record
                        .approximate_arrival_timestamp
                        .map(|at| at.secs() * 1_000_000 + i64::from(at.subsec_nanos() / 1_000))
                        .unwrap_or_default(),
                    partition_key: record.partition_key.unwrap_or_default(),
                    shard_id: id.to_owned(),
                    sequence: record.sequence_number,
                    data,
                });
            }
            let at_tip = answer.millis_behind_latest.unwrap_or_default() == 0;
            match answer.next_shard_iterator {
                Some(next) if !at_tip => iterator = next,
                Some(_) if !closed => return Ok(()),
                Some(_) | None => {
                    self.batch.positions.insert(id.to_owned(), Position::Ended);
                    return Ok(());
                }
            }
        }
    }

    async fn iterator(&self, shard: &str) -> Result<String, String> {
        let request = self
            .client
            .get_shard_iterator()
            .stream_name(&self.ask.stream)
            .shard_id(shard);
        let request = match self.batch.positions.get(shard) {
            Some(Position::After(sequence)) => request
                .shard_iterator_type(ShardIteratorType::AfterSequenceNumber)
                .starting_sequence_number(sequence),
            Some(Position::Ended) | None => {
                request.shard_iterator_type(ShardIteratorType::TrimHorizon)
            }
        };
        let mut throttled = 0;
        loop {
            match request.clone().send().await {
                Ok(answer) => return Ok(answer.shard_iterator.unwrap_or_default()),
                Err(error)
                    if throttled < AGAIN
                        && error.code() == Some("ProvisionedThroughputExceededException") =>
                {
                    throttled += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(self.refusal("GetShardIterator", &error)),
            }
        }
    }

    fn refusal<E, R>(&self, operation: &str, error: &SdkError<E, R>) -> String
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
        R: std::fmt::Debug,
    {
        match error.code() {
            Some(code) => wording::refused(
                code,
                operation,
                &self.ask.stream,
                self.role,
                error.message().unwrap_or_default(),
            ),
            None => wording::unreachable(
                &format!("kinesis:{operation}"),
                &DisplayErrorContext(error).to_string(),
            ),
        }
    }
}
