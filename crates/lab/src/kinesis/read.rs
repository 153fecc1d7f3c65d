//! Decides what a consumer reads: iterators, which are places in a shard, and the records
//! from there on.
//!
//! An iterator says all there is to know of it and is kept nowhere. It lives five minutes.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::fields::{ITERATOR, NAME, SEQUENCE};
use super::limits::TOLERATED;
use super::refusal::Refusal;
use super::{Answer, Request};
use crate::clock::Moment;
use crate::streams::{Log, SequenceNumber, Shard, Stretch, sequence_text, shard_id, shard_index};

const MOST_RECORDS: usize = 10_000;
const MOST_BYTES: usize = 10 * 1024 * 1024;

/// In the order in which AWS lists them.
const KINDS: [&str; 5] = [
    "AFTER_SEQUENCE_NUMBER",
    "LATEST",
    "AT_TIMESTAMP",
    "AT_SEQUENCE_NUMBER",
    "TRIM_HORIZON",
];

/// A place in a shard, from which to read on.
#[derive(Debug, PartialEq, Eq)]
struct ShardIterator {
    stream: String,
    /// The stream's creation number.
    number: u32,
    shard: usize,
    next: u64,
    issued: Moment,
}

impl ShardIterator {
    fn text(&self) -> String {
        let Self {
            stream,
            number,
            shard,
            next,
            issued,
        } = self;
        let issued = issued.as_micros();
        URL_SAFE_NO_PAD.encode(format!("1/{number}/{shard}/{next}/{issued}/{stream}"))
    }

    fn read(text: &str) -> Option<Self> {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let mut parts = text.splitn(6, '/');
        (parts.next()? == "1").then_some(())?;
        Some(Self {
            number: parts.next()?.parse().ok()?,
            shard: parts.next()?.parse().ok()?,
            next: parts.next()?.parse().ok()?,
            issued: Moment::from_micros(parts.next()?.parse().ok()?),
            stream: parts.next()?.to_owned(),
        })
    }
}

