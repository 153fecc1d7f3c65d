//! One stream, followed: a look at every shard in every period.
//!
//! Decides: which shards are followed, how many are looked at at once, and what the views are
//! told: after a look all of them; until the next one those that have moved, from what is known
//! already. A look that is not whole tells them nothing: without news the scheduler stops
//! believing the old ones by itself.
//! Deliberately absent: what one answer proves (`tail`), calls (`reader`), waiting (`pace`).

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;

use aws_config::SdkConfig;
use tidekeeper_scheduler::{BELIEVED, Event, Seen, Snapshot, Span, Timestamp, ViewId};
use tokio::task::JoinSet;

use super::pace::Pace;
use super::reader::{Failure, Place, Reader, Trouble};
use super::runs::Runs;
use super::tail::{Next, Tail};
use super::{Fact, Life, Settings};
use crate::clock::Clock;

/// Shards of one stream that are looked at at once: a quarter of them, but no fewer and no
/// more. A thousand shards that answer within 100 ms then take less than a second.
const AT_ONCE: (usize, usize) = (16, 128);
const LIST_EVERY: Span = Span::from_secs(60);
/// Answers in one look that may be empty although more is to be read, if as many fit into a
/// period.
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
    /// From which position each view was told what the latest look knows.
    told: BTreeMap<ViewId, Timestamp>,
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
            told: BTreeMap::new(),
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
            let ended = self.life.clock.now();
            let (at, next) = match look {
                Ok(at) => {
                    self.recovered();
                    (at, began + self.pace.went_well())
                }
                Err(trouble) => (None, ended + self.troubled(trouble)),
            };
            let believed_until = at.map(|at| at + self.settings.period * BELIEVED);
            (self.life.on_fact)(Fact::Signal {
                stream: &self.settings.name,
                up: believed_until > Some(next.max(ended)),
            });
            if let Some(at) = at {
                self.show(at);
                self.told.clear();
                if self.tell(at).await.is_none() {
                    return;
                }
                self.forget();
            }
            if self.rest(next, at).await.is_none() {
                return;
            }
        }
    }

    /// Until the next look; `None` when nobody listens any more.
    async fn rest(&mut self, until: Timestamp, at: Option<Timestamp>) -> Option<()> {
        let mut next_look = pin!(tokio::time::sleep_until(self.life.clock.instant(until)));
        loop {
            tokio::select! {
                biased;
                // A look tells everybody; snapshots that come all the time must not hold it up.
                () = &mut next_look => return Some(()),
                changed = self.life.snapshots.changed() => changed.ok()?,
            }
            if let Some(at) = at {
                self.tell(at).await?;
            }
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
        let turns = Turns {
            reads: self.settings.reads_per_look().clamp(1, MOST_READS),
            apart: self.settings.apart(),
            clock: self.life.clock,
        };
        let at_once = (self.tails.len() / 4).clamp(AT_ONCE.0, AT_ONCE.1);
        let mut waiting = std::mem::take(&mut self.tails).into_iter();
        let mut looks = JoinSet::new();
        let mut trouble = None;
        let mut children = Vec::new();
        loop {
            while trouble.is_none()
                && looks.len() < at_once
                && let Some((id, tail)) = waiting.next()
            {
                if tail.is_closed() {
                    self.tails.insert(id, tail);
                } else {
                    looks.spawn(look_at_shard(Arc::clone(&self.reader), id, tail, turns));
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

    /// Tells every view that has not been told from where it stands; `None` when nobody listens
    /// any more.
    async fn tell(&mut self, at: Timestamp) -> Option<()> {
        // It may be older than the look: the scheduler refuses what was looked for from a
        // position that is no longer the view's.
        let snapshot = Arc::clone(&self.life.snapshots.borrow_and_update());
        let moved = self.positions(&snapshot).filter(|(view, position)| {
            // Nothing is known of what comes after `at`.
            *position < at && self.told.get(*view) != Some(position)
        });
        let moved: Vec<_> = moved.map(|(view, at)| (view.clone(), at)).collect();
        for (view, position) in moved {
            // It came up or fell back since the look began: the next one looks that far back.
            if !self.tails.values().all(|tail| tail.reaches(position)) {
                continue;
            }
            let tails = self.tails.values();
            let oldest = tails.filter_map(|tail| tail.oldest_after(position)).min();
            tracing::debug!(%view, ?at, ?oldest, "probed");
            self.told.insert(view.clone(), position);
            let seen = Seen {
                at,
                oldest,
                bytes: None,
            };
            let event = Event::Probed { view, seen };
            self.life.events.send(event).await.ok()?;
        }
        Some(())
    }

    /// What all views have read need not be known any more. Not at once: a view falls back if
    /// its refresh turns out not to have read everything.
    fn forget(&mut self) {
        let snapshot = Arc::clone(&self.life.snapshots.borrow());
        let positions: Vec<Timestamp> = self.positions(&snapshot).map(|(_, at)| at).collect();
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
        self.positions(&snapshot).map(|(_, at)| at).min()
    }

    /// Up to when each view that is known to hold anything has read its stream.
    fn positions(&self, snapshot: &Snapshot) -> impl Iterator<Item = (&ViewId, Timestamp)> {
        // Snapshots come ten times a second, and have all views of the estate.
        self.settings.views.iter().filter_map(|view| {
            let known = &snapshot.views;
            let place = known.binary_search_by(|known| known.view.cmp(view)).ok()?;
            Some((view, known.get(place)?.holds_ts?))
        })
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
            // A second time within one look: the next one begins anew.
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

/// How often a shard may be read in one look.
#[derive(Clone, Copy, Debug)]
struct Turns {
    reads: i64,
    apart: Span,
    clock: Clock,
}

impl Turns {
    async fn next(&mut self) {
        self.reads -= 1;
        let next = self.clock.now() + self.apart;
        tokio::time::sleep_until(self.clock.instant(next)).await;
    }
}

/// The tail comes back whatever happened; with it the children of a shard that has ended.
async fn look_at_shard(
    reader: Arc<Reader>,
    id: String,
    mut tail: Tail,
    mut turns: Turns,
) -> (String, Tail, Result<Vec<String>, Trouble>) {
    let mut result = follow(&reader, &id, &mut tail, &mut turns).await;
    if result == Err(Trouble::Expired) {
        // Of a look that was long ago: throttles and failures make them rare.
        tail.lose_place();
        turns.next().await;
        result = follow(&reader, &id, &mut tail, &mut turns).await;
    }
    match &result {
        Err(Trouble::Expired | Trouble::Gone(_)) => tail.lose_place(),
        Ok(_) | Err(Trouble::Throttled | Trouble::Failed(_)) => {}
    }
    (id, tail, result)
}

async fn follow(
    reader: &Reader,
    id: &str,
    tail: &mut Tail,
    turns: &mut Turns,
) -> Result<Vec<String>, Trouble> {
    if tail.iterator().is_none() {
        let (iterator, _) = reader.iterator(id, Place::Since(tail.start())).await?;
        tail.begin(iterator);
    }
    while let Some(iterator) = tail.iterator() {
        let page = reader.record(iterator).await?;
        match tail.take(page) {
            Next::ReadOn if turns.reads > 1 => turns.next().await,
            Next::Period | Next::ReadOn => break,
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
