//! Decides what time it is in the lab: a [`Moment`] is the time since the lab started, in
//! whole microseconds, and the wall clock is read once, at the start.
//!
//! Everything below the wire takes a `Moment` as an argument, so that a day of statements
//! can be tested without waiting for one. Nothing else in this crate reads a clock.

use std::time::Duration;
use std::time::SystemTime;

/// Time since the lab started.
pub(crate) type Moment = Duration;

/// The lab's clock: monotonic, anchored to UTC when it starts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    started: tokio::time::Instant,
    /// What earlier lives have seen of it.
    before: Duration,
    epoch: Duration,
}

impl Clock {
    /// Starts the clock: `now()` is zero at this instant.
    pub(crate) fn start() -> Self {
        Self::resume(utc())
    }

    /// Goes on with a clock that started at `epoch`, since 1970, in an earlier life. A wall
    /// clock that was set back since makes it start again at zero.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place in the lab that reads a clock"
    )]
    pub(crate) fn resume(epoch: Duration) -> Self {
        Self {
            started: tokio::time::Instant::now(),
            before: utc().saturating_sub(epoch),
            epoch,
        }
    }

    /// UTC in microseconds since 1970.
    pub(crate) fn utc_now_us() -> i64 {
        i64::try_from(utc().as_micros()).unwrap_or(i64::MAX)
    }

    /// The time since the start.
    pub(crate) fn now(&self) -> Moment {
        self.before + whole_micros(self.started.elapsed())
    }

    /// The instant at which `now()` will be `moment`.
    pub(crate) fn instant(&self, moment: Moment) -> tokio::time::Instant {
        self.started + moment.saturating_sub(self.before)
    }

    /// UTC at the start, since 1970.
    pub(crate) fn epoch(&self) -> Duration {
        self.epoch
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place in the lab that reads a clock"
)]
fn utc() -> Duration {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    whole_micros(since.unwrap_or_default())
}

/// Cuts to microseconds, so that times survive a trip through JSON unchanged.
fn whole_micros(time: Duration) -> Duration {
    Duration::new(time.as_secs(), time.subsec_micros() * 1_000)
}
