//! Puts the policy label back on pods that lost it while they carry our finalizer.
//!
//! Enrolled pods are found by that label. Without it a pod would end unseen: its hold without an
//! answer, its object kept by a finalizer that nobody takes off. Un-enrolling changes new pods only.
//!
//! The watch tells of a pod that loses the label. One that lost it while no controller ran is searched
//! for, in all namespaces, whenever a replica begins to lead.

use std::time::Duration;

use lameduck_core::drain::{EventReason, EventText};
use lameduck_core::names::{FINALIZER, POLICY_LABEL};
use lameduck_core::resolve::{Enrolment, enrolment};
use lameduck_core::text::chain;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::default_policy::DEFAULT_POLICY;
use crate::events::{Events, Subject};
use crate::index::{PodKey, SharedIndex, Unlabelled};
use crate::leader::Leadership;
use crate::pods::{CallError, Pods};

/// Time between two looks. A pod ends no sooner than its hold, which waits longer than this where
/// nobody answers it.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Time between two searches of which the first did not succeed: each may read every pod of the cluster.
const SEARCH_AGAIN: Duration = Duration::from_secs(60);
/// Labels put back per look.
const PODS_PER_LOOK: usize = 50;

/// Looks and searches again and again, until `stop`. Leader only.
pub async fn run(
    index: SharedIndex,
    pods: Pods,
    leadership: Leadership,
    events: Events,
    stop: CancellationToken,
) {
    // Apart: a search of a large cluster takes its time, and no pod that is known waits for it.
    let looking = look(&index, &pods, &leadership, &events);
    let searching = search(&index, &pods, &leadership);
    tokio::select! {
        () = stop.cancelled() => {}
        () = async { tokio::join!(looking, searching); } => {}
    }
}

