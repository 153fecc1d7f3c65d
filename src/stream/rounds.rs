//! One stream, followed: a look at every shard in every period.
//!
//! Decides: which shards are followed, how many are looked at at once, and what the views are
//! told. A look that is not whole tells them nothing: without news the scheduler stops
//! believing the old ones by itself.
//! Deliberately absent: what one answer proves (`tail`), calls (`reader`), waiting (`pace`).

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_config::SdkConfig;
use tidekeeper_scheduler::{Event, Seen, Snapshot, Span, Timestamp, ViewSnapshot};
use tokio::task::JoinSet;

use super::pace::Pace;
use super::reader::{Failure, Place, Reader, Trouble};
use super::runs::Runs;
use super::tail::{Next, Tail};
use super::{Fact, Life, Settings};

/// Shards of one stream that are looked at at once.
const AT_ONCE: usize = 16;
const LIST_EVERY: Span = Span::from_secs(60);
/// Answers in one look that may be empty although more is to be read.
const MOST_READS: i64 = 4;

/// A stream and what is known of it.
#[derive(Debug)]
pub(super) struct Rounds {
    settings: Settings,
    life: Life,
    reader: Arc<Reader>,
    /// By shard.
    tails: BTreeMap<String, Tail>,
    list_at: Timestamp,
    begun_at: Timestamp,
    pace: Pace,
    failure: Option<Failure>,
}

impl Rounds {
    /// From `begun_at` on, arrivals are to be known.
    pub(super) async fn open(
        settings: Settings,
        base: &SdkConfig,
        life: Life,
        begun_at: Timestamp,
    ) -> Self {
        Self {
            reader: Arc::new(Reader::open(&settings, base, &life).await),
            tails: BTreeMap::new(),
            list_at: begun_at,
            begun_at,
            pace: Pace::new(settings.period, &settings.name),
            failure: None,
            settings,
            life,
        }
    }

    /// Looks, tells, waits, until nobody listens.
    pub(super) async fn run(mut self) {
        loop {
            let began = self.life.clock.now();
            let look = self.look().await;
            let up = matches!(&look, Ok(Some(_)));
            (self.life.on_fact)(Fact::Signal {
                stream: &self.settings.name,
                up,
            });
            let next = match look {
                Ok(at) => {
                    self.recovered();
                    if let Some(at) = at {
                        self.show(at);
                        if self.tell(at).await.is_none() {
                            return;
                        }
                    }
                    began + self.pace.went_well()
                }
                Err(trouble) => {
                    let wait = self.troubled(trouble);
                    self.life.clock.now() + wait
                }
            };
            tokio::time::sleep_until(self.life.clock.instant(next)).await;
        }
    }

    /// Looks at all shards: up to when all arrivals are known, where that is known at all.
    async fn look(&mut self) -> Result<Option<Timestamp>, Trouble> {
        let now = self.life.clock.now();
        if now >= self.list_at {
            self.list().await?;
            self.list_at = now + LIST_EVERY;
        }
        if let Some(position) = self.least_position() {
            for tail in self.tails.values_mut() {
                tail.reach_back(position);
            }
        }
        self.look_at_shards().await?;
        let open = self.tails.values().filter(|tail| !tail.is_closed());
        let verified: Option<Vec<Timestamp>> = open.map(Tail::verified).collect();
        let verified = verified.and_then(|all| all.into_iter().min());
        // Older is an earlier look's; and the children of a closed shard may hold what nobody
        // has looked for yet.
        Ok(verified.filter(|verified| *verified >= now && self.list_at > now))
    }

    async fn list(&mut self) -> Result<(), Trouble> {
        let listed = self.reader.shards().await?;
        let first = self.tails.is_empty();
        let since = self.least_position().unwrap_or(self.begun_at);
        // After a failure even an open shard may be one of a stream that is no more.
        let failed = self.failure.is_some();
        self.tails.retain(|id, tail| {
            let kept = listed.iter().any(|shard| shard.id == *id);
            kept || !(failed || tail.is_closed())
        });
        for shard in listed {
            let tail = self.tails.get(&shard.id);
            // Closed for us and open again: another stream of that name.
            if tail.is_none_or(|tail| tail.is_closed() && shard.open) {
                let tail = if first {
                    let mut tail = Tail::since(self.begun_at);
                    tail.reach_back(since);
                    tail
                } else {
                    Tail::whole()
                };
                self.tails.insert(shard.id, tail);
            }
        }
        Ok(())
    }

    /// One look at every open shard, the first trouble ending it.
    async fn look_at_shards(&mut self) -> Result<(), Trouble> {
        let reads = self.settings.reads_per_look().clamp(1, MOST_READS);
        let mut waiting = std::mem::take(&mut self.tails).into_iter();
        let mut looks = JoinSet::new();
        let mut trouble = None;
        let mut children = Vec::new();
        loop {
            while trouble.is_none()
                && looks.len() < AT_ONCE
                && let Some((id, tail)) = waiting.next()
            {
                if tail.is_closed() {
                    self.tails.insert(id, tail);
                } else {
                    looks.spawn(look_at_shard(Arc::clone(&self.reader), id, tail, reads));
                }
            }
            let Some(looked) = looks.join_next().await else {
                break;
            };
            let (id, tail, result) = match looked {
                Ok(looked) => looked,
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            };
            let closed = tail.is_closed();
            self.tails.insert(id, tail);
            match result {
                Ok(found) => {
                    if closed && found.is_empty() {
                        self.list_at = Timestamp::MIN;
                    }
                    children.extend(found);
                }
                Err(found) => trouble = trouble.or(Some(found)),
            }
        }
        self.tails.extend(waiting);
        for child in children {
            self.tails.entry(child).or_insert_with(Tail::whole);
        }
        trouble.map_or(Ok(()), Err)
    }

