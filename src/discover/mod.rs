//! What a warehouse holds, written as a configuration.
//!
//! Decides: which stream a view reads, what sections and ids are called, and that what is not
//! known is a comment, never a guess: what is written passes `check`.
//! Deliberately absent: asking the warehouse.

#[cfg(test)]
mod tests;
mod write;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};

use crate::config::{Arn, Config, StreamSource};
use crate::setup::existing::{Existing, Schema, View};

pub use write::toml;

/// A view without a schema is looked for there.
const DEFAULT_SCHEMA: &str = "public";
/// Partitions that a configuration may name.
const PARTITIONS: [&str; 3] = ["aws", "aws-cn", "aws-us-gov"];
/// From there on a view's state says that it cannot be refreshed.
const UNREFRESHABLE: i64 = 101;

/// Where was looked, and for whom it is written.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The warehouse's name in the configuration.
    pub warehouse: &'a str,
    pub database: &'a str,
    pub region: Option<&'a str>,
    /// What is configured already.
    pub configured: Option<&'a Config>,
}

/// That a view read a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// Its name alone: the system view does not tell its schema.
    pub view: String,
    pub external_schema: String,
    pub stream: String,
}

/// A warehouse's streaming views.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    pub user: String,
    pub views: Vec<FoundView>,
    pub streams: Vec<FoundStream>,
    /// What could not be read, and why.
    pub gaps: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct FoundView {
    pub schema: String,
    pub name: String,
    pub view: View,
    /// The id under which it is configured already.
    pub configured: Option<String>,
    /// An id of its own, where its name alone is taken.
    pub id: Option<String>,
    pub reads: Reads,
}

impl FoundView {
    /// The id that it has, or is written with.
    fn known_as(&self) -> &str {
        let id = self.configured.as_ref().or(self.id.as_ref());
        id.map_or(self.name.as_str(), String::as_str)
    }

    fn is_refreshable(&self) -> bool {
        self.view.state < UNREFRESHABLE
    }

    /// Whether a configuration can hold its name; a dot there parts schema and name.
    fn can_be_named(&self) -> bool {
        let blank = |text: &str| text.trim().is_empty();
        !(blank(&self.schema) || blank(&self.name) || self.name.contains('.'))
    }
}

/// What a view reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reads {
    /// No scan of a stream was seen.
    Unknown,
    /// External schema and stream.
    Stream(String, String),
    /// Other views, as `schema.name`.
    Views(Vec<String>),
    /// Several views have its name, and a scan does not tell which of them it was.
    Ambiguous,
}

/// A stream, as one external schema leads to it.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundStream {
    /// Its name in the configuration.
    pub key: String,
    pub external_schema: String,
    pub name: String,
    pub role_chain: Vec<String>,
    pub origin: Origin,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// An ARN; the account is that of the last role.
    Kinesis(String),
    /// The brokers, where they are told.
    Kafka(Option<String>),
    /// It is in the configuration already.
    Configured,
    /// Why its ARN is not known.
    Unknown(&'static str),
}

/// Ties views to streams and names both. `scans` come oldest first.
#[must_use]
pub fn found(place: Place<'_>, existing: &Existing, scans: &[Scan]) -> Found {
    let mut views: Vec<FoundView> = existing
        .views
        .iter()
        .map(|(name, view)| {
            let (schema, name) = name.split_once('.').unwrap_or((DEFAULT_SCHEMA, name));
            FoundView {
                schema: schema.to_owned(),
                name: name.to_owned(),
                view: view.clone(),
                configured: configured(place, schema, name),
                id: None,
                reads: Reads::Unknown,
            }
        })
        .collect();
    tie(&mut views, existing, scans);
    name_views(place, &mut views);
    let read: BTreeSet<(&str, &str)> = views
        .iter()
        .filter(|view| view.configured.is_none())
        .filter_map(|view| match &view.reads {
            Reads::Stream(schema, stream) => Some((schema.as_str(), stream.as_str())),
            Reads::Unknown | Reads::Views(_) | Reads::Ambiguous => None,
        })
        .collect();
    let mut taken: BTreeSet<String> = place
        .configured
        .iter()
        .flat_map(|config| config.streams.keys().cloned())
        .collect();
    let streams = read
        .into_iter()
        .map(|(schema, stream)| found_stream(place, existing, schema, stream, &mut taken))
        .collect();
    Found {
        user: existing.user.clone(),
        views,
        streams,
        gaps: existing.gaps.clone(),
    }
}

