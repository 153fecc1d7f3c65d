//! Decides how times and values are written: inside, in texts of one width; outside, as the
//! Data API prints them.
//!
//! The calendar is the proleptic Gregorian one (Howard Hinnant, "chrono-Compatible Low-Level
//! Date Algorithms").

use super::types::{Cell, Type};

const DAY: i64 = 86_400_000_000;

/// Year, month, day of a day since 1970.
pub(super) fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The day since 1970 of a date.
pub(super) fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let shifted_month = (month + 9) % 12;
    let of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let day_of_era = of_era * 365 + of_era / 4 - of_era / 100 + of_year;
    era * 146_097 + day_of_era - 719_468
}

/// A moment, in microseconds since 1970, as it is kept: `2026-11-23 14:02:52.000000`.
pub(crate) fn timestamp_text(us: i64) -> String {
    let (year, month, day) = civil(us.div_euclid(DAY));
    let of_day = us.rem_euclid(DAY);
    let (seconds, micros) = (of_day / 1_000_000, of_day % 1_000_000);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}.{micros:06}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// A date as it is kept.
pub(super) fn date_text(us: i64) -> String {
    let (year, month, day) = civil(us.div_euclid(DAY));
    format!("{year:04}-{month:02}-{day:02}")
}

/// Reads a date or a timestamp in any of the usual forms, a zone included, into microseconds
/// since 1970, UTC.
pub(super) fn read_timestamp(text: &str) -> Option<i64> {
    let text = text.trim();
    let (date, time) = match text.find(['T', ' ']) {
        Some(at) => (text.get(..at)?, text.get(at + 1..)?.trim()),
        None => (text, ""),
    };
    let separator = if date.contains('/') { '/' } else { '-' };
    let mut parts = date.split(separator);
    let mut next = || parts.next()?.parse::<i64>().ok();
    let (mut year, mut month, mut day) = match (next(), next(), next()) {
        (Some(year), Some(month), Some(day)) => (year, month, day),
        (Some(compact), None, None) if date.len() == 8 => {
            (compact / 10_000, compact / 100 % 100, compact % 100)
        }
        (_, _, _) => return None,
    };
    if separator == '/' {
        // mm/dd/yyyy
        (year, month, day) = (day, year, month);
    }
    if parts.next().is_some()
        || !(1..=12).contains(&month)
        || !(1..=31).contains(&day)
        || !(1..=9999).contains(&year)
        || civil(days(year, month, day)) != (year, month, day)
    {
        return None;
    }
    let midnight = days(year, month, day) * DAY;
    if time.is_empty() {
        return Some(midnight);
    }
    let (clock, zone) = split_zone(time);
    Some(midnight + read_time(clock)? - zone?)
}

/// A clock's text, and the offset of the zone after it in microseconds.
fn split_zone(time: &str) -> (&str, Option<i64>) {
    if let Some(clock) = time
        .strip_suffix('Z')
        .or_else(|| time.strip_suffix("UTC"))
        .or_else(|| time.strip_suffix("utc"))
    {
        return (clock.trim_end(), Some(0));
    }
    let Some(at) = time.rfind(['+', '-']) else {
        return (time, Some(0));
    };
    let (clock, zone) = time.split_at(at);
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let digits: String = zone.chars().filter(char::is_ascii_digit).collect();
    let number: Option<i64> = digits.parse().ok();
    let minutes = match (number, digits.len()) {
        (Some(hours), 1 | 2) => Some(hours * 60),
        (Some(both), 3 | 4) => Some(both / 100 * 60 + both % 100),
        (_, _) => None,
    };
    (
        clock.trim_end(),
        minutes.map(|minutes| sign * minutes * 60_000_000),
    )
}

