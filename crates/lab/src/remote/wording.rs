//! Decides how what AWS refuses is worded in `DescribeStatement.Error`.
//!
//! The shape is that of a COPY whose role cannot be had (`exception name : …, error type : …,
//! message: …, should retry : …`, seen by users). That streaming ingestion has the same
//! shape, and every text but the first, is an assumption.

use std::time::Duration;

fn exception(name: &str, kind: u16, message: &str, retry: bool) -> String {
    format!(
        "ERROR: exception name : {name}, error type : {kind}, message: {message}, should retry : {}",
        u8::from(retry)
    )
}

/// The credentials of a role cannot be had.
pub(super) fn not_authorized(role: &str, detail: &str) -> String {
    let text = exception(
        "UnauthorizedException",
        135,
        &format!("Not authorized to get credentials of role {role}"),
        false,
    );
    format!("{text}\n  Detail: {detail}")
}

/// Kinesis refuses an operation.
pub(super) fn refused(
    code: &str,
    operation: &str,
    stream: &str,
    role: &str,
    message: &str,
) -> String {
    let throttled =
        code.contains("Throughput") || code.contains("Throttl") || code.contains("Limit");
    let denied =
        code.contains("AccessDenied") || code.contains("Token") || code.contains("Unrecognized");
    let kind = if denied { 135 } else { 134 };
    let text = exception(
        code,
        kind,
        &format!("kinesis:{operation} on stream {stream} with role {role}: {message}"),
        throttled,
    );
    format!("{text}\n  Detail: role {role}")
}

/// STS or Kinesis cannot be reached.
pub(super) fn unreachable(operation: &str, message: &str) -> String {
    exception(
        "ConnectionException",
        136,
        &format!("{operation}: connection failed: {message}"),
        true,
    )
}

pub(super) fn timed_out(stream: &str, limit: Duration) -> String {
    exception(
        "TimeoutException",
        136,
        &format!(
            "connection to stream {stream} timed out after {} s",
            limit.as_secs()
        ),
        true,
    )
}
