//! Decides how a stream outside the lab is read as Redshift reads it: the first role of the
//! chain is assumed, with its credentials the next, and with the last ones' the records after
//! the view's positions are fetched.
//!
//! Redshift assumes the first role as a service that the role trusts. The lab has no service
//! principal: it uses the credentials that the world gives it. Invariants: a child shard is
//! read only after its parents are at their end; every wait ends; what has been read before
//! a wait ended is kept; no secret is in an error. Deliberately absent: what becomes of the
//! records, enhanced fan-out (Redshift's role has no permission for it), Kafka.

mod aws;
mod chain;
mod shards;
mod wording;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

pub(crate) use aws::Aws;
use chain::Chain;
use wording::Stop;

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
    /// Kept to, except that one record always fits.
    pub(crate) max_bytes: usize,
    /// How long everything together may take.
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
        let deadline = tokio::time::sleep(ask.deadline).deadline();
        let result = match Box::pin(self.read_once(&ask, deadline)).await {
            // Sessions end, also while they are in use, and an emulator that was started
            // anew does not know them.
            Err(Stop::Refused(refused)) if refused.blames_the_session() => {
                self.chain.forget(&ask.chain);
                Box::pin(self.read_once(&ask, deadline)).await
            }
            result @ (Ok(_) | Err(_)) => result,
        };
        result.map_err(|stop| stop.text(&ask))
    }

    async fn read_once(&self, ask: &Ask, deadline: Instant) -> Result<Batch, Stop> {
        let kinesis = Box::pin(self.chain.kinesis(ask, deadline)).await?;
        shards::read(&kinesis, ask, deadline).await
    }
}
