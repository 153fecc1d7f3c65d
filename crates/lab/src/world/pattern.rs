//! Decides when a producer writes: the arrival patterns and their keys.

use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::endpoint::window_end;
use super::number::{Amount, Seconds, Share};

/// Records per second beyond which a lab on a laptop would only measure itself.
const FASTEST: f64 = 10_000.0;

/// A source of user records for one stream.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "RawProducer")]
pub(crate) struct Producer {
    pub(crate) stream: Spanned<String>,
    pub(crate) pattern: Pattern,
    /// Records are padded up to this size.
    pub(crate) bytes: usize,
    pub(crate) from: Duration,
    pub(crate) until: Option<Duration>,
}

/// When records arrive. Rates are per second.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pattern {
    /// Evenly spaced, each gap shortened or lengthened by up to a fifth.
    Steady { rate: f64 },
    /// A Poisson process whose rate follows a sine around `rate`.
    Diurnal {
        rate: f64,
        amplitude: f64,
        period: Duration,
        phase: f64,
    },
    /// A Poisson process that runs for `on` and rests for `off`, over and over.
    Bursts {
        rate: f64,
        on: Duration,
        off: Duration,
    },
    /// A Poisson process with this mean gap.
    Sparse { every: Duration },
    /// Gaps that are uniformly random between two lengths.
    Gaps {
        shortest: Duration,
        longest: Duration,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawProducer {
    stream: Spanned<String>,
    pattern: Name,
    rate: Option<Amount>,
    amplitude: Option<Share>,
    period: Option<Seconds>,
    phase: Option<Share>,
    on: Option<Seconds>,
    off: Option<Seconds>,
    every: Option<Seconds>,
    gap: Option<[Seconds; 2]>,
    #[serde(default)]
    bytes: usize,
    from: Option<Seconds>,
    until: Option<Seconds>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Name {
    Steady,
    Diurnal,
    Bursts,
    Sparse,
}

impl RawProducer {
    fn foreign_key(&self) -> Option<&'static str> {
        let diurnal = self.pattern == Name::Diurnal;
        let bursts = self.pattern == Name::Bursts;
        let sparse = self.pattern == Name::Sparse;
        [
            ("rate", self.rate.is_some() && sparse),
            ("amplitude", self.amplitude.is_some() && !diurnal),
            ("period", self.period.is_some() && !diurnal),
            ("phase", self.phase.is_some() && !diurnal),
            ("on", self.on.is_some() && !bursts),
            ("off", self.off.is_some() && !bursts),
            ("every", self.every.is_some() && !sparse),
            ("gap", self.gap.is_some() && !sparse),
        ]
        .into_iter()
        .find_map(|(key, wrong)| wrong.then_some(key))
    }

    fn rate(&self) -> Result<f64, String> {
        let rate = self.rate.map_or(0.0, Amount::get);
        if rate > 0.0 && rate <= FASTEST {
            return Ok(rate);
        }
        Err(format!(
            "`rate` is needed, above 0 and at most {FASTEST} records per second"
        ))
    }

    fn sparse(&self) -> Result<Pattern, String> {
        match (self.every, self.gap) {
            (Some(_), Some(_)) => Err("`every` and `gap` exclude each other".to_owned()),
            (None, None) => Err("`every` is needed, or `gap`, in seconds above 0".to_owned()),
            (every, None) => Ok(Pattern::Sparse {
                every: needed("every", every)?,
            }),
            (None, Some(gap)) => {
                let [shortest, longest] = gap.map(Seconds::get);
                if longest.is_zero() || longest < shortest {
                    return Err("`gap` is the shortest and the longest gap, in seconds, \
                                the longest above 0"
                        .to_owned());
                }
                Ok(Pattern::Gaps { shortest, longest })
            }
        }
    }
}

fn needed(key: &str, time: Option<Seconds>) -> Result<Duration, String> {
    let time = time.unwrap_or_default().get();
    if time.is_zero() {
        return Err(format!("`{key}` is needed, in seconds above 0"));
    }
    Ok(time)
}

impl TryFrom<RawProducer> for Producer {
    type Error = String;

    fn try_from(raw: RawProducer) -> Result<Self, String> {
        if let Some(key) = raw.foreign_key() {
            return Err(format!("`{key}` does not belong to this pattern"));
        }
        let pattern = match raw.pattern {
            Name::Steady => Pattern::Steady { rate: raw.rate()? },
            Name::Diurnal => Pattern::Diurnal {
                rate: raw.rate()?,
                amplitude: raw.amplitude.map_or(0.8, Share::get),
                period: match raw.period {
                    None => Duration::from_secs(24 * 3600),
                    given @ Some(_) => needed("period", given)?,
                },
                phase: raw.phase.map_or(0.0, Share::get),
            },
            Name::Bursts => Pattern::Bursts {
                rate: raw.rate()?,
                on: needed("on", raw.on)?,
                off: needed("off", raw.off)?,
            },
            Name::Sparse => raw.sparse()?,
        };
        // Kinesis takes records of up to 1 MiB (10 MiB where enabled); the lab keeps to one.
        if raw.bytes > 1024 * 1024 {
            return Err(format!(
                "{} bytes is more than a record's 1048576",
                raw.bytes
            ));
        }
        Ok(Self {
            pattern,
            bytes: raw.bytes,
            from: raw.from.unwrap_or_default().get(),
            until: window_end(raw.from, raw.until)?,
            stream: raw.stream,
        })
    }
}
