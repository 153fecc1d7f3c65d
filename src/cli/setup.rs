//! `tidekeeper setup`: what a configuration asks of IAM and of Redshift: printed, applied,
//! verified.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value, json};
use tidekeeper_scheduler::WarehouseId;

use super::EXIT_CONFIG;
use super::asking::{self, Asking};
use crate::config::{self, Config, Source};
use crate::setup::apply::{Done, Meets, Planned};
use crate::setup::iam::{Account, Side};
use crate::setup::sql::Step;
use crate::setup::{apply, cloudformation, existing, iam, sql, verify};

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
    /// Creates what is missing, after having shown it; never drops or changes anything.
    Apply(ApplyArgs),
    /// Walks from the daemon's credentials to a row of every view, and says how each link is.
    Verify(VerifyArgs),
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

#[derive(Debug, clap::Args)]
struct ApplyArgs {
    #[command(flatten)]
    configured: Configured,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    /// One JSON object: the plan, and how each statement ended.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct VerifyArgs {
    #[command(flatten)]
    configured: Configured,
    /// The links as one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(
    args: &Args,
    stdout: &mut impl Write,
    stderr: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Apply(args) => {
            let Some(config) = args.configured.load(stderr)? else {
                return Ok(ExitCode::from(EXIT_CONFIG));
            };
            apply_all(args, &config, stdout, stderr).await
        }
        Command::Verify(args) => {
            let Some(config) = args.configured.load(stderr)? else {
                return Ok(ExitCode::from(EXIT_CONFIG));
            };
            verify_all(&config, args.json, stdout).await
        }
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

/// Prints what every link is like; 1 where one is broken, 2 where one cannot be verified.
pub(super) async fn verify_all(
    config: &Config,
    as_json: bool,
    stdout: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    let mut asking = Asking::new(config);
    let clock = asking.clock;
    let report = Box::pin(verify::verify(config, &mut asking.clients, &clock)).await;
    if as_json {
        writeln!(stdout, "{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        write!(stdout, "{}", report.text())?;
    }
    Ok(ExitCode::from(report.exit_code()))
}

async fn apply_all(
    args: &ApplyArgs,
    config: &Config,
    stdout: &mut impl Write,
    stderr: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    let mut asking = Asking::new(config);
    let steps = sql::statements(config);
    let mut existing = BTreeMap::new();
    for step in &steps {
        let auth = apply::auth(config, step);
        let place: apply::Place = (step.warehouse.clone(), step.database.clone(), auth);
        if existing.contains_key(&place) {
            continue;
        }
        let warehouse = WarehouseId::from(place.0.as_str());
        let Some(client) = asking.client(config, &warehouse).await else {
            continue;
        };
        match existing::look(&client, &place.1, &place.2).await {
            Ok(found) => {
                existing.insert(place, found);
            }
            Err(failure) => {
                writeln!(
                    stderr,
                    "{}/{}: {}",
                    place.0,
                    place.1,
                    asking::words(&failure)
                )?;
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    let planned = apply::plan(config, steps, &existing);
    if !args.json {
        write!(stdout, "{}", apply::text(&planned))?;
    }
    let missing = planned.iter().any(|one| one.meets == Meets::Missing);
    if missing && !args.yes && !agreed(stderr)? {
        if args.json {
            report_applied(true, &planned, &[], stdout)?;
        }
        return Ok(ExitCode::FAILURE);
    }
    let done = run_missing(config, &mut asking, &planned).await;
    report_applied(args.json, &planned, &done, stdout)?;
    let sound = done
        .iter()
        .all(|(_, done)| matches!(done, Done::Created | Done::WasThere));
    let differs = planned
        .iter()
        .any(|one| matches!(one.meets, Meets::Differs { .. }));
    Ok(if sound && !differs {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Asks a person; without one, says how to do without.
fn agreed(stderr: &mut impl Write) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        writeln!(stderr, "nothing was run: there is nobody to ask; add --yes")?;
        return Ok(false);
    }
    write!(stderr, "Apply? [y/N] ")?;
    stderr.flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

async fn run_missing<'a>(
    config: &Config,
    asking: &mut Asking,
    planned: &'a [Planned],
) -> Vec<(&'a Step, Done)> {
    let mut places: BTreeMap<(&str, &str), Vec<&Planned>> = BTreeMap::new();
    for one in planned.iter().filter(|one| one.meets == Meets::Missing) {
        let place = (one.step.warehouse.as_str(), one.step.database.as_str());
        places.entry(place).or_default().push(one);
    }
    let mut all = Vec::new();
    for ((warehouse, _), missing) in places {
        let id = WarehouseId::from(warehouse);
        if let Some(client) = asking.client(config, &id).await {
            let done = apply::run(&client, &missing).await;
            let steps = missing.into_iter().map(|one| &one.step);
            all.extend(steps.zip(done));
        }
    }
    all
}

fn report_applied(
    as_json: bool,
    planned: &[Planned],
    done: &[(&Step, Done)],
    stdout: &mut impl Write,
) -> anyhow::Result<()> {
    if as_json {
        let plan = planned.iter().map(|one| {
            let meets = match &one.meets {
                Meets::Missing => json!("missing"),
                Meets::Exists => json!("exists"),
                Meets::Differs { how, mend } => json!({ "differs": how, "mend": mend }),
            };
            json!({ "step": sql::as_json(&one.step), "meets": meets })
        });
        let ended = done.iter().map(|(step, done)| {
            json!({ "sql": step.sql, "result": word(done), "error": asking::error_of(done) })
        });
        let all = json!({
            "plan": plan.collect::<Vec<Value>>(),
            "statements": ended.collect::<Vec<Value>>(),
        });
        writeln!(stdout, "{all:#}")?;
        return Ok(());
    }
    for (step, done) in done {
        let (kind, name) = step.kind.object();
        let error = asking::error_of(done).map(|error| format!(": {error}"));
        writeln!(
            stdout,
            "{} {kind} {name}{}",
            word(done),
            error.unwrap_or_default()
        )?;
    }
    Ok(())
}

fn word(done: &Done) -> &'static str {
    match done {
        Done::Created => "done",
        Done::WasThere => "was there",
        Done::Failed(_) => "failed",
        Done::NotRun => "not run",
    }
}
