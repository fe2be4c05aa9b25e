//! What core decides from, out of the index.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use lameduck_core::drain::{
    Containers, Endpoint, EndpointFacts, NodeState, Others, PodFacts, SelectingService, Stale,
    TAKEOVER_SECONDS,
};
use tokio::time::Instant;

use super::{Index, Kind, Pod, PodKey, Selector};

/// The longest that a pod is taken to be starting: nobody waits longer for it.
const START_MAX: SignedDuration = SignedDuration::from_secs(TAKEOVER_SECONDS as i64);

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
        let known = pod.node.as_ref().and_then(|name| self.nodes.get(name));
        let node = match (&pod.node, known) {
            (None, _) => NodeState::Unscheduled,
            _ if self.health(Kind::Nodes).stale(now).is_some() => NodeState::Unknown,
            (_, None) => NodeState::Gone,
            (_, Some(node)) if node.ready => NodeState::Ready,
            _ => NodeState::NotReady,
        };
        PodFacts {
            deletion: pod.deletion,
            original_grace_seconds: pod.original_grace_seconds,
            containers: pod.containers,
            node,
            has_finalizer: pod.finalizer_at.is_some(),
            release: pod.release.as_deref().cloned(),
            traffic_off: pod.traffic_off.clone(),
            policy: self.policies.get(&pod.policy).cloned().unwrap_or_default(),
            node_under_pressure: known.is_some_and(|node| node.under_pressure),
        }
    }

    fn endpoint_facts(&self, key: &PodKey, pod: &Pod, now: Instant) -> EndpointFacts {
        // Pods too: whether another one starts is read from them.
        let stale = [Kind::Services, Kind::EndpointSlices, Kind::Pods]
            .into_iter()
            .filter_map(|kind| {
                let (why, lasts) = self.health(kind).stale_for(now)?;
                Some(Stale { why: format!("the watch of {} {why}", kind.as_str()), lasts })
            })
            .max_by_key(|stale| stale.lasts);
        let entries: Vec<Endpoint> = self
            .slices
            .get(&key.namespace)
            .into_iter()
            .flatten()
            .flat_map(|(_, slice)| slice.about(key, pod))
            .collect();
        let services = self
            .services
            .get(&key.namespace)
            .into_iter()
            .flatten()
            .filter(|(_, service)| pod.matches(&service.selector))
            .map(|(name, service)| {
                let name: Arc<str> = format!("{}/{name}", key.namespace).into();
                let serves = |entry: &Endpoint| entry.service == name && entry.serving;
                let others = if entries.iter().any(serves) {
                    self.others(key, pod, &name, &service.selector)
                } else {
                    Others::Absent
                };
                SelectingService { name, others }
            })
            .collect();
        EndpointFacts { services, entries, stale, clb: self.clb_facts(key, pod, now) }
    }

    /// What a Service has besides a pod that serves. A pod that starts stands in no EndpointSlice before it
    /// has an address, so pods are looked at, and only at young ones: what has not been ready for long,
    /// like the passive half of a pair, does not start because this one ends.
    fn others(&self, key: &PodKey, pod: &Pod, service: &str, selector: &Selector) -> Others {
        let mut slices = self.slices.get(&key.namespace).into_iter().flat_map(HashMap::values);
        if slices.any(|slice| slice.service() == service && slice.has_ready_besides(key)) {
            return Others::Ready;
        }
        let asked = pod.deletion.map_or(Timestamp::MAX, |deletion| deletion.requested_at);
        let young = asked.checked_sub(START_MAX).unwrap_or(asked);
        let starts = |(other, pod): (&PodKey, &Pod)| {
            other.namespace == key.namespace
                && other.name != key.name
                && pod.deletion.is_none()
                && pod.containers != Containers::Ended
                && pod.created.is_some_and(|created| created >= young)
                && pod.matches(selector)
        };
        if self.pods.iter().any(starts) { Others::Starting } else { Others::Absent }
    }

    /// Whether a hold that calls from `peer` may ask about the pod. With `node_too`, its node's
    /// addresses count: for networks that hide a pod behind its node.
    #[must_use]
    pub fn is_pods_own(pod: &Pod, peer: IpAddr, node_too: bool) -> bool {
        let peer = peer.to_canonical();
        pod.addresses.contains(&peer) || (node_too && pod.node_addresses.contains(&peer))
    }
}