impl Request<'_> {
    pub(super) fn get_shard_iterator(&mut self) -> Answer {
        let id = self.fields.needed("ShardId", NAME)?.to_owned();
        let key = "ShardIteratorType";
        let kind = self.fields.choice(key, &KINDS)?.map(str::to_owned);
        let kind = kind.ok_or_else(|| self.fields.missing(key))?;
        let (name, log) = self.existing()?;
        let found = shard_index(&id).and_then(|index| Some((index, log.shards().get(index)?)));
        let (index, shard) = found.ok_or_else(|| self.no_such_shard(&id, &name))?;
        let next = match self.starting_number(&kind, log, &name, index)? {
            Some(place) if kind == "AT_SEQUENCE_NUMBER" => place.saturating_sub(1),
            Some(place) => place,
            None if kind == "LATEST" => shard.next(),
            None if kind == "AT_TIMESTAMP" => shard.since(self.starting_time()?),
            None => shard.horizon(self.now, log.retention()),
        };
        let iterator = ShardIterator {
            number: log.number(),
            shard: index,
            next,
            issued: self.now,
            stream: name,
        };
        if !self.limits.iterates((iterator.number, index), self.now) {
            return Err(self.too_fast(index, &iterator.stream));
        }
        Ok(json!({ "ShardIterator": iterator.text() }))
    }

    fn no_such_shard(&self, id: &str, stream: &str) -> Refusal {
        let account = &self.scope.account;
        Refusal::not_found(format!(
            "Shard {id} in stream {stream} under account {account} does not exist"
        ))
    }

    /// The place of `StartingSequenceNumber`, for the kinds of iterator that need one.
    fn starting_number(
        &self,
        kind: &str,
        log: &Log,
        stream: &str,
        shard: usize,
    ) -> Result<Option<u64>, Refusal> {
        let given = self.fields.text("StartingSequenceNumber", SEQUENCE)?;
        let wanted = matches!(kind, "AT_SEQUENCE_NUMBER" | "AFTER_SEQUENCE_NUMBER");
        let text = match given {
            Some(text) if wanted => text,
            None if !wanted => return Ok(None),
            _ => {
                let and = given.map_or("no", |_| "also a");
                return Err(Refusal::argument(format!(
                    "Must either specify (1) AT_SEQUENCE_NUMBER or AFTER_SEQUENCE_NUMBER and \
                     StartingSequenceNumber or (2) TRIM_HORIZON or LATEST and no \
                     StartingSequenceNumber. Request specified {kind} and {and} \
                     StartingSequenceNumber."
                )));
            }
        };
        let id = shard_id(shard);
        let used = self.shard_words(&id, stream);
        let used = format!("StartingSequenceNumber {text} used in GetShardIterator on {used}");
        let number: SequenceNumber = text
            .parse()
            .map_err(|_| Refusal::argument(format!("{used} is invalid.")))?;
        if number.shard != shard {
            let encoded = shard_id(number.shard);
            return Err(Refusal::argument(format!(
                "Invalid StartingSequenceNumber. It encodes {encoded}, while it was used in a \
                 call to a shard with {id}"
            )));
        }
        if number.stream != log.number() {
            return Err(Refusal::argument(format!(
                "{used} is invalid because it did not come from this stream."
            )));
        }
        Ok(Some(number.place))
    }

    fn starting_time(&self) -> Result<Moment, Refusal> {
        let time = self.fields.time("Timestamp")?.ok_or_else(|| {
            Refusal::argument(
                "Must specify timestampInMillis parameter for iterator of type AT_TIMESTAMP.",
            )
        })?;
        let (millis, now) = (time.as_millis(), self.scope.utc_millis(self.now));
        if millis > now {
            return Err(Refusal::argument(format!(
                "The timestampInMillis parameter cannot be greater than the \
                 currentTimestampInMillis. timestampInMillis: {millis}, \
                 currentTimestampInMillis: {now}"
            )));
        }
        Ok(time.saturating_sub(self.scope.epoch))
    }

    pub(super) fn get_records(&mut self) -> Answer {
        let text = self.fields.needed("ShardIterator", ITERATOR)?;
        let limit = self.fields.integer("Limit", 1, 10_000)?;
        let limit = limit.and_then(|limit| usize::try_from(limit).ok());
        let iterator = ShardIterator::read(text);
        let iterator = iterator.ok_or_else(|| Refusal::argument("Invalid ShardIterator."))?;
        self.check_age(&iterator)?;
        if self.named()?.is_some_and(|name| name != iterator.stream) {
            let message = "The ShardIterator is not one of the stream that StreamARN names.";
            return Err(Refusal::argument(message));
        }
        let log = self.log(&iterator.stream)?;
        let of_stream = log.number() == iterator.number;
        if !of_stream || log.shards().get(iterator.shard).is_none() {
            return Err(self.no_such_shard(&shard_id(iterator.shard), &iterator.stream));
        }
        let key = (iterator.number, iterator.shard);
        if !self.limits.reads(key, self.now) {
            return Err(self.too_fast(iterator.shard, &iterator.stream));
        }
        let (answer, bytes) = self.page(iterator, limit.unwrap_or(MOST_RECORDS))?;
        self.limits.has_read(key, bytes);
        Ok(answer)
    }

    fn check_age(&self, iterator: &ShardIterator) -> Result<(), Refusal> {
        if iterator.issued + TOLERATED >= self.now {
            return Ok(());
        }
        let created = self.scope.utc_millis(iterator.issued);
        let now = self.scope.utc_millis(self.now);
        Err(Refusal::expired_iterator(format!(
            "ShardIterator expired. The iterator was created at time {created} while right now it is \
             {now} which is further in the future than the tolerated delay of 300000 \
             milliseconds."
        )))
    }

    /// The records from an iterator on, and how many bytes they are.
    fn page(&self, iterator: ShardIterator, limit: usize) -> Result<(Value, usize), Refusal> {
        let log = self.log(&iterator.stream)?;
        let index = iterator.shard;
        let missing = || self.no_such_shard(&shard_id(index), &iterator.stream);
        let shard = log.shards().get(index).ok_or_else(missing)?;
        let from = iterator.next.max(shard.horizon(self.now, log.retention()));
        let (mut records, mut bytes) = (Vec::new(), 0);
        let (mut next, mut last) = (from, None);
        let rest = Stretch { from, to: u64::MAX };
        for (sequence, record) in shard.stretch(rest).take(limit) {
            let data = record.data.as_deref().unwrap_or_default();
            let size = data.len() + record.partition_key.len();
            if bytes + size > MOST_BYTES && !records.is_empty() {
                break;
            }
            bytes += size;
            (next, last) = (sequence + 1, Some(record.at));
            records.push(json!({
                "SequenceNumber": sequence_text(iterator.number, index, sequence),
                "ApproximateArrivalTimestamp": self.scope.timestamp(record.at),
                "Data": STANDARD.encode(data),
                "PartitionKey": &record.partition_key,
            }));
        }
        let at_tip = next >= shard.next();
        let behind = last.filter(|_| !at_tip).map_or(0, |last| {
            u64::try_from(self.now.saturating_sub(last).as_millis()).unwrap_or(u64::MAX)
        });
        let mut answer = json!({ "Records": records, "MillisBehindLatest": behind });
        if let Some(members) = answer.as_object_mut() {
            if at_tip && shard.closed().is_some() {
                members.insert("ChildShards".to_owned(), children(log, index).into());
            } else {
                let issued = self.now;
                let next = ShardIterator {
                    next,
                    issued,
                    ..iterator
                };
                members.insert("NextShardIterator".to_owned(), next.text().into());
            }
        }
        Ok((answer, bytes))
    }
}

fn children(log: &Log, parent: usize) -> Vec<Value> {
    let told = |(index, shard): (usize, &Shard)| {
        let parents: Vec<String> = shard.parents().iter().map(|p| shard_id(*p)).collect();
        json!({
            "ShardId": shard_id(index),
            "ParentShards": parents,
            "HashKeyRange": {
                "StartingHashKey": shard.range().start.to_string(),
                "EndingHashKey": shard.range().end.to_string(),
            },
        })
    };
    log.children(parent).map(told).collect()
}
