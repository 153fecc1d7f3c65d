//! Arguments → one function per subcommand → an exit code.
//!
//! Decides: the command line's shape and what each exit code means.
//! Deliberately absent: work. Each subcommand's file does its own.

mod asking;
mod check;
#[cfg(feature = "lab")]
mod demo;
mod discover;
mod health;
pub mod healthcheck;
mod http_get;
#[cfg(feature = "lab")]
mod lab;
mod peek;
mod report;
mod run;
mod setup;
mod simulate;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::Environment;
use crate::logging::{self, LogFormat};

/// `EX_CONFIG` of sysexits: do not restart, mend the configuration.
pub const EXIT_CONFIG: u8 = 78;

/// Keeps Amazon Redshift streaming materialized views inside their freshness target.
#[derive(Debug, Parser)]
#[command(name = "tidekeeper", version, about, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    logs: Logs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Logs {
    /// Log lines as text or JSON; JSON unless stderr is a terminal.
    #[arg(long, global = true, env = "TIDEKEEPER_LOG_FORMAT", value_enum)]
    log_format: Option<LogFormat>,
    /// What to log, as tracing directives: `info`, `tidekeeper=debug,warn`.
    #[arg(long, global = true, env = "TIDEKEEPER_LOG")]
    log: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the daemon until it is told to stop.
    Run(run::Args),
    /// Checks a configuration and names every mistake in it.
    Check(check::Args),
    /// Runs the daemon against a local warehouse with sample streams, and sums up.
    #[cfg(feature = "lab")]
    Demo(demo::Args),
    /// Runs the local streaming warehouse alone.
    #[cfg(feature = "lab")]
    Lab(lab::Args),
    /// Prints the IAM roles and the SQL that a configuration asks for.
    Setup(setup::Args),
    /// Prints a warehouse's streaming views as a configuration, ready to edit.
    Discover(discover::Args),
    /// Shows the last rows of a view.
    Peek(peek::Args),
    /// Tells how fresh a running daemon sees its views, by whom, and what it would do itself.
    Report(report::Args),
    /// Runs the scheduler in a virtual world, next to baselines and a lower bound.
    Simulate(simulate::Args),
    /// Asks a running daemon whether it is alive; for container health checks.
    Healthcheck(health::Args),
    /// Prints the JSON Schema of the configuration.
    Schema,
}

/// The process's environment; what is not UTF-8 is not ours.
fn environment() -> Environment {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// Runs the program with these arguments, and says how it went.
///
/// # Errors
/// Whatever ended the subcommand early; it has not been printed yet.
pub async fn main(arguments: impl IntoIterator<Item = OsString>) -> anyhow::Result<ExitCode> {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            error.print()?;
            return Ok(ExitCode::from(if error.use_stderr() { 64 } else { 0 }));
        }
    };
    logging::init(cli.logs.log_format, cli.logs.log.as_deref())?;
    let mut stdout = std::io::stdout().lock();
    match cli.command {
        Command::Run(args) => run::run(args).await,
        Command::Check(args) => Box::pin(check::run(&args, &mut stdout)).await,
        #[cfg(feature = "lab")]
        Command::Demo(args) => demo::run(args, &mut stdout).await,
        #[cfg(feature = "lab")]
        Command::Lab(args) => lab::run(args, &mut stdout).await,
        Command::Setup(args) => {
            Box::pin(setup::run(&args, &mut stdout, &mut std::io::stderr())).await
        }
        Command::Discover(args) => {
            Box::pin(discover::run(&args, &mut stdout, &mut std::io::stderr())).await
        }
        Command::Peek(args) => {
            Box::pin(peek::run(&args, &mut stdout, &mut std::io::stderr())).await
        }
        Command::Report(args) => report::run(&args, &mut stdout).await,
        Command::Simulate(args) => {
            simulate::run(&args, &mut stdout)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Healthcheck(args) => health::run(&args).await,
        Command::Schema => {
            writeln!(stdout, "{:#}", crate::config::schema())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}
