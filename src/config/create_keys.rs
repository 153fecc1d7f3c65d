//! `create`: how `setup` creates a view over a stream.
//!
//! Decides: its keys, their defaults, and which of them contradict each other.
//! Deliberately absent: SQL (`setup::sql`), and whether expressions are sound: Redshift knows.

use super::decode::Table;
use super::problem::{At, Problems};
use super::types::{Create, Definition, DistStyle, Stream, StreamSource};
use super::values::Arn;

const KINESIS_SELECT: [&str; 6] = [
    "approximate_arrival_timestamp",
    "partition_key",
    "shard_id",
    "sequence_number",
    "refresh_time",
    "JSON_PARSE(kinesis_data) AS payload",
];
const KAFKA_SELECT: [&str; 6] = [
    "kafka_partition",
    "kafka_offset",
    "kafka_timestamp",
    "kafka_key",
    "refresh_time",
    "JSON_PARSE(kafka_value) AS payload",
];

/// As they stand in the file.
#[derive(Clone, Debug, Default)]
pub(super) struct CreateKeys {
    external_schema: Option<String>,
    select: Option<Vec<String>>,
    condition: Option<String>,
    query: Option<String>,
    diststyle: Option<DistStyle>,
    distkey: Option<String>,
    sortkey: Vec<String>,
    auto_refresh: bool,
}

pub(super) fn create_keys(
    table: &mut Table<'_>,
    problems: &mut Problems,
) -> Option<At<CreateKeys>> {
    let value = table.take("create")?;
    let mut keys = value.table("create", problems)?;
    let select = keys.texts("select", problems);
    let condition = keys.text("where", problems);
    let query = keys.text("as", problems);
    let styles = [
        ("even", DistStyle::Even),
        ("key", DistStyle::Key),
        ("all", DistStyle::All),
    ];
    let diststyle = keys.choice("diststyle", &styles, problems);
    let distkey = keys.text("distkey", problems);
    let sortkey = keys.texts("sortkey", problems);
    let external_schema = keys.text("external_schema", problems);
    let auto_refresh = keys.boolean("auto_refresh", problems);
    keys.finish("`create`", problems);
    if let Some(list) = select.as_ref().filter(|list| list.value.is_empty()) {
        problems.add(
            list.place,
            "`select` is empty; leave it out or list expressions",
        );
    }
    if let Some(query) = &query {
        if select.is_some() || condition.is_some() {
            let wrong = "`as` is the whole query; drop `select` and `where`";
            problems.add(query.place, wrong);
        }
        if let Err(wrong) = check_query(&query.value) {
            problems.add(query.place, wrong);
        }
    }
    match (&diststyle, &distkey) {
        (Some(style), Some(_)) if style.value != DistStyle::Key => {
            problems.add(style.place, "`distkey` goes with diststyle = \"key\" only");
        }
        (Some(style), None) if style.value == DistStyle::Key => {
            problems.add(style.place, "diststyle = \"key\" wants a `distkey`");
        }
        (Some(_) | None, Some(_) | None) => {}
    }
    let plain = |at: At<String>| at.value;
    let list = |at: At<Vec<At<String>>>| at.value.into_iter().map(plain).collect::<Vec<_>>();
    Some(value.at(CreateKeys {
        external_schema: external_schema.map(plain),
        select: select.map(list),
        condition: condition.map(plain),
        query: query.map(plain),
        diststyle: diststyle.map(|at| at.value),
        distkey: distkey.map(plain),
        sortkey: sortkey.map(list).unwrap_or_default(),
        auto_refresh: auto_refresh.is_some_and(|at| at.value),
    }))
}

/// One query: the Data API runs one statement.
fn check_query(query: &str) -> Result<(), String> {
    let first = query.split_whitespace().next().unwrap_or_default();
    if !["select", "with"].contains(&first.to_ascii_lowercase().as_str()) {
        return Err(format!("`as` begins with `{first}`; write a SELECT"));
    }
    if query.trim_end().ends_with(';') {
        return Err("`as` ends with a semicolon; drop it".to_owned());
    }
    Ok(())
}

/// Everything that was left out filled in.
pub(super) fn finished_create(
    keys: &CreateKeys,
    stream_name: &str,
    stream: &Stream,
) -> Result<Create, String> {
    let (select, data) = match &stream.source {
        StreamSource::Kinesis(_) => (KINESIS_SELECT, "kinesis_data"),
        StreamSource::Kafka(_) => (KAFKA_SELECT, "kafka_value"),
    };
    if matches!(stream.source, StreamSource::Kafka(_)) && stream.brokers.is_none() {
        return Err(format!(
            "`create` has to know the brokers; give stream `{stream_name}` a `kafka_uri` and a `kafka_auth`"
        ));
    }
    let definition = match &keys.query {
        Some(query) => Definition::Whole {
            query: query.trim().to_owned(),
        },
        None => Definition::Select {
            select: keys
                .select
                .clone()
                .unwrap_or_else(|| select.map(str::to_owned).to_vec()),
            condition: keys
                .condition
                .clone()
                .unwrap_or_else(|| format!("CAN_JSON_PARSE({data})")),
        },
    };
    let external_schema = keys.external_schema.clone();
    Ok(Create {
        external_schema: external_schema.unwrap_or_else(|| folded(stream_name)),
        definition,
        diststyle: keys.diststyle,
        distkey: keys.distkey.clone(),
        sortkey: keys.sortkey.clone(),
        auto_refresh: keys.auto_refresh,
    })
}

/// A name that needs no quotes in SQL.
fn folded(name: &str) -> String {
    let fold = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '_'
        }
    };
    let folded: String = name.chars().map(fold).collect();
    if folded.starts_with(|c: char| c.is_ascii_digit()) {
        format!("_{folded}")
    } else {
        folded
    }
}

/// Whether one external schema leads to both: it names roles and region or brokers, no stream.
pub(super) fn one_schema(a: &Stream, b: &Stream) -> bool {
    let region = |stream: &Stream| match &stream.source {
        StreamSource::Kinesis(arn) => Arn::split(arn).map(|arn| arn.region.to_owned()),
        StreamSource::Kafka(_) => None,
    };
    (&a.role_chain, &a.brokers, region(a)) == (&b.role_chain, &b.brokers, region(b))
}
