//! `/healthz`, `/readyz` and `/metrics`, on a plain port of their own.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use jiff::Timestamp;
use lameduck_certs::ReloadingResolver;

use crate::{index::Index, metrics::Metrics};

/// What the answers are made of.
#[derive(Clone)]
pub struct Health {
    /// The watches.
    pub index: Index,
    /// The serving certificate.
    pub certificate: Arc<ReloadingResolver>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// Set once the process is on its way out.
    pub is_stopping: Arc<AtomicBool>,
}

/// The router of the plain port.
pub fn router(health: Health) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(health)
}

async fn ready(State(health): State<Health>) -> Response {
    let missing = if health.is_stopping.load(Ordering::Relaxed) {
        "the process is stopping"
    } else if !health.index.read().is_synced() {
        "policies and namespaces are not listed yet"
    } else if !health.certificate.is_ready(Timestamp::now()) {
        "there is no valid serving certificate; the controller writes it"
    } else {
        return "ok\n".into_response();
    };
    (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {missing}\n")).into_response()
}

async fn metrics(State(health): State<Health>) -> Response {
    let ends = health.certificate.serving().not_after.map(|end| end.as_second() as f64);
    match health.metrics.encode(ends) {
        Ok(text) => {
            const FORMAT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(CONTENT_TYPE, FORMAT)], text).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
