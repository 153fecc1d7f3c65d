//! Decides what exists in a lab and what goes wrong in it: the [`World`], read from TOML.
//!
//! Every key is documented in `docs/lab.md`. Unknown keys are refused, and every mistake is
//! reported with line and column. Deliberately absent: anything that changes while the lab
//! runs (that is in `streams` and `statements`).

mod endpoint;
mod number;
mod pattern;
mod view;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

pub(crate) use endpoint::{Endpoint, Fault, FaultKind, Loss, Operation};
pub(crate) use pattern::{Pattern, Producer};
pub(crate) use view::{Service, View, ViewFaultKind};

use crate::remote::Aws;
use number::{Amount, Count, Seconds};

/// The text of [`World::demo`], for those who start the lab as a process of its own.
pub const DEMO_WORLD: &str = include_str!("../../worlds/demo.toml");

/// What a lab consists of: warehouses, streams, producers, views, and their faults.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct World {
    #[serde(default = "default_seed")]
    pub(crate) seed: u64,
    #[serde(default)]
    pub(crate) endpoint: Endpoint,
    #[serde(default)]
    pub(crate) faults: Vec<Fault>,
    /// Where external schemas lead; absent: to the lab's own streams.
    pub(crate) aws: Option<Aws>,
    pub(crate) warehouses: Vec<Warehouse>,
    #[serde(default)]
    pub(crate) streams: Vec<Stream>,
    #[serde(default)]
    pub(crate) producers: Vec<Producer>,
    #[serde(default)]
    pub(crate) views: Vec<View>,
    /// The file that outlives the lab.
    #[serde(skip)]
    pub(crate) data: Option<PathBuf>,
}

/// Where statements can be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its name.
    pub warehouse: String,
    /// A workgroup, or else a cluster.
    pub workgroup: bool,
    /// One of its databases.
    pub database: String,
}

/// A cluster or a Serverless workgroup.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Warehouse {
    pub(crate) name: Spanned<String>,
    pub(crate) kind: WarehouseKind,
    pub(crate) databases: Vec<String>,
    #[serde(default = "default_slots")]
    slots: Count,
    #[serde(default = "default_delay")]
    submit_delay: Seconds,
    #[serde(default = "default_delay")]
    start_delay: Seconds,
    #[serde(default = "default_user")]
    pub(crate) db_user: String,
    /// Roles associated with it; absent: whichever an external schema names first.
    iam_roles: Option<Vec<String>>,
    #[serde(default = "default_max_record")]
    max_record: Count,
    #[serde(default = "default_base_rpu")]
    base_rpu: Amount,
    /// System views, and columns of them as `view.column`, that this release does not have.
    #[serde(default)]
    hidden: Vec<Spanned<String>>,
    /// System views that nobody may read.
    #[serde(default)]
    denied: Vec<Spanned<String>>,
    #[serde(default = "default_billing_minimum")]
    billing_minimum: Seconds,
    #[serde(default = "default_auto_refresh_every")]
    auto_refresh_every: Seconds,
    #[serde(default)]
    history_delay: Seconds,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum WarehouseKind {
    Cluster,
    Workgroup,
}

impl Warehouse {
    pub(crate) fn slots(&self) -> usize {
        self.slots.get()
    }

    /// How long a statement stays SUBMITTED.
    pub(crate) fn submit_delay(&self) -> Duration {
        self.submit_delay.get()
    }

    /// The roles that it may assume; none when it may assume any.
    pub(crate) fn iam_roles(&self) -> Option<&[String]> {
        self.iam_roles.as_deref()
    }

    /// Records above this many bytes are skipped by refreshes.
    pub(crate) fn max_record(&self) -> usize {
        self.max_record.get()
    }

    /// Base capacity in RPUs.
    pub(crate) fn base_rpu(&self) -> f64 {
        self.base_rpu.get()
    }

    /// Whether its release lacks a system view, or a column of one.
    pub(crate) fn hides(&self, view: &str, column: Option<&str>) -> bool {
        let name = column.map_or_else(|| view.to_owned(), |column| format!("{view}.{column}"));
        self.hidden.iter().any(|hidden| *hidden.get_ref() == name)
    }

