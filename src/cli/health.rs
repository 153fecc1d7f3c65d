//! `tidekeeper healthcheck`: whose address to ask.
//!
//! Decides: the address given, else the one in the configuration the daemon runs with, else
//! the one in the environment, else the default.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use super::healthcheck;
use crate::config::{self, Source};

/// Where the daemon listens.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Args {
    /// The daemon's address.
    #[arg(long)]
    address: Option<SocketAddr>,
    /// The configuration that the daemon runs with.
    #[arg(long, short, value_name = "FILE", env = "TIDEKEEPER_CONFIG")]
    config: Option<PathBuf>,
}

impl Args {
    /// The address to ask.
    pub(super) fn address(&self) -> SocketAddr {
        self.address.unwrap_or_else(|| configured(self))
    }
}

pub(super) async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let healthy = healthcheck::run(args.address()).await?;
    Ok(if healthy {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What the configuration or the environment says; the default where neither does.
fn configured(args: &Args) -> SocketAddr {
    let environment = super::environment();
    let overridden = environment
        .get("TIDEKEEPER_DAEMON__LISTEN")
        .and_then(|address| address.parse().ok());
    Source::choose(args.config.as_deref(), &environment)
        .ok()
        .and_then(|source| config::load(&source, &environment).config)
        .map(|config| config.daemon.listen)
        .or(overridden)
        .unwrap_or(config::LISTEN)
}