/// Puts labels back where they are known to be lost.
async fn look(index: &SharedIndex, pods: &Pods, leadership: &Leadership, events: &Events) {
    loop {
        let lost = if leadership.is_held() {
            index.with(|index| index.unlabelled(PODS_PER_LOOK))
        } else {
            Vec::new()
        };
        for (key, lost) in lost {
            if leadership.is_held() {
                put_back(index, pods, events, &key, &lost).await;
            }
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Searches once per leadership.
async fn search(index: &SharedIndex, pods: &Pods, leadership: &Leadership) {
    let mut search = Search::default();
    loop {
        if !leadership.is_held() {
            search = Search::default();
        } else if index.with(|index| index.is_synced()) {
            search.run(index, pods).await;
        }
        sleep(LOOK_EVERY).await;
    }
}

/// One search per leadership.
#[derive(Debug, Default)]
struct Search {
    done: bool,
    not_before: Option<Instant>,
}

impl Search {
    async fn run(&mut self, index: &SharedIndex, pods: &Pods) {
        let now = Instant::now();
        if self.done || self.not_before.is_some_and(|at| now < at) {
            return;
        }
        let mut found = 0;
        let selector = format!("!{POLICY_LABEL}");
        let searched = pods.each(None, &selector, |pod| {
            if pod.metadata.finalizer_at().is_some() {
                let key = PodKey::new(&pod.metadata.namespace, &pod.metadata.name);
                index.with(|index| {
                    // What it had is not known any more: what its namespace says, or the default.
                    let policy =
                        index.namespace(&key.namespace).and_then(|known| known.policy.clone());
                    let policy = match enrolment(&key.namespace, [policy.as_deref()]) {
                        Enrolment::Policy(policy) => policy,
                        Enrolment::OptedOut | Enrolment::NotEnrolled => DEFAULT_POLICY,
                    };
                    index.lost_label(&key, &pod.metadata.uid, Some(policy));
                });
                found += 1;
            }
        });
        match searched.await {
            Ok(()) => {
                self.done = true;
                debug!(found, "Pods that lost the policy label were searched for.");
            }
            Err(error) => {
                self.not_before = Some(now + SEARCH_AGAIN);
                warn!(
                    error = %chain(&error),
                    "Pods that lost the policy label could not be searched for; trying again in a minute."
                );
            }
        }
    }
}

async fn put_back(
    index: &SharedIndex,
    pods: &Pods,
    events: &Events,
    key: &PodKey,
    lost: &Unlabelled,
) {
    let written = async {
        // Whoever took the finalizer off too meant it, and nothing is kept by us.
        let now = pods.get(key).await?;
        let is_kept = now.is_some_and(|pod| {
            pod.metadata.uid == *lost.uid && pod.metadata.finalizer_at().is_some()
        });
        if is_kept {
            pods.write_label(key, &lost.uid, POLICY_LABEL, &lost.policy).await?;
        }
        Ok::<_, CallError>(is_kept)
    };
    match written.await {
        Ok(false) => {}
        Ok(true) => {
            info!(
                namespace = &*key.namespace,
                pod = &*key.name,
                uid = &*lost.uid,
                policy = &*lost.policy,
                "The policy label was put back."
            );
            let note = format!(
                "the label {POLICY_LABEL}={} was put back: the pod is protected until it ends. To end it \
                 without protection, take the finalizer {FINALIZER} off; new pods follow the labels of \
                 their template and namespace",
                lost.policy
            );
            events.send(
                Subject::Pod,
                key,
                &lost.uid,
                EventText::new(EventReason::LabelRestored, note),
            );
        }
        // It is gone, or another one: nothing is kept by our finalizer.
        Err(error) if matches!(error.status(), Some(404 | 409 | 422)) => {}
        Err(error) => {
            warn!(
                namespace = &*key.namespace,
                pod = &*key.name,
                uid = &*lost.uid,
                error = %chain(&error),
                "The policy label could not be put back; trying again."
            );
            return;
        }
    }
    index.with(|index| index.relabelled(key, &lost.uid));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::index::Kind;
    use crate::metrics::Metrics;
    use crate::testing::{FakeApi, Fault, pod};

    #[tokio::test(start_paused = true)]
    async fn a_pod_that_lost_the_label_while_nobody_looked_is_found_once_somebody_leads() {
        let api = FakeApi::default();
        for name in ["kept", "lost", "foreign"] {
            let mut pod = pod(name);
            if name != "kept" {
                pod["metadata"]["labels"] = json!({ "app": "web" });
            }
            if name == "foreign" {
                pod["metadata"]["finalizers"] = json!(["example.com/other"]);
            }
            api.put_pod(pod);
        }
        let index = SharedIndex::default();
        index.with(|index| {
            for kind in Kind::ALL {
                index.watch_synced(kind, Instant::now());
            }
        });
        let mut failures = 1;
        api.faults(move |_| {
            failures -= 1;
            (failures >= 0).then_some(Fault::Status(503))
        });
        let (mut search, pods) = (Search::default(), Pods::new(api.client()));
        search.run(&index, &pods).await;
        assert_eq!(index.with(|index| index.unlabelled(9)), [], "the API server was away");
        search.run(&index, &pods).await;
        assert_eq!(api.calls().len(), 1, "not again at once");
        sleep(SEARCH_AGAIN).await;
        search.run(&index, &pods).await;
        search.run(&index, &pods).await;
        assert_eq!(api.calls().len(), 1, "once is enough");
        let found = index.with(|index| index.unlabelled(9));
        let lost = Unlabelled { uid: "uid-lost".into(), policy: "default".into() };
        assert_eq!(found, [(PodKey::new("shop", "lost"), lost)]);
    }

    #[tokio::test]
    async fn a_successor_and_a_pod_that_is_let_go_end_the_matter() {
        let mut successor = pod("web-0");
        successor["metadata"]["uid"] = json!("uid-new");
        let mut let_go = pod("web-0");
        let_go["metadata"]["finalizers"] = json!([]);
        for found in [successor, let_go] {
            ends_the_matter(found).await;
        }
    }

    async fn ends_the_matter(successor: serde_json::Value) {
        let api = FakeApi::default();
        api.put_pod(successor.clone());
        let index = SharedIndex::default();
        let key = PodKey::new("shop", "web-0");
        index.with(|index| index.lost_label(&key, "uid-web-0", Some("slow")));
        let metrics = Metrics::new(Leadership::default());
        let (events, _sender) =
            crate::events::start(api.client(), metrics, "me".into(), CancellationToken::new());
        for (key, lost) in index.with(|index| index.unlabelled(9)) {
            put_back(&index, &Pods::new(api.client()), &events, &key, &lost).await;
        }
        assert_eq!(api.calls().len(), 1, "a look, and no write");
        assert_eq!(api.pod("web-0"), Some(successor));
        assert_eq!(index.with(|index| index.unlabelled(9)), []);
    }
}
