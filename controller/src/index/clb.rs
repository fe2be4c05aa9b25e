//! The index's load balancers: which ones carry pods that end, and what was read of them.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use lameduck_core::drain::clb::{ClbFacts, History, LoadBalancer, LookUp, ReadOf};
use lameduck_core::drain::{ConditionStatus, Containers};
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
    /// When that was.
    looked_up_at: Option<Instant>,
    /// TKE was reminded of its weight.
    nudged: bool,
}

/// Whether the addresses of a pod were looked up. In the order in which they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tried {
    /// Nobody tried.
    Never,
    /// It did not succeed; when that was.
    Failed(Instant),
    /// It did.
    Done,
}

/// A pod whose load balancers are to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClbPod {
    /// Which one.
    pub key: PodKey,
    /// Its UID.
    pub uid: Box<str>,
    /// Its addresses.
    pub addresses: Box<[IpAddr]>,
    /// The load balancers that its Services name, and those that were found.
    pub load_balancers: Vec<Arc<str>>,
    /// Whether its addresses were looked up.
    pub look_up: Tried,
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
            let clb = self.clb.get(key);
            let wants = !is_off && self.reads_clbs_of(pod) && may_be_bound(pod, clb);
            wants.then(|| ClbPod {
                key: key.clone(),
                uid: pod.uid.clone(),
                addresses: pod.addresses.clone(),
                load_balancers: self.load_balancers(key, pod),
                look_up: match clb {
                    Some(Clb { found: Some(Ok(_)), .. }) => Tried::Done,
                    Some(Clb { looked_up_at: Some(at), .. }) => Tried::Failed(*at),
                    _ => Tried::Never,
                },
            })
        })
        .collect()
    }

    /// A load balancer that some object names: one that can be asked about.
    #[must_use]
    pub fn some_load_balancer(&self) -> Option<Arc<str>> {
        let services = self.services.values().flat_map(HashMap::values);
        let of_services = services.filter_map(|service| service.load_balancer.as_ref());
        let ingresses = self.ingresses.values().flat_map(HashMap::values);
        let of_ingresses = ingresses.map(|ingress| &ingress.load_balancer);
        of_services.chain(of_ingresses).map(|carrier| Arc::clone(&carrier.id)).next()
    }

    /// The address of some pod.
    #[must_use]
    pub fn some_address(&self) -> Option<IpAddr> {
        self.pods.values().find_map(|pod| pod.addresses.first().copied())
    }

    /// Nothing is known of load balancers: somebody else has read them since, or nobody.
    pub fn forget_clbs(&mut self) {
        self.clb.clear();
    }

    /// A read of a load balancer for `pods` has ended; `about` says what it tells of addresses. Returns
    /// whether it told anything new.
    pub fn clb_read(
        &mut self,
        id: &Arc<str>,
        pods: &[PodKey],
        at: Timestamp,
        about: impl Fn(&[IpAddr]) -> ReadOf,
    ) -> bool {
        let mut changed = false;
        for key in pods {
            let Some(pod) = self.pods.get(key).filter(|pod| pod.deletion.is_some()) else {
                continue;
            };
            let clb = self.clb.entry(key.clone()).or_default();
            let history = clb.histories.entry(Arc::clone(id)).or_default();
            changed |= history.take(at, about(&pod.addresses));
            self.dirty.insert(key.clone());
        }
        changed
    }

    /// A look-up of a pod's addresses has ended: the load balancers that it found, or why it found nothing.
    pub fn clb_looked_up(
        &mut self,
        asked: &ClbPod,
        now: Instant,
        found: Result<Vec<Arc<str>>, String>,
    ) {
        if let Some(clb) = self.clb_of(&asked.key, &asked.uid) {
            clb.found = Some(found);
            clb.looked_up_at = Some(now);
            self.dirty.insert(asked.key.clone());
        }
    }

    /// TKE was reminded of a pod's weight, or that was tried: once is enough.
    pub fn clb_nudged(&mut self, key: &PodKey, uid: &str) {
        if let Some(clb) = self.clb_of(key, uid) {
            clb.nudged = true;
        }
    }

    /// What is kept of this pod, and of none before or after it of the same name.
    fn clb_of(&mut self, key: &PodKey, uid: &str) -> Option<&mut Clb> {
        self.pods.get(key).filter(|pod| *pod.uid == *uid && pod.deletion.is_some())?;
        Some(self.clb.entry(key.clone()).or_default())
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
        if !may_be_bound(pod, clb) {
            return Some(ClbFacts::default());
        }
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

    /// The CLBs of the Ingresses that lead to one of these Services, where their backends are the pods.
    #[must_use]
    pub fn ingress_clbs(&self, namespace: &str, services: &[String]) -> Vec<Arc<str>> {
        let ingresses = self.ingresses.get(namespace).into_iter().flat_map(HashMap::values);
        let leads = |name: &Arc<str>| services.iter().any(|service| **service == **name);
        let leading = ingresses.filter(|ingress| ingress.services.iter().any(leads));
        let direct = leading.filter(|ingress| ingress.load_balancer.direct);
        direct.map(|ingress| Arc::clone(&ingress.load_balancer.id)).collect()
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

/// Whether a load balancer may have the pod's addresses as its backends, for the pod's sake.
fn may_be_bound(pod: &Pod, clb: Option<&Clb>) -> bool {
    // What was read is read to the end.
    if clb.is_some_and(|clb| !clb.histories.is_empty()) {
        return true;
    }
    // Those of its node stand for everything on that node, and TKE binds no such pod.
    let of_node = pod.addresses == pod.node_addresses;
    // Without anything that runs it serves nobody, and its addresses may long be another pod's.
    !pod.addresses.is_empty() && !of_node && pod.containers == Containers::Running
}
