//! What is read of Kubernetes objects: a few fields each, so that ten thousand pods pass through a
//! small process. Everything else, `managedFields` first of all, is skipped while it is parsed.
//!
//! Lenient: an absent field is its empty value. An object that still cannot be read is reported by the
//! watch and left out, it does not end the watch.

mod senders;

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lameduck_core::inject::{Skip, SkipFacts, skip};
use lameduck_core::names::FINALIZER;
use serde::Deserialize;

pub use senders::{
    Endpoint, EndpointConditions, EndpointSlice, Ingress, IngressBackend, IngressPath,
    IngressPaths, IngressRule, IngressSpec, Named, Service, ServiceSpec, TargetRef,
};

/// `metadata`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    /// Namespace; empty for cluster-scoped objects.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// Opaque version.
    pub resource_version: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// The annotations that we know.
    pub annotations: Annotations,
    /// Objects that it belongs to.
    pub owner_references: Vec<OwnerReference>,
    /// Finalizers, in order.
    pub finalizers: Vec<String>,
    /// When the grace after the deletion is over.
    pub deletion_timestamp: Option<Time>,
    /// That grace, in seconds.
    pub deletion_grace_period_seconds: Option<i64>,
    /// When it was created.
    pub creation_timestamp: Option<Time>,
}

impl Meta {
    /// Position of our finalizer.
    #[must_use]
    pub fn finalizer_at(&self) -> Option<usize> {
        self.finalizers.iter().position(|name| name == FINALIZER)
    }
}

/// An owner.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct OwnerReference {
    /// Kind.
    pub kind: String,
}

/// The annotations that we know.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Annotations {
    /// Set by the kubelet on its picture of a static pod.
    #[serde(rename = "kubernetes.io/config.mirror")]
    pub mirror: Option<String>,
    /// See [`lameduck_core::names::ANNOTATION_INJECTED`].
    #[serde(rename = "lameduck.dev/injected")]
    pub injected: Option<String>,
    /// See [`lameduck_core::names::ANNOTATION_ORIGINAL_GRACE`].
    #[serde(rename = "lameduck.dev/original-termination-grace-period-seconds")]
    pub original_grace: Option<String>,
    /// See [`lameduck_core::names::ANNOTATION_RELEASE`].
    #[serde(rename = "lameduck.dev/release")]
    pub release: Option<String>,
    /// The CLB of a Service, written by TKE.
    #[serde(rename = "service.kubernetes.io/loadbalance-id")]
    pub load_balancer: Option<String>,
    /// The CLB's backends are the pods themselves.
    #[serde(rename = "service.cloud.tencent.com/direct-access")]
    pub direct_access: Option<String>,
    /// The CLB of an Ingress, written by TKE.
    #[serde(rename = "kubernetes.io/ingress.qcloud-loadbalance-id")]
    pub ingress_load_balancer: Option<String>,
    /// The same as `direct_access`, for an Ingress.
    #[serde(rename = "ingress.cloud.tencent.com/direct-access")]
    pub ingress_direct_access: Option<String>,
}

/// A Pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Pod {
    /// Metadata.
    pub metadata: Meta,
    /// Spec.
    pub spec: PodSpec,
    /// Status.
    pub status: PodStatus,
}

/// `spec` of a pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    /// The node that it is bound to; empty before.
    pub node_name: String,
    /// It has the node's network, and addresses.
    pub host_network: bool,
    /// Always, OnFailure, Never; empty means Always.
    pub restart_policy: String,
    /// Its operating system, where it says so.
    pub os: Os,
    /// Nodes that it may run on.
    pub node_selector: NodeSelector,
}

/// `spec.os`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Os {
    /// linux, windows.
    pub name: Option<String>,
}

/// The part of `spec.nodeSelector` that we know.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NodeSelector {
    /// linux, windows.
    #[serde(rename = "kubernetes.io/os")]
    pub os: Option<String>,
}

impl Pod {
    /// Why the webhook would leave this pod alone; None where it would not.
    #[must_use]
    pub fn skip(&self) -> Option<Skip> {
        skip(&SkipFacts {
            job_owned: self.metadata.owner_references.iter().any(|owner| owner.kind == "Job"),
            restart_policy: Some(&self.spec.restart_policy),
            mirror: self.metadata.annotations.mirror.is_some(),
            os: self.spec.os.name.as_deref(),
            node_selector_os: self.spec.node_selector.os.as_deref(),
            terminating: self.metadata.deletion_timestamp.is_some(),
        })
    }
}

/// `status` of a pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    /// Phase.
    pub phase: String,
    /// Addresses of the pod.
    #[serde(rename = "podIPs")]
    pub pod_ips: Vec<Ip>,
    /// Addresses of its node.
    #[serde(rename = "hostIPs")]
    pub host_ips: Vec<Ip>,
    /// Conditions.
    pub conditions: Vec<Condition>,
    /// Init containers, sidecars among them.
    pub init_container_statuses: Vec<ContainerStatus>,
    /// Regular containers.
    pub container_statuses: Vec<ContainerStatus>,
    /// Debugging containers.
    pub ephemeral_container_statuses: Vec<ContainerStatus>,
}

/// An address in a list. One that does not parse is no address.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Ip {
    /// Its text.
    pub ip: String,
}

impl Ip {
    /// The address.
    #[must_use]
    pub fn parse(&self) -> Option<IpAddr> {
        self.ip.parse().ok()
    }
}

/// A condition.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// Type.
    #[serde(rename = "type")]
    pub type_: String,
    /// True, False, Unknown.
    pub status: String,
    /// CamelCase.
    pub reason: String,
    /// For a person.
    pub message: String,
    /// Since when.
    pub last_transition_time: Option<Time>,
}

/// Status of a container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerStatus {
    /// Now.
    pub state: ContainerState,
    /// Before its last restart.
    pub last_state: ContainerState,
}

/// At most one of the three is there.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerState {
    /// It runs.
    pub running: Option<Present>,
    /// It has ended.
    pub terminated: Option<Present>,
}

/// An object of which only the presence matters.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct Present {}

/// A Node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Node {
    /// Metadata.
    pub metadata: Meta,
    /// Status.
    pub status: NodeStatus,
}

/// `status` of a node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NodeStatus {
    /// Conditions.
    pub conditions: Vec<Condition>,
}

/// A Namespace; only metadata is asked for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Namespace {
    /// Metadata.
    pub metadata: Meta,
}

/// A TerminationPolicy. Its spec is parsed on its own, so that a spec of another version does not stop
/// the watch.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct TerminationPolicy {
    /// Metadata.
    pub metadata: Meta,
    /// Spec, as it came.
    pub spec: serde_json::Value,
}

/// A page of a list.
#[derive(Clone, Debug, Deserialize)]
pub struct List<T> {
    /// Metadata.
    #[serde(default)]
    pub metadata: ListMeta,
    /// Objects; null where there is none.
    pub items: Option<Vec<T>>,
}

/// `metadata` of a list.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListMeta {
    /// Where a watch goes on.
    pub resource_version: String,
    /// Token of the next page; empty on the last one.
    #[serde(rename = "continue")]
    pub continue_: String,
}
