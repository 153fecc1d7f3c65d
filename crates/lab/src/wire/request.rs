//! Decides what a request asks for and whether its fields are valid, in the order and the
//! words of the Data API as far as they are known (`docs/lab.md` says which are not).
//!
//! Unknown fields are ignored, as AWS does. Deliberately absent: whether what is named exists.

use serde_json::{Map, Value};

use super::error::ApiError;
use crate::statements::{Mode, Status};
use crate::world::WarehouseKind;

/// The Management Guide's limit on a statement's text.
const LONGEST_SQL: usize = 100 * 1024;

const ID_PATTERN: &str = r"^[a-z0-9]{8}(-[a-z0-9]{4}){3}-[a-z0-9]{12}(:\d+)?$";

/// `ExecuteStatement` or `BatchExecuteStatement`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Submit {
    pub(super) sqls: Vec<String>,
    pub(super) batch: Option<Mode>,
    pub(super) kind: WarehouseKind,
    pub(super) warehouse: String,
    pub(super) database: String,
    pub(super) name: Option<String>,
    pub(super) token: Option<String>,
    pub(super) db_user: Option<String>,
    pub(super) secret_arn: Option<String>,
    pub(super) result_format: Option<String>,
    pub(super) wait: Option<u64>,
    pub(super) parameters: Vec<(String, String)>,
}

/// The id of a statement or of one unit of a batch, with how long to wait for it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ask {
    /// As it was given.
    pub(super) text: String,
    pub(super) id: String,
    /// From 1.
    pub(super) unit: Option<usize>,
    pub(super) wait: Option<u64>,
    /// Where the next page of a result starts.
    pub(super) next_token: Option<String>,
}

/// `ListStatements`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct List {
    /// None for `ALL`.
    pub(super) status: Option<Status>,
    pub(super) name_prefix: Option<String>,
    pub(super) role_level: bool,
    pub(super) limit: usize,
    pub(super) next_token: Option<String>,
    pub(super) warehouse: Option<(WarehouseKind, String)>,
    pub(super) database: Option<String>,
}

