//! What a database holds of what a configuration asks for.
//!
//! Decides: where that is read (`SVV_EXTERNAL_SCHEMAS`, `SVV_MV_INFO`, `STV_MV_DEPS`), and that a system
//! view or column which this release does not have is an answer missing, not a failure.
//! Deliberately absent: changing anything.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value as Json;
use tidekeeper_scheduler::Failure;

use crate::warehouse::question::{Question, Rows};
use crate::warehouse::{Auth, Client};

/// How long a look may take: a workgroup may have to wake up first.
pub const LOOK: Duration = Duration::from_secs(120);

/// Which materialized view stands on which (Developer Guide, `STV_MV_DEPS`).
const DEPENDENCIES: &str = "SELECT db_name, schema, name, ref_schema, ref_name FROM stv_mv_deps";

/// A database's streaming objects, by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Existing {
    pub user: String,
    pub schemas: BTreeMap<String, Schema>,
    /// By `schema.name`.
    pub views: BTreeMap<String, View>,
    /// What could not be read, and why.
    pub gaps: Vec<String>,
    /// Why it is not told which view stands on which.
    pub untold: Option<String>,
}

/// An external schema.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schema {
    /// As the warehouse prints them; JSON on the releases that were seen.
    pub options: String,
}

impl Schema {
    /// The roles in `IAM_ROLE`, as they are written; `None` when the options do not tell.
    #[must_use]
    pub fn iam_role(&self) -> Option<String> {
        let json: Json = serde_json::from_str(&self.options).ok()?;
        let role = json.get("IAM_ROLE")?.as_str()?;
        Some(role.to_owned())
    }

    #[must_use]
    pub fn region(&self) -> Option<String> {
        let json: Json = serde_json::from_str(&self.options).ok()?;
        Some(json.get("REGION")?.as_str()?.to_owned())
    }
}

/// A materialized view as `SVV_MV_INFO` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    pub owner: String,
    pub auto_refresh: bool,
    /// 101 and above: it can no longer be refreshed.
    pub state: i64,
    /// The materialized views that it stands on, as `schema.name`; none where that is not told.
    pub parents: Vec<String>,
}

/// Looks at a database.
///
/// # Errors
/// When not even the current user can be asked for.
pub async fn look(client: &Client, database: &str, auth: &Auth) -> Result<Existing, Failure> {
    let ask = async |sql: &str| {
        let question = Question {
            sql,
            settings: &[],
            database,
            auth,
            limit: LOOK,
        };
        client.question(&question).await
    };
    let mut existing = Existing::default();
    let user = ask("SELECT current_user AS me").await?;
    if let Some(row) = user.rows.first() {
        existing.user = user.text(row, "me");
    }
    match ask("SELECT schemaname, esoptions FROM svv_external_schemas").await {
        Ok(rows) => existing.schemas = schemas(&rows),
        Err(failure) => existing.gaps.push(failure.message.to_string()),
    }
    match ask("SELECT * FROM svv_mv_info").await {
        Ok(rows) => existing.views = views(&rows, database),
        Err(failure) => existing.gaps.push(failure.message.to_string()),
    }
    // Serverless has no STV tables: there nobody tells who stands on whom.
    match dependencies(client, database, auth).await {
        Ok(told) => {
            for (child, parent) in told {
                if let Some(view) = existing.views.get_mut(&child) {
                    view.parents.push(parent);
                }
            }
        }
        Err(failure) => existing.untold = Some(failure.message.to_string()),
    }
    Ok(existing)
}

/// Which of a database's views stands on which, both as `schema.name`.
///
/// # Errors
/// When the warehouse does not tell.
pub async fn dependencies(
    client: &Client,
    database: &str,
    auth: &Auth,
) -> Result<Vec<(String, String)>, Failure> {
    let question = Question {
        sql: DEPENDENCIES,
        settings: &[],
        database,
        auth,
        limit: LOOK,
    };
    let rows = client.question(&question).await?;
    let here = rows
        .rows
        .iter()
        .filter(|row| rows.text(row, "db_name") == database);
    let pair = |row: &Vec<_>| {
        let name = |schema: &str, name: &str| {
            format!("{}.{}", rows.text(row, schema), rows.text(row, name))
        };
        (name("schema", "name"), name("ref_schema", "ref_name"))
    };
    Ok(here.map(pair).collect())
}

fn schemas(rows: &Rows) -> BTreeMap<String, Schema> {
    let schema = |row: &Vec<_>| {
        let options = rows.text(row, "esoptions");
        (rows.text(row, "schemaname"), Schema { options })
    };
    rows.rows.iter().map(schema).collect()
}

fn views(rows: &Rows, database: &str) -> BTreeMap<String, View> {
    let here = |row: &&Vec<_>| {
        let of = rows.text(row, "database_name");
        of.is_empty() || of == database
    };
    let view = |row: &Vec<_>| {
        let name = format!(
            "{}.{}",
            rows.text(row, "schema_name"),
            rows.text(row, "name")
        );
        let view = View {
            owner: rows.text(row, "user_name"),
            auto_refresh: matches!(rows.text(row, "autorefresh").as_str(), "t" | "true"),
            state: rows.text(row, "state").parse().unwrap_or_default(),
            parents: Vec::new(),
        };
        (name, view)
    };
    rows.rows.iter().filter(here).map(view).collect()
}
