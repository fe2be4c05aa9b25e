//! The endpoint that holds ask, on every replica: `GET /v1/hold/{namespace}/{pod}` and
//! `POST /v1/hold/{namespace}/{pod}/report`.
//!
//! A pod hears about itself only: the peer's address and the UID must be the pod's. A long poll is a
//! future that waits for the pod's next change; it costs no thread.

mod answers;
mod reports;
mod seen;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, Query, State};
use axum::http::header::{CONNECTION, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};
use jiff::Timestamp;
use lameduck_api::state::HoldSeen;
use lameduck_core::drain::{Answer, HoldState};
use lameduck_core::text::chain;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::events::Events;
use crate::index::{Index, Pod, PodKey, SharedIndex};
use crate::metrics::Metrics;
use crate::pods::Pods;
pub use seen::Seen;

/// Holds that may wait at once: every container of a node drain many times over, at some 2 KB each.
const WAITING_MAX: usize = 10_000;
/// The longest that one poll may wait, in seconds.
const WAIT_SECONDS_MAX: u64 = 20;
/// What one pod may make us ask or tell the API server: per second, and at once. A container that is
/// restarted asks once; a pod of ten containers reports ten times.
const PER_POD_PER_SECOND: NonZeroU32 = NonZeroU32::new(2).unwrap();
const PER_POD_AT_ONCE: NonZeroU32 = NonZeroU32::new(20).unwrap();
/// Pods whose rate is remembered before those that have been quiet are forgotten.
const RATES_MAX: usize = 4096;
/// Refusals that are logged per second: anybody in the cluster can cause one.
const REFUSALS_LOGGED_PER_SECOND: NonZeroU32 = NonZeroU32::new(5).unwrap();
/// Confirming reads at once, for answers that let a container go.
const CONFIRMATIONS_AT_ONCE: usize = 32;
/// Reports on their way to the API server at once.
const REPORTS_AT_ONCE: usize = 64;
/// Bytes of a report.
const REPORT_BYTES_MAX: usize = 8 * 1024;

/// What the endpoint works with.
#[derive(Clone)]
pub struct Holds {
    index: SharedIndex,
    pods: Pods,
    events: Events,
    metrics: Metrics,
    seen: Seen,
    waiting: Arc<Semaphore>,
    confirmations: Arc<Semaphore>,
    reports: Arc<Semaphore>,
    rates: Arc<DefaultKeyedRateLimiter<Box<str>>>,
    refusals: Arc<DefaultDirectRateLimiter>,
    tasks: TaskTracker,
    accept_node_addresses: bool,
    stop: CancellationToken,
}

impl std::fmt::Debug for Holds {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Holds")
    }
}

impl Holds {
    /// An endpoint that answers from `index`. After `stop` every waiting poll is answered at once.
    #[must_use]
    pub fn new(
        index: SharedIndex,
        pods: Pods,
        events: Events,
        metrics: Metrics,
        accept_node_addresses: bool,
        stop: CancellationToken,
    ) -> Self {
        Self {
            index,
            pods,
            events,
            metrics,
            seen: Seen::default(),
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
            confirmations: Arc::new(Semaphore::new(CONFIRMATIONS_AT_ONCE)),
            reports: Arc::new(Semaphore::new(REPORTS_AT_ONCE)),
            rates: Arc::new(RateLimiter::keyed(
                Quota::per_second(PER_POD_PER_SECOND).allow_burst(PER_POD_AT_ONCE),
            )),
            refusals: Arc::new(RateLimiter::direct(Quota::per_second(REFUSALS_LOGGED_PER_SECOND))),
            tasks: TaskTracker::new(),
            accept_node_addresses,
            stop,
        }
    }

    /// What holds said when they asked.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.seen.clone()
    }

    /// Its routes. Requests must carry a [`ConnectInfo`] of the peer.
    pub fn router(self) -> Router {
        Router::new()
            .route("/v1/hold/{namespace}/{pod}", get(ask))
            .route("/v1/hold/{namespace}/{pod}/report", post(report))
            .layer(DefaultBodyLimit::max(REPORT_BYTES_MAX))
            .with_state(self)
    }

    /// Waits for the reports that are on their way.
    pub async fn finish(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Whether this pod may cause one more call to the API server. It has shown by now that it is the
    /// pod: nobody else spends its share.
    fn may_call(&self, uid: &str) -> Result<(), Refusal> {
        if self.rates.len() > RATES_MAX {
            self.rates.retain_recent();
            self.rates.shrink_to_fit();
        }
        self.rates.check_key(&uid.into()).map_err(|_| Refusal::TooMany)
    }

    /// The pod, where `peer` may ask about it.
    fn own_pod(&self, key: &PodKey, uid: &str, peer: IpAddr) -> Result<Pod, Refusal> {
        self.index.with(|index| {
            if !index.is_synced() {
                return Err(Refusal::NotReady);
            }
            let pod = index.pod(key).ok_or(Refusal::UnknownPod)?;
            if *pod.uid != *uid || !Index::is_pods_own(pod, peer, self.accept_node_addresses) {
                return Err(Refusal::NotThePod);
            }
            Ok(pod.clone())
        })
    }
}

