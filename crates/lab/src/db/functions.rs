//! Decides what the functions compute that SQLite does not have, or has otherwise: casts,
//! divisions, texts, times. Each has a name of its own, `rs_…`, so that no function of
//! SQLite's is ever mistaken for one of Redshift's.
//!
//! An error is Redshift's text; SQLite hands it on unchanged. Nulls give null.

use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, Error, Result};

use super::value::read_timestamp;

/// A failure in Redshift's words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Said(pub(super) String);

pub(super) fn fail<T>(text: impl Into<String>) -> Result<T> {
    Err(Error::UserFunctionError(Box::new(Said(text.into()))))
}

pub(super) type Answer = Result<Option<Value>>;

/// The arguments of one call; none of them is null.
pub(super) struct Arguments<'a>(pub(super) &'a Context<'a>);

impl Arguments<'_> {
    pub(super) fn text(&self, index: usize) -> Result<String> {
        Ok(match self.0.get_raw(index) {
            ValueRef::Null => String::new(),
            ValueRef::Integer(value) => value.to_string(),
            ValueRef::Real(value) => value.to_string(),
            ValueRef::Text(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            ValueRef::Blob(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => text.to_owned(),
                Err(_) => {
                    return fail("ERROR: invalid byte sequence for encoding \"UTF8\"");
                }
            },
        })
    }

    pub(super) fn integer(&self, index: usize) -> Result<i64> {
        match self.0.get_raw(index) {
            ValueRef::Integer(value) => Ok(value),
            ValueRef::Real(value) => whole(value, i64::MIN, i64::MAX)
                .map_or_else(|| fail("ERROR: bigint out of range"), Ok),
            ValueRef::Null | ValueRef::Text(_) | ValueRef::Blob(_) => {
                let text = self.text(index)?;
                text.trim()
                    .parse()
                    .or_else(|_| fail(invalid_digit(&text, "Long")))
            }
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a number as a float")]
    pub(super) fn float(&self, index: usize) -> Result<f64> {
        match self.0.get_raw(index) {
            ValueRef::Integer(value) => Ok(value as f64),
            ValueRef::Real(value) => Ok(value),
            ValueRef::Null | ValueRef::Text(_) | ValueRef::Blob(_) => {
                let text = self.text(index)?;
                text.trim()
                    .parse()
                    .or_else(|_| fail(invalid_digit(&text, "Float")))
            }
        }
    }

    pub(super) fn moment(&self, index: usize) -> Result<i64> {
        let text = self.text(index)?;
        read_timestamp(&text).map_or_else(
            || {
                fail(format!(
                    "ERROR: invalid input syntax for type timestamp: \"{text}\""
                ))
            },
            Ok,
        )
    }

    pub(super) fn has(&self, index: usize) -> bool {
        index < self.0.len()
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the answer of a function")]
pub(super) fn say(text: impl Into<String>) -> Answer {
    Ok(Some(Value::Text(text.into())))
}

#[expect(clippy::unnecessary_wraps, reason = "the answer of a function")]
pub(super) fn count(number: i64) -> Answer {
    Ok(Some(Value::Integer(number)))
}

/// Redshift's words for a text that is no number.
pub(super) fn invalid_digit(text: &str, ty: &str) -> String {
    let at = text
        .chars()
        .position(|c| !c.is_ascii_digit() && !matches!(c, '-' | '+' | '.' | ' '))
        .unwrap_or_default();
    let found: String = text.chars().nth(at).map(String::from).unwrap_or_default();
    format!("ERROR: Invalid digit, Value '{found}', Pos {at}, Type: {ty}")
}

/// A float as a whole number within bounds, rounded half away from zero as casts do.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "the bounds are checked first"
)]
pub(super) fn whole(value: f64, least: i64, most: i64) -> Option<i64> {
    let rounded = value.round();
    (rounded >= least as f64 && rounded <= most as f64).then_some(rounded as i64)
}

/// Adds a function that is null when an argument is.
pub(super) fn add(
    connection: &Connection,
    name: &str,
    arguments: i32,
    act: fn(&Arguments<'_>) -> Answer,
) -> Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    connection.create_scalar_function(name, arguments, flags, move |context| {
        let null = (0..context.len()).any(|index| matches!(context.get_raw(index), ValueRef::Null));
        if null {
            Ok(None)
        } else {
            act(&Arguments(context))
        }
    })
}

pub(super) fn install(connection: &Connection) -> Result<()> {
    add(connection, "rs_int", 2, to_integer)?;
    add(connection, "rs_float", 1, |a| {
        Ok(Some(Value::Real(a.float(0)?)))
    })?;
    add(connection, "rs_numeric", 3, to_numeric)?;
    add(connection, "rs_bool", 1, to_bool)?;
    add(connection, "rs_varchar", 2, to_varchar)?;
    add(connection, "rs_idiv", 2, |a| match a.integer(1)? {
        0 => fail("ERROR: division by zero"),
        by => a
            .integer(0)?
            .checked_div(by)
            .map_or_else(|| fail("ERROR: bigint out of range"), count),
    })?;
    add(connection, "rs_imod", 2, |a| match a.integer(1)? {
        0 => fail("ERROR: division by zero"),
        by => count(a.integer(0)?.wrapping_rem(by)),
    })?;
    add(connection, "rs_fdiv", 2, |a| {
        let by = a.float(1)?;
        if by.abs() < f64::MIN_POSITIVE {
            return fail("ERROR: division by zero");
        }
        Ok(Some(Value::Real(a.float(0)? / by)))
    })?;
    numbers(connection)?;
    texts(connection)?;
    longer_texts(connection)?;
    super::functions_time::install(connection)?;
    super::json::install(connection)
}

fn numbers(connection: &Connection) -> Result<()> {
    fn real(value: f64) -> Answer {
        if value.is_finite() {
            return Ok(Some(Value::Real(value)));
        }
        fail("ERROR: value out of range")
    }
    add(connection, "rs_ceil", 1, |a| real(a.float(0)?.ceil()))?;
    add(connection, "rs_floor", 1, |a| real(a.float(0)?.floor()))?;
    add(connection, "rs_sqrt", 1, |a| real(a.float(0)?.sqrt()))?;
    add(connection, "rs_exp", 1, |a| real(a.float(0)?.exp()))?;
    add(connection, "rs_ln", 1, |a| real(a.float(0)?.ln()))?;
    add(connection, "rs_log", 1, |a| real(a.float(0)?.log10()))?;
    add(connection, "rs_pow", 2, |a| {
        real(a.float(0)?.powf(a.float(1)?))
    })?;
    add(connection, "rs_fmod", 2, |a| {
        let by = a.float(1)?;
        if by.abs() < f64::MIN_POSITIVE {
            return fail("ERROR: division by zero");
        }
        real(a.float(0)? % by)
    })?;
    add(connection, "rs_trunc", 2, |a| {
        let power = 10_f64.powi(i32::try_from(a.integer(1)?).unwrap_or_default());
        real((a.float(0)? * power).trunc() / power)
    })
}

/// `rs_int(value, bytes)`.
fn to_integer(a: &Arguments<'_>) -> Answer {
    let (least, most, kind, words) = match a.integer(1)? {
        2 => (
            i64::from(i16::MIN),
            i64::from(i16::MAX),
            "Short",
            "smallint",
        ),
        4 => (
            i64::from(i32::MIN),
            i64::from(i32::MAX),
            "Integer",
            "integer",
        ),
        _ => (i64::MIN, i64::MAX, "Long", "bigint"),
    };
    let out = || fail(format!("ERROR: {words} out of range"));
    match a.0.get_raw(0) {
        ValueRef::Integer(value) if (least..=most).contains(&value) => count(value),
        ValueRef::Integer(_) => out(),
        ValueRef::Real(value) => whole(value, least, most).map_or_else(out, count),
        ValueRef::Null | ValueRef::Text(_) | ValueRef::Blob(_) => {
            let text = a.text(0)?;
            match text.trim().parse::<i64>() {
                Ok(value) if (least..=most).contains(&value) => count(value),
                Ok(_) => out(),
                Err(_) if text.trim().is_empty() => fail(format!(
                    "ERROR: Invalid digit, Value '', Pos 0, Type: {kind}"
                )),
                Err(_) => match text.trim().parse::<f64>() {
                    Ok(_) if !text.contains('.') => out(),
                    Ok(_) => fail(format!(
                        "ERROR: Invalid digit, Value '.', Pos {}, Type: {kind}",
                        text.find('.').unwrap_or_default()
                    )),
                    Err(_) => fail(invalid_digit(&text, kind)),
                },
            }
        }
    }
}

/// `rs_numeric(value, precision, scale)`: rounded, and refused when it does not fit.
fn to_numeric(a: &Arguments<'_>) -> Answer {
    let value = match a.0.get_raw(0) {
        ValueRef::Text(_) | ValueRef::Blob(_) => {
            let text = a.text(0)?;
            text.trim()
                .parse::<f64>()
                .or_else(|_| fail(invalid_digit(&text, "Decimal")))?
        }
        ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => a.float(0)?,
    };
    let (precision, scale) = (a.integer(1)?, a.integer(2)?);
    let power = |digits: i64| 10_f64.powi(i32::try_from(digits).unwrap_or_default());
    if value.abs() >= power(precision - scale) {
        return fail(format!(
            "ERROR: Numeric data overflow (result precision)\n  Detail: precision {precision}, scale {scale}"
        ));
    }
    if scale == 0
        && let Some(number) = whole(value, i64::MIN, i64::MAX)
    {
        return count(number);
    }
    Ok(Some(Value::Real(
        (value * power(scale)).round() / power(scale),
    )))
}

fn to_bool(a: &Arguments<'_>) -> Answer {
    match a.0.get_raw(0) {
        ValueRef::Integer(value) => count(i64::from(value != 0)),
        ValueRef::Null | ValueRef::Real(_) | ValueRef::Text(_) | ValueRef::Blob(_) => {
            let text = a.text(0)?;
            match text.trim().to_lowercase().as_str() {
                "t" | "true" | "y" | "yes" | "1" => count(1),
                "f" | "false" | "n" | "no" | "0" => count(0),
                _ => fail(format!(
                    "ERROR: invalid input syntax for type boolean: \"{text}\""
                )),
            }
        }
    }
}

/// `rs_varchar(value, bytes)`: an explicit cast cuts silently, by bytes and whole characters.
fn to_varchar(a: &Arguments<'_>) -> Answer {
    let mut text = a.text(0)?;
    let mut most = usize::try_from(a.integer(1)?).unwrap_or(usize::MAX);
    if text.len() > most {
        while !text.is_char_boundary(most) {
            most -= 1;
        }
        text.truncate(most);
    }
    say(text)
}

fn texts(connection: &Connection) -> Result<()> {
    add(connection, "rs_len", 1, |a| {
        count(i64::try_from(a.text(0)?.trim_end_matches(' ').chars().count()).unwrap_or(i64::MAX))
    })?;
    add(connection, "rs_lower", 1, |a| {
        say(a.text(0)?.to_lowercase())
    })?;
    add(connection, "rs_upper", 1, |a| {
        say(a.text(0)?.to_uppercase())
    })?;
    add(connection, "rs_left", 2, |a| {
        let text = a.text(0)?;
        say(text
            .chars()
            .take(taken(&text, a.integer(1)?))
            .collect::<String>())
    })?;
    add(connection, "rs_right", 2, |a| {
        let text = a.text(0)?;
        let all = text.chars().count();
        let skip = all.saturating_sub(taken(&text, a.integer(1)?));
        say(text.chars().skip(skip).collect::<String>())
    })?;
    add(connection, "rs_substring", 3, |a| {
        let (from, length) = (a.integer(1)?, a.integer(2)?);
        if length < 0 {
            return fail("ERROR: negative substring length not allowed");
        }
        let end = from.saturating_add(length).saturating_sub(1);
        let skip = usize::try_from(from.saturating_sub(1)).unwrap_or_default();
        let until = usize::try_from(end).unwrap_or_default();
        say(a
            .text(0)?
            .chars()
            .take(until)
            .skip(skip)
            .collect::<String>())
    })?;
    add(connection, "rs_position", 2, |a| {
        let (part, text) = (a.text(0)?, a.text(1)?);
        let at = text.find(&part).map_or(0, |byte| {
            text.get(..byte).unwrap_or_default().chars().count() + 1
        });
        count(i64::try_from(at).unwrap_or_default())
    })?;
    Ok(())
}

fn longer_texts(connection: &Connection) -> Result<()> {
    add(connection, "rs_split_part", 3, |a| {
        let (text, by, part) = (a.text(0)?, a.text(1)?, a.integer(2)?);
        if part < 1 {
            return fail("ERROR: field position must be greater than zero");
        }
        let index = usize::try_from(part - 1).unwrap_or(usize::MAX);
        let found = if by.is_empty() {
            (index == 0).then_some(text.as_str())
        } else {
            text.split(&by).nth(index)
        };
        say(found.unwrap_or_default())
    })?;
    add(connection, "rs_pad", 4, |a| {
        let (text, width, by, left) = (a.text(0)?, a.integer(1)?, a.text(2)?, a.integer(3)? != 0);
        let width = usize::try_from(width).unwrap_or_default();
        if width > 65_535 {
            return fail("ERROR: requested length too large");
        }
        let have = text.chars().count();
        if have >= width || by.is_empty() {
            return say(text.chars().take(width).collect::<String>());
        }
        let filling: String = by.chars().cycle().take(width - have).collect();
        say(if left {
            filling + &text
        } else {
            text + &filling
        })
    })?;
    add(connection, "rs_repeat", 2, |a| {
        let (text, times) = (a.text(0)?, a.integer(1)?.max(0));
        let times = usize::try_from(times).unwrap_or(usize::MAX);
        if text.len().saturating_mul(times) > 16_000_000 {
            return fail("ERROR: requested length too large");
        }
        say(text.repeat(times))
    })?;
    add(connection, "rs_reverse", 1, |a| {
        say(a.text(0)?.chars().rev().collect::<String>())
    })?;
    add(connection, "rs_initcap", 1, |a| {
        let mut before = ' ';
        let text = a.text(0)?;
        let capital = |c: char| {
            let starts = !before.is_alphanumeric();
            before = c;
            if starts {
                c.to_ascii_uppercase()
            } else {
                c.to_ascii_lowercase()
            }
        };
        say(text.chars().map(capital).collect::<String>())
    })?;
    add(connection, "rs_like", 4, |a| {
        let (text, pattern) = (a.text(0)?, a.text(1)?);
        let escape = a.text(2)?.chars().next();
        let (text, pattern) = if a.integer(3)? == 0 {
            (text, pattern)
        } else {
            (text.to_lowercase(), pattern.to_lowercase())
        };
        count(i64::from(like(&text, &pattern, escape)))
    })
}

/// How many characters `LEFT` and `RIGHT` take: a negative number leaves out as many.
fn taken(text: &str, asked: i64) -> usize {
    if asked >= 0 {
        return usize::try_from(asked).unwrap_or(usize::MAX);
    }
    let out = usize::try_from(asked.unsigned_abs()).unwrap_or(usize::MAX);
    text.chars().count().saturating_sub(out)
}

/// `LIKE`: `%` and `_`, by the two-pointer way, linear for all but nested stars.
fn like(text: &str, pattern: &str, escape: Option<char>) -> bool {
    #[derive(PartialEq)]
    enum Piece {
        Any,
        One,
        This(char),
    }
    let text: Vec<char> = text.chars().collect();
    let mut pieces = Vec::new();
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        pieces.push(match letter {
            _ if Some(letter) == escape => Piece::This(letters.next().unwrap_or(letter)),
            '%' => Piece::Any,
            '_' => Piece::One,
            _ => Piece::This(letter),
        });
    }
    let (mut at, mut piece) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(letter) = text.get(at) {
        match pieces.get(piece) {
            Some(Piece::Any) => {
                star = Some((piece, at));
                piece += 1;
                continue;
            }
            Some(Piece::One) => {
                (at, piece) = (at + 1, piece + 1);
                continue;
            }
            Some(Piece::This(wanted)) if wanted == letter => {
                (at, piece) = (at + 1, piece + 1);
                continue;
            }
            Some(Piece::This(_)) | None => {}
        }
        let Some((of, tried)) = star else {
            return false;
        };
        star = Some((of, tried + 1));
        (at, piece) = (tried + 1, of + 1);
    }
    pieces
        .get(piece..)
        .is_some_and(|rest| rest.iter().all(|left| *left == Piece::Any))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn like_knows_its_wildcards_and_its_escape() {
        for (text, pattern, expected) in [
            ("abc", "a%", true),
            ("abc", "%b%", true),
            ("abc", "a_c", true),
            ("abc", "a_", false),
            ("", "%", true),
            ("", "_", false),
            ("a%c", "a\\%c", true),
            ("abc", "a\\%c", false),
            ("aaaaaaaaaaaaaaaaaaaab", "%a%a%a%a%a%c", false),
            ("über", "_ber", true),
        ] {
            assert_eq!(
                like(text, pattern, Some('\\')),
                expected,
                "{text} {pattern}"
            );
        }
    }
}
