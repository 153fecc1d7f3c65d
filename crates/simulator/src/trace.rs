//! Attempts with their true times: the raw material of every figure.

use serde::Serialize;
use tidekeeper_scheduler::{FailureClass, Timestamp};

use crate::dice::{FNV_START, fnv1a};
use crate::world::Fate;

/// One statement, or one refused submit, as it really was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Index into [`crate::Scenario::views`].
    pub view: usize,
    pub submit: Timestamp,
    /// When it got its slot; where it never did, when it ended.
    pub start: Timestamp,
    pub finish: Timestamp,
    /// Up to when the view held its stream afterwards.
    pub data: Timestamp,
    /// When the first record arrived that was unread as it ended, itself aside.
    pub oldest: Option<Timestamp>,
    /// What it read and kept.
    pub bytes: u64,
    pub outcome: AttemptOutcome,
    /// It held a slot from `start` to `finish`.
    pub ran: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptOutcome {
    Data,
    NoData,
    MoreData,
    Failed(FailureClass),
}

impl From<Fate> for AttemptOutcome {
    fn from(fate: Fate) -> Self {
        match fate {
            Fate::Data => Self::Data,
            Fate::NoData => Self::NoData,
            Fate::MoreData(_) => Self::MoreData,
            Fate::Failed(class) => Self::Failed(class),
        }
    }
}

impl AttemptOutcome {
    #[must_use]
    pub fn succeeded(self) -> bool {
        match self {
            Self::Data | Self::NoData | Self::MoreData => true,
            Self::Failed(_) => false,
        }
    }

    /// The outcome's label, and the class of a failure (else empty).
    #[must_use]
    pub fn labels(self) -> (&'static str, &'static str) {
        match self {
            Self::Data => ("data", ""),
            Self::NoData => ("no_data", ""),
            Self::MoreData => ("more_data", ""),
            Self::Failed(class) => ("failed", class.label()),
        }
    }
}

/// A line of the trace file; seconds since the start of the world.
#[derive(Debug, Serialize)]
struct Line<'a> {
    policy: &'a str,
    view: &'a str,
    submit_s: f64,
    start_s: f64,
    finish_s: f64,
    data_s: f64,
    bytes: u64,
    outcome: &'a str,
    class: &'a str,
}

impl Attempt {
    /// Writes this attempt as one line of JSON.
    ///
    /// # Errors
    /// Where `out` cannot be written.
    pub fn write_line(
        &self,
        out: &mut dyn std::io::Write,
        policy: &str,
        view: &str,
    ) -> std::io::Result<()> {
        let (outcome, class) = self.outcome.labels();
        let line = Line {
            policy,
            view,
            submit_s: self.submit.as_secs_f64(),
            start_s: self.start.as_secs_f64(),
            finish_s: self.finish.as_secs_f64(),
            data_s: self.data.as_secs_f64(),
            bytes: self.bytes,
            outcome,
            class,
        };
        serde_json::to_writer(&mut *out, &line)?;
        out.write_all(b"\n")
    }
}

/// A fingerprint of a history: equal histories have equal ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Self(FNV_START)
    }
}

impl Digest {
    pub(crate) fn add(&mut self, attempt: &Attempt) {
        for moment in [attempt.submit, attempt.start, attempt.finish, attempt.data] {
            self.0 = fnv1a(self.0, &moment.as_micros().to_le_bytes());
        }
        let (outcome, class) = attempt.outcome.labels();
        self.0 = fnv1a(self.0, &attempt.view.to_le_bytes());
        self.0 = fnv1a(self.0, &attempt.bytes.to_le_bytes());
        self.0 = fnv1a(self.0, outcome.as_bytes());
        self.0 = fnv1a(self.0, class.as_bytes());
    }

    #[must_use]
    pub fn value(self) -> u64 {
        self.0
    }
}
