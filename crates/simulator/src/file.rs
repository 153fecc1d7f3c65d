//! Scenario files: TOML to a checked [`Scenario`].
//!
//! Decides: keys, units, defaults; every mistake with its line and column. Paths are
//! relative to the scenario's own directory.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tidekeeper_scheduler::{Billing, Outcomes, OverloadOrder, Span};
use toml::Spanned;

use crate::file_draw::Length;
use crate::file_view::{ViewFile, Views};
use crate::scenario::{Fault, FaultKind, Restart, SUBMIT_QUOTA, Scenario, WarehouseModel};

/// A megabyte.
pub(crate) const MB: f64 = 1e6;
/// More bytes, or bytes per second, are a slip of the pen.
const MOST_BYTES: f64 = 1e15;
/// More warehouses or views are a slip of the pen.
const MOST: usize = 1_000_000;

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
    count: Option<Spanned<u64>>,
    slots: Spanned<u32>,
    max_in_flight: Option<u32>,
    submit_delay: Option<Length>,
    jitter: Option<Length>,
    api_latency: Option<Length>,
    submit_quota: Option<Spanned<f64>>,
    quota_share: Option<Spanned<f64>>,
    billing: Option<BillingFile>,
    overload: Option<OverloadFile>,
    interference: Option<Spanned<f64>>,
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
    factor: Option<Spanned<f64>>,
    view: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum BillingFile {
    Provisioned,
    Serverless,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum OverloadFile {
    Fair,
    Priority,
    MaxSatisfied,
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
        let mut names = Names::default();
        let mut groups = WarehouseGroups::new();
        let mut warehouses = Vec::new();
        for warehouse in &file.warehouses {
            let model = place.warehouse(warehouse, duration)?;
            let numbered = place.group(&warehouse.name, warehouse.count.as_ref(), &mut names)?;
            let first = warehouses.len();
            let count = numbered.len();
            groups.insert(model.name.clone(), WarehouseGroup { first, count });
            for name in numbered {
                let first = warehouses.len();
                groups
                    .entry(name.clone())
                    .or_insert(WarehouseGroup { first, count: 1 });
                warehouses.push(WarehouseModel {
                    name,
                    ..model.clone()
                });
            }
        }
        let mut views = Views {
            seed: file.seed,
            warehouses: &groups,
            names: Names::default(),
            views: Vec::new(),
        };
        for view in &file.views {
            place.views(view, &mut views)?;
        }
        let restarts = file.restarts.iter().map(|restart| Restart {
            at: restart.at.0,
            down: restart.down.map_or(Span::from_secs(1), |down| down.0),
        });
        Ok(Self {
            name: file.name,
            duration,
            seed: file.seed,
            views: views.views,
            warehouses,
            restarts: restarts.collect(),
        })
    }
}

pub(crate) fn read(path: &Path) -> Result<String, ScenarioError> {
    std::fs::read_to_string(path).map_err(|source| ScenarioError::Unreadable {
        path: path.to_owned(),
        source,
    })
}

/// The warehouses that a name stands for: `count` of them from `first` on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WarehouseGroup {
    pub(crate) first: usize,
    pub(crate) count: usize,
}

pub(crate) type WarehouseGroups = BTreeMap<String, WarehouseGroup>;

/// The names that are taken: those in the file, and with a count the numbered ones too.
#[derive(Debug, Default)]
pub(crate) struct Names {
    taken: BTreeSet<String>,
    /// How many warehouses or views there are so far.
    number: usize,
}

/// The text whose mistakes are reported.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    text: &'a str,
    path: &'a Path,
}

