//! Decides how a text that is not SQL fails: Redshift's words, and the place of the mistake.

use sqlparser::parser::ParserError;
use sqlparser::tokenizer::Location;

/// `sqlparser` gives the place only inside its message: "…, found: FROM at Line: 1, Column: 9".
pub(super) fn from_parser(sql: &str, error: &ParserError) -> String {
    let message = error.to_string();
    let number = |label: &str| {
        let (_, rest) = message.rsplit_once(label)?;
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u64>().ok()
    };
    let found = message
        .rsplit_once("found: ")
        .map(|(_, rest)| rest.split(" at Line: ").next().unwrap_or(rest).to_owned());
    match (found, number("Line: "), number("Column: ")) {
        (Some(found), Some(line), Some(column)) if found != "EOF" => {
            syntax_error(sql, Some(&found), Location { line, column })
        }
        (Some(_), _, _) => "ERROR: syntax error at end of input".to_owned(),
        (None, _, _) => {
            let place = Location { line: 1, column: 1 };
            syntax_error(sql, sql.split_whitespace().next(), place)
        }
    }
}

pub(super) fn syntax_error(sql: &str, found: Option<&str>, place: Location) -> String {
    let position = offset(sql, place) + 1;
    let found = match found {
        Some(found) => found.to_owned(),
        None => sql
            .chars()
            .nth(position.saturating_sub(1))
            .map(String::from)
            .unwrap_or_default(),
    };
    format!("ERROR: syntax error at or near \"{found}\"\n  Position: {position}")
}

/// How many characters stand before `place`.
pub(super) fn offset(sql: &str, place: Location) -> usize {
    let before = usize::try_from(place.line.saturating_sub(1)).unwrap_or(usize::MAX);
    let lines = sql.split_inclusive('\n').take(before);
    let above: usize = lines.map(|line| line.chars().count()).sum();
    above + usize::try_from(place.column.saturating_sub(1)).unwrap_or_default()
}
