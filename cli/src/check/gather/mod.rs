//! Asks the API server. What cannot be looked at is said, and the rest is looked at all the same; only a
//! cluster that does not answer ends the check.

mod installation;
mod namespaces;

use futures::future::try_join;
use kube::Error;
use kube::api::{ListParams, ObjectList};

use super::facts::{Facts, Look, Unseen};
use crate::common::cluster::{Cluster, ScopeArgs};
use crate::common::failure::{Exit, Failure, chain, is_missing_kind};

/// Objects per answer, as kubectl asks for them.
const PAGE: u32 = 500;
/// Requests that are on their way at once.
const CONCURRENCY: usize = 8;
/// Lists that expire while they are read (after 5 minutes) are begun again so often.
const RESTARTS_MAX: usize = 2;

/// Looks at everything.
///
/// # Errors
/// The cluster cannot be asked, or there is no such namespace.
pub(super) async fn gather(cluster: &Cluster, scope: &ScopeArgs) -> Result<Facts, Failure> {
    // First, so that a cluster that is away is one line, and soon.
    let server = installation::server(&cluster.client).await?;
    let (mut installation, seen) = try_join(
        installation::installation(&cluster.client),
        namespaces::namespaces(cluster, scope),
    )
    .await?;
    installation.server = server;
    Ok(Facts {
        client_version: env!("CARGO_PKG_VERSION").to_owned(),
        installation,
        policies: seen.policies,
        is_whole_cluster: scope.all_namespaces,
        is_selection: scope.selector.is_some(),
        namespaces: seen.namespaces,
        workloads: seen.workloads,
        pods: seen.pods,
        upgrades: seen.upgrades,
    })
}

/// What an answer says: seen, not to be seen, or a cluster that does not answer.
fn look<T>(what: &str, answer: Result<T, Error>) -> Result<Look<T>, Failure> {
    let error = match answer {
        Ok(seen) => return Ok(Ok(seen)),
        Err(error) => error,
    };
    match &error {
        Error::Api(status) if is_missing_kind(status) => return Ok(Err(Unseen::NoSuchKind)),
        Error::SerdeError(_) => return Ok(Err(Unseen::Because(chain(&error)))),
        _ => {}
    }
    let failure = Failure::of_call(what, &error);
    match failure.exit {
        Exit::Unreachable => Err(failure),
        _ => Ok(Err(Unseen::Because(failure.message))),
    }
}

/// Every page of a list, each object through `keep`, so that a large cluster is never held as a whole.
async fn pages<T: Clone, U>(
    params: ListParams,
    list: impl AsyncFn(ListParams) -> Result<ObjectList<T>, Error>,
    mut keep: impl FnMut(T) -> U,
) -> Result<Vec<U>, Error> {
    let (mut kept, mut restarts) = (Vec::new(), 0);
    let mut next = params.clone().limit(PAGE);
    loop {
        let page = match list(next.clone()).await {
            Ok(page) => page,
            Err(Error::Api(status)) if status.code == 410 && restarts < RESTARTS_MAX => {
                kept.clear();
                restarts += 1;
                next = params.clone().limit(PAGE);
                continue;
            }
            Err(error) => return Err(error),
        };
        kept.extend(page.items.into_iter().map(&mut keep));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => next = params.clone().limit(PAGE).continue_token(&token),
            None => return Ok(kept),
        }
    }
}
