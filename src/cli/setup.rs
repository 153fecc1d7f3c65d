//! `tidekeeper setup`: what a configuration asks of IAM and of Redshift, printed.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use super::EXIT_CONFIG;
use crate::config::{self, Config, Source};
use crate::setup::iam::{Account, Side};
use crate::setup::{cloudformation, iam, sql};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Prints the roles, trust policies and permissions that the configuration asks for.
    Iam(IamArgs),
    /// Prints the SQL that creates external schemas and views.
    Sql(SqlArgs),
}

#[derive(Debug, clap::Args)]
struct Configured {
    /// The configuration; `-` reads standard input.
    #[arg(long, short, value_name = "FILE", env = "TIDEKEEPER_CONFIG")]
    config: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct IamArgs {
    #[command(flatten)]
    configured: Configured,
    #[arg(long, value_enum, default_value_t = Format::Json)]
    format: Format,
    /// `stream`, `warehouse`, `all`, or an account id.
    #[arg(long, value_name = "WHICH", default_value = "all")]
    account: Which,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    Json,
    /// A template per account.
    Cloudformation,
}

#[derive(Clone, Debug)]
enum Which {
    All,
    Side(Side),
    Id(String),
}

impl std::str::FromStr for Which {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "all" => Ok(Self::All),
            "stream" => Ok(Self::Side(Side::Stream)),
            "warehouse" => Ok(Self::Side(Side::Warehouse)),
            id if id.len() == 12 && id.chars().all(|c| c.is_ascii_digit()) => {
                Ok(Self::Id(id.to_owned()))
            }
            other => Err(format!(
                "`{other}` is no account; write stream, warehouse, all or twelve digits"
            )),
        }
    }
}

#[derive(Debug, clap::Args)]
struct SqlArgs {
    #[command(flatten)]
    configured: Configured,
    /// Instead: take views that exist away from AUTO REFRESH.
    #[arg(long)]
    migrate: bool,
    /// As a JSON array.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(
    args: &Args,
    stdout: &mut impl Write,
    stderr: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Iam(args) => {
            let Some(config) = args.configured.load(stderr)? else {
                return Ok(ExitCode::from(EXIT_CONFIG));
            };
            print_iam(args, &config, stdout, stderr)
        }
        Command::Sql(args) => {
            let Some(config) = args.configured.load(stderr)? else {
                return Ok(ExitCode::from(EXIT_CONFIG));
            };
            let steps = if args.migrate {
                sql::migration(&config)
            } else {
                sql::statements(&config)
            };
            if args.json {
                let steps: Vec<_> = steps.iter().map(sql::as_json).collect();
                writeln!(stdout, "{}", serde_json::to_string_pretty(&steps)?)?;
            } else {
                write!(stdout, "{}", sql::script(&steps))?;
            }
            if steps.is_empty() {
                writeln!(
                    stderr,
                    "no view has `create`; add `create = {{}}` to those that are to be created"
                )?;
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

impl Configured {
    /// `None` after having said every mistake: half of a setup is not printed.
    fn load(&self, stderr: &mut impl Write) -> anyhow::Result<Option<Config>> {
        let environment = super::environment();
        let source = Source::choose(self.config.as_deref(), &environment)?;
        let loaded = config::load(&source, &environment);
        for problem in &loaded.problems {
            writeln!(stderr, "{problem}")?;
        }
        Ok(loaded.config.filter(|_| loaded.problems.is_empty()))
    }
}

fn print_iam(
    args: &IamArgs,
    config: &Config,
    stdout: &mut impl Write,
    stderr: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    let mut accounts = match iam::documents(config) {
        Ok(accounts) => accounts,
        Err(problems) => {
            for problem in problems {
                writeln!(stderr, "{problem}")?;
            }
            return Ok(ExitCode::from(EXIT_CONFIG));
        }
    };
    accounts.retain(|id, account| wanted(&args.account, id, account));
    match args.format {
        Format::Json => writeln!(stdout, "{}", serde_json::to_string_pretty(&accounts)?)?,
        Format::Cloudformation => {
            let several = accounts.len() > 1;
            for (id, account) in &accounts {
                if several {
                    writeln!(stdout, "---\n# account {id}")?;
                }
                let template = cloudformation::template(id, account)?;
                writeln!(stdout, "{}", serde_json::to_string_pretty(&template)?)?;
            }
        }
    }
    for note in iam::notes(config) {
        writeln!(stderr, "note: {note}")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn wanted(which: &Which, id: &str, account: &Account) -> bool {
    match which {
        Which::All => true,
        Which::Side(side) => account.sides.contains(side),
        Which::Id(wanted) => wanted == id,
    }
}
