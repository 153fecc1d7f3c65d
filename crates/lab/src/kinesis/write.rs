//! Decides which records are taken in, and by which shard.

use serde_json::{Value, json};

use super::fields::{Fields, HASH_KEY, PARTITION_KEY, SEQUENCE};
use super::refusal::Refusal;
use super::{Answer, Request};
use crate::streams::{SequenceNumber, sequence_text, shard_id};

/// The largest record that a stream can be set to take. Kinesis takes 1 MiB unless a stream is
/// set to more; the lab's streams always take this.
const LARGEST_RECORD: usize = 10 * 1024 * 1024;
/// Of one `PutRecords`, partition keys included.
const LARGEST_REQUEST: usize = 10 * 1024 * 1024;
const MOST_RECORDS: usize = 500;

/// A record as it was asked for, valid as far as it alone can be.
struct Asked {
    partition_key: String,
    explicit: Option<u128>,
    data: Vec<u8>,
}

impl Asked {
    fn read(fields: &Fields) -> Result<Self, Refusal> {
        let data = fields.blob("Data", LARGEST_RECORD)?;
        let explicit = match fields.text("ExplicitHashKey", HASH_KEY)? {
            None => None,
            Some(text) => Some(text.parse().map_err(|_| {
                Refusal::argument(format!(
                    "Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. \
                     Specified value was {text}"
                ))
            })?),
        };
        Ok(Self {
            partition_key: fields.needed("PartitionKey", PARTITION_KEY)?.to_owned(),
            explicit,
            data,
        })
    }

    fn size(&self) -> usize {
        self.partition_key.len() + self.data.len()
    }
}

impl Request<'_> {
    pub(super) fn put_record(&mut self) -> Answer {
        let asked = Asked::read(&self.fields)?;
        let ordering = self.fields.text("SequenceNumberForOrdering", SEQUENCE)?;
        let (name, _) = self.existing()?;
        if let Some(text) = ordering
            && text.parse::<SequenceNumber>().is_err()
        {
            let account = &self.scope.account;
            return Err(Refusal::argument(format!(
                "ExclusiveMinimumSequenceNumber {text} used in PutRecord on stream {name} \
                 under account {account} is invalid."
            )));
        }
        self.put(&name, asked)
    }

    /// Appends one record, if its shard is not too busy.
    fn put(&mut self, stream: &str, asked: Asked) -> Answer {
        let log = self.log(stream)?;
        let number = log.number();
        let shard = log.route(&asked.partition_key, asked.explicit);
        if !self.limits.writes((number, shard), asked.size(), self.now) {
            return Err(self.too_fast(shard, stream));
        }
        let key = &asked.partition_key;
        let put = self.streams.put(stream, shard, key, asked.data, self.now);
        let sequence = put.ok_or_else(|| self.too_fast(shard, stream))?;
        Ok(json!({
            "ShardId": shard_id(shard),
            "SequenceNumber": sequence_text(number, shard, sequence),
        }))
    }

    pub(super) fn put_records(&mut self) -> Answer {
        let entries = self.fields.list("Records", MOST_RECORDS)?;
        // All are read before one is put: a bad one refuses them all.
        let asked: Vec<Asked> = entries.iter().map(Asked::read).collect::<Result<_, _>>()?;
        drop(entries);
        let (name, _) = self.existing()?;
        if asked.iter().map(Asked::size).sum::<usize>() > LARGEST_REQUEST {
            return Err(Refusal::argument("Records size exceeds 10 MB limit"));
        }
        let mut failed = 0;
        let mut records: Vec<Value> = Vec::with_capacity(asked.len());
        for record in asked {
            records.push(match self.put(&name, record) {
                Ok(answer) => answer,
                Err(refusal) => {
                    failed += 1;
                    json!({ "ErrorCode": refusal.kind, "ErrorMessage": refusal.message })
                }
            });
        }
        Ok(json!({ "FailedRecordCount": failed, "Records": records }))
    }
}
