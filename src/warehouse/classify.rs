//! Errors → what happened, and what now.
//!
//! Decides: for a failed call, whether the statement may exist; for a failed statement, what
//! class its text belongs to and what would mend it. Texts are matched as lower-case
//! substrings, the first rule wins; what no rule knows is passed on word for word.
//! Deliberately absent: I/O, retries.

use tidekeeper_scheduler::{Failure, FailureClass};

use FailureClass::{
    Away, Cancelled, Data, Permanent, Throttled, TooManyStatements, Transient, Unknown, Unreachable,
};

/// An error text is cut after so many characters.
const MESSAGE_MAX: usize = 400;

/// A call that did not succeed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct CallFailure {
    /// Whether the request may have been carried out all the same.
    pub(super) maybe_executed: bool,
    /// The API says that it knows no such statement.
    pub(super) gone: bool,
    /// The endpoint does not want to be asked to wait.
    pub(super) refuses_wait: bool,
    pub(super) failure: Failure,
}

impl CallFailure {
    fn new(maybe_executed: bool, class: FailureClass, message: &str, mend: &str) -> Self {
        Self {
            maybe_executed,
            gone: false,
            refuses_wait: false,
            failure: failure(class, message, mend),
        }
    }
}

fn failure(class: FailureClass, message: &str, mend: &str) -> Failure {
    Failure {
        class,
        message: one_line(message).into(),
        mend: (!mend.is_empty()).then(|| mend.into()),
    }
}

/// Newlines folded, length bounded.
pub(super) fn one_line(text: &str) -> String {
    let folded: Vec<&str> = text.split_whitespace().collect();
    let folded = folded.join(" ");
    match folded.char_indices().nth(MESSAGE_MAX) {
        Some((end, _)) => format!("{}…", folded.get(..end).unwrap_or_default()),
        None => folded,
    }
}

/// Error codes that mean "slow down", whatever the status.
const THROTTLES: [&str; 9] = [
    "ThrottlingException",
    "Throttling",
    "ThrottledException",
    "RequestThrottledException",
    "TooManyRequestsException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "SlowDown",
    "BandwidthLimitExceeded",
];

/// Codes of requests that were refused for who sent them.
const DENIED: [&str; 3] = ["AccessDeniedException", "AccessDenied", "NotAuthorized"];
const CREDENTIALS: [&str; 8] = [
    "ExpiredTokenException",
    "ExpiredToken",
    "UnrecognizedClientException",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
    "MissingAuthenticationToken",
    "IncompleteSignature",
];

/// The service answered with an error code.
pub(super) fn service_error(code: &str, status: u16, message: &str) -> CallFailure {
    let said = if message.is_empty() { code } else { message };
    if THROTTLES.contains(&code) || status == 429 {
        return CallFailure::new(false, Throttled, said, "");
    }
    if DENIED.contains(&code) {
        let mend = "add the denied action to the daemon's role (redshift-data:ExecuteStatement, BatchExecuteStatement, DescribeStatement, GetStatementResult, ListStatements, CancelStatement; the last four want Resource \"*\")";
        return CallFailure::new(false, Permanent, said, mend);
    }
    if CREDENTIALS.contains(&code) {
        let mend = "renew or correct the daemon's credentials, and check this host's clock";
        return CallFailure::new(false, Away, &format!("{code}: {said}"), mend);
    }
    match code {
        "ValidationException" => validation(said),
        "ActiveStatementsExceededException" => CallFailure::new(false, TooManyStatements, said, ""),
        "ActiveSessionsExceededException" => CallFailure::new(
            false,
            TooManyStatements,
            said,
            "too many sessions are open on the warehouse",
        ),
        "ActiveWaitingRequestsExceededException" => CallFailure {
            refuses_wait: true,
            ..CallFailure::new(false, Transient, said, "")
        },
        "ResourceNotFoundException" => CallFailure {
            gone: true,
            ..CallFailure::new(false, Unknown, said, "")
        },
        "ExecuteStatementException"
        | "BatchExecuteStatementException"
        | "InternalServerException"
        | "InternalFailure"
        | "ServiceUnavailable"
        | "ServiceUnavailableException"
        | "DatabaseConnectionException"
        | "QueryTimeoutException" => {
            CallFailure::new(true, Transient, &format!("{code}: {said}"), "")
        }
        "UnknownOperationException" | "NotImplemented" => {
            let mend = "the endpoint does not offer this operation of the Redshift Data API; check endpoint_url";
            CallFailure::new(false, Permanent, &format!("{code}: {said}"), mend)
        }
        _ if status >= 500 => CallFailure::new(
            true,
            Transient,
            &format!("HTTP {status} {code}: {said}"),
            "",
        ),
        _ => CallFailure::new(false, Unknown, &format!("{code}: {said}"), ""),
    }
}

