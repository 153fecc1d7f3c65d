//! Decides what a statement's text asks for, or how it fails, worded as Redshift words it.
//!
//! `sqlparser` (Redshift dialect) reads queries and settings; what it does not know
//! (`REFRESH`, external schemas, the attributes of materialized views) is read from its
//! tokens in `ddl`. Comments may stand anywhere. Names are folded to lower case, quoted or
//! not, as Redshift does; only the name of a stream keeps its case, for the statement that
//! has `enable_case_sensitive_identifier` on. Deliberately absent: running anything.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "SQL has hundreds of kinds of tokens and statements"
)]

mod ddl;
mod error;
#[cfg(test)]
mod tests;
mod words;

use std::time::Duration;

use sqlparser::ast::{Query, Set, Statement};
use sqlparser::dialect::RedshiftSqlDialect;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use words::Words;

/// What a statement asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    Refresh(ViewName),
    Set(Setting),
    Select(Box<Query>),
    CreateExternalSchema(ExternalSchema),
    CreateView(Box<CreateView>),
    DropView {
        name: ViewName,
        if_exists: bool,
        cascade: bool,
    },
    CreateSchema {
        name: String,
        if_not_exists: bool,
    },
    DropSchema {
        name: String,
        if_exists: bool,
        cascade: bool,
    },
    AutoRefresh {
        name: ViewName,
        on: bool,
    },
    /// Users, grants, comments and housekeeping: accepted, and without effect.
    Accepted,
}

impl Command {
    /// The word that `SYS_QUERY_HISTORY.query_type` has for it.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Select(_) => "SELECT",
            Self::Refresh(_)
            | Self::CreateExternalSchema(_)
            | Self::CreateView(_)
            | Self::DropView { .. }
            | Self::CreateSchema { .. }
            | Self::DropSchema { .. }
            | Self::AutoRefresh { .. } => "DDL",
            Self::Set(_) | Self::Accepted => "UTILITY",
        }
    }
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
    /// `enable_case_sensitive_identifier`.
    CaseSensitive(bool),
    /// Accepted, and without effect.
    Other,
}

/// `CREATE EXTERNAL SCHEMA name FROM …`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExternalSchema {
    pub(crate) name: String,
    pub(crate) if_not_exists: bool,
    pub(crate) source: SchemaSource,
    /// What stands in `IAM_ROLE`, as written; none for `default` or no clause.
    pub(crate) iam_role: Option<String>,
}

/// Where the streams of an external schema are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SchemaSource {
    Kinesis {
        region: Option<String>,
    },
    /// Kafka or MSK: the brokers, as written.
    Kafka {
        uri: String,
    },
}

/// `CREATE MATERIALIZED VIEW … AS query`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CreateView {
    pub(crate) name: ViewName,
    pub(crate) auto_refresh: bool,
    pub(crate) query: Query,
    /// The query as it was written.
    pub(crate) text: String,
}

/// Reads one statement; an error is the text that the statement will fail with.
pub(crate) fn parse(sql: &str) -> Result<Command, String> {
    let dialect = RedshiftSqlDialect {};
    let tokens = Tokenizer::new(&dialect, sql)
        .tokenize_with_location()
        .map_err(|error| error::syntax_error(sql, None, error.location))?;
    let words: Vec<TokenWithSpan> = tokens
        .into_iter()
        .filter(|token| !matches!(token.token, Token::Whitespace(_) | Token::EOF))
        .collect();
    let depth: usize = words.iter().map(|word| depth(&word.token)).sum();
    if depth > DEEPEST {
        return Err("ERROR: stack depth limit exceeded".to_owned());
    }
    if let Some(command) = ddl::read(Words::new(sql, &words))? {
        return Ok(command);
    }
    match Parser::parse_sql(&dialect, sql) {
        Ok(statements) => understand(&statements),
        Err(error) => Err(error::from_parser(sql, &error)),
    }
}

/// How deep a statement may be: trees of operators are as deep as their chains are long, and
/// are cloned and dropped recursively.
const DEEPEST: usize = 1_000;

