//! Which pod is looked at when. One pod has at most one write on its way.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use tokio::task::Id;
use tokio::time::Instant;
use tokio_util::time::{DelayQueue, delay_queue};

use crate::index::PodKey;

/// Pods to look at now or later, and what is known of their writes.
#[derive(Default)]
pub(crate) struct Queue {
    waiting: VecDeque<PodKey>,
    queued: HashSet<PodKey>,
    pub(crate) due: DelayQueue<PodKey>,
    pub(crate) due_keys: HashMap<PodKey, delay_queue::Key>,
    busy: HashMap<Id, PodKey>,
    busy_keys: HashSet<PodKey>,
    /// Changed while busy.
    again: HashSet<PodKey>,
    pub(crate) failures: HashMap<PodKey, Failure>,
}

/// Writes of a pod that did not succeed.
pub(crate) struct Failure {
    pub(crate) backoff: Duration,
    pub(crate) not_before: Instant,
    /// A change of the pod is worth a try at once.
    pub(crate) outdated: bool,
}

impl Queue {
    /// A pod is to be looked at: now, or after its write.
    pub(crate) fn push(&mut self, key: PodKey) {
        if self.busy_keys.contains(&key) {
            self.again.insert(key);
        } else if self.queued.insert(key.clone()) {
            self.waiting.push_back(key);
        }
    }

    /// The next pod to look at.
    pub(crate) fn pop(&mut self) -> Option<PodKey> {
        let key = self.waiting.pop_front()?;
        self.queued.remove(&key);
        if let Some(due) = self.due_keys.remove(&key) {
            self.due.remove(&due);
        }
        Some(key)
    }

    /// A pod is to be looked at after a while.
    pub(crate) fn wait_for(&mut self, key: PodKey, wait: Duration) {
        let due = self.due.insert(key.clone(), wait);
        if let Some(former) = self.due_keys.insert(key, due) {
            self.due.remove(&former);
        }
    }

    /// A write of a pod is on its way.
    pub(crate) fn begin(&mut self, id: Id, key: PodKey) {
        self.busy.insert(id, key.clone());
        self.busy_keys.insert(key);
    }

    /// A write has ended: of which pod, and whether that pod has changed meanwhile.
    pub(crate) fn end(&mut self, id: Id) -> Option<(PodKey, bool)> {
        let key = self.busy.remove(&id)?;
        self.busy_keys.remove(&key);
        let changed = self.again.remove(&key);
        Some((key, changed))
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use proptest::prelude::*;

    use super::*;

    /// What happens to a queue.
    #[derive(Clone, Copy, Debug)]
    enum Happens {
        WaitFor(u8, u64),
        Changed(u8),
        Time(u64),
    }

    fn happens() -> impl Strategy<Value = Happens> {
        prop_oneof![
            (0_u8..20, 0_u64..6000).prop_map(|(pod, millis)| Happens::WaitFor(pod, millis)),
            (0_u8..20).prop_map(Happens::Changed),
            (0_u64..1500).prop_map(Happens::Time),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Every pod that waits is looked at when its time has come, and none before.
        #[test]
        fn nobody_is_forgotten(script in proptest::collection::vec(happens(), 1..200)) {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .unwrap();
            runtime.block_on(async {
                let mut queue = Queue::default();
                let mut model: HashMap<PodKey, Instant> = HashMap::new();
                for step in script {
                    match step {
                        Happens::WaitFor(pod, millis) => {
                            let key = PodKey::new("shop", &pod.to_string());
                            let wait = Duration::from_millis(millis);
                            queue.wait_for(key.clone(), wait);
                            model.insert(key, Instant::now() + wait);
                        }
                        Happens::Changed(pod) => {
                            let key = PodKey::new("shop", &pod.to_string());
                            queue.push(key.clone());
                            prop_assert_eq!(queue.pop(), Some(key.clone()));
                            model.remove(&key);
                        }
                        Happens::Time(millis) => {
                            let end = Instant::now() + Duration::from_millis(millis);
                            loop {
                                tokio::select! {
                                    () = tokio::time::sleep_until(end) => break,
                                    Some(due) = queue.due.next(), if !queue.due.is_empty() => {
                                        let key = due.into_inner();
                                        queue.due_keys.remove(&key);
                                        let at = model.remove(&key);
                                        prop_assert!(at.is_some_and(|at| at <= Instant::now()));
                                    }
                                }
                            }
                            let late = Instant::now() - Duration::from_millis(2);
                            for (key, at) in &model {
                                prop_assert!(*at >= late, "{key} is overdue: {:?}", late - *at);
                            }
                        }
                    }
                }
                Ok(())
            })?;
        }
    }
}
