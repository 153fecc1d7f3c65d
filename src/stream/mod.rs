//! Has anything arrived on a stream that its views have not read, and since when?
//!
//! Decides: which streams are followed (each with a probe role and a view), each on a task of
//! its own, so that one that hangs holds up no other; and that nothing but the daemon's
//! configuration starts or ends them.
//! Deliberately absent: what follows for a refresh (the scheduler), and the size of what is
//! unread. Kinesis counts nothing: `MillisBehindLatest` is a time, and says 0 to who reads at
//! the end; sequence numbers have gaps; and to read every record of which the size is wanted
//! would take the reads and megabytes that the share is there to save.
//!
//! ```text
//! Prober ─ one task per stream: rounds ─┬─ reader   calls to Kinesis, as the probe role
//!                                       ├─ tail ─── runs   one shard: its place, its arrivals
//!                                       └─ pace     how long until the next look
//! ```

mod http_date;
#[cfg(test)]
mod lab_tests;
mod pace;
mod reader;
mod rounds;
mod runs;
#[cfg(test)]
mod scripted_tests;
mod skew;
mod tail;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use tidekeeper_scheduler::{Event, Snapshot, Span, Timestamp, ViewId};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinError, JoinSet};

use crate::clock::Clock;
use crate::warehouse::AssumeRole;
use rounds::Rounds;

pub(crate) use http_date::HttpDate;
pub(crate) use runs::Runs;
pub(crate) use tail::READABLE_WITHIN;

/// `GetRecords` calls per second that a shard answers, for all its readers together (Kinesis
/// Data Streams, quotas and limits).
pub const READS_PER_SECOND: f64 = 5.0;
/// An iterator lives for five minutes (`GetRecords`); another one costs a call and an error.
const LONGEST_PERIOD: Span = Span::from_secs(240);

/// A stream to be followed.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// As the configuration calls it.
    pub name: String,
    pub arn: String,
    /// Assumed one after the other: those of the warehouse that reads the stream, and the probe
    /// role, which trusts the last of them.
    pub roles: Vec<AssumeRole>,
    /// Where STS and Kinesis are asked; the environment decides unless given.
    pub endpoint_url: Option<String>,
    pub period: Span,
    /// Share of each shard's reads that may be taken.
    pub share: f64,
    /// Who reads the stream.
    pub views: Vec<ViewId>,
}

impl Settings {
    fn region(&self) -> Option<&str> {
        self.arn.split(':').nth(3)
    }

    /// From one read of a shard to the next at least.
    fn apart(&self) -> Span {
        apart(self.share)
    }

    /// Reads of a shard that fit into one look.
    fn reads_per_look(&self) -> i64 {
        self.period.as_micros() / self.apart().as_micros()
    }

    /// The same stream by another name: one look serves the views of both.
    pub fn join(&mut self, other: Self) {
        self.views.extend(other.views);
        self.share = self.share.min(other.share);
        self.period = self.period.min(other.period).max(self.apart());
    }
}

/// Reads so far apart take this share of a shard's.
fn apart(share: f64) -> Span {
    Span::from_secs_f64(1.0 / (READS_PER_SECOND * share))
}

/// How often a stream is looked at whose views have these targets: ten times in the shortest,
/// at least while an iterator lives, but no more than once a second and than its share of the
/// reads allows.
#[must_use]
pub fn period(targets: impl IntoIterator<Item = Span>, share: f64) -> Option<Span> {
    let wanted = (targets.into_iter().min()? / 10).min(LONGEST_PERIOD);
    Some(wanted.max(apart(share)).max(Span::from_secs(1)))
}

/// Something that is counted.
#[derive(Clone, Copy, Debug)]
pub enum Fact<'a> {
    Call {
        stream: &'a str,
        /// As Kinesis spells it.
        operation: &'static str,
        /// `ok`, `throttled`, `expired` or `error`.
        result: &'static str,
    },
    /// Whether the latest look told what is unread, to be believed until the next one is due.
    Signal { stream: &'a str, up: bool },
    /// Everything that arrived up to `at` is known, and this is new: when something arrived
    /// first and last, and perhaps in between.
    Looked {
        stream: &'a str,
        at: Timestamp,
        arrivals: &'a [(Timestamp, Timestamp)],
    },
}

/// What all streams of one life of the daemon share.
#[derive(Clone)]
pub struct Life {
    pub clock: Clock,
    /// Where what was seen goes.
    pub events: mpsc::Sender<Event>,
    /// Where the views' positions are.
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    pub on_fact: Arc<dyn Fn(Fact<'_>) + Send + Sync>,
}

impl fmt::Debug for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Life").finish_non_exhaustive()
    }
}

