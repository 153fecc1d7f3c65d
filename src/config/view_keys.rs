//! The keys that a view has or inherits, wherever they stand.
//!
//! Decides: how each of them is written, and that a weaker layer only fills gaps.
//! Deliberately absent: the order of the layers (`resolve.rs`).

use std::collections::BTreeMap;
use std::time::Duration;

use super::create_keys::{CreateKeys, create_keys};
use super::decode::Table;
use super::problem::{At, Problems};
use super::types::{Auth, Mode, Priority, Session};
use super::values::{check_label, parse_arn, parse_cron};

/// Keys that a view has or inherits.
#[derive(Clone, Debug, Default)]
pub(super) struct ViewKeys {
    pub(super) warehouse: Option<At<String>>,
    pub(super) database: Option<At<String>>,
    pub(super) schema: Option<At<String>>,
    pub(super) stream: Option<At<String>>,
    pub(super) target_lag: Option<At<Duration>>,
    pub(super) miss_rate: Option<At<f64>>,
    pub(super) min_interval: Option<At<Duration>>,
    pub(super) max_interval: Option<At<Duration>>,
    pub(super) priority: Option<At<Priority>>,
    pub(super) schedule: Option<At<String>>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) after: Option<Vec<At<String>>>,
    pub(super) refresh_at: Option<Vec<String>>,
    pub(super) mode: Option<At<Mode>>,
    pub(super) auth: Option<At<Auth>>,
    pub(super) session: Option<Session>,
    pub(super) statement_timeout: Option<At<Duration>>,
    pub(super) create: Option<At<CreateKeys>>,
}

impl ViewKeys {
    /// Fills what is missing from a weaker layer; labels are merged name by name.
    pub(super) fn inherit(&mut self, weaker: &Self) {
        macro_rules! fill {
            ($($key:ident),*) => {
                $(if self.$key.is_none() { self.$key.clone_from(&weaker.$key); })*
            };
        }
        fill!(
            warehouse,
            database,
            schema,
            stream,
            target_lag,
            miss_rate,
            min_interval,
            max_interval,
            priority,
            schedule,
            after,
            refresh_at,
            mode,
            auth,
            session,
            statement_timeout,
            create
        );
        for (name, value) in &weaker.labels {
            if !self.labels.contains_key(name) {
                self.labels.insert(name.clone(), value.clone());
            }
        }
    }
}

/// Takes the keys of a view out of a table.
pub(super) fn view_keys(table: &mut Table<'_>, problems: &mut Problems) -> ViewKeys {
    let after = table.texts("after", problems);
    let refresh_at = table.texts("refresh_at", problems);
    ViewKeys {
        warehouse: table.text("warehouse", problems),
        database: table.text("database", problems),
        schema: table.text("schema", problems),
        stream: table.text("stream", problems),
        target_lag: table.duration("target_lag", problems),
        miss_rate: miss_rate(table, problems),
        min_interval: table.duration("min_interval", problems),
        max_interval: table.duration("max_interval", problems),
        priority: table.choice(
            "priority",
            &[
                ("low", Priority::Low),
                ("normal", Priority::Normal),
                ("high", Priority::High),
            ],
            problems,
        ),
        schedule: table.text("schedule", problems),
        labels: labels(table, problems),
        after: after.map(|after| after.value),
        refresh_at: refresh_at.map(|list| {
            let patterns = list.value.iter();
            patterns
                .filter_map(|text| text.parse("refresh_at", parse_cron, problems))
                .map(|cron| cron.value)
                .collect()
        }),
        mode: table.choice(
            "mode",
            &[("active", Mode::Active), ("observe", Mode::Observe)],
            problems,
        ),
        auth: auth(table, problems),
        session: session(table, problems),
        statement_timeout: table.duration("statement_timeout", problems),
        create: create_keys(table, problems),
    }
}

fn miss_rate(table: &mut Table<'_>, problems: &mut Problems) -> Option<At<f64>> {
    let rate = table.number("miss_rate", problems)?;
    if rate.value > 0.0 && rate.value <= 0.5 {
        return Some(rate);
    }
    let wrong = format!(
        "`miss_rate` is {}; write a share above 0, at most 0.5",
        rate.value
    );
    problems.add(rate.place, wrong);
    None
}

fn labels(table: &mut Table<'_>, problems: &mut Problems) -> BTreeMap<String, String> {
    let mut read = BTreeMap::new();
    let Some(labels) = table.table("labels", problems) else {
        return read;
    };
    for (name, value) in labels.into_entries() {
        if let Err(wrong) = check_label(&name.value) {
            problems.add(name.place, wrong);
        }
        if let Some(value) = value.text(&name.value, problems) {
            read.insert(name.value, value.value);
        }
    }
    read
}

fn auth(table: &mut Table<'_>, problems: &mut Problems) -> Option<At<Auth>> {
    let value = table.take("auth")?;
    let mut keys = value.table("auth", problems)?;
    let user = keys.text("db_user", problems);
    let secret = keys.text("secret_arn", problems);
    keys.finish("`auth`", problems);
    match (user, secret) {
        (Some(user), None) => Some(value.at(Auth::DbUser(user.value))),
        (None, Some(secret)) => {
            let read = |text: &str| parse_arn(text, "secretsmanager", "secret:");
            let arn = secret.parse("secret_arn", read, problems)?;
            Some(arn.map(Auth::SecretArn))
        }
        (Some(_), Some(_)) | (None, None) => {
            problems.add(
                value.place,
                "`auth` wants one of `db_user` and `secret_arn`",
            );
            None
        }
    }
}

fn session(table: &mut Table<'_>, problems: &mut Problems) -> Option<Session> {
    let mut keys = table.table("session", problems)?;
    let group = keys.text("query_group", problems);
    let case_sensitive = keys.boolean("case_sensitive", problems);
    keys.finish("`session`", problems);
    Some(Session {
        query_group: group.map(|group| group.value),
        case_sensitive: case_sensitive.is_some_and(|on| on.value),
    })
}
