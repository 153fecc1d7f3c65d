//! What is told of a simulation: one object for machines, one table for people.
//!
//! Decides: the names of the figures. A figure that a policy does not have is left out.
//! Deliberately absent: how figures are gathered (see `meter`).

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use tidekeeper_scheduler::Billing;

use crate::awake::fewest_awake_seconds;
use crate::bound::{Bound, fewest_refreshes};
use crate::runner::{Policy, Run};
use crate::scenario::Scenario;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    pub scenario: String,
    pub seed: u64,
    pub policies: Vec<PolicyReport>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PolicyReport {
    pub policy: &'static str,
    pub views: Vec<ViewReport>,
    pub warehouses: Vec<WarehouseReport>,
    pub totals: Totals,
    /// What must never happen and did.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub violations: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ViewReport {
    pub view: String,
    pub target_lag_s: f64,
    pub cycles: u64,
    pub cycles_in_target: u64,
    /// Share of the time since the first success.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_in_target: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_lag_s: Option<Quantiles>,
    /// Age of the oldest unread record; `null` where nothing ever came.
    pub unread_age_s: Option<Quantiles>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unread_time_in_target: Option<f64>,
    /// From the arrival of a record until it was visible, at most.
    pub worst_record_lag_s: Option<f64>,
    /// Successful ones that finished before the horizon.
    pub refreshes: u64,
    pub no_data: u64,
    /// Attempts that did not succeed, refused submits among them.
    pub failed: u64,
    pub slot_seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lower_bound: Option<u64>,
    /// Whether that is proven: no two refreshes of the bound collide.
    pub lower_bound_exact: bool,
    /// The bound for durations that do not grow with bytes: always proven.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relaxed_bound: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub late_rate: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wanted_late_rate: Option<f64>,
}

/// Over time, in seconds; `p50` and `p99` to within 1/64.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quantiles {
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WarehouseReport {
    pub warehouse: String,
    /// As Serverless would be billed: from a submit until nothing runs, 60 s at least.
    pub awake_seconds: f64,
    /// The least that it could have been; Serverless only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub awake_bound: Option<f64>,
    pub api_calls: BTreeMap<&'static str, u64>,
}

/// Over views: the share of cycles in target, and the worst lag in targets.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Totals {
    pub refreshes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p5: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worst_lag_ratio: Option<f64>,
}

impl Report {
    #[must_use]
    pub fn new(scenario: &Scenario, seed: u64, runs: &[Run]) -> Self {
        let bounds = Bounds {
            views: (0..scenario.views.len())
                .map(|view| fewest_refreshes(scenario, view, seed))
                .collect(),
            awake: (scenario.warehouses.iter().enumerate())
                .map(|(index, warehouse)| {
                    let serverless = warehouse.billing == Billing::Serverless;
                    serverless.then(|| fewest_awake_seconds(scenario, index, seed))?
                })
                .collect(),
        };
        let policies = runs
            .iter()
            .map(|run| PolicyReport::new(scenario, run, &bounds));
        Self {
            scenario: scenario.name.clone(),
            seed,
            policies: policies.collect(),
        }
    }
}

/// What no policy can undercut, in the scenario's order.
struct Bounds {
    views: Vec<Option<Bound>>,
    awake: Vec<Option<f64>>,
}

impl PolicyReport {
    fn new(scenario: &Scenario, run: &Run, bounds: &Bounds) -> Self {
        let quantiles = |(p50, p99, max)| Quantiles { p50, p99, max };
        let views: Vec<_> = (scenario.views.iter().zip(&run.meters))
            .zip(run.late.iter().zip(&bounds.views))
            .map(|((view, meter), (late, bound))| {
                let lower_bound = bound.map(|bound| bound.refreshes);
                let late_rate = share(late.0, late.1);
                ViewReport {
                    view: view.name.clone(),
                    target_lag_s: view.target_lag.as_secs_f64(),
                    cycles: meter.cycles,
                    cycles_in_target: meter.cycles_in_target,
                    time_in_target: meter.time_in_target(),
                    clock_lag_s: meter.lag_seconds().map(quantiles),
                    unread_age_s: meter.unread_seconds().map(quantiles),
                    unread_time_in_target: meter.unread_time_in_target(),
                    worst_record_lag_s: meter.unread_seconds().map(|(_, _, max)| max),
                    refreshes: meter.refreshes,
                    no_data: meter.no_data,
                    failed: meter.failed,
                    slot_seconds: meter.slot_time.as_secs_f64(),
                    lower_bound,
                    lower_bound_exact: bound.is_some_and(|bound| bound.exact),
                    relaxed_bound: bound.map(|bound| bound.relaxed),
                    ratio: lower_bound.and_then(|bound| share(meter.refreshes, bound)),
                    late_rate,
                    wanted_late_rate: (run.policy == Policy::Adaptive).then_some(view.miss_rate),
                }
            })
            .collect();
        let warehouses =
            (scenario.warehouses.iter().zip(&run.calls)).zip(run.awake.iter().zip(&bounds.awake));
        Self {
            policy: run.policy.name(),
            totals: Totals::new(scenario, &views),
            views,
            warehouses: warehouses
                .map(|((warehouse, calls), (awake, bound))| WarehouseReport {
                    warehouse: warehouse.name.clone(),
                    awake_seconds: awake.as_secs_f64(),
                    awake_bound: *bound,
                    api_calls: BTreeMap::from([
                        ("submit", calls.submit),
                        ("describe", calls.describe),
                        ("cancel", calls.cancel),
                        ("list", calls.list),
                    ]),
                })
                .collect(),
            violations: run.violations.clone(),
        }
    }
}

