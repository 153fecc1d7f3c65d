//! What `SYS_MV_REFRESH_HISTORY.status` says a refresh did.
//!
//! Decides: which of the documented texts means what (Database Developer Guide,
//! `SVL_MV_REFRESH_STATUS`). A text is a base and qualifiers; what no rule knows is handed on
//! as it stands. Deliberately absent: what a failure's words mean (`classify`), and what
//! follows from an outcome (the scheduler's).

use std::sync::Arc;

use tidekeeper_scheduler::{Failure, Outcome, Timestamp};

use super::classify;

/// A status, read.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Status {
    /// What the refresh did, or why it did not.
    pub(super) result: Result<Outcome, Failure>,
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

/// Numbers below zero stand for failures; these are known, with the texts that
/// `SVL_MV_REFRESH_STATUS` itself has for them (Redshift Observatory, release 1.0.116263).
const CODES: [(i64, &str); 10] = [
    (-10, "Table changed"),
    (-11, "A base table schema was renamed"),
    (-12, "A base table has been RLS-protected"),
    (-13, "An external base table schema was not found"),
    (-14, "An external database was not found"),
    (-15, "An external base table was not found"),
    (-16, "A base table is protected by dynamic data masking"),
    (-17, "Related Zero-ETL table is not accessible"),
    (-18, "Related Zero-ETL table has changed to History mode"),
    (-19, "Zero-ETL history mode tables are not supported"),
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
        return failed(text, None);
    }
    if let Ok(number) = text.parse::<i64>()
        && number < 0
    {
        return match CODES.iter().find(|(code, _)| *code == number) {
            Some((_, meaning)) => failed(&format!("Refresh failed. {meaning} ({number})"), None),
            None => failed(&format!("Refresh failed ({number})"), Some(text)),
        };
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

fn failed(text: &str, unknown: Option<&str>) -> Status {
    Status {
        result: Err(classify::statement_error(false, text)),
        unknown: unknown.map(Into::into),
        stale_parent: false,
    }
}

#[cfg(test)]
mod tests {
    use tidekeeper_scheduler::FailureClass::{Permanent, Transient, Unknown};

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
    fn a_refresh_that_did_not_take_place_says_why_and_what_class_of_failure_it_is() {
        let cascade = "because materialized view connection.overflow was not refreshed.";
        for (text, class) in [
            (
                "Refresh failed. Serializable isolation violation",
                Transient,
            ),
            ("Refresh failed due to an internal error", Transient),
            (
                "Auto refresh aborted due to excessive user workload",
                Transient,
            ),
            (
                &format!("Cascade automatic refresh skipped {cascade}"),
                Transient,
            ),
            (&format!("Cascade refresh skipped {cascade}"), Transient),
            (
                &format!("Cascade automatic refresh failed {cascade}"),
                Transient,
            ),
            (&format!("Cascade refresh failed {cascade}"), Transient),
            ("Refresh failed. MV was not found", Permanent),
            ("Refresh failed. Schema of MV was renamed", Permanent),
            ("Refresh failed. A base table was renamed", Permanent),
            ("Refresh failed. A base table column was renamed", Permanent),
            ("Refresh failed. A base table column was dropped", Permanent),
            (
                "Refresh failed. A base table column type was changed",
                Permanent,
            ),
            ("Refresh failed. A base table schema was renamed", Permanent),
            ("Refresh failed: the moon was full", Unknown),
        ] {
            let status = read(text, None);
            let failure = status.result.unwrap_err();
            assert_eq!((&*failure.message, failure.class), (text, class));
            assert!(class != Permanent || failure.mend.is_some(), "{text}");
            assert_eq!(status.unknown, None, "{text}");
        }
    }

    #[test]
    fn a_number_below_zero_is_a_failure_known_or_not() {
        for (code, class) in [
            ("-10", Unknown),
            ("-11", Permanent),
            ("-12", Permanent),
            ("-13", Permanent),
            ("-14", Permanent),
            ("-15", Permanent),
            ("-16", Permanent),
            ("-17", Unknown),
            ("-18", Permanent),
            ("-19", Permanent),
        ] {
            let status = read(code, None);
            let failure = status.result.unwrap_err();
            assert_eq!(failure.class, class, "{failure:?}");
            assert!(failure.message.contains(code), "{failure:?}");
            assert_eq!(status.unknown, None, "{code}");
        }
        let unknown = read(" -42 ", None);
        assert_eq!(unknown.result.unwrap_err().class, Unknown);
        assert_eq!(unknown.unknown.as_deref(), Some("-42"));
        assert_eq!(read("7", None).unknown.as_deref(), Some("7"));
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
