//! Decides how rows are kept and asked for: relations in SQLite, in memory or in a file, and
//! Redshift's queries translated to SQLite's with Redshift's types.
//!
//! The layers: `types` and `value` (what values are), `scope`, `expr`, `cast`, `call`, `group`
//! and `query` (translation, with `from`, `literal` and `operators`), `functions`, `json` and `to_char` (what SQLite does not have),
//! `system` (the system views' columns). Deliberately absent: what there is to refresh, and
//! who may.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "SQL's trees have hundreds of kinds of nodes: those not known here are refused"
)]

mod call;
mod call_text;
mod cast;
#[cfg(test)]
mod corpus;
mod expr;
mod from;
mod functions;
mod functions_time;
mod group;
mod json;
mod literal;
mod operators;
mod query;
mod scope;
mod system;
mod to_char;
mod types;
mod value;

use std::collections::BTreeSet;
use std::path::Path;

use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, OptionalExtension as _, params_from_iter};
use sqlparser::ast::{Query, SetExpr, TableFactor, TableWithJoins};

use query::Translator;
use scope::quoted;

pub(crate) use system::{is_system_name, system_relations};
pub(crate) use types::{Cell, Column, Context, Relation, Table, Type, stream_columns};
pub(crate) use value::{output, timestamp_text};

/// The storage failed.
pub(crate) type DbError = rusqlite::Error;

/// Where the records of a refresh are while its query runs over them.
const STREAM: &str = "stream batch";

