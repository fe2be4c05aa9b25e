//! Everything that is known of the cluster, small and in one place: watches write, the drain engine and
//! the hold endpoint read. Synchronous, without IO; whoever holds the lock does not wait.

mod clb;
mod cluster;
mod endpoints;
mod facts;
mod health;
mod intern;
mod pod;
mod pods;
mod shared;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};

use lameduck_core::policy::Policy;
use tokio::sync::Notify;
use tokio::time::Instant;

pub use clb::{ClbPod, Tried};
pub use endpoints::FreshSlices;
pub use health::{BROKEN_MAX, Health, Kind, SILENCE_MAX};
pub use pod::{Pod, PodKey};
pub use pods::Unlabelled;
pub use shared::SharedIndex;

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

/// What is kept of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    /// Its kubelet reports, and well.
    ready: bool,
    /// It is short of memory, disk or process ids.
    under_pressure: bool,
}

/// What is kept of a Service.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    selector: Selector,
    load_balancer: Option<Carrier>,
}

/// What is kept of an Ingress with a CLB.
#[derive(Clone, Debug)]
pub(crate) struct Ingress {
    /// Names of the Services that it leads to.
    services: Box<[Arc<str>]>,
    load_balancer: Carrier,
}

/// The CLB of a Service or an Ingress.
#[derive(Clone, Debug)]
struct Carrier {
    /// `lb-…`.
    id: Arc<str>,
    /// Its backends are the pods themselves. In the other mode they are nodes, and say nothing about a pod.
    direct: bool,
}

/// The index. See the module's head.
#[derive(Debug, Default)]
pub struct Index {
    interner: Interner,
    pods: HashMap<PodKey, Pod>,
    terminating: HashMap<Arc<str>, HashSet<PodKey>>,
    services: HashMap<Arc<str>, HashMap<Arc<str>, Service>>,
    ingresses: HashMap<Arc<str>, HashMap<Arc<str>, Ingress>>,
    slices: HashMap<Arc<str>, HashMap<Arc<str>, Slice>>,
    namespaces: HashMap<Arc<str>, Namespace>,
    nodes: HashMap<Arc<str>, Node>,
    policies: HashMap<Arc<str>, Arc<Policy>>,
    health: HashMap<Kind, Health>,
    dirty: HashSet<PodKey>,
    waiters: HashMap<PodKey, Weak<Notify>>,
    unlabelled: HashMap<PodKey, Unlabelled>,
    clb: HashMap<PodKey, clb::Clb>,
    /// Whether somebody reads load balancers, and whether addresses are looked up.
    clb_reader: Option<bool>,
}

impl Index {
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
            Kind::Ingresses => retain_nested(&mut self.ingresses, is_listed),
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

    /// As if a watch had never been read.
    #[cfg(test)]
    pub(crate) fn forget_health(&mut self, kind: Kind) {
        self.health.remove(&kind);
    }

    /// Whether every watch has been read completely once.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.kinds().all(|kind| self.health(kind).is_synced())
    }

    /// The kinds that are watched.
    pub fn kinds(&self) -> impl Iterator<Item = Kind> + use<> {
        let reads_clbs = self.clb_reader.is_some();
        Kind::ALL.into_iter().filter(move |kind| *kind != Kind::Ingresses || reads_clbs)
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