    /// Whether nobody may read a system view.
    pub(crate) fn denies(&self, view: &str) -> bool {
        self.denied.iter().any(|denied| denied.get_ref() == view)
    }

    /// How often it tries to refresh a view that has AUTO REFRESH.
    pub(crate) fn auto_refresh_every(&self) -> Duration {
        self.auto_refresh_every
            .get()
            .max(Duration::from_millis(100))
    }

    /// How long after its end a refresh is in the system views.
    pub(crate) fn history_delay(&self) -> Duration {
        self.history_delay.get()
    }

    /// What a waking is billed for at least.
    pub(crate) fn billing_minimum(&self) -> Duration {
        self.billing_minimum.get()
    }

    /// How long it stays PICKED when a slot is free.
    pub(crate) fn start_delay(&self) -> Duration {
        self.start_delay.get()
    }
}

/// A sharded log.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stream {
    pub(crate) name: Spanned<String>,
    #[serde(default = "default_shards")]
    shards: Count,
    #[serde(default = "default_retention")]
    retention: Seconds,
}

impl Stream {
    pub(crate) fn shards(&self) -> usize {
        self.shards.get()
    }

    pub(crate) fn retention(&self) -> Duration {
        self.retention.get()
    }
}

fn default_seed() -> u64 {
    1
}

/// Five, the concurrency of a new manual queue in Redshift's workload management.
fn default_slots() -> Count {
    Count::new(5)
}

fn default_delay() -> Seconds {
    Seconds::new(Duration::from_millis(20))
}

/// 1 MiB, what Redshift takes from a record unless its view is newer than patch 203.
fn default_max_record() -> Count {
    Count::new(1024 * 1024)
}

/// The smallest base capacity that a workgroup can have.
fn default_base_rpu() -> Amount {
    Amount::new(4.0)
}

fn default_auto_refresh_every() -> Seconds {
    Seconds::new(Duration::from_secs(10))
}

/// A minute, the least that a waking costs (Management Guide, "Billing for Amazon Redshift
/// Serverless").
fn default_billing_minimum() -> Seconds {
    Seconds::new(Duration::from_secs(60))
}

fn default_user() -> String {
    "IAMR:tidekeeper".to_owned()
}

fn default_shards() -> Count {
    Count::new(1)
}

/// 24 h, the retention of a new Kinesis stream.
fn default_retention() -> Seconds {
    Seconds::new(Duration::from_secs(24 * 3600))
}

/// Why a world's text was refused: the first mistake, and where it stands.
#[derive(Debug, thiserror::Error)]
#[error("{path}:{line}:{column}: {message}")]
pub struct WorldError {
    path: String,
    line: usize,
    column: usize,
    message: String,
}

impl WorldError {
    /// Line and column (both from 1) of the mistake.
    #[must_use]
    pub fn position(&self) -> (usize, usize) {
        (self.line, self.column)
    }