/// `ValidationException` is also how throttles of a layer below arrive, and "not found".
fn validation(said: &str) -> CallFailure {
    let text = said.to_lowercase();
    let has = |part: &str| text.contains(part);
    if THROTTLES.iter().any(|code| said.contains(code)) || has("rate exceeded") {
        return CallFailure::new(false, Throttled, said, "");
    }
    if has("waittimeseconds") {
        return CallFailure {
            refuses_wait: true,
            ..CallFailure::new(false, Permanent, said, "")
        };
    }
    if has("query does not exist") {
        return CallFailure {
            gone: true,
            ..CallFailure::new(false, Unknown, said, "")
        };
    }
    if has("paused")
        || has("resuming")
        || has("resizing")
        || has("not available")
        || has("unavailable")
    {
        return CallFailure::new(false, Away, said, "");
    }
    let mend = if has("endpoint doesn't exist") {
        "check the cluster or workgroup name, the region and the account"
    } else if has("database") {
        "check `database`"
    } else {
        "the API refuses the request as it is; check the warehouse's and the view's settings"
    };
    CallFailure::new(false, Permanent, said, mend)
}

/// No request left this machine, or none reached the endpoint.
pub(super) fn not_sent(message: &str) -> CallFailure {
    let text = message.to_lowercase();
    if text.contains("credential") || text.contains("identity") || text.contains("assume") {
        let mend = "give the daemon credentials: a task role, AWS_ACCESS_KEY_ID or a profile; and check `assume_role`";
        return CallFailure::new(false, Away, message, mend);
    }
    if text.contains("region") {
        let mend = "set `region` for the warehouse, or AWS_REGION";
        return CallFailure::new(false, Permanent, message, mend);
    }
    let mend = "check endpoint_url, DNS, security groups, and the route to the endpoint";
    CallFailure::new(false, Unreachable, message, mend)
}

/// A request went out, and no answer to it came back.
pub(super) fn answer_lost(message: &str) -> CallFailure {
    CallFailure::new(true, Unreachable, message, "")
}

/// An answer came back that makes no sense.
pub(super) fn unreadable(message: &str) -> CallFailure {
    let said = format!("the endpoint's answer could not be read: {message}");
    let mend = "the endpoint does not speak the Redshift Data API as AWS does; check endpoint_url";
    CallFailure::new(true, Unreachable, &said, mend)
}

struct Rule(&'static str, FailureClass, &'static str);

const OWNER: &str = "only the owner may refresh a view: run as the owner (auth = { db_user = … } or { secret_arn = … }), or make the daemon's database user the owner";
const RECREATE: &str = "the view can no longer be refreshed: create it anew";
const PROTECTED: &str = "a base table is protected by row-level security or by masking, which a view that is refreshed must not stand on";
const EXTERNAL: &str =
    "check the external schema that the view reads: its schema, database and table must be there";
const ROLE: &str = "check the IAM_ROLE chain of the external schema: each role must trust the one before it, and be attached to the warehouse";
const RECORD: &str = "a record does not fit the view's definition; it blocks the view until it ages out of the stream or the view is changed";