/// Why a hold is not answered. It takes each of them for "no controller".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error("this replica has not read the cluster's state yet")]
    NotReady,
    #[error("no enrolled pod of that name")]
    UnknownPod,
    #[error("a pod may ask only about itself: address or UID is not that pod's")]
    NotThePod,
    #[error("too many requests, of this pod or of all")]
    TooMany,
    #[error("the pod could not be read from the API server")]
    NotConfirmed,
    #[error(
        "the pod's node shuts down, does not answer or is under pressure, so that its kubelet may be \
         ending the pod: its hold decides alone"
    )]
    MaybeEvicted,
    #[error("the report cannot be read")]
    BadReport,
}

impl Refusal {
    const fn status(self) -> StatusCode {
        match self {
            Self::NotReady | Self::TooMany | Self::NotConfirmed | Self::MaybeEvicted => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::UnknownPod => StatusCode::NOT_FOUND,
            Self::NotThePod => StatusCode::FORBIDDEN,
            Self::BadReport => StatusCode::BAD_REQUEST,
        }
    }
}

/// Query of a poll.
#[derive(Clone, Debug, Deserialize)]
struct Ask {
    uid: String,
    #[serde(default)]
    container: String,
    #[serde(default)]
    phase: String,
    #[serde(default)]
    state: String,
    #[serde(default)]
    connections: String,
    #[serde(default)]
    wait: u64,
}

impl Ask {
    /// What the hold says of itself. It comes from inside a user's pod.
    fn said(&self, key: &PodKey) -> HoldSeen {
        // The longest name of a container.
        const CONTAINER_BYTES_MAX: usize = 63;
        let word = |text: &str| -> String {
            text.chars().filter(char::is_ascii_graphic).take(CONTAINER_BYTES_MAX).collect()
        };
        HoldSeen {
            namespace: key.namespace.to_string(),
            pod: key.name.to_string(),
            uid: self.uid.clone(),
            container: word(&self.container),
            phase: word(&self.phase),
            connections: self.connections.parse().ok(),
            at: Timestamp::now(),
        }
    }
}

/// Body of an answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    state: &'static str,
    reason: &'a str,
    message: &'a str,
    deadline_seconds: Option<u32>,
}

async fn ask(
    State(holds): State<Holds>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path((namespace, pod)): Path<(String, String)>,
    Query(ask): Query<Ask>,
) -> Response {
    let key = PodKey::new(&namespace, &pod);
    debug!(
        namespace,
        pod,
        uid = ask.uid,
        container = ask.container,
        phase = ask.phase,
        state = ask.state,
        connections = ask.connections,
        "A hold asks."
    );
    let wait = Duration::from_secs(ask.wait.min(WAIT_SECONDS_MAX));
    let known = (!ask.state.is_empty()).then_some(ask.state.as_str());
    let said = ask.said(&key);
    match holds.answer(&key, &ask.uid, peer.ip(), known, wait, said).await {
        Ok((answer, stale)) => holds.respond(&answer, stale),
        Err(refusal) => holds.refuse(&key, &ask.uid, peer.ip(), refusal),
    }
}

async fn report(
    State(holds): State<Holds>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path((namespace, pod)): Path<(String, String)>,
    Query(ask): Query<Ask>,
    body: bytes::Bytes,
) -> Response {
    let key = PodKey::new(&namespace, &pod);
    match holds.take_report(&key, &ask, peer.ip(), &body) {
        Ok(()) => {
            holds.metrics.hold_request(StatusCode::ACCEPTED.as_u16());
            StatusCode::ACCEPTED.into_response()
        }
        Err(refusal) => holds.refuse(&key, &ask.uid, peer.ip(), refusal),
    }
}

impl Holds {
    fn respond(&self, answer: &Answer, stale: bool) -> Response {
        let body = Body {
            state: answer.state.as_str(),
            reason: answer.reason.as_str(),
            message: &answer.message,
            deadline_seconds: answer.deadline_seconds,
        };
        // Strings and a number: this does not fail.
        let body = serde_json::to_vec(&body).unwrap_or_default();
        self.metrics.hold_request(StatusCode::OK.as_u16());
        let mut response = (StatusCode::OK, body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if stale || self.stop.is_cancelled() {
            // The next request then finds another replica.
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    fn refuse(&self, key: &PodKey, uid: &str, peer: IpAddr, refusal: Refusal) -> Response {
        let status = refusal.status();
        self.metrics.hold_request(status.as_u16());
        if self.refusals.check().is_ok() {
            warn!(
                namespace = &*key.namespace,
                pod = &*key.name,
                uid,
                %peer,
                status = status.as_u16(),
                error = %chain(&refusal),
                "A hold was not answered."
            );
        }
        let mut response = (status, refusal.to_string()).into_response();
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        response
    }
}

/// Whether this answer lets a container go for good.
fn is_final(answer: &Answer) -> bool {
    answer.state == HoldState::NotTerminating
}
