//! Decides how statements look in answers. Timestamps are numbers (epoch seconds with a
//! fraction, as the AWS JSON protocol has them), durations nanoseconds, and -1 stands for
//! what is not known yet.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::result;
use crate::clock::Moment;
use crate::statements::{Statement, Status, Unit};
use crate::world::WarehouseKind;

/// Turns the lab's times into UTC, and statements into JSON.
#[derive(Debug, Clone, Copy)]
pub(super) struct Writer {
    /// UTC when the lab started.
    pub(super) epoch: Duration,
}

impl Writer {
    fn utc(self, at: Moment) -> Value {
        (self.epoch + at).as_secs_f64().into()
    }

    /// `ExecuteStatement` and `BatchExecuteStatement`; what only a long poll tells is there
    /// when `waited`.
    pub(super) fn submitted(
        self,
        statement: &Statement,
        kind: WarehouseKind,
        waited: bool,
    ) -> Value {
        let mut body = self.common(statement, kind);
        body.insert("CreatedAt".to_owned(), self.utc(statement.created));
        if waited {
            body.insert("Status".to_owned(), statement.status.name().into());
            body.insert(
                "RedshiftPid".to_owned(),
                statement.pid.unwrap_or_default().into(),
            );
            let has_result = statement.units.iter().any(|unit| unit.result.is_some());
            body.insert("HasResultSet".to_owned(), has_result.into());
        }
        Value::Object(body)
    }

    fn common(self, statement: &Statement, kind: WarehouseKind) -> Map<String, Value> {
        let asked = &statement.asked;
        let mut body = Map::new();
        body.insert("Id".to_owned(), statement.id.as_str().into());
        body.insert("Database".to_owned(), asked.database.as_str().into());
        let key = match kind {
            WarehouseKind::Cluster => "ClusterIdentifier",
            WarehouseKind::Workgroup => "WorkgroupName",
        };
        body.insert(key.to_owned(), asked.warehouse.as_str().into());
        if let Some(user) = &asked.db_user {
            body.insert("DbUser".to_owned(), user.as_str().into());
        }
        if let Some(secret) = &asked.secret_arn {
            body.insert("SecretArn".to_owned(), secret.as_str().into());
        }
        body
    }

    /// `DescribeStatement` of a whole statement.
    pub(super) fn described(self, statement: &Statement, kind: WarehouseKind) -> Value {
        let mut body = self.common(statement, kind);
        let asked = &statement.asked;
        let query = statement.units.first().filter(|_| asked.batch.is_none());
        let fields = json!({
            "Status": statement.status.name(),
            "CreatedAt": self.utc(statement.created),
            "UpdatedAt": self.utc(statement.updated),
            "Duration": nanoseconds(statement.duration()),
            "RedshiftPid": statement.pid.unwrap_or_default(),
            "RedshiftQueryId": query.map_or(-1, |unit| unit.query_id.unwrap_or_default()),
            "HasResultSet": statement.units.iter().any(|unit| unit.result.is_some()),
            "ResultRows": query.map_or(-1, rows),
            "ResultSize": query.map_or(-1, bytes),
            "ResultFormat": asked.result_format.as_deref().unwrap_or("JSON"),
        });
        extend(&mut body, fields);
        if let Some(error) = &statement.error {
            body.insert("Error".to_owned(), error.as_str().into());
        }
        match (query, asked.batch) {
            (_, Some(mode)) => {
                let subs = statement.units.iter().enumerate();
                let subs = subs
                    .map(|(index, unit)| self.sub(statement, index + 1, unit))
                    .collect();
                body.insert("SubStatements".to_owned(), subs);
                body.insert("ExecutionMode".to_owned(), mode.name().into());
            }
            (Some(unit), None) => {
                body.insert("QueryString".to_owned(), unit.sql.as_str().into());
            }
            (None, None) => {}
        }
        Value::Object(body)
    }

    /// `DescribeStatement` of one unit of a batch.
    pub(super) fn described_unit(
        self,
        statement: &Statement,
        kind: WarehouseKind,
        number: usize,
        unit: &Unit,
    ) -> Value {
        let mut body = self.common(statement, kind);
        extend(&mut body, self.sub(statement, number, unit));
        body.insert(
            "RedshiftPid".to_owned(),
            statement.pid.unwrap_or_default().into(),
        );
        Value::Object(body)
    }

    fn sub(self, statement: &Statement, number: usize, unit: &Unit) -> Value {
        let mut sub = json!({
            "Id": format!("{}:{number}", statement.id),
            "Status": unit.status.name(),
            "CreatedAt": self.utc(statement.created),
            "UpdatedAt": self.utc(unit.updated),
            "Duration": nanoseconds(unit.duration()),
            "QueryString": unit.sql,
            "RedshiftQueryId": unit.query_id.unwrap_or_default(),
            "HasResultSet": unit.result.is_some(),
            "ResultRows": rows(unit),
            "ResultSize": bytes(unit),
        });
        if let (Some(error), Some(fields)) = (&unit.error, sub.as_object_mut()) {
            fields.insert("Error".to_owned(), error.as_str().into());
        }
        sub
    }

    /// One entry of `ListStatements`.
    pub(super) fn listed(self, statement: &Statement) -> Value {
        let asked = &statement.asked;
        let mut entry = json!({
            "Id": statement.id,
            "Status": statement.status.name(),
            "CreatedAt": self.utc(statement.created),
            "UpdatedAt": self.utc(statement.updated),
            "IsBatchStatement": asked.batch.is_some(),
            "ResultFormat": asked.result_format.as_deref().unwrap_or("JSON"),
        });
        let texts = if asked.batch.is_some() {
            json!({ "QueryStrings": asked.sqls })
        } else {
            json!({ "QueryString": asked.sqls.first() })
        };
        let name = asked
            .name
            .as_ref()
            .map(|name| json!({ "StatementName": name }));
        let secret = asked
            .secret_arn
            .as_ref()
            .map(|secret| json!({ "SecretArn": secret }));
        if let Some(fields) = entry.as_object_mut() {
            for more in [Some(texts), name, secret].into_iter().flatten() {
                extend(fields, more);
            }
        }
        entry
    }
}

fn rows(unit: &Unit) -> i64 {
    let rows = unit.result.as_ref().map(|table| table.rows.len());
    rows.and_then(|rows| i64::try_from(rows).ok()).unwrap_or(-1)
}

fn bytes(unit: &Unit) -> i64 {
    let bytes = unit.result.as_ref().map(result::size);
    bytes
        .and_then(|bytes| i64::try_from(bytes).ok())
        .unwrap_or(-1)
}

fn extend(body: &mut Map<String, Value>, more: Value) {
    if let Value::Object(more) = more {
        body.extend(more);
    }
}

fn nanoseconds(time: Option<Duration>) -> i64 {
    time.and_then(|time| i64::try_from(time.as_nanos()).ok())
        .unwrap_or(-1)
}

/// Whether a status answers a long poll.
pub(super) fn has_ended(statement: &Statement, unit: Option<usize>) -> bool {
    let status = match unit {
        None => Some(statement.status),
        Some(number) => statement
            .units
            .get(number.saturating_sub(1))
            .map(|unit| unit.status),
    };
    status.is_none_or(Status::is_terminal)
}
