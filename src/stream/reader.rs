//! The calls to Kinesis that probing takes.
//!
//! Decides: as whom and where they are made, how long they may take, and what their failures
//! mean to who follows a stream. The SDK keeps the probe role's credentials and renews them;
//! nothing is retried here.
//! Deliberately absent: when to call (`rounds`), what an answer proves (`tail`).

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{Region, SdkConfig};
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::StalledStreamProtectionConfig;
use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::ShardIteratorType;
use tidekeeper_scheduler::{Span, Timestamp};

use super::skew::Skew;
use super::tail::{Page, Trip};
use super::{Fact, HttpDate, Life, Settings};
use crate::clock::Clock;
use crate::warehouse;

const SESSION_NAME: &str = "tidekeeper-probe";
/// A connection that is not there by then is taken for unreachable.
pub(super) const CONNECT_LIMIT: Duration = Duration::from_millis(3_100);
const CALL_LIMIT: Duration = Duration::from_secs(5);
/// Kinesis refuses to begin in the future, and its clock may be a little late.
const NOT_IN_THE_FUTURE: Span = Span::from_secs(2);

/// Why a call did not bring what was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Slow down.
    Throttled,
    /// The iterator has expired.
    Expired,
    /// What is asked for is not there, or not as it was.
    Gone(Failure),
    Failed(Failure),
}

/// For people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) operation: &'static str,
    /// The service's code, or a word of the daemon's.
    pub(super) code: String,
    pub(super) message: String,
}

impl Failure {
    /// Whether both say the same, the ids of requests and the lengths of waits aside.
    pub(super) fn same_as(&self, other: &Self) -> bool {
        let words = |failure: &Self| -> String {
            let text = failure.message.split("aws_request_id").next();
            let text = text.unwrap_or_default().chars();
            text.filter(|c| !c.is_ascii_digit()).collect()
        };
        self.code == other.code && words(self) == words(other)
    }
}

/// A shard as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) id: String,
    pub(super) open: bool,
}

/// Where an iterator begins.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// At the first record since a moment; `None` at the oldest there is.
    Since(Option<Timestamp>),
    /// Behind the newest record.
    End,
}

/// A stream, seen through its probe role.
pub(super) struct Reader {
    api: Client,
    stream: String,
    arn: String,
    clock: Clock,
    skew: Mutex<Skew>,
    on_fact: Arc<dyn Fn(Fact<'_>) + Send + Sync>,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("stream", &self.stream)
            .finish_non_exhaustive()
    }
}

