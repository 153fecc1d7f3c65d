//! Decides what exists in a warehouse's databases beyond the world's views: schemas, external
//! schemas, and views that statements create, change and drop.
//!
//! A created view's stream is first looked at by its first refresh (an assumption: the
//! documentation does not say that `CREATE MATERIALIZED VIEW` reads it). What a statement
//! creates is not taken back when its transaction fails. Deliberately absent: privileges
//! other than ownership.

use sqlparser::ast::Query;

use super::engine::Engine;
use super::source::{Definition, Source, stream_of};
use super::view::ViewState;
use crate::clock::Moment;
use crate::db::{Cell, Context, Db, Relation, Table, stream_columns};
use crate::sql::{Command, CreateView, ExternalSchema, SchemaSource, ViewName};
use crate::world::View;

/// The external schema that every database has over the lab's own streams.
pub(crate) const LAB_SCHEMA: &str = "lab";

/// Where a schema is: warehouse, database, name.
pub(crate) type SchemaKey = (String, String, String);

/// A schema that a statement has created, or [`LAB_SCHEMA`].
#[derive(Debug, Clone)]
pub(crate) struct SchemaState {
    pub(crate) owner: String,
    /// None for a schema of tables.
    pub(crate) external: Option<ExternalSchema>,
    /// The statement that created it, for a later life of the lab.
    pub(crate) sql: String,
}

/// Who runs a statement, and where.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) warehouse: String,
    pub(crate) database: String,
    pub(crate) user: String,
    pub(crate) pid: i64,
    pub(crate) case_sensitive: bool,
}

impl Caller {
    pub(crate) fn schema(&self, name: &str) -> SchemaKey {
        (
            self.warehouse.clone(),
            self.database.clone(),
            name.to_owned(),
        )
    }
}

/// Where a database's relations are kept.
pub(crate) fn namespace(warehouse: &str, database: &str) -> String {
    format!("{warehouse}/{database}")
}

impl Engine {
    /// What SQL is evaluated against.
    pub(crate) fn context(&self, caller: &Caller, now: Moment) -> Context {
        Context {
            namespaces: vec![
                namespace(&caller.warehouse, &caller.database),
                caller.warehouse.clone(),
            ],
            search_path: vec!["public".to_owned(), "pg_catalog".to_owned()],
            now_us: self.utc_us(now),
            user: caller.user.clone(),
            database: caller.database.clone(),
            pid: caller.pid,
        }
    }

    /// Runs what is neither a refresh nor a setting; the result of a query, if it is one.
    pub(super) fn execute(
        &mut self,
        caller: &Caller,
        command: &Command,
        sql: &str,
        now: Moment,
    ) -> Result<Option<Table>, String> {
        match command {
            Command::Select(query) => return self.select(caller, query, now).map(Some),
            Command::CreateExternalSchema(schema) => {
                self.create_external_schema(caller, schema, sql)?;
            }
            Command::CreateSchema {
                name,
                if_not_exists,
            } => {
                if self.schema_exists(caller, name) {
                    return refuse_unless(*if_not_exists, schema_is_there(name));
                }
                self.put_schema(caller, name, None, sql);
            }
            Command::DropSchema {
                name,
                if_exists,
                cascade,
            } => self.drop_schema(caller, name, *if_exists, *cascade)?,
            Command::CreateView(view) => self.create_view(caller, view, now)?,
            Command::DropView {
                name,
                if_exists,
                cascade,
            } => self.drop_view(caller, name, *if_exists, *cascade)?,
            Command::AutoRefresh { name, on } => self.set_auto_refresh(caller, name, *on, now)?,
            Command::Accepted | Command::Set(_) | Command::Refresh(_) => {}
        }
        Ok(None)
    }

    fn select(&mut self, caller: &Caller, query: &Query, now: Moment) -> Result<Table, String> {
        for (schema, name) in Db::references(query) {
            if let Some(schema) = &schema
                && self.external(caller, schema).is_some()
            {
                return Err(format!(
                    "ERROR: feature not supported: a stream is read through a materialized view, \
                     not directly (\"{schema}\".\"{name}\")"
                ));
            }
            let warehouse = self.warehouses.get(&caller.warehouse);
            if warehouse.is_some_and(|warehouse| warehouse.spec.denies(&name)) {
                return Err(format!("ERROR: permission denied for relation {name}"));
            }
            self.show_system_relation(caller, &name, now);
        }
        self.db.select(query, &self.context(caller, now))
    }

