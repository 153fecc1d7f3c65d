//! `tidekeeper peek`: the last rows of a view.
//!
//! Decides: which rows are the last (by the time of arrival, where the view has it), and how
//! they are shown: SUPER as JSON.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Map, Value as Json};

use super::EXIT_CONFIG;
use super::asking::{self, Asking, Reach};
use crate::config::{self, Config, Source};
use crate::translate;
use crate::warehouse::question::{Question, Rows, Value};
use crate::warehouse::{self, Client, Refresh};

/// A workgroup may have to wake up first.
const LIMIT: Duration = Duration::from_secs(120);
/// Longer values are cut in a table.
const WIDEST: usize = 48;
/// By what the last rows are found, the best first.
const TIMES: [&str; 4] = [
    "approximate_arrival_timestamp",
    "approximatearrivaltimestamp",
    "kafka_timestamp",
    "refresh_time",
];

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A configured view, by id or name; with --workgroup or --cluster any view, as schema.name.
    view: String,
    /// The configuration; `-` reads standard input.
    #[arg(long, short, value_name = "FILE", env = "TIDEKEEPER_CONFIG")]
    config: Option<PathBuf>,
    #[command(flatten)]
    reach: Reach,
    /// How many rows.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(
    args: &Args,
    stdout: &mut impl Write,
    stderr: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    let config = match configuration(args)? {
        Ok(config) => config,
        Err(text) => {
            writeln!(stderr, "{text}")?;
            return Ok(ExitCode::from(EXIT_CONFIG));
        }
    };
    let (warehouse, refresh) = match find(&config, &args.view) {
        Ok(found) => found,
        Err(text) => {
            writeln!(stderr, "{text}")?;
            return Ok(ExitCode::FAILURE);
        }
    };
    let mut asking = Asking::new(&config);
    let Some(client) = asking.client(&config, &warehouse).await else {
        return Ok(ExitCode::FAILURE);
    };
    match last_rows(&client, &refresh, args.limit).await {
        Ok(rows) if args.json => writeln!(stdout, "{:#}", as_json(&refresh, &rows))?,
        Ok(rows) => write!(stdout, "{}", table(&rows))?,
        Err(failure) => {
            writeln!(stderr, "{}: {}", refresh.view, asking::words(&failure))?;
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The one that is given, or one that is made of the arguments.
fn configuration(args: &Args) -> anyhow::Result<Result<Config, String>> {
    if args.reach.names_a_warehouse() {
        return Ok(args.reach.config(&args.view, "1m"));
    }
    let environment = super::environment();
    let source = Source::choose(args.config.as_deref(), &environment)?;
    let loaded = config::load(&source, &environment);
    let problems: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
    Ok(loaded.config.ok_or_else(|| problems.join("\n")))
}

/// The view that is meant; names that come near where there is none.
fn find(
    config: &Config,
    asked: &str,
) -> Result<(tidekeeper_scheduler::WarehouseId, Refresh), String> {
    let all = translate::refreshes(config);
    let by_id = all
        .iter()
        .find(|(_, refresh)| refresh.view.as_str() == asked);
    if let Some(found) = by_id {
        return Ok(found.clone());
    }
    let named: Vec<_> = all
        .iter()
        .filter(|(_, refresh)| {
            let schema = refresh.schema.as_deref().unwrap_or("public");
            refresh.name == asked || format!("{schema}.{}", refresh.name) == asked
        })
        .collect();
    match named.as_slice() {
        [one] => Ok((*one).clone()),
        [] => {
            let ids = all.iter().map(|(_, refresh)| refresh.view.as_str());
            let names = all.iter().map(|(_, refresh)| refresh.name.as_str());
            let near = ids
                .chain(names)
                .map(|known| (strsim::damerau_levenshtein(known, asked), known))
                .min()
                .filter(|(distance, known)| *distance <= (known.chars().count() / 3).max(1))
                .map(|(_, near)| format!("; is it `{near}`?"));
            Err(format!(
                "there is no view `{asked}`{}",
                near.unwrap_or_default()
            ))
        }
        several => {
            let ids: Vec<&str> = several.iter().map(|(_, r)| r.view.as_str()).collect();
            Err(format!(
                "`{asked}` is the name of several views: {}",
                ids.join(", ")
            ))
        }
    }
}

async fn last_rows(
    client: &Client,
    refresh: &Refresh,
    limit: u32,
) -> Result<Rows, tidekeeper_scheduler::Failure> {
    let settings = warehouse::settings(&refresh.session);
    let ask = async |sql: String| {
        let question = Question {
            sql: &sql,
            settings: &settings,
            database: &refresh.database,
            auth: &refresh.auth,
            limit: LIMIT,
        };
        client.question(&question).await
    };
    let view = warehouse::view_sql(refresh);
    let shape = ask(format!("SELECT * FROM {view} LIMIT 0")).await?;
    let has = |time: &&&str| shape.columns.iter().any(|(name, _)| name == **time);
    let order = TIMES
        .iter()
        .find(has)
        .map(|time| format!(" ORDER BY {time} DESC"))
        .unwrap_or_default();
    ask(format!("SELECT * FROM {view}{order} LIMIT {limit}")).await
}

fn as_json(refresh: &Refresh, rows: &Rows) -> Json {
    let row = |row: &Vec<Value>| {
        let fields = row.iter().zip(&rows.columns).map(|(value, (name, kind))| {
            let json = match value {
                Value::Null => Json::Null,
                Value::Bool(value) => (*value).into(),
                Value::Long(value) => (*value).into(),
                Value::Double(value) => (*value).into(),
                Value::Text(text) if kind == "super" => {
                    serde_json::from_str(text).unwrap_or_else(|_| text.as_str().into())
                }
                Value::Text(_) => value.text().into(),
            };
            (name.clone(), json)
        });
        Json::Object(fields.collect::<Map<_, _>>())
    };
    serde_json::json!({
        "view": refresh.view.as_str(),
        "rows": rows.rows.iter().map(row).collect::<Vec<_>>(),
    })
}

fn table(rows: &Rows) -> String {
    let cut = |text: String| {
        // Anybody may have put it into the stream: nothing in it moves a terminal's cursor.
        let text = text.replace(char::is_control, " ");
        if text.chars().count() <= WIDEST {
            return text;
        }
        text.chars().take(WIDEST - 1).chain(['…']).collect()
    };
    let mut lines = vec![
        rows.columns
            .iter()
            .map(|(name, _)| cut(name.clone()))
            .collect::<Vec<_>>(),
    ];
    for row in &rows.rows {
        lines.push(row.iter().map(|value| cut(value.text())).collect());
    }
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<usize> = (0..rows.columns.len()).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        let cells = line
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text.push_str(&format!("({} rows)\n", rows.rows.len()));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_aligned_and_cut() {
        let rows = Rows {
            columns: vec![
                ("id".to_owned(), "int4".to_owned()),
                ("p".to_owned(), "super".to_owned()),
            ],
            rows: vec![
                vec![Value::Long(7), Value::Text("x".repeat(60))],
                vec![Value::Null, Value::Text("{\"a\":1}".to_owned())],
            ],
        };
        let expected = format!(
            "id  p\n7   {}…\n    {{\"a\":1}}\n(2 rows)\n",
            "x".repeat(47)
        );
        assert_eq!(table(&rows), expected);
    }

    #[test]
    fn records_do_not_steer_the_terminal() {
        let rows = Rows {
            columns: vec![("key".to_owned(), "varchar".to_owned())],
            rows: vec![vec![Value::Text("a\u{1b}[2Jb\nc".to_owned())]],
        };
        assert_eq!(table(&rows), "key\na [2Jb c\n(1 rows)\n");
    }

    #[test]
    fn a_view_is_found_by_id_or_name_and_only_a_near_one_is_suggested() {
        let source = Source::Text {
            name: "t".to_owned(),
            text: "[warehouses.w]\nworkgroup = \"w\"\ndatabase = \"dev\"\n[groups.a]\nwarehouse = \"w\"\n\
                   target_lag = \"30s\"\nviews = [\"public.clicks_vw\", { id = \"one\", name = \"s.orders\" }, \
                   { id = \"two\", name = \"t.orders\" }]\n"
                .to_owned(),
        };
        let loaded = config::load(&source, &std::collections::BTreeMap::new());
        assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
        let config = loaded.config.unwrap();
        for (asked, expected) in [
            ("public.clicks_vw", Ok("public.clicks_vw")),
            ("clicks_vw", Ok("public.clicks_vw")),
            ("two", Ok("two")),
            ("s.orders", Ok("one")),
            (
                "orders",
                Err("`orders` is the name of several views: one, two"),
            ),
            (
                "click_vw",
                Err("there is no view `click_vw`; is it `clicks_vw`?"),
            ),
            ("payments_by_day", Err("there is no view `payments_by_day`")),
        ] {
            let found = find(&config, asked).map(|(_, refresh)| refresh.view.to_string());
            let expected = expected.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(found, expected, "{asked}");
        }
    }
}
