//! Decides what the functions of times and intervals compute.

use rusqlite::types::Value;
use rusqlite::{Connection, Result};

use super::functions::{add, count, fail, say, whole};
use super::value::{
    boundaries, date_text, field, later, read_interval, read_timestamp, timestamp_text, truncated,
};

pub(super) fn install(connection: &Connection) -> Result<()> {
    times(connection)?;
    intervals(connection)
}

fn times(connection: &Connection) -> Result<()> {
    add(connection, "rs_timestamp", 1, |a| {
        say(timestamp_text(a.moment(0)?))
    })?;
    add(connection, "rs_date", 1, |a| {
        let text = a.text(0)?;
        read_timestamp(&text).map_or_else(
            || {
                fail(format!(
                    "ERROR: invalid input syntax for type date: \"{text}\""
                ))
            },
            |us| say(date_text(us)),
        )
    })?;
    add(connection, "rs_epoch", 1, |a| {
        say(timestamp_text(a.integer(0)?.saturating_mul(1_000_000)))
    })?;
    add(connection, "rs_datediff", 3, |a| {
        let unit = a.text(0)?.to_lowercase();
        boundaries(&unit, a.moment(1)?, a.moment(2)?).map_or_else(
            || fail(format!("ERROR: date part \"{unit}\" is not supported")),
            count,
        )
    })?;
    add(connection, "rs_date_trunc", 2, |a| {
        let unit = a.text(0)?.to_lowercase();
        let unit = if unit == "qtr" {
            "quarter"
        } else {
            unit.as_str()
        };
        truncated(a.moment(1)?, unit).map_or_else(
            || fail(format!("ERROR: timestamp units \"{unit}\" not recognized")),
            |us| say(timestamp_text(us)),
        )
    })?;
    add(connection, "rs_date_part", 2, |a| {
        let unit = a.text(0)?.to_lowercase();
        field(a.moment(1)?, &unit).map_or_else(
            || fail(format!("ERROR: timestamp units \"{unit}\" not recognized")),
            |value| Ok(Some(Value::Real(value))),
        )
    })?;
    Ok(())
}

fn intervals(connection: &Connection) -> Result<()> {
    // rs_later(timestamp, interval, sign)
    add(connection, "rs_later", 3, |a| {
        let (months, micros) = read_interval(&a.text(1)?);
        let sign = a.integer(2)?;
        later(a.moment(0)?, months * sign, micros * sign).map_or_else(
            || fail("ERROR: timestamp out of range"),
            |us| say(timestamp_text(us)),
        )
    })?;
    add(connection, "rs_between", 2, |a| {
        say(format!("0|{}", a.moment(0)? - a.moment(1)?))
    })?;
    // rs_interval(left, right, sign): of two intervals
    add(connection, "rs_interval", 3, |a| {
        let ((months, micros), (more, further)) =
            (read_interval(&a.text(0)?), read_interval(&a.text(1)?));
        let sign = a.integer(2)?;
        say(format!(
            "{}|{}",
            months + more * sign,
            micros + further * sign
        ))
    })?;
    // rs_interval_times(interval, factor)
    add(connection, "rs_interval_times", 2, |a| {
        let (months, micros) = read_interval(&a.text(0)?);
        let factor = a.float(1)?;
        let scaled =
            |value: i64| whole(product(value, factor), i64::MIN, i64::MAX).unwrap_or_default();
        say(format!("{}|{}", scaled(months), scaled(micros)))
    })?;
    add(connection, "rs_interval_seconds", 1, |a| {
        let (months, micros) = read_interval(&a.text(0)?);
        Ok(Some(Value::Real(
            product(months * 30 * 86_400, 1.0) + product(micros, 1e-6),
        )))
    })?;
    add(connection, "rs_interval_read", 2, |a| {
        let (text, unit) = (a.text(0)?, a.text(1)?);
        super::value::interval_of(&text, &unit).map_or_else(
            || {
                fail(format!(
                    "ERROR: invalid input syntax for type interval: \"{text}\""
                ))
            },
            |(months, micros)| say(format!("{months}|{micros}")),
        )
    })?;
    add(connection, "rs_to_char", 2, |a| {
        let pattern = a.text(1)?;
        say(super::to_char::write(a.moment(0)?, &pattern))
    })
}

#[expect(clippy::cast_precision_loss, reason = "a factor is a float anyway")]
fn product(value: i64, factor: f64) -> f64 {
    value as f64 * factor
}
