//! Arrivals in scenario files: which keys each kind takes, and what they default to.
//!
//! Decides: that a key which a kind does not take is a mistake, and so is one it lacks.
//! Deliberately absent: what arrives when (see `arrivals`).

use std::path::{Path, PathBuf};

use serde::Deserialize;
use tidekeeper_scheduler::{Span, Timestamp};
use toml::Spanned;

use crate::file::{MB, Place, ScenarioError};
use crate::file_draw::Length;
use crate::file_table::read_rows;
use crate::scenario::ArrivalModel;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ArrivalsFile {
    kind: ArrivalKind,
    every: Option<Spanned<Length>>,
    bytes: Option<Spanned<f64>>,
    mean_bytes: Option<Spanned<f64>>,
    bytes_per_s: Option<Spanned<f64>>,
    mb_per_s: Option<Spanned<f64>>,
    low_bytes_per_s: Option<Spanned<f64>>,
    low_mb_per_s: Option<Spanned<f64>>,
    high_bytes_per_s: Option<Spanned<f64>>,
    high_mb_per_s: Option<Spanned<f64>>,
    on_mean: Option<Spanned<Length>>,
    off_mean: Option<Spanned<Length>>,
    on_bytes_per_s: Option<Spanned<f64>>,
    on_mb_per_s: Option<Spanned<f64>>,
    off_bytes_per_s: Option<Spanned<f64>>,
    off_mb_per_s: Option<Spanned<f64>>,
    from: Option<Spanned<Length>>,
    until: Option<Spanned<Length>>,
    flush: Option<Spanned<Length>>,
    mean_gap: Option<Spanned<Length>>,
    shape: Option<Spanned<f64>>,
    min_mb: Option<Spanned<f64>>,
    max_mb: Option<Spanned<f64>>,
    base_bytes_per_s: Option<Spanned<f64>>,
    base_mb_per_s: Option<Spanned<f64>>,
    file: Option<Spanned<PathBuf>>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ArrivalKind {
    Silent,
    Steady,
    Outage,
    Diurnal,
    OnOff,
    Poisson,
    Pareto,
    Csv,
}

impl ArrivalKind {
    /// What it is called in the file, and the keys that it takes.
    fn keys(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::Silent => ("silent", &["every", "bytes"]),
            Self::Steady => ("steady", &["bytes_per_s", "mb_per_s"]),
            Self::Outage => (
                "outage",
                &["bytes_per_s", "mb_per_s", "from", "until", "flush"],
            ),
            Self::Diurnal => (
                "diurnal",
                &[
                    "low_bytes_per_s",
                    "low_mb_per_s",
                    "high_bytes_per_s",
                    "high_mb_per_s",
                ],
            ),
            Self::OnOff => (
                "on_off",
                &[
                    "on_mean",
                    "off_mean",
                    "on_bytes_per_s",
                    "on_mb_per_s",
                    "off_bytes_per_s",
                    "off_mb_per_s",
                ],
            ),
            Self::Poisson => ("poisson", &["mean_gap", "bytes", "mean_bytes"]),
            Self::Pareto => (
                "pareto",
                &[
                    "mean_gap",
                    "shape",
                    "min_mb",
                    "max_mb",
                    "base_bytes_per_s",
                    "base_mb_per_s",
                ],
            ),
            Self::Csv => ("csv", &["file"]),
        }
    }
}

/// Where a key's value stands, where it is given.
fn start<T>(value: Option<&Spanned<T>>) -> Option<usize> {
    value.map(|value| value.span().start)
}

impl ArrivalsFile {
    /// Every key and where its value stands.
    fn given(&self) -> [(&'static str, Option<usize>); 25] {
        [
            ("every", start(self.every.as_ref())),
            ("bytes", start(self.bytes.as_ref())),
            ("mean_bytes", start(self.mean_bytes.as_ref())),
            ("bytes_per_s", start(self.bytes_per_s.as_ref())),
            ("mb_per_s", start(self.mb_per_s.as_ref())),
            ("low_bytes_per_s", start(self.low_bytes_per_s.as_ref())),
            ("low_mb_per_s", start(self.low_mb_per_s.as_ref())),
            ("high_bytes_per_s", start(self.high_bytes_per_s.as_ref())),
            ("high_mb_per_s", start(self.high_mb_per_s.as_ref())),
            ("on_mean", start(self.on_mean.as_ref())),
            ("off_mean", start(self.off_mean.as_ref())),
            ("on_bytes_per_s", start(self.on_bytes_per_s.as_ref())),
            ("on_mb_per_s", start(self.on_mb_per_s.as_ref())),
            ("off_bytes_per_s", start(self.off_bytes_per_s.as_ref())),
            ("off_mb_per_s", start(self.off_mb_per_s.as_ref())),
            ("from", start(self.from.as_ref())),
            ("until", start(self.until.as_ref())),
            ("flush", start(self.flush.as_ref())),
            ("mean_gap", start(self.mean_gap.as_ref())),
            ("shape", start(self.shape.as_ref())),
            ("min_mb", start(self.min_mb.as_ref())),
            ("max_mb", start(self.max_mb.as_ref())),
            ("base_bytes_per_s", start(self.base_bytes_per_s.as_ref())),
            ("base_mb_per_s", start(self.base_mb_per_s.as_ref())),
            ("file", start(self.file.as_ref())),
        ]
    }
}

/// One table of arrivals under check.
struct Check<'a> {
    place: &'a Place<'a>,
    at: usize,
}

