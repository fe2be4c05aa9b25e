//! The order of sources.

use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use super::files::Files;
use super::renewal::{Problems, Temporary, not_asked};
use super::{CredentialError, CredentialSource, Credentials, Problem, Remote};
use crate::clock::Clock;
use crate::http::Http;
use crate::settings::{CredentialSettings, Limits};

const ORDER: [CredentialSource; 4] = [
    CredentialSource::Environment,
    CredentialSource::Files,
    CredentialSource::PodIdentity,
    CredentialSource::CvmRole,
];

/// All sources. Environment and files are looked at by each call, so that what an admin changes is in
/// use at once; what the other two gave is kept.
pub(crate) struct Chain {
    settings: CredentialSettings,
    files: Files,
    temporary: Temporary,
}

impl Chain {
    pub(crate) fn new(
        http: Http,
        clock: Clock,
        settings: CredentialSettings,
        limits: Limits,
    ) -> Self {
        let files = Files::new(settings.folder.clone());
        let remote = Remote { http, clock, settings: settings.clone(), limits };
        Self { settings, files, temporary: Temporary::new(remote) }
    }

    /// Credentials for one call.
    ///
    /// # Errors
    /// Every source, and why it gives none.
    pub(crate) async fn credentials(
        &self,
        deadline: Instant,
    ) -> Result<Arc<Credentials>, Arc<CredentialError>> {
        let mut problems = match self.fixed(deadline).await {
            Ok(credentials) => return Ok(credentials),
            Err(problems) => problems,
        };
        if problems.len() == ORDER.len() {
            return Err(Arc::new(CredentialError { problems }));
        }
        self.temporary.credentials(deadline).await.map_err(|more| {
            problems.extend(more.iter().cloned());
            Arc::new(CredentialError { problems })
        })
    }

    /// Other credentials than `refused`, which the API does not take any more, where there are.
    pub(crate) async fn instead_of(
        &self,
        refused: &Credentials,
        deadline: Instant,
    ) -> Option<Arc<Credentials>> {
        match self.fixed(deadline).await {
            Ok(credentials) => Some(credentials).filter(|new| !new.is_same(refused)),
            Err(problems) if problems.len() == ORDER.len() => None,
            Err(_) => self.temporary.instead_of(refused, deadline).await,
        }
    }

    /// What environment or files say. The problems are those of both, or of all sources where one of
    /// the two is configured and broken.
    async fn fixed(&self, deadline: Instant) -> Result<Arc<Credentials>, Problems> {
        let mut problems = Vec::new();
        let found = match self.settings.environment.credentials() {
            Ok(credentials) => return Ok(Arc::new(credentials)),
            Err(problem) => problem,
        };
        problems.push((CredentialSource::Environment, found));
        if let Some(problems) = stopped(&problems) {
            return Err(problems);
        }
        let silent = |_| Err(Problem::passing("no answer from the file system in time"));
        match timeout_at(deadline, self.files.credentials()).await.unwrap_or_else(silent) {
            Ok(credentials) => return Ok(credentials),
            Err(problem) => problems.push((CredentialSource::Files, problem)),
        }
        Err(stopped(&problems).unwrap_or(problems))
    }
}

/// The problems of all sources, where the last one that was asked is configured and failed.
fn stopped(problems: &Problems) -> Option<Problems> {
    let (source, Problem::Failed { .. }) = problems.last()? else { return None };
    let mut all = problems.clone();
    all.extend(ORDER[problems.len()..].iter().map(|later| (*later, not_asked(*source))));
    Some(all)
}
