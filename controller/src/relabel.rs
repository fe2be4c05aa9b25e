//! Puts the policy label back on pods that lost it while they carry our finalizer.
//!
//! Enrolled pods are found by that label. Without it a pod would end unseen: its hold without an
//! answer, its object kept by a finalizer that nobody takes off. Un-enrolling changes new pods only.

use std::time::Duration;

use lameduck_core::drain::{EventReason, EventText};
use lameduck_core::names::{FINALIZER, POLICY_LABEL};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::events::Events;
use crate::index::{PodKey, SharedIndex, Unlabelled};
use crate::leader::Leadership;
use crate::pods::Pods;
use crate::text::chain;

/// Time between two looks. A pod ends no sooner than its hold, which waits longer than this where
/// nobody answers it.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Labels put back per look.
const PODS_PER_LOOK: usize = 50;

/// Looks again and again, until `stop`. Leader only.
pub async fn run(
    index: SharedIndex,
    pods: Pods,
    leadership: Leadership,
    events: Events,
    stop: CancellationToken,
) {
    loop {
        if leadership.is_held() {
            let lost = index.with(|index| index.unlabelled(PODS_PER_LOOK));
            for (key, lost) in lost {
                if leadership.is_held() {
                    put_back(&index, &pods, &events, &key, &lost).await;
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(LOOK_EVERY) => {}
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
    match pods.write_label(key, &lost.uid, POLICY_LABEL, &lost.policy).await {
        Ok(()) => {
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
            events.send(key, &lost.uid, EventText::new(EventReason::LabelRestored, note));
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
    use crate::metrics::Metrics;
    use crate::testing::{FakeApi, pod};

    #[tokio::test]
    async fn a_successor_of_the_same_name_ends_the_matter() {
        let api = FakeApi::default();
        let mut successor = pod("web-0");
        successor["metadata"]["uid"] = json!("uid-new");
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
        assert_eq!(api.calls().len(), 1);
        assert_eq!(api.pod("web-0"), Some(successor));
        assert_eq!(index.with(|index| index.unlabelled(9)), []);
    }
}
