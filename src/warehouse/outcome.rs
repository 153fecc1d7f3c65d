//! What `SYS_MV_REFRESH_HISTORY.status` says a refresh did.
//!
//! Decides: which of the documented texts means what (Database Developer Guide,
//! `SVL_MV_REFRESH_STATUS`). A text is a base and qualifiers; what no rule knows is handed on
//! as it stands. Deliberately absent: what follows from an outcome (the scheduler's).

use std::sync::Arc;

use tidekeeper_scheduler::{Outcome, Timestamp};

/// A status, read.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Status {
    /// What the refresh did, or the text that says why it did not.
    pub(super) result: Result<Outcome, Arc<str>>,
    /// The text, where a part of it is not known.
    pub(super) unknown: Option<Arc<str>>,
    /// It says that the view stands on another one, which was not up to date.
    pub(super) stale_parent: bool,
}

/// Never `%full%`: "successfully" holds it too.
const INCREMENTALLY: &str = "refresh successfully updated mv incrementally";
const RECOMPUTED: &str = "refresh successfully recomputed mv from scratch";
const PARTIALLY: &str = "refresh partially updated mv incrementally up to an active transaction";
const ALREADY: &str = "mv was already updated";

const NO_DATA: &str = "stream returned no new data";
const MORE_DATA: &str = "the stream may contain more data";
const ALL_SKIPPED: &str = "all records received from the stream were skipped";
const SOME_SKIPPED: &str = "some stream records were skipped";
/// Two wordings of one fact: the parent has moved on meanwhile.
const BEHIND: [&str; 2] = [
    "but mv depends on an mv that is not up to date",
    "but depends on an mv that is not up to date",
];

/// What marks a refresh that did not take place.
const FAILED: [&str; 3] = ["refresh failed", "refresh skipped", "refresh aborted"];

/// Numbers that stand for failures (`SVL_MV_REFRESH_STATUS`'s own text, as published by the
/// Redshift Observatory).
const CODES: [(&str, &str); 7] = [
    ("-10", "a base table has changed"),
    ("-11", "a base table's schema was renamed"),
    ("-12", "a base table is protected by row-level security"),
    ("-13", "the external schema was not found"),
    ("-14", "the external database was not found"),
    ("-15", "the external table was not found"),
    ("-16", "a base table is masked dynamically"),
];

/// Reads a status; `newest` is when the newest record that was read arrived.
pub(super) fn read(text: &str, newest: Option<Timestamp>) -> Status {
    let text = text.trim();
    let lower = text.to_lowercase();
    let stale_parent = BEHIND.iter().any(|words| lower.contains(words));
    let known = |outcome| Status {
        result: Ok(outcome),
        unknown: None,
        stale_parent,
    };
    if FAILED.iter().any(|mark| lower.contains(mark)) {
        return failed(text);
    }
    if let Some((_, meaning)) = CODES.iter().find(|(code, _)| *code == text) {
        return failed(&format!("refresh failed ({text}): {meaning}"));
    }
    if lower.starts_with(RECOMPUTED) {
        return known(Outcome::Recomputed);
    }
    if lower.starts_with(PARTIALLY) {
        return known(Outcome::MoreData { up_to: None });
    }
    if lower.starts_with(ALREADY) {
        return known(Outcome::NoData);
    }
    let Some(qualifiers) = lower.strip_prefix(INCREMENTALLY) else {
        return Status {
            result: Ok(Outcome::Data),
            unknown: Some(text.into()),
            stale_parent,
        };
    };
    let has = |qualifier: &str| qualifiers.contains(qualifier);
    // Whatever else it says: what is left is fetched first.
    let outcome = if has(MORE_DATA) {
        Outcome::MoreData { up_to: newest }
    } else if has(ALL_SKIPPED) {
        Outcome::AllSkipped
    } else if has(SOME_SKIPPED) {
        Outcome::SomeSkipped
    } else if has(NO_DATA) {
        Outcome::NoData
    } else {
        Outcome::Data
    };
    let mut rest = qualifiers.to_owned();
    for qualifier in [NO_DATA, MORE_DATA, ALL_SKIPPED, SOME_SKIPPED]
        .iter()
        .chain(&BEHIND)
    {
        rest = rest.replace(qualifier, "");
    }
    let odd = rest.chars().any(char::is_alphanumeric);
    Status {
        result: Ok(outcome),
        unknown: odd.then(|| text.into()),
        stale_parent,
    }
}

fn failed(text: &str) -> Status {
    Status {
        result: Err(text.into()),
        unknown: None,
        stale_parent: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_text_is_read() {
        let more = Outcome::MoreData { up_to: None };
        let base = "Refresh successfully updated MV incrementally";
        for (text, outcome) in [
            (base.to_owned(), Outcome::Data),
            (format!("{base}   "), Outcome::Data),
            (
                format!("{base}. Stream returned no new data"),
                Outcome::NoData,
            ),
            (
                format!("{base}. Some stream records were skipped."),
                Outcome::SomeSkipped,
            ),
            (
                format!("{base}. All records received from the stream were skipped"),
                Outcome::AllSkipped,
            ),
            (format!("{base}. The stream may contain more data"), more),
            (
                format!(
                    "{base}. Some stream records were skipped. The stream may contain more data"
                ),
                more,
            ),
            (
                format!("{base}, but MV depends on an MV that is not up to date."),
                Outcome::Data,
            ),
            ("MV was already updated".to_owned(), Outcome::NoData),
            (
                "MV was already updated, but depends on an MV that is not up to date.".to_owned(),
                Outcome::NoData,
            ),
            (
                "Refresh successfully recomputed MV from scratch".to_owned(),
                Outcome::Recomputed,
            ),
            (
                "Refresh partially updated MV incrementally up to an active transaction".to_owned(),
                more,
            ),
        ] {
            let status = read(&text, None);
            assert_eq!(status.result, Ok(outcome), "{text}");
            assert_eq!(status.unknown, None, "{text}");
            assert_eq!(status.stale_parent, text.contains("depends on"), "{text}");
        }
    }

    #[test]
    fn a_refresh_that_did_not_take_place_says_why() {
        for text in [
            "Refresh failed. Serializable isolation violation",
            "Refresh failed due to an internal error",
            "Refresh failed. MV was not found",
            "Refresh failed. Base table column was renamed",
            "Auto refresh aborted due to excessive user workload",
            "Cascade automatic refresh skipped because materialized view s.n was not refreshed.",
            "Cascade refresh failed because materialized view s.n was not refreshed.",
        ] {
            assert_eq!(read(text, None), failed(text));
        }
        let coded = read("-14", None).result.unwrap_err();
        assert!(coded.contains("external database"), "{coded}");
    }

    #[test]
    fn unknown_words_are_handed_on_as_they_stand() {
        let strange = read("Refresh went sideways", None);
        assert_eq!(strange.result, Ok(Outcome::Data));
        assert_eq!(strange.unknown.as_deref(), Some("Refresh went sideways"));
        let qualified = "Refresh successfully updated MV incrementally. Moon was full";
        assert_eq!(read(qualified, None).unknown.as_deref(), Some(qualified));
        assert_eq!(read("", None).unknown.as_deref(), Some(""));
    }

    #[test]
    fn more_data_holds_up_to_the_newest_record() {
        let newest = Some(Timestamp::from_micros(7));
        let text =
            "Refresh successfully updated MV incrementally. The stream may contain more data";
        let up_to = Outcome::MoreData { up_to: newest };
        assert_eq!(read(text, newest).result, Ok(up_to));
    }
}
