//! Decides what the functions of texts, times and SUPER take and give.

use sqlparser::ast::{Expr, Value};

use super::call::word;
use super::query::Translator;
use super::scope::{Typed, literal};
use super::types::{TEXT, Type};

impl Translator<'_> {
    pub(super) fn text_call(
        &mut self,
        name: &str,
        arguments: &[&Expr],
    ) -> Result<Option<Typed>, String> {
        let typed = match (name, arguments) {
            ("trim" | "ltrim" | "rtrim" | "btrim", [text, what @ ..]) if what.len() < 2 => {
                let text = self.text(text)?;
                let what = match what {
                    [what] => self.text(what)?,
                    _ => "' '".to_owned(),
                };
                let function = if name == "btrim" { "trim" } else { name };
                Typed::new(format!("{function}({text}, {what})"), TEXT)
            }
            ("lower" | "upper", [text]) => {
                let text = self.text(text)?;
                Typed::new(format!("rs_{name}({text})"), TEXT)
            }
            ("len" | "length" | "char_length" | "character_length" | "textlen", [text]) => {
                let typed = self.expr(text)?;
                if matches!(typed.ty, Type::Varbyte(_)) {
                    return Ok(Some(Typed::new(
                        format!("length({})", typed.sql),
                        Type::Int4,
                    )));
                }
                let text = self.as_text(typed)?;
                Typed::new(format!("rs_len({text})"), Type::Int4)
            }
            ("octet_length", [text]) => {
                let text = self.text(text)?;
                Typed::new(format!("length(CAST({text} AS BLOB))"), Type::Int4)
            }
            ("substring" | "substr", [text, from, rest @ ..]) if rest.len() < 2 => {
                let (text, from) = (self.text(text)?, self.integer(from)?);
                let length = match rest {
                    [length] => self.integer(length)?,
                    _ => "65535".to_owned(),
                };
                Typed::new(format!("rs_substring({text}, {from}, {length})"), TEXT)
            }
            ("left" | "right" | "repeat", [text, count]) => {
                let (text, count) = (self.text(text)?, self.integer(count)?);
                Typed::new(format!("rs_{name}({text}, {count})"), TEXT)
            }
            ("reverse" | "initcap", [text]) => {
                let text = self.text(text)?;
                Typed::new(format!("rs_{name}({text})"), TEXT)
            }
            _ => return self.more_text(name, arguments),
        };
        Ok(Some(typed))
    }

    fn more_text(&mut self, name: &str, arguments: &[&Expr]) -> Result<Option<Typed>, String> {
        let typed = match (name, arguments) {
            ("replace", [text, from, to]) => {
                let (text, from, to) = (self.text(text)?, self.text(from)?, self.text(to)?);
                Typed::new(format!("replace({text}, {from}, {to})"), TEXT)
            }
            ("split_part", [text, by, part]) => {
                let (text, by, part) = (self.text(text)?, self.text(by)?, self.integer(part)?);
                Typed::new(format!("rs_split_part({text}, {by}, {part})"), TEXT)
            }
            ("strpos", [text, part]) | ("charindex" | "position", [part, text]) => {
                let (text, part) = (self.text(text)?, self.text(part)?);
                Typed::new(format!("rs_position({part}, {text})"), Type::Int4)
            }
            ("concat", [one, other]) => {
                let (one, other) = (self.text(one)?, self.text(other)?);
                Typed::new(format!("({one} || {other})"), TEXT)
            }
            ("lpad" | "rpad", [text, width, by @ ..]) if by.len() < 2 => {
                let (text, width) = (self.text(text)?, self.integer(width)?);
                let by = match by {
                    [by] => self.text(by)?,
                    _ => "' '".to_owned(),
                };
                let left = u8::from(name == "lpad");
                Typed::new(format!("rs_pad({text}, {width}, {by}, {left})"), TEXT)
            }
            ("chr", [code]) => {
                let code = self.integer(code)?;
                Typed::new(format!("char({code})"), TEXT)
            }
            ("ascii", [text]) => {
                let text = self.text(text)?;
                Typed::new(format!("unicode({text})"), Type::Int4)
            }
            ("quote_ident", [text]) => {
                let text = self.text(text)?;
                Typed::new(
                    format!("('\"' || replace({text}, '\"', '\"\"') || '\"')"),
                    TEXT,
                )
            }
            ("quote_literal", [text]) => {
                let text = self.text(text)?;
                Typed::new(format!("quote({text})"), TEXT)
            }
            _ => return Ok(None),
        };
        Ok(Some(typed))
    }

    pub(super) fn time_call(
        &mut self,
        name: &str,
        arguments: &[&Expr],
    ) -> Result<Option<Typed>, String> {
        let typed = match (name, arguments) {
            ("datediff" | "date_diff", [part, from, to]) => {
                let part = literal(&word(part)?);
                let (from, to) = (self.moment(from)?.sql, self.moment(to)?.sql);
                Typed::new(format!("rs_datediff({part}, {from}, {to})"), Type::Int8)
            }
            ("dateadd" | "date_add", [part, count, moment]) => {
                let part = word(part)?;
                let (months, micros) = super::value::unit_size(&part)
                    .ok_or_else(|| format!("ERROR: date part \"{part}\" is not supported"))?;
                let (count, moment) = (self.integer(count)?, self.moment(moment)?);
                let interval = format!("((({count}) * {months}) || '|' || (({count}) * {micros}))");
                Typed::new(
                    format!("rs_later({}, {interval}, 1)", moment.sql),
                    moment.ty,
                )
            }
            ("add_months", [moment, count]) => {
                let (moment, count) = (self.moment(moment)?, self.integer(count)?);
                Typed::new(
                    format!("rs_later({}, ({count}) || '|0', 1)", moment.sql),
                    moment.ty,
                )
            }
            ("date_trunc", [part, moment]) => {
                let part = literal(&word(part)?);
                let moment = self.moment(moment)?;
                Typed::new(format!("rs_date_trunc({part}, {})", moment.sql), moment.ty)
            }
            ("date_part" | "datepart" | "pgdate_part", [part, moment]) => {
                let part = literal(&word(part)?);
                let moment = self.moment(moment)?.sql;
                Typed::new(format!("rs_date_part({part}, {moment})"), Type::Float8)
            }
            ("to_char", [moment, pattern]) => {
                let value = self.expr(moment)?;
                if !value.ty.is_time() {
                    return super::expr::unsupported("TO_CHAR of a number");
                }
                let (moment, pattern) = (self.moment(moment)?.sql, self.text(pattern)?);
                Typed::new(format!("rs_to_char({moment}, {pattern})"), TEXT)
            }
            ("to_date", [text, ..]) | ("date", [text]) => {
                let typed = self.expr(text)?;
                self.cast(typed, Type::Date)?
            }
            ("to_timestamp", [text, ..]) => {
                let typed = self.expr(text)?;
                let made = self.cast(typed, Type::Timestamp)?;
                Typed::new(made.sql, Type::TimestampTz)
            }
            // The lab's only zone is UTC.
            ("convert_timezone", [.., moment]) => {
                let moment = self.moment(moment)?;
                Typed::new(moment.sql, Type::Timestamp)
            }
            ("last_day", [moment]) => {
                let moment = self.moment(moment)?.sql;
                let first = format!("rs_date_trunc('month', {moment})");
                let last = format!("rs_later({first}, '1|-86400000000', 1)");
                Typed::new(format!("substr({last}, 1, 10)"), Type::Date)
            }
            _ => return Ok(None),
        };
        Ok(Some(typed))
    }

    pub(super) fn json_call(
        &mut self,
        name: &str,
        arguments: &[&Expr],
    ) -> Result<Option<Typed>, String> {
        let typed = match (name, arguments) {
            ("json_parse", [text]) => {
                let text = self.json_text(text)?;
                Typed::new(format!("rs_json_parse({text})"), Type::Super)
            }
            ("can_json_parse" | "is_valid_json", [text]) => {
                let text = self.json_text(text)?;
                Typed::new(format!("rs_can_json_parse({text})"), Type::Bool)
            }
            ("json_serialize", [value]) => {
                let value = self.superior(value)?;
                Typed::new(value, TEXT)
            }
            ("json_typeof", [value]) => {
                let value = self.superior(value)?;
                Typed::new(format!("rs_json_typeof({value})"), TEXT)
            }
            ("is_array" | "is_object" | "is_varchar" | "is_boolean", [value]) => {
                let value = self.superior(value)?;
                let kind = match name {
                    "is_array" => "array",
                    "is_object" => "object",
                    "is_boolean" => "boolean",
                    _ => "string",
                };
                Typed::new(format!("(rs_json_typeof({value}) = '{kind}')"), Type::Bool)
            }
            ("get_array_length", [value]) => {
                let value = self.superior(value)?;
                Typed::new(format!("rs_array_length({value})"), Type::Int8)
            }
            ("json_extract_path_text", [text, keys @ ..]) if (1..=6).contains(&keys.len()) => {
                let text = self.json_text(text)?;
                let (keys, lenient) = match keys.split_last() {
                    Some((Expr::Value(value), keys)) => match &value.value {
                        Value::Boolean(lenient) => (keys.to_vec(), *lenient),
                        _ => (arguments.get(1..).unwrap_or_default().to_vec(), false),
                    },
                    _ => (keys.to_vec(), false),
                };
                let mut list = format!("{}, {text}", u8::from(lenient));
                for key in keys {
                    list.push_str(&format!(", {}", self.text(key)?));
                }
                Typed::new(format!("rs_extract_path({list})"), TEXT)
            }
            ("from_varbyte", [bytes, format]) => {
                let bytes = self.expr(bytes)?;
                let format = self.text(format)?;
                Typed::new(format!("rs_from_varbyte({}, {format})", bytes.sql), TEXT)
            }
            ("to_varbyte", [text, format]) => {
                let (text, format) = (self.text(text)?, self.text(format)?);
                Typed::new(
                    format!("rs_to_varbyte({text}, {format})"),
                    Type::Varbyte(64_000),
                )
            }
            ("to_hex", [bytes]) => {
                let bytes = self.expr(bytes)?;
                Typed::new(format!("lower(hex({}))", bytes.sql), TEXT)
            }
            _ => return Ok(None),
        };
        Ok(Some(typed))
    }

    /// Text or bytes that hold JSON.
    fn json_text(&mut self, expr: &Expr) -> Result<String, String> {
        let typed = self.expr(expr)?;
        if typed.ty.is_text() || matches!(typed.ty, Type::Varbyte(_)) {
            return Ok(typed.sql);
        }
        Err(format!(
            "ERROR: function json_parse({}) does not exist",
            typed.ty.words()
        ))
    }

    fn superior(&mut self, expr: &Expr) -> Result<String, String> {
        let typed = self.expr(expr)?;
        Ok(self.cast(typed, Type::Super)?.sql)
    }
}