impl Reader {
    pub(super) async fn open(settings: &Settings, base: &SdkConfig, life: &Life) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_LIMIT)
            .operation_timeout(CALL_LIMIT)
            .build();
        let mut builder = base
            .to_builder()
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts)
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        builder.set_region(
            settings
                .region()
                .map(|region| Region::new(region.to_owned())),
        );
        if let Some(url) = &settings.endpoint_url {
            builder.set_endpoint_url(Some(url.clone()));
        }
        let sdk = warehouse::assume(builder.build(), &settings.roles, SESSION_NAME).await;
        Self {
            api: Client::new(&sdk),
            stream: settings.name.clone(),
            arn: settings.arn.clone(),
            clock: life.clock,
            skew: Mutex::new(Skew::NONE),
            on_fact: Arc::clone(&life.on_fact),
        }
    }

    /// All shards, closed ones too.
    pub(super) async fn shards(&self) -> Result<Vec<Listed>, Trouble> {
        let (mut shards, mut token) = (Vec::new(), None);
        loop {
            let ask = self.api.list_shards().set_next_token(token.clone());
            // A token stands for the stream as well.
            let arn = token.is_none().then(|| self.arn.clone());
            let ask = ask.set_stream_arn(arn).customize();
            let date = HttpDate::default();
            let (answer, _) = self
                .call("ListShards", &date, ask.interceptor(date.clone()).send())
                .await?;
            shards.extend(answer.shards().iter().map(|shard| {
                let range = shard.sequence_number_range();
                Listed {
                    id: shard.shard_id().to_owned(),
                    open: range.is_none_or(|range| range.ending_sequence_number().is_none()),
                }
            }));
            token = answer.next_token;
            if token.is_none() {
                return Ok(shards);
            }
        }
    }

    pub(super) async fn iterator(
        &self,
        shard: &str,
        place: Place,
    ) -> Result<(String, Trip), Trouble> {
        let (kind, since) = match place {
            Place::End => (ShardIteratorType::Latest, None),
            Place::Since(None) => (ShardIteratorType::TrimHorizon, None),
            Place::Since(Some(since)) => {
                let latest = self.clock.now() - NOT_IN_THE_FUTURE;
                let since = self.skew().theirs(since.min(latest));
                (ShardIteratorType::AtTimestamp, Some(since))
            }
        };
        let date = HttpDate::default();
        let answer = self
            .api
            .get_shard_iterator()
            .stream_arn(&self.arn)
            .shard_id(shard)
            .shard_iterator_type(kind)
            .set_timestamp(since.map(written))
            .customize()
            .interceptor(date.clone())
            .send();
        let (answer, trip) = self.call("GetShardIterator", &date, answer).await?;
        let iterator = answer.shard_iterator.ok_or_else(|| {
            Trouble::Failed(Failure {
                operation: "GetShardIterator",
                code: "NoIterator".to_owned(),
                message: format!("an answer without an iterator for {shard}"),
            })
        })?;
        Ok((iterator, trip))
    }

    /// The next record.
    pub(super) async fn record(&self, iterator: &str) -> Result<Page, Trouble> {
        let date = HttpDate::default();
        let answer = self
            .api
            .get_records()
            .stream_arn(&self.arn)
            .shard_iterator(iterator)
            .limit(1)
            .customize()
            .interceptor(date.clone())
            .send();
        let (answer, trip) = self.call("GetRecords", &date, answer).await?;
        let record = answer.records().first();
        // A record without a time has arrived by now; one is not known to exist.
        let arrived = record.map(|record| {
            let stamp = record.approximate_arrival_timestamp().and_then(read);
            stamp.map_or(trip.received, |stamp| self.skew().ours(stamp))
        });
        let children = answer.child_shards().iter();
        Ok(Page {
            arrived,
            behind: answer.millis_behind_latest().unwrap_or(0) > 0,
            children: children.map(|child| child.shard_id().to_owned()).collect(),
            next: answer.next_shard_iterator,
            trip,
        })
    }

    /// Makes one call, counts it, and compares clocks.
    async fn call<T, E, R>(
        &self,
        operation: &'static str,
        date: &HttpDate,
        call: impl Future<Output = Result<T, SdkError<E, R>>>,
    ) -> Result<(T, Trip), Trouble>
    where
        E: std::error::Error + ProvideErrorMetadata + 'static,
        R: fmt::Debug,
    {
        let sent = self.clock.now();
        let answer = call.await;
        let received = self.clock.now();
        if let Some(date) = date.seen() {
            self.locked_skew().learn(date, sent, received);
        }
        let answer = answer.map_err(|error| trouble(operation, &error));
        (self.on_fact)(Fact::Call {
            stream: &self.stream,
            operation,
            result: match &answer {
                Ok(_) => "ok",
                Err(Trouble::Throttled) => "throttled",
                Err(Trouble::Expired) => "expired",
                Err(Trouble::Gone(_) | Trouble::Failed(_)) => "error",
            },
        });
        Ok((answer?, Trip { sent, received }))
    }

    fn skew(&self) -> Skew {
        *self.locked_skew()
    }

    fn locked_skew(&self) -> std::sync::MutexGuard<'_, Skew> {
        self.skew.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn trouble<E, R>(operation: &'static str, error: &SdkError<E, R>) -> Trouble
where
    E: std::error::Error + ProvideErrorMetadata + 'static,
    R: fmt::Debug,
{
    let failure = |code: &str, message: String| Failure {
        operation,
        code: code.to_owned(),
        message,
    };
    let Some(code) = error.code() else {
        return Trouble::Failed(failure("unreachable", words(error)));
    };
    let message = error.message().unwrap_or("no message").to_owned();
    match code {
        "ProvisionedThroughputExceededException"
        | "LimitExceededException"
        | "ThrottlingException"
        | "KMSThrottlingException" => Trouble::Throttled,
        "ExpiredIteratorException" => Trouble::Expired,
        "ResourceNotFoundException" | "InvalidArgumentException" => {
            Trouble::Gone(failure(code, message))
        }
        _ => Trouble::Failed(failure(code, message)),
    }
}

/// What led to an error, from the outside in.
fn words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

fn written(at: Timestamp) -> DateTime {
    // Whole milliseconds, cut: Kinesis keeps no finer times.
    DateTime::from_millis(at.as_micros().div_euclid(1_000))
}

fn read(at: &DateTime) -> Option<Timestamp> {
    let micros = at.as_nanos() / 1_000;
    Some(Timestamp::from_micros(i64::try_from(micros).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_the_same_whatever_its_request_was_called() {
        let failure = |message: &str| Failure {
            operation: "ListShards",
            code: "unreachable".to_owned(),
            message: message.to_owned(),
        };
        let refused = failure("Error { code: \"AccessDenied\", aws_request_id: \"1a-fe\" }");
        let again = failure("Error { code: \"AccessDenied\", aws_request_id: \"77-ab\" }");
        assert!(refused.same_as(&again));
        assert!(failure("timed out after 5s").same_as(&failure("timed out after 3s")));
        assert!(!refused.same_as(&failure("dispatch failure: timed out")));
    }
}
