//! Durations in scenario files: one that is stated, or a way to draw one for every view.
//!
//! Decides: how a duration is written, and what is drawn. Deliberately absent: which keys may
//! be drawn (see `file_view`).

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use tidekeeper_scheduler::Span;

use crate::dice::Dice;

/// `200ms`, `5s`, `1m`, `24h`, `30d`.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Length(pub(crate) Span);

impl Length {
    fn read(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no duration: write 200ms, 5s, 1m, 24h or 30d");
        let digits = text
            .find(|c: char| !(c.is_ascii_digit() || c == '.'))
            .ok_or_else(wrong)?;
        let (number, unit) = text.split_at(digits);
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let seconds = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            _ => return Err(wrong()),
        };
        Ok(Self(Span::from_secs_f64(number * seconds)))
    }
}

impl TryFrom<String> for Length {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::read(&text)
    }
}

/// A duration, or what it is drawn from: once for every view.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Drawn {
    Stated(Span),
    Lognormal {
        median: Span,
        sigma: f64,
    },
    /// Evenly between the two.
    Uniform(Span, Span),
    /// One of them, all alike likely.
    Choice(Vec<Span>),
    /// The first view has the first, and so on, and round again.
    Cycle(Vec<Span>),
}

impl Drawn {
    /// For the view that is the `index`th of its group.
    pub(crate) fn draw(&self, index: usize, dice: &mut Dice) -> Span {
        match self {
            Self::Stated(span) => *span,
            Self::Lognormal { median, sigma } => median
                .scale((sigma * dice.standard_normal()).exp())
                .max(Span::from_micros(1)),
            Self::Uniform(least, most) => *least + dice.up_to(*most - *least),
            Self::Choice(spans) => nth(spans, pick(spans.len(), dice)),
            Self::Cycle(spans) => nth(spans, index),
        }
    }

    /// No draw is shorter.
    pub(crate) fn least(&self) -> Span {
        match self {
            Self::Stated(span) | Self::Uniform(span, _) => *span,
            Self::Lognormal { .. } => Span::from_micros(1),
            Self::Choice(spans) | Self::Cycle(spans) => {
                spans.iter().min().copied().unwrap_or(Span::ZERO)
            }
        }
    }
}

fn nth(spans: &[Span], index: usize) -> Span {
    let index = index.checked_rem(spans.len()).unwrap_or(0);
    spans.get(index).copied().unwrap_or(Span::ZERO)
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a list in a file is far shorter than 2^53, and a draw is not negative"
)]
fn pick(among: usize, dice: &mut Dice) -> usize {
    (dice.unit() * among as f64) as usize
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DrawnFile {
    lognormal: Option<LognormalFile>,
    uniform: Option<[Length; 2]>,
    choice: Option<Vec<Length>>,
    cycle: Option<Vec<Length>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LognormalFile {
    median: Length,
    sigma: f64,
}

impl DrawnFile {
    fn check(self) -> Result<Drawn, &'static str> {
        let spans = |lengths: Vec<Length>| {
            if lengths.is_empty() {
                return Err("write at least one duration to draw from");
            }
            Ok(lengths.into_iter().map(|length| length.0).collect())
        };
        match (self.lognormal, self.uniform, self.choice, self.cycle) {
            (Some(file), None, None, None) => {
                if file.median.0 <= Span::ZERO {
                    return Err("the median must be longer than nothing");
                }
                if !(0.0..=10.0).contains(&file.sigma) {
                    return Err("sigma is a number from 0 to 10");
                }
                Ok(Drawn::Lognormal {
                    median: file.median.0,
                    sigma: file.sigma,
                })
            }
            (None, Some([least, most]), None, None) => {
                if least.0 > most.0 {
                    return Err("write the shorter duration first");
                }
                Ok(Drawn::Uniform(least.0, most.0))
            }
            (None, None, Some(lengths), None) => spans(lengths).map(Drawn::Choice),
            (None, None, None, Some(lengths)) => spans(lengths).map(Drawn::Cycle),
            _ => Err("write one of `lognormal`, `uniform`, `choice`, `cycle`"),
        }
    }
}

struct DrawnVisitor;

impl<'de> Visitor<'de> for DrawnVisitor {
    type Value = Drawn;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration as \"5s\" or { choice = [\"5s\", \"1m\"] }")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Drawn, E> {
        let length = Length::read(text).map_err(E::custom)?;
        Ok(Drawn::Stated(length.0))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Drawn, A::Error> {
        let file = DrawnFile::deserialize(MapAccessDeserializer::new(map))?;
        file.check().map_err(A::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Drawn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DrawnVisitor)
    }
}