    pub(crate) fn external(&self, caller: &Caller, schema: &str) -> Option<&ExternalSchema> {
        self.schemas.get(&caller.schema(schema))?.external.as_ref()
    }

    pub(super) fn schema_exists(&self, caller: &Caller, name: &str) -> bool {
        name == "public"
            || self.schemas.contains_key(&caller.schema(name))
            || self.views.values().any(|state| {
                state.lives_in(&caller.warehouse, &caller.database)
                    && state.view.schema.to_lowercase() == name
            })
    }

    fn put_schema(
        &mut self,
        caller: &Caller,
        name: &str,
        external: Option<ExternalSchema>,
        sql: &str,
    ) {
        let state = SchemaState {
            owner: caller.user.clone(),
            external,
            sql: sql.to_owned(),
        };
        self.schemas.insert(caller.schema(name), state);
        self.catalog_changed();
    }

    fn create_external_schema(
        &mut self,
        caller: &Caller,
        schema: &ExternalSchema,
        sql: &str,
    ) -> Result<(), String> {
        if self.schema_exists(caller, &schema.name) {
            return refuse_unless(schema.if_not_exists, schema_is_there(&schema.name)).map(drop);
        }
        if let Some(role) = &schema.iam_role {
            if role.split(',').count() > 10 {
                return Err("ERROR: at most 10 roles can be chained in IAM_ROLE".to_owned());
            }
            if role.is_empty() {
                return Err("ERROR: IAM_ROLE is empty".to_owned());
            }
        }
        self.put_schema(caller, &schema.name, Some(schema.clone()), sql);
        Ok(())
    }

    fn drop_schema(
        &mut self,
        caller: &Caller,
        name: &str,
        if_exists: bool,
        cascade: bool,
    ) -> Result<(), String> {
        let Some(schema) = self.schemas.get(&caller.schema(name)) else {
            return refuse_unless(
                if_exists,
                format!("ERROR: schema \"{name}\" does not exist"),
            )
            .map(drop);
        };
        if schema.owner != caller.user && name != LAB_SCHEMA {
            return Err(format!("ERROR: must be owner of schema {name}"));
        }
        let dependents: Vec<ViewName> = self
            .views
            .values()
            .filter(|state| state.lives_in(&caller.warehouse, &caller.database))
            .filter(|state| {
                state.view.schema == name
                    || state.source.stream().is_some_and(|(from, _)| from == name)
            })
            .map(|state| name_of(&state.view))
            .collect();
        if !dependents.is_empty() && !cascade {
            return Err(format!(
                "ERROR: cannot drop schema {name} because other objects depend on it"
            ));
        }
        for view in &dependents {
            self.drop_view(caller, view, true, true)?;
        }
        self.schemas.remove(&caller.schema(name));
        self.catalog_changed();
        Ok(())
    }

    fn create_view(
        &mut self,
        caller: &Caller,
        create: &CreateView,
        now: Moment,
    ) -> Result<(), String> {
        let name = &create.name;
        if !self.schema_exists(caller, &name.schema) {
            return Err(format!("ERROR: schema \"{}\" does not exist", name.schema));
        }
        if self.external(caller, &name.schema).is_some() {
            return Err(format!(
                "ERROR: cannot create a materialized view in external schema \"{}\"",
                name.schema
            ));
        }
        if self.views.contains_key(&name.id()) {
            return Err(format!("ERROR: relation \"{}\" already exists", name.view));
        }
        let source = self.source_of(caller, &create.query)?;
        if create.auto_refresh && matches!(source, Source::Views(_)) {
            return Err(
                "ERROR: Auto-refresh is not supported for materialized views defined on other \
                 materialized views."
                    .to_owned(),
            );
        }
        let mut view = View::created(name, &caller.warehouse, &caller.database, &caller.user);
        if let Some(stream) = source.lab_stream() {
            view.read_from(stream);
        }
        // What an interrupted drop has left of an earlier view of this name.
        let place = namespace(&caller.warehouse, &caller.database);
        self.forget_positions(&name.id());
        if self.stored(&place, &name.schema, &name.view) {
            self.db
                .drop(&place, &name.schema, &name.view)
                .map_err(internal)?;
        }
        self.add_view(view, &create.query, &create.text, source, now)?;
        if let Some(state) = self.views.get_mut(&name.id()) {
            state.auto_refresh = create.auto_refresh;
        }
        self.expect_auto(&name.id(), now);
        self.populate(caller, &name.id(), now)?;
        self.catalog_changed();
        Ok(())
    }

