//! `/metrics`, `/healthz`, `/readyz`.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::index::{Kind, SharedIndex};
use crate::metrics::Metrics;

/// What the three answer from.
#[derive(Clone, Debug)]
pub struct Admin {
    /// The watches' health.
    pub index: SharedIndex,
    /// Metrics.
    pub metrics: Metrics,
    /// After it, this replica is not ready any more.
    pub stop: CancellationToken,
}

impl Admin {
    /// Its routes.
    pub fn router(self) -> Router {
        Router::new()
            .route("/healthz", get(async || "ok\n"))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .with_state(self)
    }
}

/// Ready where every watch has been read and none is broken for long: a hold that is answered from an
/// old state should rather ask another replica.
async fn readyz(State(admin): State<Admin>) -> Response {
    if admin.stop.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "shutting down\n").into_response();
    }
    let now = Instant::now();
    let unready: Vec<String> = admin.index.with(|index| {
        Kind::ALL
            .into_iter()
            .filter_map(|kind| Some((kind, index.health(kind).unready(now)?)))
            .map(|(kind, why)| format!("the watch of {} {why}\n", kind.as_str()))
            .collect()
    });
    if unready.is_empty() {
        "ok\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, unready.concat()).into_response()
    }
}

async fn metrics(State(admin): State<Admin>) -> Response {
    match admin.metrics.encode(&admin.index) {
        Ok(text) => {
            let type_ = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(CONTENT_TYPE, type_)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
