//! `tidekeeper simulate`: the production scheduler in a virtual world, next to baselines.
//!
//! Decides: arguments and where the results go. Deliberately absent: the simulation itself
//! (see `tidekeeper-simulator`).

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use tidekeeper_simulator::{Attempt, Nobody, Observer, Policy, Report, Scenario};

/// Run the scheduler in a virtual world, next to baselines and a lower bound.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The scenario file (TOML).
    scenario: PathBuf,
    /// Only this policy: adaptive, cron or half. May be repeated; all when absent.
    #[arg(long = "policy", value_name = "NAME", value_parser = policy)]
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
}

fn policy(name: &str) -> Result<Policy, String> {
    Policy::named(name).ok_or_else(|| {
        let known = Policy::ALL.map(Policy::name).join(", ");
        format!("there is no such policy; there are {known}")
    })
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
    let mut tracer = args
        .trace
        .as_ref()
        .map(|path| Tracer::create(path, &scenario))
        .transpose()?;
    let mut runs = Vec::new();
    for policy in policies {
        runs.push(match &mut tracer {
            Some(tracer) => {
                tracer.policy = policy.name();
                tidekeeper_simulator::run(&scenario, seed, policy, tracer)
            }
            None => tidekeeper_simulator::run(&scenario, seed, policy, &mut Nobody),
        });
    }
    if let Some(tracer) = tracer {
        tracer.finish()?;
    }
    let report = Report::new(&scenario, seed, &runs);
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

/// Writes attempts as they end; a failed write is kept for the end.
struct Tracer<'a> {
    policy: &'static str,
    scenario: &'a Scenario,
    path: PathBuf,
    out: BufWriter<File>,
    failed: Option<std::io::Error>,
}

impl<'a> Tracer<'a> {
    fn create(path: &std::path::Path, scenario: &'a Scenario) -> anyhow::Result<Self> {
        let file = File::create(path);
        let file = file.with_context(|| format!("{} cannot be written", path.display()))?;
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