/// Follows streams.
#[derive(Debug)]
pub struct Prober {
    life: Life,
    base: Option<SdkConfig>,
    followed: BTreeMap<String, (Settings, AbortHandle)>,
    tasks: JoinSet<()>,
    stopped: bool,
}

impl Prober {
    #[must_use]
    pub fn new(life: Life) -> Self {
        Self {
            life,
            base: None,
            followed: BTreeMap::new(),
            tasks: JoinSet::new(),
            stopped: false,
        }
    }

    /// Takes credentials from here, not from the environment.
    #[cfg(test)]
    fn with_base(life: Life, base: SdkConfig) -> Self {
        Self {
            base: Some(base),
            ..Self::new(life)
        }
    }

    /// Follows these streams and no others. One that has not changed is followed on.
    pub async fn replace(&mut self, streams: Vec<Settings>) {
        if self.stopped {
            return;
        }
        self.followed.retain(|name, (settings, task)| {
            let stays = streams
                .iter()
                .any(|stream| stream.name == *name && stream == settings);
            if !stays {
                task.abort();
            }
            stays
        });
        let begun_at = self.life.clock.now();
        for settings in streams {
            if self.followed.contains_key(&settings.name) {
                continue;
            }
            let base = self.base(&settings).await;
            let life = self.life.clone();
            let stream = settings.clone();
            let task = self.tasks.spawn(async move {
                let rounds = Rounds::open(stream, &base, life, begun_at).await;
                rounds.run().await;
            });
            self.followed
                .insert(settings.name.clone(), (settings, task));
        }
    }

    /// Ends all of it, for good.
    pub fn stop(&mut self) {
        self.stopped = true;
        self.followed.clear();
        self.tasks.abort_all();
    }

    /// Resolves only if a task has panicked.
    pub async fn panicked(&mut self) -> JoinError {
        loop {
            match self.tasks.join_next().await {
                Some(Err(error)) if error.is_panic() => return error,
                Some(Ok(()) | Err(_)) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// What the environment says, read once. The stream's region spares the search for one.
    async fn base(&mut self, settings: &Settings) -> SdkConfig {
        if let Some(base) = &self.base {
            return base.clone();
        }
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(reader::CONNECT_LIMIT)
            .build();
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts);
        if let Some(region) = settings.region() {
            loader = loader.region(Region::new(region.to_owned()));
        }
        let base = loader.load().await;
        self.base = Some(base.clone());
        base
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(seconds: i64) -> Span {
        Span::from_secs(seconds)
    }

    #[test]
    fn the_shortest_target_sets_the_period() {
        assert_eq!(period([secs(60), secs(300)], 0.2), Some(secs(6)));
        assert_eq!(period([secs(4)], 0.2), Some(secs(1)));
        assert_eq!(period([secs(4)], 1.0), Some(secs(1)));
        assert_eq!(period([], 0.2), None);
    }

    #[test]
    fn a_small_share_of_the_reads_makes_the_period_longer() {
        assert_eq!(period([secs(20)], 0.02), Some(secs(10)));
    }

    #[test]
    fn a_long_target_is_looked_at_while_an_iterator_lives_if_its_share_allows() {
        assert_eq!(period([secs(86_400)], 0.2), Some(secs(240)));
        assert_eq!(period([secs(86_400)], 0.000_5), Some(secs(400)));
    }

    #[test]
    fn a_stream_with_two_names_has_the_views_of_both_and_the_smaller_share() {
        let one = |target, share, view: &str| Settings {
            name: view.to_owned(),
            arn: String::new(),
            roles: Vec::new(),
            endpoint_url: None,
            period: period([secs(target)], share).unwrap(),
            share,
            views: vec![ViewId::from(view)],
        };
        for (first, second, seconds) in [
            ((60, 0.2), (20, 0.2), 2),
            ((20, 0.2), (60, 0.02), 10),
            ((600, 0.2), (20, 0.002), 100),
        ] {
            let mut joined = one(first.0, first.1, "a");
            joined.join(one(second.0, second.1, "b"));
            assert_eq!(joined.period, secs(seconds), "{first:?} {second:?}");
            assert_eq!(joined.views, ["a", "b"].map(ViewId::from));
            assert!(joined.share <= first.1 && joined.share <= second.1);
        }
    }

    #[test]
    fn a_look_takes_no_more_reads_than_the_share_allows_in_its_period() {
        for (target, share, reads) in [(60, 0.2, 6), (10, 0.2, 1), (30, 0.2, 3), (20, 0.02, 1)] {
            let settings = Settings {
                name: "clicks".to_owned(),
                arn: String::new(),
                roles: Vec::new(),
                endpoint_url: None,
                period: period([secs(target)], share).unwrap(),
                share,
                views: Vec::new(),
            };
            assert_eq!(settings.reads_per_look(), reads, "{target} s, {share}");
        }
    }
}
