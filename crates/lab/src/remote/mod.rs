//! Decides how a stream outside the lab is read as Redshift reads it: the first role of the
//! chain is assumed, with its credentials the next, and with the last ones' the records after
//! the view's positions are fetched.
//!
//! Redshift assumes the first role as a service that the role trusts. The lab has no service
//! principal: it uses the credentials that the world gives it. Invariants: a child shard is
//! read only after its parents are at their end; every wait ends; no secret is in an error.
//! Deliberately absent: what becomes of the records.

mod chain;
mod shards;
#[cfg(test)]
mod tests;
mod wording;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use chain::Chain;

/// Where AWS is, and as whom the lab asks it: a world's `[aws]` table.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Aws {
    endpoint_url: Option<String>,
    region: Option<String>,
    access_key_id: Option<String>,
    secret_access_key: Option<String>,
    /// How long assumed credentials are asked for, in seconds.
    session_seconds: Option<u32>,
}

impl fmt::Debug for Aws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aws")
            .field("endpoint_url", &self.endpoint_url)
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

/// What is to be read.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    /// What stands between the commas of `IAM_ROLE`, as written.
    pub(crate) chain: Vec<String>,
    /// The external schema's `REGION`.
    pub(crate) region: Option<String>,
    /// Roles associated with the warehouse: one of them must come first.
    pub(crate) attached: Vec<String>,
    pub(crate) stream: String,
    /// By shard; a shard that is not there is read from its oldest record.
    pub(crate) positions: BTreeMap<String, Position>,
    pub(crate) max_records: usize,
    pub(crate) max_bytes: usize,
    pub(crate) deadline: Duration,
}

/// How far a shard has been read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Position {
    /// Up to this sequence number.
    After(String),
    /// To its end: it was split or merged.
    Ended,
}

/// A record of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// UTC in microseconds since 1970.
    pub(crate) arrived_us: i64,
    pub(crate) partition_key: String,
    pub(crate) shard_id: String,
    pub(crate) sequence: String,
    pub(crate) data: Vec<u8>,
}

/// What was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Batch {
    /// Parents before children, in order within a shard.
    pub(crate) records: Vec<Record>,
    /// Every shard's position from now on.
    pub(crate) positions: BTreeMap<String, Position>,
    /// It ended before the tip of the stream.
    pub(crate) more: bool,
}

/// Reads streams elsewhere; keeps credentials until shortly before they end.
#[derive(Debug)]
pub(crate) struct Reader {
    chain: Chain,
}

impl Reader {
    pub(crate) fn new(aws: &Aws) -> Self {
        Self {
            chain: Chain::new(aws.clone()),
        }
    }

    /// Reads on.
    ///
    /// # Errors
    /// The text that the refresh fails with.
    pub(crate) async fn read(&self, ask: Ask) -> Result<Batch, String> {
        let limit = ask.deadline;
        let stream = ask.stream.clone();
        tokio::time::timeout(limit, self.read_on(ask))
            .await
            .unwrap_or_else(|_| Err(wording::timed_out(&stream, limit)))
    }

    async fn read_on(&self, ask: Ask) -> Result<Batch, String> {
        if let Some(first) = ask.chain.first()
            && !ask.attached.contains(first)
        {
            return Err(wording::not_authorized(
                first,
                "the role is not associated with the warehouse",
            ));
        }
        let kinesis = self
            .chain
            .kinesis(&ask.chain, ask.region.as_deref())
            .await?;
        let role = ask.chain.last().map_or("", String::as_str).to_owned();
        shards::read(&kinesis, &role, ask).await
    }
}
