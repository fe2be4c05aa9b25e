//! What core decides from, out of the index.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use lameduck_core::drain::{
    Containers, EndpointFacts, NodeState, Others, PodFacts, SelectingService, Stale,
};
use tokio::time::Instant;

use super::{Index, Kind, Pod, PodKey, Selector};

impl Index {
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
            ended_by_kubelet: pod.ended_by_kubelet,
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
                .map(|(name, selector)| {
                    let name: Arc<str> = format!("{}/{name}", key.namespace).into();
                    SelectingService { others: self.others(key, &name, selector), name }
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

    /// What a Service has besides a pod. A pod that starts stands in no EndpointSlice before it has an
    /// address, so that pods are looked at too.
    fn others(&self, key: &PodKey, service: &str, selector: &Selector) -> Others {
        let slices = self.slices.get(&key.namespace).into_iter().flat_map(HashMap::values);
        let mut starting = false;
        for slice in slices.filter(|slice| slice.service() == service) {
            match slice.others(key) {
                Others::Ready => return Others::Ready,
                Others::Starting => starting = true,
                Others::Absent => {}
            }
        }
        let may_start = |(other, pod): (&PodKey, &Pod)| {
            other.namespace == key.namespace
                && other.name != key.name
                && pod.deletion.is_none()
                && pod.containers != Containers::Ended
                && pod.matches(selector)
        };
        if starting || self.pods.iter().any(may_start) { Others::Starting } else { Others::Absent }
    }

    /// Whether a hold that calls from `peer` may ask about the pod. With `node_too`, its node's
    /// addresses count: for networks that hide a pod behind its node.
    #[must_use]
    pub fn is_pods_own(pod: &Pod, peer: IpAddr, node_too: bool) -> bool {
        let peer = peer.to_canonical();
        pod.addresses.contains(&peer) || (node_too && pod.node_addresses.contains(&peer))
    }
}
