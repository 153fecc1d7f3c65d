//! How fresh a view was, reckoned from its refreshes and from what arrived.
//!
//! Decides: which share of the time the view was within its target. Late is: the oldest record
//! that it did not show was older than the target; where arrivals are not known, what it
//! showed was older than the target. A view on views has several streams: their oldest record.
//! Deliberately absent: clocks, and where refreshes and arrivals come from. Both may be told
//! late and in any order: the answer is the same.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use tidekeeper_scheduler::{Span, Timestamp};

use crate::stream::Runs;

/// Refreshes are told at most so long after they ended: on a workgroup that sleeps, its
/// records are read every 15 minutes.
const LATE: Span = Span::from_secs(20 * 60);
/// Durations that stand for all.
const DURATIONS: usize = 256;
/// Users that are told apart.
const USERS: usize = 64;

/// Who made a refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Who {
    /// The warehouse's AUTO REFRESH.
    Auto,
    /// A statement of somebody else.
    Statement,
    Tidekeeper,
}

/// A refresh that has ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Refreshed {
    pub(crate) by: Who,
    pub(crate) began_at: Timestamp,
    pub(crate) ended_at: Timestamp,
    pub(crate) failed: bool,
    /// Up to when the view holds its stream since, where that can be said.
    pub(crate) holds: Option<Timestamp>,
}

/// How long a view's freshness is known, and how much of that it was late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Freshness {
    pub(crate) known: Span,
    pub(crate) late: Span,
}

impl Freshness {
    /// Share of the known time within the target.
    pub(crate) fn share(self) -> Option<f64> {
        let known = self.known.as_secs_f64();
        (known > 0.0).then(|| 1.0 - self.late.as_secs_f64() / known)
    }
}

/// What has been reckoned so far.
#[derive(Clone, Copy, Debug)]
struct Reckoning {
    until: Timestamp,
    holds: Option<Timestamp>,
    freshness: Freshness,
}

/// When the oldest record of any of these streams arrived that is not shown.
pub(crate) fn oldest_after(streams: &[&Runs], holds: Timestamp) -> Option<Timestamp> {
    let oldest = streams.iter().filter_map(|runs| runs.oldest_after(holds));
    oldest.min()
}

/// The refreshes of one view.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    /// Nothing more is expected of the time before.
    settled: Reckoning,
    /// From when it holds up to when, by the moment at which that was told to be so.
    recent: BTreeSet<(Timestamp, Timestamp)>,
    /// Since when which target holds; `None`: none, the time does not count.
    targets: VecDeque<(Timestamp, Option<Span>)>,
    untold: Span,
    /// How many, and how long they took together.
    counts: BTreeMap<Who, (u64, Span)>,
    failed: u64,
    /// Of the failed: how long the warehouse worked on them is not known.
    untimed: u64,
    /// Whose statements, by database user.
    users: BTreeMap<Arc<str>, u64>,
    durations: VecDeque<Span>,
}

impl Ledger {
    pub(crate) fn new(since: Timestamp) -> Self {
        Self {
            settled: Reckoning {
                until: since,
                holds: None,
                freshness: Freshness::default(),
            },
            recent: BTreeSet::new(),
            targets: VecDeque::new(),
            untold: Span::ZERO,
            counts: BTreeMap::new(),
            failed: 0,
            untimed: 0,
            users: BTreeMap::new(),
            durations: VecDeque::new(),
        }
    }

    pub(crate) fn refreshed(&mut self, refreshed: Refreshed) {
        let lasted = refreshed.ended_at - refreshed.began_at;
        let (number, busy) = self.counts.entry(refreshed.by).or_default();
        *number += 1;
        *busy = *busy + lasted;
        if refreshed.failed {
            self.failed += 1;
            return;
        }
        if self.durations.len() == DURATIONS {
            self.durations.pop_front();
        }
        self.durations.push_back(lasted);
        if let Some(holds) = refreshed.holds {
            self.shows(refreshed.ended_at, holds);
        }
    }

    /// An attempt failed of which nobody knows whether, and for how long, it ran.
    pub(crate) fn tried(&mut self, by: Who) {
        self.counts.entry(by).or_default().0 += 1;
        self.failed += 1;
        self.untimed += 1;
    }

    /// From `at` on the view shows its stream up to `holds`.
    pub(crate) fn shows(&mut self, at: Timestamp, holds: Timestamp) {
        let latest = self.recent.last().copied();
        let settled = self.settled;
        let latest = latest.or_else(|| Some((settled.until, settled.holds?)));
        let known = latest.is_some_and(|(since, known)| since <= at && known >= holds);
        if !known {
            self.recent.insert((at, holds));
        }
    }

