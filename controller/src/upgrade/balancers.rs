//! Reads of the CLBs in front of a StatefulSet: each at most once a second, however many upgrades ask.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use lameduck_clb::{GapKind, Listener, Listeners, Rule, Target, Weight};
use lameduck_core::drain::clb::{History, LoadBalancer, ReadOf, weight_zero};
use lameduck_core::upgrade::facts::{Backend, Balancers, Frontend, Pod, Service};
use lameduck_core::upgrade::object::UpgradeStatus;
use lameduck_core::upgrade::weights::{Port, Protocol};
use tokio::time::Instant;

use crate::clb::Api;
use crate::clb::rows;
use crate::metrics::Metrics;

use super::health::{ByPlace, Checkup, check_up};

/// Time between two reads of a load balancer.
const READ_EVERY: Duration = Duration::from_secs(1);
/// What nobody asked for so long is forgotten.
const FORGET_AFTER: Duration = Duration::from_secs(120);

/// One read, of weights and of health.
#[derive(Clone, Debug)]
pub(super) struct Read {
    at: Timestamp,
    began: Instant,
    result: Result<Arc<Listeners>, Arc<str>>,
    not_found: bool,
    checkup: Checkup,
}

/// The last read of each load balancer. Whoever asks meanwhile waits for the one that is under way.
#[derive(Debug, Default)]
pub struct Reads(Mutex<HashMap<Arc<str>, Slot>>);

/// Held while it is read.
type Slot = Arc<tokio::sync::Mutex<Option<Read>>>;

impl Reads {
    /// A read of `id` that is at most a second old.
    pub(super) async fn read<A: Api>(
        &self,
        api: &A,
        metrics: &Metrics,
        id: &Arc<str>,
        clock: &crate::engine::Clock,
    ) -> Read {
        let slot = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.retain(|_, slot| {
                // One that is being read is in use.
                slot.try_lock().map_or(true, |read| {
                    read.as_ref().is_none_or(|read| read.began.elapsed() < FORGET_AFTER)
                })
            });
            Arc::clone(all.entry(Arc::clone(id)).or_default())
        };
        let mut last = slot.lock().await;
        if let Some(read) = last.as_ref().filter(|read| read.began.elapsed() < READ_EVERY) {
            return read.clone();
        }
        let (at, began) = (clock(), Instant::now());
        let before = last.as_ref().map(|read| &read.checkup);
        let (result, checkup) =
            tokio::join!(api.targets(id, None), check_up(api, metrics, id, before));
        metrics.clb_call("DescribeTargets", crate::clb::label(&result));
        let not_found = result.as_ref().is_err_and(lameduck_clb::Error::is_not_found);
        let result = result.map(Arc::new).map_err(|error| error.without_request_id().into());
        last.insert(Read { at, began, result, not_found, checkup }).clone()
    }
}

/// What the reads of one upgrade have said of each of its pods: in memory, as for a drain. Who begins to
/// lead reads anew.
#[derive(Debug, Default)]
pub(super) struct Histories {
    /// By UID of the pod and id of the load balancer, with the last read that was taken in.
    known: HashMap<(Box<str>, Arc<str>), (Instant, History)>,
    /// The weights on the Services, and since when they are known.
    written: Option<(Vec<Written>, Instant)>,
}

/// Name of a Service, its weights, and our record of them.
type Written = (Box<str>, Option<Box<str>>, Option<Box<str>>);

/// What is judged.
pub(super) struct Seen<'a> {
    /// Addresses of the pods, by UID.
    pub(super) addresses: &'a HashMap<Box<str>, Vec<IpAddr>>,
    /// The load balancers whose weights are set on Services.
    pub(super) reads: &'a [(Arc<str>, Read)],
    /// These Services.
    pub(super) services: &'a [Service],
    /// When they had been listed.
    pub(super) listed: Instant,
    /// The upgrade's claims.
    pub(super) status: Option<&'a UpgradeStatus>,
}

