//! What the decisions read besides the request: policies, and the namespaces' labels, kept in memory
//! by two watches.
//!
//! A broken watch leaves the last state: an old policy protects better than none.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
};

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ApiResource, DynamicObject, PartialObjectMeta},
    runtime::{
        WatchStreamExt,
        watcher::{self, Event},
    },
};
use lameduck_api::{TerminationPolicy, TerminationPolicySpec, names::POLICY_LABEL};
use lameduck_core::policy::Policy;
use tracing::{info, warn};

/// The state of both watches.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Policies by name.
    pub policies: BTreeMap<String, Policy>,
    /// The policy label of every namespace.
    namespaces: HashMap<Box<str>, Option<Box<str>>>,
    policies_synced: bool,
    namespaces_synced: bool,
}

impl Snapshot {
    /// The policy label of a namespace.
    pub fn namespace_policy(&self, namespace: &str) -> Option<&str> {
        self.namespaces.get(namespace)?.as_deref()
    }

    /// Whether the watch has seen the namespace.
    pub fn knows_namespace(&self, namespace: &str) -> bool {
        self.namespaces.contains_key(namespace)
    }

    /// Whether both first lists are complete.
    pub fn is_synced(&self) -> bool {
        self.policies_synced && self.namespaces_synced
    }
}

/// The shared state.
#[derive(Clone, Debug, Default)]
pub struct Index {
    snapshot: Arc<RwLock<Snapshot>>,
}

impl Index {
    /// The state as it is now. Hold it for one decision, and never across an await.
    pub fn read(&self) -> RwLockReadGuard<'_, Snapshot> {
        // Writers only move finished values in, so a poisoned lock holds a whole state.
        self.snapshot.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, change: impl FnOnce(&mut Snapshot)) {
        change(&mut self.snapshot.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// Replaces both lists, as after a first list of each.
    pub fn reset(
        &self,
        policies: BTreeMap<String, Policy>,
        namespaces: impl IntoIterator<Item = (String, Option<String>)>,
    ) {
        let namespaces =
            namespaces.into_iter().map(|(name, policy)| (name.into(), policy.map(Into::into)));
        let namespaces = namespaces.collect();
        self.write(|snapshot| {
            *snapshot =
                Snapshot { policies, namespaces, policies_synced: true, namespaces_synced: true };
        });
    }

    /// Follows policies and namespaces. Never returns by itself: a watch that breaks is resumed.
    pub async fn follow(self, client: Client) {
        let policies = Api::all_with(client.clone(), &ApiResource::erase::<TerminationPolicy>(&()));
        let namespaces = Api::all(client);
        // Half a page of a hundred thousand namespaces is still a small answer.
        let config = watcher::Config::default().page_size(500);
        let policies = watcher::watcher(policies, config.clone()).default_backoff();
        let namespaces =
            watcher::watcher::<PartialObjectMeta<Namespace>>(namespaces, config).default_backoff();
        tokio::join!(self.clone().follow_policies(policies), self.follow_namespaces(namespaces));
    }

    async fn follow_policies(
        self,
        events: impl Stream<Item = Result<Event<DynamicObject>, watcher::Error>>,
    ) {
        let mut events = std::pin::pin!(events);
        let mut listed = BTreeMap::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => listed.clear(),
                Ok(Event::InitApply(object)) => {
                    let name = object.name_any();
                    if let Some(policy) = self.policy(object) {
                        listed.insert(name, policy);
                    }
                }
                Ok(Event::InitDone) => {
                    let listed = std::mem::take(&mut listed);
                    info!(policies = listed.len(), "policies listed");
                    self.write(|snapshot| {
                        snapshot.policies = listed;
                        snapshot.policies_synced = true;
                    });
                }
                Ok(Event::Apply(object)) => {
                    let name = object.name_any();
                    if let Some(policy) = self.policy(object) {
                        info!(policy = name, mode = ?policy.mode, "policy changed");
                        self.write(|snapshot| {
                            snapshot.policies.insert(name, policy);
                        });
                    }
                }
                Ok(Event::Delete(object)) => {
                    let name = object.name_any();
                    info!(policy = name, "policy deleted");
                    self.write(|snapshot| {
                        snapshot.policies.remove(&name);
                    });
                }
                Err(error) => broken("terminationpolicies", &error),
            }
        }
    }

    /// The policy in an object. One that this version cannot read stays as it was before; the API
    /// server refuses it unless its schema is newer than ours.
    fn policy(&self, object: DynamicObject) -> Option<Policy> {
        let name = object.name_any();
        let spec = object.data.get("spec").cloned().unwrap_or_else(|| serde_json::json!({}));
        match serde_json::from_value::<TerminationPolicySpec>(spec) {
            Ok(spec) => Some(spec.into()),
            Err(error) => {
                let last = self.read().policies.get(&name).cloned();
                warn!(
                    policy = name,
                    %error,
                    keeps_last_version = last.is_some(),
                    "cannot read a policy; is the webhook older than the CRD?"
                );
                last
            }
        }
    }

    async fn follow_namespaces(
        self,
        events: impl Stream<Item = Result<Event<PartialObjectMeta<Namespace>>, watcher::Error>>,
    ) {
        let mut events = std::pin::pin!(events);
        let mut listed = HashMap::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => listed.clear(),
                Ok(Event::InitApply(namespace)) => {
                    let (name, policy) = namespace_policy(&namespace);
                    listed.insert(name, policy);
                }
                Ok(Event::InitDone) => {
                    let listed = std::mem::take(&mut listed);
                    info!(namespaces = listed.len(), "namespaces listed");
                    self.write(|snapshot| {
                        snapshot.namespaces = listed;
                        snapshot.namespaces_synced = true;
                    });
                }
                Ok(Event::Apply(namespace)) => {
                    let (name, policy) = namespace_policy(&namespace);
                    self.write(|snapshot| {
                        snapshot.namespaces.insert(name, policy);
                    });
                }
                Ok(Event::Delete(namespace)) => {
                    let (name, _) = namespace_policy(&namespace);
                    self.write(|snapshot| {
                        snapshot.namespaces.remove(&name);
                    });
                }
                Err(error) => broken("namespaces", &error),
            }
        }
    }
}

