//! Temporary credentials: renewed ahead of their end, once for all who wait.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};

use super::{CredentialSource, Credentials, Problem, Remote, cvm_role, pod_identity};

/// Credentials are renewed so long before their end at least: what Tencent asks for with a node's role.
const AHEAD_MIN: SignedDuration = SignedDuration::from_secs(300);
/// And a tenth of their life before their end at least, as Tencent's own client does.
const AHEAD_PART: i32 = 10;
/// Shortest time between two renewals that nobody forces: bounds what a service that hands out
/// credentials near their end, or none, is asked.
const PAUSE: Duration = Duration::from_secs(5);
/// A renewal whose end nobody sees would be waited for for ever.
const RENEWAL_MAX: Duration = Duration::from_secs(60);

/// Why there are none: sources with their problems.
pub(super) type Problems = Vec<(CredentialSource, Problem)>;
type Outcome = Result<Arc<Credentials>, Arc<Problems>>;
type Renewal = Shared<BoxFuture<'static, Outcome>>;

/// The credentials of the pod's identity or the node's role.
#[derive(Clone)]
pub(super) struct Temporary(Arc<Inner>);

struct Inner {
    remote: Remote,
    state: Mutex<State>,
}

struct State {
    current: Option<Current>,
    /// The renewal that is on its way.
    renewal: Option<Renewal>,
    /// How the last renewal failed, while no later one succeeded.
    failed: Option<Arc<Problems>>,
    /// No renewal of its own accord before this, and none by force before the other.
    due: Instant,
    force_due: Instant,
}

#[derive(Clone)]
struct Current {
    credentials: Arc<Credentials>,
    renew_at: Timestamp,
}

impl Temporary {
    pub(super) fn new(remote: Remote) -> Self {
        let now = Instant::now();
        let state = State { current: None, renewal: None, failed: None, due: now, force_due: now };
        Self(Arc::new(Inner { remote, state: Mutex::new(state) }))
    }

    /// Valid credentials. Where they are to be renewed but still valid, the renewal goes on behind the
    /// caller's back; where there are none, it is waited for, at most until `deadline`.
    pub(super) async fn credentials(&self, deadline: Instant) -> Outcome {
        let renewal = {
            let mut state = self.0.lock();
            let now = self.0.remote.clock.now();
            let current = state.current.clone().filter(|it| it.credentials.is_valid(now));
            if let Some(current) = &current
                && now < current.renew_at
            {
                return Ok(Arc::clone(&current.credentials));
            }
            let renewal = match &state.renewal {
                Some(renewal) => Some(renewal.clone()),
                None if Instant::now() >= state.due => Some(self.start(&mut state)),
                None => None,
            };
            match (current, renewal, &state.failed) {
                (Some(current), ..) => return Ok(current.credentials),
                (None, Some(renewal), _) => renewal,
                (None, None, Some(problems)) => return Err(Arc::clone(problems)),
                // They ended within the pause after they came: too short a life to be of use.
                (None, None, None) => self.start(&mut state),
            }
        };
        self.wait(renewal, deadline).await
    }

    /// Other credentials than `refused`, which the API does not take any more. `None` where there are
    /// none; then `refused` was the best there is.
    pub(super) async fn instead_of(
        &self,
        refused: &Credentials,
        deadline: Instant,
    ) -> Option<Arc<Credentials>> {
        let renewal = {
            let mut state = self.0.lock();
            let now = self.0.remote.clock.now();
            if let Some(current) = &state.current
                && !current.credentials.is_same(refused)
                && current.credentials.is_valid(now)
            {
                return Some(Arc::clone(&current.credentials));
            }
            match &state.renewal {
                Some(renewal) => renewal.clone(),
                None if Instant::now() < state.force_due => return None,
                None => {
                    state.force_due = Instant::now() + PAUSE;
                    self.start(&mut state)
                }
            }
        };
        self.wait(renewal, deadline).await.ok().filter(|new| !new.is_same(refused))
    }

    async fn wait(&self, renewal: Renewal, deadline: Instant) -> Outcome {
        timeout_at(deadline, renewal).await.unwrap_or_else(|_| {
            Err(Arc::new(unanswered(&self.0.remote, "no answer within the time of the call")))
        })
    }