    /// Up to when it showed its stream at that moment.
    pub(crate) fn shown_at(&self, at: Timestamp) -> Option<Timestamp> {
        let told = self.recent.iter().take_while(|(since, _)| *since <= at);
        let shown = told.map(|(_, holds)| *holds).max();
        shown.max(self.settled.holds)
    }

    /// From `at` on this target holds.
    pub(crate) fn target(&mut self, at: Timestamp, target: Option<Span>) {
        if self.targets.back().is_none_or(|(_, last)| *last != target) {
            self.targets.push_back((at, target));
        }
    }

    /// Nobody can tell what happened between these moments: the time does not count.
    pub(crate) fn unknown(&mut self, from: Timestamp, to: Timestamp) {
        let (before, later): (VecDeque<_>, VecDeque<_>) =
            self.targets.drain(..).partition(|(at, _)| *at <= to);
        let last = before.back().and_then(|(_, target)| *target);
        self.targets
            .extend(before.into_iter().filter(|(at, _)| *at < from));
        self.targets.extend([(from, None), (to, last)]);
        self.targets.extend(later);
        self.untold = self.untold + (to - from);
    }

    /// How much time nobody can tell of.
    pub(crate) fn untold(&self) -> Span {
        self.untold
    }

    /// Nothing is known of what it shows yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.settled.holds.is_none() && self.recent.is_empty()
    }

    /// Reckons the time for good of which nothing more is expected; returns the position from
    /// which on arrivals are still asked for.
    pub(crate) fn settle(
        &mut self,
        now: Timestamp,
        arrivals: Option<&[&Runs]>,
    ) -> Option<Timestamp> {
        let until = (now - LATE).max(self.settled.until);
        self.settled = self.reckon(until, arrivals);
        let holds = self.settled.holds;
        self.recent.retain(|(at, _)| *at > until);
        while self.targets.get(1).is_some_and(|(at, _)| *at <= until) {
            self.targets.pop_front();
        }
        holds
    }

    /// How fresh the view was until now.
    pub(crate) fn freshness(&self, now: Timestamp, arrivals: Option<&[&Runs]>) -> Freshness {
        self.reckon(now, arrivals).freshness
    }

    fn reckon(&self, until: Timestamp, arrivals: Option<&[&Runs]>) -> Reckoning {
        let mut reckoning = self.settled;
        for (at, holds) in &self.recent {
            if *at > until {
                break;
            }
            self.advance(&mut reckoning, *at, arrivals);
            reckoning.holds = reckoning.holds.max(Some(*holds));
        }
        self.advance(&mut reckoning, until, arrivals);
        reckoning
    }

    /// On to `until`, through which it shows the same.
    fn advance(&self, reckoning: &mut Reckoning, until: Timestamp, arrivals: Option<&[&Runs]>) {
        let begun = reckoning.until;
        reckoning.until = begun.max(until);
        let Some(holds) = reckoning.holds else {
            return;
        };
        let oldest = match arrivals {
            Some(arrivals) => oldest_after(arrivals, holds),
            None => Some(holds),
        };
        let ends = self.targets.iter().skip(1).map(|(at, _)| *at);
        let ends = ends.chain([until]);
        for ((from, target), to) in self.targets.iter().zip(ends) {
            let (from, to) = ((*from).max(begun), to.min(until));
            let (Some(target), true) = (target, from < to) else {
                continue;
            };
            reckoning.freshness.known = reckoning.freshness.known + (to - from);
            let late_from = oldest.map(|oldest| (oldest + *target).max(from));
            if let Some(late_from) = late_from.filter(|late_from| *late_from < to) {
                reckoning.freshness.late = reckoning.freshness.late + (to - late_from);
            }
        }
    }

    /// A statement was made by this database user.
    pub(crate) fn made_by(&mut self, user: &Arc<str>) {
        if self.users.len() < USERS || self.users.contains_key(user) {
            *self.users.entry(Arc::clone(user)).or_default() += 1;
        }
    }

    pub(crate) fn users(&self) -> &BTreeMap<Arc<str>, u64> {
        &self.users
    }

    pub(crate) fn refreshes_by(&self, who: Who) -> u64 {
        self.counts.get(&who).map_or(0, |(number, _)| *number)
    }

    pub(crate) fn refreshes(&self) -> u64 {
        self.counts.values().map(|(number, _)| *number).sum()
    }

    pub(crate) fn failed(&self) -> u64 {
        self.failed
    }

    /// What a refresh took.
    pub(crate) fn mean(&self) -> Option<Span> {
        let timed = i64::try_from(self.refreshes() - self.untimed).ok()?;
        (timed > 0).then(|| self.busy() / timed)
    }

    /// Time of the warehouse that somebody's refreshes took.
    pub(crate) fn busy_by(&self, who: Who) -> Span {
        self.counts.get(&who).map_or(Span::ZERO, |(_, busy)| *busy)
    }

    pub(crate) fn busy(&self) -> Span {
        let busy = self.counts.values().map(|(_, busy)| *busy);
        busy.fold(Span::ZERO, |sum, busy| sum + busy)
    }

    /// Of the latest refreshes.
    pub(crate) fn durations(&self) -> impl ExactSizeIterator<Item = Span> {
        self.durations.iter().copied()
    }
}

