//! Views in scenario files: one table is one view, or a group of them.
//!
//! Decides: defaults, what is drawn for each view of a group, and its warehouse.
//! Deliberately absent: the keys of arrivals (see `file_arrivals`).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use tidekeeper_scheduler::{Priority, Span, Timestamp};
use toml::Spanned;

use crate::dice::Dice;
use crate::file::{MB, Names, Place, ScenarioError, WarehouseGroups};
use crate::file_arrivals::ArrivalsFile;
use crate::file_draw::{Drawn, Length};
use crate::file_table::read_rows;
use crate::scenario::{ArrivalModel, ProbeModel, ServiceModel, ViewModel};

/// A tenth of the target lag, but no more often than this, as the daemon does.
const PROBE_MIN: Span = Span::from_secs(1);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ViewFile {
    pub(crate) name: Spanned<String>,
    count: Option<Spanned<u64>>,
    warehouse: Spanned<String>,
    target_lag: Spanned<Drawn>,
    miss_rate: Option<Spanned<f64>>,
    min_interval: Option<Length>,
    statement_timeout: Option<Length>,
    priority: Option<PriorityFile>,
    arrivals: Option<Spanned<ArrivalsFile>>,
    service: Spanned<ServiceFile>,
    probe: Option<ProbeFile>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum PriorityFile {
    High,
    Normal,
    Low,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProbeFile {
    every: Option<Spanned<Length>>,
    delay: Option<Length>,
    bytes: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ServiceFile {
    fixed: Option<Drawn>,
    per_mb: Option<Drawn>,
    noise: Option<Noise>,
    sigma: Option<Spanned<f64>>,
    stragglers: Option<StragglersFile>,
    replay: Option<PathBuf>,
    max_mb_per_refresh: Option<Spanned<f64>>,
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
    factor: Spanned<f64>,
}

/// Views of which some are already read.
#[derive(Debug)]
pub(crate) struct Views<'a> {
    pub(crate) seed: u64,
    pub(crate) warehouses: &'a WarehouseGroups,
    pub(crate) names: Names,
    pub(crate) views: Vec<ViewModel>,
}

impl Place<'_> {
    /// One view, or `count` of them: `v-0` to `v-(count − 1)`.
    pub(crate) fn views(
        &self,
        file: &ViewFile,
        known: &mut Views<'_>,
    ) -> Result<(), ScenarioError> {
        let wanted = file.warehouse.get_ref();
        let Some(group) = known.warehouses.get(wanted) else {
            let message = format!("there is no warehouse `{wanted}`");
            return Err(self.wrong(file.warehouse.span().start, message));
        };
        let numbered = self.group(&file.name, file.count.as_ref(), &mut known.names)?;
        let target_lag = file.target_lag.get_ref();
        if target_lag.least() <= Span::ZERO {
            let message = "target_lag must be longer than nothing";
            return Err(self.wrong(file.target_lag.span().start, message));
        }
        let model = self.view(file)?;
        let service = file.service.get_ref();
        for (index, name) in numbered.into_iter().enumerate() {
            let mut dice = Dice::new(known.seed, &format!("draw/{name}"));
            let mut view = model.clone();
            view.warehouse = group.first + index.checked_rem(group.count).unwrap_or(0);
            view.target_lag = target_lag.draw(index, &mut dice);
            if let (Some(probe), Some(ProbeFile { every: None, .. })) =
                (&mut view.probe, &file.probe)
            {
                probe.every = (view.target_lag / 10).max(PROBE_MIN);
            }
            if let Some(fixed) = &service.fixed {
                view.service.fixed = fixed.draw(index, &mut dice);
            }
            if let Some(per_mb) = &service.per_mb {
                view.service.per_mb = per_mb.draw(index, &mut dice);
            }
            view.name = name;
            known.views.push(view);
        }
        Ok(())
    }

    /// What the views of a group share.
    fn view(&self, file: &ViewFile) -> Result<ViewModel, ScenarioError> {
        let mut view = ViewModel::new("", Span::ZERO, Span::ZERO);
        if let Some(rate) = &file.miss_rate {
            view.miss_rate = self.share(rate)?;
        }
        if let Some(least) = file.min_interval {
            view.min_interval = least.0;
        }
        view.statement_timeout = file.statement_timeout.map(|limit| limit.0);
        view.priority = match file.priority {
            Some(PriorityFile::High) => Priority::High,
            Some(PriorityFile::Normal) | None => Priority::Normal,
            Some(PriorityFile::Low) => Priority::Low,
        };
        view.arrivals = match &file.arrivals {
            Some(arrivals) => self.arrivals(arrivals)?,
            None => ArrivalModel::Silent,
        };
        view.service = self.service(&file.service)?;
        view.probe = match &file.probe {
            Some(probe) => Some(ProbeModel {
                every: match &probe.every {
                    Some(every) => self.gap(every, "every")?,
                    None => PROBE_MIN,
                },
                delay: probe.delay.map_or(Span::ZERO, |delay| delay.0),
                bytes: probe.bytes.unwrap_or(true),
            }),
            None => None,
        };
        Ok(view)
    }

    /// All but `fixed` and `per_mb`, which are drawn. With a replay, `fixed` is its first.
    fn service(&self, file: &Spanned<ServiceFile>) -> Result<ServiceModel, ScenarioError> {
        let start = file.span().start;
        let file = file.get_ref();
        let replay = match &file.replay {
            Some(path) => Some(read_durations(&self.beside(path))?),
            None if file.fixed.is_none() => {
                return Err(self.wrong(start, "a service needs `fixed` or `replay`"));
            }
            None => None,
        };
        let first = replay.as_ref().and_then(|replay| replay.first());
        let sigma = match &file.sigma {
            Some(sigma) => self.within(sigma, "sigma", 10.0)?,
            None => 0.0,
        };
        let (straggler_share, straggler_factor) = match &file.stragglers {
            Some(stragglers) => (
                self.share(&stragglers.share)?,
                self.within(&stragglers.factor, "factor", 1e6)?,
            ),
            None => (0.0, 1.0),
        };
        let most_bytes = match &file.max_mb_per_refresh {
            Some(most) => Some(self.positive_amount(most, "max_mb_per_refresh", MB)?),
            None => None,
        };
        Ok(ServiceModel {
            fixed: first.map_or(Span::ZERO, |(_, duration)| *duration),
            per_mb: Span::ZERO,
            sigma: match file.noise {
                Some(Noise::None) => 0.0,
                Some(Noise::Lognormal) | None => sigma,
            },
            straggler_share,
            straggler_factor,
            replay,
            most_bytes,
        })
    }
}

fn read_durations(path: &Path) -> Result<Arc<[(Timestamp, Span)]>, ScenarioError> {
    let rows = read_rows(path, "t_s,duration_s")?;
    if rows.is_empty() {
        return Err(ScenarioError::Wrong {
            path: path.to_owned(),
            line: 1,
            column: 1,
            message: "there is no line `t_s,duration_s`: write at least one".to_owned(),
        });
    }
    let span = |(at, seconds)| (at, Span::from_secs_f64(seconds));
    Ok(rows.into_iter().map(span).collect())
}
