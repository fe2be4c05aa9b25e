//! What is known of the cluster, as lists and watches told it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use lameduck_api::state::HoldSeen;

use super::end_facts::EndFacts;
use super::facts::{NamespaceFacts, PodFacts, PolicyFacts, UpgradeFacts, WorkloadFacts};
use crate::common::failure::Failure;

/// A namespace and a name. Of what has no namespace, the first is empty.
pub type Key = (String, String);

/// The key of an object.
#[must_use]
pub fn key(meta: &ObjectMeta) -> Key {
    (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}

/// Something that a list or a watch said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change<T> {
    /// A list begins.
    Began,
    /// An object is there, or is another one now.
    Put(Key, T),
    /// An object is gone.
    Gone(Key),
    /// The list is whole.
    Complete,
}

/// The objects of one kind.
#[derive(Clone, Debug)]
pub struct Listed<T> {
    items: BTreeMap<Key, T>,
    /// What a list has named that is not whole yet.
    named: Option<BTreeSet<Key>>,
    /// A list has been whole once.
    pub complete: bool,
    /// Why it cannot be read.
    pub trouble: Option<Trouble>,
}

/// Why a kind cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What the call said.
    pub failure: Failure,
    /// The cluster has no such kind.
    pub is_missing: bool,
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self { items: BTreeMap::new(), named: None, complete: false, trouble: None }
    }
}

impl<T> Listed<T> {
    /// Takes in what was said. `merge` sees the object as it was before.
    fn take(&mut self, change: Change<T>, merge: impl Fn(&T, &mut T)) {
        if !matches!(change, Change::Began) {
            self.trouble = None;
        }
        match change {
            Change::Began => self.named = Some(BTreeSet::new()),
            Change::Put(key, mut item) => {
                if let Some(named) = &mut self.named {
                    named.insert(key.clone());
                }
                if let Some(before) = self.items.get(&key) {
                    merge(before, &mut item);
                }
                self.items.insert(key, item);
            }
            Change::Gone(key) => {
                self.items.remove(&key);
            }
            Change::Complete => {
                if let Some(named) = self.named.take() {
                    self.items.retain(|key, _| named.contains(key));
                }
                self.complete = true;
            }
        }
    }

    /// Takes in what was said, or why nothing can be.
    pub fn hear(&mut self, said: Result<Change<T>, Trouble>) {
        self.hear_with(said, |_, _| {});
    }

    fn hear_with(&mut self, said: Result<Change<T>, Trouble>, merge: impl Fn(&T, &mut T)) {
        match said {
            Ok(change) => self.take(change, merge),
            Err(trouble) => self.trouble = Some(trouble),
        }
    }

    /// One object.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<&T> {
        self.items.get(&(namespace.to_owned(), name.to_owned()))
    }

    /// Every one, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &T)> {
        self.items.iter()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

impl Listed<PodFacts> {
    /// As [`Self::hear`]; the grace of a pod's first deletion is kept, as its kubelet keeps it.
    pub fn hear_of_pod(&mut self, said: Result<Change<PodFacts>, Trouble>) {
        self.hear_with(said, |before, now| {
            if before.uid == now.uid {
                now.deletion = now.deletion.map(|after| after.after(before.deletion.as_ref()));
            }
        });
    }
}

/// Everything that a status is made of.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// Namespaces.
    pub namespaces: Listed<NamespaceFacts>,
    /// Policies.
    pub policies: Listed<PolicyFacts>,
    /// Deployments.
    pub deployments: Listed<WorkloadFacts>,
    /// StatefulSets.
    pub stateful_sets: Listed<WorkloadFacts>,
    /// Pods.
    pub pods: Listed<PodFacts>,
    /// Upgrades.
    pub upgrades: Listed<UpgradeFacts>,
    /// What only the whole object says, of pods that end, by UID.
    pub ends: BTreeMap<String, EndFacts>,
    /// Versions of pods that end that were asked for, by UID.
    pub asked: BTreeMap<String, String>,
    /// The last reading of pods that end left some for the next one.
    pub in_part: bool,
    /// What the controller's replicas heard from holds.
    pub holds: Holds,
    /// Since when the API server does not answer, and what a call said.
    pub away: Option<(Timestamp, String)>,
}

/// What is known of live connections.
#[derive(Clone, Debug, Default)]
pub struct Holds {
    /// Every hold that was seen, of each replica.
    pub seen: Vec<HoldSeen>,
    /// Why replicas could not be asked; none where each of them was, or nobody had to.
    pub trouble: Option<String>,
}

/// Something that was heard of one kind, or why nothing can be.
#[derive(Debug)]
pub enum Said {
    /// Of a namespace.
    Namespace(Result<Change<NamespaceFacts>, Trouble>),
    /// Of a policy.
    Policy(Result<Change<PolicyFacts>, Trouble>),
    /// Of a Deployment.
    Deployment(Result<Change<WorkloadFacts>, Trouble>),
    /// Of a StatefulSet.
    StatefulSet(Result<Change<WorkloadFacts>, Trouble>),
    /// Of a pod.
    Pod(Result<Change<PodFacts>, Trouble>),
    /// Of an upgrade.
    Upgrade(Result<Change<UpgradeFacts>, Trouble>),
}

impl Said {
    /// Why nothing can be heard.
    #[must_use]
    pub fn trouble(&self) -> Option<&Trouble> {
        match self {
            Self::Namespace(said) => said.as_ref().err(),
            Self::Policy(said) => said.as_ref().err(),
            Self::Deployment(said) | Self::StatefulSet(said) => said.as_ref().err(),
            Self::Pod(said) => said.as_ref().err(),
            Self::Upgrade(said) => said.as_ref().err(),
        }
    }

    /// Whether there is no status without this kind.
    #[must_use]
    pub const fn is_needed(&self) -> bool {
        matches!(self, Self::Deployment(_) | Self::StatefulSet(_) | Self::Pod(_))
    }
}

impl World {
    /// Takes in what was heard.
    pub fn hear(&mut self, said: Said) {
        match said {
            Said::Namespace(said) => self.namespaces.hear(said),
            Said::Policy(said) => self.policies.hear(said),
            Said::Deployment(said) => self.deployments.hear(said),
            Said::StatefulSet(said) => self.stateful_sets.hear(said),
            Said::Pod(said) => self.pods.hear_of_pod(said),
            Said::Upgrade(said) => self.upgrades.hear(said),
        }
    }

    /// Whether each kind has been read once, or cannot be.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        fn is_known<T>(listed: &Listed<T>) -> bool {
            listed.complete || listed.trouble.is_some()
        }
        is_known(&self.namespaces)
            && is_known(&self.policies)
            && is_known(&self.upgrades)
            && self.deployments.complete
            && self.stateful_sets.complete
            && self.pods.complete
    }
}
