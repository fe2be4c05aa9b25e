//! The index behind its lock.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::{Index, PodKey};

/// The index, shared. The lock is never held across a wait.
#[derive(Clone, Debug, Default)]
pub struct SharedIndex {
    index: Arc<Mutex<Index>>,
    changed: Arc<Notify>,
}

impl SharedIndex {
    /// Reads or writes the index; whoever waits for pods to look at is woken.
    pub fn with<R>(&self, use_it: impl FnOnce(&mut Index) -> R) -> R {
        let mut index = self.lock();
        let result = use_it(&mut index);
        let wake = !index.dirty.is_empty();
        drop(index);
        if wake {
            self.changed.notify_one();
        }
        result
    }

    /// Waits until there are pods to look at, and takes them.
    pub async fn dirty(&self) -> HashSet<PodKey> {
        loop {
            let taken = std::mem::take(&mut self.lock().dirty);
            if !taken.is_empty() {
                return taken;
            }
            self.changed.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Index> {
        // Every writer leaves the index consistent at each step: a panic elsewhere does not spoil it.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
