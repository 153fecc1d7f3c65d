//! Decides what the lab's Kinesis answers: the operations of `Kinesis_20131202` over the
//! lab's streams, with its limits and exceptions.
//!
//! A stream is ACTIVE as soon as it is created, and split, merged or deleted at once; Kinesis
//! takes seconds for that. Deliberately absent: HTTP (`wire`), encryption, enhanced fan-out,
//! IAM, and who owns the streams: they are the engine's, which also fills them.

mod control;
mod fields;
mod limits;
mod read;
mod refusal;
mod reshard;
mod tags;
#[cfg(test)]
mod tests;
mod write;

use std::time::Duration;

use serde_json::{Value, json};

use crate::clock::Moment;
use crate::streams::{Log, Streams};
use fields::{ARN, NAME};
use limits::Limits;

pub(crate) use fields::Fields;
pub(crate) use refusal::Refusal;

/// What `X-Amz-Target` begins with.
pub(crate) const TARGET_PREFIX: &str = "Kinesis_20131202.";

/// The account that streams belong to, unless somebody says another.
pub(crate) const ACCOUNT: &str = "000000000000";
/// The region of a request that is not signed.
pub(crate) const REGION: &str = "us-east-1";

type Answer = Result<Value, Refusal>;

/// The operations that the lab knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Operation {
    AddTagsToStream,
    CreateStream,
    DecreaseStreamRetentionPeriod,
    DeleteStream,
    DescribeLimits,
    DescribeStream,
    DescribeStreamSummary,
    GetRecords,
    GetShardIterator,
    IncreaseStreamRetentionPeriod,
    ListShards,
    ListStreams,
    ListTagsForStream,
    MergeShards,
    PutRecord,
    PutRecords,
    RemoveTagsFromStream,
    SplitShard,
}

impl Operation {
    const ALL: [Self; 18] = [
        Self::AddTagsToStream,
        Self::CreateStream,
        Self::DecreaseStreamRetentionPeriod,
        Self::DeleteStream,
        Self::DescribeLimits,
        Self::DescribeStream,
        Self::DescribeStreamSummary,
        Self::GetRecords,
        Self::GetShardIterator,
        Self::IncreaseStreamRetentionPeriod,
        Self::ListShards,
        Self::ListStreams,
        Self::ListTagsForStream,
        Self::MergeShards,
        Self::PutRecord,
        Self::PutRecords,
        Self::RemoveTagsFromStream,
        Self::SplitShard,
    ];

    /// The name under which calls are counted.
    pub(crate) const fn counted(self) -> &'static str {
        match self {
            Self::AddTagsToStream => "kinesis:AddTagsToStream",
            Self::CreateStream => "kinesis:CreateStream",
            Self::DecreaseStreamRetentionPeriod => "kinesis:DecreaseStreamRetentionPeriod",
            Self::DeleteStream => "kinesis:DeleteStream",
            Self::DescribeLimits => "kinesis:DescribeLimits",
            Self::DescribeStream => "kinesis:DescribeStream",
            Self::DescribeStreamSummary => "kinesis:DescribeStreamSummary",
            Self::GetRecords => "kinesis:GetRecords",
            Self::GetShardIterator => "kinesis:GetShardIterator",
            Self::IncreaseStreamRetentionPeriod => "kinesis:IncreaseStreamRetentionPeriod",
            Self::ListShards => "kinesis:ListShards",
            Self::ListStreams => "kinesis:ListStreams",
            Self::ListTagsForStream => "kinesis:ListTagsForStream",
            Self::MergeShards => "kinesis:MergeShards",
            Self::PutRecord => "kinesis:PutRecord",
            Self::PutRecords => "kinesis:PutRecords",
            Self::RemoveTagsFromStream => "kinesis:RemoveTagsFromStream",
            Self::SplitShard => "kinesis:SplitShard",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|operation| operation.counted().strip_prefix("kinesis:") == Some(name))
    }

    /// Calls per second and account, from the API reference of each; the limits of the rest
    /// are per shard.
    const fn per_second(self) -> Option<f64> {
        match self {
            Self::DescribeLimits => Some(1.0),
            Self::AddTagsToStream
            | Self::CreateStream
            | Self::DecreaseStreamRetentionPeriod
            | Self::DeleteStream
            | Self::IncreaseStreamRetentionPeriod
            | Self::ListStreams
            | Self::ListTagsForStream
            | Self::MergeShards
            | Self::RemoveTagsFromStream
            | Self::SplitShard => Some(5.0),
            Self::DescribeStream => Some(10.0),
            Self::DescribeStreamSummary => Some(20.0),
            Self::ListShards => Some(1_000.0),
            Self::GetRecords | Self::GetShardIterator | Self::PutRecord | Self::PutRecords => None,
        }
    }
}

/// Who asks, and how the lab's clock relates to UTC.
#[derive(Debug, Clone)]
pub(crate) struct Scope {
    pub(crate) region: String,
    pub(crate) account: String,
    /// UTC at the lab's moment zero, since 1970.
    pub(crate) epoch: Duration,
}

impl Scope {
    fn arn(&self, stream: &str) -> String {
        let Self {
            region, account, ..
        } = self;
        format!("arn:aws:kinesis:{region}:{account}:stream/{stream}")
    }

