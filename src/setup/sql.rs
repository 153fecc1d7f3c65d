//! The SQL that a configuration asks for.
//!
//! Decides: which statements, in which order, and the order of clauses inside them (Redshift
//! refuses SORTKEY after AUTO REFRESH). Names that need quotes get them.
//! Deliberately absent: what exists already, and running anything.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::identifier::{identifier, literal};
use super::names::database_user;
use crate::config::{
    Arn, Config, Create, Definition, DistStyle, KafkaAuth, Stream, StreamSource, View,
};

/// One statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub warehouse: String,
    pub database: String,
    pub kind: StepKind,
    /// What it is for, in a few words.
    pub purpose: &'static str,
    /// Settings that have to go before it in the same session.
    pub session: Vec<String>,
    /// Without a semicolon.
    pub sql: String,
    /// What a person should know about it; lines.
    pub comment: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepKind {
    ExternalSchema {
        name: String,
    },
    View {
        id: String,
        schema: String,
        name: String,
    },
    Grant {
        schema: String,
        user: String,
    },
    AlterUser {
        user: String,
    },
    AutoRefreshOff {
        id: String,
        schema: String,
        name: String,
    },
}

impl StepKind {
    /// The kind of object that the statement is about, and its name.
    #[must_use]
    pub fn object(&self) -> (&'static str, String) {
        match self {
            Self::ExternalSchema { name } => ("external schema", name.clone()),
            Self::View { schema, name, .. } | Self::AutoRefreshOff { schema, name, .. } => {
                ("materialized view", format!("{schema}.{name}"))
            }
            Self::Grant { schema, .. } => ("external schema", schema.clone()),
            Self::AlterUser { user } => ("user", user.clone()),
        }
    }
}

/// What creates every view that has `create`, and what they stand on: schemas, views, grants,
/// users; warehouse by warehouse, database by database.
#[must_use]
pub fn statements(config: &Config) -> Vec<Step> {
    let created = || {
        config.views.values().filter_map(|view| {
            let stream = config.streams.get(view.stream.as_ref()?)?;
            Some((view, view.create.as_ref()?, stream))
        })
    };
    let places: BTreeSet<(&str, &str)> = created()
        .map(|(view, _, _)| (view.warehouse.as_str(), view.database.as_str()))
        .collect();
    let mut steps = Vec::new();
    for place in places {
        let here = || {
            created().filter(move |(view, _, _)| {
                (view.warehouse.as_str(), view.database.as_str()) == place
            })
        };
        let mut found = Vec::new();
        found.extend(
            here().map(|(view, create, stream)| external_schema(config, view, create, stream)),
        );
        found.extend(
            here().map(|(view, create, stream)| materialized_view(config, view, create, stream)),
        );
        found.extend(here().filter_map(|(view, create, _)| grant(config, view, create)));
        found.extend(here().filter_map(|(view, _, _)| query_group(config, view)));
        // Views of one stream share their schema, views of one user the user.
        for step in found {
            if !steps.contains(&step) {
                steps.push(step);
            }
        }
    }
    steps
}

/// Takes every view away from `AUTO REFRESH`; each step's comment says how to give it back.
#[must_use]
pub fn migration(config: &Config) -> Vec<Step> {
    let views = config.views.values();
    views
        .map(|view| {
            let name = qualified(view);
            step(
                view,
                StepKind::AutoRefreshOff {
                    id: view.id.clone(),
                    schema: schema(view).to_owned(),
                    name: view.name.clone(),
                },
                "take over refreshing",
                format!("ALTER MATERIALIZED VIEW {name} AUTO REFRESH NO"),
                vec![format!(
                    "back: ALTER MATERIALIZED VIEW {name} AUTO REFRESH YES;"
                )],
            )
        })
        .collect()
}

fn step(
    view: &View,
    kind: StepKind,
    purpose: &'static str,
    sql: String,
    comment: Vec<String>,
) -> Step {
    let names_in_capitals = [&view.schema.clone().unwrap_or_default(), &view.name]
        .iter()
        .any(|name| name.chars().any(char::is_uppercase));
    let exact = view.session.case_sensitive || names_in_capitals;
    Step {
        warehouse: view.warehouse.clone(),
        database: view.database.clone(),
        kind,
        purpose,
        session: exact.then(case_sensitive).into_iter().collect(),
        sql,
        comment,
    }
}

