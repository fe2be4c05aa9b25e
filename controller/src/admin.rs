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

/// Ready where every watch has been read once and that of pods is not broken for long: a hold that is
/// answered from an old state should rather ask another replica. Another broken watch makes verdicts
/// Unknown, on every replica alike; holds still hear them.
async fn readyz(State(admin): State<Admin>) -> Response {
    if admin.stop.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "shutting down\n").into_response();
    }
    let now = Instant::now();
    let unready: Vec<String> = admin.index.with(|index| {
        index
            .kinds()
            .filter(|kind| *kind == Kind::Pods || !index.health(*kind).is_synced())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::BROKEN_MAX;
    use crate::leader::Leadership;

    #[tokio::test(start_paused = true)]
    async fn only_the_watch_of_pods_takes_the_hold_endpoint_away() {
        let admin = Admin {
            index: SharedIndex::default(),
            metrics: Metrics::new(Leadership::default()),
            stop: CancellationToken::new(),
        };
        let status = async || readyz(State(admin.clone())).await.status();
        let (last, others) =
            (Kind::Nodes, Kind::ALL.into_iter().filter(|kind| *kind != Kind::Nodes));
        for kind in others {
            admin.index.with(|index| index.watch_synced(kind, Instant::now()));
        }
        assert_eq!(status().await, StatusCode::SERVICE_UNAVAILABLE, "one has never been read");
        admin.index.with(|index| index.watch_synced(last, Instant::now()));
        assert_eq!(status().await, StatusCode::OK);

        for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Pods) {
            admin.index.with(|index| index.watch_broken(kind, Instant::now()));
        }
        tokio::time::advance(BROKEN_MAX * 2).await;
        assert_eq!(status().await, StatusCode::OK);
        admin.index.with(|index| index.watch_broken(Kind::Pods, Instant::now()));
        assert_eq!(status().await, StatusCode::OK, "for a moment that happens to every replica");
        tokio::time::advance(BROKEN_MAX * 2).await;
        assert_eq!(status().await, StatusCode::SERVICE_UNAVAILABLE);
    }
}
