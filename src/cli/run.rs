//! `tidekeeper run`: the daemon.

use std::path::PathBuf;
use std::process::ExitCode;

use super::EXIT_CONFIG;
use crate::app::{self, Ended};
use crate::config::Source;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration; `-` reads standard input. Without it, the text in
    /// `TIDEKEEPER_CONFIG_CONTENT` is taken.
    #[arg(long, short, value_name = "FILE", env = "TIDEKEEPER_CONFIG")]
    config: Option<PathBuf>,
}

pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let environment = super::environment();
    let source = Source::choose(args.config.as_deref(), &environment)?;
    let ended = Box::pin(app::run(source, environment)).await?;
    Ok(match ended {
        Ended::Drained => ExitCode::SUCCESS,
        Ended::AtOnce => ExitCode::FAILURE,
        Ended::NoConfiguration => ExitCode::from(EXIT_CONFIG),
    })
}
