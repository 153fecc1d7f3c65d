//! How fast an operation may be called: its share of the account's quota.
//!
//! Decides: calls are spaced evenly, so that nobody else in the account is crowded out.
//! Deliberately absent: submits. The scheduler admits those.

use std::sync::{Mutex, PoisonError};

use tidekeeper_scheduler::{Span, Timestamp};

use crate::clock::duration;

/// Quotas per second, account and region, not adjustable (Amazon Redshift quotas, Data API).
const DESCRIBE_QUOTA: f64 = 100.0;
const LIST_QUOTA: f64 = 3.0;
const CANCEL_QUOTA: f64 = 3.0;
const RESULT_QUOTA: f64 = 20.0;

/// The limits of one (account, region).
#[derive(Debug)]
pub(super) struct Limits {
    pub(super) describe: Limit,
    pub(super) list: Limit,
    pub(super) cancel: Limit,
    pub(super) result: Limit,
}

impl Limits {
    pub(super) fn new(share: f64) -> Self {
        Self {
            describe: Limit::new(DESCRIBE_QUOTA * share),
            list: Limit::new(LIST_QUOTA * share),
            cancel: Limit::new(CANCEL_QUOTA * share),
            result: Limit::new(RESULT_QUOTA * share),
        }
    }
}

/// Lets calls through one after the other, `1/rate` apart.
#[derive(Debug)]
pub(super) struct Limit {
    gap: Span,
    next_at: Mutex<Timestamp>,
}

impl Limit {
    fn new(rate: f64) -> Self {
        Self {
            gap: Span::from_secs_f64(1.0 / rate.max(1e-3)),
            next_at: Mutex::new(Timestamp::MIN),
        }
    }

    /// Waits for this call's turn.
    pub(super) async fn turn(&self, now: Timestamp) {
        tokio::time::sleep(duration(self.book(now))).await;
    }

    /// Books the next turn and says how far off it is.
    fn book(&self, now: Timestamp) -> Span {
        let mut next_at = self.next_at.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = now.max(*next_at);
        *next_at = turn + self.gap;
        turn - now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_spaced_by_their_share_of_the_quota() {
        let limits = Limits::new(0.5);
        let now = Timestamp::from_micros(0);
        let waits: Vec<Span> = (0..3).map(|_| limits.describe.book(now)).collect();
        assert_eq!(waits, [0, 20, 40].map(Span::from_millis));
        let later = now + Span::from_secs(9);
        assert_eq!(
            limits.describe.book(later),
            Span::ZERO,
            "idle time is not saved up"
        );
    }
}
