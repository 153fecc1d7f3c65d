//! Decides how the lab is spoken to: `POST /` in the AWS JSON 1.1 protocol, for the Data API
//! and for Kinesis, its query protocol for STS, and the lab's own
//! `GET /__lab/health`, `/__lab/history` and `/__lab/records`.
//!
//! Signatures are not verified. Deliberately absent: what statements do (`statements`).

mod answer;
mod error;
mod faults;
#[cfg(test)]
mod kinesis_tests;
mod quota;
mod request;
mod result;
pub(crate) mod service;
mod socket;
mod sts;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, DefaultBodyLimit, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::history;
use crate::kinesis;
use crate::world::{Loss, Operation};
use error::ApiError;
use service::{Admitted, Outcome, Service};
use socket::Scissors;

pub(crate) use socket::Door;

const CONTENT_TYPE: &str = "application/x-amz-json-1.1";
const TARGET_PREFIX: &str = "RedshiftData.";

/// Records of 10 MiB in base64, and what JSON adds to 500 of them. Forty statements of 100 KB
/// are less.
const LARGEST_BODY: usize = 16 * 1024 * 1024;

/// Serves `service` on `door` until it is closed.
pub(crate) async fn serve(service: Arc<Service>, door: Door) -> std::io::Result<()> {
    let closing = Arc::clone(&service);
    let router = Router::new()
        .route("/", post(aws_api))
        .route("/__lab/health", get(health))
        .route("/__lab/history", get(truth))
        .route("/__lab/records", get(records))
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .with_state(service);
    axum::serve(
        door,
        router.into_make_service_with_connect_info::<Scissors>(),
    )
    .with_graceful_shutdown(async move { closing.closed().await })
    .await
}

/// The service is named in the header that names the operation; only STS takes a form.
async fn aws_api(
    State(service): State<Arc<Service>>,
    ConnectInfo(scissors): ConnectInfo<Scissors>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if text(&headers, "content-type").is_some_and(|kind| kind.starts_with(sts::CONTENT_TYPE)) {
        return sts::answer(&service, &headers, &body);
    }
    let target = text(&headers, "x-amz-target").unwrap_or_default();
    match target.strip_prefix(kinesis::TARGET_PREFIX) {
        Some(operation) => kinesis_api(&service, operation, &headers, &body),
        None => data_api(&service, scissors, &headers, &body).await,
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn kinesis_api(service: &Service, operation: &str, headers: &HeaderMap, body: &[u8]) -> Response {
    let request = service.request_id();
    let content_type = text(headers, "content-type").unwrap_or_default();
    let result = if content_type.starts_with(CONTENT_TYPE) {
        let region = text(headers, "authorization").and_then(region);
        service.kinesis(operation, region, body)
    } else {
        Err(kinesis::Refusal::not_json(content_type))
    };
    match result {
        Ok(answer) => respond(StatusCode::OK, &request, None, &answer),
        Err(refusal) => {
            let kind = Some(refusal.kind);
            respond(StatusCode::BAD_REQUEST, &request, kind, &refusal.body())
        }
    }
}

async fn data_api(
    service: &Arc<Service>,
    scissors: Scissors,
    headers: &HeaderMap,
    body: &[u8],
) -> Response {
    let request = service.request_id();
    let result = match admit(service, headers, &request) {
        Ok(admitted) => service.perform(admitted, body).await,
        Err(error) => Err(error),
    };
    match result {
        Ok(Outcome::Answer(answer)) => respond(StatusCode::OK, &request, None, &answer),
        Ok(Outcome::Lost(loss)) => {
            match loss {
                Loss::Close => scissors.cut(),
                // Ends when the client hangs up, which drops this future, or with the lab.
                Loss::Hang => {
                    service.closed().await;
                    scissors.cut();
                }
            }
            StatusCode::NO_CONTENT.into_response()
        }
        Err(error) => {
            tracing::debug!(kind = error.kind, message = error.message, "refused");
            let status = StatusCode::from_u16(error.http).unwrap_or(StatusCode::BAD_REQUEST);
            respond(status, &request, Some(error.kind), &error.body())
        }
    }
}

fn admit(service: &Service, headers: &HeaderMap, request: &str) -> Result<Admitted, ApiError> {
    let text = |name| text(headers, name);
    let operation = text("x-amz-target")
        .and_then(|target| target.strip_prefix(TARGET_PREFIX))
        .and_then(Operation::from_name)
        .ok_or_else(ApiError::unknown_operation)?;
    let misfortune = service.admit(operation, request)?;
    if !text("content-type").is_some_and(|value| value.starts_with(CONTENT_TYPE)) {
        return Err(ApiError::unreadable(format!(
            "The content type is not {CONTENT_TYPE}."
        )));
    }
    Ok(Admitted {
        operation,
        misfortune,
        session: text("authorization").and_then(access_key),
    })
}

/// The access key of a `SigV4` header, which stands for the caller's IAM session.
fn access_key(authorization: &str) -> Option<String> {
    let (_, credential) = authorization.split_once("Credential=")?;
    Some(credential.split('/').next()?.to_owned())
}

/// The region of a `SigV4` header: the third part of the credential's scope.
fn region(authorization: &str) -> Option<String> {
    let (_, credential) = authorization.split_once("Credential=")?;
    let region = credential.split(',').next()?.split('/').nth(2)?;
    (!region.is_empty()).then(|| region.to_owned())
}

fn respond(status: StatusCode, request: &str, kind: Option<&str>, body: &Value) -> Response {
    let mut response = Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, CONTENT_TYPE)
        .header("x-amzn-requestid", request);
    if let Some(kind) = kind {
        response = response.header("x-amzn-errortype", kind);
    }
    match response.body(Body::from(body.to_string())) {
        Ok(response) => response,
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn health() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

#[derive(Deserialize)]
struct Since {
    since: Option<f64>,
}

async fn truth(State(service): State<Arc<Service>>, Query(query): Query<Since>) -> Json<Value> {
    let since = query.since.unwrap_or(0.0);
    Json(service.look(|truth| history::history(truth, since)))
}

#[derive(Deserialize)]
struct Which {
    stream: String,
    limit: Option<usize>,
}

async fn records(State(service): State<Arc<Service>>, Query(query): Query<Which>) -> Response {
    let limit = query.limit.unwrap_or(10);
    match service.look(|truth| history::records(truth.engine, &query.stream, limit)) {
        Some(records) => Json(records).into_response(),
        None => (StatusCode::NOT_FOUND, "there is no such stream\n").into_response(),
    }
}
