//! Lists and watches, into the index.
//!
//! Own code, where kube's `watcher` would do most of it, for one reason: a drain must know when a watch
//! last *proved* that it lives, and that watcher keeps bookmarks and orderly ends to itself.
//!
//! ```text
//! list, page by page -> watch for 60 s from there -> watch again from the last version ...
//!       ^--- 410 Gone ---'        any other error: broken until the next answer, with backoff
//! ```

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::time::Duration;

use futures::StreamExt;
use kube::core::Request;
use kube::core::WatchEvent;
use kube::core::params::{ListParams, WatchParams};
use kube::{Client, Error};
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::index::{Index, Kind, SharedIndex};
use crate::metrics::Metrics;
use crate::slim::{List, Meta};

/// The API server ends a watch after so long. Short, because an orderly end proves that the connection
/// lives; a new watch from the last version costs it next to nothing.
const WATCH_SECONDS: u32 = 60;
/// Silence on one watch after which the connection is taken for dead.
const WATCH_SILENCE_MAX: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 10);
/// The longest that one page may take.
const PAGE_MAX: Duration = Duration::from_secs(60);
/// Backoff after errors: first and longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// A watch that ended in order after less than this is not resumed at once: whatever answers so, be it
/// a proxy with an empty 200, would be asked without pause.
const SHORT: Duration = Duration::from_secs(1);

/// A kind that is watched.
pub trait Watched: Clone + std::fmt::Debug + DeserializeOwned + Send + 'static {
    /// Which one.
    const KIND: Kind;
    /// Path of the collection, over all namespaces.
    const PATH: &'static str;
    /// Label selector.
    const LABELS: Option<&'static str> = None;
    /// Objects per page of a list: a page is there twice while it is parsed, so some 1 MB of them.
    const PAGE_OBJECTS: u32 = 100;
    /// Only metadata is read.
    const METADATA_ONLY: bool = false;

    /// Its metadata.
    fn meta(&self) -> &Meta;
    /// Adds or changes it.
    fn apply(self, index: &mut Index);
    /// Removes it.
    fn delete(self, index: &mut Index);
}

/// Keeps the index up to date with one kind, until `stop`.
pub async fn run<T: Watched>(
    client: Client,
    index: SharedIndex,
    metrics: Metrics,
    stop: CancellationToken,
) {
    let watch = Watch::<T> { client, index, metrics, kind: std::marker::PhantomData };
    let mut version = None;
    let mut backoff = BACKOFF.0;
    loop {
        let (began, was_list) = (Instant::now(), version.is_none());
        let step = tokio::select! {
            () = stop.cancelled() => return,
            step = watch.step(&mut version) => step,
        };
        match step {
            Ok(()) => {
                backoff = BACKOFF.0;
                if !was_list && began.elapsed() < SHORT {
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = tokio::time::sleep(BACKOFF.0) => {}
                    }
                }
            }
            Err(error) => {
                watch.index.with(|index| index.watch_broken(T::KIND, Instant::now()));
                watch.metrics.watch_error(T::KIND);
                warn!(
                    kind = T::KIND.as_str(),
                    error = %lameduck_core::text::chain(&error),
                    retry_millis = backoff.as_millis(),
                    "A watch failed; nothing new is decided from what it said until it is back."
                );
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(backoff) => {}
                }
                backoff = (backoff * 2).min(BACKOFF.1);
            }
        }
    }
}

