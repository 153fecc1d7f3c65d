//! Decides whether a request is within its operation's quota: a token bucket per operation,
//! refilled at the quota, holding at most one second's worth.

use crate::clock::Moment;

#[derive(Debug)]
pub(super) struct Bucket {
    per_second: f64,
    tokens: f64,
    at: Moment,
}

impl Bucket {
    pub(super) fn new(per_second: usize) -> Self {
        let per_second = u32::try_from(per_second).map_or_else(|_| f64::from(u32::MAX), f64::from);
        Self {
            per_second,
            tokens: per_second,
            at: Moment::ZERO,
        }
    }

    /// Takes a token, if there is one.
    pub(super) fn take(&mut self, now: Moment) -> bool {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.tokens = (self.tokens + passed * self.per_second).min(self.per_second);
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn taken(bucket: &mut Bucket, now: Moment, asked: usize) -> usize {
        (0..asked).filter(|_| bucket.take(now)).count()
    }

    #[test]
    fn a_second_gives_what_the_quota_says_and_no_more() {
        let mut bucket = Bucket::new(30);
        assert_eq!(taken(&mut bucket, Duration::ZERO, 100), 30);
        assert_eq!(taken(&mut bucket, Duration::from_millis(500), 100), 15);
        assert_eq!(
            taken(&mut bucket, Duration::from_secs(100), 100),
            30,
            "it does not save up"
        );
    }

    #[test]
    fn a_quota_of_three_gives_one_request_every_third_of_a_second() {
        let mut bucket = Bucket::new(3);
        assert_eq!(taken(&mut bucket, Duration::ZERO, 10), 3);
        assert_eq!(taken(&mut bucket, Duration::from_millis(300), 10), 0);
        assert_eq!(taken(&mut bucket, Duration::from_millis(334), 10), 1);
    }
}
