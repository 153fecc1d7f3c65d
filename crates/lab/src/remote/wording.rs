//! Decides how what AWS refuses is worded in `DescribeStatement.Error`.
//!
//! The shape is that of a COPY whose role cannot be had (`exception name : …, error type : …,
//! message: …, should retry : …`, seen by users). That streaming ingestion has the same
//! shape, and every text and number but the first, is an assumption. What AWS said stands in
//! it word for word. Deliberately absent: credentials.

use std::error::Error;

use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};
use tokio::time::{Instant, timeout_at};

use super::Ask;

/// Why a read ended without having got anywhere.
#[derive(Debug)]
pub(super) enum Stop {
    /// Time is up.
    Deadline,
    Refused(Refused),
}

impl Stop {
    pub(super) fn text(self, ask: &Ask) -> String {
        match self {
            Self::Deadline => {
                let stream = &ask.stream;
                let limit = ask.deadline.as_secs();
                let message = format!("connection to stream {stream} timed out after {limit} s");
                exception("TimeoutException", 136, &message, true)
            }
            Self::Refused(refused) => refused.text,
        }
    }
}

/// What ends the refresh, worded.
#[derive(Debug)]
pub(super) struct Refused {
    code: Option<String>,
    text: String,
}

impl Refused {
    /// The credentials of a role cannot be had.
    pub(super) fn role(role: &str, detail: &str) -> Self {
        let text = exception(
            "UnauthorizedException",
            135,
            &format!("Not authorized to get credentials of role {role}"),
            false,
        );
        Self {
            code: None,
            text: format!("{text}\n  Detail: {detail}"),
        }
    }

    /// STS refuses a role, or could not be asked for it.
    pub(super) fn sts(role: &str, answer: Answer) -> Self {
        let Answer { code, message } = answer;
        let text = match &code {
            None => unreachable("sts:AssumeRole", &message),
            Some(code) if is_throttled(code) => exception(
                code,
                134,
                &format!("sts:AssumeRole of role {role}: {message}"),
                true,
            ),
            Some(code) => Self::role(role, &format!("sts:AssumeRole: {code}: {message}")).text,
        };
        Self { code, text }
    }

    /// Kinesis refuses an operation, or could not be asked for it.
    pub(super) fn kinesis(ask: &Ask, operation: &str, answer: Answer) -> Self {
        let Answer { code, message } = answer;
        let role = ask.chain.last().map_or("", String::as_str);
        let text = match &code {
            None => unreachable(&format!("kinesis:{operation}"), &message),
            Some(code) => {
                let denied = code.contains("AccessDenied") || is_about_credentials(code);
                let text = exception(
                    code,
                    if denied { 135 } else { 134 },
                    &format!("kinesis:{operation} on stream {}: {message}", ask.stream),
                    is_throttled(code),
                );
                format!("{text}\n  Detail: role {role}")
            }
        };
        Self { code, text }
    }

    /// Neither the world nor the environment says which.
    pub(super) fn no_region() -> Self {
        let message = "no region: the lab's world has none in [aws], nor has its environment";
        Self {
            code: None,
            text: exception("MissingRegion", 134, message, false),
        }
    }

    /// Whether other credentials of the same role might do.
    pub(super) fn blames_the_session(&self) -> bool {
        self.code.as_deref().is_some_and(is_about_credentials)
    }
}

/// What a service said, or why it could not be asked.
#[derive(Debug)]
pub(super) struct Answer {
    /// Of the service; absent: there was no answer.
    pub(super) code: Option<String>,
    message: String,
}

impl Answer {
    pub(super) fn of<E, R>(error: &SdkError<E, R>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
        R: std::fmt::Debug,
    {
        if let Some(refusal) = error.as_service_error() {
            return Self {
                code: Some(refusal.code().unwrap_or("UnknownError").to_owned()),
                message: refusal.message().unwrap_or_default().to_owned(),
            };
        }
        // `DisplayErrorContext` would add what `Debug` says of the whole exchange.
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            message = format!("{message}: {inner}");
            cause = inner.source();
        }
        Self {
            code: None,
            message,
        }
    }

    /// Says first what the message does not.
    pub(super) fn about(mut self, what: &str) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }
}

/// Waits, but not beyond the deadline.
pub(super) async fn within<T>(
    deadline: Instant,
    answer: impl Future<Output = T>,
) -> Result<T, Stop> {
    timeout_at(deadline, answer)
        .await
        .map_err(|_elapsed| Stop::Deadline)
}

fn is_throttled(code: &str) -> bool {
    [
        "Throughput",
        "Throttl",
        "Limit",
        "ServiceUnavailable",
        "InternalFailure",
    ]
    .iter()
    .any(|part| code.contains(part))
}

/// The names by which the services refuse credentials that have ended or are unknown.
fn is_about_credentials(code: &str) -> bool {
    matches!(
        code,
        "ExpiredTokenException"
            | "ExpiredToken"
            | "InvalidToken"
            | "InvalidClientTokenId"
            | "UnrecognizedClientException"
    )
}

/// STS or Kinesis cannot be reached.
fn unreachable(operation: &str, message: &str) -> String {
    exception(
        "ConnectionException",
        136,
        &format!("{operation}: connection failed: {message}"),
        true,
    )
}

fn exception(name: &str, kind: u16, message: &str, retry: bool) -> String {
    format!(
        "ERROR: exception name : {name}, error type : {kind}, message: {message}, should retry : {}",
        u8::from(retry)
    )
}