/// Microseconds since midnight.
pub(super) fn read_time(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut parts = whole.split(':');
    let hours: i64 = parts.next()?.parse().ok()?;
    let minutes: i64 = parts.next().unwrap_or("0").parse().ok()?;
    let seconds: i64 = parts.next().unwrap_or("0").parse().ok()?;
    if parts.next().is_some()
        || !(0..=24).contains(&hours)
        || !(0..60).contains(&minutes)
        || !(0..=60).contains(&seconds)
    {
        return None;
    }
    let micros: i64 = format!("{:0<6}", fraction.get(..fraction.len().min(6))?)
        .parse()
        .ok()?;
    Some(((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + micros)
}

/// A value the way the Data API prints it; a null is empty.
pub(crate) fn output(cell: &Cell, ty: Type) -> String {
    match cell {
        Cell::Null => String::new(),
        Cell::Bool(value) => value.to_string(),
        Cell::Int(value) => match ty {
            Type::Bool => (*value != 0).to_string(),
            _ => value.to_string(),
        },
        Cell::Float(value) => value.to_string(),
        Cell::Bytes(bytes) => hex(bytes),
        Cell::Text(text) => match ty {
            Type::Timestamp | Type::Time => short(text).to_owned(),
            Type::TimestampTz => format!("{}+00", short(text)),
            Type::Char(width) => {
                let width = usize::try_from(width).unwrap_or_default();
                format!("{text:<width$}")
            }
            Type::Interval => interval_output(text),
            _ => text.clone(),
        },
    }
}

/// Without the zeros that a fraction ends in, and without an empty fraction.
fn short(text: &str) -> &str {
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        text
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing into a string cannot fail.
        let written = write!(text, "{byte:02x}");
        debug_assert!(written.is_ok());
        text
    })
}

/// An interval is kept as `months|microseconds`.
pub(super) fn read_interval(text: &str) -> (i64, i64) {
    let (months, micros) = text.split_once('|').unwrap_or(("0", text));
    (
        months.parse().unwrap_or_default(),
        micros.parse().unwrap_or_default(),
    )
}

fn interval_output(text: &str) -> String {
    let (months, micros) = read_interval(text);
    let (days, rest) = (micros / DAY, micros % DAY);
    let mut parts = Vec::new();
    if months != 0 {
        parts.push(format!("{months} mons"));
    }
    if days != 0 {
        parts.push(format!("{days} days"));
    }
    if rest != 0 || parts.is_empty() {
        let (seconds, fraction) = (rest.abs() / 1_000_000, rest.abs() % 1_000_000);
        let clock = format!(
            "{}{:02}:{:02}:{:02}.{fraction:06}",
            if rest < 0 { "-" } else { "" },
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60
        );
        parts.push(short(&clock).to_owned());
    }
    parts.join(" ")
}

/// Reads `1 hour 30 minutes`, `90 seconds`, `2`, `1:30:00`; a bare number is of `unit`.
pub(super) fn interval_of(text: &str, unit: &str) -> Option<(i64, i64)> {
    let (mut months, mut micros) = (0_i64, 0_i64);
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut words = words.into_iter().peekable();
    while let Some(word) = words.next() {
        if word.contains(':') {
            micros = micros.checked_add(read_time(word)?)?;
            continue;
        }
        let end = word
            .find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | '-' | '+'))
            .unwrap_or(word.len());
        let (number, mut named) = word.split_at(end);
        if named.is_empty() {
            named = words
                .next_if(|next| next.starts_with(char::is_alphabetic))
                .unwrap_or(unit);
        }
        let (of_month, of_micro) = unit_size(named)?;
        let amount: f64 = number.parse().ok()?;
        months = months.checked_add(scaled(amount, of_month)?)?;
        micros = micros.checked_add(scaled(amount, of_micro)?)?;
    }
    Some((months, micros))
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "bounded before the cast"
)]
fn scaled(amount: f64, size: i64) -> Option<i64> {
    let product = amount * size as f64;
    (product.abs() < 9e18).then(|| product.round() as i64)
}

