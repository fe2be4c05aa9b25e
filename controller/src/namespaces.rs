//! Tells the namespace controller when the last protected pod of a namespace that is being deleted has
//! gone.
//!
//! It looks again only after half of the longest `terminationGracePeriodSeconds` that it saw, which an
//! injected pod has raised to a quarter of an hour: the namespace would stay for minutes with nothing
//! in it. Any change to the namespace makes it look after 5 s (kubernetes
//! `pkg/controller/namespace/namespace_controller.go`), and a condition in the status is the smallest
//! right to change something.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use lameduck_core::names::{CONDITION_PODS_RELEASED, POLICY_NONE};
use lameduck_core::text::chain;
use serde_json::json;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::index::{Index, SharedIndex};
use crate::leader::Leadership;

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// The longest that one call may take.
const CALL_MAX: Duration = Duration::from_secs(5);
/// Namespaces told per look; the rest follows with the next.
const NAMESPACES_PER_LOOK: usize = 20;

/// What is known about namespaces that go.
#[derive(Debug, Default)]
struct Going {
    /// Had a protected pod at the last look.
    held: HashSet<Arc<str>>,
    told: HashSet<Arc<str>>,
}

impl Going {
    /// Namespaces to tell now: being deleted, without a protected pod, not told before; and enrolled, or
    /// seen with a protected pod before.
    ///
    /// A new leader may tell one a second time. That is one more look for the namespace controller.
    fn due(&mut self, index: &Index) -> Vec<Arc<str>> {
        let going: HashMap<&Arc<str>, bool> = index
            .namespaces()
            .filter(|(_, namespace)| namespace.terminating)
            .map(|(name, namespace)| {
                let policy = namespace.policy.as_deref();
                (name, policy.is_some_and(|policy| !policy.is_empty() && policy != POLICY_NONE))
            })
            .collect();
        self.told.retain(|name| going.contains_key(name));
        if going.is_empty() {
            self.held.clear();
            return Vec::new();
        }
        let held: HashSet<Arc<str>> = index
            .pods()
            .filter(|(key, pod)| pod.is_managed() && going.contains_key(&key.namespace))
            .map(|(key, _)| Arc::clone(&key.namespace))
            .collect();
        let due = going
            .into_iter()
            .filter(|(name, enrolled)| *enrolled || self.held.contains(*name))
            .map(|(name, _)| name)
            .filter(|name| !held.contains(*name) && !self.told.contains(*name))
            .take(NAMESPACES_PER_LOOK)
            .cloned()
            .collect::<Vec<_>>();
        // What is due stays known until it has been told.
        self.held = held.into_iter().chain(due.iter().cloned()).collect();
        due
    }
}

/// Looks again and again, until `stop`. Leader only.
pub async fn run(
    index: SharedIndex,
    client: Client,
    leadership: Leadership,
    stop: CancellationToken,
) {
    let namespaces: Api<Namespace> = Api::all(client);
    let mut going = Going::default();
    loop {
        let due = if leadership.is_held() {
            index.with(|index| if index.is_synced() { going.due(index) } else { Vec::new() })
        } else {
            Vec::new()
        };
        for name in due {
            if leadership.is_held() && tell(&namespaces, &name).await {
                going.told.insert(name);
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(LOOK_EVERY) => {}
        }
    }
}

/// Writes the condition. False where it has to be tried again.
async fn tell(namespaces: &Api<Namespace>, name: &str) -> bool {
    let condition = json!({
        "type": CONDITION_PODS_RELEASED,
        "status": "True",
        "reason": "NoneLeft",
        "message": "no pod of this namespace is held any more",
        "lastTransitionTime": Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    });
    let patch = Patch::Strategic(json!({"status": {"conditions": [condition]}}));
    let parameters = PatchParams::default();
    let call = namespaces.patch_status(name, &parameters, &patch);
    match timeout(CALL_MAX, call).await {
        Ok(Ok(_)) => {
            info!(namespace = name, "The last protected pod of a namespace that goes is released.");
            true
        }
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => true,
        Ok(Err(error)) => {
            warn!(
                namespace = name,
                error = %chain(&error),
                "A namespace that goes cannot be told that it is empty; trying again."
            );
            false
        }
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    use super::*;
    use crate::index::PodKey;
    use crate::slim;

    fn parse<T: DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).unwrap()
    }

    fn namespace(name: &str, labels: Value, terminating: bool) -> slim::Namespace {
        let deleted = terminating.then_some("2026-01-01T00:00:00Z");
        parse(json!({"metadata": {"name": name, "labels": labels, "deletionTimestamp": deleted}}))
    }

    fn pod(namespace: &str) -> slim::Pod {
        parse(json!({"metadata": {
            "namespace": namespace, "name": "web", "uid": "1", "resourceVersion": "1",
            "labels": {"lameduck.dev/policy": "default"}, "finalizers": ["lameduck.dev/drain"],
        }}))
    }

    fn due(going: &mut Going, index: &Index) -> Vec<String> {
        let mut names: Vec<_> = going.due(index).iter().map(ToString::to_string).collect();
        names.sort();
        names
    }

    #[test]
    fn a_namespace_is_told_once_when_its_last_protected_pod_has_gone() {
        let mut index = Index::default();
        let mut going = Going::default();
        let enrolled = json!({"lameduck.dev/policy": "default"});
        index.apply_namespace(&namespace("labelled", enrolled.clone(), true));
        index.apply_namespace(&namespace("workload", json!({}), true));
        index.apply_namespace(&namespace("stranger", json!({}), true));
        index.apply_namespace(&namespace("stays", enrolled, false));
        for name in ["labelled", "workload", "stays"] {
            index.apply_pod(pod(name));
        }
        assert!(due(&mut going, &index).is_empty());
        for name in ["labelled", "workload", "stays"] {
            index.delete_pod(&PodKey { namespace: name.into(), name: "web".into() });
        }
        // Again and again until it has been told.
        assert_eq!(due(&mut going, &index), ["labelled", "workload"]);
        assert_eq!(due(&mut going, &index), ["labelled", "workload"]);
        going.told.extend(["labelled".into(), "workload".into()]);
        assert!(due(&mut going, &index).is_empty());
    }
}
