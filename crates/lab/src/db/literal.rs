//! Decides what a literal is, and how a statement names a type.

use sqlparser::ast::{Expr, Interval, Value};

use super::expr::unsupported;
use super::scope::{Typed, literal};
use super::types::Type;
use super::value::{interval_of, read_timestamp, timestamp_text};

pub(super) fn constant(value: &Value) -> Result<Typed, String> {
    Ok(match value {
        Value::Number(text, _) => number(text)?,
        Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => {
            Typed::new(literal(text), Type::Unknown)
        }
        Value::Boolean(value) => Typed::new(u8::from(*value).to_string(), Type::Bool),
        Value::Null => Typed::new("NULL", Type::Unknown),
        other => return unsupported(other),
    })
}

fn number(text: &str) -> Result<Typed, String> {
    if let Ok(value) = text.parse::<i64>() {
        let ty = if i32::try_from(value).is_ok() {
            Type::Int4
        } else {
            Type::Int8
        };
        return Ok(Typed::new(value.to_string(), ty));
    }
    let value: f64 = text
        .parse()
        .map_err(|_| format!("ERROR: syntax error at or near \"{text}\""))?;
    if !value.is_finite() {
        return Err(format!(
            "ERROR: \"{text}\" is out of range for type double precision"
        ));
    }
    if text.contains(['e', 'E']) {
        return Ok(Typed::new(format!("{value:?}"), Type::Float8));
    }
    let scale = text
        .split_once('.')
        .map_or(0, |(_, fraction)| fraction.len());
    let precision = text
        .len()
        .saturating_sub(usize::from(scale > 0))
        .clamp(1, 38);
    let ty = Type::Numeric {
        precision: u8::try_from(precision).unwrap_or(38),
        scale: u8::try_from(scale.min(37)).unwrap_or(37),
    };
    Ok(Typed::new(format!("{value:?}"), ty))
}

pub(super) fn interval_literal(interval: &Interval) -> Result<Typed, String> {
    let unit = interval.leading_field.as_ref().map_or_else(
        || "second".to_owned(),
        |field| field.to_string().to_lowercase(),
    );
    let text = match interval.value.as_ref() {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => text.clone(),
            Value::Number(text, _) => text.clone(),
            other => return unsupported(other),
        },
        other => return unsupported(other),
    };
    let (months, micros) = interval_of(&text, &unit)
        .ok_or_else(|| format!("ERROR: invalid input syntax for type interval: \"{text}\""))?;
    Ok(Typed::new(format!("'{months}|{micros}'"), Type::Interval))
}

/// A literal text that is a time, checked while the statement is read.
pub(super) fn known_moment(text: &str) -> Option<String> {
    read_timestamp(text).map(timestamp_text)
}

/// A type as a statement names it.
pub(super) fn read_type(text: &str) -> Result<Type, String> {
    let lower = text.to_lowercase();
    let (name, arguments) = match lower.split_once('(') {
        Some((name, rest)) => (
            name.trim().to_owned(),
            rest.split(')').next().unwrap_or_default(),
        ),
        None => (lower.clone(), ""),
    };
    let mut numbers = arguments
        .split(',')
        .filter_map(|number| number.trim().parse::<u32>().ok());
    let (first, second) = (numbers.next(), numbers.next());
    let small = |number: Option<u32>, otherwise: u8| {
        number.map_or(otherwise, |number| u8::try_from(number).unwrap_or(255))
    };
    Ok(match name.as_str() {
        "bool" | "boolean" => Type::Bool,
        "smallint" | "int2" => Type::Int2,
        "int" | "integer" | "int4" => Type::Int4,
        "bigint" | "int8" => Type::Int8,
        "real" | "float4" => Type::Float4,
        "float" | "float8" | "double precision" | "double" => Type::Float8,
        "numeric" | "decimal" | "dec" => {
            let (precision, scale) = (small(first, 18), small(second, 0));
            if precision > 38 || scale > precision {
                return Err(format!("ERROR: invalid NUMERIC type {precision}, {scale}"));
            }
            Type::Numeric { precision, scale }
        }
        "char" | "character" | "nchar" => Type::Char(first.unwrap_or(1)),
        "bpchar" => Type::Char(first.unwrap_or(256)),
        "varchar" | "character varying" | "nvarchar" | "text" => {
            Type::Varchar(first.unwrap_or(if name == "text" { 256 } else { 65535 }))
        }
        "date" => Type::Date,
        "time" | "time without time zone" => Type::Time,
        "timestamp" | "timestamp without time zone" | "datetime" => Type::Timestamp,
        "timestamptz" | "timestamp with time zone" => Type::TimestampTz,
        "super" => Type::Super,
        "varbyte" | "varbinary" | "binary varying" => Type::Varbyte(first.unwrap_or(64_000)),
        "interval" => Type::Interval,
        other => return Err(format!("ERROR: type \"{other}\" does not exist")),
    })
}