/// Months and microseconds of a unit of time.
pub(super) fn unit_size(unit: &str) -> Option<(i64, i64)> {
    let unit = unit.to_lowercase();
    let size = match unit.trim_end_matches(',') {
        "y" | "yr" | "yrs" | "year" | "years" => (12, 0),
        "qtr" | "quarter" | "quarters" => (3, 0),
        "mon" | "mons" | "month" | "months" => (1, 0),
        "w" | "week" | "weeks" => (0, 7 * DAY),
        "d" | "day" | "days" => (0, DAY),
        "h" | "hr" | "hrs" | "hour" | "hours" => (0, 3_600_000_000),
        "m" | "min" | "mins" | "minute" | "minutes" => (0, 60_000_000),
        "s" | "sec" | "secs" | "second" | "seconds" => (0, 1_000_000),
        "ms" | "msec" | "millisecond" | "milliseconds" => (0, 1_000),
        "us" | "usec" | "microsecond" | "microseconds" => (0, 1),
        _ => return None,
    };
    Some(size)
}

/// A moment some months and microseconds later; the day is the month's last where it is short.
pub(super) fn later(us: i64, months: i64, micros: i64) -> Option<i64> {
    let mut moment = us;
    if months != 0 {
        let (year, month, day) = civil(us.div_euclid(DAY));
        let counted = year
            .checked_mul(12)?
            .checked_add(month - 1)?
            .checked_add(months)?;
        let (year, month) = (counted.div_euclid(12), counted.rem_euclid(12) + 1);
        if !(1..=9999).contains(&year) {
            return None;
        }
        let last = days(year + month / 12, month % 12 + 1, 1) - days(year, month, 1);
        moment = days(year, month, day.min(last)) * DAY + us.rem_euclid(DAY);
    }
    moment.checked_add(micros)
}

/// The beginning of the unit that a moment is in.
pub(super) fn truncated(us: i64, unit: &str) -> Option<i64> {
    let day = us.div_euclid(DAY);
    let (year, month, _) = civil(day);
    let start = match unit {
        "year" => days(year, 1, 1) * DAY,
        "quarter" => days(year, (month - 1) / 3 * 3 + 1, 1) * DAY,
        "month" => days(year, month, 1) * DAY,
        // Weeks begin on Monday; 1970-01-01 was a Thursday.
        "week" => (day - (day + 3).rem_euclid(7)) * DAY,
        _ => {
            let (_, size) = unit_size(unit).filter(|(months, _)| *months == 0)?;
            us.div_euclid(size) * size
        }
    };
    Some(start)
}

/// How many boundaries of a unit lie between two moments, as `DATEDIFF` counts.
pub(super) fn boundaries(unit: &str, from: i64, to: i64) -> Option<i64> {
    let (months, size) = unit_size(unit)?;
    if months > 0 {
        let count = |us: i64| {
            let (year, month, _) = civil(us.div_euclid(DAY));
            (year * 12 + month - 1).div_euclid(months)
        };
        return Some(count(to) - count(from));
    }
    if size == 7 * DAY {
        // Redshift's weeks begin on Sunday here.
        let week = |us: i64| (us.div_euclid(DAY) + 4).div_euclid(7);
        return Some(week(to) - week(from));
    }
    Some(to.div_euclid(size) - from.div_euclid(size))
}

