//! The index's load balancers: which ones carry pods that end, and what was read of them.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use lameduck_core::drain::ConditionStatus;
use lameduck_core::drain::clb::{ClbFacts, History, LoadBalancer, LookUp, ReadOf};
use lameduck_core::policy::Provider;
use tokio::time::Instant;

use super::{Carrier, Index, Kind, Pod, PodKey, Service};

/// What is kept of a pod that ends, while it ends.
#[derive(Clone, Debug, Default)]
pub(super) struct Clb {
    /// By the load balancer's id.
    histories: HashMap<Arc<str>, History>,
    /// Load balancers that a look-up of its address found, or why it did not succeed. None: not yet.
    found: Option<Result<Vec<Arc<str>>, String>>,
    /// TKE was reminded of its weight.
    nudged: bool,
}

/// A pod whose load balancers are to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClbPod {
    /// Which one.
    pub key: PodKey,
    /// Its addresses.
    pub addresses: Box<[IpAddr]>,
    /// The load balancers that its Services name, and those that were found.
    pub load_balancers: Vec<Arc<str>>,
    /// Its address was looked up.
    pub looked_up: bool,
}

impl Index {
    /// From now on somebody reads load balancers. `look_up`: addresses are looked up too.
    pub fn read_clbs(&mut self, look_up: bool) {
        self.clb_reader = Some(look_up);
        self.touch_all();
    }

    /// The pods that end and whose load balancers are not proven off yet.
    #[must_use]
    pub fn clb_draining(&self) -> Vec<ClbPod> {
        let keys = self.terminating.values().flatten();
        keys.filter_map(|key| {
            let pod = self.pods.get(key)?;
            let is_off = pod
                .traffic_off
                .as_ref()
                .is_some_and(|condition| condition.status == ConditionStatus::True);
            (!is_off && self.reads_clbs_of(pod)).then(|| ClbPod {
                key: key.clone(),
                addresses: pod.addresses.clone(),
                load_balancers: self.load_balancers(key, pod),
                looked_up: matches!(self.clb.get(key), Some(Clb { found: Some(Ok(_)), .. })),
            })
        })
        .collect()
    }

    /// A read of a load balancer has ended; `about` says what it tells of a pod. Returns whether it told
    /// anything new.
    pub fn clb_read(
        &mut self,
        id: &Arc<str>,
        at: Timestamp,
        about: impl Fn(&ClbPod) -> ReadOf,
    ) -> bool {
        let mut changed = false;
        for pod in self.clb_draining().iter().filter(|pod| pod.load_balancers.contains(id)) {
            let clb = self.clb.entry(pod.key.clone()).or_default();
            changed |= clb.histories.entry(Arc::clone(id)).or_default().take(at, about(pod));
            self.dirty.insert(pod.key.clone());
        }
        changed
    }

    /// A look-up of a pod's address has ended: the load balancers that it found, or why it found nothing.
    pub fn clb_looked_up(&mut self, key: &PodKey, found: Result<Vec<Arc<str>>, String>) {
        if self.pods.contains_key(key) {
            self.clb.entry(key.clone()).or_default().found = Some(found);
            self.dirty.insert(key.clone());
        }
    }

    /// TKE was reminded of a pod's weight, or that was tried: once is enough.
    pub fn clb_nudged(&mut self, key: &PodKey) {
        if self.pods.contains_key(key) {
            self.clb.entry(key.clone()).or_default().nudged = true;
        }
    }

    /// A pod's addresses.
    #[must_use]
    pub fn clb_addresses(&self, key: &PodKey) -> &[IpAddr] {
        self.pods.get(key).map_or(&[], |pod| &pod.addresses)
    }

    /// What core decides from. None where nobody reads load balancers for this pod.
    pub(super) fn clb_facts(&self, key: &PodKey, pod: &Pod, now: Instant) -> Option<ClbFacts> {
        let provider = self.provider(pod);
        let Some(look_up) = self.clb_reader else {
            let no_access =
                "the policy asks for TencentCLB, and the controller has no access to CLB";
            let unknown = Some(no_access.to_owned());
            return (provider == Provider::TencentCLB)
                .then(|| ClbFacts { unknown, ..ClbFacts::default() });
        };
        if provider == Provider::EndpointSlice {
            return None;
        }
        let clb = self.clb.get(key);
        let unread = |why| format!("the watch of ingresses {why}");
        let unknown = self.health(Kind::Ingresses).stale(now).map(unread);
        let look_up = match clb.and_then(|clb| clb.found.as_ref()) {
            Some(Err(why)) => LookUp::Failed(why.clone()),
            None if look_up => LookUp::Pending,
            _ => LookUp::Done,
        };
        let history = |id: &Arc<str>| clb.and_then(|clb| clb.histories.get(id)).cloned();
        let load_balancers = self
            .load_balancers(key, pod)
            .into_iter()
            .map(|id| LoadBalancer { history: history(&id).unwrap_or_default(), id })
            .collect();
        let through_nodes: BTreeSet<Arc<str>> = self
            .carriers(key, pod)
            .filter(|(carrier, ..)| !carrier.direct)
            .map(|(_, kind, name)| format!("{kind} {}/{name}", key.namespace).into())
            .collect();
        Some(ClbFacts {
            load_balancers,
            through_nodes: through_nodes.into_iter().collect(),
            look_up,
            unknown,
            nudged: clb.is_some_and(|clb| clb.nudged),
        })
    }

    fn provider(&self, pod: &Pod) -> Provider {
        self.policies.get(&pod.policy).map(|policy| policy.traffic_off.provider).unwrap_or_default()
    }

    fn reads_clbs_of(&self, pod: &Pod) -> bool {
        self.clb_reader.is_some() && self.provider(pod) != Provider::EndpointSlice
    }

    /// The CLBs of Services that select the pod and of Ingresses that lead to such a Service, each with
    /// kind and name of the object.
    fn carriers(&self, key: &PodKey, pod: &Pod) -> impl Iterator<Item = (&Carrier, &str, &str)> {
        let in_namespace = self.services.get(&key.namespace);
        let selects = |service: &Service| pod.matches(&service.selector);
        let services =
            in_namespace.into_iter().flatten().filter(move |(_, service)| selects(service));
        let of_services = services.filter_map(|(name, service)| {
            Some((service.load_balancer.as_ref()?, "Service", &**name))
        });
        let leads_here = move |name: &Arc<str>| {
            in_namespace.and_then(|services| services.get(name)).is_some_and(selects)
        };
        let ingresses = self.ingresses.get(&key.namespace).into_iter().flatten();
        let of_ingresses = ingresses
            .filter(move |(_, ingress)| ingress.services.iter().any(leads_here))
            .map(|(name, ingress)| (&ingress.load_balancer, "Ingress", &**name));
        of_services.chain(of_ingresses)
    }

    /// Each once, sorted.
    fn load_balancers(&self, key: &PodKey, pod: &Pod) -> Vec<Arc<str>> {
        let direct = self.carriers(key, pod).filter(|(carrier, ..)| carrier.direct);
        let named = direct.map(|(carrier, ..)| Arc::clone(&carrier.id));
        let found = match self.clb.get(key) {
            Some(Clb { found: Some(Ok(found)), .. }) => found.as_slice(),
            _ => &[],
        };
        // What was read once is read to the end: a Service may go before its load balancer does.
        let read = self.clb.get(key).into_iter().flat_map(|clb| clb.histories.keys());
        let mut all: Vec<_> = named.chain(found.iter().cloned()).chain(read.cloned()).collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}
