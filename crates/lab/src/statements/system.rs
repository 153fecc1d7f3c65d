//! Decides what the system views show: rows that are written as things happen, and rows that
//! are made when somebody asks.
//!
//! Which columns a system view has, and their types, is `db`'s; a column that is not given a
//! value here is null. Everybody sees every row (in Redshift: superusers, and those with
//! `SYSLOG ACCESS UNRESTRICTED`).

use std::collections::BTreeSet;

use serde_json::json;

use super::catalog::{Caller, LAB_SCHEMA, SchemaState, namespace};
use super::engine::Engine;
use super::scan::Scan;
use super::source::Source;
use super::view::ViewState;
use super::{Mode, Statement, Status, Unit};
use crate::clock::Moment;
use crate::db::{Cell, timestamp_text};
use crate::sql::SchemaSource;

/// Transaction numbers count up from here.
const FIRST_TRANSACTION: i64 = 100_000;

/// The first user id that is not Redshift's own.
const USER_ID: i64 = 100;
const USERS: i64 = 1_000_000;

/// A user's id: the lab has no list of users, so their names stand for them.
fn user_id(name: &str) -> i64 {
    let sum = name
        .bytes()
        .fold(0_i64, |sum, byte| (sum * 31 + i64::from(byte)) % USERS);
    USER_ID + sum
}