fn namespace_policy(namespace: &PartialObjectMeta<Namespace>) -> (Box<str>, Option<Box<str>>) {
    let label = namespace.labels().get(POLICY_LABEL).map(|value| value.as_str().into());
    (namespace.meta().name.clone().unwrap_or_default().into(), label)
}

fn broken(resource: &str, error: &watcher::Error) {
    warn!(resource, %error, "a watch broke; the last state stays and the watch is resumed");
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use kube::runtime::watcher::Event::{Apply, Delete, Init, InitApply, InitDone};
    use lameduck_core::policy::Mode;
    use serde_json::json;

    use super::*;

    fn policy(name: &str, spec: serde_json::Value) -> DynamicObject {
        let object = json!({"metadata": {"name": name}, "spec": spec});
        serde_json::from_value(object).unwrap()
    }

    fn namespace(name: &str, labels: serde_json::Value) -> PartialObjectMeta<Namespace> {
        let object = json!({"metadata": {"name": name, "labels": labels}});
        serde_json::from_value(object).unwrap()
    }

    async fn follow(index: &Index, events: Vec<Event<DynamicObject>>) {
        index.clone().follow_policies(stream::iter(events.into_iter().map(Ok))).await;
    }

    #[tokio::test]
    async fn a_policy_that_cannot_be_read_keeps_its_last_version() {
        let index = Index::default();
        let off = json!({"mode": "Off"});
        follow(&index, vec![Init, InitApply(policy("a", off.clone())), InitDone]).await;
        let newer = json!({"mode": "Off", "memberOfTheNextVersion": 1});
        follow(&index, vec![Apply(policy("a", newer.clone())), Apply(policy("b", newer.clone()))])
            .await;
        assert_eq!(index.read().policies["a"].mode, Mode::Off);
        // Never seen in a version that can be read: as good as missing, and warned about as such.
        assert!(!index.read().policies.contains_key("b"));
        // A new list keeps it as well.
        follow(&index, vec![Init, InitApply(policy("a", newer)), InitDone]).await;
        assert_eq!(index.read().policies["a"].mode, Mode::Off);
    }

    #[tokio::test]
    async fn a_list_replaces_what_went_away_while_the_watch_was_broken() {
        let index = Index::default();
        follow(&index, vec![Init, InitApply(policy("a", json!({}))), InitDone]).await;
        // Until the new list is complete, the old one stays.
        follow(&index, vec![Init, InitApply(policy("b", json!({})))]).await;
        assert!(index.read().policies.contains_key("a"));
        follow(&index, vec![Init, InitApply(policy("b", json!({}))), InitDone]).await;
        let names: Vec<_> = index.read().policies.keys().cloned().collect();
        assert_eq!(names, ["b"]);
        follow(&index, vec![Delete(policy("b", json!({})))]).await;
        assert!(index.read().policies.is_empty());
    }

    #[tokio::test]
    async fn namespaces_are_known_with_and_without_a_label() {
        let index = Index::default();
        let labelled = namespace("shop", json!({POLICY_LABEL: "default"}));
        let events = vec![
            Init,
            InitApply(labelled.clone()),
            InitApply(namespace("plain", json!({}))),
            InitDone,
            Apply(namespace("plain", json!({POLICY_LABEL: "none"}))),
            Delete(labelled),
        ];
        assert!(!index.read().is_synced());
        let events = stream::iter(events.into_iter().map(Ok));
        index.clone().follow_namespaces(events).await;
        assert!(!index.read().is_synced());
        assert!(!index.read().knows_namespace("shop"));
        assert_eq!(index.read().namespace_policy("plain"), Some("none"));
        follow(&index, vec![Init, InitDone]).await;
        assert!(index.read().is_synced());
    }
}
