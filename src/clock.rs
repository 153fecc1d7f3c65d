//! The daemon's one clock: monotonic, anchored to UTC once at start, never stepped.
//!
//! Decides: the only places where a clock is read. Calendars ask [`wall`], because an hour of
//! the day must follow the host's clock when that is corrected; everything else asks
//! [`Clock::now`].

use std::time::Duration;

use tidekeeper_scheduler::{Span, Timestamp};
use tokio::time::Instant;

/// A monotonic clock that counts from a moment in UTC. Cheap to copy.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    anchor_at: Timestamp,
    anchor: Instant,
}

impl Clock {
    /// Anchors a clock to this moment.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the room that owns the clock"
    )]
    pub fn start() -> Self {
        Self {
            anchor_at: wall(),
            anchor: Instant::now(),
        }
    }

    /// A clock that says `at` now; tests use it with tokio's paused time.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the room that owns the clock"
    )]
    pub fn anchored_to(at: Timestamp) -> Self {
        Self {
            anchor_at: at,
            anchor: Instant::now(),
        }
    }

    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the room that owns the clock"
    )]
    pub fn now(&self) -> Timestamp {
        self.anchor_at + span(Instant::now() - self.anchor)
    }

    /// The runtime's name for a moment, for `sleep_until`; the past becomes the anchor.
    #[must_use]
    pub fn instant(&self, at: Timestamp) -> Instant {
        self.anchor + duration(at - self.anchor_at)
    }
}

/// What the host's clock says.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "this is the room that owns the clock"
)]
pub fn wall() -> Timestamp {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp::from_micros(0) + span(since_epoch.unwrap_or_default())
}

/// A length of time as the scheduler counts it; 292,000 years at most.
#[must_use]
pub fn span(duration: Duration) -> Span {
    Span::from_micros(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX))
}

/// A length of time as the runtime counts it; a negative one becomes zero.
#[must_use]
pub fn duration(span: Span) -> Duration {
    Duration::from_micros(u64::try_from(span.as_micros()).unwrap_or(0))
}

/// A moment as the API shows it: RFC 3339 in UTC, with milliseconds; `None` beyond the calendar.
#[must_use]
pub fn moment(at: Timestamp) -> Option<String> {
    let at = jiff::Timestamp::from_microsecond(at.as_micros()).ok()?;
    Some(format!("{at:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_clock_counts_from_its_anchor() {
        let at = Timestamp::from_micros(1_000_000);
        let clock = Clock::anchored_to(at);
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(clock.now(), at + Span::from_secs(5));
        assert_eq!(
            clock.instant(clock.now()),
            clock.instant(at) + Duration::from_secs(5)
        );
    }
}