/// Whatever the case in which it is configured: Redshift folds it unless told otherwise.
fn configured(place: Place<'_>, schema: &str, name: &str) -> Option<String> {
    let same = |one: &str, other: &str| one.to_lowercase() == other.to_lowercase();
    let mut views = place.configured?.views.values().filter(|view| {
        view.warehouse == place.warehouse
            && view.database == place.database
            && same(view.schema.as_deref().unwrap_or(DEFAULT_SCHEMA), schema)
            && same(&view.name, name)
    });
    views.next().map(|view| view.id.clone())
}

/// Scans name neither database nor schema: those through external schemas that are not here
/// are another database's, and those of a name that several views have may be any one's.
fn tie(views: &mut [FoundView], existing: &Existing, scans: &[Scan]) {
    let mut of_name: BTreeMap<String, usize> = BTreeMap::new();
    for view in &*views {
        *of_name.entry(view.name.clone()).or_default() += 1;
    }
    let here = |scan: &&Scan| {
        let known = existing.schemas.contains_key(&scan.external_schema);
        (known || existing.schemas.is_empty()) && !scan.stream.trim().is_empty()
    };
    for view in views {
        let mut own = scans
            .iter()
            .filter(|scan| scan.view == view.name)
            .filter(here);
        let single = of_name.get(&view.name) == Some(&1);
        view.reads = match own.next_back() {
            None if !view.view.parents.is_empty() => Reads::Views(view.view.parents.clone()),
            None => Reads::Unknown,
            Some(scan) if single => {
                Reads::Stream(scan.external_schema.clone(), scan.stream.clone())
            }
            Some(_) => Reads::Ambiguous,
        };
    }
}

/// A view's id is its name unless another view has it.
fn name_views(place: Place<'_>, views: &mut [FoundView]) {
    let mut taken: BTreeSet<String> = place
        .configured
        .iter()
        .flat_map(|config| config.views.keys().cloned())
        .collect();
    for view in views.iter_mut().filter(|view| view.configured.is_none()) {
        let long = format!("{}.{}", view.schema, view.name);
        let longer = format!("{}.{long}", place.warehouse);
        let id = free(&[&view.name, &long, &longer], &taken);
        taken.insert(id.clone());
        view.id = Some(id).filter(|id| *id != view.name);
    }
}

/// The first of these names that is free, or the last with a number.
fn free(names: &[&str], taken: &BTreeSet<String>) -> String {
    let plain = names.iter().map(|name| (*name).to_owned());
    let last = names.last().copied().unwrap_or_default();
    let numbered = (2..).map(|number: u32| format!("{last}-{number}"));
    let mut all = plain.chain(numbered);
    all.find(|name| !taken.contains(name)).unwrap_or_default()
}

fn found_stream(
    place: Place<'_>,
    existing: &Existing,
    external_schema: &str,
    name: &str,
    taken: &mut BTreeSet<String>,
) -> FoundStream {
    let schema = existing.schemas.get(external_schema);
    let role_chain = role_chain(schema);
    let mut origin = origin(place.region, schema, &role_chain, name);
    let short = key(name);
    let long = format!("{}_{short}", key(external_schema));
    let key = match same_stream(place, &origin, name) {
        Some(known) => {
            origin = Origin::Configured;
            known
        }
        None => free(&[&short, &long], taken),
    };
    taken.insert(key.clone());
    FoundStream {
        key,
        external_schema: external_schema.to_owned(),
        name: name.to_owned(),
        role_chain,
        origin,
    }
}