    /// What all looks have found since the latest one that was whole.
    fn show(&mut self, at: Timestamp) {
        let tails = self.tails.values_mut();
        let news: Vec<_> = tails.map(Tail::take_news).collect();
        let arrivals: Vec<_> = news.iter().flat_map(Runs::spans).collect();
        (self.life.on_fact)(Fact::Looked {
            stream: &self.settings.name,
            at,
            arrivals: &arrivals,
        });
    }

    /// Tells every view that has a position; `None` when nobody listens any more.
    async fn tell(&mut self, at: Timestamp) -> Option<()> {
        // It may be older than the look: the scheduler refuses what was looked for from a
        // position that is no longer the view's.
        let snapshot = Arc::clone(&self.life.snapshots.borrow());
        for view in self.readers(&snapshot) {
            let Some(position) = position(view) else {
                continue;
            };
            let tails = self.tails.values();
            let oldest = tails.filter_map(|tail| tail.oldest_after(position)).min();
            tracing::debug!(view = %view.view, ?at, ?oldest, "probed");
            let event = Event::Probed {
                view: view.view.clone(),
                seen: Seen {
                    at,
                    oldest,
                    bytes: None,
                },
            };
            self.life.events.send(event).await.ok()?;
        }
        self.forget(&snapshot);
        Some(())
    }

    /// What all views have read need not be known any more.
    fn forget(&mut self, snapshot: &Snapshot) {
        let positions: Vec<Timestamp> = self.readers(snapshot).filter_map(position).collect();
        if positions.len() == self.settings.views.len()
            && let Some(least) = positions.into_iter().min()
        {
            for tail in self.tails.values_mut() {
                tail.forget_before(least);
            }
        }
    }

    fn least_position(&self) -> Option<Timestamp> {
        let snapshot = Arc::clone(&self.life.snapshots.borrow());
        self.readers(&snapshot).filter_map(position).min()
    }

    fn readers<'a>(&'a self, snapshot: &'a Snapshot) -> impl Iterator<Item = &'a ViewSnapshot> {
        let views = snapshot.views.iter();
        views.filter(|view| self.settings.views.contains(&view.view))
    }

    fn recovered(&mut self) {
        if self.failure.take().is_some() {
            tracing::info!(
                stream = self.settings.name,
                "the stream can be probed again"
            );
        }
    }

    /// Says what is wrong, once, and how long to wait.
    fn troubled(&mut self, trouble: Trouble) -> Span {
        let failure = match trouble {
            Trouble::Throttled => {
                let wait = self.pace.throttled();
                tracing::debug!(stream = self.settings.name, %wait, "probes are throttled");
                return wait;
            }
            // `look_at_shard` has dealt with it.
            Trouble::Expired => return self.pace.went_well(),
            Trouble::Gone(failure) | Trouble::Failed(failure) => failure,
        };
        self.list_at = Timestamp::MIN;
        let wait = self.pace.failed();
        let known = self.failure.as_ref();
        if known.is_none_or(|known| !known.same_as(&failure)) {
            tracing::warn!(
                stream = self.settings.name,
                role = self.settings.roles.last().map(|role| &role.arn),
                operation = failure.operation,
                code = failure.code,
                error = failure.message,
                "the stream cannot be probed; its views are refreshed as without a probe"
            );
        }
        self.failure = Some(failure);
        wait
    }
}

/// Up to when a view has read its stream.
fn position(view: &ViewSnapshot) -> Option<Timestamp> {
    view.holds_ts
}

/// The tail comes back whatever happened; with it the children of a shard that has ended.
async fn look_at_shard(
    reader: Arc<Reader>,
    id: String,
    mut tail: Tail,
    reads: i64,
) -> (String, Tail, Result<Vec<String>, Trouble>) {
    let mut result = follow(&reader, &id, &mut tail, reads).await;
    match &result {
        Err(Trouble::Expired) => {
            tail.lose_place();
            result = Ok(Vec::new());
        }
        Err(Trouble::Gone(_)) => tail.lose_place(),
        Ok(_) | Err(Trouble::Throttled | Trouble::Failed(_)) => {}
    }
    (id, tail, result)
}

async fn follow(
    reader: &Reader,
    id: &str,
    tail: &mut Tail,
    reads: i64,
) -> Result<Vec<String>, Trouble> {
    if tail.iterator().is_none() {
        let (iterator, _) = reader.iterator(id, Place::Since(tail.start())).await?;
        tail.begin(iterator);
    }
    for _ in 0..reads {
        let Some(iterator) = tail.iterator() else {
            break;
        };
        let page = reader.record(iterator).await?;
        match tail.take(page) {
            Next::Period => break,
            Next::ReadOn => {}
            Next::SkipToEnd => {
                let (end, trip) = reader.iterator(id, Place::End).await?;
                tail.skip_to_end(end, trip);
                break;
            }
            Next::Closed { children } => return Ok(children),
        }
    }
    Ok(Vec::new())
}
