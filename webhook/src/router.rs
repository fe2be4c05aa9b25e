//! The HTTP side of a review: what is accepted, what is refused, and how much memory bodies may take.

use std::{sync::Arc, time::Instant};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{
        HeaderMap, StatusCode,
        header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER},
    },
    response::{IntoResponse, Response},
    routing::post,
};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use lameduck_core::inject::Settings;
use tokio::{
    sync::Semaphore,
    time::{Duration, timeout},
};
use tracing::{debug, warn};

use crate::{
    admission::{self, Hook},
    index::Index,
    metrics::Metrics,
};

/// The largest body that is read: the API server itself takes no larger request.
pub const MAX_BODY_BYTES: usize = 3 << 20;
/// A body that is too large is read to its end up to here, so that its connection can live on.
const MAX_DISCARDED_BYTES: usize = 12 << 20;
/// Memory that all bodies together may take: 21 of the largest, thousands of ordinary ones.
const MAX_BODIES_BYTES: usize = 64 << 20;
/// The configured time-out of the hooks is 5 s: a body that takes longer is waited for by nobody.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// What every review needs.
#[derive(Clone)]
pub struct Reviewer {
    index: Index,
    settings: Arc<Settings>,
    metrics: Arc<Metrics>,
    /// One permit for each byte of a body in memory.
    bodies: Arc<Semaphore>,
}

impl Reviewer {
    /// Puts the parts together.
    pub fn new(index: Index, settings: Settings, metrics: Arc<Metrics>) -> Self {
        let bodies = Arc::new(Semaphore::new(MAX_BODIES_BYTES));
        Self { index, settings: Arc::new(settings), metrics, bodies }
    }
}

/// The router of the TLS port.
pub fn router(reviewer: Reviewer) -> Router {
    Router::new()
        .route("/v1/mutate/pods", post(pods))
        .route("/v1/mutate/workloads", post(workloads))
        .with_state(reviewer)
}

async fn pods(State(reviewer): State<Reviewer>, request: Request) -> Response {
    review(Hook::Pods, &reviewer, request).await
}

async fn workloads(State(reviewer): State<Reviewer>, request: Request) -> Response {
    review(Hook::Workloads, &reviewer, request).await
}

/// A request that is no review.
struct Refusal {
    status: StatusCode,
    message: String,
}

async fn review(hook: Hook, reviewer: &Reviewer, request: Request) -> Response {
    match accept(hook, reviewer, request).await {
        Ok(body) => ([(CONTENT_TYPE, "application/json")], body).into_response(),
        Err(Refusal { status, message }) => {
            reviewer.metrics.rejected(status.as_u16());
            debug!(hook = hook.as_str(), status = status.as_u16(), message, "request refused");
            let mut response = (status, format!("{message}\n")).into_response();
            if status == StatusCode::TOO_MANY_REQUESTS {
                // The API server's client then tries again by itself, within the hook's time-out.
                response.headers_mut().insert(RETRY_AFTER, 1.into());
            }
            response
        }
    }
}

async fn accept(hook: Hook, reviewer: &Reviewer, request: Request) -> Result<Vec<u8>, Refusal> {
    let (head, body) = request.into_parts();
    let expected_bytes = content_length(&head.headers).unwrap_or(MAX_BODY_BYTES);
    let is_json = is_json(&head.headers);
    let permits = u32::try_from(expected_bytes.min(MAX_BODY_BYTES)).unwrap_or(u32::MAX);
    let Ok(_memory) = reviewer.bodies.try_acquire_many(permits) else {
        return Err(Refusal {
            status: StatusCode::TOO_MANY_REQUESTS,
            message: format!("reviews in flight take {MAX_BODIES_BYTES} bytes already"),
        });
    };
    let body = timeout(BODY_TIMEOUT, read(body, expected_bytes)).await.map_err(|_| Refusal {
        status: StatusCode::REQUEST_TIMEOUT,
        message: format!("the body did not arrive within {} s", BODY_TIMEOUT.as_secs()),
    })??;
    // Only now: a refusal with the body unread would cost the connection.
    if !is_json {
        return Err(Refusal {
            status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
            message: "expected content type application/json".to_owned(),
        });
    }
    let start = Instant::now();
    let reviewed = admission::review(hook, &body, &reviewer.index.read(), &reviewer.settings)
        .map_err(|error| Refusal { status: StatusCode::BAD_REQUEST, message: error.0 })?;
    let seconds = start.elapsed().as_secs_f64();
    reviewer.metrics.reviewed(hook, reviewed.outcome, reviewed.operations, seconds);
    match &reviewed.problem {
        Some(problem) => warn!(
            hook = hook.as_str(),
            outcome = reviewed.outcome,
            problem,
            "object allowed without a change"
        ),
        None => debug!(
            hook = hook.as_str(),
            outcome = reviewed.outcome,
            operations = reviewed.operations,
            "reviewed"
        ),
    }
    Ok(reviewed.body)
}

fn content_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn is_json(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case("application/json"))
}

/// Reads a body of at most [`MAX_BODY_BYTES`]; reads on for a while and refuses where it is larger.
async fn read(mut body: Body, expected_bytes: usize) -> Result<Bytes, Refusal> {
    let mut all = BytesMut::with_capacity(expected_bytes.min(MAX_BODY_BYTES));
    let mut total_bytes = 0_usize;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Refusal {
            status: StatusCode::BAD_REQUEST,
            message: format!("the body broke off: {error}"),
        })?;
        let Ok(data) = frame.into_data() else { continue };
        total_bytes = total_bytes.saturating_add(data.len());
        if total_bytes <= MAX_BODY_BYTES {
            all.extend_from_slice(&data);
        } else {
            all = BytesMut::new();
        }
        if total_bytes > MAX_DISCARDED_BYTES {
            break;
        }
    }
    if total_bytes > MAX_BODY_BYTES {
        return Err(Refusal {
            status: StatusCode::PAYLOAD_TOO_LARGE,
            message: format!("the body is larger than {MAX_BODY_BYTES} bytes"),
        });
    }
    Ok(all.freeze())
}
