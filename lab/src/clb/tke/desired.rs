//! Services, Ingresses and pods -> the targets that each listener and rule should have. Pure.
//!
//! For direct access to pods: a ready pod has its weight, one that is terminating or not ready has
//! weight 0, and one whose object is gone has no target. An error in a Service or Ingress stops the
//! synchronisation of all its listeners.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{ObjectReference, Pod, Service, ServicePort};
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{Resource, ResourceExt};
use serde::Serialize;

use super::weights::{Weights, custom};
use crate::clb::model::Protocol;
use crate::lb::stand_in::target_name;

/// The condition that a pod may wait for until its targets are bound.
pub const READINESS_GATE: &str = "cloud.tencent.com/load-balancer-backendgroup-ready";

const SERVICE_LB: &str = "service.kubernetes.io/loadbalance-id";
const SERVICE_DIRECT: &str = "service.cloud.tencent.com/direct-access";
/// The annotation with the weights of a StatefulSet's pods.
pub const SERVICE_WEIGHTS: &str = "service.cloud.tencent.com/lb-rs-weight";
const SERVICE_CUSTOM: &str = "service.cloud.tencent.com/custom-weight";
const INGRESS_LB: &str = "kubernetes.io/ingress.qcloud-loadbalance-id";
const INGRESS_DIRECT: &str = "ingress.cloud.tencent.com/direct-access";
const INGRESS_WEIGHTS: &str = "ingress.cloud.tencent.com/lb-rs-weight";
const INGRESS_CUSTOM: &str = "ingress.cloud.tencent.com/custom-weight";

/// A listener, or a rule of one, on a load balancer.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct PoolKey {
    /// `lb-…`.
    pub load_balancer: String,
    /// The listener's protocol.
    pub protocol: Protocol,
    /// The listener's port.
    pub port: u16,
    /// Domain and path; layer 7 only.
    pub rule: Option<(String, String)>,
}

/// A target, as it should be.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Row {
    /// The pod's address.
    pub ip: IpAddr,
    /// The pod's port.
    pub port: u16,
    /// 0 to 100.
    pub weight: u32,
    /// The lab's name of the target.
    pub name: String,
}

/// Why an object is not synced.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SyncError {
    /// The Service or Ingress.
    pub object: ObjectReference,
    /// What is wrong.
    pub message: String,
}

/// What all objects together ask for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Desired {
    /// The targets of each listener and rule; none where an error forbids to touch it.
    pub pools: BTreeMap<PoolKey, Option<Vec<Row>>>,
    /// What is not synced.
    pub errors: Vec<SyncError>,
}

/// What `services` and `ingresses` ask for, with these pods.
#[must_use]
pub fn desired(services: &[Service], ingresses: &[Ingress], pods: &[Pod]) -> Desired {
    let mut found = Desired::default();
    let kinds = services
        .iter()
        .filter_map(|service| Some((of_service(service)?, service.object_ref(&()))))
        .chain(
            ingresses
                .iter()
                .filter_map(|one| Some((of_ingress(one, services)?, one.object_ref(&())))),
        );
    for (bindings, object) in kinds {
        let (listeners, rows) = bindings.rows(pods);
        match rows {
            Ok(rows) => {
                for (key, rows) in listeners.into_iter().zip(rows) {
                    found.pools.insert(key, Some(rows));
                }
            }
            Err(message) => {
                found.pools.extend(listeners.into_iter().map(|key| (key, None)));
                found.errors.push(SyncError { object, message });
            }
        }
    }
    found
}

/// The listeners of an object, with where their connections go.
struct Bindings<'a> {
    namespace: String,
    weights: Option<&'a String>,
    custom: &'static str,
    pools: Vec<(PoolKey, Option<Backend<'a>>)>,
}

/// A port of a Service.
#[derive(Clone, Copy)]
struct Backend<'a> {
    service: &'a Service,
    port: &'a ServicePort,
}

fn of_service(service: &Service) -> Option<Bindings<'_>> {
    let spec = service.spec.as_ref()?;
    let annotations = service.annotations();
    let is_direct = annotations.get(SERVICE_DIRECT).is_some_and(|value| value == "true");
    if spec.type_.as_deref() != Some("LoadBalancer") || !is_direct {
        return None;
    }
    let id = annotations.get(SERVICE_LB)?;
    let pools = spec.ports.iter().flatten().filter_map(|port| {
        let protocol = match port.protocol.as_deref() {
            None | Some("TCP") => Protocol::Tcp,
            Some("UDP") => Protocol::Udp,
            Some(_) => return None,
        };
        let listener = u16::try_from(port.port).ok()?;
        let key = PoolKey { load_balancer: id.clone(), protocol, port: listener, rule: None };
        Some((key, Some(Backend { service, port })))
    });
    Some(Bindings {
        namespace: service.namespace().unwrap_or_default(),
        weights: annotations.get(SERVICE_WEIGHTS),
        custom: SERVICE_CUSTOM,
        pools: pools.collect(),
    })
}