    /// What is wrong, without the place.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl World {
    /// Reads a world; `path_for_errors` is what its mistakes are reported under.
    ///
    /// # Errors
    /// The first mistake: not TOML, an unknown or missing key, a value out of range, a name
    /// used twice, or a reference to something that the world does not have.
    pub fn from_toml(text: &str, path_for_errors: &str) -> Result<Self, WorldError> {
        let world: Self = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            mistake(text, path_for_errors, at, error.message())
        })?;
        world
            .check()
            .map_err(|(at, message)| mistake(text, path_for_errors, at, &message))?;
        Ok(world)
    }

    /// The world of a lab started without a file: workgroup `lab`, database `dev`.
    ///
    /// # Panics
    /// Never: the text is part of the program, and a test reads it.
    #[must_use]
    pub fn sample() -> Self {
        builtin(include_str!("../../worlds/sample.toml"), "sample.toml")
    }

    /// The world of the demo: workgroup `demo`, database `dev`, schema `public`.
    ///
    /// # Panics
    /// Never: the text is part of the program, and a test reads it.
    #[must_use]
    pub fn demo() -> Self {
        builtin(DEMO_WORLD, "demo.toml")
    }

    /// Keeps streams, views and positions in `file`, and goes on from what is in it.
    #[must_use]
    pub fn with_data(mut self, file: PathBuf) -> Self {
        self.data = Some(file);
        self
    }

    /// Every database of every warehouse.
    #[must_use]
    pub fn places(&self) -> Vec<Place> {
        self.warehouses
            .iter()
            .flat_map(|warehouse| {
                warehouse.databases.iter().map(|database| Place {
                    warehouse: warehouse.name.get_ref().clone(),
                    workgroup: warehouse.kind == WarehouseKind::Workgroup,
                    database: database.clone(),
                })
            })
            .collect()
    }

    fn check(&self) -> Result<(), (usize, String)> {
        unique("warehouse", self.warehouses.iter().map(|w| &w.name))?;
        unique("stream", self.streams.iter().map(|s| &s.name))?;
        for warehouse in &self.warehouses {
            if warehouse.databases.is_empty() {
                let name = warehouse.name.get_ref();
                return Err(at(
                    &warehouse.name,
                    format!("warehouse {name:?} has no database"),
                ));
            }
        }
        for hidden in self
            .warehouses
            .iter()
            .flat_map(|w| w.hidden.iter().chain(&w.denied))
        {
            if !crate::db::is_system_name(hidden.get_ref()) {
                let text = format!("there is no system view or column {:?}", hidden.get_ref());
                return Err(at(hidden, text));
            }
        }
        for producer in &self.producers {
            self.stream_known(&producer.stream)?;
        }
        let mut ids = BTreeSet::new();
        for view in &self.views {
            if !ids.insert(view.id()) {
                return Err(at(
                    &view.name,
                    format!("view {:?} is there twice", view.id()),
                ));
            }
            self.stream_known(&view.stream)?;
            let known = self
                .warehouses
                .iter()
                .find(|w| w.name.get_ref() == view.warehouse.get_ref());
            let Some(warehouse) = known else {
                let name = view.warehouse.get_ref();
                return Err(at(
                    &view.warehouse,
                    format!("there is no warehouse {name:?}"),
                ));
            };
            let database = view.database.get_ref();
            if !warehouse.databases.contains(database) {
                let text = format!(
                    "warehouse {:?} has no database {database:?}",
                    warehouse.name.get_ref()
                );
                return Err(at(&view.database, text));
            }
            if let Some(sql) = &view.sql {
                crate::sql::parse_query(sql.get_ref()).map_err(|text| at(sql, text))?;
            }
        }
        Ok(())
    }

    fn stream_known(&self, name: &Spanned<String>) -> Result<(), (usize, String)> {
        if self
            .streams
            .iter()
            .any(|s| s.name.get_ref() == name.get_ref())
        {
            return Ok(());
        }
        Err(at(name, format!("there is no stream {:?}", name.get_ref())))
    }
}

#[expect(
    clippy::panic,
    reason = "a broken built-in world is a bug that the tests of this file find"
)]
fn builtin(text: &str, path: &str) -> World {
    match World::from_toml(text, path) {
        Ok(world) => world,
        Err(error) => panic!("built-in world: {error}"),
    }
}

fn at(place: &Spanned<String>, message: String) -> (usize, String) {
    (place.span().start, message)
}

fn unique<'a>(
    what: &str,
    names: impl Iterator<Item = &'a Spanned<String>>,
) -> Result<(), (usize, String)> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name.get_ref()) {
            return Err(at(
                name,
                format!("{what} {:?} is there twice", name.get_ref()),
            ));
        }
    }
    Ok(())
}

fn mistake(text: &str, path: &str, offset: usize, message: &str) -> WorldError {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
    WorldError {
        path: path.to_owned(),
        line: before.matches('\n').count() + 1,
        column,
        // The TOML parser breaks its messages into lines; a mistake is one line.
        message: message.replace('\n', ", "),
    }
}

#[cfg(test)]
mod tests;
