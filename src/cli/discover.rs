//! `tidekeeper discover`: a warehouse's streaming views as a configuration, ready to edit.
//!
//! Decides: what is asked (`SVV_MV_INFO`, `SVV_EXTERNAL_SCHEMAS`, the scans' states), and how
//! what is not known is written: as a comment, never as a guess.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;
use tidekeeper_scheduler::WarehouseId;

use super::asking::{self, Asking};
use crate::config::{self, Config, Environment, Source};
use crate::setup::existing::{self, Existing, LOOK};
use crate::warehouse::question::Question;
use crate::warehouse::{Auth, Client};

#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Args {
    /// A configured warehouse; what is configured already is then left out.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["workgroup", "cluster", "region", "endpoint_url", "db_user", "secret_arn"])]
    warehouse: Option<String>,
    /// The configuration that names it; `-` reads standard input.
    #[arg(long, short, value_name = "FILE", env = "TIDEKEEPER_CONFIG")]
    config: Option<PathBuf>,
    /// The Serverless workgroup.
    #[arg(long, value_name = "NAME", conflicts_with = "cluster", required_unless_present_any = ["cluster", "warehouse"])]
    workgroup: Option<String>,
    /// The provisioned cluster.
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// The database to look at; of a configured warehouse, the one that its views are in.
    #[arg(long, value_name = "NAME", required_unless_present = "warehouse")]
    database: Option<String>,
    /// From the environment unless given.
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// Where every service is asked instead.
    #[arg(long, value_name = "URL")]
    endpoint_url: Option<String>,
    /// The database user to ask as, on a cluster.
    #[arg(long, value_name = "USER", conflicts_with = "secret_arn")]
    db_user: Option<String>,
    /// The secret to ask with.
    #[arg(long, value_name = "ARN")]
    secret_arn: Option<String>,
    /// The target lag that every view is given.
    #[arg(long, value_name = "LAG", default_value = "1m")]
    target_lag: String,
    /// What was found as one JSON object, instead of TOML.
    #[arg(long)]
    json: bool,
}

/// What ties a view to its stream.
type Streams = BTreeMap<String, (String, String)>;