/// Where relations are listed.
const CATALOG: &str = "CREATE TABLE IF NOT EXISTS lab_relations
    (namespace TEXT, \"schema\" TEXT, name TEXT, columns TEXT,
     PRIMARY KEY (namespace, \"schema\", name))";

/// Relations and their rows.
#[derive(Debug)]
pub(crate) struct Db {
    connection: Connection,
    relations: Vec<Relation>,
}

/// The table that holds a relation's rows.
fn storage(relation: &Relation) -> String {
    storage_name(&relation.namespace, &relation.schema, &relation.name)
}

fn storage_name(namespace: &str, schema: &str, name: &str) -> String {
    format!("{namespace}/{schema}.{name}")
}

impl Db {
    /// Opens the file, or a database in memory; relations that are in it are found again.
    ///
    /// # Errors
    /// When the file cannot be opened or is not a database.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, DbError> {
        let connection = match path {
            Some(path) => Connection::open(path)?,
            None => Connection::open_in_memory()?,
        };
        // What the operating system has is safe from the lab's own death.
        connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;")?;
        connection.execute_batch(CATALOG)?;
        functions::install(&connection)?;
        let mut relations = Vec::new();
        {
            let mut select = connection
                .prepare("SELECT namespace, \"schema\", name, columns FROM lab_relations")?;
            let mut rows = select.query([])?;
            while let Some(row) = rows.next()? {
                let columns: String = row.get(3)?;
                relations.push(Relation {
                    namespace: row.get(0)?,
                    schema: row.get(1)?,
                    name: row.get(2)?,
                    columns: serde_json::from_str(&columns).unwrap_or_default(),
                });
            }
        }
        Ok(Self {
            connection,
            relations,
        })
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(crate) fn relations(&self) -> impl Iterator<Item = &Relation> {
        self.relations.iter()
    }

    /// Makes room for a relation's rows.
    ///
    /// # Errors
    /// When the storage fails, or the relation is there already.
    pub(crate) fn create(&mut self, relation: Relation) -> Result<(), DbError> {
        let columns: Vec<String> = relation.columns.iter().map(|c| quoted(&c.name)).collect();
        self.connection.execute_batch(&format!(
            "CREATE TABLE {} ({})",
            quoted(&storage(&relation)),
            columns.join(", ")
        ))?;
        self.connection.execute(
            "INSERT OR REPLACE INTO lab_relations VALUES (?1, ?2, ?3, ?4)",
            (
                &relation.namespace,
                &relation.schema,
                &relation.name,
                serde_json::to_string(&relation.columns).unwrap_or_default(),
            ),
        )?;
        self.relations.push(relation);
        Ok(())
    }

    /// Removes a relation and its rows.
    ///
    /// # Errors
    /// When the storage fails.
    pub(crate) fn drop(
        &mut self,
        namespace: &str,
        schema: &str,
        name: &str,
    ) -> Result<(), DbError> {
        let table = quoted(&storage_name(namespace, schema, name));
        self.connection
            .execute_batch(&format!("DROP TABLE IF EXISTS {table}"))?;
        self.connection.execute(
            "DELETE FROM lab_relations WHERE namespace = ?1 AND \"schema\" = ?2 AND name = ?3",
            (namespace, schema, name),
        )?;
        self.relations.retain(|known| {
            known.namespace != namespace || known.schema != schema || known.name != name
        });
        Ok(())
    }

    /// Removes a relation's rows.
    ///
    /// # Errors
    /// When the storage fails.
    pub(crate) fn clear(&self, namespace: &str, schema: &str, name: &str) -> Result<(), DbError> {
        let table = quoted(&storage_name(namespace, schema, name));
        self.connection
            .execute(&format!("DELETE FROM {table}"), [])?;
        Ok(())
    }

    fn table_with(&self, namespace: &str, name: &str, column: &str) -> Option<String> {
        let relation = self
            .relations
            .iter()
            .find(|known| known.namespace == namespace && known.name == name)?;
        let known = relation.columns.iter().any(|known| known.name == column);
        known.then(|| quoted(&storage(relation)))
    }

    /// What `column` holds in the oldest of a relation's `n` rows that came last; none where
    /// there are fewer, or no such column.
    ///
    /// # Errors
    /// When the storage fails.
    pub(crate) fn nth_newest(
        &self,
        namespace: &str,
        name: &str,
        column: &str,
        n: u32,
    ) -> Result<Option<String>, DbError> {
        let Some(table) = self.table_with(namespace, name, column) else {
            return Ok(None);
        };
        let column = quoted(column);
        let oldest = self.connection.query_row(
            &format!("SELECT {column} FROM {table} ORDER BY rowid DESC LIMIT 1 OFFSET ?1"),
            [n.saturating_sub(1)],
            |row| row.get(0),
        );
        oldest.optional()
    }

    /// Removes the rows that have a lesser text in `column`, where there is such a column.
    ///
    /// # Errors
    /// When the storage fails.
    pub(crate) fn delete_before(
        &self,
        namespace: &str,
        name: &str,
        column: &str,
        text: &str,
    ) -> Result<(), DbError> {
        if let Some(table) = self.table_with(namespace, name, column) {
            let column = quoted(column);
            self.connection
                .execute(&format!("DELETE FROM {table} WHERE {column} < ?1"), [text])?;
        }
        Ok(())
    }

    /// Adds rows: all, or none.
    ///
    /// # Errors
    /// When the storage fails, or a row has too few or too many values.
    pub(crate) fn insert(
        &self,
        namespace: &str,
        schema: &str,
        name: &str,
        rows: &[Vec<Cell>],
    ) -> Result<(), DbError> {
        if rows.is_empty() {
            return Ok(());
        }
        let columns = self
            .relations
            .iter()
            .find(|known| {
                known.namespace == namespace && known.schema == schema && known.name == name
            })
            .map(|relation| relation.columns.as_slice())
            .unwrap_or_default();
        let own = self.connection.is_autocommit();
        if own {
            self.connection.execute_batch("BEGIN")?;
        }
        let table = quoted(&storage_name(namespace, schema, name));
        let result = self.fill(&table, columns, rows);
        if own {
            let end = if result.is_ok() { "COMMIT" } else { "ROLLBACK" };
            self.connection.execute_batch(end)?;
        }
        result
    }

    fn fill(&self, table: &str, columns: &[Column], rows: &[Vec<Cell>]) -> Result<(), DbError> {
        let places = vec!["?"; columns.len()].join(", ");
        let mut insert = self
            .connection
            .prepare_cached(&format!("INSERT INTO {table} VALUES ({places})"))?;
        for row in rows {
            let values = row
                .iter()
                .zip(columns)
                .map(|(cell, column)| held(cell, column.ty));
            insert.execute(params_from_iter(values))?;
        }
        Ok(())
    }

    /// A relation by its name as a query has it.
    fn lookup(&self, names: &[String], context: &Context) -> Result<&Relation, String> {
        let (schema, name) = match names {
            [name] => (None, name),
            [schema, name] => (Some(schema), name),
            [database, schema, name] if *database == context.database => (Some(schema), name),
            [database, ..] => {
                return Err(format!(
                    "ERROR: cross-database reference to database \"{database}\" is not supported"
                ));
            }
            [] => return Err("ERROR: syntax error at end of input".to_owned()),
        };
        let schemas: Vec<&String> = match schema {
            Some(schema) => vec![schema],
            None => context.search_path.iter().collect(),
        };
        for namespace in &context.namespaces {
            for schema in &schemas {
                let found = self.relations.iter().find(|known| {
                    known.namespace == *namespace && known.schema == **schema && known.name == *name
                });
                if let Some(found) = found {
                    return Ok(found);
                }
            }
        }
        Err(format!(
            "ERROR: relation \"{}\" does not exist",
            names.join(".")
        ))
    }

    /// The columns that a query gives, without running it.
    ///
    /// # Errors
    /// Why it cannot be run, in Redshift's words.
    pub(crate) fn columns_of(
        &self,
        query: &Query,
        context: &Context,
    ) -> Result<Vec<Column>, String> {
        let (_, columns) = Translator::new(self, context).query(query)?;
        Ok(columns)
    }

    /// Runs a query.
    ///
    /// # Errors
    /// Why it failed, in Redshift's words.
    pub(crate) fn select(&self, query: &Query, context: &Context) -> Result<Table, String> {
        let (sql, columns) = Translator::new(self, context).query(query)?;
        self.run(&sql, columns)
    }

    /// Runs the defining query of a streaming view over records: whatever relation it names,
    /// these rows of these columns stand for it.
    ///
    /// # Errors
    /// Why it failed, in Redshift's words.
    pub(crate) fn select_stream(
        &self,
        query: &Query,
        columns: &[Column],
        rows: &[Vec<Cell>],
        context: &Context,
    ) -> Result<Table, String> {
        let mut translator = Translator::new(self, context);
        translator.stream = Some((STREAM, columns));
        let (sql, shown) = translator.query(query)?;
        if rows.is_empty() {
            return Ok(Table {
                columns: shown,
                rows: Vec::new(),
            });
        }
        self.hold(columns, rows).map_err(|error| wording(&error))?;
        let table = self.run(&sql, shown);
        self.connection
            .execute_batch(&format!("DELETE FROM temp.{}", quoted(STREAM)))
            .map_err(|error| wording(&error))?;
        table
    }

    fn hold(&self, columns: &[Column], rows: &[Vec<Cell>]) -> Result<(), DbError> {
        let names: Vec<String> = columns.iter().map(|column| quoted(&column.name)).collect();
        let table = quoted(STREAM);
        self.connection.execute_batch(&format!(
            "CREATE TEMP TABLE IF NOT EXISTS {table} ({}); DELETE FROM temp.{table};",
            names.join(", ")
        ))?;
        let own = self.connection.is_autocommit();
        if own {
            self.connection.execute_batch("BEGIN")?;
        }
        let result = self.fill(&format!("temp.{table}"), columns, rows);
        if own {
            self.connection
                .execute_batch(if result.is_ok() { "COMMIT" } else { "ROLLBACK" })?;
        }
        result
    }

    fn run(&self, sql: &str, columns: Vec<Column>) -> Result<Table, String> {
        let mut rows = Vec::new();
        let mut select = self
            .connection
            .prepare_cached(sql)
            .map_err(|error| wording(&error))?;
        let mut found = select.query([]).map_err(|error| wording(&error))?;
        while let Some(row) = found.next().map_err(|error| wording(&error))? {
            let mut cells = Vec::new();
            for (index, column) in columns.iter().enumerate() {
                let value = row.get_ref(index).map_err(|error| wording(&error))?;
                cells.push(shown(value, column.ty));
            }
            rows.push(cells);
        }
        Ok(Table { columns, rows })
    }

    /// The relations that a query names, with their schemas where they are given; names of
    /// its own WITH clauses are left out.
    pub(crate) fn references(query: &Query) -> Vec<(Option<String>, String)> {
        let mut found = BTreeSet::new();
        let mut own = BTreeSet::new();
        let mut rest = vec![query];
        while let Some(query) = rest.pop() {
            if let Some(with) = &query.with {
                for cte in &with.cte_tables {
                    own.insert(scope::folded(&cte.alias.name));
                    rest.push(&cte.query);
                }
            }
            let mut bodies = vec![query.body.as_ref()];
            while let Some(body) = bodies.pop() {
                match body {
                    SetExpr::Select(select) => {
                        for table in &select.from {
                            tables(table, &mut found, &mut rest);
                        }
                    }
                    SetExpr::Query(query) => rest.push(query),
                    SetExpr::SetOperation { left, right, .. } => {
                        bodies.push(left);
                        bodies.push(right);
                    }
                    SetExpr::Values(_)
                    | SetExpr::Insert(_)
                    | SetExpr::Update(_)
                    | SetExpr::Delete(_)
                    | SetExpr::Merge(_)
                    | SetExpr::Table(_) => {}
                }
            }
        }
        found.retain(|(schema, name): &(Option<String>, String)| {
            schema.is_some() || !own.contains(name)
        });
        found.into_iter().collect()
    }
}

fn tables<'a>(
    table: &'a TableWithJoins,
    found: &mut BTreeSet<(Option<String>, String)>,
    queries: &mut Vec<&'a Query>,
) {
    let factors = std::iter::once(&table.relation).chain(table.joins.iter().map(|j| &j.relation));
    for factor in factors {
        if let TableFactor::Table { name, .. } = factor {
            let mut parts = query::parts(name);
            if let Some(name) = parts.pop() {
                found.insert((parts.pop(), name));
            }
        } else if let TableFactor::Derived { subquery, .. } = factor {
            queries.push(subquery);
        } else if let TableFactor::NestedJoin {
            table_with_joins, ..
        } = factor
        {
            tables(table_with_joins, found, queries);
        }
    }
}

/// What SQLite says, in Redshift's words where it is ours.
fn wording(error: &DbError) -> String {
    let text = error.to_string();
    match text.find("ERROR:") {
        Some(at) => text.get(at..).unwrap_or_default().to_owned(),
        None => format!("ERROR: internal error\n  Detail: {text}"),
    }
}

/// How SQLite holds a value.
fn held(cell: &Cell, ty: Type) -> Value {
    match (cell, ty) {
        (Cell::Null, _) => Value::Null,
        (Cell::Bool(value), _) => Value::Integer(i64::from(*value)),
        (Cell::Int(value), _) => Value::Integer(*value),
        (Cell::Float(value), _) => Value::Real(*value),
        (Cell::Text(text), Type::Numeric { .. }) => text
            .parse()
            .map(Value::Integer)
            .or_else(|_| text.parse().map(Value::Real))
            .unwrap_or(Value::Null),
        (Cell::Text(text), _) => Value::Text(text.clone()),
        (Cell::Bytes(bytes), _) => Value::Blob(bytes.clone()),
    }
}

/// A value of SQLite's as what its type says it is.
#[expect(
    clippy::cast_precision_loss,
    reason = "a whole number where a float is due"
)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "a float where a whole number is due: what SQLite's own casts do"
)]
fn shown(value: ValueRef<'_>, ty: Type) -> Cell {
    match (value, ty) {
        (ValueRef::Null, _) => Cell::Null,
        (ValueRef::Integer(value), Type::Bool) => Cell::Bool(value != 0),
        (ValueRef::Integer(value), Type::Float4 | Type::Float8) => Cell::Float(value as f64),
        (ValueRef::Integer(value), Type::Numeric { scale, .. }) => Cell::Text(if scale == 0 {
            value.to_string()
        } else {
            format!("{value}.{}", "0".repeat(usize::from(scale)))
        }),
        (ValueRef::Integer(value), ty) if ty.is_integer() => Cell::Int(value),
        (ValueRef::Integer(value), _) => Cell::Text(value.to_string()),
        (ValueRef::Real(value), Type::Numeric { scale, .. }) => {
            Cell::Text(format!("{value:.*}", usize::from(scale)))
        }
        (ValueRef::Real(value), ty) if ty.is_integer() => Cell::Int(value as i64),
        (ValueRef::Real(value), _) => Cell::Float(value),
        (ValueRef::Text(text), _) => Cell::Text(String::from_utf8_lossy(text).into_owned()),
        (ValueRef::Blob(bytes), Type::Varbyte(_)) => Cell::Bytes(bytes.to_vec()),
        (ValueRef::Blob(bytes), _) => Cell::Text(String::from_utf8_lossy(bytes).into_owned()),
    }
}
