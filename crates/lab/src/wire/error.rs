//! Decides how a refusal looks: status, `x-amzn-errortype`, `__type` and message, as the
//! AWS JSON 1.1 protocol has them. The constructors name the exceptions of the Data API.

use serde_json::{Value, json};

/// A refusal of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ApiError {
    pub(super) http: u16,
    pub(super) kind: &'static str,
    pub(super) message: String,
    /// `ResourceNotFoundException` carries the id that was not found.
    resource: Option<String>,
}

impl ApiError {
    fn new(http: u16, kind: &'static str, message: impl Into<String>) -> Self {
        Self {
            http,
            kind,
            message: message.into(),
            resource: None,
        }
    }

    pub(super) fn validation(message: impl Into<String>) -> Self {
        Self::new(400, "ValidationException", message)
    }

    pub(super) fn not_found(id: &str, message: &str) -> Self {
        let resource = Some(id.to_owned());
        Self {
            resource,
            ..Self::new(404, "ResourceNotFoundException", message)
        }
    }

    pub(super) fn throttled() -> Self {
        Self::new(400, "ThrottlingException", "Rate exceeded")
    }

    /// Serverless's own throttling, as the Data API passes it on.
    pub(super) fn throttled_inside(request: &str) -> Self {
        Self::validation(format!(
            "Service returned error code ThrottlingException (Service: RedshiftServerless, \
             Status Code: 400, Request ID: {request})"
        ))
    }

    pub(super) fn internal() -> Self {
        Self::new(
            500,
            "InternalServerException",
            "An internal error occurred.",
        )
    }

    pub(super) fn too_many_active() -> Self {
        Self::new(
            400,
            "ActiveStatementsExceededException",
            "The number of active statements exceeds the limit.",
        )
    }

    pub(super) fn too_many_waiting() -> Self {
        Self::new(
            400,
            "ActiveWaitingRequestsExceededException",
            "The number of active requests with WaitTimeSeconds for the same SQL statement \
             exceeds the limit.",
        )
    }

    pub(super) fn unreadable(message: impl Into<String>) -> Self {
        Self::new(400, "SerializationException", message)
    }

    pub(super) fn unknown_operation() -> Self {
        Self::new(
            404,
            "UnknownOperationException",
            "This lab does not know the operation.",
        )
    }

    pub(super) fn body(&self) -> Value {
        // The model's member is `Message`; clients accept both spellings, and AWS sends either.
        let mut body =
            json!({ "__type": self.kind, "Message": self.message, "message": self.message });
        if let (Some(id), Some(fields)) = (&self.resource, body.as_object_mut()) {
            fields.insert("ResourceId".to_owned(), id.as_str().into());
        }
        body
    }
}