    /// Where a defining query's rows come from.
    fn source_of(&self, caller: &Caller, query: &Query) -> Result<Source, String> {
        let references = Db::references(query);
        let streaming = references.iter().any(|(schema, _)| {
            schema
                .as_ref()
                .is_some_and(|schema| self.external(caller, schema).is_some())
        });
        if !streaming {
            let views: Vec<String> = references
                .into_iter()
                .map(|(schema, name)| format!("{}.{name}", schema.as_deref().unwrap_or("public")))
                .filter(|id| self.views.contains_key(id))
                .collect();
            return Ok(Source::Views(views));
        }
        let (schema, stream) = stream_of(query)?;
        // Redshift folds quoted names as well, unless it is told otherwise.
        let stream = if caller.case_sensitive {
            stream
        } else {
            stream.to_lowercase()
        };
        let kafka = self
            .external(caller, &schema)
            .is_some_and(|external| matches!(external.source, SchemaSource::Kafka { .. }));
        if kafka {
            return Err(
                "ERROR: feature not supported: this lab has no Kafka brokers to read".to_owned(),
            );
        }
        if self.remote && schema != LAB_SCHEMA {
            return Ok(Source::Remote { schema, stream });
        }
        Ok(Source::Lab { schema, stream })
    }

    /// Adds a view that is defined like this, without rows.
    pub(super) fn add_view(
        &mut self,
        view: View,
        query: &Query,
        text: &str,
        source: Source,
        now: Moment,
    ) -> Result<(), String> {
        let caller = Caller {
            warehouse: view.warehouse.get_ref().clone(),
            database: view.database.get_ref().clone(),
            user: view.owner.clone().unwrap_or_default(),
            pid: 0,
            case_sensitive: false,
        };
        let context = self.context(&caller, now);
        let columns = match &source {
            Source::Views(_) => self.db.columns_of(query, &context)?,
            Source::Lab { .. } | Source::Remote { .. } => {
                let none = self
                    .db
                    .select_stream(query, &stream_columns(), &[], &context)?;
                none.columns
            }
        };
        let mut names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find_map(|pair| match pair {
            [one, other] if one == other => Some(*one),
            _ => None,
        }) {
            return Err(format!("ERROR: column \"{twice}\" duplicated"));
        }
        let place = namespace(&caller.warehouse, &caller.database);
        let relation = Relation {
            namespace: place.clone(),
            schema: view.schema.to_lowercase(),
            name: view.name.get_ref().to_lowercase(),
            columns: columns.clone(),
        };
        // A later life of the lab finds the rows of an earlier one.
        if !self.stored(&place, &relation.schema, &relation.name) {
            self.db.create(relation).map_err(internal)?;
        }
        let definition = Definition {
            query: query.clone(),
            text: text.to_owned(),
            columns,
        };
        self.view_numbers += 1;
        let state = ViewState::new(view, definition, source, self.view_numbers);
        self.views.insert(state.view.id(), state);
        Ok(())
    }

    fn stored(&self, place: &str, schema: &str, name: &str) -> bool {
        self.db
            .relations()
            .any(|known| known.namespace == place && known.schema == schema && known.name == name)
    }