    fn utc_millis(&self, moment: Moment) -> u128 {
        (self.epoch + moment).as_millis()
    }

    /// Seconds since 1970, to the millisecond.
    fn timestamp(&self, moment: Moment) -> Value {
        let millis = u64::try_from(self.utc_millis(moment)).unwrap_or_default();
        Duration::from_millis(millis).as_secs_f64().into()
    }
}

/// What the lab's Kinesis remembers besides the streams: who has been fast.
#[derive(Debug)]
pub(crate) struct Kinesis {
    limits: Limits,
}

impl Kinesis {
    pub(crate) fn new(enforce_limits: bool) -> Self {
        Self {
            limits: Limits::new(enforce_limits),
        }
    }

    /// How the shards of a stream were read, by the stream's creation number.
    pub(crate) fn shards_read(&self, stream: u32) -> impl Iterator<Item = (usize, &limits::Reads)> {
        self.limits.shards_read(stream)
    }

    /// Does what was asked of the streams, which have been filled up to `now`.
    ///
    /// # Errors
    /// The exception that Kinesis would answer with.
    pub(crate) fn answer(
        &mut self,
        streams: &mut Streams,
        operation: Operation,
        scope: &Scope,
        fields: Fields,
        now: Moment,
    ) -> Answer {
        if !self.limits.admits(operation, now) {
            let account = &scope.account;
            let message = format!("Rate exceeded for account {account}.");
            return Err(Refusal::limit(message));
        }
        Request {
            scope,
            fields,
            streams,
            limits: &mut self.limits,
            now,
        }
        .answer(operation)
    }
}

/// One request at work.
struct Request<'a> {
    scope: &'a Scope,
    fields: Fields,
    streams: &'a mut Streams,
    limits: &'a mut Limits,
    now: Moment,
}

impl Request<'_> {
    fn answer(mut self, operation: Operation) -> Answer {
        match operation {
            Operation::AddTagsToStream => self.add_tags(),
            Operation::CreateStream => self.create_stream(),
            Operation::DecreaseStreamRetentionPeriod => self.decrease_retention(),
            Operation::DeleteStream => self.delete_stream(),
            Operation::DescribeLimits => Ok(self.describe_limits()),
            Operation::DescribeStream => self.describe_stream(),
            Operation::DescribeStreamSummary => self.describe_stream_summary(),
            Operation::GetRecords => self.get_records(),
            Operation::GetShardIterator => self.get_shard_iterator(),
            Operation::IncreaseStreamRetentionPeriod => self.increase_retention(),
            Operation::ListShards => self.list_shards(),
            Operation::ListStreams => self.list_streams(),
            Operation::ListTagsForStream => self.list_tags(),
            Operation::MergeShards => self.merge_shards(),
            Operation::PutRecord => self.put_record(),
            Operation::PutRecords => self.put_records(),
            Operation::RemoveTagsFromStream => self.remove_tags(),
            Operation::SplitShard => self.split_shard(),
        }
    }

    /// The stream that is named, by its name or its ARN, whether it exists or not.
    fn named(&self) -> Result<Option<String>, Refusal> {
        let name = self.fields.text("StreamName", NAME)?;
        let Some(arn) = self.fields.text("StreamARN", ARN)? else {
            return Ok(name.map(str::to_owned));
        };
        let (account, of_arn) = fields::arn_parts(arn).unwrap_or_default();
        if name.is_some_and(|name| name != of_arn) {
            let message = "StreamName and StreamARN do not name the same stream.";
            return Err(Refusal::argument(message));
        }
        if account != self.scope.account {
            return Err(not_found(of_arn, account));
        }
        Ok(Some(of_arn.to_owned()))
    }

    fn needed_name(&self) -> Result<String, Refusal> {
        self.named()?
            .ok_or_else(|| Refusal::argument("Either StreamName or StreamARN must be provided."))
    }

    fn log(&self, stream: &str) -> Result<&Log, Refusal> {
        let log = self.streams.log(stream);
        log.ok_or_else(|| not_found(stream, &self.scope.account))
    }

    /// The stream that is named, which exists.
    fn existing(&self) -> Result<(String, &Log), Refusal> {
        let name = self.needed_name()?;
        let log = self.log(&name)?;
        Ok((name, log))
    }

    /// `shard … in stream … under account …`, the words in which AWS names a shard.
    fn shard_words(&self, shard: &str, stream: &str) -> String {
        let account = &self.scope.account;
        format!("shard {shard} in stream {stream} under account {account}")
    }

    fn too_fast(&self, shard: usize, stream: &str) -> Refusal {
        let shard = self.shard_words(&crate::streams::shard_id(shard), stream);
        Refusal::throughput(format!("Rate exceeded for {shard}."))
    }
}

fn not_found(stream: &str, account: &str) -> Refusal {
    Refusal::not_found(format!(
        "Stream {stream} under account {account} not found."
    ))
}

/// The answer of an operation that says nothing.
#[expect(
    clippy::unnecessary_wraps,
    reason = "every operation ends with an answer"
)]
fn done() -> Answer {
    Ok(json!({}))
}
