//! Tables beside a scenario file: lines of a time and a number.
//!
//! Decides: what such a line is; every mistake with its line.

use std::path::Path;

use tidekeeper_scheduler::{Span, Timestamp};

use crate::file::{ScenarioError, read};

/// Lines as in `heading` (`t_s,bytes`), with or without that heading, in order of time.
pub(crate) fn read_rows(
    path: &Path,
    heading: &str,
) -> Result<Vec<(Timestamp, f64)>, ScenarioError> {
    let text = read(path)?;
    let mut rows: Vec<(Timestamp, f64)> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim().is_empty() || (number == 0 && line.trim() == heading) {
            continue;
        }
        let wrong = |message: String| ScenarioError::Wrong {
            path: path.to_owned(),
            line: number + 1,
            column: 1,
            message,
        };
        let row = line
            .split_once(',')
            .and_then(|(at, value)| Some((not_negative(at)?, not_negative(value)?)));
        let (at, value) =
            row.ok_or_else(|| wrong(format!("a line is `{heading}`, both not negative")))?;
        let at = Timestamp::default() + Span::from_secs_f64(at);
        if rows.last().is_some_and(|before| before.0 > at) {
            return Err(wrong("the records are not in order of time".to_owned()));
        }
        rows.push((at, value));
    }
    Ok(rows)
}

fn not_negative(text: &str) -> Option<f64> {
    let number: f64 = text.trim().parse().ok()?;
    (number.is_finite() && number >= 0.0).then_some(number)
}
