//! `tidekeeper check`: every mistake in a configuration, one line each.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use super::EXIT_CONFIG;
use crate::config::{self, Source};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration; `-` reads standard input.
    #[arg(long, short, value_name = "FILE", env = "TIDEKEEPER_CONFIG")]
    config: Option<PathBuf>,
    /// Print what every view ends up with after defaults, groups and overrides.
    #[arg(long)]
    print_effective: bool,
    /// Also walk the way to the data, as `setup verify` does.
    #[arg(long)]
    online: bool,
}

pub(super) async fn run(args: &Args, stdout: &mut impl Write) -> anyhow::Result<ExitCode> {
    let environment = super::environment();
    let source = Source::choose(args.config.as_deref(), &environment)?;
    let loaded = config::load(&source, &environment);
    for problem in &loaded.problems {
        writeln!(stdout, "{problem}")?;
    }
    if let Some(config) = loaded.config.as_ref().filter(|_| args.print_effective) {
        writeln!(stdout, "{}", config::effective(config)?)?;
    }
    if let Some(config) = loaded
        .config
        .filter(|_| args.online && loaded.problems.is_empty())
    {
        return super::setup::verify_all(&config, false, stdout).await;
    }
    Ok(if loaded.problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_CONFIG)
    })
}
