//! Lists of any length, read by pages.

use kube::Error;
use kube::api::{ListParams, ObjectList};

/// Objects per answer, as kubectl asks for them.
const PAGE: u32 = 500;
/// Lists that expire while they are read (after 5 minutes) are begun again so often.
const RESTARTS_MAX: usize = 2;

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
}