/// Why a step of a watch ended badly.
#[derive(Debug, thiserror::Error)]
enum WatchError {
    #[error("the request to the API server failed")]
    Request(#[from] Error),
    #[error("the request cannot be built")]
    Build(#[from] kube::core::request::Error),
    #[error("no answer within {0:?}")]
    Silent(Duration),
}

/// What an event does to the index.
enum Change<T: Watched> {
    Apply(T),
    Delete(T),
}

struct Watch<T> {
    client: Client,
    index: SharedIndex,
    metrics: Metrics,
    kind: std::marker::PhantomData<fn(T)>,
}

impl<T: Watched> Watch<T> {
    /// One list, or one watch to its orderly end.
    async fn step(&self, version: &mut Option<String>) -> Result<(), WatchError> {
        match version.as_deref() {
            None => {
                *version = Some(self.list().await?);
                Ok(())
            }
            Some(from) => {
                let mut from = from.to_owned();
                let result = self.watch(&mut from).await;
                // 410: the API server has forgotten that version. What is known stays until the new
                // list is complete.
                let gone = match &result {
                    Err(WatchError::Request(Error::Api(status))) => status.code == 410,
                    _ => false,
                };
                if gone {
                    info!(kind = T::KIND.as_str(), "The watch is too old, listing again.");
                    *version = None;
                    return Ok(());
                }
                *version = Some(from);
                result
            }
        }
    }

    async fn list(&self) -> Result<String, WatchError> {
        let request = Request::new(T::PATH);
        let mut listed = HashSet::new();
        let mut params = ListParams { limit: Some(T::PAGE_OBJECTS), ..ListParams::default() };
        params.label_selector = T::LABELS.map(str::to_owned);
        loop {
            let get = if T::METADATA_ONLY {
                request.list_metadata(&params)?
            } else {
                request.list(&params)?
            };
            let page = timeout(PAGE_MAX, self.client.request::<List<Box<RawValue>>>(get))
                .await
                .map_err(|_| WatchError::Silent(PAGE_MAX))??;
            let objects: Vec<T> = page
                .items
                .unwrap_or_default()
                .into_iter()
                .filter_map(|object| self.readable(serde_json::from_str(object.get())))
                .collect();
            self.index.with(|index| {
                for object in objects {
                    let meta = object.meta();
                    listed.insert((meta.namespace.clone(), meta.name.clone()));
                    object.apply(index);
                }
            });
            if page.metadata.continue_.is_empty() {
                self.index.with(|index| {
                    index.retain(T::KIND, &listed);
                    index.watch_synced(T::KIND, Instant::now());
                });
                debug!(kind = T::KIND.as_str(), objects = listed.len(), "Listed.");
                return Ok(page.metadata.resource_version);
            }
            params.continue_token = Some(page.metadata.continue_);
        }
    }

    /// The object, or None where it cannot be read: the others still count.
    fn readable(&self, object: Result<T, serde_json::Error>) -> Option<T> {
        object
            .inspect_err(|error| {
                self.metrics.watch_error(T::KIND);
                warn!(kind = T::KIND.as_str(), %error, "An object cannot be read and is left out.");
            })
            .ok()
    }

    async fn watch(&self, version: &mut String) -> Result<(), WatchError> {
        let request = Request::new(T::PATH);
        let params = WatchParams {
            label_selector: T::LABELS.map(str::to_owned),
            timeout: Some(WATCH_SECONDS),
            bookmarks: true,
            ..WatchParams::default()
        };
        let get = if T::METADATA_ONLY {
            request.watch_metadata(&params, version)?
        } else {
            request.watch(&params, version)?
        };
        // Parsed in two steps: one object that cannot be read does not end the watch of the others.
        let open = self.client.request_events::<Value>(get);
        let events = timeout(WATCH_SILENCE_MAX, open)
            .await
            .map_err(|_| WatchError::Silent(WATCH_SILENCE_MAX))??;
        let mut events = std::pin::pin!(events);
        loop {
            let next = timeout(WATCH_SILENCE_MAX, events.next()).await;
            let event = match next.map_err(|_| WatchError::Silent(WATCH_SILENCE_MAX))? {
                None => None,
                Some(Ok(event)) => Some(event),
                Some(Err(error)) => return Err(error.into()),
            };
            let ended = event.is_none();
            let change = match event {
                None => None,
                Some(WatchEvent::Added(object) | WatchEvent::Modified(object)) => {
                    self.readable(serde_json::from_value(object)).map(Change::Apply)
                }
                Some(WatchEvent::Deleted(object)) => {
                    self.readable(serde_json::from_value(object)).map(Change::Delete)
                }
                Some(WatchEvent::Bookmark(bookmark)) => {
                    *version = bookmark.metadata.resource_version;
                    None
                }
                Some(WatchEvent::Error(status)) => {
                    return Err(WatchError::Request(Error::Api(status)));
                }
            };
            self.index.with(|index| {
                index.watch_alive(T::KIND, Instant::now());
                match change {
                    None => {}
                    Some(Change::Apply(object)) => {
                        version.clone_from(&object.meta().resource_version);
                        object.apply(index);
                    }
                    Some(Change::Delete(object)) => {
                        version.clone_from(&object.meta().resource_version);
                        object.delete(index);
                    }
                }
            });
            if ended {
                return Ok(());
            }
        }
    }
}
