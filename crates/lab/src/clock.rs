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
    epoch: Duration,
}

impl Clock {
    /// Starts the clock: `now()` is zero at this instant.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place in the lab that reads a clock"
    )]
    pub(crate) fn start() -> Self {
        let epoch = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            started: tokio::time::Instant::now(),
            epoch: whole_micros(epoch),
        }
    }

    /// The time since the start.
    pub(crate) fn now(&self) -> Moment {
        whole_micros(self.started.elapsed())
    }

    /// The instant at which `now()` will be `moment`.
    pub(crate) fn instant(&self, moment: Moment) -> tokio::time::Instant {
        self.started + moment
    }

    /// UTC at the start, since 1970.
    pub(crate) fn epoch(&self) -> Duration {
        self.epoch
    }
}

/// Cuts to microseconds, so that times survive a trip through JSON unchanged.
fn whole_micros(time: Duration) -> Duration {
    Duration::new(time.as_secs(), time.subsec_micros() * 1_000)
}