/// The name under which a stream is configured already.
fn same_stream(place: Place<'_>, origin: &Origin, name: &str) -> Option<String> {
    let mut streams = place.configured?.streams.iter();
    let same = streams.find(|(_, stream)| match (&stream.source, origin) {
        (StreamSource::Kinesis(arn), Origin::Kinesis(found)) => arn == found,
        (StreamSource::Kafka(topic), Origin::Kafka(_)) => topic == name,
        (StreamSource::Kinesis(_) | StreamSource::Kafka(_), _) => false,
    });
    same.map(|(key, _)| key.clone())
}

/// The roles in `IAM_ROLE`, if all of them are roles that a configuration takes.
fn role_chain(schema: Option<&Schema>) -> Vec<String> {
    let written = schema.and_then(Schema::iam_role).unwrap_or_default();
    let roles: Vec<String> = written
        .split(',')
        .map(|role| role.trim().to_owned())
        .collect();
    let partition = roles
        .first()
        .and_then(|role| Some(Arn::split(role)?.partition));
    let sound = roles.len() <= 10
        && roles.iter().all(|role| {
            Arn::split(role).is_some_and(|arn| {
                let digits = arn.account.chars().all(|c| c.is_ascii_digit());
                arn.service == "iam"
                    && arn.region.is_empty()
                    && arn.account.len() == 12
                    && digits
                    && arn.resource.starts_with("role/")
                    && !arn.name().is_empty()
                    && PARTITIONS.contains(&arn.partition)
                    && Some(arn.partition) == partition
            })
        });
    if sound { roles.clone() } else { Vec::new() }
}

fn origin(region: Option<&str>, schema: Option<&Schema>, chain: &[String], name: &str) -> Origin {
    let Some(schema) = schema else {
        return Origin::Unknown("its external schema is not shown to this user");
    };
    let options: Json = serde_json::from_str(&schema.options).unwrap_or_default();
    let says = |key: &str| options.get(key).and_then(Json::as_str);
    let brokers = says("URI").map(str::to_owned);
    if brokers.is_some() || says("SOURCE").is_some_and(|source| ["KAFKA", "MSK"].contains(&source))
    {
        return Origin::Kafka(brokers);
    }
    let Some(last) = chain.last().and_then(|role| Arn::split(role)) else {
        return Origin::Unknown("the roles of its external schema do not tell its account");
    };
    // Without a clause it is the warehouse's own.
    let Some(region) = says("REGION").or(region) else {
        return Origin::Unknown("neither its external schema nor --region tells its region");
    };
    let (partition, account) = (last.partition, last.account);
    Origin::Kinesis(format!(
        "arn:{partition}:kinesis:{region}:{account}:stream/{name}"
    ))
}

/// A bare TOML key.
fn key(name: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let key: String = name
        .chars()
        .map(|c| if fits(c) { c } else { '_' })
        .collect();
    if key.is_empty() { "_".to_owned() } else { key }
}

/// What was found, for programs.
#[must_use]
pub fn as_json(found: &Found) -> Json {
    let views = found.views.iter().map(|view| {
        let (external_schema, stream) = match &view.reads {
            Reads::Stream(schema, stream) => (Some(schema), Some(stream)),
            Reads::Unknown | Reads::Views(_) | Reads::Ambiguous => (None, None),
        };
        json!({
            "name": format!("{}.{}", view.schema, view.name),
            "owner": view.view.owner,
            "auto_refresh": view.view.auto_refresh,
            "state": view.view.state,
            "refreshable": view.is_refreshable(),
            "configured": view.configured,
            "external_schema": external_schema,
            "stream": stream,
            "after": view.view.parents,
        })
    });
    let streams = found.streams.iter().map(|stream| {
        let (kinesis, kafka) = match &stream.origin {
            Origin::Kinesis(arn) => (Some(arn), None),
            Origin::Kafka(_) => (None, Some(&stream.name)),
            Origin::Configured | Origin::Unknown(_) => (None, None),
        };
        json!({
            "key": stream.key,
            "name": stream.name,
            "external_schema": stream.external_schema,
            "kinesis": kinesis,
            "kafka": kafka,
            "role_chain": stream.role_chain,
        })
    });
    json!({
        "user": found.user,
        "views": views.collect::<Vec<_>>(),
        "streams": streams.collect::<Vec<_>>(),
        "gaps": found.gaps,
    })
}