/// What a token adds at most: a set operation is a tree of queries, which are large.
fn depth(token: &Token) -> usize {
    match token {
        Token::Word(word) if word.quote_style.is_none() => {
            let is = |keyword: &str| word.value.eq_ignore_ascii_case(keyword);
            if ["UNION", "EXCEPT", "INTERSECT", "MINUS"]
                .iter()
                .any(|k| is(k))
            {
                20
            } else {
                usize::from(["AND", "OR", "IS"].iter().any(|k| is(k)))
            }
        }
        Token::Plus
        | Token::Minus
        | Token::Mul
        | Token::Div
        | Token::Mod
        | Token::Eq
        | Token::Neq
        | Token::Lt
        | Token::LtEq
        | Token::Gt
        | Token::GtEq
        | Token::StringConcat
        | Token::DoubleColon => 1,
        _ => 0,
    }
}

/// Puts the values of named parameters where the text names them, as `:name`.
pub(crate) fn bind(sql: &str, parameters: &[(String, String)]) -> String {
    let tokens = Tokenizer::new(&RedshiftSqlDialect {}, sql).tokenize();
    let (false, Ok(tokens)) = (parameters.is_empty(), tokens) else {
        return sql.to_owned();
    };
    let mut bound = String::new();
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let named = if let (Token::Colon, Some(Token::Word(word))) = (&token, tokens.peek()) {
            Some(word.value.clone())
        } else if let Token::Placeholder(name) = &token {
            name.strip_prefix(':').map(str::to_owned)
        } else {
            None
        };
        let value = parameters
            .iter()
            .find(|(name, _)| Some(name) == named.as_ref())
            .map(|(_, value)| Token::SingleQuotedString(value.replace('\'', "''")));
        if value.is_some() && token == Token::Colon {
            tokens.next();
        }
        bound.push_str(&value.unwrap_or(token).to_string());
    }
    bound
}

/// Reads a view's defining query, for those that stand in a world.
pub(crate) fn parse_query(sql: &str) -> Result<Query, String> {
    let command = parse(sql)?;
    if let Command::Select(query) = command {
        return Ok(*query);
    }
    Err(format!("ERROR: {} is not a query", command.kind()))
}

fn understand(statements: &[Statement]) -> Result<Command, String> {
    match statements {
        [] => Err("ERROR: syntax error at end of input".to_owned()),
        [Statement::Set(set)] => read_set(set),
        [Statement::Query(query)] => Ok(Command::Select(query.clone())),
        [other] => {
            let text = other.to_string();
            let verb = text.split_whitespace().next().unwrap_or_default();
            Err(format!(
                "ERROR: feature not supported: this lab does not run {verb}"
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
    let value = match values.as_slice() {
        [value] => value.to_string(),
        _ => String::new(),
    };
    let plain = value.trim_matches('\'');
    let name = variable.to_string().to_lowercase();
    let setting = match name.as_str() {
        "statement_timeout" => statement_timeout(plain),
        "enable_case_sensitive_identifier" => {
            read_bool(plain).map(|on| Setting::CaseSensitive(on.unwrap_or(false)))
        }
        _ => Some(Setting::Other),
    };
    setting
        .map(Command::Set)
        .ok_or_else(|| format!("ERROR: invalid value for parameter \"{name}\": \"{plain}\""))
}

/// Redshift's unit is the millisecond.
fn statement_timeout(plain: &str) -> Option<Setting> {
    if plain.eq_ignore_ascii_case("default") {
        return Some(Setting::StatementTimeout(None));
    }
    let millis: u32 = plain.parse().ok()?;
    let limit = (millis > 0).then(|| Duration::from_millis(u64::from(millis)));
    Some(Setting::StatementTimeout(limit))
}

/// The inner none is `default`.
fn read_bool(plain: &str) -> Option<Option<bool>> {
    match plain.to_lowercase().as_str() {
        "default" => Some(None),
        "true" | "on" | "yes" | "1" => Some(Some(true)),
        "false" | "off" | "no" | "0" => Some(Some(false)),
        _ => None,
    }
}