/// The members of a request's body.
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    pub(super) fn read(body: &[u8]) -> Result<Self, ApiError> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(_) => Err(ApiError::unreadable("The body is not a JSON object.")),
            Err(error) => Err(ApiError::unreadable(format!(
                "The body is not JSON: {error}"
            ))),
        }
    }

    fn given(&self, key: &str) -> Option<&Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    fn text(&self, key: &str) -> Result<Option<String>, ApiError> {
        match self.given(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(ApiError::unreadable(format!("{key} is not a string."))),
        }
    }

    fn integer(&self, key: &str) -> Result<Option<i64>, ApiError> {
        match self.given(key) {
            None => Ok(None),
            Some(value) => value
                .as_i64()
                .map(Some)
                .ok_or_else(|| ApiError::unreadable(format!("{key} is not an integer."))),
        }
    }

    fn boolean(&self, key: &str) -> Result<Option<bool>, ApiError> {
        match self.given(key) {
            None => Ok(None),
            Some(value) => value
                .as_bool()
                .map(Some)
                .ok_or_else(|| ApiError::unreadable(format!("{key} is not a boolean."))),
        }
    }

    fn texts(&self, key: &str) -> Result<Option<Vec<String>>, ApiError> {
        let Some(value) = self.given(key) else {
            return Ok(None);
        };
        let texts = value.as_array().and_then(|items| {
            items
                .iter()
                .map(|i| i.as_str().map(str::to_owned))
                .collect()
        });
        texts
            .map(Some)
            .ok_or_else(|| ApiError::unreadable(format!("{key} is not a list of strings.")))
    }

    fn bounded(&self, key: &str, least: usize, most: usize) -> Result<Option<String>, ApiError> {
        let text = self.text(key)?;
        let length = text.as_ref().map_or(least, |text| text.chars().count());
        if length < least {
            return Err(constraint(
                key,
                &format!("Member must have length greater than or equal to {least}"),
            ));
        }
        if length > most {
            return Err(constraint(
                key,
                &format!("Member must have length less than or equal to {most}"),
            ));
        }
        Ok(text)
    }

    fn one_of(&self, key: &str, choices: &[&str]) -> Result<Option<String>, ApiError> {
        let text = self.text(key)?;
        if text
            .as_ref()
            .is_some_and(|text| !choices.contains(&text.as_str()))
        {
            let set = choices.join(", ");
            return Err(constraint(
                key,
                &format!("Member must satisfy enum value set: [{set}]"),
            ));
        }
        Ok(text)
    }

    fn wait(&self) -> Result<Option<u64>, ApiError> {
        let key = "WaitTimeSeconds";
        let Some(seconds) = self.integer(key)? else {
            return Ok(None);
        };
        if seconds < 1 {
            return Err(constraint(
                key,
                "Member must have value greater than or equal to 1",
            ));
        }
        if seconds > 30 {
            return Err(constraint(
                key,
                "Member must have value less than or equal to 30",
            ));
        }
        Ok(u64::try_from(seconds).ok())
    }

    /// The warehouse that is named; an error when two are.
    fn warehouse(&self) -> Result<Option<(WarehouseKind, String)>, ApiError> {
        let cluster = self.bounded("ClusterIdentifier", 1, 63)?;
        let workgroup = self.bounded("WorkgroupName", 3, 128)?;
        match (cluster, workgroup) {
            (Some(_), Some(_)) => Err(ApiError::validation(
                "Only one of ClusterIdentifier and WorkgroupName can be provided.",
            )),
            (Some(cluster), None) => {
                if !is_cluster_identifier(&cluster) {
                    let pattern = "[a-z][a-z0-9]*(-[a-z0-9]+)*";
                    return Err(constraint(
                        "ClusterIdentifier",
                        &format!("Member must satisfy regular expression pattern: {pattern}"),
                    ));
                }
                Ok(Some((WarehouseKind::Cluster, cluster)))
            }
            (None, Some(workgroup)) => {
                // A name or an ARN, which ends in `workgroup/<name or id>`.
                let name = workgroup.rsplit('/').next().unwrap_or_default().to_owned();
                Ok(Some((WarehouseKind::Workgroup, name)))
            }
            (None, None) => Ok(None),
        }
    }

    /// `ExecuteStatement`.
    pub(super) fn execute(&self) -> Result<Submit, ApiError> {
        let sql = self.text("Sql")?.ok_or_else(|| must_not_be_null("Sql"))?;
        self.submit(vec![sql], None)
    }

    /// `BatchExecuteStatement`.
    pub(super) fn batch(&self) -> Result<Submit, ApiError> {
        let sqls = self
            .texts("Sqls")?
            .ok_or_else(|| must_not_be_null("Sqls"))?;
        if sqls.is_empty() {
            return Err(constraint(
                "Sqls",
                "Member must have length greater than or equal to 1",
            ));
        }
        if sqls.len() > 40 {
            return Err(constraint(
                "Sqls",
                "Member must have length less than or equal to 40",
            ));
        }
        let modes = [Mode::Transaction.name(), Mode::AutoCommit.name()];
        let mode = match self.one_of("ExecutionMode", &modes)?.as_deref() {
            Some("AUTO_COMMIT") => Mode::AutoCommit,
            Some(_) | None => Mode::Transaction,
        };
        self.submit(sqls, Some(mode))
    }

    fn submit(&self, sqls: Vec<String>, batch: Option<Mode>) -> Result<Submit, ApiError> {
        let name = self.bounded("StatementName", 0, 2048)?;
        let token = self.bounded("ClientToken", 1, 64)?;
        let result_format = self.one_of("ResultFormat", &["JSON", "CSV"])?;
        let wait = self.wait()?;
        self.boolean("WithEvent")?;
        if sqls.iter().any(|sql| sql.len() > LONGEST_SQL) {
            return Err(ApiError::validation(
                "The SQL statement is larger than 100 KB.",
            ));
        }
        let parameters = self.parameters(&sqls)?;
        if self.text("SessionId")?.is_some()
            || self
                .integer("SessionKeepAliveSeconds")?
                .is_some_and(|s| s > 0)
        {
            return Err(ApiError::validation(
                "Sessions are not supported by this lab.",
            ));
        }
        let Some((kind, warehouse)) = self.warehouse()? else {
            return Err(ApiError::validation(
                "Either ClusterIdentifier, WorkgroupName or SessionId must be provided.",
            ));
        };
        let (db_user, secret_arn) = (self.text("DbUser")?, self.text("SecretArn")?);
        if db_user.is_some() && kind == WarehouseKind::Workgroup {
            return Err(ApiError::validation(
                "DbUser cannot be provided with WorkgroupName.",
            ));
        }
        if db_user.is_some() && secret_arn.is_some() {
            return Err(ApiError::validation(
                "Only one of DbUser and SecretArn can be provided.",
            ));
        }
        let database = self
            .text("Database")?
            .filter(|database| !database.is_empty());
        let database =
            database.ok_or_else(|| ApiError::validation("Database must be provided."))?;
        Ok(Submit {
            sqls,
            batch,
            kind,
            warehouse,
            database,
            name,
            token,
            db_user,
            secret_arn,
            result_format,
            wait,
            parameters,
        })
    }

    /// Every parameter must be used by one of the statements at least.
    fn parameters(&self, sqls: &[String]) -> Result<Vec<(String, String)>, ApiError> {
        let Some(parameters) = self.given("Parameters") else {
            return Ok(Vec::new());
        };
        let parameters = parameters
            .as_array()
            .ok_or_else(|| ApiError::unreadable("Parameters is not a list."))?;
        if parameters.is_empty() {
            return Err(constraint(
                "Parameters",
                "Member must have length greater than or equal to 1",
            ));
        }
        let mut named = Vec::new();
        for parameter in parameters {
            let name = parameter.get("name").and_then(Value::as_str);
            let name = name.ok_or_else(|| must_not_be_null("Parameters.1.member.name"))?;
            let value = parameter.get("value").and_then(Value::as_str);
            let value = value.ok_or_else(|| must_not_be_null("Parameters.1.member.value"))?;
            if !sqls.iter().any(|sql| sql.contains(&format!(":{name}"))) {
                return Err(ApiError::validation(format!(
                    "Parameter {name} is not used in the SQL."
                )));
            }
            named.push((name.to_owned(), value.to_owned()));
        }
        Ok(named)
    }

    /// `DescribeStatement`, `GetStatementResult`, `CancelStatement`.
    pub(super) fn ask(&self) -> Result<Ask, ApiError> {
        let text = self.text("Id")?.ok_or_else(|| must_not_be_null("Id"))?;
        let wait = self.wait()?;
        let refusal =
            || ApiError::validation(format!("id must satisfy regex pattern: {ID_PATTERN}"));
        let (id, unit) = match text.split_once(':') {
            None => (text.clone(), None),
            Some((id, unit)) => {
                if unit.is_empty() || !unit.bytes().all(|byte| byte.is_ascii_digit()) {
                    return Err(refusal());
                }
                // A number too large to hold names a unit that no batch has.
                (id.to_owned(), Some(unit.parse().unwrap_or(usize::MAX)))
            }
        };
        if !is_uuid(&id) {
            return Err(refusal());
        }
        Ok(Ask {
            text,
            id,
            unit,
            wait,
            next_token: self.text("NextToken")?,
        })
    }

    /// `ListStatements`.
    pub(super) fn list(&self) -> Result<List, ApiError> {
        let mut choices: Vec<&str> = Status::ALL.iter().map(|status| status.name()).collect();
        choices.push("ALL");
        let status = match self.one_of("Status", &choices)?.as_deref() {
            Some("ALL") => None,
            Some(name) => Status::ALL.into_iter().find(|status| status.name() == name),
            // API reference of ListStatements: "By default, only finished statements are shown."
            None => Some(Status::Finished),
        };
        let key = "MaxResults";
        let limit = match self.integer(key)? {
            Some(limit) if limit < 0 => {
                return Err(constraint(
                    key,
                    "Member must have value greater than or equal to 0",
                ));
            }
            Some(limit) if limit > 100 => {
                return Err(constraint(
                    key,
                    "Member must have value less than or equal to 100",
                ));
            }
            // The model allows 0 and does not say what it means: as if not given.
            Some(0) | None => 100,
            Some(limit) => usize::try_from(limit).unwrap_or(100),
        };
        let warehouse = self.warehouse()?;
        let database = self.text("Database")?;
        if database.is_some() && warehouse.is_none() {
            return Err(ApiError::validation(
                "Either ClusterIdentifier or WorkgroupName must be provided with Database.",
            ));
        }
        Ok(List {
            status,
            name_prefix: self.bounded("StatementName", 0, 2048)?,
            role_level: self.boolean("RoleLevel")?.unwrap_or(true),
            limit,
            next_token: self.text("NextToken")?,
            warehouse,
            database,
        })
    }
}

fn constraint(key: &str, text: &str) -> ApiError {
    let mut member = key.to_owned();
    if let Some(first) = member.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    ApiError::validation(format!(
        "1 validation error detected: Value at '{member}' failed to satisfy constraint: {text}"
    ))
}

fn must_not_be_null(key: &str) -> ApiError {
    constraint(key, "Member must not be null")
}

fn is_cluster_identifier(text: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    text.starts_with(|first: char| first.is_ascii_lowercase()) && text.split('-').all(part)
}

fn is_uuid(text: &str) -> bool {
    let lengths = [8, 4, 4, 4, 12];
    let parts: Vec<&str> = text.split('-').collect();
    parts.len() == lengths.len()
        && parts.iter().zip(lengths).all(|(part, length)| {
            part.len() == length
                && part
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        })
}

#[cfg(test)]
mod tests;