impl Check<'_> {
    fn missing(&self, keys: &str) -> ScenarioError {
        let message = format!("these arrivals need {keys}");
        self.place.wrong(self.at, message)
    }

    /// A rate, given in bytes or in megabytes per second; `None` where it is not given.
    fn rate(
        &self,
        name: &str,
        bytes: Option<&Spanned<f64>>,
        mb: Option<&Spanned<f64>>,
    ) -> Result<Option<f64>, ScenarioError> {
        match (bytes, mb) {
            (Some(rate), None) => self.place.amount(rate, &format!("{name}bytes_per_s"), 1.0),
            (None, Some(rate)) => self.place.amount(rate, &format!("{name}mb_per_s"), MB),
            (None, None) => return Ok(None),
            (Some(_), Some(mb)) => {
                let message = format!("write `{name}bytes_per_s` or `{name}mb_per_s`, not both");
                Err(self.place.wrong(mb.span().start, message))
            }
        }
        .map(Some)
    }

    fn need_rate(
        &self,
        name: &str,
        bytes: Option<&Spanned<f64>>,
        mb: Option<&Spanned<f64>>,
    ) -> Result<f64, ScenarioError> {
        self.rate(name, bytes, mb)?
            .ok_or_else(|| self.missing(&format!("`{name}bytes_per_s` or `{name}mb_per_s`")))
    }

    /// A time between events: so long that there are not endlessly many.
    fn need_gap(&self, key: &str, gap: Option<&Spanned<Length>>) -> Result<Span, ScenarioError> {
        let gap = gap.ok_or_else(|| self.missing(&format!("`{key}`")))?;
        self.place.gap(gap, key)
    }

    fn silent(&self, file: &ArrivalsFile) -> Result<ArrivalModel, ScenarioError> {
        if file.every.is_none() && file.bytes.is_none() {
            return Ok(ArrivalModel::Silent);
        }
        let every = self.need_gap("every", file.every.as_ref())?;
        let bytes = file.bytes.as_ref().ok_or_else(|| self.missing("`bytes`"))?;
        let bytes = self.place.amount(bytes, "bytes", 1.0)?;
        Ok(ArrivalModel::Periodic { every, bytes })
    }

    fn outage(&self, file: &ArrivalsFile) -> Result<ArrivalModel, ScenarioError> {
        let (bytes, mb) = (file.bytes_per_s.as_ref(), file.mb_per_s.as_ref());
        let bytes_per_s = self.need_rate("", bytes, mb)?;
        let from = self.need_gap("from", file.from.as_ref())?;
        let until = self.need_gap("until", file.until.as_ref())?;
        if until <= from {
            let message = "the outage ends before it begins: write a later `until`";
            return Err(self.place.wrong(self.at, message));
        }
        Ok(ArrivalModel::Outage {
            bytes_per_s,
            from,
            until,
            flush: self.need_gap("flush", file.flush.as_ref())?,
        })
    }

    fn diurnal(&self, file: &ArrivalsFile) -> Result<ArrivalModel, ScenarioError> {
        let (bytes, mb) = (file.low_bytes_per_s.as_ref(), file.low_mb_per_s.as_ref());
        let low = self.need_rate("low_", bytes, mb)?;
        let (bytes, mb) = (file.high_bytes_per_s.as_ref(), file.high_mb_per_s.as_ref());
        let high = self.need_rate("high_", bytes, mb)?;
        if low > high {
            let message = "the low rate is above the high one: swap them";
            return Err(self.place.wrong(self.at, message));
        }
        Ok(ArrivalModel::Diurnal { low, high })
    }

    fn on_off(&self, file: &ArrivalsFile) -> Result<ArrivalModel, ScenarioError> {
        let on = self.need_gap("on_mean", file.on_mean.as_ref())?;
        let off = self.need_gap("off_mean", file.off_mean.as_ref())?;
        let (bytes, mb) = (file.on_bytes_per_s.as_ref(), file.on_mb_per_s.as_ref());
        let on_rate = self.need_rate("on_", bytes, mb)?;
        let (bytes, mb) = (file.off_bytes_per_s.as_ref(), file.off_mb_per_s.as_ref());
        let off_rate = self.need_rate("off_", bytes, mb)?;
        Ok(ArrivalModel::OnOff {
            on: (on, on_rate),
            off: (off, off_rate),
        })
    }

    fn poisson(&self, file: &ArrivalsFile) -> Result<ArrivalModel, ScenarioError> {
        let mean_gap = self.need_gap("mean_gap", file.mean_gap.as_ref())?;
        let (bytes, exponential) = match (&file.bytes, &file.mean_bytes) {
            (Some(bytes), None) => (self.place.amount(bytes, "bytes", 1.0)?, false),
            (None, Some(bytes)) => (self.place.amount(bytes, "mean_bytes", 1.0)?, true),
            (None, None) => return Err(self.missing("`bytes` or `mean_bytes`")),
            (Some(_), Some(mean)) => {
                let message = "write `bytes` or `mean_bytes`, not both";
                return Err(self.place.wrong(mean.span().start, message));
            }
        };
        Ok(ArrivalModel::Poisson {
            mean_gap,
            bytes,
            exponential,
        })
    }

    fn pareto(&self, file: &ArrivalsFile) -> Result<ArrivalModel, ScenarioError> {
        let positive = |value: Option<&Spanned<f64>>, key, unit, default| {
            value.map_or(Ok(default), |v| self.place.positive_amount(v, key, unit))
        };
        let least = positive(file.min_mb.as_ref(), "min_mb", MB, 50.0 * MB)?;
        let most = positive(file.max_mb.as_ref(), "max_mb", MB, 400.0 * MB)?;
        if least > most {
            let message = format!(
                "min_mb ({}) is above max_mb ({}): write a smaller one",
                least / MB,
                most / MB
            );
            return Err(self.place.wrong(self.at, message));
        }
        let (bytes, mb) = (file.base_bytes_per_s.as_ref(), file.base_mb_per_s.as_ref());
        Ok(ArrivalModel::Pareto {
            mean_gap: self.need_gap("mean_gap", file.mean_gap.as_ref())?,
            shape: positive(file.shape.as_ref(), "shape", 1.0, 1.2)?,
            least,
            most,
            bytes_per_s: self.rate("base_", bytes, mb)?.unwrap_or(0.0),
        })
    }
}