impl Place<'_> {
    pub(crate) fn wrong(&self, at: usize, message: impl fmt::Display) -> ScenarioError {
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

    pub(crate) fn share(&self, share: &Spanned<f64>) -> Result<f64, ScenarioError> {
        let value = *share.get_ref();
        if (0.0..=1.0).contains(&value) {
            return Ok(value);
        }
        Err(self.wrong(share.span().start, "a share lies between 0 and 1"))
    }

    /// A time between events: so long that there are not endlessly many.
    pub(crate) fn gap(&self, gap: &Spanned<Length>, key: &str) -> Result<Span, ScenarioError> {
        let span = gap.get_ref().0;
        if span >= Span::from_millis(1) {
            return Ok(span);
        }
        let message = format!("{key} is at least 1ms");
        Err(self.wrong(gap.span().start, message))
    }

    pub(crate) fn within(
        &self,
        value: &Spanned<f64>,
        key: &str,
        most: f64,
    ) -> Result<f64, ScenarioError> {
        if (0.0..=most).contains(value.get_ref()) {
            return Ok(*value.get_ref());
        }
        let message = format!("{key} is a number from 0 to {most:e}");
        Err(self.wrong(value.span().start, message))
    }

    /// A number of bytes, or of bytes per second, in a unit of so many.
    pub(crate) fn amount(
        &self,
        value: &Spanned<f64>,
        key: &str,
        unit: f64,
    ) -> Result<f64, ScenarioError> {
        Ok(self.within(value, key, MOST_BYTES / unit)? * unit)
    }

    pub(crate) fn positive_amount(
        &self,
        value: &Spanned<f64>,
        key: &str,
        unit: f64,
    ) -> Result<f64, ScenarioError> {
        let amount = self.amount(value, key, unit)?;
        if amount > 0.0 {
            return Ok(amount);
        }
        let message = format!("{key} must be more than 0");
        Err(self.wrong(value.span().start, message))
    }

    /// A path that the file names.
    pub(crate) fn beside(&self, path: &Path) -> PathBuf {
        self.path
            .parent()
            .unwrap_or_else(|| Path::new(""))
            .join(path)
    }

    /// The names that a table stands for: its own, or with a count `v-0` to `v-(count − 1)`.
    pub(crate) fn group(
        &self,
        name: &Spanned<String>,
        count: Option<&Spanned<u64>>,
        names: &mut Names,
    ) -> Result<Vec<String>, ScenarioError> {
        let base = name.get_ref();
        let mut take = |taken: &str| {
            if names.taken.insert(taken.to_owned()) {
                return Ok(());
            }
            let message = format!("`{taken}` stands here twice");
            Err(self.wrong(name.span().start, message))
        };
        take(base)?;
        let Some(count) = count else {
            names.number += 1;
            return Ok(vec![base.clone()]);
        };
        let number = usize::try_from(*count.get_ref()).unwrap_or(usize::MAX);
        if !(1..=MOST).contains(&number) {
            let message = format!("count lies between 1 and {MOST}");
            return Err(self.wrong(count.span().start, message));
        }
        if names.number + number > MOST {
            let message = format!("with these there are more than {MOST}");
            return Err(self.wrong(count.span().start, message));
        }
        let numbered: Vec<_> = (0..number).map(|index| format!("{base}-{index}")).collect();
        numbered.iter().try_for_each(|name| take(name))?;
        names.number += number;
        Ok(numbered)
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
                factor: match &fault.factor {
                    Some(factor) => self.within(factor, "factor", 1e6)?,
                    None => 1.0,
                },
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
            submit_quota: match &file.submit_quota {
                Some(quota) => self.within(quota, "submit_quota", 1e6)?,
                None => SUBMIT_QUOTA,
            },
            quota_share: file
                .quota_share
                .as_ref()
                .map_or(Ok(0.5), |s| self.share(s))?,
            billing: match file.billing {
                Some(BillingFile::Provisioned) | None => Billing::Provisioned,
                Some(BillingFile::Serverless) => Billing::Serverless,
            },
            outcomes: Outcomes::Off,
            overload: match file.overload {
                Some(OverloadFile::Fair) | None => OverloadOrder::Fair,
                Some(OverloadFile::Priority) => OverloadOrder::Priority,
                Some(OverloadFile::MaxSatisfied) => OverloadOrder::MaxSatisfied,
            },
            interference: match &file.interference {
                Some(share) => self.within(share, "interference", 1e6)?,
                None => 0.0,
            },
            faults: faults.collect::<Result<_, _>>()?,
        })
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
