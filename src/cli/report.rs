//! `tidekeeper report`: asks a running daemon what it has seen.
//!
//! Decides: what is printed, and where a recording is written.
//! Deliberately absent: figures (`observe`).

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;

use super::health;
use super::healthcheck::reachable;
use super::http_get::http_get;
use crate::observe::report::Report;
use crate::observe::{RECORDING, REPORT, Recording};

/// A recording of many streams takes a while to write.
const LIMIT: Duration = Duration::from_secs(15);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    daemon: health::Args,
    /// The report as one JSON object, instead of a table.
    #[arg(long)]
    json: bool,
    /// Writes what was seen as a scenario for `tidekeeper simulate` into this new directory.
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
}

pub(super) async fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let address = reachable(args.daemon.sure_address()?).to_string();
    if let Some(directory) = &args.record {
        let recording: Recording = serde_json::from_str(&ask(&address, RECORDING).await?)
            .context("the daemon's answer is no recording: is it of this version?")?;
        return record(directory, &recording, args.json, out);
    }
    let body = ask(&address, REPORT).await?;
    let report: Report = serde_json::from_str(&body)
        .context("the daemon's answer is no report: is it of this version?")?;
    if args.json {
        writeln!(out, "{body}")?;
    } else {
        write!(out, "{}", report.text())?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn ask(address: &str, path: &str) -> anyhow::Result<String> {
    let (status, body) = http_get(address, path, LIMIT).await?;
    anyhow::ensure!(
        status == 200,
        "the daemon at {address} answered {status}: {}",
        body.trim()
    );
    Ok(body)
}

fn record(
    directory: &Path,
    recording: &Recording,
    json: bool,
    out: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    // A directory that is there may hold an earlier recording that somebody has edited.
    std::fs::create_dir(directory)
        .with_context(|| format!("cannot make the directory {}", directory.display()))?;
    let mut scenario = directory.to_owned();
    for (name, text) in recording.files() {
        let path = directory.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        scenario = path;
    }
    if json {
        let written = serde_json::json!({ "scenario": scenario.display().to_string() });
        writeln!(out, "{written}")?;
    } else {
        let path = scenario.display();
        writeln!(out, "written; next: tidekeeper simulate {path}")?;
    }
    Ok(ExitCode::SUCCESS)
}