pub(super) type Named = Vec<(&'static str, Cell)>;

fn text(value: impl Into<String>) -> Cell {
    Cell::Text(value.into())
}

fn yes_or_no(value: bool) -> Cell {
    text(if value { "t" } else { "f" })
}

fn micros(time: std::time::Duration) -> Cell {
    Cell::Int(i64::try_from(time.as_micros()).unwrap_or(i64::MAX))
}

/// The transaction that a unit ran in.
fn transaction(statement: &Statement, unit: &Unit) -> i64 {
    let of = match statement.asked.batch {
        Some(Mode::Transaction) => statement.units.first().and_then(|first| first.query_id),
        Some(Mode::AutoCommit) | None => unit.query_id,
    };
    FIRST_TRANSACTION + of.unwrap_or_default()
}

impl Engine {
    fn moment_text(&self, at: Moment) -> Cell {
        Cell::Text(timestamp_text(self.utc_us(at)))
    }

    /// Writes rows into a system view of a warehouse; what it has no column for is left out.
    pub(super) fn write(&self, warehouse: &str, view: &str, rows: Vec<Named>) {
        let relation = self
            .db
            .relations()
            .find(|relation| relation.namespace == warehouse && relation.name == view);
        let Some(relation) = relation else {
            return;
        };
        let cells: Vec<Vec<Cell>> = rows
            .into_iter()
            .map(|mut row| {
                let take = |column: &crate::db::Column| {
                    row.iter_mut()
                        .find(|(name, _)| *name == column.name)
                        .map_or(Cell::Null, |(_, cell)| std::mem::replace(cell, Cell::Null))
                };
                relation.columns.iter().map(take).collect()
            })
            .collect();
        let written = self
            .db
            .insert(warehouse, &relation.schema, &relation.name, &cells);
        if let Err(error) = written {
            tracing::error!(view, %error, "cannot write into a system view");
        }
    }

    fn rewrite(&self, warehouse: &str, view: &str, rows: Vec<Named>) {
        let relation = self
            .db
            .relations()
            .find(|relation| relation.namespace == warehouse && relation.name == view);
        if let Some(relation) = relation
            && let Err(error) = self.db.clear(warehouse, &relation.schema, view)
        {
            tracing::error!(view, %error, "cannot clear a system view");
        }
        self.write(warehouse, view, rows);
    }

    /// Makes the rows of a system view that shows the present, before somebody reads it.
    pub(super) fn show_system_relation(&mut self, caller: &Caller, name: &str, now: Moment) {
        let warehouse = caller.warehouse.as_str();
        let rows = match name {
            "svv_mv_info" | "stv_mv_info" => self.mv_info(warehouse, now),
            "stv_mv_deps" => self.dependencies(warehouse),
            "sys_mv_state" | "svv_table_info" => Vec::new(),
            "svv_external_schemas" => self.external_schemas(warehouse),
            "svv_tables" | "tables" => self.tables(warehouse),
            "svv_columns" | "columns" => self.columns(warehouse),
            "pg_user" | "svv_user_info" => self.users(caller),
            "sys_serverless_usage" => self.serverless_usage(warehouse, now),
            _ => return,
        };
        self.rewrite(warehouse, name, rows);
    }

    fn views_of<'a>(&'a self, warehouse: &'a str) -> impl Iterator<Item = &'a ViewState> {
        self.views
            .values()
            .filter(move |state| state.view.warehouse.get_ref() == warehouse)
    }

    fn mv_info(&self, warehouse: &str, now: Moment) -> Vec<Named> {
        let row = |state: &ViewState| {
            let (_, schema, name) = state.storage();
            vec![
                ("database_name", text(state.view.database.get_ref().clone())),
                ("db_name", text(state.view.database.get_ref().clone())),
                ("schema_name", text(schema.clone())),
                ("schema", text(schema)),
                ("user_name", text(self.owner(state))),
                ("owner_user_name", text(self.owner(state))),
                ("name", text(name)),
                ("updated_upto_xid", Cell::Int(FIRST_TRANSACTION)),
                ("is_stale", yes_or_no(self.is_stale(state, now))),
                ("state", Cell::Int(1)),
                ("autorewrite", yes_or_no(false)),
                ("autorefresh", yes_or_no(state.auto_refresh)),
            ]
        };
        self.views_of(warehouse).map(row).collect()
    }

    fn dependencies(&self, warehouse: &str) -> Vec<Named> {
        let mut rows = Vec::new();
        for state in self.views_of(warehouse) {
            let Source::Views(parents) = &state.source else {
                continue;
            };
            let (_, schema, name) = state.storage();
            let database = state.view.database.get_ref();
            for parent in parents {
                let Some((_, ref_schema, ref_name)) =
                    self.views.get(parent).map(ViewState::storage)
                else {
                    continue;
                };
                rows.push(vec![
                    ("db_name", text(database.clone())),
                    ("schema", text(schema.clone())),
                    ("name", text(name.clone())),
                    ("ref_schema", text(ref_schema)),
                    ("ref_name", text(ref_name)),
                    ("ref_database_name", text(database.clone())),
                ]);
            }
        }
        rows
    }

    /// A view of the world without an owner is everybody's: the one who asks is shown.
    fn owner<'a>(&'a self, state: &'a ViewState) -> &'a str {
        let warehouse = self.warehouses.get(state.view.warehouse.get_ref());
        let anybody = warehouse.map_or("", |warehouse| warehouse.spec.db_user.as_str());
        state.view.owner.as_deref().unwrap_or(anybody)
    }

    /// Whether there is something that the view does not hold yet, as far as the lab can see.
    pub(super) fn is_stale(&self, state: &ViewState, now: Moment) -> bool {
        match &state.source {
            Source::Lab { stream, .. } => self.streams.log(stream).is_some_and(|log| {
                let unread = log.unread(state.positions(), now);
                unread.iter().any(|stretch| stretch.from < stretch.to)
            }),
            Source::Remote { .. } => true,
            Source::Views(parents) => self.versions(parents) != state.read_versions,
        }
    }

    fn external_schemas(&self, warehouse: &str) -> Vec<Named> {
        let mut rows = Vec::new();
        for (number, ((_, database, name), state)) in self
            .schemas
            .iter()
            .enumerate()
            .filter(|(_, ((of, _, _), state))| of == warehouse && state.external.is_some())
        {
            rows.push(vec![
                (
                    "esoid",
                    Cell::Int(FIRST_TRANSACTION + i64::try_from(number).unwrap_or_default()),
                ),
                // An assumption: the documentation numbers no kind for streams.
                ("eskind", Cell::Int(9)),
                ("schemaname", text(name.clone())),
                ("esowner", Cell::Int(USER_ID)),
                ("databasename", text(database.clone())),
                ("esoptions", text(options(state))),
            ]);
        }
        rows
    }

    /// Everybody who has asked for anything.
    fn users(&self, caller: &Caller) -> Vec<Named> {
        let users = self.statements.values().map(|statement| &statement.user);
        let users: BTreeSet<&String> = users.chain([&caller.user]).collect();
        let row = |user: &String| {
            vec![
                ("usename", text(user.clone())),
                ("user_name", text(user.clone())),
                ("usesysid", Cell::Int(user_id(user))),
                ("user_id", Cell::Int(user_id(user))),
                ("usesuper", Cell::Bool(false)),
                ("superuser", Cell::Bool(false)),
                ("syslog_access", text("UNRESTRICTED")),
            ]
        };
        users.into_iter().map(row).collect()
    }

    fn tables(&self, warehouse: &str) -> Vec<Named> {
        let row = |state: &ViewState| {
            let (_, schema, name) = state.storage();
            vec![
                ("table_catalog", text(state.view.database.get_ref().clone())),
                ("table_schema", text(schema)),
                ("table_name", text(name)),
                ("table_type", text("VIEW")),
            ]
        };
        self.views_of(warehouse).map(row).collect()
    }

    fn columns(&self, warehouse: &str) -> Vec<Named> {
        let mut rows = Vec::new();
        for state in self.views_of(warehouse) {
            let (_, schema, name) = state.storage();
            for (place, column) in (1..).zip(&state.definition.columns) {
                rows.push(vec![
                    ("table_catalog", text(state.view.database.get_ref().clone())),
                    ("table_schema", text(schema.clone())),
                    ("table_name", text(name.clone())),
                    ("column_name", text(column.name.clone())),
                    ("ordinal_position", Cell::Int(place)),
                    ("is_nullable", text("YES")),
                    ("data_type", text(column.ty.name())),
                ]);
            }
        }
        rows
    }

    /// One row for each minute in which the workgroup was awake: from the start of a
    /// statement to its end, at least for a minute (Management Guide, "Billing for Amazon
    /// Redshift Serverless"), in seconds times base capacity.
    fn serverless_usage(&self, warehouse: &str, now: Moment) -> Vec<Named> {
        let Some(state) = self.warehouses.get(warehouse) else {
            return Vec::new();
        };
        let mut rows = Vec::new();
        for (minute, computed, charged) in state.usage(now) {
            let capacity = state.spec.base_rpu();
            rows.push(vec![
                ("start_time", self.moment_text(minute)),
                (
                    "end_time",
                    self.moment_text(minute + std::time::Duration::from_secs(60)),
                ),
                ("compute_seconds", Cell::Float(computed * capacity)),
                ("compute_capacity", Cell::Float(capacity)),
                ("data_storage", Cell::Int(0)),
                ("cross_region_transferred_data", Cell::Int(0)),
                ("charged_seconds", Cell::Int(whole(charged * capacity))),
            ]);
        }
        rows
    }

    /// A unit has ended: `SYS_QUERY_HISTORY`, and `SYS_MV_REFRESH_HISTORY` for a refresh.
    pub(super) fn write_history(&mut self, number: u64, unit: usize, status_text: Option<&str>) {
        let Some(statement) = self.statements.get(&number) else {
            return;
        };
        let Some(unit) = statement.units.get(unit) else {
            return;
        };
        let warehouse = statement.asked.warehouse.clone();
        let ended = unit.updated;
        let started = unit.started.unwrap_or(unit.updated);
        let took = unit.updated.saturating_sub(started);
        let waited = started.saturating_sub(statement.created);
        let status = match unit.status {
            Status::Finished => "success",
            Status::Aborted => "canceled",
            Status::Submitted | Status::Picked | Status::Started | Status::Failed => "failed",
        };
        let rows = unit.result.as_ref().map_or(0, |result| result.rows.len());
        let query = vec![
            ("user_id", Cell::Int(user_id(&statement.user))),
            ("query_id", Cell::Int(unit.query_id.unwrap_or_default())),
            ("query_label", text("default")),
            ("transaction_id", Cell::Int(transaction(statement, unit))),
            ("session_id", Cell::Int(statement.pid.unwrap_or_default())),
            ("database_name", text(statement.asked.database.clone())),
            ("query_type", text(unit.kind())),
            ("status", text(status)),
            ("result_cache_hit", Cell::Bool(false)),
            ("start_time", self.moment_text(started)),
            ("end_time", self.moment_text(unit.updated)),
            ("elapsed_time", micros(waited + took)),
            ("queue_time", micros(waited)),
            ("execution_time", micros(took)),
            ("lock_wait_time", micros(unit.lock_wait)),
            (
                "error_message",
                text(unit.error.clone().unwrap_or_default()),
            ),
            (
                "returned_rows",
                Cell::Int(i64::try_from(rows).unwrap_or(i64::MAX)),
            ),
            ("returned_bytes", Cell::Int(0)),
            (
                "query_text",
                text(unit.sql.chars().take(4000).collect::<String>()),
            ),
            ("username", text(statement.user.clone())),
        ];
        let refresh = status_text.and_then(|text| self.refresh_row(statement, unit, text));
        self.write(&warehouse, "sys_query_history", vec![query]);
        if let Some(refresh) = refresh {
            let rows = vec![refresh];
            self.write_late(&warehouse, "svl_mv_refresh_status", rows.clone(), ended);
            self.write_late(&warehouse, "sys_mv_refresh_history", rows, ended);
        }
    }

    fn refresh_row(&self, statement: &Statement, unit: &Unit, status_text: &str) -> Option<Named> {
        let state = self.views.get(unit.view.as_ref()?)?;
        let started = unit.started.unwrap_or(unit.updated);
        let took = micros(unit.updated.saturating_sub(started));
        let (_, schema, name) = state.storage();
        Some(vec![
            ("user_id", Cell::Int(user_id(&statement.user))),
            ("userid", Cell::Int(user_id(&statement.user))),
            ("session_id", Cell::Int(statement.pid.unwrap_or_default())),
            ("transaction_id", Cell::Int(transaction(statement, unit))),
            ("xid", Cell::Int(transaction(statement, unit))),
            ("database_name", text(statement.asked.database.clone())),
            ("db_name", text(statement.asked.database.clone())),
            ("schema_name", text(schema)),
            ("mv_id", Cell::Int(FIRST_TRANSACTION + state.number)),
            ("mv_name", text(name)),
            (
                "refresh_type",
                text(if statement.auto { "Auto" } else { "Manual" }),
            ),
            ("status", text(status_text)),
            ("start_time", self.moment_text(started)),
            ("starttime", self.moment_text(started)),
            ("end_time", self.moment_text(unit.updated)),
            ("endtime", self.moment_text(unit.updated)),
            ("duration", took),
        ])
    }

    /// A refresh was committed: what it had scanned.
    pub(super) fn write_scan(
        &mut self,
        number: u64,
        unit: usize,
        id: &str,
        scan: &Scan,
        at: Moment,
    ) {
        let (Some(statement), Some(state)) = (self.statements.get(&number), self.views.get(id))
        else {
            return;
        };
        let Some(unit) = statement.units.get(unit) else {
            return;
        };
        let Some((schema, stream)) = state.source.stream() else {
            return;
        };
        let (_, _, name) = state.storage();
        let common: Named = vec![
            ("external_schema_name", text(schema)),
            ("stream_name", text(stream)),
            ("mv_name", text(name)),
            ("transaction_id", Cell::Int(transaction(statement, unit))),
            ("query_id", Cell::Int(unit.query_id.unwrap_or_default())),
        ];
        let warehouse = statement.asked.warehouse.clone();
        let started = unit.started.unwrap_or(at);
        let states = scan.batches.iter().map(|batch| {
            let mut row = common.clone();
            let logged = batch.logged(started, at);
            let waited = (self.utc_us(logged) - batch.first_us).max(0);
            row.extend([
                ("record_time", self.moment_text(logged)),
                ("partition_id", text(batch.shard_id.clone())),
                ("latest_position", text(batch.position.clone())),
                ("scanned_rows", Cell::Int(batch.scanned)),
                ("skipped_rows", Cell::Int(batch.skipped)),
                ("scanned_bytes", Cell::Int(batch.bytes)),
                (
                    "stream_record_time_min",
                    text(timestamp_text(batch.first_us)),
                ),
                (
                    "stream_record_time_max",
                    text(timestamp_text(batch.last_us)),
                ),
                (
                    "lag_from_latest",
                    batch.behind.map_or(Cell::Null, Cell::Int),
                ),
                ("max_latency_s", Cell::Int(waited / 1_000_000)),
            ]);
            row
        });
        let states: Vec<Named> = states.collect();
        let errors = scan.skipped.iter().map(|skipped| {
            let mut row = common.clone();
            row.extend([
                ("record_time", self.moment_text(at)),
                ("stream_timestamp_type", text("A")),
                ("stream_timestamp", text(timestamp_text(skipped.arrived_us))),
                ("partition_id", text(skipped.shard_id.clone())),
                ("position", text(skipped.position.clone())),
                // An assumption: neither the code nor the reason's words are documented.
                ("error_code", Cell::Int(9)),
                (
                    "error_reason",
                    text(format!(
                        "Record of {} bytes exceeds the maximum size",
                        skipped.bytes
                    )),
                ),
            ]);
            row
        });
        let errors: Vec<Named> = errors.collect();
        self.write_late(&warehouse, "sys_stream_scan_states", states, at);
        self.write_late(&warehouse, "sys_stream_scan_errors", errors, at);
    }

    /// The lab's own external schema, in every database.
    pub(super) fn has_lab_schema(&mut self) {
        let places: Vec<(String, String)> = self
            .warehouses
            .values()
            .flat_map(|state| {
                let name = state.spec.name.get_ref();
                state
                    .spec
                    .databases
                    .iter()
                    .map(move |database| (name.clone(), database.clone()))
            })
            .collect();
        for (warehouse, database) in places {
            let state = SchemaState {
                owner: "lab".to_owned(),
                external: Some(crate::sql::ExternalSchema {
                    name: LAB_SCHEMA.to_owned(),
                    if_not_exists: true,
                    source: SchemaSource::Kinesis { region: None },
                    iam_role: None,
                }),
                sql: String::new(),
            };
            self.schemas
                .insert((warehouse, database, LAB_SCHEMA.to_owned()), state);
        }
    }
}

impl ViewState {
    /// Where its rows are kept: namespace, schema, name.
    pub(crate) fn storage(&self) -> (String, String, String) {
        (
            namespace(self.view.warehouse.get_ref(), self.view.database.get_ref()),
            self.view.schema.to_lowercase(),
            self.view.name.get_ref().to_lowercase(),
        )
    }
}

/// `SVV_EXTERNAL_SCHEMAS.esoptions`: JSON; its keys are an assumption for streams.
fn options(state: &SchemaState) -> String {
    let Some(external) = &state.external else {
        return "{}".to_owned();
    };
    let role = external.iam_role.as_deref().unwrap_or("default");
    let options = match &external.source {
        SchemaSource::Kinesis { region: None } => json!({ "SOURCE": "KINESIS", "IAM_ROLE": role }),
        SchemaSource::Kinesis {
            region: Some(region),
        } => json!({ "SOURCE": "KINESIS", "REGION": region, "IAM_ROLE": role }),
        SchemaSource::Kafka { uri } => json!({ "SOURCE": "KAFKA", "URI": uri, "IAM_ROLE": role }),
    };
    options.to_string()
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a minute's seconds times a capacity"
)]
fn whole(value: f64) -> i64 {
    value.round() as i64
}
