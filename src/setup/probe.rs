//! Looking at a stream as the daemon does: through the warehouse's roles and then the one that
//! is given to it for that.
//!
//! Decides: that each call of the daemon's probe is made once, in its order, and that what is
//! refused is told by its operation. Deliberately absent: reading on.

use aws_config::{Region, SdkConfig};
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::error::ProvideErrorMetadata;
use aws_sdk_kinesis::types::{Shard, ShardIteratorType};
use tidekeeper_scheduler::{Span, Timestamp};

use super::asked::{CLOCK, LATEST, SHARDS};
use super::aws;
use super::links::{Link, State};
use crate::clock::Clock;
use crate::config::{Stream, StreamSource};
use crate::stream::HttpDate;
use crate::warehouse::{AssumeRole, assume};

const SESSION_NAME: &str = "tidekeeper-verify";
/// A `Date` has whole seconds and may be a second old.
const COARSE: Span = Span::from_secs(2);

/// A call that was refused, or did not get through.
struct Refused {
    operation: &'static str,
    code: Option<String>,
    words: String,
}

/// What the probe role is told of the stream.
pub(super) async fn stream(
    sdk: &SdkConfig,
    roles: &[AssumeRole],
    clock: &Clock,
    (name, stream): (&str, &Stream),
) -> Vec<Link> {
    let link = format!("stream {name}");
    let StreamSource::Kinesis(arn) = &stream.source else {
        let text = "a topic: only the refresh can tell";
        return vec![Link::new(link, State::Unverifiable, text)];
    };
    let Some(role) = &stream.probe_role_arn else {
        let text = format!("{arn}: no probe_role_arn, so that only the refresh can tell");
        return vec![Link::new(link, State::Unverifiable, text)];
    };
    if sdk.credentials_provider().is_none() {
        let text = "there are no credentials";
        return vec![Link::new(link, State::Unverifiable, text)];
    }
    let mut builder = sdk.to_builder();
    if let Some(region) = arn.split(':').nth(3) {
        builder.set_region(Region::new(region.to_owned()));
    }
    let mut roles = roles.to_vec();
    roles.push(AssumeRole {
        arn: role.clone(),
        external_id: None,
    });
    let sdk = assume(builder.build(), &roles, SESSION_NAME).await;
    let look = Look {
        api: Client::new(&sdk),
        arn,
        link: &link,
        clock,
    };
    let mut links = Vec::new();
    if let Err(refused) = look.all(&mut links).await {
        links.push(told(&link, arn, role, &refused));
    }
    links
}

/// One stream, and how it is asked.
struct Look<'a> {
    api: Client,
    arn: &'a str,
    link: &'a str,
    clock: &'a Clock,
}

impl Look<'_> {
    async fn all(&self, links: &mut Vec<Link>) -> Result<(), Refused> {
        let shards = self.shards().await?;
        let open = shards.iter().filter(|shard| is_open(shard)).count();
        let text = format!("{}, {open} open shards", self.arn);
        links.push(Link::new(self.link, State::Ok, text));
        links.push(self.counted(open).await);
        if let Some(shard) = shards.iter().find(|shard| is_open(shard)) {
            self.end(shard.shard_id(), links).await?;
        }
        Ok(())
    }

    async fn shards(&self) -> Result<Vec<Shard>, Refused> {
        let ask = self.api.list_shards().stream_arn(self.arn);
        let mut answer = ask
            .send()
            .await
            .map_err(|error| refused("ListShards", &error))?;
        let mut shards = answer.shards.take().unwrap_or_default();
        while let Some(token) = answer.next_token.take() {
            let ask = self.api.list_shards().next_token(token);
            answer = ask
                .send()
                .await
                .map_err(|error| refused("ListShards", &error))?;
            shards.extend(answer.shards.take().unwrap_or_default());
        }
        Ok(shards)
    }

    /// Kinesis says by itself how many shards are open.
    async fn counted(&self, listed: usize) -> Link {
        let ask = self.api.describe_stream_summary().stream_arn(self.arn);
        let summary = match ask.send().await {
            Ok(summary) => summary.stream_description_summary,
            Err(error) => {
                let refused = refused("DescribeStreamSummary", &error);
                let text = format!("how many there are: {}", refused.words);
                return SHARDS.link(self.link, State::Unverifiable, text);
            }
        };
        let open = summary.map_or(0, |summary| summary.open_shard_count);
        if usize::try_from(open).is_ok_and(|open| open == listed) {
            let text = format!("all {open} that are open are listed");
            return SHARDS.link(self.link, State::Ok, text);
        }
        let text = format!("{listed} of {open} that are open are listed");
        SHARDS.link(self.link, State::Unverifiable, text)
    }

    /// What the daemon asks of a shard, once.
    async fn end(&self, shard: &str, links: &mut Vec<Link>) -> Result<(), Refused> {
        let ask = self
            .api
            .get_shard_iterator()
            .stream_arn(self.arn)
            .shard_id(shard)
            .shard_iterator_type(ShardIteratorType::Latest);
        let answer = ask.send().await;
        let answer = answer.map_err(|error| refused("GetShardIterator", &error))?;
        let date = HttpDate::default();
        let ask = self
            .api
            .get_records()
            .stream_arn(self.arn)
            .set_shard_iterator(answer.shard_iterator)
            .limit(1)
            .customize()
            .interceptor(date.clone());
        let sent_at = self.clock.now();
        let answer = ask.send().await;
        let received_at = self.clock.now();
        let page = answer.map_err(|error| refused("GetRecords", &error))?;
        links.push(match page.millis_behind_latest {
            Some(behind) => {
                let text = format!("{behind} ms behind, {} records", page.records.len());
                LATEST.link(self.link, State::Ok, text)
            }
            None => {
                let text = "no MillisBehindLatest: whether something is unread is not told";
                LATEST.link(self.link, State::Unverifiable, text)
            }
        });
        links.push(compared(self.link, date.seen(), sent_at, received_at));
        Ok(())
    }
}