/// One field of a moment.
pub(super) fn field(us: i64, unit: &str) -> Option<f64> {
    let day = us.div_euclid(DAY);
    let (year, month, date) = civil(day);
    let of_day = us.rem_euclid(DAY);
    let whole = match unit {
        "year" | "years" | "y" | "yr" => year,
        "quarter" | "qtr" => (month - 1) / 3 + 1,
        "month" | "months" | "mon" => month,
        "day" | "days" | "d" => date,
        "dow" | "dayofweek" | "weekday" => (day + 4).rem_euclid(7),
        "doy" | "dayofyear" => day - days(year, 1, 1) + 1,
        "week" | "weeks" | "w" => {
            let thursday = day - (day + 3).rem_euclid(7) + 3;
            let (of, _, _) = civil(thursday);
            (thursday - days(of, 1, 1)) / 7 + 1
        }
        "hour" | "hours" | "h" | "hr" => of_day / 3_600_000_000,
        "minute" | "minutes" | "m" | "min" => of_day / 60_000_000 % 60,
        "second" | "seconds" | "s" | "sec" => of_day / 1_000_000 % 60,
        "millisecond" | "milliseconds" | "ms" => of_day / 1_000 % 60_000,
        "microsecond" | "microseconds" | "us" => of_day % 60_000_000,
        "epoch" => return Some(ratio(us, 1_000_000)),
        _ => return None,
    };
    Some(ratio(whole, 1))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a time in seconds, as Redshift gives it"
)]
fn ratio(one: i64, other: i64) -> f64 {
    one as f64 / other as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_go_there_and_back() {
        for text in [
            "1970-01-01 00:00:00.000000",
            "2026-11-23 14:02:52.123456",
            "2000-02-29 23:59:59.999999",
            "1969-12-31 23:59:59.000001",
        ] {
            assert_eq!(
                read_timestamp(text).map(timestamp_text).as_deref(),
                Some(text)
            );
        }
    }

    #[test]
    fn every_usual_form_of_a_time_is_read() {
        for text in [
            "2026-11-23T14:02:52Z",
            "2026-11-23 14:02:52",
            "2026-11-23 15:02:52+01",
            "2026-11-23 14:02:52.000 UTC",
            "11/23/2026 14:02:52",
            "20261123 14:02:52",
        ] {
            assert_eq!(
                read_timestamp(text).map(timestamp_text).as_deref(),
                Some("2026-11-23 14:02:52.000000"),
                "{text}"
            );
        }
        for text in [
            "",
            "soon",
            "2026-13-01",
            "2026-02-30",
            "2026-01-01 25:00",
            "1-2-3-4",
        ] {
            assert_eq!(read_timestamp(text), None, "{text}");
        }
    }

    #[test]
    fn a_month_later_is_the_same_day_or_the_last() {
        let at = |text: &str| read_timestamp(text).unwrap();
        assert_eq!(later(at("2026-01-31"), 1, 0), Some(at("2026-02-28")));
        assert_eq!(later(at("2026-12-15"), 1, 0), Some(at("2027-01-15")));
        assert_eq!(later(at("2026-03-31"), -1, 0), Some(at("2026-02-28")));
        assert_eq!(later(at("9999-12-31"), 12, 0), None);
    }

    #[test]
    fn values_are_printed_as_the_data_api_prints_them() {
        let text = |text: &str| Cell::Text(text.to_owned());
        for (cell, ty, expected) in [
            (
                text("2026-11-23 14:02:52.500000"),
                Type::Timestamp,
                "2026-11-23 14:02:52.5",
            ),
            (
                text("2026-11-23 14:02:50.000000"),
                Type::Timestamp,
                "2026-11-23 14:02:50",
            ),
            (
                text("2026-11-23 14:02:50.000000"),
                Type::TimestampTz,
                "2026-11-23 14:02:50+00",
            ),
            (text("ab"), Type::Char(4), "ab  "),
            (Cell::Bytes(vec![0xab, 1]), Type::Varbyte(8), "ab01"),
            (text("0|5400000000"), Type::Interval, "01:30:00"),
            (text("1|86400000000"), Type::Interval, "1 mons 1 days"),
        ] {
            assert_eq!(output(&cell, ty), expected);
        }
    }

    #[test]
    fn intervals_are_read_in_words_and_clocks() {
        let hour = 3_600_000_000;
        for (text, unit, expected) in [
            ("1 hour", "second", Some((0, hour))),
            ("1 hour 30 minutes", "second", Some((0, hour + hour / 2))),
            ("1:30:00", "second", Some((0, hour + hour / 2))),
            ("90", "minute", Some((0, hour + hour / 2))),
            ("2 months", "second", Some((2, 0))),
            ("-15 min", "second", Some((0, -hour / 4))),
            ("x hours", "second", None),
            ("3 parsecs", "second", None),
        ] {
            assert_eq!(interval_of(text, unit), expected, "{text}");
        }
    }
}
