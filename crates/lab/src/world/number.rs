//! Decides which numbers a world may hold: times in seconds, probabilities, counts. They are
//! checked while they are read, so that a mistake is reported where it stands.

use std::time::Duration;

use serde::Deserialize;

/// A time span of at most 366 days: longer ones are mistakes, and would overflow sums.
const LONGEST: f64 = 366.0 * 86_400.0;

/// At most this many shards, slots or the like.
const MOST: usize = 10_000;

/// Seconds, as a number with or without a fraction.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(try_from = "f64")]
pub(crate) struct Seconds(Duration);

impl Seconds {
    pub(super) const fn new(time: Duration) -> Self {
        Self(time)
    }

    pub(crate) const fn get(self) -> Duration {
        self.0
    }
}

impl TryFrom<f64> for Seconds {
    type Error = String;

    fn try_from(value: f64) -> Result<Self, String> {
        if !(0.0..=LONGEST).contains(&value) {
            return Err(format!(
                "{value} is not a number of seconds between 0 and {LONGEST}"
            ));
        }
        let micros = Duration::try_from_secs_f64(value).map_err(|error| error.to_string())?;
        Ok(Self(Duration::new(
            micros.as_secs(),
            micros.subsec_micros() * 1_000,
        )))
    }
}

/// A number between 0 and 1.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "f64")]
pub(crate) struct Share(f64);

impl Share {
    pub(super) const ALWAYS: Self = Self(1.0);
    pub(super) const NEVER: Self = Self(0.0);

    pub(crate) const fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Share {
    type Error = String;

    fn try_from(value: f64) -> Result<Self, String> {
        if (0.0..=1.0).contains(&value) {
            return Ok(Self(value));
        }
        Err(format!("{value} is not between 0 and 1"))
    }
}

/// A finite number, 0 or more, at most a million.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(try_from = "f64")]
pub(crate) struct Amount(f64);

impl Amount {
    pub(super) const fn new(value: f64) -> Self {
        Self(value)
    }

    pub(crate) const fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Amount {
    type Error = String;

    fn try_from(value: f64) -> Result<Self, String> {
        if (0.0..=1e6).contains(&value) {
            return Ok(Self(value));
        }
        Err(format!("{value} is not between 0 and 1000000"))
    }
}

/// A whole number from 1 up.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "usize")]
pub(crate) struct Count(usize);

impl Count {
    pub(super) const fn new(value: usize) -> Self {
        Self(value)
    }

    pub(crate) const fn get(self) -> usize {
        self.0
    }
}

impl TryFrom<usize> for Count {
    type Error = String;

    fn try_from(value: usize) -> Result<Self, String> {
        if (1..=MOST).contains(&value) {
            return Ok(Self(value));
        }
        Err(format!("{value} is not between 1 and {MOST}"))
    }
}