/// What a statement's error text means.
const STATEMENT_RULES: &[Rule] = &[
    // These name a view, and a view may be called anything.
    Rule(
        "was not refreshed",
        Transient,
        "another view of the same cascade was not refreshed: see that one",
    ),
    Rule("serializable isolation violation", Transient, ""),
    Rule("error: 1023", Transient, ""),
    Rule("conflict with concurrent transaction", Transient, ""),
    Rule("could not open relation with oid", Transient, ""),
    Rule("underlying table with oid", Transient, ""),
    Rule("vacuum/truncate concurrently", Transient, ""),
    Rule("deadlock detected", Transient, ""),
    Rule("excessive user workload", Transient, ""),
    Rule(
        "cancelled on user's request",
        Cancelled,
        "somebody cancelled it, or a statement_timeout of the user or the WLM queue did",
    ),
    Rule(
        "canceled on user's request",
        Cancelled,
        "somebody cancelled it, or a statement_timeout of the user or the WLM queue did",
    ),
    Rule("canceling statement due to user request", Cancelled, ""),
    Rule(
        "system requested abort",
        Cancelled,
        "a query monitoring rule or the system ended it",
    ),
    Rule("query aborted", Cancelled, ""),
    Rule("current transaction is aborted", Transient, ""),
    Rule("throttlingexception", Throttled, ""),
    Rule(
        "provisionedthroughputexceeded",
        Away,
        "other consumers use up the stream's read limit: fewer views per stream, or more shards",
    ),
    Rule("limitexceededexception", Away, ""),
    Rule("not authorized to get credentials of role", Permanent, ROLE),
    Rule("unauthorizedexception", Permanent, ROLE),
    Rule("is not authorized to perform", Permanent, ROLE),
    Rule("accessdenied", Permanent, ROLE),
    Rule("cannot assume", Permanent, ROLE),
    Rule(
        "kms:decrypt",
        Permanent,
        "the stream is encrypted: allow kms:Decrypt to the role that reads it",
    ),
    Rule(
        "stream not found",
        Permanent,
        "the stream is gone or named otherwise",
    ),
    Rule(
        "resourcenotfoundexception",
        Permanent,
        "the stream is gone or named otherwise",
    ),
    Rule("must be owner", Permanent, OWNER),
    Rule("not the owner", Permanent, OWNER),
    Rule("only the owner", Permanent, OWNER),
    Rule(
        "permission denied for schema",
        Permanent,
        "grant USAGE on the schema to the database user",
    ),
    Rule("permission denied", Permanent, OWNER),
    Rule(
        "mv was not found",
        Permanent,
        "check database, schema and name of the view",
    ),
    Rule(
        "relation does not exist",
        Permanent,
        "check database, schema and name of the view",
    ),
    Rule(
        "materialized view does not exist",
        Permanent,
        "check database, schema and name of the view",
    ),
    Rule(
        "is not a materialized view",
        Permanent,
        "check the name of the view",
    ),
    Rule("is unrefreshable", Permanent, RECREATE),
    Rule("base table was renamed", Permanent, RECREATE),
    Rule("base table column", Permanent, RECREATE),
    Rule("base table schema was renamed", Permanent, RECREATE),
    Rule(
        "schema of mv was renamed",
        Permanent,
        "check the schema of the view",
    ),
    Rule("procedure <mv_sp", Permanent, RECREATE),
    Rule("rls-protected", Permanent, PROTECTED),
    Rule("dynamic data masking", Permanent, PROTECTED),
    Rule("external base table", Permanent, EXTERNAL),
    Rule("external database was not found", Permanent, EXTERNAL),
    Rule("history mode", Permanent, RECREATE),
    Rule(
        "password authentication failed",
        Permanent,
        "check the user and the secret in `auth`",
    ),
    Rule("out of range", Data, RECORD),
    Rule("invalid input syntax", Data, RECORD),
    Rule("invalid digit", Data, RECORD),
    Rule("overflow", Data, RECORD),
    Rule("value too long", Data, RECORD),
    Rule("json parsing error", Data, RECORD),
    Rule("invalid json", Data, RECORD),
    Rule("not super type", Data, RECORD),
    Rule("division by zero", Data, RECORD),
    Rule("cannot cast", Data, RECORD),
    Rule(
        "broker transport failure",
        Away,
        "the Kafka brokers cannot be reached from the warehouse",
    ),
    Rule(
        "ssl handshake failed",
        Away,
        "check AUTHENTICATION and the certificate of the external schema",
    ),
    Rule("disk full", Away, "the warehouse's disk is full"),
    Rule(
        "usage limit",
        Away,
        "the workgroup's usage limit is spent until its period is over",
    ),
    Rule("paused", Away, "the cluster is paused: resume it, or wait"),
    Rule("connection", Away, ""),
    Rule("internal error", Transient, ""),
    Rule(
        "syntax error",
        Permanent,
        "the warehouse does not understand the statement",
    ),
];

/// What `DescribeStatement` says of a statement that failed or was aborted, and
/// `SYS_MV_REFRESH_HISTORY` of a refresh that did not take place.
pub(super) fn statement_error(aborted: bool, text: &str) -> Failure {
    let lower = text.to_lowercase();
    if aborted {
        let said = if text.is_empty() {
            "the statement was aborted"
        } else {
            text
        };
        return failure(Cancelled, said, "");
    }
    // `database "x" does not exist`, `relation "x" does not exist`, and their kin.
    if lower.contains("does not exist") && !lower.contains("with oid") && !lower.contains("<mv_sp")
    {
        let what = ["database", "schema", "user", "column"]
            .into_iter()
            .find(|what| lower.contains(&format!("{what} \"")));
        let mend = match what {
            Some("database") => "check `database`",
            Some("schema") => "check `schema`",
            Some("user") => "check `db_user`",
            Some("column") => RECREATE,
            Some(_) | None => "check database, schema and name of the view",
        };
        return failure(Permanent, text, mend);
    }
    match STATEMENT_RULES.iter().find(|rule| lower.contains(rule.0)) {
        Some(Rule(_, class, mend)) => failure(*class, text, mend),
        None if text.is_empty() => failure(Unknown, "the statement failed without a word", ""),
        None => failure(Unknown, text, ""),
    }
}

/// Where a statement stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Also for words that the API has learned since.
    Running,
    Finished,
    Failed,
    Aborted,
}

pub(super) fn stage(status: &str) -> Stage {
    match status {
        "FINISHED" => Stage::Finished,
        "FAILED" => Stage::Failed,
        "ABORTED" => Stage::Aborted,
        _ => Stage::Running,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_denied_is_told_every_action_that_the_daemon_needs() {
        let told = service_error("AccessDeniedException", 400, "")
            .failure
            .mend
            .unwrap();
        for action in [
            "ExecuteStatement",
            "BatchExecuteStatement",
            "DescribeStatement",
            "GetStatementResult",
            "ListStatements",
            "CancelStatement",
        ] {
            assert!(told.contains(action), "{action}: {told}");
        }
    }
}
