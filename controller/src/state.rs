//! `/v1/state` and `/v1/clb-access`: what this replica knows, for people who ask with `kubectl lameduck`.
//!
//! Anybody in the cluster may ask, as for metrics. It names pods that end and says how many connections they
//! have; it does not name load balancers, and no key.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use jiff::Timestamp;
use lameduck_api::state::{CLB_ACCESS_PATH, ClbAccess, ReplicaState, STATE_PATH};
use lameduck_clb::{Error, Failure, RefusalKind, VpcAddress};
use lameduck_core::text::chain;
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::clb::Api;
use crate::hold::Seen;
use crate::index::{Kind, SharedIndex};
use crate::leader::Leadership;

/// Time for which the answer to the last try is given again: the limit of the API is for those that drain.
const TRY_EVERY: Duration = Duration::from_secs(10);

/// What the two answer from.
#[derive(Clone)]
pub struct State<A> {
    /// The watches' health.
    pub index: SharedIndex,
    /// Who leads.
    pub leadership: Leadership,
    /// What holds said.
    pub seen: Seen,
    /// The API of the load balancers, where it is to be read.
    pub clb: Option<A>,
    /// The VPC of the cluster, where it is known.
    pub vpc_id: Option<String>,
    /// The last try of the API.
    pub tried: Arc<Mutex<Option<(Instant, ClbAccess)>>>,
}

impl<A> std::fmt::Debug for State<A> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("State")
    }
}

impl<A: Api> State<A> {
    /// Its routes.
    pub fn router(self) -> Router {
        Router::new()
            .route(STATE_PATH, get(async |Shared(state): Shared<Self>| json(&state.replica())))
            .route(
                CLB_ACCESS_PATH,
                get(async |Shared(state): Shared<Self>| json(&state.clb_access().await)),
            )
            .with_state(self)
    }

    fn replica(&self) -> ReplicaState {
        let now = Instant::now();
        let unready_watches = self.index.with(|index| {
            let stale =
                |kind: Kind| Some(format!("{} {}", kind.as_str(), index.health(kind).stale(now)?));
            index.kinds().filter_map(stale).collect()
        });
        ReplicaState {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            leads: self.leadership.is_held(),
            unready_watches,
            reads_clb: self.clb.is_some(),
            holds: self.seen.fresh(Timestamp::now()),
        }
    }

    /// Reads once, or says what came of it a moment ago. Whoever asks meanwhile waits for the same answer.
    async fn clb_access(&self) -> ClbAccess {
        let mut tried = Arc::clone(&self.tried).lock_owned().await;
        if let Some((at, access)) = &*tried
            && at.elapsed() < TRY_EVERY
        {
            return access.clone();
        }
        // On its own: who asks and hangs up must not make the next one try again.
        let state = self.clone();
        let trying = tokio::spawn(async move {
            let access = state.try_clb().await;
            *tried = Some((Instant::now(), access.clone()));
            access
        });
        trying.await.unwrap_or_else(|error| ClbAccess {
            configured: true,
            error: Some(format!("the try did not end in order: {error}")),
            ..ClbAccess::default()
        })
    }

    async fn try_clb(&self) -> ClbAccess {
        let Some(api) = &self.clb else { return ClbAccess::default() };
        let (call, failure) = if let Some(vpc_id) = &self.vpc_id {
            let backend = VpcAddress { vpc_id: vpc_id.clone(), private_ip: self.some_address() };
            ("DescribeLBListeners", api.bindings(&[backend]).await.err())
        } else if let Some(id) = self.index.with(|index| index.some_load_balancer()) {
            ("DescribeTargets", api.targets(&id, None).await.err())
        } else {
            return ClbAccess { configured: true, ..ClbAccess::default() };
        };
        ClbAccess {
            configured: true,
            call: Some(call.to_owned()),
            error: failure.filter(|error| !is_about_the_object(error)).map(|error| words(&error)),
        }
    }

