//! One call: limiter, credentials, signature, tries.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use serde_json::Value;
use tokio::time::Instant;
use tracing::warn;

use crate::clock::Clock;
use crate::credentials::{Chain, Credentials};
use crate::envelope::{self, Reply};
use crate::error::{Error, Failure, RefusalKind};
use crate::http::Http;
use crate::limit::Limiter;
use crate::retry::{self, Bounds};
use crate::settings::{Endpoint, Limits, Settings, SettingsError, check_region};
use crate::sign::{Call, sign};
use crate::text::one_line_without;

const VERSION: &str = "2018-03-17";
/// A place in the limiter's queue is of no use later than this before the call's deadline.
const ANSWER_TIME: Duration = Duration::from_secs(1);

/// What can be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    DescribeTargets,
    DescribeTargetHealth,
    DescribeLBListeners,
    DescribeLoadBalancers,
    DescribeTaskStatus,
    ModifyTargetWeight,
    BatchModifyTargetWeight,
}

impl Action {
    const COUNT: usize = Self::BatchModifyTargetWeight as usize + 1;

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::DescribeTargets => "DescribeTargets",
            Self::DescribeTargetHealth => "DescribeTargetHealth",
            Self::DescribeLBListeners => "DescribeLBListeners",
            Self::DescribeLoadBalancers => "DescribeLoadBalancers",
            Self::DescribeTaskStatus => "DescribeTaskStatus",
            Self::ModifyTargetWeight => "ModifyTargetWeight",
            Self::BatchModifyTargetWeight => "BatchModifyTargetWeight",
        }
    }
}

/// Asks the CLB API. Clones share connections, credentials and limits.
#[derive(Clone)]
pub struct Client {
    region: Arc<str>,
    shared: Arc<Shared>,
}

struct Shared {
    endpoint: Endpoint,
    limits: Limits,
    http: Http,
    clock: Clock,
    credentials: Chain,
    /// One for each action: the API counts them apart.
    limiters: [Limiter; Action::COUNT],
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("region", &self.region)
            .field("endpoint", &self.shared.endpoint)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// A client of one endpoint. Nothing is asked yet, not even for credentials.
    ///
    /// # Errors
    /// Settings that cannot work, or TLS without root certificates.
    pub fn new(settings: Settings) -> Result<Self, SettingsError> {
        let http = match Http::new() {
            Ok(http) => http,
            Err(error) if settings.endpoint.is_https() => return Err(SettingsError::Tls(error)),
            Err(error) => {
                if settings.credentials.sts.is_https() {
                    warn!(%error, "STS cannot be asked over TLS; pod identity fails, if it is used.");
                }
                Http::plain()
            }
        };
        Self::over(http, Clock::System, settings)
    }

    pub(crate) fn over(
        http: Http,
        clock: Clock,
        settings: Settings,
    ) -> Result<Self, SettingsError> {
        settings.check()?;
        let Settings { endpoint, region, credentials, limits } = settings;
        let credentials = Chain::new(http.clone(), clock, credentials, limits.clone());
        let limiters = std::array::from_fn(|_| Limiter::new(limits.requests_per_second));
        let shared = Shared { endpoint, limits, http, clock, credentials, limiters };
        Ok(Self { region: region.into(), shared: Arc::new(shared) })
    }

    /// The same client, asking `region`. The limits stay shared: the API counts by account.
    ///
    /// # Errors
    /// Where it is no name of a region.
    pub fn in_region(&self, region: &str) -> Result<Self, SettingsError> {
        check_region(region)?;
        Ok(Self { region: region.into(), shared: Arc::clone(&self.shared) })
    }

    /// The region that is asked.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Calls `action` and reads its answer.
    pub(crate) async fn call<T>(
        &self,
        action: Action,
        body: Result<Value, Failure>,
        read: impl FnOnce(&Reply) -> Result<T, Failure>,
    ) -> Result<T, Error> {
        let sent = AtomicU32::new(0);
        let answered = async {
            let body = Bytes::from(body?.to_string());
            let reply = self.tried(action, &body, &sent).await?;
            read(&reply)
        };
        answered.await.map_err(|failure| Error {
            action: action.name(),
            region: self.region.as_ref().to_owned(),
            tries: sent.load(Ordering::Relaxed),
            failure,
        })
    }

    async fn tried(
        &self,
        action: Action,
        body: &Bytes,
        sent: &AtomicU32,
    ) -> Result<Reply, Failure> {
        let shared = &self.shared;
        let deadline = Instant::now() + shared.limits.call_timeout;
        let bounds = Bounds { tries_max: shared.limits.tries_max, deadline };
        let renewed = AtomicBool::new(false);
        let attempt = || async {
            let credentials =
                shared.credentials.credentials(deadline).await.map_err(Failure::Credentials)?;
            let answer = self.once(action, body, &credentials, deadline, sent).await;
            match &answer {
                Err(Failure::Refused(refusal)) if refusal.kind == RefusalKind::TokenFailure => {}
                _ => return answer,
            }
            // Ended before their time, or taken back. Once: with others it may go, with more of them
            // it will not.
            if renewed.swap(true, Ordering::Relaxed) {
                return answer;
            }
            match shared.credentials.instead_of(&credentials, deadline).await {
                Some(others) => self.once(action, body, &others, deadline, sent).await,
                None => answer,
            }
        };
        retry::run(action.name(), bounds, attempt).await.map_err(|(failure, _)| failure)
    }

    /// One request, in its turn.
    async fn once(
        &self,
        action: Action,
        body: &Bytes,
        credentials: &Credentials,
        deadline: Instant,
        sent: &AtomicU32,
    ) -> Result<Reply, Failure> {
        let Shared { endpoint, limits, http, clock, limiters, .. } = &*self.shared;
        let for_answer = ANSWER_TIME.min(limits.call_timeout / 4);
        limiters[action as usize].place(deadline - for_answer).await?;
        let call = Call {
            action: action.name(),
            version: VERSION,
            region: &self.region,
            host: endpoint.host(),
            body,
        };
        // After the wait for a place: the signature carries the time.
        let headers = sign(clock.now(), call, credentials)
            .map_err(|error| Failure::Invalid(format!("the request cannot be signed: {error}")))?;
        let mut request = Request::post(endpoint.uri("/"));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request
            .body(Full::new(body.clone()))
            .map_err(|error| Failure::Invalid(format!("the endpoint {endpoint:?}: {error}")))?;
        let left = deadline.saturating_duration_since(Instant::now());
        sent.fetch_add(1, Ordering::Relaxed);
        let answer =
            http.send(request, limits.try_timeout.min(left), limits.answer_max_bytes).await?;
        envelope::open(&answer, clock.now(), &|text| one_line_without(text, credentials))
    }
}
