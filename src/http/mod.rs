//! What the daemon tells over HTTP, and the little it can be told.
//!
//! Decides: the routes, what alive and ready mean, and status codes. Alive: the loop came
//! round within ten seconds; AWS has no say in it, so that an outage there does not make an
//! orchestrator restart what works. Ready: it has something to do and can do it.
//! Deliberately absent: decisions. Answers come from the last snapshot; wishes go into the
//! loop's queue, and a full queue is said rather than waited for. So these routes answer as
//! long as the process runs, also while the loop drains.

mod admin;
mod awake;
mod estate;
mod explain;
mod page;
mod report;
mod server;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Json, Response};
use axum::routing::get;
use serde::Serialize;
use serde_json::json;
use tidekeeper_scheduler::{Access, Event, Snapshot, Span, Timestamp};
use tokio::sync::{mpsc, watch};

use crate::logging::Secret;
use crate::metrics::Metrics;
use crate::observe::{self, Observer};

pub use server::serve;

/// How old the loop's heartbeat may be: the loop must come round well within it also when
/// there is nothing to do.
const HEARTBEAT_LIMIT: Span = Span::from_secs(10);

/// No route reads a body; this much is accepted and ignored.
const BODY_LIMIT: usize = 10 * 1024;

/// What the routes read and write.
#[derive(Clone)]
pub struct Shared {
    /// The state as of the loop's last step.
    pub snapshot: watch::Receiver<Arc<Snapshot>>,
    pub metrics: Arc<Metrics>,
    pub observer: Arc<Observer>,
    /// The daemon's one clock.
    pub now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// When the loop last came round, in microseconds as in [`Timestamp`].
    pub heartbeat: Arc<AtomicI64>,
    /// Whether a configuration is in force.
    pub config_loaded: Arc<AtomicBool>,
    /// The loop's queue.
    pub wishes: mpsc::Sender<Event>,
    /// Without one, every route that changes something is off.
    pub admin_token: Option<Secret>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("heartbeat", &self.heartbeat)
            .field("config_loaded", &self.config_loaded)
            .field("admin_token", &self.admin_token)
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// Not held across an await: the loop's sender would wait for it.
    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.borrow())
    }

    fn report(&self) -> report::Report {
        let catalog = self.metrics.catalog();
        report::Report::new(&self.snapshot(), &catalog.prices, (self.now)())
    }
}

/// All routes.
pub fn router(shared: Shared) -> Router {
    let shared = Arc::new(shared);
    Router::new()
        .route("/", get(|shared| async { status_page(shared) }))
        .route("/metrics", get(|shared| async { metrics(shared) }))
        .route("/healthz", get(|shared| async { alive(shared) }))
        .route("/readyz", get(|shared| async { ready(shared) }))
        .route("/api/v1/views", get(|shared| async { views(shared) }))
        .route(
            "/api/v1/views/{id}",
            get(|shared, id| async { view(shared, id) }),
        )
        .route("/report", get(|shared| async { report_page(shared) }))
        .route(observe::REPORT, get(|shared| async { report(shared) }))
        .route(
            observe::RECORDING,
            get(|shared| async { recording(shared) }),
        )
        .merge(admin::routes(&shared))
        .fallback(|| async { problem(StatusCode::NOT_FOUND, "no such page") })
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(shared)
}

type Here = State<Arc<Shared>>;

fn status_page(State(shared): Here) -> Response {
    page_of(page::render(&shared.report()))
}

fn report_page(State(shared): Here) -> Response {
    page_of(estate::render(&shared.observer.report()))
}

fn page_of(html: String) -> Response {
    let headers = [
        // Everything on the page is in the page.
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
        ),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, Html(html)).into_response()
}

fn metrics(State(shared): Here) -> Response {
    match shared.metrics.render() {
        Ok(page) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], page).into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics page cannot be written");
            let message = format!("the metrics page cannot be written: {error}");
            problem(StatusCode::INTERNAL_SERVER_ERROR, &message)
        }
    }
}

fn alive(State(shared): Here) -> Response {
    let beat = Timestamp::from_micros(shared.heartbeat.load(Ordering::Relaxed));
    let age = (shared.now)() - beat;
    if age < HEARTBEAT_LIMIT {
        return (StatusCode::OK, "ok\n").into_response();
    }
    let message = format!("the loop last came round {} ago\n", explain::span(age));
    (StatusCode::SERVICE_UNAVAILABLE, message).into_response()
}

fn ready(State(shared): Here) -> Response {
    let reasons = unready(&shared);
    let status = if reasons.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = json!({ "ready": reasons.is_empty(), "reasons": reasons });
    (status, Json(body)).into_response()
}

/// Why it is not ready; empty when it is.
fn unready(shared: &Shared) -> Vec<String> {
    let snapshot = shared.snapshot();
    let mut reasons = Vec::new();
    if !shared.config_loaded.load(Ordering::Relaxed) {
        reasons.push("no configuration is loaded".to_owned());
    }
    if snapshot.draining {
        reasons.push("the daemon is shutting down".to_owned());
    }
    if snapshot.warehouses.is_empty() {
        reasons.push("the configuration has not been taken up yet".to_owned());
    }
    let any_open = snapshot
        .warehouses
        .iter()
        .any(|warehouse| warehouse.access == Access::Open);
    if !any_open && !snapshot.views.is_empty() {
        for warehouse in &snapshot.warehouses {
            let id = &warehouse.warehouse;
            match &warehouse.access {
                Access::Open => {}
                Access::Scanning => reasons.push(format!(
                    "warehouse {id} is being searched for statements of an earlier life"
                )),
                Access::Blocked { failure, .. } => {
                    reasons.push(format!("warehouse {id} is blocked: {}", failure.message));
                }
            }
        }
    }
    reasons
}

fn views(State(shared): Here) -> Response {
    no_store(Json(shared.report()))
}

fn report(State(shared): Here) -> Response {
    no_store(Json(shared.observer.report()))
}

fn recording(State(shared): Here) -> Response {
    no_store(Json(shared.observer.recording()))
}

fn view(State(shared): Here, Path(id): Path<String>) -> Response {
    let report = shared.report();
    match report.views.into_iter().find(|view| view.view == id) {
        Some(view) => no_store(Json(view)),
        None => no_such_view(&id),
    }
}

fn no_store<T: Serialize>(body: Json<T>) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], body).into_response()
}

fn no_such_view(id: &str) -> Response {
    problem(StatusCode::NOT_FOUND, &format!("there is no view {id:?}"))
}

fn problem(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({ "error": error }))).into_response()
}