fn is_open(shard: &Shard) -> bool {
    let range = shard.sequence_number_range();
    range.is_none_or(|range| range.ending_sequence_number().is_none())
}

/// Kinesis's clock and this host's.
fn compared(
    link: &str,
    date: Option<Timestamp>,
    sent_at: Timestamp,
    received_at: Timestamp,
) -> Link {
    let Some(date) = date else {
        let text = "the answer has no Date: ages are told by this host's clock";
        return CLOCK.link(link, State::Unverifiable, text);
    };
    let (early, late) = (date - received_at, date + COARSE - sent_at);
    if early <= Span::ZERO && late >= Span::ZERO {
        return CLOCK.link(link, State::Ok, "within two seconds of this host's");
    }
    let text = if late < Span::ZERO {
        format!("{:.0} s behind this host's", -late.as_secs_f64())
    } else {
        format!("{:.0} s ahead of this host's", early.as_secs_f64())
    };
    CLOCK
        .link(link, State::Unverifiable, text)
        .mend("set this host's clock (NTP); the daemon corrects by as much")
}

fn told(link: &str, arn: &str, role: &str, refused: &Refused) -> Link {
    match refused.code.as_deref() {
        Some("ResourceNotFoundException") => {
            Link::new(link, State::Broken, format!("{arn} does not exist"))
                .mend("check account, region and name; names are case-sensitive")
        }
        Some(code) => {
            let text = format!("{role}: kinesis:{}: {code}", refused.operation);
            Link::new(link, State::Broken, text).mend("tidekeeper setup iam prints the probe role")
        }
        None => {
            let text = format!("{role}: {}", refused.words);
            Link::new(link, State::Broken, text)
                .mend("tidekeeper setup iam prints the probe role and its trust")
        }
    }
}

fn refused<E, R>(operation: &'static str, error: &aws_sdk_kinesis::error::SdkError<E, R>) -> Refused
where
    E: std::error::Error + ProvideErrorMetadata + 'static,
    R: std::fmt::Debug,
{
    Refused {
        operation,
        code: error.code().map(ToOwned::to_owned),
        words: aws::words(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_are_compared_as_finely_as_a_date_allows() {
        let at = Timestamp::from_micros;
        let said = |date: i64| {
            let link = compared("s", Some(at(date)), at(60_400_000), at(60_600_000));
            (link.state, link.detail)
        };
        for same in [60_000_000, 59_000_000] {
            assert_eq!(said(same).0, State::Ok, "{same}");
        }
        let (state, detail) = said(90_000_000);
        assert_eq!(
            (state, detail.as_str()),
            (State::Unverifiable, "29 s ahead of this host's")
        );
        assert_eq!(said(30_000_000).1, "28 s behind this host's");
        assert_eq!(compared("s", None, at(0), at(0)).state, State::Unverifiable);
    }
}
