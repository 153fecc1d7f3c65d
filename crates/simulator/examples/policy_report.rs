//! `make policy-report`: what the policy must reach, over many seeds, as a table in Markdown.
//!
//! Decides: the figures that are promised, and that a missed one is a failure.
//! Arguments: the number of seeds (10), then names of scenarios (all). After all of them comes
//! a second table: every policy on the single-view workloads, seed 1.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use tidekeeper_scheduler::{Billing, Span, Timestamp};
use tidekeeper_simulator::{
    Attempt, Nobody, Observer, Policy, Report, Scenario, WarehouseModel, run,
};

/// What is measured of one run, and how much of it is enough.
#[derive(Clone, Copy)]
enum Figure {
    /// Refreshes ÷ lower bound, at most.
    Ratio(f64),
    /// Share of cycles in target, at least.
    Cycles(f64),
    /// Share of the time in which nothing was unread for longer than the target, at least.
    Unread(f64),
    /// Of the cycles that end in this part of the run, at least.
    CyclesWithout(&'static [(i64, i64)], f64),
    /// Of the 50 cycles from the 11th after this second on, at least.
    Recovery(i64, f64),
    /// Worst lag ÷ target, at most.
    Worst(f64),
    /// Fewest refreshes of a view, at least.
    Starved(f64),
    /// Awake seconds ÷ bound, at most.
    Awake(f64),
    /// Awake seconds without alignment ÷ with it, at least.
    Saved(f64),
    /// Late rate less wanted late rate, in size, at most; over all seeds together.
    Calibration(f64),
    /// Views suspended, plus broken invariants, at most.
    Suspended(f64),
}

struct Row {
    scenario: &'static str,
    /// All views when absent.
    view: Option<&'static str>,
    figures: &'static [Figure],
}

const DENSE: &[Figure] = &[
    Figure::Ratio(1.08),
    Figure::Cycles(0.975),
    Figure::Calibration(0.005),
];

const ROWS: &[Row] = &[
    row("steady", Some("t60"), DENSE),
    row("diurnal", Some("t60"), DENSE),
    row("spikes", Some("t60"), DENSE),
    row(
        "steady",
        Some("t90"),
        &[Figure::Ratio(1.07), Figure::Cycles(0.975)],
    ),
    row(
        "on-off",
        Some("t60"),
        &[Figure::Ratio(1.32), Figure::Cycles(0.975)],
    ),
    row(
        "on-off-probed",
        Some("t60"),
        &[Figure::Ratio(1.10), Figure::Cycles(0.975)],
    ),
    row(
        "poisson-probed",
        Some("t60"),
        &[Figure::Ratio(1.05), Figure::Unread(0.995)],
    ),
    row(
        "silent-probed",
        Some("t60"),
        &[Figure::Ratio(1.05), Figure::Unread(0.999)],
    ),
    row(
        "backlog",
        Some("t60"),
        &[
            Figure::Ratio(1.15),
            Figure::CyclesWithout(&[(43_200, 48_600)], 0.97),
        ],
    ),
    row(
        "regime",
        Some("t60"),
        &[
            Figure::Recovery(43_200, 0.95),
            Figure::CyclesWithout(&[(43_200, 43_900), (64_800, 66_000)], 0.97),
        ],
    ),
    row(
        "contention-85",
        None,
        &[Figure::Ratio(1.07), Figure::Cycles(0.975)],
    ),
    row(
        "contention-130",
        None,
        &[Figure::Worst(1.8), Figure::Starved(10.0)],
    ),
    row(
        "serverless-sparse",
        None,
        &[
            Figure::Awake(1.08),
            Figure::Saved(3.0),
            Figure::Cycles(0.975),
        ],
    ),
    row(
        "throttled",
        None,
        &[Figure::Suspended(0.0), Figure::Cycles(0.95)],
    ),
    row("noise-half", Some("t60"), &[Figure::Calibration(0.005)]),
];

const fn row(
    scenario: &'static str,
    view: Option<&'static str>,
    figures: &'static [Figure],
) -> Row {
    Row {
        scenario,
        view,
        figures,
    }
}

/// When cycles ended, and whether in target; of the view that the row is about.
struct Cycles {
    view: Option<usize>,
    target: Span,
    data: Option<Timestamp>,
    ended: Vec<(i64, bool)>,
}

impl Observer for Cycles {
    fn attempt(&mut self, attempt: &Attempt) {
        if self.view != Some(attempt.view) || !attempt.outcome.succeeded() {
            return;
        }
        if let Some(data) = self.data {
            let second = (attempt.finish - Timestamp::default()).as_micros() / 1_000_000;
            let held = attempt.finish - data <= self.target;
            self.ended.push((second, held));
        }
        self.data = Some(attempt.data);
    }
}

/// One seed of one scenario.
struct Sample {
    report: Report,
    cycles: Vec<(i64, bool)>,
    /// Awake seconds of the same world without alignment.
    unaligned: Option<f64>,
    suspended: usize,
}

fn sample(scenario: &Scenario, row: &Row, seed: u64) -> Sample {
    let place = |name| scenario.views.iter().position(|view| view.name == name);
    let view = row.view.and_then(place);
    let mut cycles = Cycles {
        view,
        target: view
            .and_then(|view| scenario.views.get(view))
            .map_or(Span::ZERO, |view| view.target_lag),
        data: None,
        ended: Vec::new(),
    };
    let done = run(scenario, seed, Policy::Adaptive, &mut cycles);
    let suspended = done.snapshot.iter().flat_map(|all| &all.views);
    let suspended = suspended.filter(|view| view.state.label() == "suspended");
    let suspended = suspended.count() + done.violations.len();
    let wants = |figure: &Figure| matches!(figure, Figure::Saved(_));
    let unaligned = row.figures.iter().any(wants).then(|| {
        let mut apart = scenario.clone();
        let provisioned = |warehouse: &mut WarehouseModel| {
            warehouse.billing = Billing::Provisioned;
        };
        apart.warehouses.iter_mut().for_each(provisioned);
        let done = run(&apart, seed, Policy::Adaptive, &mut Nobody);
        awake(&Report::new(&apart, seed, &[done]))
    });
    Sample {
        report: Report::new(scenario, seed, &[done]),
        cycles: cycles.ended,
        unaligned,
        suspended,
    }
}

fn awake(report: &Report) -> f64 {
    let warehouses = report.policies.iter().flat_map(|policy| &policy.warehouses);
    warehouses.map(|warehouse| warehouse.awake_seconds).sum()
}

impl Figure {
    fn name(self) -> &'static str {
        match self {
            Self::Ratio(_) => "refreshes ÷ lower bound",
            Self::Cycles(_) => "cycles in target",
            Self::Unread(_) => "time in target (unread age)",
            Self::CyclesWithout(..) => "cycles in target outside the fault",
            Self::Recovery(..) => "cycles 11 to 60 after the change in target",
            Self::Worst(_) => "worst lag ÷ target",
            Self::Starved(_) => "fewest refreshes of a view",
            Self::Awake(_) => "awake seconds ÷ bound",
            Self::Saved(_) => "awake seconds unaligned ÷ aligned",
            Self::Calibration(_) => "late rate off the wanted one (pooled)",
            Self::Suspended(_) => "views suspended, invariants broken",
        }
    }