fn case_sensitive() -> String {
    "SET enable_case_sensitive_identifier TO true".to_owned()
}

fn external_schema(config: &Config, view: &View, create: &Create, stream: &Stream) -> Step {
    let mut lines = vec![format!(
        "CREATE EXTERNAL SCHEMA {}",
        identifier(&create.external_schema)
    )];
    let mut comment = Vec::new();
    let chain = stream.role_chain.join(",");
    let role = if chain.is_empty() {
        comment.push("no role_chain: the warehouse's default role reads the stream".to_owned());
        "IAM_ROLE default".to_owned()
    } else {
        format!("IAM_ROLE {}", literal(&chain))
    };
    match (&stream.source, &stream.brokers) {
        (StreamSource::Kinesis(arn), _) => {
            lines.push("FROM KINESIS".to_owned());
            let region = Arn::split(arn).map_or("", |arn| arn.region);
            let warehouse = config.warehouses.get(&view.warehouse);
            if warehouse.and_then(|warehouse| warehouse.region.as_deref()) != Some(region) {
                lines.push(format!("REGION {}", literal(region)));
            }
            lines.push(role);
        }
        (StreamSource::Kafka(_), Some(brokers)) => {
            let (word, certificate) = match &brokers.auth {
                KafkaAuth::None => ("none", None),
                KafkaAuth::Iam => ("iam", None),
                KafkaAuth::MtlsCertificate(arn) => ("mtls", Some(("AUTHENTICATION_ARN", arn))),
                KafkaAuth::MtlsSecret(arn) => ("mtls", Some(("SECRET_ARN", arn))),
            };
            lines.push("FROM KAFKA".to_owned());
            // Without authentication there is nothing that a role would be needed for.
            if brokers.auth == KafkaAuth::None && chain.is_empty() {
                comment.clear();
            } else {
                lines.push(role);
            }
            lines.push(format!("AUTHENTICATION {word}"));
            lines.push(format!("URI {}", literal(&brokers.uri)));
            if let Some((key, arn)) = certificate {
                lines.push(format!("{key} {}", literal(arn)));
            }
        }
        // Refused by the configuration: nobody knows where the brokers are.
        (StreamSource::Kafka(_), None) => lines.push("FROM KAFKA".to_owned()),
    }
    let mut step = step(
        view,
        StepKind::ExternalSchema {
            name: create.external_schema.clone(),
        },
        "lead to the stream",
        lines.join("\n"),
        comment,
    );
    // One schema for several views: only its own name matters.
    let capitals = create.external_schema.chars().any(char::is_uppercase);
    step.session = capitals.then(case_sensitive).into_iter().collect();
    step
}

fn materialized_view(config: &Config, view: &View, create: &Create, stream: &Stream) -> Step {
    let mut lines = vec![format!("CREATE MATERIALIZED VIEW {}", qualified(view))];
    let style = match (create.diststyle, &create.distkey) {
        (_, Some(_)) | (Some(DistStyle::Key), None) => Some("DISTSTYLE KEY"),
        (Some(DistStyle::Even), None) => Some("DISTSTYLE EVEN"),
        (Some(DistStyle::All), None) => Some("DISTSTYLE ALL"),
        (None, None) => None,
    };
    let columns = |names: &[String]| {
        let names: Vec<String> = names.iter().map(|name| identifier(name)).collect();
        names.join(", ")
    };
    lines.extend(style.map(str::to_owned));
    if let Some(column) = &create.distkey {
        lines.push(format!("DISTKEY ({})", identifier(column)));
    }
    if !create.sortkey.is_empty() {
        lines.push(format!("SORTKEY ({})", columns(&create.sortkey)));
    }
    let refreshed = if create.auto_refresh { "YES" } else { "NO" };
    lines.push(format!("AUTO REFRESH {refreshed} AS"));
    let topic = source_name(stream);
    match &create.definition {
        Definition::Whole { query } => lines.push(query.clone()),
        Definition::Select { select, condition } => {
            lines.push(format!("SELECT {}", select.join(",\n    ")));
            let schema = identifier(&create.external_schema);
            lines.push(format!("FROM {schema}.{}", identifier(topic)));
            lines.push(format!("WHERE {condition}"));
        }
    }
    let mut comment = Vec::new();
    match database_user(config, view) {
        Some(user) => comment.push(format!(
            "run it as {}, as the daemon does: only a view's owner may refresh it",
            identifier(&user)
        )),
        None => comment
            .push("run it as the daemon's user: only a view's owner may refresh it".to_owned()),
    }
    comment.push(format!(
        "the first refresh reads the stream from its oldest record, which can take long: REFRESH MATERIALIZED VIEW {};",
        qualified(view)
    ));
    let kind = StepKind::View {
        id: view.id.clone(),
        schema: schema(view).to_owned(),
        name: view.name.clone(),
    };
    let purpose = "keep the stream's records";
    let mut step = step(view, kind, purpose, lines.join("\n"), comment);
    let names = [topic, &create.external_schema];
    if step.session.is_empty()
        && names
            .iter()
            .any(|name| name.chars().any(char::is_uppercase))
    {
        step.session.push(case_sensitive());
    }
    step
}

