//! Decides what a statement's text asks for: `REFRESH MATERIALIZED VIEW`, `SET`, or nothing
//! that this lab can do, worded as Redshift words it.
//!
//! `sqlparser` reads everything (Redshift dialect); only `REFRESH`, which it does not know,
//! is read here from its tokens. Comments may stand anywhere. Names are folded to lower case,
//! quoted or not, as Redshift does unless `enable_case_sensitive_identifier` is on (which
//! has no effect here). Deliberately absent: running anything.

use std::time::Duration;

use sqlparser::ast::{Set, Statement};
use sqlparser::dialect::RedshiftSqlDialect;
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};

/// What a statement asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    Refresh(ViewName),
    Set(Setting),
}

/// A view as a statement names it, in lower case; the schema is `public` unless given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ViewName {
    pub(crate) database: Option<String>,
    pub(crate) schema: String,
    pub(crate) view: String,
}

impl ViewName {
    /// `schema.view`.
    pub(crate) fn id(&self) -> String {
        format!("{}.{}", self.schema, self.view)
    }
}

/// A session setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Setting {
    /// `statement_timeout`; none means no limit.
    StatementTimeout(Option<Duration>),
    /// Accepted, and without effect.
    Other,
}

/// Reads one statement; an error is the text that the statement will fail with.
pub(crate) fn parse(sql: &str) -> Result<Command, String> {
    let dialect = RedshiftSqlDialect {};
    let tokens = Tokenizer::new(&dialect, sql)
        .tokenize_with_location()
        .map_err(|error| syntax_error(sql, None, error.location))?;
    let words: Vec<&TokenWithSpan> = tokens
        .iter()
        .filter(|token| !matches!(token.token, Token::Whitespace(_) | Token::EOF))
        .collect();
    if words
        .first()
        .is_some_and(|word| is_keyword(&word.token, Keyword::REFRESH))
    {
        return Refresh {
            sql,
            words: &words,
            next: 1,
        }
        .read();
    }
    match Parser::parse_sql(&dialect, sql) {
        Ok(statements) => understand(&statements),
        Err(error) => Err(from_parser(sql, &error)),
    }
}

fn understand(statements: &[Statement]) -> Result<Command, String> {
    match statements {
        [] => Err("ERROR: syntax error at end of input".to_owned()),
        [Statement::Set(set)] => read_set(set),
        [other] => {
            let text = other.to_string();
            let verb = text.split_whitespace().next().unwrap_or_default();
            Err(format!(
                "ERROR: feature not supported: this lab runs REFRESH MATERIALIZED VIEW and SET, not {verb}"
            ))
        }
        _ => Err("ERROR: cannot insert multiple commands into a prepared statement".to_owned()),
    }
}

fn read_set(set: &Set) -> Result<Command, String> {
    let Set::SingleAssignment {
        variable, values, ..
    } = set
    else {
        return Err(format!("ERROR: feature not supported: {set}"));
    };
    if !variable
        .to_string()
        .eq_ignore_ascii_case("statement_timeout")
    {
        return Ok(Command::Set(Setting::Other));
    }
    let value = match values.as_slice() {
        [value] => value.to_string(),
        _ => String::new(),
    };
    let plain = value.trim_matches('\'');
    if plain.eq_ignore_ascii_case("default") {
        return Ok(Command::Set(Setting::StatementTimeout(None)));
    }
    match plain.parse::<u32>() {
        Ok(0) => Ok(Command::Set(Setting::StatementTimeout(None))),
        // Redshift's unit is the millisecond.
        Ok(millis) => Ok(Command::Set(Setting::StatementTimeout(Some(
            Duration::from_millis(u64::from(millis)),
        )))),
        Err(_) => Err(format!(
            "ERROR: invalid value for parameter \"statement_timeout\": \"{plain}\""
        )),
    }
}

fn is_keyword(token: &Token, keyword: Keyword) -> bool {
    matches!(token, Token::Word(word) if word.keyword == keyword && word.quote_style.is_none())
}

/// `REFRESH MATERIALIZED VIEW name [RESTRICT | CASCADE] [;]`
struct Refresh<'a> {
    sql: &'a str,
    words: &'a [&'a TokenWithSpan],
    next: usize,
}

impl Refresh<'_> {
    fn read(mut self) -> Result<Command, String> {
        self.expect(Keyword::MATERIALIZED)?;
        self.expect(Keyword::VIEW)?;
        let mut parts = vec![self.name()?];
        while self.peek().is_some_and(|token| *token == Token::Period) && parts.len() < 3 {
            self.next += 1;
            parts.push(self.name()?);
        }
        if self.peek().is_some_and(|token| {
            is_keyword(token, Keyword::RESTRICT) || is_keyword(token, Keyword::CASCADE)
        }) {
            self.next += 1;
        }
        while self.peek().is_some_and(|token| *token == Token::SemiColon) {
            self.next += 1;
        }
        if self.peek().is_some() {
            return Err(self.unexpected());
        }
        let view = parts.pop().unwrap_or_default();
        let schema = parts.pop().unwrap_or_else(|| "public".to_owned());
        Ok(Command::Refresh(ViewName {
            database: parts.pop(),
            schema,
            view,
        }))
    }

    fn peek(&self) -> Option<&Token> {
        self.words.get(self.next).map(|word| &word.token)
    }

    fn expect(&mut self, keyword: Keyword) -> Result<(), String> {
        if !self.peek().is_some_and(|token| is_keyword(token, keyword)) {
            return Err(self.unexpected());
        }
        self.next += 1;
        Ok(())
    }

    fn name(&mut self) -> Result<String, String> {
        let Some(Token::Word(word)) = self.peek() else {
            return Err(self.unexpected());
        };
        let name = word.value.to_lowercase();
        self.next += 1;
        Ok(name)
    }

    fn unexpected(&self) -> String {
        match self.words.get(self.next) {
            None => "ERROR: syntax error at end of input".to_owned(),
            Some(word) => syntax_error(self.sql, Some(&word.token.to_string()), word.span.start),
        }
    }
}