    /// The promise, and whether more is better.
    fn promise(self) -> (f64, bool) {
        match self {
            Self::Cycles(least)
            | Self::Unread(least)
            | Self::CyclesWithout(_, least)
            | Self::Recovery(_, least)
            | Self::Starved(least)
            | Self::Saved(least) => (least, true),
            Self::Ratio(most)
            | Self::Worst(most)
            | Self::Awake(most)
            | Self::Calibration(most)
            | Self::Suspended(most) => (most, false),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of refreshes")]
    fn of(self, sample: &Sample, view: Option<&str>) -> f64 {
        let views = || {
            let views = sample
                .report
                .policies
                .iter()
                .flat_map(|policy| &policy.views);
            views.filter(move |at| view.is_none_or(|name| at.view == name))
        };
        let sum = |of: &dyn Fn(&tidekeeper_simulator::ViewReport) -> u64| {
            views().map(of).sum::<u64>() as f64
        };
        let held = |ended: &mut dyn Iterator<Item = &(i64, bool)>| {
            let ended: Vec<bool> = ended.map(|(_, held)| *held).collect();
            ended.iter().filter(|held| **held).count() as f64 / ended.len() as f64
        };
        match self {
            Self::Ratio(_) => {
                sum(&|view| view.refreshes) / sum(&|view| view.lower_bound.unwrap_or(0))
            }
            Self::Cycles(_) => sum(&|view| view.cycles_in_target) / sum(&|view| view.cycles),
            Self::Unread(_) => {
                let shares = views().filter_map(|view| view.unread_time_in_target);
                shares.fold(1.0, f64::min)
            }
            Self::CyclesWithout(faults, _) => held(
                &mut sample
                    .cycles
                    .iter()
                    .filter(|(at, _)| !faults.iter().any(|(from, until)| from <= at && at < until)),
            ),
            Self::Recovery(since, _) => {
                let after = sample.cycles.iter().filter(|(at, _)| *at >= since);
                held(&mut after.skip(10).take(50))
            }
            Self::Worst(_) => {
                let worst = |view: &tidekeeper_simulator::ViewReport| {
                    view.clock_lag_s
                        .map_or(0.0, |lag| lag.max / view.target_lag_s)
                };
                views().map(worst).fold(0.0, f64::max)
            }
            Self::Starved(_) => views().map(|view| view.refreshes).min().unwrap_or(0) as f64,
            Self::Awake(_) => {
                let warehouses = sample.report.policies.iter().flat_map(|p| &p.warehouses);
                let bound: f64 = warehouses.filter_map(|at| at.awake_bound).sum();
                awake(&sample.report) / bound
            }
            Self::Saved(_) => sample.unaligned.unwrap_or(f64::NAN) / awake(&sample.report),
            Self::Calibration(_) => {
                let off = |view: &tidekeeper_simulator::ViewReport| {
                    Some(view.late_rate? - view.wanted_late_rate?)
                };
                let all: Vec<f64> = views().filter_map(off).collect();
                all.iter().sum::<f64>() / all.len() as f64
            }
            Self::Suspended(_) => sample.suspended as f64,
        }
    }
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let seeds = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(10);
    let wanted: Vec<String> = arguments.collect();
    match report(seeds, &wanted) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn report(seeds: u64, wanted: &[String]) -> Result<bool, Box<dyn std::error::Error>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "| scenario | figure | promised | mean | worst of {seeds} seeds | |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|")?;
    let mut all_held = true;
    for row in ROWS {
        if !wanted.is_empty() && !wanted.iter().any(|name| name == row.scenario) {
            continue;
        }
        let scenario = Scenario::load(&directory.join(format!("{}.toml", row.scenario)))?;
        let samples: Vec<Sample> = (1..=seeds)
            .map(|seed| sample(&scenario, row, seed))
            .collect();
        for figure in row.figures {
            let values: Vec<f64> = samples.iter().map(|s| figure.of(s, row.view)).collect();
            let (line, held) = judged(row, *figure, &values);
            writeln!(out, "{line}")?;
            out.flush()?;
            all_held &= held;
        }
    }
    if wanted.is_empty() {
        frontier(&mut out, &directory)?;
    }
    Ok(all_held)
}

const WORKLOADS: [&str; 7] = [
    "steady",
    "diurnal",
    "on-off",
    "poisson-probed",
    "spikes",
    "silent-probed",
    "backlog",
];

/// Every policy on every workload: refreshes ÷ lower bound, and cycles in target.
fn frontier(
    out: &mut dyn std::io::Write,
    directory: &Path,
) -> Result<(), Box<dyn std::error::Error>> {
    writeln!(out, "\n| policy | {} |", WORKLOADS.join(" | "))?;
    writeln!(out, "|---{}|", "|---".repeat(WORKLOADS.len()))?;
    for policy in Policy::ALL {
        write!(out, "| {} |", policy.name())?;
        for name in WORKLOADS {
            let mut scenario = Scenario::load(&directory.join(format!("{name}.toml")))?;
            scenario.views.retain(|view| view.name == "t60");
            let done = run(&scenario, 1, policy, &mut Nobody);
            let report = Report::new(&scenario, 1, &[done]);
            let mut views = report.policies.iter().flat_map(|policy| &policy.views);
            let view = views.next().ok_or("there is no view t60")?;
            #[expect(clippy::cast_precision_loss, reason = "counts of cycles")]
            let held = 100.0 * view.cycles_in_target as f64 / view.cycles.max(1) as f64;
            write!(out, " {:.2}× {held:.1} % |", view.ratio.unwrap_or(f64::NAN))?;
        }
        writeln!(out)?;
        out.flush()?;
    }
    Ok(())
}

/// The mean must keep the promise, the worst seed with a tolerance of 0.02.
fn judged(row: &Row, figure: Figure, values: &[f64]) -> (String, bool) {
    let (promise, more) = figure.promise();
    #[expect(clippy::cast_precision_loss, reason = "a number of seeds")]
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let pooled = matches!(figure, Figure::Calibration(_));
    let (worst, held) = if pooled {
        (least.abs().max(most.abs()), mean.abs() <= promise)
    } else if more {
        (least, mean >= promise && least >= promise - 0.02)
    } else {
        (most, mean <= promise && most <= promise + 0.02)
    };
    let place = row.view.map_or_else(String::new, |view| format!(" {view}"));
    let sign = if more { "≥" } else { "≤" };
    let line = format!(
        "| {}{place} | {} | {sign} {promise} | {mean:.4} | {worst:.4} | {} |",
        row.scenario,
        figure.name(),
        if held { "held" } else { "**missed**" }
    );
    (line, held)
}
