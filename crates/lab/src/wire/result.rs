//! Decides how a result leaves the lab: `GetStatementResult` (typed values) and
//! `GetStatementResultV2` (CSV), page by page.
//!
//! Types are mapped as the Management Guide has them ("Using the Amazon Redshift Data API"):
//! integers to long, floats to double, booleans to boolean, everything else, decimals
//! included, to string.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::error::ApiError;
use crate::db::{Cell, Column, Table, Type, output};

/// A page ends after this many bytes of values; the guide says 1 MB for V2's chunks.
const PAGE: usize = 1_000_000;

/// How a result was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Csv,
}

/// One page, from the row that the token names.
pub(super) fn page(
    table: &Table,
    format: Format,
    submitted_as: Option<&str>,
    token: Option<&str>,
) -> Result<Value, ApiError> {
    let asked_for_csv = submitted_as == Some("CSV");
    if asked_for_csv != (format == Format::Csv) {
        return Err(ApiError::validation(if asked_for_csv {
            "The result is in CSV format. Use GetStatementResultV2."
        } else {
            "The result is in JSON format. Use GetStatementResult."
        }));
    }
    let from = token.map(read_token).transpose()?.unwrap_or_default();
    if from > table.rows.len() {
        return Err(ApiError::validation("NextToken is not valid."));
    }
    let mut size = 0;
    let mut records = Vec::new();
    let mut text = String::new();
    let mut taken = 0;
    for row in table.rows.iter().skip(from) {
        if size > PAGE {
            break;
        }
        let before = text.len();
        match format {
            Format::Json => {
                let fields: Vec<Value> = pairs(table, row)
                    .map(|(cell, ty)| field(cell, ty))
                    .collect();
                size += row.len() * 24 + row.iter().map(length).sum::<usize>();
                records.push(Value::Array(fields));
            }
            Format::Csv => {
                csv(&mut text, pairs(table, row));
                size += text.len() - before;
            }
        }
        taken += 1;
    }
    if format == Format::Csv {
        records.push(json!({ "CSVRecords": text }));
    }
    let mut answer = json!({
        "Records": records,
        "ColumnMetadata": table.columns.iter().map(column).collect::<Vec<Value>>(),
        "TotalNumRows": table.rows.len(),
    });
    if let Some(fields) = answer.as_object_mut() {
        if format == Format::Csv {
            fields.insert("ResultFormat".to_owned(), "CSV".into());
        }
        let next = from + taken;
        if next < table.rows.len() {
            fields.insert("NextToken".to_owned(), write_token(next).into());
        }
    }
    Ok(answer)
}

fn pairs<'a>(table: &'a Table, row: &'a [Cell]) -> impl Iterator<Item = (&'a Cell, Type)> {
    row.iter().zip(table.columns.iter().map(|column| column.ty))
}

fn length(cell: &Cell) -> usize {
    match cell {
        Cell::Text(text) => text.len(),
        Cell::Bytes(bytes) => bytes.len() * 2,
        Cell::Null | Cell::Bool(_) | Cell::Int(_) | Cell::Float(_) => 8,
    }
}

/// What the rows of a result take, for `ResultSize`.
pub(super) fn size(table: &Table) -> usize {
    table.rows.iter().flatten().map(length).sum()
}

fn field(cell: &Cell, ty: Type) -> Value {
    let kind = match ty {
        Type::Bool => "booleanValue",
        Type::Int2 | Type::Int4 | Type::Int8 => "longValue",
        Type::Float4 | Type::Float8 => "doubleValue",
        Type::Numeric { .. }
        | Type::Char(_)
        | Type::Varchar(_)
        | Type::Date
        | Type::Time
        | Type::Timestamp
        | Type::TimestampTz
        | Type::Interval
        | Type::Super
        | Type::Varbyte(_)
        | Type::Unknown => "stringValue",
    };
    match (cell, kind) {
        (Cell::Null, _) => json!({ "isNull": true }),
        (Cell::Bool(value), "booleanValue") => json!({ kind: value }),
        (Cell::Int(value), "booleanValue") => json!({ kind: *value != 0 }),
        (Cell::Int(value), "longValue" | "doubleValue") => json!({ kind: value }),
        (Cell::Float(value), "doubleValue") => json!({ kind: value }),
        (cell, _) => json!({ "stringValue": output(cell, ty) }),
    }
}

/// A record as RFC 4180 has it; a null is an empty field, an empty text an empty quoted one.
fn csv<'a>(to: &mut String, fields: impl Iterator<Item = (&'a Cell, Type)>) {
    for (index, (cell, ty)) in fields.enumerate() {
        if index > 0 {
            to.push(',');
        }
        if matches!(cell, Cell::Null) {
            continue;
        }
        let text = output(cell, ty);
        if text.is_empty() || text.contains([',', '"', '\n', '\r']) {
            to.push('"');
            to.push_str(&text.replace('"', "\"\""));
            to.push('"');
        } else {
            to.push_str(&text);
        }
    }
    to.push_str("\r\n");
}

fn column(column: &Column) -> Value {
    let (length, precision, scale) = match column.ty {
        Type::Bool => (0, 1, 0),
        Type::Int2 => (0, 5, 0),
        Type::Int4 => (0, 10, 0),
        Type::Int8 => (0, 19, 0),
        Type::Float4 => (0, 8, 8),
        Type::Float8 => (0, 17, 17),
        Type::Numeric { precision, scale } => (0, u32::from(precision), u32::from(scale)),
        Type::Char(length) | Type::Varchar(length) | Type::Varbyte(length) => (length, length, 0),
        Type::Date => (0, 13, 0),
        Type::Time => (0, 15, 6),
        Type::Timestamp => (0, 29, 6),
        Type::TimestampTz => (0, 35, 6),
        Type::Interval => (0, 49, 6),
        Type::Super | Type::Unknown => (0, 0, 0),
    };
    let signed = matches!(
        column.ty,
        Type::Int2 | Type::Int4 | Type::Int8 | Type::Float4 | Type::Float8 | Type::Numeric { .. }
    );
    json!({
        "name": column.name,
        "label": column.name,
        "typeName": column.ty.name(),
        "length": length,
        "precision": precision,
        "scale": scale,
        "isSigned": signed,
        "isCurrency": false,
        "isCaseSensitive": matches!(column.ty, Type::Char(_) | Type::Varchar(_)),
        "nullable": 1,
        "schemaName": "",
        "tableName": "",
    })
}

fn read_token(token: &str) -> Result<usize, ApiError> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok();
    let row = bytes
        .and_then(|bytes| bytes.try_into().ok())
        .map(u64::from_le_bytes)
        .and_then(|row| usize::try_from(row).ok());
    row.ok_or_else(|| ApiError::validation("NextToken is not valid."))
}

fn write_token(row: usize) -> String {
    URL_SAFE_NO_PAD.encode(u64::try_from(row).unwrap_or(u64::MAX).to_le_bytes())
}