fn source_name(stream: &Stream) -> &str {
    match &stream.source {
        StreamSource::Kinesis(arn) => Arn::split(arn).map_or("", |arn| arn.name()),
        StreamSource::Kafka(topic) => topic,
    }
}

/// Refreshing wants USAGE on the schema that leads to the stream.
fn grant(config: &Config, view: &View, create: &Create) -> Option<Step> {
    let user = database_user(config, view)?;
    let name = &create.external_schema;
    let sql = format!(
        "GRANT USAGE ON SCHEMA {} TO {}",
        identifier(name),
        identifier(&user)
    );
    let kind = StepKind::Grant {
        schema: name.clone(),
        user: user.clone(),
    };
    let mut comment = Vec::new();
    if user.starts_with("IAMR:") {
        comment.push(format!(
            "Redshift creates {} when the role first connects",
            identifier(&user)
        ));
    }
    let mut step = step(view, kind, "let the daemon refresh", sql, comment);
    let capitals = name.chars().any(char::is_uppercase);
    step.session = capitals.then(case_sensitive).into_iter().collect();
    Some(step)
}

/// The daemon sets the group before each refresh; this sets it for whatever else the user runs.
fn query_group(config: &Config, view: &View) -> Option<Step> {
    let group = view.session.query_group.as_ref()?;
    let user = database_user(config, view)?;
    let sql = format!(
        "ALTER USER {} SET query_group TO {}",
        identifier(&user),
        literal(group)
    );
    let kind = StepKind::AlterUser { user };
    let purpose = "queue the daemon's statements";
    let mut step = step(view, kind, purpose, sql, Vec::new());
    step.session.clear();
    Some(step)
}

fn schema(view: &View) -> &str {
    view.schema.as_deref().unwrap_or("public")
}

fn qualified(view: &View) -> String {
    let name = identifier(&view.name);
    match &view.schema {
        Some(schema) => format!("{}.{name}", identifier(schema)),
        None => name,
    }
}

/// The statements as a file for a SQL client.
#[must_use]
pub fn script(steps: &[Step]) -> String {
    let mut lines = Vec::new();
    let mut before = None;
    for step in steps {
        let place = (&step.warehouse, &step.database);
        if before != Some(place) {
            let (warehouse, database) = place;
            lines.extend(before.map(|_| String::new()));
            lines.push(format!("-- warehouse {warehouse}, database {database}"));
            before = Some(place);
        }
        lines.push(String::new());
        lines.extend(step.session.iter().map(|setting| format!("{setting};")));
        lines.push(format!("{};", step.sql));
        lines.extend(step.comment.iter().map(|line| format!("-- {line}")));
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// A statement for programs.
#[must_use]
pub fn as_json(step: &Step) -> Value {
    let (kind, name) = step.kind.object();
    json!({
        "warehouse": step.warehouse,
        "database": step.database,
        "purpose": step.purpose,
        "session": step.session,
        "sql": step.sql,
        "object": { "kind": kind, "name": name },
    })
}