fn of_ingress<'a>(ingress: &'a Ingress, services: &'a [Service]) -> Option<Bindings<'a>> {
    let annotations = ingress.annotations();
    let id = annotations.get(INGRESS_LB)?;
    if annotations.get(INGRESS_DIRECT).is_none_or(|value| value != "true") {
        return None;
    }
    let spec = ingress.spec.as_ref()?;
    let namespace = ingress.namespace().unwrap_or_default();
    let secure = spec.tls.as_ref().is_some_and(|tls| !tls.is_empty());
    let (protocol, port) = if secure { (Protocol::Https, 443) } else { (Protocol::Http, 80) };
    let mut pools = Vec::new();
    for rule in spec.rules.iter().flatten() {
        for path in rule.http.iter().flat_map(|http| &http.paths) {
            let domain = rule.host.clone().unwrap_or_default();
            let url = path.path.clone().unwrap_or_else(|| "/".to_owned());
            let rule = Some((domain, url));
            let key = PoolKey { load_balancer: id.clone(), protocol, port, rule };
            let backend = path.backend.service.as_ref().and_then(|named| {
                let service = services.iter().find(|one| {
                    one.name_any() == named.name && one.namespace().unwrap_or_default() == namespace
                })?;
                let wanted = named.port.as_ref()?;
                let ports = service.spec.as_ref()?.ports.as_ref()?;
                let port = ports.iter().find(|port| {
                    wanted.number == Some(port.port)
                        || (wanted.name.is_some() && wanted.name == port.name)
                })?;
                Some(Backend { service, port })
            });
            pools.push((key, backend));
        }
    }
    let weights = annotations.get(INGRESS_WEIGHTS);
    Some(Bindings { namespace, weights, custom: INGRESS_CUSTOM, pools })
}

impl Bindings<'_> {
    /// The listeners, and the rows of each, or why there are none.
    fn rows(&self, pods: &[Pod]) -> (Vec<PoolKey>, Result<Vec<Vec<Row>>, String>) {
        let keys: Vec<PoolKey> = self.pools.iter().map(|(key, _)| key.clone()).collect();
        let listeners: Vec<(&str, u16)> =
            keys.iter().map(|key| (protocol_name(key.protocol), key.port)).collect();
        let weights = match self.weights.map(|text| Weights::parse(text, &listeners)) {
            None => Weights::default(),
            Some(Ok(weights)) => weights,
            Some(Err(why)) => return (keys, Err(format!("lb-rs-weight: {why}"))),
        };
        let rows = self.pools.iter().map(|(key, backend)| {
            let backend =
                backend.ok_or_else(|| format!("the Service behind {:?} is not there", key.rule))?;
            self.pool(key, backend, &weights, pods)
        });
        let rows = rows.collect();
        (keys, rows)
    }

    fn pool(
        &self,
        key: &PoolKey,
        backend: Backend<'_>,
        weights: &Weights,
        pods: &[Pod],
    ) -> Result<Vec<Row>, String> {
        let mut rows = BTreeMap::<(IpAddr, u16), Row>::new();
        for pod in pods.iter().filter(|pod| self.selects(backend, pod)) {
            let Some((ip, port)) = address(pod, backend.port) else { continue };
            let own = custom(pod, self.custom)?;
            let weight = match own {
                _ if !serves(pod) => 0,
                // Which of the two goes first is not documented: the one that is closer to the pod.
                Some(weight) => weight,
                None => weights.of(pod, protocol_name(key.protocol), key.port),
            };
            let row = Row { ip, port, weight, name: target_name(pod) };
            // An address that is used again: the pod that serves counts.
            let known = rows.get(&(ip, port));
            if known.is_none_or(|known| known.weight < row.weight) {
                rows.insert((ip, port), row);
            }
        }
        Ok(rows.into_values().collect())
    }

    fn selects(&self, backend: Backend<'_>, pod: &Pod) -> bool {
        let selector = backend.service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        pod.namespace().unwrap_or_default() == self.namespace
            && selector.is_some_and(|selector| {
                !selector.is_empty()
                    && selector.iter().all(|(key, value)| pod.labels().get(key) == Some(value))
            })
    }
}

fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp | Protocol::TcpSsl => "TCP",
        Protocol::Udp | Protocol::Quic => "UDP",
        Protocol::Http => "HTTP",
        Protocol::Https => "HTTPS",
    }
}

/// The pod's address, and the number of the port that `port` names.
fn address(pod: &Pod, port: &ServicePort) -> Option<(IpAddr, u16)> {
    let ip = pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()?;
    let number = match port.target_port.as_ref() {
        None => port.port,
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(name)) => {
            let containers = &pod.spec.as_ref()?.containers;
            let mut ports = containers.iter().flat_map(|one| one.ports.iter().flatten());
            ports.find(|port| port.name.as_ref() == Some(name))?.container_port
        }
    };
    Some((ip, u16::try_from(number).ok()?))
}

/// Whether the pod shall take traffic. One that waits for our own gate counts as ready when its
/// containers are: it becomes ready only by being bound.
fn serves(pod: &Pod) -> bool {
    let is_true = |name: &str| {
        let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
        conditions.into_iter().any(|one| one.type_ == name && one.status == "True")
    };
    let ready = is_true("Ready") || (waits_for_gate(pod) && is_true("ContainersReady"));
    ready && pod.metadata.deletion_timestamp.is_none()
}

/// Whether `pod` has our gate and it is not open yet.
#[must_use]
pub fn waits_for_gate(pod: &Pod) -> bool {
    let gates = pod.spec.iter().flat_map(|spec| spec.readiness_gates.iter().flatten());
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let open = |name: &str| name == READINESS_GATE;
    gates.into_iter().any(|gate| open(&gate.condition_type))
        && !conditions.into_iter().any(|one| open(&one.type_) && one.status == "True")
}

#[cfg(test)]
mod tests;
