//! Asks the API server. What cannot be looked at is said, and the rest is looked at all the same; only a
//! cluster that does not answer ends the check.

mod installation;
mod namespaces;

use futures::future::try_join;
use kube::Error;
use lameduck_core::text::chain;

use super::facts::{Facts, Look, Unseen};
use crate::common::cluster::{Cluster, ScopeArgs};
use crate::common::failure::{Exit, Failure, is_missing_kind};

/// Requests that are on their way at once.
const CONCURRENCY: usize = 8;

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

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn only_a_cluster_that_does_not_answer_ends_the_check() {
        let answer = |code, message: &str| {
            let status = Status { code, message: message.to_owned(), ..Status::default() };
            look("it cannot be read", Err::<(), _>(Error::Api(Box::new(status))))
        };
        assert!(matches!(answer(403, "forbidden"), Ok(Err(Unseen::Because(_)))));
        assert!(matches!(answer(404, "404 page not found"), Ok(Err(Unseen::NoSuchKind))));
        for code in [401, 429, 500, 503] {
            let failure = answer(code, "away").expect_err("no answer");
            assert_eq!(failure.exit, Exit::Unreachable, "{code}");
        }
    }
}
