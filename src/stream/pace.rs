//! How long a stream is left alone between two looks.
//!
//! Decides: exponential backoff with jitter after a throttle (from which the pace recovers
//! slowly: the shard's reads are shared with others) and after a failure (from which it
//! recovers at once).

use tidekeeper_scheduler::Span;

/// Throttled looks are at most so far apart.
const SLOWEST: Span = Span::from_secs(60);
const FIRST_RETRY: Span = Span::from_secs(1);
const LAST_RETRY: Span = Span::from_secs(300);

#[derive(Debug)]
pub(super) struct Pace {
    period: Span,
    /// The longest that the next look may be away; the period while nobody is throttled.
    slowed: Span,
    failures: u32,
    dice: u64,
}

impl Pace {
    /// A look every `period`; equal names draw equal jitter.
    pub(super) fn new(period: Span, name: &str) -> Self {
        let seed = name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self {
            period,
            slowed: period,
            failures: 0,
            dice: seed,
        }
    }

    /// From the start of a look that went well to the next.
    pub(super) fn went_well(&mut self) -> Span {
        self.failures = 0;
        self.slowed = (self.slowed - self.slowed / 10).max(self.period);
        self.between(self.period, self.slowed)
    }

    /// From a throttled look to the next.
    pub(super) fn throttled(&mut self) -> Span {
        self.slowed = (self.slowed * 2).min(SLOWEST.max(self.period));
        self.between(self.period, self.slowed)
    }

    /// From a failed look to the next.
    pub(super) fn failed(&mut self) -> Span {
        let doubled = FIRST_RETRY * (1_i64 << self.failures.min(20));
        self.failures = self.failures.saturating_add(1);
        let longest = doubled.min(LAST_RETRY);
        self.between(longest / 2, longest)
    }

    fn between(&mut self, least: Span, most: Span) -> Span {
        // SplitMix64; a thousandth is fine enough.
        self.dice = self.dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.dice;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let thousandths = i64::try_from((mixed ^ (mixed >> 31)) % 1_001).unwrap_or(0);
        least + (most - least) / 1_000 * thousandths
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Span = Span::from_secs(6);

    #[test]
    fn a_stream_that_nobody_throttles_is_looked_at_every_period() {
        let mut pace = Pace::new(PERIOD, "clicks");
        assert!((0..100).all(|_| pace.went_well() == PERIOD));
    }

    #[test]
    fn throttles_slow_it_down_to_a_minute_and_it_comes_back_slowly() {
        let mut pace = Pace::new(PERIOD, "clicks");
        let waits: Vec<Span> = (0..50).map(|_| pace.throttled()).collect();
        assert!(waits.iter().all(|wait| (PERIOD..=SLOWEST).contains(wait)));
        assert!(waits.iter().max() > Some(&Span::from_secs(30)), "{waits:?}");
        assert_eq!(pace.slowed, SLOWEST);
        pace.went_well();
        assert_eq!(pace.slowed, Span::from_secs(54));
        for _ in 0..50 {
            pace.went_well();
        }
        assert_eq!(pace.went_well(), PERIOD);
    }

    #[test]
    fn a_period_longer_than_a_minute_is_kept_when_throttled() {
        let long = Span::from_secs(600);
        assert_eq!(Pace::new(long, "clicks").throttled(), long);
    }

    #[test]
    fn failures_are_retried_after_a_second_and_at_last_every_five_minutes() {
        let mut pace = Pace::new(PERIOD, "clicks");
        let first = pace.failed();
        assert!(first <= FIRST_RETRY && first >= FIRST_RETRY / 2, "{first}");
        let last = (0..100).map(|_| pace.failed()).last();
        assert!(last.is_some_and(|last| last <= LAST_RETRY && last >= LAST_RETRY / 2));
        pace.went_well();
        assert!(pace.failed() <= FIRST_RETRY);
    }
}
