//! `tidekeeper healthcheck` and `report`: whose address to ask.
//!
//! Decides: the address given, else the one in the configuration the daemon runs with, else
//! the one in the environment, else the default.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;

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

    /// The same for somebody who waits for an answer: with a configuration that is not there
    /// they would be told of another daemon.
    ///
    /// # Errors
    /// When the configuration decides and cannot be read.
    pub(super) fn sure_address(&self) -> anyhow::Result<SocketAddr> {
        if self.address.is_none()
            && let Some(path) = self.config.as_deref()
            && path.as_os_str() != "-"
        {
            std::fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        }
        Ok(self.address())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_that_is_not_there_is_said_unless_the_address_is_given() {
        let args = Args {
            address: None,
            config: Some("no/such/file.toml".into()),
        };
        let error = args.sure_address().unwrap_err().to_string();
        assert_eq!(error, "cannot read no/such/file.toml");
        let named = Args {
            address: Some(([127, 0, 0, 1], 1).into()),
            ..args
        };
        assert_eq!(named.sure_address().unwrap().port(), 1);
    }
}
