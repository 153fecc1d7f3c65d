//! Tables of what errors mean, and of how statements are named and written.

use tidekeeper_scheduler::FailureClass::{self, *};

use super::classify::{Stage, service_error, stage, statement_error};
use super::form::{Form, Reach};
use super::*;

/// Code, status, message → may it have been executed, and what now.
const CALLS: [(&str, u16, &str, bool, FailureClass); 26] = [
    (
        "ThrottlingException",
        400,
        "Rate exceeded",
        false,
        Throttled,
    ),
    ("TooManyRequestsException", 429, "", false, Throttled),
    ("Weird", 429, "", false, Throttled),
    (
        "ValidationException",
        400,
        "Service returned error code ThrottlingException (Service: RedshiftServerless, Status Code: 400)",
        false,
        Throttled,
    ),
    (
        "ValidationException",
        400,
        "Redshift endpoint doesn't exist in this region.",
        false,
        Permanent,
    ),
    (
        "ValidationException",
        400,
        "Either ClusterIdentifier, WorkgroupName or SessionId must be provided.",
        false,
        Permanent,
    ),
    (
        "ValidationException",
        400,
        "Query does not exist.",
        false,
        Unknown,
    ),
    (
        "ValidationException",
        400,
        "The cluster is paused",
        false,
        Away,
    ),
    (
        "ValidationException",
        400,
        "Database name is invalid",
        false,
        Permanent,
    ),
    (
        "ActiveStatementsExceededException",
        400,
        "Too many",
        false,
        TooManyStatements,
    ),
    (
        "ActiveSessionsExceededException",
        400,
        "Too many",
        false,
        TooManyStatements,
    ),
    (
        "ActiveWaitingRequestsExceededException",
        400,
        "Too many",
        false,
        Transient,
    ),
    ("QueryTimeoutException", 400, "", true, Transient),
    (
        "ResourceNotFoundException",
        404,
        "Query does not exist.",
        false,
        Unknown,
    ),
    (
        "ExecuteStatementException",
        500,
        "environment",
        true,
        Transient,
    ),
    (
        "BatchExecuteStatementException",
        500,
        "environment",
        true,
        Transient,
    ),
    ("InternalServerException", 500, "", true, Transient),
    ("DatabaseConnectionException", 500, "", true, Transient),
    ("", 503, "", true, Transient),
    ("SomethingNew", 502, "", true, Transient),
    (
        "AccessDeniedException",
        400,
        "not authorized",
        false,
        Permanent,
    ),
    ("ExpiredTokenException", 400, "expired", false, Away),
    ("UnrecognizedClientException", 400, "", false, Away),
    ("InvalidSignatureException", 403, "", false, Away),
    ("UnknownOperationException", 404, "", false, Permanent),
    ("SomethingNew", 418, "teapot", false, Unknown),
];

#[test]
fn every_call_error_says_whether_it_happened_and_what_now() {
    for (code, status, message, maybe_executed, class) in CALLS {
        let read = service_error(code, status, message);
        assert_eq!(
            (read.maybe_executed, read.failure.class),
            (maybe_executed, class),
            "{code} {status} {message}"
        );
    }
}

#[test]
fn an_unknown_statement_is_gone_in_both_spellings() {
    for (code, status) in [
        ("ResourceNotFoundException", 404),
        ("ValidationException", 400),
    ] {
        assert!(service_error(code, status, "Query does not exist.").gone);
    }
}

#[test]
fn a_refused_wait_is_recognised_in_both_spellings() {
    let refusals = [
        ("ActiveWaitingRequestsExceededException", "too many waiters"),
        ("ValidationException", "Unknown parameter: WaitTimeSeconds"),
    ];
    for (code, message) in refusals {
        let read = service_error(code, 400, message);
        assert!(read.refuses_wait && !read.maybe_executed, "{code}");
    }
}