impl Place<'_> {
    pub(crate) fn arrivals(
        &self,
        file: &Spanned<ArrivalsFile>,
    ) -> Result<ArrivalModel, ScenarioError> {
        let check = Check {
            place: self,
            at: file.span().start,
        };
        let file = file.get_ref();
        let (kind, takes) = file.kind.keys();
        for (key, at) in file.given() {
            if let Some(at) = at
                && !takes.contains(&key)
            {
                let takes = takes.join("`, `");
                let message = format!("`{key}` is no key of `{kind}`, which takes `{takes}`");
                return Err(self.wrong(at, message));
            }
        }
        match file.kind {
            ArrivalKind::Silent => check.silent(file),
            ArrivalKind::Steady => {
                let (bytes, mb) = (file.bytes_per_s.as_ref(), file.mb_per_s.as_ref());
                let bytes_per_s = check.need_rate("", bytes, mb)?;
                Ok(ArrivalModel::Steady { bytes_per_s })
            }
            ArrivalKind::Outage => check.outage(file),
            ArrivalKind::Diurnal => check.diurnal(file),
            ArrivalKind::OnOff => check.on_off(file),
            ArrivalKind::Poisson => check.poisson(file),
            ArrivalKind::Pareto => check.pareto(file),
            ArrivalKind::Csv => {
                let file = file.file.as_ref().ok_or_else(|| check.missing("`file`"))?;
                read_records(&self.beside(file.get_ref()))
            }
        }
    }
}

fn read_records(path: &Path) -> Result<ArrivalModel, ScenarioError> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be a number of bytes, of which the fraction is no matter"
    )]
    let record = |(at, bytes): (Timestamp, f64)| (at, bytes as u64);
    Ok(ArrivalModel::Listed {
        file: path.to_owned(),
        records: read_rows(path, "t_s,bytes")?
            .into_iter()
            .map(record)
            .collect(),
    })
}
