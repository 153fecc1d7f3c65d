//! Decides what outlives a lab that keeps its data: the streams' journal, the catalog, and
//! each view's positions, which are written in one transaction with its rows.
//!
//! Invariant: whatever moment the lab is killed at, a record is in a view if and only if the
//! view's positions have passed it. Statements do not outlive a lab.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension as _, params};
use serde::{Deserialize, Serialize};

use super::Staged;
use super::catalog::SchemaState;
use super::engine::Engine;
use super::source::{DEFAULT_QUERY, Source};
use crate::clock::Moment;
use crate::db::{Db, DbError, system_relations};
use crate::remote::Position;
use crate::sql::{self, Command, ViewName};
use crate::streams::Streams;
use crate::streams::journal::Change;
use crate::world::{View, World};

const TABLES: &str =
    "CREATE TABLE IF NOT EXISTS lab_state (key TEXT PRIMARY KEY, value TEXT NOT NULL);
     CREATE TABLE IF NOT EXISTS lab_journal (n INTEGER PRIMARY KEY, change TEXT NOT NULL);";

#[derive(Debug, Default, Serialize, Deserialize)]
struct Catalog {
    view_numbers: i64,
    queries: i64,
    schemas: Vec<KeptSchema>,
    views: Vec<KeptView>,
    dropped: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct KeptSchema {
    warehouse: String,
    database: String,
    name: String,
    owner: String,
    sql: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct KeptView {
    warehouse: String,
    database: String,
    schema: String,
    name: String,
    owner: String,
    text: String,
    source: Source,
    number: i64,
    auto_refresh: bool,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct KeptPositions {
    lab: Vec<u64>,
    stream_number: Option<u32>,
    remote: BTreeMap<String, Position>,
    version: u64,
    read_versions: BTreeMap<String, u64>,
}

/// When the first life of the lab began, in microseconds since 1970: its clock goes on.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn first_epoch_us(db: &Db, now_us: i64) -> Result<i64, DbError> {
    let connection = db.connection();
    connection.execute_batch(TABLES)?;
    if let Some(known) = read::<i64>(connection, "epoch_us")? {
        return Ok(known);
    }
    write(connection, "epoch_us", &now_us)?;
    Ok(now_us)
}

fn read<T: for<'de> Deserialize<'de>>(
    connection: &Connection,
    key: &str,
) -> Result<Option<T>, DbError> {
    let text: Option<String> = connection
        .query_row("SELECT value FROM lab_state WHERE key = ?1", [key], |row| {
            row.get(0)
        })
        .optional()?;
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
}

fn write<T: Serialize>(connection: &Connection, key: &str, value: &T) -> Result<(), DbError> {
    let text = serde_json::to_string(value).unwrap_or_default();
    connection.execute(
        "INSERT OR REPLACE INTO lab_state (key, value) VALUES (?1, ?2)",
        params![key, text],
    )?;
    Ok(())
}

fn append(connection: &Connection, changes: &[Change]) -> Result<(), DbError> {
    let mut insert = connection.prepare_cached("INSERT INTO lab_journal (change) VALUES (?1)")?;
    for change in changes {
        insert.execute([serde_json::to_string(change).unwrap_or_default()])?;
    }
    Ok(())
}

fn journal(connection: &Connection) -> Result<Vec<Change>, DbError> {
    let mut select = connection.prepare("SELECT change FROM lab_journal ORDER BY n")?;
    let texts = select.query_map([], |row| row.get::<_, String>(0))?;
    let mut changes = Vec::new();
    for text in texts {
        if let Ok(change) = serde_json::from_str(&text?) {
            changes.push(change);
        }
    }
    Ok(changes)
}

impl Engine {
    /// The world's warehouses and views, and what an earlier life has left.
    pub(super) fn build(&mut self, world: &World) -> Result<(), String> {
        let catalog = if self.kept {
            self.recall(world)?
        } else {
            Catalog::default()
        };
        let warehouses: Vec<String> = self.warehouses.keys().cloned().collect();
        for warehouse in warehouses {
            for mut relation in system_relations(&warehouse) {
                let spec = self.warehouses.get(&warehouse).map(|state| &state.spec);
                if spec.is_some_and(|spec| spec.hides(&relation.name, None)) {
                    continue;
                }
                relation.columns.retain(|column| {
                    spec.is_none_or(|spec| !spec.hides(&relation.name, Some(&column.name)))
                });
                let known = self.db.relations().any(|known| {
                    known.namespace == relation.namespace
                        && known.name == relation.name
                        && known.schema == relation.schema
                });
                if !known {
                    self.db
                        .create(relation)
                        .map_err(|error| error.to_string())?;
                }
            }
        }
        self.has_lab_schema();
        for view in &world.views {
            if catalog.dropped.contains(&view.id()) {
                self.dropped.insert(view.id());
                continue;
            }
            let text = view
                .sql
                .as_ref()
                .map_or(DEFAULT_QUERY, |sql| sql.get_ref().as_str());
            let query = sql::parse_query(text)?;
            let source = Source::Lab {
                schema: super::catalog::LAB_SCHEMA.to_owned(),
                stream: view.stream.get_ref().clone(),
            };
            self.add_view(view.clone(), &query, text, source, Moment::ZERO)
                .map_err(|error| format!("view {}: {error}", view.id()))?;
        }
        self.rebuild(catalog)?;
        if self.kept {
            self.recall_positions().map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn recall(&mut self, world: &World) -> Result<Catalog, String> {
        let connection = self.db.connection();
        let kept = || {
            connection.execute_batch(TABLES)?;
            Ok((journal(connection)?, read(connection, "catalog")?))
        };
        let (changes, catalog): (Vec<Change>, Option<Catalog>) =
            kept().map_err(|error: DbError| error.to_string())?;
        let catalog = catalog.unwrap_or_default();
        if !changes.is_empty() {
            self.streams = Streams::restore(world, changes).map_err(|error| error.to_string())?;
        }
        self.streams.keep_journal();
        Ok(catalog)
    }

    fn rebuild(&mut self, catalog: Catalog) -> Result<(), String> {
        self.queries = catalog.queries;
        for kept in catalog.schemas {
            let external = match sql::parse(&kept.sql) {
                Ok(Command::CreateExternalSchema(schema)) => Some(schema),
                Ok(_) | Err(_) => None,
            };
            let state = SchemaState {
                owner: kept.owner,
                external,
                sql: kept.sql,
            };
            self.schemas
                .insert((kept.warehouse, kept.database, kept.name), state);
        }
        for kept in catalog.views {
            let name = ViewName {
                database: None,
                schema: kept.schema,
                view: kept.name,
            };
            if let Some(state) = self.views.get_mut(&name.id()) {
                // A view of the world: only what can be altered.
                state.number = kept.number;
                state.auto_refresh = kept.auto_refresh;
                continue;
            }
            let mut view = View::created(&name, &kept.warehouse, &kept.database, &kept.owner);
            if let Some(stream) = kept.source.lab_stream() {
                view.read_from(stream);
            }
            let query = sql::parse_query(&kept.text)?;
            self.add_view(view, &query, &kept.text, kept.source, Moment::ZERO)
                .map_err(|error| format!("view {}: {error}", name.id()))?;
            if let Some(state) = self.views.get_mut(&name.id()) {
                state.number = kept.number;
                state.auto_refresh = kept.auto_refresh;
            }
        }
        self.view_numbers = self.view_numbers.max(catalog.view_numbers);
        Ok(())
    }

    fn recall_positions(&mut self) -> Result<(), DbError> {
        for (id, state) in &mut self.views {
            let kept: Option<KeptPositions> = read(self.db.connection(), &format!("view/{id}"))?;
            if let Some(kept) = kept {
                state.resume(kept.lab, kept.remote);
                state.stream_number = kept.stream_number;
                state.version = kept.version;
                state.read_versions = kept.read_versions;
            }
        }
        Ok(())
    }

    /// Something was created, altered or dropped.
    pub(super) fn catalog_changed(&self) {
        if !self.kept {
            return;
        }
        let schemas = self
            .schemas
            .iter()
            .filter(|(_, state)| !state.sql.is_empty())
            .map(|((warehouse, database, name), state)| KeptSchema {
                warehouse: warehouse.clone(),
                database: database.clone(),
                name: name.clone(),
                owner: state.owner.clone(),
                sql: state.sql.clone(),
            });
        let views = self.views.values().map(|state| {
            let (_, schema, name) = state.storage();
            KeptView {
                warehouse: state.view.warehouse.get_ref().clone(),
                database: state.view.database.get_ref().clone(),
                schema,
                name,
                owner: state.view.owner.clone().unwrap_or_default(),
                text: state.definition.text.clone(),
                source: state.source.clone(),
                number: state.number,
                auto_refresh: state.auto_refresh,
            }
        });
        let catalog = Catalog {
            view_numbers: self.view_numbers,
            queries: self.queries,
            schemas: schemas.collect(),
            views: views.collect(),
            dropped: self.dropped.iter().cloned().collect(),
        };
        if let Err(error) = write(self.db.connection(), "catalog", &catalog) {
            tracing::error!(%error, "cannot keep the catalog");
        }
    }

    /// Forgets where a view had read to: it is new, or gone.
    pub(super) fn forget_positions(&self, id: &str) {
        if !self.kept {
            return;
        }
        let gone = self.db.connection().execute(
            "DELETE FROM lab_state WHERE key = ?1",
            [format!("view/{id}")],
        );
        if let Err(error) = gone {
            tracing::error!(%error, "cannot forget a view's positions");
        }
    }

    /// Writes what has happened to the streams since the last call, before anybody is told.
    pub(crate) fn keep(&mut self) {
        if !self.kept {
            return;
        }
        let changes = self.streams.take_changes();
        if changes.is_empty() {
            return;
        }
        if let Err(error) = self.in_transaction(|db| append(db.connection(), &changes)) {
            tracing::error!(%error, "cannot keep the streams");
        }
    }

    fn in_transaction(&self, act: impl FnOnce(&Db) -> Result<(), DbError>) -> Result<(), DbError> {
        self.db.connection().execute_batch("BEGIN")?;
        match act(&self.db) {
            Ok(()) => Ok(self.db.connection().execute_batch("COMMIT")?),
            Err(error) => {
                self.db.connection().execute_batch("ROLLBACK")?;
                Err(error)
            }
        }
    }

    /// Makes visible what a statement has read: its rows and positions together.
    pub(super) fn commit_all(&mut self, number: u64, staged: &[Staged], at: Moment) {
        if staged.is_empty() {
            return;
        }
        self.keep();
        if let Err(error) = self.db.connection().execute_batch("BEGIN") {
            tracing::error!(%error, "cannot begin a commit");
        }
        for one in staged {
            self.commit_staged(number, one, at);
            self.keep_positions(&one.view);
        }
        if let Err(error) = self.db.connection().execute_batch("COMMIT") {
            tracing::error!(%error, "cannot commit");
        }
    }

    fn keep_positions(&self, id: &str) {
        let Some(state) = self.views.get(id).filter(|_| self.kept) else {
            return;
        };
        let kept = KeptPositions {
            lab: state.positions().to_vec(),
            stream_number: state.stream_number,
            remote: state.remote.clone(),
            version: state.version,
            read_versions: state.read_versions.clone(),
        };
        if let Err(error) = write(self.db.connection(), &format!("view/{id}"), &kept) {
            tracing::error!(%error, "cannot keep a view's positions");
        }
    }
}