/// Error text → class. The texts are those of public documentation and reports.
const STATEMENTS: &[(&str, FailureClass)] = &[
    (
        "ERROR: 1023\nDETAIL: Serializable isolation violation on table - 37521601, transactions forming the cycle are: 573354047",
        Transient,
    ),
    ("ERROR: conflict with concurrent transaction", Transient),
    ("ERROR: could not open relation with OID 12345", Transient),
    (
        "Underlying table with oid (123) of view (v) does not exist",
        Transient,
    ),
    (
        "Materialized view mv could not be refreshed as a base table changed physically due to vacuum/truncate concurrently.Please try again;",
        Transient,
    ),
    (
        "Refresh failed. Serializable isolation violation",
        Transient,
    ),
    (
        "ERROR: current transaction is aborted, commands ignored until end of transaction block",
        Transient,
    ),
    ("ERROR: deadlock detected", Transient),
    ("ERROR:  Query (168) cancelled on user's request", Cancelled),
    ("ERROR:  Query (150) canceled on user's request", Cancelled),
    ("ERROR: system requested abort", Cancelled),
    ("ERROR: relation \"x\" does not exist", Permanent),
    ("ERROR: 1018 DETAIL: Relation does not exist.", Permanent),
    ("Refresh failed. MV was not found", Permanent),
    ("ERROR: schema \"s\" does not exist", Permanent),
    ("FATAL: database \"dw\" does not exist", Permanent),
    ("ERROR: column x does not exist", Permanent),
    ("Procedure <mv_sp_12_2_1> does not exist", Permanent),
    (
        "ERROR: Materialized view mv is unrefreshable as a base table was renamed.",
        Permanent,
    ),
    ("Refresh failed. A base table column was renamed", Permanent),
    ("Refresh failed. Schema of MV was renamed", Permanent),
    ("ERROR: permission denied for relation mv", Permanent),
    ("ERROR: permission denied for schema s", Permanent),
    ("ERROR: must be owner of materialized view mv", Permanent),
    (
        "ERROR: must be owner of relation orders_connection",
        Permanent,
    ),
    (
        "exception name : UnauthorizedException, error type : 135, message: Not authorized to get credentials of role arn:aws:iam::1:role/R, should retry : 0",
        Permanent,
    ),
    (
        "exception name : AccessDeniedException, message: User is not authorized to perform: kinesis:GetRecords, should retry : 0",
        Permanent,
    ),
    (
        "exception name : ResourceNotFoundException, message: Stream s under account 1 not found, should retry : 0",
        Permanent,
    ),
    ("message: no kms:Decrypt on the key", Permanent),
    (
        "ERROR: syntax error at or near \"FROM\"\n  Position: 12",
        Permanent,
    ),
    (
        "FATAL: password authentication failed for user \"u\"",
        Permanent,
    ),
    (
        "exception name : ProvisionedThroughputExceededException, message: Rate exceeded, should retry : 1",
        Away,
    ),
    ("ERROR: Broker transport failure", Away),
    ("ERROR: SSL handshake failed", Away),
    ("ERROR: Disk Full code: 1016", Away),
    ("ERROR: Query reached usage limit", Away),
    ("Cluster is paused", Away),
    ("Connection to the database failed", Away),
    ("ERROR: invalid input syntax for type numeric", Data),
    (
        "ERROR: Invalid digit, Value 'x', Pos 0, Type: Integer",
        Data,
    ),
    ("ERROR: Numeric data overflow (result precision)", Data),
    ("ERROR: value too long for type character varying(10)", Data),
    ("ERROR: JSON parsing error", Data),
    (
        "navigation on column \"payload\" is not allowed as it is not SUPER type",
        Data,
    ),
    ("ERROR: integer out of range", Data),
    ("Refresh failed due to an internal error", Transient),
    ("ERROR: internal error", Transient),
    ("ERROR: something nobody has seen yet", Unknown),
    ("", Unknown),
];