/// When a warehouse was kept awake: each statement does so for a minimum.
#[derive(Clone, Debug, Default)]
pub(crate) struct AwakeLedger {
    /// Apart from each other.
    spans: BTreeMap<Timestamp, Timestamp>,
}

impl AwakeLedger {
    pub(crate) fn ran(&mut self, began_at: Timestamp, ended_at: Timestamp, minimum: Span) {
        let (mut from, mut to) = (began_at, ended_at.max(began_at + minimum));
        let met: Vec<(Timestamp, Timestamp)> = self
            .spans
            .range(..=to)
            .rev()
            .map(|(from, to)| (*from, *to))
            .take_while(|(_, until)| *until >= from)
            .collect();
        for (other_from, other_to) in met {
            self.spans.remove(&other_from);
            from = from.min(other_from);
            to = to.max(other_to);
        }
        self.spans.insert(from, to);
    }

    /// Time awake until now.
    pub(crate) fn total(&self, now: Timestamp) -> Span {
        let spans = self.spans.iter();
        let lengths = spans.map(|(from, to)| ((*to).min(now) - *from).max(Span::ZERO));
        lengths.fold(Span::ZERO, |sum, length| sum + length)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: f64) -> Timestamp {
        Timestamp::from_micros(0) + Span::from_secs_f64(seconds)
    }

    fn refreshed(began: f64, ended: f64) -> Refreshed {
        Refreshed {
            by: Who::Statement,
            began_at: at(began),
            ended_at: at(ended),
            failed: false,
            holds: Some(at(began)),
        }
    }

    fn ledger(target: i64, refreshes: &[(f64, f64)]) -> Ledger {
        let mut ledger = Ledger::new(at(0.0));
        ledger.target(at(0.0), Some(Span::from_secs(target)));
        for (began, ended) in refreshes {
            ledger.refreshed(refreshed(*began, *ended));
        }
        ledger
    }

    fn seconds(freshness: Freshness) -> (f64, f64) {
        (freshness.known.as_secs_f64(), freshness.late.as_secs_f64())
    }

    #[test]
    fn a_loop_every_minute_keeps_half_a_minute_half_of_the_time() {
        let ledger = ledger(30, &[(0.0, 0.0), (60.0, 60.0), (120.0, 120.0)]);
        assert_eq!(seconds(ledger.freshness(at(180.0), None)), (180.0, 90.0));
        assert_eq!(ledger.freshness(at(180.0), None).share(), Some(0.5));
    }

    #[test]
    fn what_a_refresh_reads_is_shown_when_it_ends() {
        let ledger = ledger(30, &[(0.0, 10.0), (20.0, 40.0)]);
        // Known from 10; late from 0 + 30 until the second one ends.
        assert_eq!(seconds(ledger.freshness(at(50.0), None)), (40.0, 10.0));
        // ... and from 20 + 30 on.
        assert_eq!(seconds(ledger.freshness(at(60.0), None)), (50.0, 20.0));
    }

    #[test]
    fn with_arrivals_only_what_is_not_shown_makes_it_late() {
        let mut arrivals = Runs::default();
        arrivals.add(at(50.0), at(50.0));
        let ledger = ledger(30, &[(0.0, 1.0), (100.0, 101.0)]);
        let late = |until| seconds(ledger.freshness(at(until), Some(&[&arrivals]))).1;
        assert!(late(80.0) < 1e-9, "a silent stream is fresh");
        assert!((late(90.0) - 10.0).abs() < 1e-3);
        assert!(
            (late(500.0) - 21.0).abs() < 1e-3,
            "read at 100, shown at 101"
        );
    }

    #[test]
    fn time_without_a_target_does_not_count() {
        let mut ledger = ledger(30, &[(0.0, 0.0)]);
        ledger.target(at(20.0), None);
        ledger.target(at(100.0), Some(Span::from_secs(200)));
        assert_eq!(seconds(ledger.freshness(at(250.0), None)), (170.0, 50.0));
    }

