//! The TOML of what was found.
//!
//! Decides: its order and its comments. Names come from a warehouse where anybody may have
//! chosen them: values are quoted, comments lose what ends a line.

use std::collections::{BTreeMap, BTreeSet};

use super::{Found, FoundStream, FoundView, Origin, Place, Reads, free, key};
use crate::setup::identifier::identifier;

/// Streams, then a group of views for each schema.
#[must_use]
pub fn toml(place: Place<'_>, found: &Found, target_lag: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for gap in &found.gaps {
        lines.push(remark(&format!("could not be read: {gap}")));
    }
    if found.views.is_empty() {
        lines.push(remark(
            "no materialized view was found: views are shown to those who may see them",
        ));
    }
    for stream in &found.streams {
        write_stream(&mut lines, stream);
    }
    let mut schemas: BTreeMap<&str, Vec<&FoundView>> = BTreeMap::new();
    for view in &found.views {
        let (name, schema) = (quoted(&view.name), quoted(&view.schema));
        match &view.configured {
            Some(id) => lines.push(remark(&format!(
                "{name} is configured already: in schema {schema}, as {id}"
            ))),
            None if view.can_be_named() => schemas.entry(&view.schema).or_default().push(view),
            None => lines.push(remark(&format!(
                "a configuration cannot name {name} in schema {schema}"
            ))),
        }
    }
    let mut taken = BTreeSet::new();
    for (schema, views) in schemas {
        let group = free(&[&key(schema)], &taken);
        lines.push(String::new());
        lines.push(format!("[groups.{group}]"));
        taken.insert(group);
        for (name, value) in [
            ("warehouse", place.warehouse),
            ("database", place.database),
            ("schema", schema),
            ("target_lag", target_lag),
        ] {
            lines.push(format!("{name} = {}", quoted(value)));
        }
        lines.push("views = [".to_owned());
        for view in views {
            write_view(&mut lines, view, found);
        }
        lines.push("]".to_owned());
    }
    lines.push(String::new());
    lines.join("\n")
}

fn write_stream(lines: &mut Vec<String>, stream: &FoundStream) {
    let through = format!("read through external schema {}", stream.external_schema);
    let chain = stream.role_chain.iter().map(|role| quoted(role));
    let chain = format!("role_chain = [{}]", chain.collect::<Vec<_>>().join(", "));
    let roles = (!stream.role_chain.is_empty()).then_some(chain);
    let section = format!("[streams.{}]", stream.key);
    match &stream.origin {
        Origin::Configured => {}
        Origin::Kinesis(arn) => {
            let told = remark(&format!("{through}; the account is that of its last role"));
            lines.push(format!("\n{section}   {told}"));
            lines.push(format!("kinesis = {}", quoted(arn)));
            lines.extend(roles);
        }
        Origin::Kafka(brokers) => {
            lines.push(format!("\n{section}   {}", remark(&through)));
            lines.push(format!("kafka = {}", quoted(&stream.name)));
            lines.extend(roles);
            if let Some(brokers) = brokers {
                let brokers = quoted(brokers);
                lines.push(remark(&format!(
                    "for `setup`: kafka_uri = {brokers} and kafka_auth = \"none\", \"iam\" or \"mtls\""
                )));
            }
        }
        Origin::Unknown(why) => {
            lines.push(String::new());
            lines.push(remark(&format!("{section}   {through}; {why}")));
            let arn = format!("arn:aws:kinesis:<region>:<account>:stream/{}", stream.name);
            lines.push(remark(&format!("kinesis = {}", quoted(&arn))));
            lines.extend(roles.map(|roles| remark(&roles)));
        }
    }
}

fn write_view(lines: &mut Vec<String>, view: &FoundView, found: &Found) {
    let name = quoted(&view.name);
    let mut say = |text: &str| lines.push(format!("    {}", remark(text)));
    if !view.is_refreshable() {
        let state = view.view.state;
        say(&format!(
            "{name},   state {state}: it cannot be refreshed, and has to be created anew"
        ));
        return;
    }
    if view.view.owner != found.user {
        say(&format!(
            "its owner is {}: only the owner may refresh it; see `auth`",
            view.view.owner
        ));
    }
    if view.view.auto_refresh {
        say(&format!(
            "AUTO REFRESH is on, and paid for as well: ALTER MATERIALIZED VIEW {}.{} AUTO REFRESH NO;",
            identifier(&view.schema),
            identifier(&view.name)
        ));
    }
    let after = match &view.reads {
        Reads::Views(parents) => parents_of(found, parents),
        Reads::Unknown | Reads::Stream(..) | Reads::Ambiguous => Vec::new(),
    };
    let (stream, told) = match &view.reads {
        Reads::Views(_) if !after.is_empty() => (None, None),
        Reads::Views(parents) => (
            None,
            Some(format!("it stands on {}", parents.join(" and "))),
        ),
        Reads::Unknown => (
            None,
            Some(
                "no scan of a stream was seen; if it stands on other views, add after = [\"…\"]"
                    .to_owned(),
            ),
        ),
        Reads::Ambiguous => (
            None,
            Some(
                "views of other schemas have its name: which stream it reads is not told"
                    .to_owned(),
            ),
        ),
        Reads::Stream(schema, stream) => match section_of(found, schema, stream) {
            Some(section) => (Some(section), None),
            None => (
                None,
                Some(format!("reads {stream} through external schema {schema}")),
            ),
        },
    };
    let id = view.id.as_ref().map(|id| format!("id = {}, ", quoted(id)));
    let stream = stream.map(|stream| format!(", stream = {}", quoted(stream)));
    let after: Vec<String> = after.iter().map(|id| quoted(id)).collect();
    let after = (!after.is_empty()).then(|| format!(", after = [{}]", after.join(", ")));
    let entry = if id.is_none() && stream.is_none() && after.is_none() {
        name
    } else {
        let (id, stream) = (id.unwrap_or_default(), stream.unwrap_or_default());
        format!(
            "{{ {id}name = {name}{stream}{} }}",
            after.unwrap_or_default()
        )
    };
    let told = told.map(|told| format!("   {}", remark(&told)));
    lines.push(format!("    {entry},{}", told.unwrap_or_default()));
}

/// The ids of those parents that are or will be configured; none where one cannot be.
fn parents_of<'a>(found: &'a Found, parents: &[String]) -> Vec<&'a str> {
    let one = |parent: &String| {
        let mut views = found.views.iter();
        let parent = views.find(|view| format!("{}.{}", view.schema, view.name) == *parent)?;
        let written = parent.is_refreshable() && parent.can_be_named();
        (parent.configured.is_some() || written).then(|| parent.known_as())
    };
    let ids: Option<Vec<&str>> = parents.iter().map(one).collect();
    ids.unwrap_or_default()
}

/// The section of a stream, if it is more than a comment.
fn section_of<'a>(found: &'a Found, schema: &str, stream: &str) -> Option<&'a str> {
    let mut streams = found.streams.iter();
    let section = streams.find(|one| one.external_schema == schema && one.name == stream)?;
    match &section.origin {
        Origin::Unknown(_) => None,
        Origin::Kinesis(_) | Origin::Kafka(_) | Origin::Configured => Some(&section.key),
    }
}

/// A text as TOML has it, on one line.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A comment, which nothing in it can end.
fn remark(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    format!("# {}", plain.collect::<String>())
}
