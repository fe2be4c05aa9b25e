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
pub(crate) async fn pages<T: Clone, U>(
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

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use kube::core::{ListMeta, Status, TypeMeta};

    use super::*;

    fn page(items: &[u32], token: &str) -> ObjectList<u32> {
        let metadata = ListMeta { continue_: Some(token.to_owned()), ..ListMeta::default() };
        ObjectList { types: TypeMeta::default(), metadata, items: items.to_vec() }
    }

    fn gone() -> Error {
        Error::Api(Box::new(Status { code: 410, ..Status::default() }))
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_list_is_read_by_pages_and_begun_again_where_it_expires() {
        let expires = Cell::new(true);
        let list = async |params: ListParams| {
            assert_eq!(params.limit, Some(PAGE));
            match params.continue_token.as_deref() {
                None => Ok(page(&[1, 2], "second")),
                Some(_) if expires.replace(false) => Err(gone()),
                Some(token) => {
                    assert_eq!(token, "second");
                    Ok(page(&[3], ""))
                }
            }
        };
        let all = pages(ListParams::default(), list, |one| one * 10).await.expect("a list");
        assert_eq!(all, [10, 20, 30]);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_list_that_always_expires_is_given_up() {
        let asked = Cell::new(0);
        let list = async |_| -> Result<ObjectList<u32>, Error> {
            asked.set(asked.get() + 1);
            Err(gone())
        };
        assert!(pages(ListParams::default(), list, |one| one).await.is_err());
        assert_eq!(asked.get(), RESTARTS_MAX + 1);
    }

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
