//! The text of a refresh.
//!
//! Decides: quoting, and the comment by which an audit finds the daemon's statements.

use super::{Refresh, Session};

/// `REFRESH MATERIALIZED VIEW "schema"."view"`, led by a comment that names view and attempt.
pub(super) fn refresh(refresh: &Refresh, statement_name: &str) -> String {
    format!(
        "/* {} */ REFRESH MATERIALIZED VIEW {}",
        comment(statement_name),
        view(refresh)
    )
}

/// `"schema"."view"`.
pub(super) fn view(refresh: &Refresh) -> String {
    let schema = refresh
        .schema
        .as_ref()
        .map(|schema| format!("{}.", identifier(schema)))
        .unwrap_or_default();
    format!("{schema}{}", identifier(&refresh.name))
}

/// The settings that go before it.
pub(super) fn settings(session: &Session) -> Vec<String> {
    let mut settings = Vec::new();
    if let Some(group) = &session.query_group {
        settings.push(format!("SET query_group TO {}", literal(group)));
    }
    if session.case_sensitive {
        settings.push("SET enable_case_sensitive_identifier TO true".to_owned());
    }
    settings
}

fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// A text that cannot end the comment it stands in.
fn comment(text: &str) -> String {
    text.replace("*/", "* /").replace("/*", "/ *")
}
