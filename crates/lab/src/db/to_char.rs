//! Decides how `TO_CHAR` writes a moment: the usual parts of a pattern, everything else as it
//! stands.

use super::value::{civil, field};

/// The parts, longest first where one begins another.
const PARTS: [&str; 16] = [
    "YYYY", "HH24", "HH12", "MONTH", "MON", "DDD", "DAY", "YY", "MM", "DD", "HH", "MI", "SS", "MS",
    "US", "AM",
];

const MONTHS: [&str; 12] = [
    "JANUARY",
    "FEBRUARY",
    "MARCH",
    "APRIL",
    "MAY",
    "JUNE",
    "JULY",
    "AUGUST",
    "SEPTEMBER",
    "OCTOBER",
    "NOVEMBER",
    "DECEMBER",
];

const DAYS: [&str; 7] = [
    "SUNDAY",
    "MONDAY",
    "TUESDAY",
    "WEDNESDAY",
    "THURSDAY",
    "FRIDAY",
    "SATURDAY",
];

/// Writes a moment, in microseconds since 1970.
pub(super) fn write(us: i64, pattern: &str) -> String {
    let mut text = String::new();
    let mut rest = pattern;
    while let Some(letter) = rest.chars().next() {
        if letter == '"' {
            let inner = rest.get(1..).unwrap_or_default();
            let end = inner.find('"').unwrap_or(inner.len());
            text.push_str(inner.get(..end).unwrap_or_default());
            rest = inner.get(end + 1..).unwrap_or_default();
            continue;
        }
        let upper = rest.to_ascii_uppercase();
        match PARTS.iter().find(|part| upper.starts_with(**part)) {
            Some(part) => {
                text.push_str(&write_part(us, part));
                rest = rest.get(part.len()..).unwrap_or_default();
            }
            None => {
                text.push(letter);
                rest = rest.get(letter.len_utf8()..).unwrap_or_default();
            }
        }
    }
    text
}

fn write_part(us: i64, part: &str) -> String {
    let (year, month, day) = civil(us.div_euclid(86_400_000_000));
    let of = |unit: &str| field(us, unit).unwrap_or_default();
    let hour = of("hour");
    let twelve = if hour % 12.0 < 1.0 { 12.0 } else { hour % 12.0 };
    let name = |names: &[&str], index: i64| {
        let found = usize::try_from(index).ok().and_then(|at| names.get(at));
        found.copied().unwrap_or_default().to_owned()
    };
    match part {
        "YYYY" => format!("{year:04}"),
        "YY" => format!("{:02}", year % 100),
        "MM" => format!("{month:02}"),
        "MONTH" => name(&MONTHS, month - 1),
        "MON" => name(&MONTHS, month - 1).chars().take(3).collect(),
        "DD" => format!("{day:02}"),
        "DDD" => format!("{:03.0}", of("doy")),
        "DAY" => name(&DAYS, (us.div_euclid(86_400_000_000) + 4).rem_euclid(7)),
        "HH24" => format!("{hour:02.0}"),
        "HH12" | "HH" => format!("{twelve:02.0}"),
        "MI" => format!("{:02.0}", of("minute")),
        "SS" => format!("{:02.0}", of("second")),
        "MS" => format!("{:03.0}", of("millisecond") % 1_000.0),
        "US" => format!("{:06.0}", of("microsecond") % 1_000_000.0),
        "AM" => (if hour < 12.0 { "AM" } else { "PM" }).to_owned(),
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::value::read_timestamp;

    #[test]
    fn the_usual_patterns_are_written() {
        let us = read_timestamp("2026-11-23 14:02:52.123456").unwrap();
        for (pattern, expected) in [
            ("YYYY-MM-DD HH24:MI:SS", "2026-11-23 14:02:52"),
            ("YYYY-MM-DD\"T\"HH24:MI:SS.MS", "2026-11-23T14:02:52.123"),
            ("DD Mon YY, HH12:MI AM", "23 NOV 26, 02:02 PM"),
            ("é YYYY", "é 2026"),
        ] {
            assert_eq!(super::write(us, pattern), expected);
        }
    }
}
