//! Decides how Kinesis says no: the names of its exceptions and its words, as far as they are
//! known. Every refusal has status 400.

use serde_json::{Value, json};

/// A refusal of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) kind: &'static str,
    pub(crate) message: String,
}

impl Refusal {
    fn new(kind: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { kind, message }
    }

    pub(super) fn argument(message: impl Into<String>) -> Self {
        Self::new("InvalidArgumentException", message)
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new("ResourceNotFoundException", message)
    }

    pub(super) fn in_use(message: impl Into<String>) -> Self {
        Self::new("ResourceInUseException", message)
    }

    pub(super) fn limit(message: impl Into<String>) -> Self {
        Self::new("LimitExceededException", message)
    }

    pub(super) fn throughput(message: impl Into<String>) -> Self {
        Self::new("ProvisionedThroughputExceededException", message)
    }

    pub(super) fn expired_iterator(message: impl Into<String>) -> Self {
        Self::new("ExpiredIteratorException", message)
    }

    pub(super) fn expired_token() -> Self {
        Self::new(
            "ExpiredNextTokenException",
            "NextToken has expired. The tolerated delay is 300000 milliseconds.",
        )
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new("ValidationException", message)
    }

    /// A member breaks a constraint of the service's model. `value` is null or quoted.
    pub(super) fn constraint(value: &str, member: &str, constraint: &str) -> Self {
        Self::invalid(format!(
            "1 validation error detected: Value {value} at '{member}' failed to satisfy \
             constraint: {constraint}"
        ))
    }

    pub(crate) fn unreadable(message: impl Into<String>) -> Self {
        Self::new("SerializationException", message)
    }

    pub(crate) fn unknown_operation() -> Self {
        Self::new(
            "UnknownOperationException",
            "This lab's Kinesis does not know the operation.",
        )
    }

    /// Java's SDK is the one that speaks CBOR unless it is told not to.
    pub(crate) fn not_json(content_type: &str) -> Self {
        Self::unreadable(format!(
            "This lab's Kinesis reads application/x-amz-json-1.1 only, not '{content_type}'. \
             Clients that send CBOR have a switch for it, such as AWS_CBOR_DISABLE=true."
        ))
    }

    pub(crate) fn body(&self) -> Value {
        json!({ "__type": self.kind, "message": self.message })
    }
}
