//! Scenario files: TOML to a checked [`Scenario`].
//!
//! Decides: keys, units, defaults; every mistake with its line and column. Paths are
//! relative to the scenario's own directory.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tidekeeper_scheduler::{Span, Timestamp};
use toml::Spanned;

use crate::scenario::{
    ArrivalModel, Fault, FaultKind, Restart, SUBMIT_QUOTA, Scenario, ServiceModel, ViewModel,
    WarehouseModel,
};

/// Why a scenario cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    #[error("{} cannot be read", path.display())]
    Unreadable {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{}:{line}:{column}: {message}", path.display())]
    Wrong {
        path: PathBuf,
        line: usize,
        column: usize,
        message: String,
    },
}

/// `200ms`, `5s`, `1m`, `24h`, `30d`.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(try_from = "String")]
struct Length(Span);

impl TryFrom<String> for Length {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
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

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScenarioFile {
    name: String,
    duration: Spanned<Length>,
    #[serde(default)]
    seed: u64,
    warehouses: Vec<WarehouseFile>,
    views: Vec<ViewFile>,
    #[serde(default)]
    restarts: Vec<RestartFile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WarehouseFile {
    name: Spanned<String>,
    slots: Spanned<u32>,
    max_in_flight: Option<u32>,
    submit_delay: Option<Length>,
    jitter: Option<Length>,
    api_latency: Option<Length>,
    submit_quota: Option<f64>,
    quota_share: Option<f64>,
    #[serde(default)]
    faults: Vec<FaultFile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultFile {
    kind: FaultKindFile,
    from: Option<Length>,
    until: Option<Length>,
    share: Option<Spanned<f64>>,
    factor: Option<f64>,
    view: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FaultKindFile {
    Throttle,
    LostAnswers,
    ServerErrors,
    IgnoreWait,
    Unreachable,
    Away,
    Failing,
    Broken,
    Stuck,
    Slow,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ViewFile {
    name: Spanned<String>,
    count: Option<u32>,
    warehouse: Spanned<String>,
    target_lag: Spanned<Length>,
    miss_rate: Option<Spanned<f64>>,
    min_interval: Option<Length>,
    statement_timeout: Option<Length>,
    arrivals: Option<Spanned<ArrivalsFile>>,
    service: ServiceFile,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ArrivalsFile {
    kind: ArrivalKind,
    bytes_per_s: Option<f64>,
    mean_gap: Option<Length>,
    bytes: Option<u64>,
    file: Option<Spanned<PathBuf>>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ArrivalKind {
    Silent,
    Steady,
    Poisson,
    Csv,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ServiceFile {
    fixed: Length,
    per_mb: Option<Length>,
    noise: Option<Noise>,
    sigma: Option<f64>,
    stragglers: Option<StragglersFile>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Noise {
    None,
    Lognormal,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StragglersFile {
    share: Spanned<f64>,
    factor: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RestartFile {
    at: Length,
    down: Option<Length>,
}

impl Scenario {
    /// Reads and checks a scenario file and the files it names.
    ///
    /// # Errors
    /// Where a file cannot be read, or says something that makes no sense: with line and
    /// column of the first mistake.
    pub fn load(path: &Path) -> Result<Self, ScenarioError> {
        let text = read(path)?;
        Self::parse(&text, path)
    }

    /// As [`Scenario::load`]; `path` names the text in messages and anchors relative paths.
    ///
    /// # Errors
    /// As [`Scenario::load`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, ScenarioError> {
        let place = Place { text, path };
        let file: ScenarioFile = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            place.wrong(at, error.message())
        })?;
        let duration = place.positive(&file.duration, "duration")?;
        let warehouses = file
            .warehouses
            .iter()
            .map(|warehouse| place.warehouse(warehouse, duration))
            .collect::<Result<Vec<_>, _>>()?;
        place.unique(file.warehouses.iter().map(|warehouse| &warehouse.name))?;
        place.unique(file.views.iter().map(|view| &view.name))?;
        let mut views = Vec::new();
        for view in &file.views {
            place.views(view, &warehouses, &mut views)?;
        }
        let restarts = file.restarts.iter().map(|restart| Restart {
            at: restart.at.0,
            down: restart.down.map_or(Span::from_secs(1), |down| down.0),
        });
        Ok(Self {
            name: file.name,
            duration,
            seed: file.seed,
            warehouses,
            views,
            restarts: restarts.collect(),
        })
    }
}

fn read(path: &Path) -> Result<String, ScenarioError> {
    std::fs::read_to_string(path).map_err(|source| ScenarioError::Unreadable {
        path: path.to_owned(),
        source,
    })
}

/// The text whose mistakes are reported.
struct Place<'a> {
    text: &'a str,
    path: &'a Path,
}

impl Place<'_> {
    fn wrong(&self, at: usize, message: impl fmt::Display) -> ScenarioError {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        ScenarioError::Wrong {
            path: self.path.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).unwrap_or("").chars().count() + 1,
            message: message.to_string(),
        }
    }

    fn positive(&self, length: &Spanned<Length>, what: &str) -> Result<Span, ScenarioError> {
        let span = length.get_ref().0;
        if span > Span::ZERO {
            return Ok(span);
        }
        let message = format!("{what} must be longer than nothing");
        Err(self.wrong(length.span().start, message))
    }

    fn share(&self, share: &Spanned<f64>) -> Result<f64, ScenarioError> {
        let value = *share.get_ref();
        if (0.0..=1.0).contains(&value) {
            return Ok(value);
        }
        Err(self.wrong(share.span().start, "a share lies between 0 and 1"))
    }

    fn unique<'a>(
        &self,
        names: impl Iterator<Item = &'a Spanned<String>>,
    ) -> Result<(), ScenarioError> {
        let mut seen = std::collections::BTreeSet::new();
        for name in names {
            if !seen.insert(name.get_ref()) {
                let message = format!("`{}` stands here twice", name.get_ref());
                return Err(self.wrong(name.span().start, message));
            }
        }
        Ok(())
    }

    fn warehouse(
        &self,
        file: &WarehouseFile,
        duration: Span,
    ) -> Result<WarehouseModel, ScenarioError> {
        let slots = *file.slots.get_ref();
        if slots == 0 {
            return Err(self.wrong(file.slots.span().start, "a warehouse has at least 1 slot"));
        }
        let faults = file.faults.iter().map(|fault| {
            Ok(Fault {
                kind: fault_kind(fault.kind),
                from: fault.from.map_or(Span::ZERO, |from| from.0),
                until: fault.until.map_or(duration, |until| until.0),
                share: fault.share.as_ref().map_or(Ok(1.0), |s| self.share(s))?,
                factor: fault.factor.unwrap_or(1.0),
                view: fault.view.clone(),
            })
        });
        let length = |length: Option<Length>| length.map_or(Span::ZERO, |length| length.0);
        Ok(WarehouseModel {
            name: file.name.get_ref().clone(),
            slots,
            max_in_flight: file.max_in_flight.unwrap_or(slots),
            submit_delay: length(file.submit_delay),
            jitter: length(file.jitter),
            api_latency: length(file.api_latency),
            submit_quota: file.submit_quota.unwrap_or(SUBMIT_QUOTA),
            quota_share: file.quota_share.unwrap_or(0.5),
            faults: faults.collect::<Result<_, _>>()?,
        })
    }

    /// One view, or `count` of them: `v-0` to `v-(count − 1)`.
    fn views(
        &self,
        file: &ViewFile,
        warehouses: &[WarehouseModel],
        views: &mut Vec<ViewModel>,
    ) -> Result<(), ScenarioError> {
        let wanted = file.warehouse.get_ref();
        let warehouse = warehouses.iter().position(|w| w.name == *wanted);
        let Some(warehouse) = warehouse else {
            let message = format!("there is no warehouse `{wanted}`");
            return Err(self.wrong(file.warehouse.span().start, message));
        };
        let miss_rate = match &file.miss_rate {
            Some(rate) => self.share(rate)?,
            None => 0.05,
        };
        let view = ViewModel {
            name: file.name.get_ref().clone(),
            warehouse,
            target_lag: self.positive(&file.target_lag, "target_lag")?,
            miss_rate,
            min_interval: file.min_interval.map_or(Span::from_secs(2), |min| min.0),
            statement_timeout: file.statement_timeout.map(|limit| limit.0),
            arrivals: match &file.arrivals {
                Some(arrivals) => self.arrivals(arrivals)?,
                None => ArrivalModel::Silent,
            },
            service: self.service(&file.service)?,
        };
        let Some(count) = file.count else {
            views.push(view);
            return Ok(());
        };
        views.extend((0..count).map(|number| ViewModel {
            name: format!("{}-{number}", view.name),
            ..view.clone()
        }));
        Ok(())
    }

    fn service(&self, file: &ServiceFile) -> Result<ServiceModel, ScenarioError> {
        let sigma = match file.noise {
            Some(Noise::None) => 0.0,
            Some(Noise::Lognormal) | None => file.sigma.unwrap_or(0.0),
        };
        let stragglers = file.stragglers.as_ref();
        Ok(ServiceModel {
            fixed: file.fixed.0,
            per_mb: file.per_mb.map_or(Span::ZERO, |per_mb| per_mb.0),
            sigma,
            straggler_share: stragglers.map_or(Ok(0.0), |s| self.share(&s.share))?,
            straggler_factor: stragglers.map_or(1.0, |stragglers| stragglers.factor),
        })
    }

    fn arrivals(&self, file: &Spanned<ArrivalsFile>) -> Result<ArrivalModel, ScenarioError> {
        let missing = |key: &str| {
            let message = format!("these arrivals need `{key}`");
            self.wrong(file.span().start, message)
        };
        let arrivals = file.get_ref();
        match arrivals.kind {
            ArrivalKind::Silent => Ok(ArrivalModel::Silent),
            ArrivalKind::Steady => Ok(ArrivalModel::Steady {
                bytes_per_s: arrivals.bytes_per_s.ok_or_else(|| missing("bytes_per_s"))?,
            }),
            ArrivalKind::Poisson => {
                let mean_gap = arrivals.mean_gap.ok_or_else(|| missing("mean_gap"))?.0;
                if mean_gap < Span::from_millis(1) {
                    return Err(self.wrong(file.span().start, "mean_gap is at least 1ms"));
                }
                Ok(ArrivalModel::Poisson {
                    mean_gap,
                    bytes: arrivals.bytes.ok_or_else(|| missing("bytes"))?,
                })
            }
            ArrivalKind::Csv => {
                let file = arrivals.file.as_ref().ok_or_else(|| missing("file"))?;
                let path = self.path.parent().unwrap_or_else(|| Path::new(""));
                read_records(&path.join(file.get_ref()))
            }
        }
    }
}

fn fault_kind(kind: FaultKindFile) -> FaultKind {
    match kind {
        FaultKindFile::Throttle => FaultKind::Throttle,
        FaultKindFile::LostAnswers => FaultKind::LostAnswers,
        FaultKindFile::ServerErrors => FaultKind::ServerErrors,
        FaultKindFile::IgnoreWait => FaultKind::IgnoreWait,
        FaultKindFile::Unreachable => FaultKind::Unreachable,
        FaultKindFile::Away => FaultKind::Away,
        FaultKindFile::Failing => FaultKind::Failing,
        FaultKindFile::Broken => FaultKind::Broken,
        FaultKindFile::Stuck => FaultKind::Stuck,
        FaultKindFile::Slow => FaultKind::Slow,
    }
}

/// Lines of `t_s,bytes`, with or without that heading, in order of time.
fn read_records(path: &Path) -> Result<ArrivalModel, ScenarioError> {
    let text = read(path)?;
    let mut records: Vec<(Timestamp, u64)> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim().is_empty() || (number == 0 && line.trim() == "t_s,bytes") {
            continue;
        }
        let wrong = |message: &str| ScenarioError::Wrong {
            path: path.to_owned(),
            line: number + 1,
            column: 1,
            message: message.to_owned(),
        };
        let record = line.split_once(',').and_then(|(at, bytes)| {
            let at: f64 = at.trim().parse().ok()?;
            let bytes: f64 = bytes.trim().parse().ok()?;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "checked to be a number of bytes, of which the fraction is no matter"
            )]
            (at.is_finite() && at >= 0.0 && bytes.is_finite() && bytes >= 0.0)
                .then(|| (Timestamp::default() + Span::from_secs_f64(at), bytes as u64))
        });
        let record = record.ok_or_else(|| wrong("a line is `t_s,bytes`, both not negative"))?;
        if records.last().is_some_and(|before| before.0 > record.0) {
            return Err(wrong("the records are not in order of time"));
        }
        records.push(record);
    }
    Ok(ArrivalModel::Listed {
        file: path.to_owned(),
        records: records.into(),
    })
}
