//! The routes that change something.
//!
//! Decides: who may use them. Off (403) without a configured token; with one, a request that
//! does not carry it as a bearer token is refused (401) before anything of it is read. An
//! accepted wish (202) is in the loop's queue; what comes of it shows in the view's state.
//! Deliberately absent: users, sessions, cookies (so no other site can borrow a browser's
//! rights), and TLS (the listener is on loopback by default).

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::post;
use serde_json::json;
use sha2::{Digest, Sha256};
use tidekeeper_scheduler::{Event, Origin, ViewId};
use tokio::sync::mpsc::error::TrySendError;

use super::{Here, Shared, no_such_view, problem};
use crate::logging::Secret;

const HOW_TO_TURN_ON: &str =
    "set TIDEKEEPER_ADMIN_TOKEN in the daemon's environment and start it again";

pub(super) fn routes(shared: &Arc<Shared>) -> Router<Arc<Shared>> {
    // Reading the body makes the limit on it hold.
    let refresh = |shared, id, _: Bytes| async {
        let origin = Origin::Manual;
        wish(shared, id, |view| Event::Refresh { view, origin })
    };
    let pause = |shared, id, _: Bytes| async { wish(shared, id, |view| Event::Pause { view }) };
    let resume = |shared, id, _: Bytes| async { wish(shared, id, |view| Event::Resume { view }) };
    Router::new()
        .route("/api/v1/views/{id}/refresh", post(refresh))
        .route("/api/v1/views/{id}/pause", post(pause))
        .route("/api/v1/views/{id}/resume", post(resume))
        .route_layer(middleware::from_fn_with_state(Arc::clone(shared), guard))
}

async fn guard(State(shared): Here, request: Request, next: Next) -> Response {
    let Some(token) = &shared.admin_token else {
        let body = json!({
            "error": "this daemon takes no wishes over HTTP",
            "mend": HOW_TO_TURN_ON,
        });
        return (StatusCode::FORBIDDEN, Json(body)).into_response();
    };
    if carries(request.headers(), token) {
        return next.run(request).await;
    }
    let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
    let refusal = problem(
        StatusCode::UNAUTHORIZED,
        "the bearer token is not the right one",
    );
    (challenge, refusal).into_response()
}

fn carries(headers: &HeaderMap, token: &Secret) -> bool {
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        return false;
    };
    let Some((scheme, given)) = value.to_str().ok().and_then(|text| text.split_once(' ')) else {
        return false;
    };
    // Digests are compared: how long that takes tells nothing about the token, not even its
    // length. An empty token opens nothing.
    let same = Sha256::digest(given.trim()) == Sha256::digest(token.expose());
    same && scheme.eq_ignore_ascii_case("bearer") && !token.expose().is_empty()
}

fn wish(
    State(shared): Here,
    Path(id): Path<String>,
    event: impl FnOnce(ViewId) -> Event,
) -> Response {
    let snapshot = shared.snapshot();
    let view = ViewId::from(id);
    if !snapshot.views.iter().any(|known| known.view == view) {
        return no_such_view(view.as_str());
    }
    if snapshot.draining {
        return problem(
            StatusCode::SERVICE_UNAVAILABLE,
            "the daemon is shutting down",
        );
    }
    let body = json!({ "accepted": true, "view": view.as_str() });
    let event = event(view);
    tracing::info!(wish = ?event, "a wish came in over HTTP");
    match shared.wishes.try_send(event) {
        Ok(()) => (StatusCode::ACCEPTED, Json(body)).into_response(),
        Err(TrySendError::Full(_)) => problem(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many wishes are waiting; try again",
        ),
        Err(TrySendError::Closed(_)) => {
            problem(StatusCode::SERVICE_UNAVAILABLE, "the daemon has stopped")
        }
    }
}