pub(super) async fn run(
    args: &Args,
    stdout: &mut impl Write,
    stderr: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    let place = match Place::choose(args) {
        Ok(place) => place,
        Err(text) => {
            writeln!(stderr, "{text}")?;
            return Ok(ExitCode::from(super::EXIT_CONFIG));
        }
    };
    let auth = asking::auth(&place.config, &place.warehouse, &place.database);
    let mut asking = Asking::new(&place.config);
    let id = WarehouseId::from(place.warehouse.as_str());
    let Some(client) = asking.client(&place.config, &id).await else {
        writeln!(stderr, "there is no warehouse `{}`", place.warehouse)?;
        return Ok(ExitCode::from(super::EXIT_CONFIG));
    };
    let existing = match existing::look(&client, &place.database, &auth).await {
        Ok(existing) => existing,
        Err(failure) => {
            writeln!(stderr, "{}", asking::words(&failure))?;
            return Ok(ExitCode::FAILURE);
        }
    };
    let streams = streams(&client, &place.database, &auth).await;
    if args.json {
        writeln!(stdout, "{:#}", as_json(&existing, &streams))?;
    } else {
        write!(
            stdout,
            "{}{}",
            place.head,
            as_toml(args, &place, &existing, &streams)
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Where is looked.
#[derive(Debug)]
struct Place {
    config: Config,
    warehouse: String,
    database: String,
    /// What the output begins with.
    head: String,
    /// Views that are configured, as `schema.name`.
    configured: BTreeSet<String>,
}

impl Place {
    /// # Errors
    /// What is wrong with the arguments or the configuration.
    fn choose(args: &Args) -> Result<Self, String> {
        let Some(warehouse) = &args.warehouse else {
            let head = head(args);
            return Ok(Self {
                config: load(&head, args)?,
                warehouse: "found".to_owned(),
                database: args.database.clone().unwrap_or_default(),
                head,
                configured: BTreeSet::new(),
            });
        };
        let environment = super::environment();
        let source = Source::choose(args.config.as_deref(), &environment)
            .map_err(|error| error.to_string())?;
        let loaded = config::load(&source, &environment);
        let problems: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
        let config = loaded.config.ok_or_else(|| problems.join("\n"))?;
        let views: Vec<&config::View> = config
            .views
            .values()
            .filter(|view| view.warehouse == *warehouse)
            .collect();
        let databases: BTreeSet<&String> = views.iter().map(|view| &view.database).collect();
        let database = match (&args.database, databases.len()) {
            (Some(database), _) => database.clone(),
            (None, 1) => databases.into_iter().next().cloned().unwrap_or_default(),
            (None, _) => return Err("which database? add --database".to_owned()),
        };
        let configured = views
            .iter()
            .filter(|view| view.database == database)
            .map(|view| {
                let schema = view.schema.as_deref().unwrap_or("public");
                format!("{schema}.{}", view.name).to_lowercase()
            })
            .collect();
        Ok(Self {
            warehouse: warehouse.clone(),
            database,
            head: String::new(),
            configured,
            config,
        })
    }
}

/// The warehouse's part of the configuration.
fn head(args: &Args) -> String {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let mut head = "[warehouses.found]\n".to_owned();
    let mut put = |key: &str, value: Option<&String>| {
        if let Some(value) = value {
            head.push_str(&format!("{key} = {}\n", quoted(value)));
        }
    };
    put("workgroup", args.workgroup.as_ref());
    put("cluster", args.cluster.as_ref());
    put("database", args.database.as_ref());
    put("region", args.region.as_ref());
    put("endpoint_url", args.endpoint_url.as_ref());
    if let Some(user) = &args.db_user {
        head.push_str(&format!("auth = {{ db_user = {} }}\n", quoted(user)));
    }
    if let Some(arn) = &args.secret_arn {
        head.push_str(&format!("auth = {{ secret_arn = {} }}\n", quoted(arn)));
    }
    head
}

/// A configuration of this warehouse with one view, whose target lag is the one asked for.
fn load(head: &str, args: &Args) -> Result<Config, String> {
    let lag = toml::Value::String(args.target_lag.clone());
    let text =
        format!("{head}\n[[views]]\nname = \"any\"\nwarehouse = \"found\"\ntarget_lag = {lag}\n");
    let source = Source::Text {
        name: "arguments".to_owned(),
        text,
    };
    let loaded = config::load(&source, &Environment::default());
    let problems: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
    match loaded.config {
        Some(config) if problems.is_empty() => Ok(config),
        Some(_) | None => Err(problems.join("\n")),
    }
}

/// External schema and stream by view, as the latest scans tell; empty where they do not.
async fn streams(client: &Client, database: &str, auth: &Auth) -> Streams {
    let question = Question {
        sql: "SELECT DISTINCT TRIM(mv_name) AS mv, TRIM(external_schema_name) AS es, \
              TRIM(stream_name) AS stream FROM sys_stream_scan_states",
        settings: &[],
        database,
        auth,
        limit: LOOK,
    };
    let Ok(rows) = client.question(&question).await else {
        return Streams::new();
    };
    let row = |row: &Vec<_>| {
        let view = rows.text(row, "mv");
        (view, (rows.text(row, "es"), rows.text(row, "stream")))
    };
    rows.rows.iter().map(row).collect()
}

fn as_json(existing: &Existing, streams: &Streams) -> serde_json::Value {
    let views = existing.views.iter().map(|(name, view)| {
        let bare = name.rsplit('.').next().unwrap_or_default();
        let stream = streams.get(bare);
        json!({
            "name": name,
            "owner": view.owner,
            "auto_refresh": view.auto_refresh,
            "state": view.state,
            "external_schema": stream.map(|(schema, _)| schema),
            "stream": stream.map(|(_, stream)| stream),
        })
    });
    let schemas = existing.schemas.iter().map(|(name, schema)| {
        json!({ "name": name, "iam_role": schema.iam_role(), "region": schema.region() })
    });
    json!({
        "user": existing.user,
        "views": views.collect::<Vec<_>>(),
        "external_schemas": schemas.collect::<Vec<_>>(),
        "gaps": existing.gaps,
    })
}

fn as_toml(args: &Args, place: &Place, existing: &Existing, streams: &Streams) -> String {
    let mut text = String::new();
    // Writing into a String cannot fail.
    for gap in &existing.gaps {
        let _ = writeln!(text, "# could not be read: {}", gap.replace('\n', " "));
    }
    let mut groups: BTreeMap<&str, Vec<(&str, &existing::View)>> = BTreeMap::new();
    for (name, view) in &existing.views {
        let (schema, bare) = name.split_once('.').unwrap_or(("public", name));
        groups.entry(schema).or_default().push((bare, view));
    }
    if groups.is_empty() {
        text.push_str(
            "\n# no materialized view was found: views are shown to those who may see them\n",
        );
    }
    let known = write_streams(&mut text, args, existing, streams);
    for (schema, views) in groups {
        let lag = toml::Value::String(args.target_lag.clone());
        let _ = writeln!(
            text,
            "\n[groups.{}]\nwarehouse = {}\ndatabase = {}\nschema = {}\ntarget_lag = {lag}\nviews = [",
            key(schema),
            toml::Value::String(place.warehouse.clone()),
            toml::Value::String(place.database.clone()),
            toml::Value::String(schema.to_owned())
        );
        for (name, view) in views {
            if place.configured.contains(&format!("{schema}.{name}")) {
                let _ = writeln!(text, "    # {name:?} is configured already");
                continue;
            }
            write_view(
                &mut text,
                schema,
                name,
                view,
                existing,
                streams.get(name),
                &known,
            );
        }
        text.push_str("]\n");
    }
    text
}

/// The streams whose ARN is known from their role chain; the others as comments.
fn write_streams(
    text: &mut String,
    args: &Args,
    existing: &Existing,
    streams: &Streams,
) -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    let all: BTreeSet<&(String, String)> = streams.values().collect();
    for (schema, stream) in all {
        let options = existing.schemas.get(schema);
        let role = options.and_then(existing::Schema::iam_role);
        // Without a clause it is the warehouse's own.
        let region = options
            .and_then(existing::Schema::region)
            .or_else(|| args.region.clone());
        let chain: Vec<String> = role
            .iter()
            .flat_map(|role| role.split(','))
            .map(|role| role.trim().to_owned())
            .collect();
        let account = chain.last().and_then(|role| role.split(':').nth(4));
        let account = account
            .filter(|account| !account.is_empty())
            .map(str::to_owned);
        let (Some(account), Some(region)) = (account, region.as_deref()) else {
            let _ = writeln!(
                text,
                "\n# [streams.{}]   # {stream}, read through external schema {schema}\n\
                 # kinesis = \"arn:aws:kinesis:<region>:<account>:stream/{stream}\"\n# role_chain = {}",
                key(stream),
                toml::Value::Array(chain.into_iter().map(toml::Value::String).collect())
            );
            continue;
        };
        known.insert(stream.clone());
        let _ = writeln!(
            text,
            "\n[streams.{}]   # read through external schema {schema}\n\
             kinesis = \"arn:aws:kinesis:{region}:{account}:stream/{stream}\"\nrole_chain = {}",
            key(stream),
            toml::Value::Array(chain.into_iter().map(toml::Value::String).collect())
        );
    }
    known
}

fn write_view(
    text: &mut String,
    schema: &str,
    name: &str,
    view: &existing::View,
    existing: &Existing,
    stream: Option<&(String, String)>,
    known: &BTreeSet<String>,
) {
    if view.owner != existing.user {
        let _ = writeln!(
            text,
            "    # owner {}: only the owner may refresh it",
            view.owner
        );
    }
    if view.auto_refresh {
        let _ = writeln!(
            text,
            "    # AUTO REFRESH is on, and paid for as well: ALTER MATERIALIZED VIEW {schema}.{name} AUTO REFRESH NO;"
        );
    }
    let quoted = toml::Value::String(name.to_owned());
    if view.state >= 101 {
        let _ = writeln!(
            text,
            "    # {quoted},   # state {}: it has to be created anew",
            view.state
        );
        return;
    }
    match stream {
        Some((_, stream)) if known.contains(stream) => {
            let stream = toml::Value::String(key(stream));
            let _ = writeln!(text, "    {{ name = {quoted}, stream = {stream} }},");
        }
        Some((_, stream)) => {
            let _ = writeln!(text, "    {quoted},   # reads {stream}");
        }
        None => {
            let _ = writeln!(
                text,
                "    {quoted},   # no scan of a stream was seen; over another view, add after = [\"…\"]"
            );
        }
    }
}

/// A bare TOML key.
fn key(name: &str) -> String {
    let fit = |c: char| {
        if c.is_ascii_alphanumeric() || c == '-' || c == '_' {
            c
        } else {
            '_'
        }
    };
    name.chars().map(fit).collect()
}
