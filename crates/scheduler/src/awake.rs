//! How long the daemon's statements have kept a warehouse awake that is billed for it.
//!
//! Decides: what is counted, the union of `[submit, max(end, submit + wake_minimum)]`. AWS does
//! not say whether a statement that begins late in a paid minute begins another one; here it
//! does, so that the bill is never larger than what is told. What is decided by (`wake`)
//! trusts only the minute that is surely paid.
//! Deliberately absent: what others run there.

use std::collections::VecDeque;

use crate::time::{Span, Timestamp};

const DAY: Span = Span::from_secs(24 * 3600);
/// Spans of a day that are remembered one by one: all of them, unless the minimum is shorter
/// than real ones are.
const REMEMBERED_MAX: usize = 4_096;

/// How long a warehouse was kept awake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Awake {
    /// What a statement is counted with at least.
    pub minimum: Span,
    /// When the daemon took the warehouse up.
    pub since: Timestamp,
    /// Since then.
    pub total: Span,
    /// Up to when the latest statement keeps it awake; `None` while it sleeps.
    pub until: Option<Timestamp>,
    /// How long in the last `day`: 24 h, or less since the daemon took it up.
    pub in_day: Span,
    pub day: Span,
}

#[derive(Debug)]
pub(crate) struct AwakeTime {
    /// The present or latest span.
    latest: Option<Kept>,
    /// The spans before it, summed up.
    total: Span,
    /// When each of them began and ended, as far back as `remembers`.
    before: VecDeque<(Timestamp, Timestamp)>,
    remembers: Timestamp,
    since: Timestamp,
}

#[derive(Clone, Copy, Debug)]
struct Kept {
    from: Timestamp,
    until: Timestamp,
    /// When the latest statement began, and `until` without it.
    submit: (Timestamp, Timestamp),
}

impl AwakeTime {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self {
            latest: None,
            total: Span::ZERO,
            before: VecDeque::new(),
            remembers: now,
            since: now,
        }
    }

    /// A statement begins that is paid for until `paid_until`; `others` run beside it.
    pub(crate) fn begin(&mut self, now: Timestamp, paid_until: Timestamp, others: bool) {
        if let Some(latest) = &mut self.latest {
            if others || now <= latest.until {
                latest.submit = (now, latest.until.max(now));
                latest.until = latest.until.max(paid_until);
                return;
            }
            self.total = self.total + (latest.until - latest.from);
            self.before.push_back((latest.from, latest.until));
        }
        while self
            .before
            .front()
            .is_some_and(|(_, until)| now - *until > DAY || self.before.len() > REMEMBERED_MAX)
            && let Some((_, until)) = self.before.pop_front()
        {
            self.remembers = until;
        }
        self.latest = Some(Kept {
            from: now,
            until: paid_until,
            submit: (now, now),
        });
    }

    pub(crate) fn end(&mut self, now: Timestamp) {
        if let Some(latest) = &mut self.latest {
            latest.until = latest.until.max(now);
        }
    }

    /// The submit of `began_at` has not become a statement.
    pub(crate) fn refuse(&mut self, began_at: Timestamp, now: Timestamp) {
        if let Some(latest) = &mut self.latest
            && latest.submit.0 == began_at
        {
            // What has passed has been told, and a counter does not go back.
            latest.until = latest.submit.1.max(now).min(latest.until);
        }
    }

    pub(crate) fn at(&self, now: Timestamp, minimum: Span, running: bool) -> Awake {
        let latest = self.latest.map(|Kept { from, until, .. }| {
            let until = if running { until.max(now) } else { until };
            (from, until)
        });
        let day_began = self.remembers.max(now - DAY);
        let within = |from: Timestamp, until: Timestamp| {
            (until.min(now) - from.max(day_began)).max(Span::ZERO)
        };
        let spans = self.before.iter().copied().chain(latest);
        Awake {
            minimum,
            since: self.since,
            total: latest.map_or(Span::ZERO, |(from, until)| {
                self.total + (until.min(now) - from)
            }),
            until: latest
                .map(|(_, until)| until)
                .filter(|until| running || now < *until),
            in_day: spans.fold(Span::ZERO, |sum, (from, until)| sum + within(from, until)),
            day: now - day_began,
        }
    }
}
