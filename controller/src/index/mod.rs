//! Everything that is known of the cluster, small and in one place: watches write, the drain engine and
//! the hold endpoint read. Synchronous, without IO; whoever holds the lock does not wait.

mod endpoints;
mod health;
mod intern;
mod pod;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use lameduck_core::drain::{EndpointFacts, NodeState, PodFacts, SelectingService, Stale};
use lameduck_core::names::{FINALIZER, POLICY_LABEL};
use lameduck_core::policy::Policy;
use tokio::sync::Notify;
use tokio::time::Instant;

pub use endpoints::FreshSlices;
pub use health::{BROKEN_MAX, Health, Kind, SILENCE_MAX};
pub use pod::{Pod, PodKey};

use crate::slim;
use endpoints::Slice;
use intern::Interner;

/// A selector, as pairs that must all be among a pod's labels.
type Selector = Box<[(Arc<str>, Arc<str>)]>;

/// What is kept of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Value of the policy label.
    pub policy: Option<Arc<str>>,
    /// It is being deleted.
    pub terminating: bool,
}

/// A pod that lost the policy label and still carries our finalizer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unlabelled {
    /// UID.
    pub uid: Box<str>,
    /// The label's value.
    pub policy: Box<str>,
}

/// The index. See the module's head.
#[derive(Debug, Default)]
pub struct Index {
    interner: Interner,
    pods: HashMap<PodKey, Pod>,
    terminating: HashMap<Arc<str>, HashSet<PodKey>>,
    services: HashMap<Arc<str>, HashMap<Arc<str>, Selector>>,
    slices: HashMap<Arc<str>, HashMap<Arc<str>, Slice>>,
    namespaces: HashMap<Arc<str>, Namespace>,
    nodes: HashMap<Arc<str>, bool>,
    policies: HashMap<Arc<str>, Arc<Policy>>,
    health: HashMap<Kind, Health>,
    dirty: HashSet<PodKey>,
    waiters: HashMap<PodKey, Weak<Notify>>,
    unlabelled: HashMap<PodKey, Unlabelled>,
}

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
        let first = self
            .pods
            .get(&key)
            .filter(|known| *known.uid == *pod.metadata.uid)
            .and_then(|known| known.deletion);
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

    /// A pod left the watch. Where it still has our finalizer it is not gone: it lost the label that it
    /// is watched by.
    pub fn pod_left(&mut self, pod: &slim::Pod) {
        let key = PodKey::new(&pod.metadata.namespace, &pod.metadata.name);
        if pod.metadata.finalizers.iter().any(|name| name == FINALIZER) {
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
    /// end already, and nothing would remove it again.
    pub fn apply_known_pod(&mut self, pod: slim::Pod) {
        let key = PodKey::new(&pod.metadata.namespace, &pod.metadata.name);
        if self.pods.get(&key).is_some_and(|known| *known.uid == *pod.metadata.uid) {
            self.apply_pod(pod);
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

    /// Adds or changes a Service.
    pub fn apply_service(&mut self, service: &slim::Service) {
        let namespace = self.interner.get(&service.metadata.namespace);
        let name = self.interner.get(&service.metadata.name);
        // An ExternalName Service selects nothing, whatever stands in its selector.
        let selector: Selector = if service.spec.type_ == "ExternalName" {
            Box::default()
        } else {
            let selector = &service.spec.selector;
            selector.iter().map(|(k, v)| (self.interner.get(k), self.interner.get(v))).collect()
        };
        self.touch_namespace(&namespace);
        self.services.entry(namespace).or_default().insert(name, selector);
    }

    /// Removes a Service.
    pub fn delete_service(&mut self, namespace: &str, name: &str) {
        remove_nested(&mut self.services, namespace, name);
        self.touch_namespace(namespace);
    }

    /// Adds or changes an EndpointSlice.
    pub fn apply_slice(&mut self, slice: &slim::EndpointSlice) {
        let namespace = self.interner.get(&slice.metadata.namespace);
        let name = self.interner.get(&slice.metadata.name);
        let slice = Slice::new(slice, &mut self.interner);
        self.touch_slice(&namespace, &slice);
        let slices = self.slices.entry(Arc::clone(&namespace)).or_default();
        if let Some(former) = slices.insert(name, slice) {
            self.touch_slice(&namespace, &former);
        }
    }

    /// Removes an EndpointSlice.
    pub fn delete_slice(&mut self, namespace: &str, name: &str) {
        if let Some(former) = remove_nested(&mut self.slices, namespace, name) {
            self.touch_slice(namespace, &former);
        }
    }

    /// Adds or changes a namespace.
    pub fn apply_namespace(&mut self, namespace: &slim::Namespace) {
        let name = self.interner.get(&namespace.metadata.name);
        let policy = namespace.metadata.labels.get(POLICY_LABEL);
        let policy = policy.map(|value| self.interner.get(value));
        let terminating = namespace.metadata.deletion_timestamp.is_some();
        self.namespaces.insert(name, Namespace { policy, terminating });
    }

    /// Removes a namespace.
    pub fn delete_namespace(&mut self, name: &str) {
        self.namespaces.remove(name);
    }

    /// Every namespace.
    pub fn namespaces(&self) -> impl Iterator<Item = (&Arc<str>, &Namespace)> {
        self.namespaces.iter()
    }

    /// Adds or changes a node.
    pub fn apply_node(&mut self, node: &slim::Node) {
        let ready = node
            .status
            .conditions
            .iter()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True");
        let name = self.interner.get(&node.metadata.name);
        if self.nodes.insert(Arc::clone(&name), ready) != Some(ready) {
            self.touch_node(&name);
        }
    }

    /// Removes a node.
    pub fn delete_node(&mut self, name: &str) {
        self.nodes.remove(name);
        self.touch_node(name);
    }

    /// Adds or changes a policy.
    pub fn apply_policy(&mut self, name: &str, policy: Policy) {
        let name = self.interner.get(name);
        self.policies.insert(name, Arc::new(policy));
        self.touch_all();
    }

    /// Removes a policy. Pods that were injected by it end by the default one.
    pub fn delete_policy(&mut self, name: &str) {
        self.policies.remove(name);
        self.touch_all();
    }

    /// A policy.
    #[must_use]
    pub fn policy(&self, name: &str) -> Option<&Arc<Policy>> {
        self.policies.get(name)
    }

    /// Every policy.
    pub fn policies(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<Policy>)> {
        self.policies.iter()
    }

    /// The list of a kind is complete: what it did not name is gone.
    pub fn retain(&mut self, kind: Kind, listed: &HashSet<(String, String)>) {
        let is_listed =
            |namespace: &str, name: &str| listed.contains(&(namespace.to_owned(), name.to_owned()));
        match kind {
            Kind::Pods => {
                let gone: Vec<PodKey> = self
                    .pods
                    .keys()
                    .filter(|key| !is_listed(&key.namespace, &key.name))
                    .cloned()
                    .collect();
                for key in gone {
                    // Gone, or without the label: writing the label tells which.
                    if let Some(pod) = self.pods.get(&key).filter(|pod| pod.finalizer_at.is_some())
                    {
                        let uid = pod.uid.clone();
                        self.lost_label(&key, &uid, None);
                    }
                    self.delete_pod(&key);
                }
            }
            Kind::Services => retain_nested(&mut self.services, is_listed),
            Kind::EndpointSlices => retain_nested(&mut self.slices, is_listed),
            Kind::Namespaces => self.namespaces.retain(|name, _| is_listed("", name)),
            Kind::Nodes => self.nodes.retain(|name, _| is_listed("", name)),
            Kind::TerminationPolicies => self.policies.retain(|name, _| is_listed("", name)),
        }
        self.touch_all();
    }

    /// Health of a watch.
    #[must_use]
    pub fn health(&self, kind: Kind) -> Health {
        self.health.get(&kind).copied().unwrap_or_default()
    }

    /// Whether every watch has been read completely once.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        Kind::ALL.iter().all(|kind| self.health(*kind).is_synced())
    }

    /// The list of a kind is complete.
    pub fn watch_synced(&mut self, kind: Kind, now: Instant) {
        self.health.entry(kind).or_default().synced(now);
        self.touch_all();
    }

    /// A watch has shown that it lives.
    pub fn watch_alive(&mut self, kind: Kind, now: Instant) {
        let health = self.health.entry(kind).or_default();
        let was_stale = health.stale(now).is_some();
        health.alive(now);
        if was_stale {
            self.touch_all();
        }
    }

    /// A watch has failed.
    pub fn watch_broken(&mut self, kind: Kind, now: Instant) {
        self.health.entry(kind).or_default().broken(now);
        self.touch_all();
    }

    /// Marks every pod that is being deleted for a look.
    pub fn touch_all(&mut self) {
        self.dirty.extend(self.terminating.values().flatten().cloned());
    }

    fn touch_namespace(&mut self, namespace: &str) {
        if let Some(keys) = self.terminating.get(namespace) {
            self.dirty.extend(keys.iter().cloned());
        }
    }

    /// Marks the pods that a slice is about: a namespace that ends has thousands of pods and as many
    /// changes of slices.
    fn touch_slice(&mut self, namespace: &str, slice: &Slice) {
        let Some(keys) = self.terminating.get(namespace) else { return };
        for pod in slice.pods() {
            match pod {
                None => self.dirty.extend(keys.iter().cloned()),
                Some(name) => {
                    let key = PodKey { namespace: namespace.into(), name: Arc::clone(name) };
                    if let Some(key) = keys.get(&key) {
                        self.dirty.insert(key.clone());
                    }
                }
            }
        }
    }

    fn touch_node(&mut self, node: &str) {
        let on_node = |key: &&PodKey| {
            self.pods.get(*key).is_some_and(|pod| pod.node.as_deref() == Some(node))
        };
        let keys: Vec<PodKey> =
            self.terminating.values().flatten().filter(on_node).cloned().collect();
        self.dirty.extend(keys);
    }

    /// Something to wait on for the next change of a pod.
    pub fn waiter(&mut self, key: &PodKey) -> Arc<Notify> {
        if let Some(known) = self.waiters.get(key).and_then(Weak::upgrade) {
            return known;
        }
        let new = Arc::new(Notify::new());
        self.waiters.insert(key.clone(), Arc::downgrade(&new));
        new
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

    /// What core decides from. None where the pod is not known.
    #[must_use]
    pub fn facts(&self, key: &PodKey, now: Instant) -> Option<(PodFacts, EndpointFacts)> {
        let pod = self.pods.get(key)?;
        Some((self.pod_facts(pod, now), self.endpoint_facts(key, pod, now)))
    }

    /// The pod's half of [`Self::facts`].
    #[must_use]
    pub fn pod_facts(&self, pod: &Pod, now: Instant) -> PodFacts {
        let node = match &pod.node {
            None => NodeState::Unscheduled,
            Some(_) if self.health(Kind::Nodes).stale(now).is_some() => NodeState::Unknown,
            Some(name) => match self.nodes.get(name) {
                None => NodeState::Gone,
                Some(true) => NodeState::Ready,
                Some(false) => NodeState::NotReady,
            },
        };
        PodFacts {
            deletion: pod.deletion,
            original_grace_seconds: pod.original_grace_seconds,
            containers: pod.containers,
            node,
            has_finalizer: pod.finalizer_at.is_some(),
            traffic_off: pod.traffic_off.clone(),
            policy: self.policies.get(&pod.policy).cloned().unwrap_or_default(),
        }
    }

    fn endpoint_facts(&self, key: &PodKey, pod: &Pod, now: Instant) -> EndpointFacts {
        let stale = [Kind::Services, Kind::EndpointSlices]
            .into_iter()
            .filter_map(|kind| {
                let (why, lasts) = self.health(kind).stale_for(now)?;
                Some(Stale { why: format!("the watch of {} {why}", kind.as_str()), lasts })
            })
            .max_by_key(|stale| stale.lasts);
        EndpointFacts {
            services: self
                .services
                .get(&key.namespace)
                .into_iter()
                .flatten()
                .filter(|(_, selector)| pod.matches(selector))
                .map(|(name, _)| SelectingService {
                    name: format!("{}/{name}", key.namespace).into(),
                })
                .collect(),
            entries: self
                .slices
                .get(&key.namespace)
                .into_iter()
                .flatten()
                .flat_map(|(_, slice)| slice.about(key, pod))
                .collect(),
            stale,
        }
    }

    /// Whether a hold that calls from `peer` may ask about the pod. With `node_too`, its node's
    /// addresses count: for networks that hide a pod behind its node.
    #[must_use]
    pub fn is_pods_own(pod: &Pod, peer: IpAddr, node_too: bool) -> bool {
        let peer = peer.to_canonical();
        pod.addresses.contains(&peer) || (node_too && pod.node_addresses.contains(&peer))
    }
}

type Nested<V> = HashMap<Arc<str>, HashMap<Arc<str>, V>>;

fn remove_nested<V>(map: &mut Nested<V>, namespace: &str, name: &str) -> Option<V> {
    let inner = map.get_mut(namespace)?;
    let removed = inner.remove(name);
    if inner.is_empty() {
        map.remove(namespace);
    }
    removed
}

fn retain_nested<V>(map: &mut Nested<V>, is_listed: impl Fn(&str, &str) -> bool) {
    map.retain(|namespace, inner| {
        inner.retain(|name, _| is_listed(namespace, name));
        !inner.is_empty()
    });
}
