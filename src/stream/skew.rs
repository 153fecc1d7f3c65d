//! How far Kinesis's clock is ahead of the daemon's.
//!
//! Decides: that it is corrected as little as the `Date` headers allow. They have whole seconds
//! and may be a second old, so that clocks within a second or two of each other are taken as
//! they are.

use tidekeeper_scheduler::{Span, Timestamp};

/// A `Date` was true at most so long before the answer was made.
const COARSE: Span = Span::from_secs(2);

/// What Kinesis's clock says beyond the daemon's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Skew(Span);

impl Skew {
    pub(super) const NONE: Self = Self(Span::ZERO);

    /// An answer to a request that was sent and received at these moments of the daemon's had
    /// this date.
    pub(super) fn learn(&mut self, date: Timestamp, sent: Timestamp, received: Timestamp) {
        let (least, most) = (date - received, date + COARSE - sent);
        self.0 = self.0.min(most).max(least);
    }

    /// A moment of Kinesis's on the daemon's clock.
    pub(super) fn ours(self, theirs: Timestamp) -> Timestamp {
        theirs - self.0
    }

    /// A moment of the daemon's on Kinesis's clock.
    pub(super) fn theirs(self, ours: Timestamp) -> Timestamp {
        ours + self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_micros(millis * 1_000)
    }

    fn learnt(date: i64, sent: i64, received: i64) -> Span {
        let mut skew = Skew::NONE;
        skew.learn(at(date), at(sent), at(received));
        skew.0
    }

    #[test]
    fn clocks_that_agree_within_the_header_are_left_alone() {
        assert_eq!(learnt(7_000, 7_950, 7_990), Span::ZERO);
        assert_eq!(learnt(7_000, 8_050, 8_100), Span::ZERO);
    }

    #[test]
    fn a_clock_that_is_minutes_off_is_corrected_to_within_the_header() {
        assert_eq!(learnt(300_000, 7_000, 7_100), Span::from_millis(292_900));
        assert_eq!(learnt(7_000, 300_000, 300_100), Span::from_millis(-291_000));
    }

    #[test]
    fn a_correction_follows_a_clock_that_was_set() {
        let mut skew = Skew::NONE;
        skew.learn(at(300_000), at(7_000), at(7_100));
        skew.learn(at(9_000), at(9_000), at(9_100));
        assert_eq!(skew.0, Span::from_secs(2));
        assert_eq!(skew.ours(at(9_000)), at(7_000));
        assert_eq!(skew.theirs(at(7_000)), at(9_000));
    }
}
