//! Decides what a cast does (Developer Guide, "Type compatibility and conversion").

use super::literal::known_moment;
use super::query::Translator;
use super::scope::{Typed, literal};
use super::types::{TEXT, Type};

impl Translator<'_> {
    /// The value as another type, or why it cannot be one.
    pub(super) fn cast(&mut self, from: Typed, to: Type) -> Result<Typed, String> {
        if from.ty == to || from.sql == "NULL" {
            return Ok(Typed::new(from.sql, to));
        }
        // SUPER is cast by the scalar that it holds.
        let from = if from.ty == Type::Super && to != Type::Super {
            Typed::new(format!("rs_super_text({})", from.sql), TEXT)
        } else {
            from
        };
        let sql = &from.sql;
        let source = from.ty;
        let made = match to {
            Type::Unknown => sql.clone(),
            Type::Bool if source.is_text() || source.is_integer() => format!("rs_bool({sql})"),
            Type::Int2 | Type::Int4 | Type::Int8 if source == Type::Bool => sql.clone(),
            Type::Int2 if castable(source) => format!("rs_int({sql}, 2)"),
            Type::Int4 if castable(source) => format!("rs_int({sql}, 4)"),
            Type::Int8 if castable(source) => format!("rs_int({sql}, 8)"),
            Type::Float4 | Type::Float8 if castable(source) => format!("rs_float({sql})"),
            Type::Numeric { precision, scale } if castable(source) => {
                format!("rs_numeric({sql}, {precision}, {scale})")
            }
            Type::Varchar(length) => format!("rs_varchar({}, {length})", print(&from)),
            Type::Char(length) => format!("rtrim(rs_varchar({}, {length}))", print(&from)),
            Type::Date if source.is_text() => format!("rs_date({sql})"),
            Type::Date if source.is_time() => format!("substr({sql}, 1, 10)"),
            Type::Timestamp | Type::TimestampTz if source == Type::Unknown => {
                self.literal_moment(sql)?
            }
            Type::Timestamp | Type::TimestampTz if source == Type::Date || source.is_text() => {
                format!("rs_timestamp({sql})")
            }
            Type::Timestamp | Type::TimestampTz if source.is_time() => sql.clone(),
            Type::Time if source.is_time() => format!("substr(rs_timestamp({sql}), 12)"),
            Type::Time if source.is_text() => {
                format!("substr(rs_timestamp('1970-01-01 ' || {sql}), 12)")
            }
            Type::Interval if source.is_text() => format!("rs_interval_read({sql}, 'second')"),
            Type::Varbyte(_) if source.is_text() || matches!(source, Type::Varbyte(_)) => {
                format!("CAST({sql} AS BLOB)")
            }
            Type::Super => to_super(&from),
            Type::Bool
            | Type::Int2
            | Type::Int4
            | Type::Int8
            | Type::Float4
            | Type::Float8
            | Type::Numeric { .. }
            | Type::Date
            | Type::Time
            | Type::Timestamp
            | Type::TimestampTz
            | Type::Interval
            | Type::Varbyte(_) => {
                return Err(format!(
                    "ERROR: cannot cast type {} to {}",
                    source.words(),
                    to.words()
                ));
            }
        };
        Ok(Typed::new(made, to))
    }

    /// A literal is read at once, where it can be.
    #[expect(clippy::unused_self, reason = "a part of `cast`")]
    fn literal_moment(&mut self, sql: &str) -> Result<String, String> {
        let inner = sql
            .strip_prefix('\'')
            .and_then(|rest| rest.strip_suffix('\''))
            .filter(|inner| !inner.contains('\''));
        match inner {
            Some(text) => known_moment(text)
                .map(|text| literal(&text))
                .ok_or_else(|| {
                    format!("ERROR: invalid input syntax for type timestamp: \"{text}\"")
                }),
            None => Ok(format!("rs_timestamp({sql})")),
        }
    }
}

/// Whether a number can be made of it.
const fn castable(ty: Type) -> bool {
    ty.is_number() || ty.is_text()
}

/// A value as its text.
fn print(from: &Typed) -> String {
    let sql = &from.sql;
    match from.ty {
        Type::Bool => format!("CASE WHEN {sql} THEN 'true' WHEN NOT {sql} THEN 'false' END"),
        Type::Numeric { scale: 0, .. } | Type::Int2 | Type::Int4 | Type::Int8 => {
            format!("CAST({sql} AS TEXT)")
        }
        Type::Numeric { scale, .. } => {
            format!("CASE WHEN {sql} IS NOT NULL THEN printf('%.{scale}f', {sql}) END")
        }
        Type::Timestamp | Type::Time => format!("rtrim(rtrim({sql}, '0'), '.')"),
        Type::TimestampTz => format!("(rtrim(rtrim({sql}, '0'), '.') || '+00')"),
        Type::Varbyte(_) => format!("rs_from_varbyte({sql}, 'utf8')"),
        Type::Float4
        | Type::Float8
        | Type::Char(_)
        | Type::Varchar(_)
        | Type::Date
        | Type::Interval
        | Type::Super
        | Type::Unknown => sql.clone(),
    }
}

fn to_super(from: &Typed) -> String {
    let kind = if from.ty == Type::Bool { "b" } else { "t" };
    let sql = if from.ty.is_time() {
        print(from)
    } else {
        from.sql.clone()
    };
    format!("rs_to_super({sql}, '{kind}')")
}
