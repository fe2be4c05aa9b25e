//! What metadata does not say: the whole pods that end, and what the controller heard from their holds.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::{Stream, StreamExt as _, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, ListParams};
use lameduck_core::text::chain;

use super::end_facts::EndFacts;
use super::facts::PodFacts;
use super::view::ending;
use super::world::{Holds, Key, World};
use crate::common::failure::Failure;
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
    /// What the API server said of each pod that it was asked for, in time.
    answers: Vec<PodAnswer>,
    /// Pods are left that were to be read.
    in_part: bool,
    holds: Option<Holds>,
}

/// What was read of one pod.
#[derive(Debug)]
struct PodAnswer {
    uid: String,
    /// The version that was wanted: one that could not be read is not asked for again.
    version: String,
    facts: Option<EndFacts>,
}

impl Read {
    /// Pods were wanted, and nothing was heard of any.
    pub(super) fn is_silent(&self) -> bool {
        self.in_part && self.answers.is_empty()
    }
}

/// Whether a pod has been asked for in its present version.
fn is_known(world: &World, pod: &PodFacts) -> bool {
    world.ends.get(&pod.uid).is_some_and(|known| known.version == pod.version)
        || world.asked.get(&pod.uid) == Some(&pod.version)
}

/// Pods that end and have another version than the one that was read. Those that never were come first: pods
/// that change all the time do not keep them from it.
#[must_use]
pub(super) fn wanted(world: &World) -> Vec<Wanted> {
    let wanted = ending(world).filter(|(_, pod)| !is_known(world, pod));
    let (again, mut wanted): (Vec<_>, Vec<_>) =
        wanted.partition(|(_, pod)| world.asked.contains_key(&pod.uid));
    wanted.extend(again);
    let new = |((namespace, name), pod): (&Key, &PodFacts)| Wanted {
        namespace: namespace.clone(),
        name: name.clone(),
        uid: pod.uid.clone(),
        version: pod.version.clone(),
    };
    wanted.into_iter().map(new).collect()
}

/// Whether a pod ends that a hold may keep.
#[must_use]
pub(super) fn is_anything_held(world: &World) -> bool {
    world.pods.iter().any(|(_, pod)| pod.deletion.is_some() && pod.held)
}

/// Reads pods and, where `asks`, the controller. What has not come after `limit` is left for the next time.
pub(super) async fn read(client: Client, wanted: Vec<Wanted>, asks: bool, limit: Duration) -> Read {
    let all = wanted.len();
    let get = async |pod: Wanted| {
        let api: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace);
        // One that cannot be read stays unknown until its next change.
        let read = api.get(&pod.name).await.ok();
        let is_same = |read: &Pod| read.metadata.uid.as_deref() == Some(pod.uid.as_str());
        let facts = read.filter(is_same).map(|read| EndFacts::new(&read));
        PodAnswer { uid: pod.uid, version: pod.version, facts }
    };
    let reads = stream::iter(wanted.into_iter().take(READS_MAX)).map(get);
    let answers = in_time(reads.buffer_unordered(READS_AT_ONCE), limit);
    let holds = async { if asks { Some(holds(&client).await) } else { None } };
    let (answers, holds) = futures::join!(answers, holds);
    Read { in_part: answers.len() < all, answers, holds }
}

/// What comes within `limit`.
async fn in_time<T>(all: impl Stream<Item = T>, limit: Duration) -> Vec<T> {
    all.take_until(tokio::time::sleep(limit)).collect().await
}

impl World {
    /// Takes in what was read.
    pub(super) fn learn(&mut self, read: Read) {
        for PodAnswer { uid, version, facts } in read.answers {
            if let Some(facts) = facts {
                self.ends.insert(uid.clone(), facts);
            }
            self.asked.insert(uid, version);
        }
        self.in_part = read.in_part;
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

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use futures::future::{pending, ready};

    use super::*;
    use crate::status::world::{Change, Said};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
    use serde_json::json;

    #[tokio::test]
    async fn what_came_in_time_is_kept_where_the_rest_does_not() {
        let reads = [ready(1).boxed(), pending().boxed(), ready(3).boxed()];
        let reads = stream::iter(reads).buffer_unordered(READS_AT_ONCE);
        assert_eq!(in_time(reads, Duration::from_millis(20)).await, [1, 3]);
    }

    #[test]
    fn the_rest_is_asked_for_next_time_and_said_until_then() {
        let mut world = World::default();
        for at in 0..600 {
            let meta: ObjectMeta = serde_json::from_value(json!({
                "name": format!("web-{at:03}"), "namespace": "shop", "uid": format!("u-{at:03}"),
                "resourceVersion": "1", "deletionTimestamp": "2026-11-22T14:15:40Z",
                "annotations": {"lameduck.dev/injected": "{}"},
            }))
            .expect("metadata");
            let key = ("shop".to_owned(), format!("web-{at:03}"));
            world.hear(Said::Pod(Ok(Change::Put(key, PodFacts::new(&meta)))));
        }
        let notes = |world: &World| {
            let now = jiff::Timestamp::UNIX_EPOCH;
            let shown = crate::status::view::status(world, &Default::default(), now);
            let messages = shown.notes.into_iter().map(|note| note.message);
            messages.filter(|message| message.contains("were read")).collect::<Vec<_>>()
        };
        let learn = |world: &mut World, pods: usize| {
            let wanted = wanted(world);
            let answer = |pod: &Wanted| PodAnswer {
                uid: pod.uid.clone(),
                version: pod.version.clone(),
                facts: None,
            };
            let answers: Vec<_> = wanted.iter().take(pods).map(answer).collect();
            let read = Read { in_part: answers.len() < wanted.len(), answers, holds: None };
            world.learn(read);
        };
        assert!(notes(&world).is_empty(), "the first reading goes on");
        learn(&mut world, READS_MAX);
        assert_eq!(notes(&world), ["only 500 of 600 pods that end were read"]);
        let left = wanted(&world);
        assert_eq!((left.len(), left[0].name.as_str()), (100, "web-500"));
        learn(&mut world, READS_MAX);
        assert!(notes(&world).is_empty() && wanted(&world).is_empty());
    }
}
