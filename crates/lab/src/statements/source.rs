//! Decides what a view is defined by: its query, and where the query's rows come from.

use serde::{Deserialize, Serialize};
use sqlparser::ast::{
    GroupByExpr, Query, Select, SelectItem, SetExpr, TableFactor, TableWithJoins,
};

use crate::db::Column;

/// A view's query.
#[derive(Debug, Clone)]
pub(crate) struct Definition {
    pub(crate) query: Query,
    pub(crate) text: String,
    pub(crate) columns: Vec<Column>,
}

/// Where a view's rows come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Source {
    /// A stream of the lab's own.
    Lab { schema: String, stream: String },
    /// A stream that is read through the role chain of the external schema.
    Remote { schema: String, stream: String },
    /// Other views, by id.
    Views(Vec<String>),
}

impl Source {
    /// The stream of the lab's own that it reads.
    pub(crate) fn lab_stream(&self) -> Option<&str> {
        match self {
            Self::Lab { stream, .. } => Some(stream),
            Self::Remote { .. } | Self::Views(_) => None,
        }
    }

    /// The external schema and the stream.
    pub(crate) fn stream(&self) -> Option<(&str, &str)> {
        match self {
            Self::Lab { schema, stream } | Self::Remote { schema, stream } => {
                Some((schema, stream))
            }
            Self::Views(_) => None,
        }
    }
}

/// What the world's views select unless they say: the six columns that a stream has
/// (Developer Guide, "Getting started with streaming ingestion"), the data parsed.
pub(crate) const DEFAULT_QUERY: &str = "SELECT approximate_arrival_timestamp, partition_key, \
     shard_id, sequence_number, refresh_time, JSON_PARSE(kinesis_data) AS payload FROM lab.stream \
     WHERE CAN_JSON_PARSE(kinesis_data)";

/// The one relation that a query over a stream reads, with the case of its name: the
/// streaming form of a materialized view is a plain `SELECT` from one stream.
///
/// # Errors
/// Why a query over a stream cannot be maintained incrementally, in Redshift's form.
pub(super) fn stream_of(query: &Query) -> Result<(String, String), String> {
    let SetExpr::Select(select) = query.body.as_ref() else {
        return Err(refused("Set operations are not supported."));
    };
    if query.with.is_some() {
        return Err(refused("Common table expressions are not supported."));
    }
    if query.order_by.is_some() || query.limit_clause.is_some() {
        return Err(refused("ORDER BY and LIMIT are not supported."));
    }
    plain(select)?;
    let [TableWithJoins { relation, joins }] = select.from.as_slice() else {
        return Err(refused("Joins are not supported."));
    };
    if !joins.is_empty() {
        return Err(refused("Joins are not supported."));
    }
    let TableFactor::Table { name, .. } = relation else {
        return Err(refused("Subqueries are not supported."));
    };
    let parts: Vec<String> = name
        .0
        .iter()
        .filter_map(|part| part.as_ident().map(|ident| ident.value.clone()))
        .collect();
    match parts.as_slice() {
        [schema, stream] | [_, schema, stream] => Ok((schema.to_lowercase(), stream.clone())),
        _ => Err(format!("ERROR: relation \"{name}\" does not exist")),
    }
}

fn plain(select: &Select) -> Result<(), String> {
    if select.distinct.is_some() || select.having.is_some() {
        return Err(refused("DISTINCT and HAVING are not supported."));
    }
    let grouped = match &select.group_by {
        GroupByExpr::All(_) => true,
        GroupByExpr::Expressions(expressions, _) => !expressions.is_empty(),
    };
    if grouped {
        return Err(refused("Aggregates are not supported."));
    }
    let aggregated = select.projection.iter().any(|item| {
        let text = item.to_string().to_lowercase();
        !matches!(item, SelectItem::Wildcard(_))
            && ["count(", "sum(", "avg(", "min(", "max(", "listagg("]
                .iter()
                .any(|function| text.starts_with(function))
    });
    if aggregated {
        return Err(refused("Aggregates are not supported."));
    }
    Ok(())
}

fn refused(reason: &str) -> String {
    format!("ERROR: Materialized view over stream could not be created, reason: {reason}")
}
