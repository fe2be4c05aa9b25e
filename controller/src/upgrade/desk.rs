//! What one leadership has in hand: which sets are looked at, and when again.

use std::collections::HashMap;
use std::time::Duration;

use lameduck_core::text::chain;
use tokio::task::{Id, JoinSet};
use tracing::warn;

use super::Memories;
use super::calls::CallError;
use super::watch::Weighted;
use crate::index::PodKey;
use crate::metrics::Metrics;
use crate::queue::Queue;

/// Time after calls that failed: first and longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// What one leadership keeps.
#[derive(Default)]
pub(super) struct Desk {
    pub(super) queue: Queue,
    pub(super) weighted: Weighted,
    pub(super) looks: JoinSet<Result<Option<Duration>, CallError>>,
    backoffs: HashMap<PodKey, Duration>,
    pub(super) memories: Memories,
}

impl Desk {
    /// A look has ended: when is the next?
    pub(super) fn ended(
        &mut self,
        id: Id,
        result: Option<Result<Option<Duration>, CallError>>,
        metrics: &Metrics,
    ) {
        let Some((key, changed)) = self.queue.end(id) else { return };
        let wait = match result {
            Some(Ok(next)) => {
                self.backoffs.remove(&key);
                if changed {
                    self.queue.push(key);
                    return;
                }
                next
            }
            other => {
                if let Some(Err(error)) = &other
                    && !error.is_outdated()
                {
                    metrics.upgrade_error();
                    warn!(
                        namespace = &*key.namespace,
                        stateful_set = &*key.name,
                        error = %chain(error),
                        "An upgrade could not be looked at or carried on; trying again."
                    );
                }
                let backoff = self.backoffs.entry(key.clone()).or_insert(BACKOFF.0);
                let wait = *backoff;
                *backoff = (*backoff * 2).min(BACKOFF.1);
                Some(wait)
            }
        };
        if let Some(wait) = wait {
            self.queue.wait_for(key, wait);
        }
    }
}