impl Totals {
    #[expect(clippy::cast_precision_loss, reason = "numbers of views are small")]
    fn new(scenario: &Scenario, views: &[ViewReport]) -> Self {
        let mut shares: Vec<f64> = views
            .iter()
            .filter_map(|view| share(view.cycles_in_target, view.cycles))
            .collect();
        shares.sort_by(f64::total_cmp);
        // The promise is on the unread age where arrivals are probed, else on the clock lag.
        let worst = views
            .iter()
            .zip(&scenario.views)
            .filter_map(|(view, model)| {
                let lag = if model.probe.is_some() {
                    view.unread_age_s
                } else {
                    view.clock_lag_s
                };
                Some(lag?.max / view.target_lag_s)
            });
        let mean = shares.iter().sum::<f64>() / shares.len() as f64;
        Self {
            refreshes: views.iter().map(|view| view.refreshes).sum(),
            mean: (!shares.is_empty()).then_some(mean),
            p5: shares.get(shares.len() / 20).copied(),
            min: shares.first().copied(),
            worst_lag_ratio: worst.max_by(f64::total_cmp),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of refreshes")]
fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// Views of one policy that the table shows one by one.
const ROWS: usize = 20;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}, seed {}", self.scenario, self.seed)?;
        writeln!(
            f,
            "{:<10} {:<16} {:>8} {:>8} {:>10} {:>9} {:>9} {:>9} {:>7} {:>6}",
            "policy",
            "view",
            "target s",
            "cycles",
            "in target",
            "lag p50",
            "lag p99",
            "refreshes",
            "bound",
            "ratio",
        )?;
        for policy in &self.policies {
            for view in policy.views.iter().take(ROWS) {
                view.write_row(f, policy.policy)?;
            }
            if let Some(more) = policy
                .views
                .len()
                .checked_sub(ROWS)
                .filter(|more| *more > 0)
            {
                writeln!(f, "{:<10} … and {more} more", policy.policy)?;
            }
            let totals = &policy.totals;
            writeln!(
                f,
                "{:<10} all: in target mean {}, 5th percentile {}, worst {}; worst lag {} targets; {} refreshes",
                policy.policy,
                percent(totals.mean),
                percent(totals.p5),
                percent(totals.min),
                number(totals.worst_lag_ratio),
                totals.refreshes,
            )?;
            for violation in &policy.violations {
                writeln!(f, "{:<10} VIOLATION {violation}", policy.policy)?;
            }
        }
        Ok(())
    }
}

impl ViewReport {
    fn write_row(&self, f: &mut fmt::Formatter<'_>, policy: &str) -> fmt::Result {
        writeln!(
            f,
            "{:<10} {:<16} {:>8} {:>8} {:>10} {:>9} {:>9} {:>9} {:>7} {:>6}",
            policy,
            self.view,
            self.target_lag_s,
            self.cycles,
            percent(share(self.cycles_in_target, self.cycles)),
            number(self.clock_lag_s.map(|lag| lag.p50)),
            number(self.clock_lag_s.map(|lag| lag.p99)),
            self.refreshes,
            self.lower_bound
                .map_or_else(|| "-".to_owned(), |bound| bound.to_string()),
            number(self.ratio),
        )
    }
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "-".to_owned(), |share| format!("{:.2} %", share * 100.0))
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"))
}
