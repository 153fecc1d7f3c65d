//! `tidekeeper healthcheck` and `report`: whose address to ask.
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

    /// The same for somebody who waits for an answer: past a configuration that does not say
    /// where the daemon listens they would be told of another daemon.
    ///
    /// # Errors
    /// When a configuration is named and cannot be read; the text tells every mistake.
    pub(super) fn sure_address(&self) -> anyhow::Result<SocketAddr> {
        if self.address.is_some() || self.config.is_none() {
            return Ok(self.address());
        }
        let environment = super::environment();
        let source = Source::choose(self.config.as_deref(), &environment)?;
        let loaded = config::load(&source, &environment);
        let problems: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
        match loaded.config {
            Some(config) => Ok(config.daemon.listen),
            None => anyhow::bail!("{}", problems.join("\n")),
        }
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
    fn a_configuration_that_cannot_be_read_is_said_unless_the_address_is_given() {
        let directory = tempfile::tempdir().unwrap();
        let mistaken = directory.path().join("mistaken.toml");
        std::fs::write(&mistaken, "[daemon\n").unwrap();
        for (path, part) in [
            (PathBuf::from("no/such/file.toml"), "no/such/file.toml"),
            (mistaken, "mistaken.toml:1"),
        ] {
            let args = Args {
                address: None,
                config: Some(path),
            };
            let error = args.sure_address().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
            let named = Args {
                address: Some(([127, 0, 0, 1], 1).into()),
                ..args
            };
            assert_eq!(named.sure_address().unwrap().port(), 1);
        }
    }
}
