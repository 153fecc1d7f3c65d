//! `tidekeeper discover`: a warehouse's streaming views as a configuration, ready to edit.
//!
//! Decides: what is asked (`SVV_MV_INFO`, `SVV_EXTERNAL_SCHEMAS`, the scans' states), where, and
//! as whom. Deliberately absent: what is made of the answers (`discover`).

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use tidekeeper_scheduler::{Failure, WarehouseId};

use super::asking::{self, Asking, FOUND, Reach};
use crate::config::{self, Config, Source};
use crate::discover::{self, Place, Scan};
use crate::setup::existing::{self, LOOK};
use crate::warehouse::question::Question;
use crate::warehouse::{Auth, Client};

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("where").required(true).args(["warehouse", "workgroup", "cluster"]))]
pub(super) struct Args {
    /// A configured warehouse: only views that are not configured are written.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["region", "endpoint_url", "db_user", "secret_arn"])]
    warehouse: Option<String>,
    /// The configuration, for --warehouse; `-` reads standard input.
    #[arg(long, short, value_name = "FILE", env = "TIDEKEEPER_CONFIG")]
    config: Option<PathBuf>,
    #[command(flatten)]
    reach: Reach,
    /// The target lag that every view is given.
    #[arg(long, value_name = "LAG", default_value = "1m")]
    target_lag: String,
    /// What was found as one JSON object, instead of TOML.
    #[arg(long)]
    json: bool,
}

/// Where to look: in a configuration, or in one made of the arguments.
struct Where {
    config: Config,
    warehouse: String,
    database: String,
    is_configured: bool,
}

pub(super) async fn run(
    args: &Args,
    stdout: &mut impl Write,
    stderr: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    let looked = match choose(args)? {
        Ok(looked) => looked,
        Err(text) => {
            writeln!(stderr, "{text}")?;
            return Ok(ExitCode::from(super::EXIT_CONFIG));
        }
    };
    let config = &looked.config;
    let auth = asking::auth(config, &looked.warehouse, &looked.database);
    let id = WarehouseId::from(looked.warehouse.as_str());
    let mut asking = Asking::new(config);
    let Some(client) = asking.client(config, &id).await else {
        return Ok(ExitCode::FAILURE);
    };
    let mut existing = match existing::look(&client, &looked.database, &auth).await {
        Ok(existing) => existing,
        Err(failure) => {
            writeln!(stderr, "{}", asking::words(&failure))?;
            return Ok(ExitCode::FAILURE);
        }
    };
    let scans = scans(&client, &looked.database, &auth).await;
    let scans = scans.unwrap_or_else(|failure| {
        existing.gaps.push(failure.message.to_string());
        Vec::new()
    });
    let region = config.warehouses.get(&looked.warehouse);
    let place = Place {
        warehouse: &looked.warehouse,
        database: &looked.database,
        region: region.and_then(|warehouse| warehouse.region.as_deref()),
        configured: looked.is_configured.then_some(config),
    };
    let found = discover::found(place, &existing, &scans);
    if args.json {
        writeln!(stdout, "{:#}", discover::as_json(&found))?;
    } else {
        if !looked.is_configured {
            write!(stdout, "{}", args.reach.section())?;
        }
        write!(
            stdout,
            "{}",
            discover::toml(place, &found, &args.target_lag)
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

fn choose(args: &Args) -> anyhow::Result<Result<Where, String>> {
    let Some(warehouse) = &args.warehouse else {
        let config = args.reach.config("any", &args.target_lag);
        return Ok(config.map(|config| Where {
            config,
            warehouse: FOUND.to_owned(),
            database: args.reach.database.clone().unwrap_or_default(),
            is_configured: false,
        }));
    };
    let environment = super::environment();
    let source = Source::choose(args.config.as_deref(), &environment)?;
    let loaded = config::load(&source, &environment);
    let problems: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
    Ok(match loaded.config {
        Some(config) => configured(config, warehouse, args),
        None => Err(problems.join("\n")),
    })
}

/// A configured warehouse, and its database if there is but one.
fn configured(config: Config, warehouse: &str, args: &Args) -> Result<Where, String> {
    config::parse_duration(&args.target_lag)?;
    if !config.warehouses.contains_key(warehouse) {
        let known: Vec<&str> = config.warehouses.keys().map(String::as_str).collect();
        let known = known.join(", ");
        return Err(format!(
            "there is no warehouse `{warehouse}`; there are: {known}"
        ));
    }
    let views = config.views.values();
    let here = views.filter(|view| view.warehouse == warehouse);
    let databases: BTreeSet<&str> = here.map(|view| view.database.as_str()).collect();
    let databases: Vec<&str> = databases.into_iter().collect();
    let database = match (&args.reach.database, databases.as_slice()) {
        (Some(database), _) => database.clone(),
        (None, [only]) => (*only).to_owned(),
        (None, several) => {
            let known = several.join(", ");
            return Err(format!(
                "say which database with --database; its views are in: {known}"
            ));
        }
    };
    Ok(Where {
        config,
        warehouse: warehouse.to_owned(),
        database,
        is_configured: true,
    })
}

/// What was read through which external schema, oldest first.
async fn scans(client: &Client, database: &str, auth: &Auth) -> Result<Vec<Scan>, Failure> {
    let question = Question {
        sql: "SELECT TRIM(mv_name) AS mv, TRIM(external_schema_name) AS es, \
              TRIM(stream_name) AS stream, MAX(record_time) AS at \
              FROM sys_stream_scan_states GROUP BY 1, 2, 3 ORDER BY 4",
        settings: &[],
        database,
        auth,
        limit: LOOK,
    };
    let rows = client.question(&question).await?;
    let scan = |row: &Vec<_>| Scan {
        view: rows.text(row, "mv"),
        external_schema: rows.text(row, "es"),
        stream: rows.text(row, "stream"),
    };
    Ok(rows.rows.iter().map(scan).collect())
}