    /// An address to look up: that of some pod, for it is in the VPC.
    fn some_address(&self) -> IpAddr {
        let known = self.index.with(|index| index.some_address());
        known.unwrap_or(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)))
    }
}

fn json<T: Serialize>(said: &T) -> Response {
    match serde_json::to_vec(said) {
        Ok(body) => ([(CONTENT_TYPE, "application/json")], body).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Why a call failed. Of what the API itself said the code alone: its message may name accounts and resources, and
/// anybody may ask.
fn words(error: &Error) -> String {
    match &error.failure {
        Failure::Refused(refusal) => format!("{}: {}", refusal.kind.meaning(), refusal.code),
        _ => chain(error),
    }
}

/// Whether the API took the keys and the call, and has something against what was asked about.
fn is_about_the_object(error: &Error) -> bool {
    matches!(&error.failure, Failure::Refused(refusal) if refusal.kind == RefusalKind::NotFound)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use lameduck_clb::{Bindings, Health, Listeners};

    use super::*;

    #[derive(Clone, Default)]
    struct Counted(Arc<AtomicUsize>);

    impl Api for Counted {
        async fn targets(&self, _: &str, _: Option<&str>) -> Result<Listeners, Error> {
            unreachable!("the VPC is known")
        }

        async fn health(&self, _: &str, _: Option<&str>) -> Result<Health, Error> {
            unreachable!("nobody asks for it")
        }

        async fn bindings(&self, _: &[VpcAddress]) -> Result<Bindings, Error> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(Bindings::default())
        }
    }

    fn state<A: Api>(clb: Option<A>, vpc_id: Option<&str>) -> State<A> {
        State {
            index: SharedIndex::default(),
            leadership: Leadership::default(),
            seen: Seen::default(),
            clb,
            vpc_id: vpc_id.map(str::to_owned),
            tried: Arc::default(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_api_is_tried_once_in_a_while_however_many_ask() {
        let api = Counted::default();
        let state = state(Some(api.clone()), Some("vpc-1"));
        for _ in 0..5 {
            let access = state.clb_access().await;
            assert_eq!((access.configured, access.error), (true, None));
        }
        assert_eq!(api.0.load(Ordering::Relaxed), 1);
        tokio::time::advance(TRY_EVERY).await;
        state.clb_access().await;
        assert_eq!(api.0.load(Ordering::Relaxed), 2);
    }

    #[derive(Clone, Default)]
    struct Slow(Counted);

    impl Api for Slow {
        async fn targets(&self, _: &str, _: Option<&str>) -> Result<Listeners, Error> {
            unreachable!("the VPC is known")
        }

        async fn health(&self, _: &str, _: Option<&str>) -> Result<Health, Error> {
            unreachable!("nobody asks for it")
        }

        async fn bindings(&self, backends: &[VpcAddress]) -> Result<Bindings, Error> {
            let answer = self.0.bindings(backends).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            answer
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_hangs_up_does_not_make_the_next_one_try_again() {
        let api = Slow::default();
        let state = state(Some(api.clone()), Some("vpc-1"));
        for _ in 0..5 {
            let hung_up = tokio::time::timeout(Duration::from_millis(10), state.clb_access()).await;
            assert!(hung_up.is_err());
        }
        assert_eq!(state.clb_access().await.error, None);
        assert_eq!(api.0.0.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn what_cannot_be_tried_is_said() {
        let none = state::<Counted>(None, None).clb_access().await;
        assert_eq!(none, ClbAccess::default());
        let nothing_to_ask_about = state(Some(Counted::default()), None).clb_access().await;
        assert_eq!((nothing_to_ask_about.configured, nothing_to_ask_about.call), (true, None));
    }

    #[tokio::test]
    async fn a_replica_says_what_it_has_not_read_yet() {
        let said = state::<Counted>(None, None).replica();
        assert!(!said.leads && !said.reads_clb);
        assert!(said.unready_watches.iter().any(|watch| watch.starts_with("pods ")), "{said:?}");
    }
}