    /// A view over others has its rows from the start.
    fn populate(&mut self, caller: &Caller, id: &str, now: Moment) -> Result<(), String> {
        let context = self.context(caller, now);
        let Some(state) = self.views.get(id) else {
            return Ok(());
        };
        let Source::Views(parents) = state.source.clone() else {
            return Ok(());
        };
        let table = self.db.select(&state.definition.query, &context)?;
        self.replace_rows(id, &table.rows)?;
        let versions = self.versions(&parents);
        if let Some(state) = self.views.get_mut(id) {
            state.read_versions = versions;
        }
        Ok(())
    }

    fn replace_rows(&mut self, id: &str, rows: &[Vec<Cell>]) -> Result<(), String> {
        let Some(state) = self.views.get(id) else {
            return Ok(());
        };
        let (place, schema, name) = state.storage();
        self.db.clear(&place, &schema, &name).map_err(internal)?;
        self.db
            .insert(&place, &schema, &name, rows)
            .map_err(internal)
    }

    fn owned(&self, caller: &Caller, name: &ViewName) -> Result<Option<&ViewState>, String> {
        let state = self
            .views
            .get(&name.id())
            .filter(|state| state.lives_in(&caller.warehouse, &caller.database));
        if let Some(state) = state
            && state
                .view
                .owner
                .as_ref()
                .is_some_and(|owner| *owner != caller.user)
        {
            return Err(format!(
                "ERROR: must be owner of materialized view {}",
                name.view
            ));
        }
        Ok(state)
    }

    fn drop_view(
        &mut self,
        caller: &Caller,
        name: &ViewName,
        if_exists: bool,
        cascade: bool,
    ) -> Result<(), String> {
        let id = name.id();
        if self.owned(caller, name)?.is_none() {
            let missing = format!("ERROR: materialized view \"{}\" does not exist", name.view);
            return refuse_unless(if_exists, missing).map(drop);
        }
        let children: Vec<ViewName> = self
            .views
            .values()
            .filter(|state| matches!(&state.source, Source::Views(from) if from.contains(&id)))
            .map(|state| name_of(&state.view))
            .collect();
        if !children.is_empty() && !cascade {
            return Err(format!(
                "ERROR: cannot drop materialized view {} because other objects depend on it",
                name.view
            ));
        }
        for child in &children {
            self.drop_view(caller, child, true, true)?;
        }
        if let Some(state) = self.views.remove(&id) {
            self.dropped.insert(id.clone());
            self.catalog_changed();
            self.forget_positions(&id);
            let (place, schema, name) = state.storage();
            self.db.drop(&place, &schema, &name).map_err(internal)?;
        }
        Ok(())
    }

    fn set_auto_refresh(
        &mut self,
        caller: &Caller,
        name: &ViewName,
        on: bool,
        now: Moment,
    ) -> Result<(), String> {
        let over_views = match self.owned(caller, name)? {
            None => return Err(format!("ERROR: relation \"{}\" does not exist", name.view)),
            Some(state) => matches!(state.source, Source::Views(_)),
        };
        if on && over_views {
            return Err(
                "ERROR: Auto-refresh is not supported for materialized views defined on other \
                 materialized views."
                    .to_owned(),
            );
        }
        if let Some(state) = self.views.get_mut(&name.id()) {
            state.auto_refresh = on;
        }
        self.expect_auto(&name.id(), now);
        self.catalog_changed();
        Ok(())
    }

    /// How often the views below have committed.
    pub(super) fn versions(&self, parents: &[String]) -> std::collections::BTreeMap<String, u64> {
        parents
            .iter()
            .filter_map(|id| Some((id.clone(), self.views.get(id)?.version)))
            .collect()
    }
}

fn refuse_unless(accepted: bool, text: String) -> Result<Option<Table>, String> {
    if accepted { Ok(None) } else { Err(text) }
}

fn schema_is_there(name: &str) -> String {
    format!("ERROR: schema \"{name}\" already exists")
}

fn name_of(view: &View) -> ViewName {
    ViewName {
        database: None,
        schema: view.schema.to_lowercase(),
        view: view.name.get_ref().to_lowercase(),
    }
}

/// The lab's own storage failed.
pub(super) fn internal(error: impl std::fmt::Display) -> String {
    format!("ERROR: internal error\n  Detail: {error}")
}
