//! The index's pods: those that end, those that lost their label, and who waits for them.

use std::collections::HashSet;
use std::sync::{Arc, Weak};

use tokio::sync::Notify;

use super::{Index, Pod, PodKey};
use crate::slim;

/// A pod that lost the policy label and still carries our finalizer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unlabelled {
    /// UID.
    pub uid: Box<str>,
    /// The label's value.
    pub policy: Box<str>,
}

impl Index {
    /// A pod.
    #[must_use]
    pub fn pod(&self, key: &PodKey) -> Option<&Pod> {
        self.pods.get(key)
    }

    /// Every pod.
    pub fn pods(&self) -> impl Iterator<Item = (&PodKey, &Pod)> {
        self.pods.iter()
    }

    /// Number of pods that are being deleted.
    #[must_use]
    pub fn terminating_len(&self) -> usize {
        self.terminating.values().map(HashSet::len).sum()
    }

    /// Adds or changes a pod.
    pub fn apply_pod(&mut self, pod: slim::Pod) {
        let key = PodKey {
            namespace: self.interner.get(&pod.metadata.namespace),
            name: pod.metadata.name.as_str().into(),
        };
        let known = self.pods.get(&key).filter(|known| *known.uid == *pod.metadata.uid);
        if known.is_none() {
            // What was read is about another pod of this name.
            self.clb.remove(&key);
        }
        let first = known.and_then(|known| known.deletion);
        let pod = Pod::new(pod, &mut self.interner, first.as_ref());
        if pod.deletion.is_some() && pod.is_managed() {
            self.terminating.entry(Arc::clone(&key.namespace)).or_default().insert(key.clone());
            self.dirty.insert(key.clone());
        } else {
            self.forget_terminating(&key);
        }
        self.wake_holds(&key);
        self.unlabelled.remove(&key);
        self.pods.insert(key, pod);
    }

    /// A pod left the watch. Where it had our finalizer to the last, it may not be gone: it lost the label
    /// that it is watched by. The event carries the object as it was before.
    pub fn pod_left(&mut self, pod: &slim::Pod) {
        let key = PodKey::new(&pod.metadata.namespace, &pod.metadata.name);
        let taken_off_by_us = self.pods.get(&key).is_some_and(|known| known.finalizer_at.is_none());
        if !taken_off_by_us && pod.metadata.finalizer_at().is_some() {
            self.lost_label(&key, &pod.metadata.uid, None);
        }
        self.delete_pod(&key);
    }

    /// A pod has our finalizer, and not the label. `policy` is what to put back where the pod was never
    /// known with one.
    pub fn lost_label(&mut self, key: &PodKey, uid: &str, policy: Option<&str>) {
        let known = self.pods.get(key).filter(|pod| *pod.uid == *uid).map(|pod| &*pod.policy);
        if let Some(policy) = known.or(policy) {
            let lost = Unlabelled { uid: uid.into(), policy: policy.into() };
            self.unlabelled.insert(key.clone(), lost);
        }
    }

    /// Pods that lost the label, at most so many.
    #[must_use]
    pub fn unlabelled(&self, limit: usize) -> Vec<(PodKey, Unlabelled)> {
        self.unlabelled.iter().take(limit).map(|(k, lost)| (k.clone(), lost.clone())).collect()
    }

    /// The label of a pod was put back, or there is no such pod any more.
    pub fn relabelled(&mut self, key: &PodKey, uid: &str) {
        if self.unlabelled.get(key).is_some_and(|lost| *lost.uid == *uid) {
            self.unlabelled.remove(key);
        }
    }

    /// Takes over a pod that a call returned. Only where it is still known: the watch may have seen its
    /// end already, and nothing would remove it again. And only where it is newer: the watch may have
    /// told of later changes while the answer was on its way.
    pub fn apply_known_pod(&mut self, pod: slim::Pod) {
        let key = PodKey::new(&pod.metadata.namespace, &pod.metadata.name);
        let Some(known) = self.pods.get(&key).filter(|known| *known.uid == *pod.metadata.uid)
        else {
            return;
        };
        let number = |version: &str| version.parse::<u64>().ok();
        let is_newer = match (number(&pod.metadata.resource_version), number(&known.version)) {
            (Some(new), Some(known)) => new > known,
            // Not numbers: nothing can be said of their order.
            _ => true,
        };
        if is_newer {
            self.apply_pod(pod);
        }
    }

    /// A call has shown that the pod with this UID is gone; the watch says so soon.
    pub fn pod_gone(&mut self, key: &PodKey, uid: &str) {
        if self.pods.get(key).is_some_and(|pod| *pod.uid == *uid) {
            self.delete_pod(key);
        }
    }

    /// Our finalizer was taken off: the watch says so soon.
    pub fn finalizer_removed(&mut self, key: &PodKey, uid: &str) {
        if let Some(pod) = self.pods.get_mut(key).filter(|pod| *pod.uid == *uid) {
            pod.finalizer_at = None;
        }
    }

    /// Removes a pod.
    pub fn delete_pod(&mut self, key: &PodKey) {
        self.pods.remove(key);
        self.clb.remove(key);
        self.forget_terminating(key);
        self.wake_holds(key);
        self.waiters.remove(key);
    }

    fn forget_terminating(&mut self, key: &PodKey) {
        if let Some(keys) = self.terminating.get_mut(&key.namespace) {
            keys.remove(key);
            if keys.is_empty() {
                self.terminating.remove(&key.namespace);
            }
        }
    }

    /// Something to wait on for the next change of a pod, its end included. None where there is no such
    /// pod: what is kept here goes with the pod.
    pub fn waiter(&mut self, key: &PodKey) -> Option<Arc<Notify>> {
        if let Some(known) = self.waiters.get(key).and_then(Weak::upgrade) {
            return Some(known);
        }
        let (key, _) = self.pods.get_key_value(key)?;
        let new = Arc::new(Notify::new());
        self.waiters.insert(key.clone(), Arc::downgrade(&new));
        Some(new)
    }

    fn wake_holds(&mut self, key: &PodKey) {
        if let Some(waiter) = self.waiters.get(key) {
            match waiter.upgrade() {
                Some(waiter) => waiter.notify_waiters(),
                None => {
                    self.waiters.remove(key);
                }
            }
        }
    }
}