impl Histories {
    /// Takes the reads in for the pods that are claimed, and says of each whether its weight is proven to be 0.
    pub(super) fn judge(
        &mut self,
        pods: &mut [Pod],
        seen: &Seen<'_>,
        confirm_reads: u32,
        now: Timestamp,
    ) {
        let Seen { addresses, reads, services, listed, status } = *seen;
        let since = self.written_since(services, listed);
        let is_claimed = |pod: &Pod| {
            status
                .and_then(|status| status.claim(pod.ordinal))
                .is_some_and(|claim| claim.step.is_untouched())
        };
        self.known.retain(|(uid, id), _| {
            pods.iter().any(|pod| pod.uid == *uid && is_claimed(pod))
                && reads.iter().any(|(read, _)| read == id)
        });
        for pod in pods {
            if !is_claimed(pod) {
                continue;
            }
            let own = addresses.get(&pod.uid).map(Vec::as_slice).unwrap_or_default();
            let mut load_balancers = Vec::new();
            for (id, read) in reads {
                let key = (pod.uid.clone(), Arc::clone(id));
                let (taken, history) =
                    self.known.entry(key).or_insert_with(|| (since, History::default()));
                if *taken < read.began {
                    *taken = read.began;
                    let _changed = history.take(read.at, about(read, own));
                }
                load_balancers.push(LoadBalancer { id: Arc::clone(id), history: history.clone() });
            }
            pod.zero = weight_zero(&load_balancers, confirm_reads, now);
        }
    }

    /// Since when the Services have these weights, as far as is known. What was read before says nothing of
    /// them: a weight that reads 0 may be on its way up.
    fn written_since(&mut self, services: &[Service], listed: Instant) -> Instant {
        let written = |one: &Service| (one.name.clone(), one.weights.clone(), one.record.clone());
        let now: Vec<Written> = services.iter().map(written).collect();
        match &self.written {
            Some((before, since)) if *before == now => *since,
            _ => {
                self.known.clear();
                self.written = Some((now, listed));
                listed
            }
        }
    }
}

fn about(read: &Read, addresses: &[IpAddr]) -> ReadOf {
    match &read.result {
        Ok(listeners) => rows::of(listeners, addresses),
        Err(why) if read.not_found => ReadOf::NotFound((&**why).into()),
        Err(why) => ReadOf::Failed((&**why).into()),
    }
}

/// Listeners and rules with their backends, as `reads` show them.
pub(super) fn balancers(
    reads: &[(Arc<str>, Read)],
    addresses: &HashMap<Box<str>, Vec<IpAddr>>,
) -> Balancers {
    let mut all = Balancers::default();
    for (id, read) in reads {
        let listeners = match &read.result {
            Ok(listeners) => listeners,
            Err(why) => {
                all.unknown.get_or_insert_with(|| format!("CLB {id}: {why}").into());
                continue;
            }
        };
        if let Some(gap) = listeners.gaps.iter().find(|gap| gap.kind != GapKind::NoValue) {
            let why = format!("CLB {id}: a part of the answer could not be read: {gap}");
            all.unknown.get_or_insert_with(|| why.into());
        }
        let health = ByPlace::of(id, read.checkup.health());
        for listener in &listeners.listeners {
            let mut add = |rule: Option<&Rule>, targets: &[Target]| {
                all.frontends.push(frontend(id, listener, rule, targets, addresses, &health));
            };
            if let Some(targets) = &listener.targets {
                add(None, targets);
            }
            for rule in listener.rules.iter().flatten() {
                add(Some(rule), rule.targets.as_deref().unwrap_or_default());
            }
        }
    }
    all
}

fn frontend(
    id: &Arc<str>,
    listener: &Listener,
    rule: Option<&Rule>,
    targets: &[Target],
    addresses: &HashMap<Box<str>, Vec<IpAddr>>,
    health: &ByPlace<'_>,
) -> Frontend {
    let protocol = match listener.protocol.as_deref() {
        Some("TCP" | "TCP_SSL") => Some(Protocol::Tcp),
        Some("UDP" | "QUIC") => Some(Protocol::Udp),
        _ => None,
    };
    let port = protocol.zip(listener.port).filter(|_| rule.is_none());
    let backends = targets.iter().map(|target| {
        let pod = addresses
            .iter()
            .find(|(_, own)| target.private_ips.iter().any(|ip| own.contains(ip)))
            .map(|(uid, _)| uid.clone());
        let weight = match target.weight {
            Weight::Known(weight) => Some(weight),
            Weight::Unknown(_) => None,
        };
        Backend { pod, weight, healthy: health.is_healthy(listener, rule, target) }
    });
    Frontend {
        load_balancer: Arc::clone(id),
        place: rows::place(listener, rule),
        name: rows::frontend(listener, rule).into(),
        port: port.map(|(protocol, port)| Port { protocol, port }),
        backends: backends.collect(),
    }
}