    /// Starts a renewal of its own: it goes on when whoever wanted it gives up.
    fn start(&self, state: &mut State) -> Renewal {
        let inner = Arc::clone(&self.0);
        let task = tokio::spawn(async move {
            // Taken down whatever happens, or no other renewal would ever begin.
            let _taken_down = TakeDown(Arc::clone(&inner));
            let renewed = tokio::time::timeout(RENEWAL_MAX, renew(&inner.remote)).await;
            let silent = |_| Err(unanswered(&inner.remote, "no answer in time"));
            inner.take_over(renewed.unwrap_or_else(silent))
        });
        let inner = Arc::clone(&self.0);
        let renewal = task
            .map(move |joined| {
                let stopped = |_| Err(Arc::new(unanswered(&inner.remote, "it was stopped")));
                joined.unwrap_or_else(stopped)
            })
            .boxed()
            .shared();
        state.renewal = Some(renewal.clone());
        renewal
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_over(&self, renewed: Result<Credentials, Problems>) -> Outcome {
        let now = self.remote.clock.now();
        let renewed = renewed.and_then(|credentials| match credentials.expires_at {
            Some(end) if end <= now => {
                let problem = Problem::passing(format!(
                    "it gave credentials that ended at {end}, and this machine's clock says {now}"
                ));
                Err(problems_of(credentials.source, problem))
            }
            _ => Ok(credentials),
        });
        let mut state = self.lock();
        state.due = Instant::now() + PAUSE;
        match renewed {
            Ok(credentials) => {
                let source = credentials.source;
                let expires_at = credentials.expires_at.unwrap_or(Timestamp::MAX);
                let ahead = AHEAD_MIN.max(expires_at.duration_since(now) / AHEAD_PART);
                let renew_at = expires_at.checked_sub(ahead).unwrap_or(now);
                let credentials = Arc::new(credentials);
                info!(%source, %expires_at, "Temporary credentials of Tencent Cloud are in use.");
                state.current = Some(Current { credentials: Arc::clone(&credentials), renew_at });
                state.failed = None;
                Ok(credentials)
            }
            Err(problems) => {
                let problems = Arc::new(problems);
                let valid = state.current.as_ref().is_some_and(|it| it.credentials.is_valid(now));
                let next = if valid { "the last ones are still valid" } else { "calls fail" };
                for (source, problem) in &*problems {
                    let reason = problem.text();
                    warn!(%source, reason, next, "Temporary credentials could not be had; trying again.");
                }
                state.failed = Some(Arc::clone(&problems));
                Err(problems)
            }
        }
    }
}

/// Takes the renewal out of the state when it ends.
struct TakeDown(Arc<Inner>);

impl Drop for TakeDown {
    fn drop(&mut self) {
        self.0.lock().renewal = None;
    }
}

async fn renew(remote: &Remote) -> Result<Credentials, Problems> {
    match pod_identity::credentials(remote).await {
        Err(Problem::NotApplicable(_)) => cvm_role::credentials(remote)
            .await
            .map_err(|problem| problems_of(CredentialSource::CvmRole, problem)),
        identity => identity.map_err(|problem| problems_of(CredentialSource::PodIdentity, problem)),
    }
}

/// No answer from the source that is configured.
fn unanswered(remote: &Remote, detail: &str) -> Problems {
    let source = if pod_identity::is_configured(remote) {
        CredentialSource::PodIdentity
    } else {
        CredentialSource::CvmRole
    };
    problems_of(source, Problem::passing(detail))
}

/// The problems of both sources, where `source` was the one to ask and has `problem`.
fn problems_of(source: CredentialSource, problem: Problem) -> Problems {
    use CredentialSource::{CvmRole, PodIdentity};
    if source == PodIdentity {
        vec![(PodIdentity, problem), (CvmRole, not_asked(PodIdentity))]
    } else {
        vec![(PodIdentity, pod_identity::not_configured()), (CvmRole, problem)]
    }
}

/// Of a source that comes after the one that is configured.
pub(super) fn not_asked(configured: CredentialSource) -> Problem {
    Problem::NotApplicable(format!("{configured} is configured"))
}
