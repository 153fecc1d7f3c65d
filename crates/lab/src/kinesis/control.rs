//! Decides which streams there are: creating, deleting, describing and listing them, and how
//! long they keep records.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::fields::{Form, NAME, TOKEN};
use super::refusal::Refusal;
use super::{Answer, Request, done};
use crate::streams::{Birth, Log, shard_index};

/// Shards of all streams together. AWS has 20,000 in its large regions, 1,000 or 6,000 in
/// others.
const SHARD_LIMIT: usize = 20_000;
const ON_DEMAND_STREAM_LIMIT: usize = 50;
/// "By default, data streams with the on-demand mode are created with 4 shards."
const ON_DEMAND_SHARDS: usize = 4;

const HOUR: Duration = Duration::from_secs(3_600);
const LEAST_HOURS: i64 = 24;
const MOST_HOURS: i64 = 8_760;

/// "The default is 100."
const PAGE: usize = 100;

impl Request<'_> {
    pub(super) fn create_stream(&mut self) -> Answer {
        let name = self.fields.needed("StreamName", NAME)?.to_owned();
        let shards = self.fields.count("ShardCount", i64::MAX)?;
        let mode = match self.fields.inner("StreamModeDetails")? {
            None => None,
            Some(mode) => {
                let known = &["PROVISIONED", "ON_DEMAND"];
                let mode = mode.choice("StreamMode", known)?.map(str::to_owned);
                Some(mode.ok_or_else(|| {
                    let member = "streamModeDetails.streamMode";
                    Refusal::constraint("null", member, "Member must not be null")
                })?)
            }
        };
        let tags = self.fields.tags("Tags")?;
        let on_demand = mode.as_deref() == Some("ON_DEMAND");
        let shards = if on_demand {
            ON_DEMAND_SHARDS
        } else {
            shards.ok_or_else(|| self.fields.missing("ShardCount"))?
        };
        let account = &self.scope.account;
        if self.streams.log(&name).is_some() {
            let message = format!("Stream {name} under account {account} already exists.");
            return Err(Refusal::in_use(message));
        }
        self.leave_room_for(shards)?;
        let birth = Birth {
            shards,
            retention: 24 * HOUR,
            on_demand,
        };
        self.streams.create(&name, &birth, self.now);
        if let Some(tags) = tags {
            self.streams.set_tags(&name, tags);
        }
        done()
    }

    /// Refuses where so many more open shards are too many.
    pub(super) fn leave_room_for(&self, more: usize) -> Result<(), Refusal> {
        let open = self.open_shards();
        if open.saturating_add(more) <= SHARD_LIMIT {
            return Ok(());
        }
        let (account, region) = (&self.scope.account, &self.scope.region);
        Err(Refusal::limit(format!(
            "This request would exceed the shard limit for the account {account} in {region}. \
             Current shard count for the account: {open}. Limit: {SHARD_LIMIT}. Number of \
             additional shards that would have resulted from this request: {more}."
        )))
    }

    fn open_shards(&self) -> usize {
        self.streams.logs().map(|(_, log)| log.open().count()).sum()
    }

    pub(super) fn delete_stream(&mut self) -> Answer {
        let (name, log) = self.existing()?;
        let number = log.number();
        self.limits.forget(number);
        self.streams.delete(&name);
        done()
    }

    pub(super) fn describe_limits(&self) -> Value {
        let on_demand = self.streams.logs().filter(|(_, log)| log.is_on_demand());
        json!({
            "ShardLimit": SHARD_LIMIT,
            "OpenShardCount": self.open_shards(),
            "OnDemandStreamCount": on_demand.count(),
            "OnDemandStreamCountLimit": ON_DEMAND_STREAM_LIMIT,
        })
    }

    pub(super) fn describe_stream(&self) -> Answer {
        let (name, log) = self.existing()?;
        let limit = self.fields.count("Limit", 10_000)?.unwrap_or(PAGE);
        let after = self.shard_after(NAME)?;
        let mut shards = self.kept_shards(log).filter(|index| Some(*index) > after);
        let page: Vec<Value> = shards
            .by_ref()
            .take(limit)
            .filter_map(|index| self.shard(log, index))
            .collect();
        let mut answer = self.described(&name, log);
        answer.insert("Shards".to_owned(), page.into());
        answer.insert("HasMoreShards".to_owned(), shards.next().is_some().into());
        Ok(json!({ "StreamDescription": answer }))
    }

    /// The shard after which a listing begins.
    pub(super) fn shard_after(&self, form: Form) -> Result<Option<usize>, Refusal> {
        let after = self.fields.text("ExclusiveStartShardId", form)?;
        let index = |id| {
            shard_index(id)
                .ok_or_else(|| Refusal::argument(format!("ExclusiveStartShardId {id} is invalid.")))
        };
        after.map(index).transpose()
    }

    pub(super) fn describe_stream_summary(&self) -> Answer {
        let (name, log) = self.existing()?;
        let mut answer = self.described(&name, log);
        answer.insert("OpenShardCount".to_owned(), log.open().count().into());
        answer.insert("ConsumerCount".to_owned(), 0.into());
        Ok(json!({ "StreamDescriptionSummary": answer }))
    }

    /// What both descriptions say.
    fn described(&self, name: &str, log: &Log) -> Map<String, Value> {
        let mut answer = self.summary(name, log);
        answer.extend([
            ("RetentionPeriodHours".to_owned(), hours(log).into()),
            (
                "EnhancedMonitoring".to_owned(),
                json!([{ "ShardLevelMetrics": [] }]),
            ),
            ("EncryptionType".to_owned(), "NONE".into()),
        ]);
        answer
    }

    fn summary(&self, name: &str, log: &Log) -> Map<String, Value> {
        let mode = if log.is_on_demand() {
            "ON_DEMAND"
        } else {
            "PROVISIONED"
        };
        let members = [
            ("StreamName", name.into()),
            ("StreamARN", self.scope.arn(name).into()),
            ("StreamStatus", "ACTIVE".into()),
            ("StreamModeDetails", json!({ "StreamMode": mode })),
            (
                "StreamCreationTimestamp",
                self.scope.timestamp(log.created()),
            ),
        ];
        let named = members.into_iter();
        named.map(|(key, value)| (key.to_owned(), value)).collect()
    }

    pub(super) fn list_streams(&self) -> Answer {
        let limit = self.fields.count("Limit", 10_000)?.unwrap_or(PAGE);
        let token = match self.fields.text("NextToken", TOKEN)? {
            None => None,
            Some(token) => Some(read_token(token)?),
        };
        let after = self.fields.text("ExclusiveStartStreamName", NAME)?;
        let after = token.as_deref().or(after).unwrap_or_default();
        let mut streams = self
            .streams
            .logs()
            .filter(|(name, _)| name.as_str() > after);
        let page: Vec<_> = streams.by_ref().take(limit).collect();
        let more = streams.next().is_some();
        let names: Vec<&String> = page.iter().map(|(name, _)| *name).collect();
        let summaries: Vec<_> = page
            .iter()
            .map(|(name, log)| self.summary(name, log))
            .collect();
        let mut answer = json!({
            "StreamNames": names,
            "HasMoreStreams": more,
            "StreamSummaries": summaries,
        });
        if let (true, Some(last), Some(members)) = (more, names.last(), answer.as_object_mut()) {
            let token = URL_SAFE_NO_PAD.encode(last);
            members.insert("NextToken".to_owned(), token.into());
        }
        Ok(answer)
    }

    pub(super) fn increase_retention(&mut self) -> Answer {
        let (name, now, asked) = self.retention_asked()?;
        if asked < now {
            return Err(Refusal::argument(format!(
                "Requested retention period ({asked} hours) for stream {name} can not be \
                 shorter than existing retention period ({now} hours). Use \
                 DecreaseRetentionPeriod API."
            )));
        }
        self.keep_for(&name, asked)
    }

    pub(super) fn decrease_retention(&mut self) -> Answer {
        let (name, now, asked) = self.retention_asked()?;
        if asked > now {
            return Err(Refusal::argument(format!(
                "Requested retention period ({asked} hours) for stream {name} can not be \
                 longer than existing retention period ({now} hours). Use \
                 IncreaseRetentionPeriod API."
            )));
        }
        self.keep_for(&name, asked)
    }

    /// The stream, its retention and the one asked for, both in hours.
    fn retention_asked(&self) -> Result<(String, u64, u64), Refusal> {
        let key = "RetentionPeriodHours";
        let asked = self.fields.integer(key, i64::MIN, i64::MAX)?;
        let asked = asked.ok_or_else(|| self.fields.missing(key))?;
        let (name, log) = self.existing()?;
        if asked < LEAST_HOURS {
            return Err(Refusal::argument(format!(
                "Minimum allowed retention period is {LEAST_HOURS} hours. Requested retention \
                 period ({asked} hours) is too short."
            )));
        }
        if asked > MOST_HOURS {
            return Err(Refusal::argument(format!(
                "Maximum allowed retention period is {MOST_HOURS} hours. Requested retention \
                 period ({asked} hours) is too long."
            )));
        }
        Ok((name, hours(log), u64::try_from(asked).unwrap_or_default()))
    }

    fn keep_for(&mut self, stream: &str, hours: u64) -> Answer {
        let retention = Duration::from_secs(hours * HOUR.as_secs());
        self.streams.set_retention(stream, retention);
        done()
    }
}

/// A world's stream may keep records for seconds; Kinesis has no word for less than an hour.
fn hours(log: &Log) -> u64 {
    log.retention().as_secs().div_ceil(HOUR.as_secs()).max(1)
}

fn read_token(token: &str) -> Result<String, Refusal> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok();
    bytes
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| Refusal::argument("NextToken is invalid."))
}
