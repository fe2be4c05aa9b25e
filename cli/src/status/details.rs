//! What metadata does not say: the whole pods that end, and what the controller heard from their holds.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, ListParams};

use super::end_facts::EndFacts;
use super::facts::PodFacts;
use super::view::ending;
use super::world::{Holds, World};
use crate::common::failure::{Failure, chain};
use crate::common::replicas::replicas;

/// Pods that are read at once.
const READS_AT_ONCE: usize = 16;
/// Pods that are read in one look: where more end, nobody reads each line, and the API server is busy.
const READS_MAX: usize = 500;
/// The longest that the controller is waited for: a status without connections beats none.
const HOLDS_SECONDS: u64 = 4;

/// A pod that is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    namespace: String,
    name: String,
    uid: String,
    version: String,
}

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Read {
    /// Versions that were asked for, by UID: one that could not be read is not asked for again.
    asked: Vec<(String, String)>,
    ends: Vec<(String, EndFacts)>,
    holds: Option<Holds>,
}

/// Pods that end and have another version than the one that was read.
#[must_use]
pub(super) fn wanted(world: &World) -> Vec<Wanted> {
    let is_known = |pod: &PodFacts| {
        world.ends.get(&pod.uid).is_some_and(|known| known.version == pod.version)
            || world.asked.get(&pod.uid) == Some(&pod.version)
    };
    ending(world)
        .filter(|(_, pod)| !is_known(pod))
        .take(READS_MAX)
        .map(|((namespace, name), pod)| Wanted {
            namespace: namespace.clone(),
            name: name.clone(),
            uid: pod.uid.clone(),
            version: pod.version.clone(),
        })
        .collect()
}

/// Whether a pod ends that a hold may keep.
#[must_use]
pub(super) fn is_anything_held(world: &World) -> bool {
    world.pods.iter().any(|(_, pod)| pod.deletion.is_some() && pod.held)
}

/// Reads pods and, where `asks`, the controller.
pub(super) async fn read(client: Client, wanted: Vec<Wanted>, asks: bool) -> Read {
    let asked = wanted.iter().map(|pod| (pod.uid.clone(), pod.version.clone())).collect();
    let ends = stream::iter(wanted)
        .map(async |pod: Wanted| {
            let api: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace);
            // One that cannot be read stays unknown until its next change.
            let read = api.get(&pod.name).await.ok()?;
            let is_same = read.metadata.uid.as_deref() == Some(pod.uid.as_str());
            is_same.then(|| (pod.uid, EndFacts::new(&read)))
        })
        .buffer_unordered(READS_AT_ONCE)
        .filter_map(async |end| end)
        .collect();
    let holds = async { if asks { Some(holds(&client).await) } else { None } };
    let (ends, holds) = futures::join!(ends, holds);
    Read { asked, ends, holds }
}

impl World {
    /// Takes in what was read.
    pub(super) fn learn(&mut self, read: Read) {
        self.ends.extend(read.ends);
        self.asked.extend(read.asked);
        let uids: BTreeSet<&str> = self
            .pods
            .iter()
            .filter(|(_, pod)| pod.deletion.is_some())
            .map(|(_, pod)| pod.uid.as_str())
            .collect();
        self.ends.retain(|uid, _| uids.contains(uid.as_str()));
        self.asked.retain(|uid, _| uids.contains(uid.as_str()));
        if let Some(holds) = read.holds {
            self.holds = holds;
        }
    }
}

async fn holds(client: &Client) -> Holds {
    let asked = tokio::time::timeout(Duration::from_secs(HOLDS_SECONDS), replicas(client)).await;
    let unknown = |trouble: String| Holds { seen: Vec::new(), trouble: Some(trouble) };
    let replicas = match asked {
        Err(_) => return unknown(format!("no answer of the controller within {HOLDS_SECONDS} s")),
        Ok(Err(error)) => {
            return unknown(
                Failure::of_call("the controller's pods cannot be listed", &error).message,
            );
        }
        Ok(Ok(replicas)) if replicas.is_empty() => {
            return unknown("no controller runs in lameduck-system".to_owned());
        }
        Ok(Ok(replicas)) => replicas,
    };
    let mut holds = Holds::default();
    for replica in replicas {
        match replica.state {
            Ok(state) => holds.seen.extend(state.holds),
            Err(failure) => holds.trouble = Some(failure.message),
        }
    }
    holds
}

/// Whether the API server answers: why not, where it does not.
pub(super) async fn probe(client: Client, namespace: Option<String>) -> Option<String> {
    let pods: Api<Pod> = match &namespace {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::all(client),
    };
    let params = ListParams::default().limit(1);
    match tokio::time::timeout(Duration::from_secs(HOLDS_SECONDS), pods.list_metadata(&params))
        .await
    {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(chain(&error)),
        Err(_) => Some(format!("no answer within {HOLDS_SECONDS} s")),
    }
}