#[test]
fn every_statement_error_has_a_class() {
    for (text, class) in STATEMENTS {
        assert_eq!(statement_error(false, text).class, *class, "{text}");
    }
}

#[test]
fn an_aborted_statement_was_cancelled_whatever_it_says() {
    assert_eq!(statement_error(true, "").class, Cancelled);
    assert_eq!(statement_error(true, "must be owner").class, Cancelled);
}

#[test]
fn what_a_person_must_mend_comes_with_how() {
    for (text, class) in STATEMENTS {
        let failure = statement_error(false, text);
        assert!(*class != Permanent || failure.mend.is_some(), "{text}");
    }
}

#[test]
fn statuses_that_the_api_learns_later_count_as_running() {
    let stages = ["SUBMITTED", "PICKED", "STARTED", "UNKNOWN", ""].map(stage);
    assert_eq!(stages, [Stage::Running; 5]);
    assert_eq!(
        ["FINISHED", "FAILED", "ABORTED"].map(stage),
        [Stage::Finished, Stage::Failed, Stage::Aborted]
    );
}

#[test]
fn messages_are_one_bounded_line() {
    let failure = statement_error(false, &format!("a\n  b {}", "x".repeat(1_000)));
    assert!(failure.message.starts_with("a b x"));
    assert!(failure.message.chars().count() <= 401);
}

#[test]
fn names_round_trip_whatever_a_view_is_called() {
    let prefix = names::prefix("prod/eu", &WarehouseId::from("dwh"));
    assert_eq!(prefix, "tidekeeper/prod%2Feu/dwh/");
    for view in ["orders", "a/b", "50%", "ünïcode *", "x-1"] {
        let name = format!(
            "{prefix}{}/b-7",
            percent_encoding::utf8_percent_encode(view, percent_encoding::NON_ALPHANUMERIC)
        );
        assert_eq!(names::view_of(&prefix, &name), Some(ViewId::from(view)));
    }
    for foreign in [
        "tidekeeper/other/dwh/v/b-1",
        "tidekeeper/prod%2Feu/dwh/v",
        "tidekeeper/prod%2Feu/dwh/v/b-x",
    ] {
        assert_eq!(names::view_of(&prefix, foreign), None, "{foreign}");
    }
}

#[test]
fn tokens_fit_and_differ() {
    let (one, two) = (names::client_token("a"), names::client_token("b"));
    assert_eq!((one.len(), two.len()), (64, 64));
    assert_ne!(one, two);
}

#[test]
fn names_in_sql_cannot_leave_their_quotes() {
    let refresh = Refresh {
        view: ViewId::from("v"),
        database: "dev".to_owned(),
        schema: Some("a\"b".to_owned()),
        name: "x; DROP TABLE y".to_owned(),
        auth: Auth::Iam,
        session: Session {
            query_group: Some("it's".to_owned()),
            case_sensitive: true,
        },
    };
    assert_eq!(
        sql::refresh(&refresh, "n */ DROP"),
        "/* n * / DROP */ REFRESH MATERIALIZED VIEW \"a\"\"b\".\"x; DROP TABLE y\""
    );
    assert_eq!(
        sql::settings(&refresh.session),
        [
            "SET query_group TO 'it''s'",
            "SET enable_case_sensitive_identifier TO true"
        ]
    );
}

#[test]
fn a_sweep_of_many_views_fits_into_a_statement() {
    let now = "2026-01-01 00:00:00.000000";
    for (views, named) in [(100, true), (1_000, false)] {
        let names: Vec<String> = (0..views)
            .map(|view| sql::literal(&format!("{}{view}", "n".repeat(120))))
            .collect();
        let reach = Reach {
            since: now,
            latest: 50,
            scans_since: now,
        };
        let text = Form::default().sql(&names, reach);
        assert!(text.len() < 100_000, "{views}: {}", text.len());
        assert_eq!(text.contains("mv_name IN"), named, "{views}");
    }
}