/// `sqlparser` gives the place only inside its message: "…, found: FROM at Line: 1, Column: 9".
fn from_parser(sql: &str, error: &ParserError) -> String {
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

fn syntax_error(sql: &str, found: Option<&str>, place: Location) -> String {
    let before = usize::try_from(place.line.saturating_sub(1)).unwrap_or(usize::MAX);
    let lines = sql.split_inclusive('\n').take(before);
    let offset: usize = lines.map(|line| line.chars().count()).sum();
    let position = offset + usize::try_from(place.column).unwrap_or(1);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn refresh(database: Option<&str>, schema: &str, view: &str) -> Command {
        Command::Refresh(ViewName {
            database: database.map(str::to_owned),
            schema: schema.to_owned(),
            view: view.to_owned(),
        })
    }

    #[test]
    fn every_form_of_refresh_is_understood() {
        for (sql, expected) in [
            ("REFRESH MATERIALIZED VIEW v", refresh(None, "public", "v")),
            ("refresh materialized view S.V;", refresh(None, "s", "v")),
            (
                "REFRESH MATERIALIZED VIEW \"S\".\"My-View\" RESTRICT",
                refresh(None, "s", "my-view"),
            ),
            (
                "REFRESH MATERIALIZED VIEW d.s.v CASCADE ;",
                refresh(Some("d"), "s", "v"),
            ),
            (
                "/* tidekeeper view=a */ REFRESH MATERIALIZED VIEW v",
                refresh(None, "public", "v"),
            ),
            (
                "-- why\nREFRESH /* x */ MATERIALIZED VIEW v",
                refresh(None, "public", "v"),
            ),
            (
                "REFRESH MATERIALIZED VIEW \"a\"\"b\"",
                refresh(None, "public", "a\"b"),
            ),
        ] {
            assert_eq!(parse(sql), Ok(expected), "{sql}");
        }
    }

    #[test]
    fn settings_are_understood() {
        let timeout = |millis| Setting::StatementTimeout(Some(Duration::from_millis(millis)));
        for (sql, expected) in [
            ("SET statement_timeout TO 5000", timeout(5000)),
            ("SET statement_timeout = '250'", timeout(250)),
            (
                "/* c */ SET statement_timeout TO 0",
                Setting::StatementTimeout(None),
            ),
            ("SET query_group TO 'streaming'", Setting::Other),
            (
                "SET enable_case_sensitive_identifier TO true",
                Setting::Other,
            ),
        ] {
            assert_eq!(parse(sql), Ok(Command::Set(expected)), "{sql}");
        }
    }

    #[test]
    fn what_is_not_sql_fails_with_the_place_of_the_mistake() {
        for (sql, expected) in [
            (
                "REFRESH MATERIALIZED TABLE v",
                "ERROR: syntax error at or near \"TABLE\"\n  Position: 22",
            ),
            (
                "REFRESH MATERIALIZED VIEW v\n  FROM x",
                "ERROR: syntax error at or near \"FROM\"\n  Position: 31",
            ),
            (
                "REFRESH MATERIALIZED VIEW",
                "ERROR: syntax error at end of input",
            ),
            (
                "REFRESH MATERIALIZED VIEW a.",
                "ERROR: syntax error at end of input",
            ),
            (
                "SELEKT 1",
                "ERROR: syntax error at or near \"SELEKT\"\n  Position: 1",
            ),
            (
                "SELECT FROM FROM",
                "ERROR: syntax error at or near \"FROM\"\n  Position: 13",
            ),
            ("", "ERROR: syntax error at end of input"),
        ] {
            assert_eq!(parse(sql), Err(expected.to_owned()), "{sql}");
        }
    }

    #[test]
    fn sql_that_this_floor_cannot_run_fails_with_a_feature_text() {
        let error = parse("SELECT 1").unwrap_err();
        assert!(
            error.starts_with("ERROR: feature not supported:"),
            "{error}"
        );
        let error = parse("SET a = 1; SET b = 2").unwrap_err();
        assert!(error.contains("multiple commands"), "{error}");
    }

    #[test]
    fn a_bad_timeout_is_refused() {
        let error = parse("SET statement_timeout TO 'soon'").unwrap_err();
        assert!(
            error.contains("invalid value for parameter \"statement_timeout\""),
            "{error}"
        );
    }
}