    #[test]
    fn time_that_nobody_can_tell_of_does_not_count() {
        let mut ledger = ledger(30, &[(0.0, 0.0), (100.0, 110.0)]);
        ledger.unknown(at(20.0), at(110.0));
        // Known from 0 to 20 and from 110 on, late from 100 + 30 on.
        assert_eq!(seconds(ledger.freshness(at(150.0), None)), (60.0, 20.0));
        assert_eq!(ledger.untold(), Span::from_secs(90));
    }

    #[test]
    fn of_several_streams_the_oldest_record_counts() {
        let (mut one, mut other) = (Runs::default(), Runs::default());
        one.add(at(70.0), at(70.0));
        other.add(at(50.0), at(50.0));
        let ledger = ledger(30, &[(0.0, 0.0), (60.0, 60.0)]);
        let freshness = ledger.freshness(at(110.0), Some(&[&one, &other]));
        assert!((freshness.late.as_secs_f64() - 10.0).abs() < 1e-3);
        assert_eq!(ledger.shown_at(at(59.0)), Some(at(0.0)));
    }

    #[test]
    fn a_failed_refresh_shows_nothing_and_counts() {
        let mut ledger = ledger(30, &[(0.0, 0.0)]);
        let failed = Refreshed {
            failed: true,
            holds: None,
            ..refreshed(20.0, 25.0)
        };
        ledger.refreshed(failed);
        assert_eq!(seconds(ledger.freshness(at(40.0), None)), (40.0, 10.0));
        assert_eq!((ledger.refreshes(), ledger.failed()), (2, 1));
        assert_eq!(ledger.busy(), Span::from_secs(5));
        assert_eq!(ledger.durations().len(), 1);
    }

    #[test]
    fn statements_within_a_minimum_share_it() {
        let minimum = Span::from_secs(60);
        let mut awake = AwakeLedger::default();
        for (began, ended) in [(200.0, 205.0), (0.0, 5.0), (30.0, 100.0), (90.0, 95.0)] {
            awake.ran(at(began), at(ended), minimum);
        }
        assert_eq!(awake.total(at(1e4)), Span::from_secs(150 + 60));
        assert_eq!(awake.total(at(210.0)), Span::from_secs(150 + 10));
    }

    proptest! {
        #[test]
        fn when_and_in_which_order_refreshes_are_told_does_not_matter(
            mut refreshes in prop::collection::vec((0_u32..7_200, 1_u32..60), 1..60),
            order in any::<prop::sample::Index>(),
            arrived in prop::option::of(prop::collection::vec(0_u32..7_200, 0..60)),
        ) {
            let arrivals = arrived.map(|arrived| {
                let mut runs = Runs::at_most(1_000);
                for second in arrived {
                    runs.add(at(f64::from(second)), at(f64::from(second)));
                }
                runs
            });
            let streams: Option<Vec<&Runs>> = arrivals.as_ref().map(|runs| vec![runs]);
            let times = |(began, lasts): &(u32, u32)| (f64::from(*began), f64::from(began + lasts));
            let all: Vec<(f64, f64)> = refreshes.iter().map(times).collect();
            let expected = ledger(90, &all).freshness(at(7_200.0), streams.as_deref());
            let shift = order.index(refreshes.len());
            refreshes.sort_unstable();
            refreshes.rotate_left(shift);
            prop_assert_eq!(ledger(90, &refreshes.iter().map(times).collect::<Vec<_>>()).freshness(at(7_200.0), streams.as_deref()), expected);
            // Told as they end, and settled all the while.
            refreshes.sort_by_key(|(began, lasts)| began + lasts);
            let mut settled = ledger(90, &[]);
            for refresh in &refreshes {
                let (began, ended) = times(refresh);
                settled.refreshed(refreshed(began, ended));
                settled.settle(at(ended), streams.as_deref());
            }
            prop_assert_eq!(settled.freshness(at(7_200.0), streams.as_deref()), expected);
        }

        #[test]
        fn time_awake_is_what_the_spans_cover(
            ran in prop::collection::vec((0_u32..5_000, 0_u32..200), 0..60),
        ) {
            let mut awake = AwakeLedger::default();
            let mut covered = BTreeSet::new();
            for (began, lasts) in &ran {
                awake.ran(at(f64::from(*began)), at(f64::from(began + lasts)), Span::from_secs(60));
                covered.extend(*began..began + (*lasts).max(60));
            }
            let covered = i64::try_from(covered.len()).unwrap();
            prop_assert_eq!(awake.total(at(1e5)), Span::from_secs(covered));
        }
    }
}
