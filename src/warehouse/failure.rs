//! What the SDK's errors mean.
//!
//! Decides: whether a call that failed may have reached the service all the same.
//! Deliberately absent: what the service's own words mean (`classify`).

use std::error::Error;

use aws_sdk_redshiftdata::error::{ProvideErrorMetadata, SdkError};

use super::classify::{self, CallFailure};

/// A failed call, read.
pub(super) fn call_failure<E>(error: &SdkError<E>) -> CallFailure
where
    E: ProvideErrorMetadata + Error + 'static,
{
    match error {
        SdkError::ServiceError(context) => {
            let status = context.raw().status().as_u16();
            let code = context.err().code().unwrap_or_default();
            let message = context.err().message().unwrap_or_default();
            if code.is_empty() && status < 500 {
                let text = chain(error);
                return classify::unreadable(&format!("HTTP {status}: {text}"));
            }
            classify::service_error(code, status, message)
        }
        SdkError::ConstructionFailure(_) => classify::not_sent(&chain(error)),
        SdkError::DispatchFailure(_) => {
            let text = chain(error);
            // hyper names the phase; before the connection stands nothing was sent.
            let unsent = [
                "(Connect)",
                "HTTP connect",
                "dns error",
                "credential",
                "identity",
                "region",
            ];
            if unsent.iter().any(|part| text.contains(part)) {
                classify::not_sent(&text)
            } else {
                classify::answer_lost(&text)
            }
        }
        SdkError::TimeoutError(_) => classify::answer_lost("no answer came in time"),
        SdkError::ResponseError(context) => {
            let status = context.raw().status().as_u16();
            let text = chain(error);
            if status >= 500 {
                return classify::service_error("", status, &text);
            }
            classify::unreadable(&text)
        }
        _ => classify::answer_lost(&chain(error)),
    }
}

/// An error with its causes, none of which prints its own.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let said = next.to_string();
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = next.source();
    }
    classify::one_line(&text)
}
