//! What an arrival probe tells of a view's stream.
//!
//! Decides: for how long a probe is believed, what follows from it for `data_ts`, and the size
//! of a refresh that begins now (control law §1, §2, §4).
//! Deliberately absent: how a stream is looked at.

use crate::event::Seen;
use crate::law::{DurationModel, Rate};
use crate::plan::ViewId;
use crate::scheduler::Scheduler;
use crate::snapshot::Unread;
use crate::state::{Due, DueWhy};
use crate::time::{Span, Timestamp};
use crate::view::View;

/// A probe is believed for so many of its periods.
pub const BELIEVED: i64 = 3;

impl View {
    /// The latest probe, while it is believed.
    pub(crate) fn seen(&self, now: Timestamp) -> Option<Seen> {
        self.seen.filter(|seen| now < self.believed_until(*seen))
    }

    /// Whether the view's arrivals are known at this moment.
    pub(crate) fn sees_arrivals(&self, now: Timestamp) -> bool {
        self.seen(now).is_some()
    }

    /// A refresh that began then has ended: what a probe saw before, or from an earlier
    /// position, is read.
    pub(crate) fn forget_seen(&mut self, began_at: Timestamp) {
        let holds = self.holds();
        self.seen = self.seen.filter(|seen| {
            let unread = seen.oldest.is_none_or(|oldest| Some(oldest) > holds);
            seen.at >= began_at && unread
        });
    }

    /// What lies unread, as far as it can be told: between a refresh and the first probe after
    /// its submit nothing is known to be.
    pub(crate) fn unread(&self, now: Timestamp) -> Option<Unread> {
        let told = self.seen(now).map(|seen| Unread {
            since: seen.oldest,
            at: seen.at,
        });
        let refreshed = self.probed_at.filter(|at| {
            let period = self.spec.probe_every.unwrap_or(Span::ZERO);
            now < *at + period * BELIEVED && self.holds() >= Some(*at)
        });
        told.or_else(|| refreshed.map(|at| Unread { since: None, at }))
    }

    pub(crate) fn believed_until(&self, seen: Seen) -> Timestamp {
        let period = self.spec.probe_every.unwrap_or(Span::ZERO);
        seen.at + period * BELIEVED
    }

    /// When the oldest record arrived that is known to be unread.
    pub(crate) fn oldest_unread(&self) -> Option<Timestamp> {
        self.seen.and_then(|seen| seen.oldest)
    }

    /// λ̂ in units of size per second.
    pub(crate) fn rate(&self) -> f64 {
        self.rate.map_or(1.0, Rate::per_second)
    }

    /// The size of a refresh that starts now, and whether it is known well enough to learn
    /// from.
    pub(crate) fn size(&self, now: Timestamp) -> (f64, bool) {
        let gap = now - self.holds().unwrap_or(now - self.spec.target_lag);
        match (self.rate, self.seen(now)) {
            (None, _) => (gap.as_secs_f64(), true),
            (Some(_), Some(seen)) => {
                let since = (now - seen.at).as_secs_f64();
                (seen.bytes.unwrap_or(0.0) + self.rate() * since, true)
            }
            (Some(_), None) => (self.rate() * gap.as_secs_f64(), false),
        }
    }
}

impl Scheduler {
    pub(crate) fn take_probe(&mut self, id: &ViewId, seen: Seen) {
        let Some(&slot) = self.by_id.get(id) else {
            return;
        };
        let now = self.now;
        let Some(view) = self.view_mut(slot) else {
            return;
        };
        view.probed_at = view.probed_at.max(Some(seen.at.min(now)));
        let outdated = view.seen.is_some_and(|before| before.at >= seen.at)
            || Some(seen.at) < view.holds()
            // It was looked for from an earlier position.
            || seen.oldest.is_some_and(|oldest| Some(oldest) <= view.holds());
        if outdated || seen.at > now {
            return;
        }
        if let Some(bytes) = seen.bytes {
            let growth = view.seen.and_then(|before| {
                let seconds = (seen.at - before.at).as_secs_f64();
                Some(((bytes - before.bytes?) / seconds).max(0.0))
            });
            match (&mut view.rate, growth) {
                (Some(rate), Some(growth)) => rate.learn(growth),
                (Some(_), None) => {}
                (None, _) => {
                    // From now on sizes are bytes: what was learned of gaps says nothing.
                    view.rate = Some(Rate::new(0.0));
                    view.model = DurationModel::default();
                }
            }
        }
        view.seen = Some(seen);
        // Where nothing is unread, the view holds everything up to that moment.
        let judged = view.unjudged.is_none() && !view.catching_up;
        if seen.oldest.is_none() && view.data_ts.is_some() && judged {
            view.data_ts = view.data_ts.max(Some(seen.at));
        }
        let stays = match view.state.due() {
            Some(Due::Ready { .. }) => seen.oldest.is_some(),
            // It has been told of, and nothing has changed for it.
            Some(Due::At { why, .. }) => *why == DueWhy::Observe,
            Some(Due::Never { .. }) | None => false,
        };
        if !stays {
            self.settle_if_waiting(slot);
        }
        self.bring_along(slot);
    }

    /// What a view holds its children hold, too, if they have read it since it last changed.
    pub(crate) fn bring_along(&mut self, slot: usize) {
        for child in self.children.get(&slot).cloned().unwrap_or_default() {
            let Some(view) = self.view(child) else {
                continue;
            };
            let is_current = view.unjudged.is_none()
                && !view.catching_up
                && view.data_ts.is_some()
                && view.spec.after.iter().all(|id| {
                    let parent = self.by_id.get(id).and_then(|slot| self.view(*slot));
                    parent.is_some_and(|parent| {
                        parent.unjudged.is_none() && parent.changed_at <= view.read_at
                    })
                });
            let source = self.source_ts(view);
            if !is_current || source <= view.data_ts {
                continue;
            }
            if let Some(view) = self.view_mut(child) {
                view.data_ts = source;
            }
            self.settle_if_waiting(child);
            self.bring_along(child);
        }
    }
}
