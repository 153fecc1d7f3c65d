//! `tidekeeper simulate`: the production scheduler in a virtual world, next to baselines.
//!
//! Decides: arguments and where the results go. Deliberately absent: the simulation itself
//! (see `tidekeeper-simulator`).

use std::fs::File;
use std::io::{BufWriter, IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use tidekeeper_simulator::{Attempt, Observer, Plot, Policy, Report, Run, Scenario};

/// Targets' lengths in the horizon, over all views, that take about half a minute.
const LONG: f64 = 2e6;

/// Run the scheduler in a virtual world, next to baselines and a lower bound.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The scenario file (TOML).
    scenario: PathBuf,
    #[arg(long = "policy", value_name = "NAME", value_parser = policy, help = policy_help())]
    policies: Vec<Policy>,
    /// Another seed than the scenario's.
    #[arg(long)]
    seed: Option<u64>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Write every attempt, with the world's true times, as a line of JSON.
    #[arg(long, value_name = "FILE.jsonl")]
    trace: Option<PathBuf>,
    /// Draw the first view's clock lag, and what every policy costs and attains.
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

fn known_policies() -> String {
    Policy::ALL.map(Policy::name).join(", ")
}

fn policy_help() -> String {
    let known = known_policies();
    format!("Only this policy ({known}); may be repeated; all when absent")
}

fn policy(name: &str) -> Result<Policy, String> {
    Policy::named(name)
        .ok_or_else(|| format!("there is no such policy; there are {}", known_policies()))
}

/// Simulates and reports.
///
/// # Errors
/// Where the scenario is wrong, a file cannot be read or written, or the simulation saw
/// what must never happen.
pub(super) fn run(args: &Args, stdout: &mut dyn Write) -> anyhow::Result<()> {
    let scenario = Scenario::load(&args.scenario)?;
    let seed = args.seed.unwrap_or(scenario.seed);
    let policies = if args.policies.is_empty() {
        Policy::ALL.to_vec()
    } else {
        args.policies.clone()
    };
    let mut watchers = Watchers::create(args, &scenario)?;
    let progress = Progress::new(&scenario);
    let mut runs = Vec::new();
    for policy in policies {
        watchers.begin(policy);
        progress.begins(policy);
        let run = tidekeeper_simulator::run(&scenario, seed, policy, &mut watchers);
        progress.ends(&run);
        runs.push(run);
    }
    let report = Report::new(&scenario, seed, &runs);
    watchers.finish(&report)?;
    if args.json {
        serde_json::to_writer(&mut *stdout, &report)?;
        writeln!(stdout)?;
    } else {
        write!(stdout, "{report}")?;
    }
    match runs.iter().find_map(|run| run.violations.first()) {
        Some(violation) => bail!("an invariant was broken: {violation}"),
        None => Ok(()),
    }
}

/// Says on stderr who is running, where somebody watches or it takes long.
struct Progress {
    shown: bool,
}

impl Progress {
    fn new(scenario: &Scenario) -> Self {
        let horizon = scenario.duration.as_secs_f64();
        let views = scenario.views.iter();
        let cycles: f64 = views
            .map(|view| horizon / view.target_lag.as_secs_f64())
            .sum();
        Self {
            shown: cycles > LONG || std::io::stderr().is_terminal(),
        }
    }

    fn begins(&self, policy: Policy) {
        self.say(&format!("{} …", policy.name()));
    }

    fn ends(&self, run: &Run) {
        let refreshes = grouped(run.refreshes().iter().sum());
        // Baselines take no steps of the scheduler.
        let steps = match run.steps {
            0 => String::new(),
            steps => format!(" {} steps,", grouped(steps)),
        };
        self.say(&format!("{steps} {refreshes} refreshes\n"));
    }

    /// Progress that cannot be shown is no reason to stop.
    fn say(&self, text: &str) {
        if self.shown {
            let mut stderr = std::io::stderr();
            let written = stderr.write_all(text.as_bytes());
            written.and_then(|()| stderr.flush()).ok();
        }
    }
}

/// `1,234,567`.
fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn create(path: &Path) -> anyhow::Result<File> {
    File::create(path).with_context(|| format!("{} cannot be written", path.display()))
}

/// All who watch: the trace and the picture, each where it is wanted.
struct Watchers<'a> {
    tracer: Option<Tracer<'a>>,
    plotter: Option<Plotter>,
}

/// The picture and where it goes.
struct Plotter {
    plot: Plot,
    path: PathBuf,
    file: File,
}

impl<'a> Watchers<'a> {
    fn create(args: &Args, scenario: &'a Scenario) -> anyhow::Result<Self> {
        let tracer = args.trace.as_ref();
        let tracer = tracer.map(|path| Tracer::create(path, scenario));
        let plotter = args.plot.as_ref().map(|path| {
            anyhow::Ok(Plotter {
                plot: Plot::new(scenario),
                path: path.clone(),
                file: create(path)?,
            })
        });
        Ok(Self {
            tracer: tracer.transpose()?,
            plotter: plotter.transpose()?,
        })
    }

    fn begin(&mut self, policy: Policy) {
        if let Some(tracer) = &mut self.tracer {
            tracer.policy = policy.name();
        }
        if let Some(plotter) = &mut self.plotter {
            plotter.plot.begin(policy);
        }
    }

    fn finish(self, report: &Report) -> anyhow::Result<()> {
        self.tracer.map_or(Ok(()), Tracer::finish)?;
        let Some(mut plotter) = self.plotter else {
            return Ok(());
        };
        let svg = plotter.plot.svg(report);
        let written = plotter.file.write_all(svg.as_bytes());
        written.with_context(|| format!("{} cannot be written", plotter.path.display()))
    }
}

impl Observer for Watchers<'_> {
    fn attempt(&mut self, attempt: &Attempt) {
        if let Some(tracer) = &mut self.tracer {
            tracer.attempt(attempt);
        }
        if let Some(plotter) = &mut self.plotter {
            plotter.plot.attempt(attempt);
        }
    }
}

/// Writes attempts as they end; a failed write is kept for the end.
struct Tracer<'a> {
    policy: &'static str,
    scenario: &'a Scenario,
    path: PathBuf,
    out: BufWriter<File>,
    failed: Option<std::io::Error>,
}

impl<'a> Tracer<'a> {
    fn create(path: &Path, scenario: &'a Scenario) -> anyhow::Result<Self> {
        let file = create(path)?;
        Ok(Self {
            policy: "",
            scenario,
            path: path.to_owned(),
            out: BufWriter::new(file),
            failed: None,
        })
    }

    fn finish(mut self) -> anyhow::Result<()> {
        let flushed = self.out.flush();
        let written = self.failed.map_or(flushed, Err);
        written.with_context(|| format!("{} cannot be written", self.path.display()))
    }
}

impl Observer for Tracer<'_> {
    fn attempt(&mut self, attempt: &Attempt) {
        let view = self.scenario.views.get(attempt.view);
        let (Some(view), None) = (view, &self.failed) else {
            return;
        };
        let written = attempt.write_line(&mut self.out, self.policy, &view.name);
        self.failed = written.err();
    }
}
