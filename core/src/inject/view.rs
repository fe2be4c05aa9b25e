//! Borrowed views of the objects under review: only the members that a decision reads.
//!
//! Decoding a whole `Pod` costs several times what these views cost, and ties the webhook to one
//! version of Kubernetes. Unknown members are ignored; `null` is the same as a missing member. Strings
//! borrow from the request's bytes unless they carry escapes.

use std::{borrow::Cow, fmt, ops::Deref};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, IgnoredAny, Visitor},
};
use serde_json::value::RawValue;

/// A string that borrows from the input where it can.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(transparent)]
pub struct Str<'a>(#[serde(borrow)] pub Cow<'a, str>);

impl Deref for Str<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// A number or a string: ports, and what a rollout may have missing or on top.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IntOrString<'a> {
    /// A number.
    Int(i64),
    /// A name, or a percentage.
    String(Cow<'a, str>),
}

impl<'de: 'a, 'a> Deserialize<'de> for IntOrString<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = IntOrString<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an integer or a string")
            }
            fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
                Ok(IntOrString::Int(value))
            }
            fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
                i64::try_from(value)
                    .map(IntOrString::Int)
                    .map_err(|_| E::custom("integer out of range"))
            }
            fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<Self::Value, E> {
                Ok(IntOrString::String(Cow::Borrowed(value)))
            }
            fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
                Ok(IntOrString::String(Cow::Owned(value.to_owned())))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// Labels of any object.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Labels<'a> {
    /// [`crate::names::POLICY_LABEL`].
    #[serde(borrow, rename = "lameduck.dev/policy")]
    pub policy: Option<Str<'a>>,
}

/// Annotations of any object.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Annotations<'a> {
    /// [`crate::names::ANNOTATION_INJECTED`].
    #[serde(borrow, rename = "lameduck.dev/injected")]
    pub injected: Option<Str<'a>>,
    /// [`crate::names::ANNOTATION_ORIGINAL_GRACE`].
    #[serde(borrow, rename = "lameduck.dev/original-termination-grace-period-seconds")]
    pub original_grace: Option<Str<'a>>,
    /// [`crate::names::ANNOTATION_ORIGINAL_UPDATE_STRATEGY`].
    #[serde(borrow, rename = "lameduck.dev/original-update-strategy")]
    pub original_update_strategy: Option<Str<'a>>,
    /// Set by the kubelet on the API's picture of a static pod.
    #[serde(rename = "kubernetes.io/config.mirror")]
    pub mirror: Option<IgnoredAny>,
}

/// One owner of an object.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct OwnerReference<'a> {
    /// The owner's kind.
    #[serde(borrow)]
    pub kind: Option<Str<'a>>,
}

/// Metadata of any object.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata<'a> {
    /// Name, empty for an object whose name the API server still has to make.
    #[serde(borrow)]
    pub name: Option<Str<'a>>,
    /// Prefix of the name that the API server makes.
    #[serde(borrow)]
    pub generate_name: Option<Str<'a>>,
    /// Labels; `None` where the member is missing, so that a patch knows to create it.
    #[serde(borrow)]
    pub labels: Option<Labels<'a>>,
    /// Annotations.
    #[serde(borrow)]
    pub annotations: Option<Annotations<'a>>,
    /// Finalizers.
    #[serde(borrow)]
    pub finalizers: Option<Vec<Str<'a>>>,
    /// Owners.
    #[serde(borrow)]
    pub owner_references: Option<Vec<OwnerReference<'a>>>,
    /// Set once the object is being deleted.
    pub deletion_timestamp: Option<IgnoredAny>,
}

impl Metadata<'_> {
    /// The value of the policy label, as it stands on this object.
    pub fn policy(&self) -> Option<&str> {
        self.labels.as_ref()?.policy.as_deref()
    }

    /// The name for a message: the name, else the prefix of the name.
    pub fn display_name(&self) -> &str {
        self.name
            .as_deref()
            .filter(|name| !name.is_empty())
            .or(self.generate_name.as_deref())
            .unwrap_or("(no name)")
    }
}

/// A pod under review.
#[derive(Clone, Debug, Deserialize)]
pub struct Pod<'a> {
    /// Metadata.
    #[serde(borrow)]
    pub metadata: Metadata<'a>,
    /// Specification.
    #[serde(borrow)]
    pub spec: PodSpec<'a>,
}

/// Specification of a pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSpec<'a> {
    /// Regular containers.
    #[serde(borrow, default)]
    pub containers: Vec<Container<'a>>,
    /// Init containers, sidecars among them.
    #[serde(borrow)]
    pub init_containers: Option<Vec<Container<'a>>>,
    /// Volumes.
    #[serde(borrow)]
    pub volumes: Option<Vec<Volume<'a>>>,
    /// `Always` where missing.
    #[serde(borrow)]
    pub restart_policy: Option<Str<'a>>,
    /// Seconds; 30 where missing.
    pub termination_grace_period_seconds: Option<i64>,
    /// Operating system.
    #[serde(borrow)]
    pub os: Option<Os<'a>>,
    /// Labels that the node must have.
    #[serde(borrow)]
    pub node_selector: Option<NodeSelector<'a>>,
    /// Whether the pod shares its node's network.
    pub host_network: Option<bool>,
    /// Security settings of the whole pod.
    pub security_context: Option<PodSecurityContext>,
    /// Resources of the whole pod (Kubernetes 1.34).
    #[serde(borrow)]
    pub resources: Option<Resources<'a>>,
}

/// `spec.os`.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Os<'a> {
    /// `linux` or `windows`.
    #[serde(borrow)]
    pub name: Option<Str<'a>>,
}

/// `spec.nodeSelector`.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct NodeSelector<'a> {
    /// The well-known label of the operating system.
    #[serde(borrow, rename = "kubernetes.io/os")]
    pub os: Option<Str<'a>>,
}

/// `spec.securityContext`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSecurityContext {
    /// User of every container that names none itself.
    pub run_as_user: Option<i64>,
}

/// A volume.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Volume<'a> {
    /// Name.
    #[serde(borrow)]
    pub name: Option<Str<'a>>,
    /// Set where the volume is an emptyDir.
    pub empty_dir: Option<IgnoredAny>,
}

/// A container of any kind.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Container<'a> {
    /// Name.
    #[serde(borrow, default)]
    pub name: Str<'a>,
    /// Entrypoint.
    #[serde(borrow)]
    pub command: Option<Vec<Str<'a>>>,
    /// `Always` on an init container makes it a sidecar.
    #[serde(borrow)]
    pub restart_policy: Option<Str<'a>>,
    /// Ports that the author lists.
    #[serde(borrow)]
    pub ports: Option<Vec<Port<'a>>>,
    /// Hooks.
    #[serde(borrow)]
    pub lifecycle: Option<Lifecycle<'a>>,
    /// Readiness probe.
    pub readiness_probe: Option<IgnoredAny>,
    /// Liveness probe.
    pub liveness_probe: Option<Probe>,
    /// Startup probe.
    pub startup_probe: Option<Probe>,
    /// Resources.
    #[serde(borrow)]
    pub resources: Option<Resources<'a>>,
    /// Mounts.
    #[serde(borrow)]
    pub volume_mounts: Option<Vec<VolumeMount<'a>>>,
}

impl Container<'_> {
    /// Whether an init container is a sidecar: it runs as long as the pod.
    pub fn is_sidecar(&self) -> bool {
        self.restart_policy.as_deref() == Some("Always")
    }

    /// The container's TCP ports, in the author's order.
    pub fn tcp_ports(&self) -> impl Iterator<Item = u16> {
        self.ports.iter().flatten().filter(|port| port.is_tcp()).filter_map(Port::number)
    }
}

/// A port that a container lists.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Port<'a> {
    /// Name.
    #[serde(borrow)]
    pub name: Option<Str<'a>>,
    /// Number.
    pub container_port: Option<i64>,
    /// `TCP` where missing.
    #[serde(borrow)]
    pub protocol: Option<Str<'a>>,
}

impl Port<'_> {
    /// Whether this is a TCP port.
    pub fn is_tcp(&self) -> bool {
        self.protocol.as_deref().is_none_or(|protocol| protocol.is_empty() || protocol == "TCP")
    }

    /// The port's number, where it is one.
    pub fn number(&self) -> Option<u16> {
        self.container_port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0)
    }
}

/// Hooks of a container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lifecycle<'a> {
    /// What the kubelet runs before SIGTERM.
    #[serde(borrow)]
    pub pre_stop: Option<Handler<'a>>,
}

/// One hook: exactly one member is set.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Handler<'a> {
    /// Runs a program in the container.
    #[serde(borrow)]
    pub exec: Option<Exec<'a>>,
    /// Sends a request.
    #[serde(borrow)]
    pub http_get: Option<HttpGet<'a>>,
    /// Sleeps.
    pub sleep: Option<Sleep>,
    /// The API accepts it and the kubelet refuses to run it.
    pub tcp_socket: Option<IgnoredAny>,
}

/// A program and its arguments.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Exec<'a> {
    /// Program and arguments.
    #[serde(borrow)]
    pub command: Option<Vec<Str<'a>>>,
}

/// A native sleep.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Sleep {
    /// Seconds.
    #[serde(default)]
    pub seconds: i64,
}

/// A GET request.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpGet<'a> {
    /// The pod's own IP where missing or empty.
    #[serde(borrow)]
    pub host: Option<Str<'a>>,
    /// Number, or name of one of the container's ports.
    #[serde(borrow)]
    pub port: Option<IntOrString<'a>>,
    /// Path and query.
    #[serde(borrow)]
    pub path: Option<Str<'a>>,
    /// `HTTP` where missing.
    #[serde(borrow)]
    pub scheme: Option<Str<'a>>,
    /// Additional headers.
    #[serde(borrow)]
    pub http_headers: Option<Vec<Header<'a>>>,
}

/// A header.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Header<'a> {
    /// Name.
    #[serde(borrow, default)]
    pub name: Str<'a>,
    /// Value.
    #[serde(borrow, default)]
    pub value: Str<'a>,
}

/// The part of a liveness or startup probe that a longer pod grace would change.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Probe {
    /// Seconds; the pod's where missing.
    pub termination_grace_period_seconds: Option<i64>,
}

/// A mount.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeMount<'a> {
    /// Name of the volume.
    #[serde(borrow)]
    pub name: Option<Str<'a>>,
    /// Path in the container.
    #[serde(borrow)]
    pub mount_path: Option<Str<'a>>,
}

/// Requests and limits. They serialize to what they were read from.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Resources<'a> {
    /// What the scheduler sets aside.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub requests: Option<Amounts<'a>>,
    /// What the kernel enforces.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Amounts<'a>>,
}

/// The two resources that make the QoS class. Quantities are copied, never computed with.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct Amounts<'a> {
    /// CPU.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<&'a RawValue>,
    /// Memory.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub memory: Option<&'a RawValue>,
}

impl Amounts<'_> {
    /// Whether neither is set.
    pub fn is_empty(&self) -> bool {
        self.cpu.is_none() && self.memory.is_none()
    }
}

/// A Deployment or a StatefulSet under review.
#[derive(Clone, Debug, Deserialize)]
pub struct Workload<'a> {
    /// Metadata.
    #[serde(borrow)]
    pub metadata: Metadata<'a>,
    /// Specification.
    #[serde(borrow)]
    pub spec: WorkloadSpec<'a>,
}

/// Specification of a Deployment or a StatefulSet.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadSpec<'a> {
    /// Pods; 1 where missing.
    pub replicas: Option<i64>,
    /// The pod template's bytes, so that two versions can be compared as a whole.
    #[serde(borrow)]
    pub template: &'a RawValue,
    /// A Deployment's strategy.
    pub strategy: Option<serde_json::Value>,
    /// A StatefulSet's strategy.
    pub update_strategy: Option<serde_json::Value>,
    /// Seconds that a new pod has to be ready to count as available.
    pub min_ready_seconds: Option<i64>,
    /// Seconds after which a rollout without progress counts as failed.
    pub progress_deadline_seconds: Option<i64>,
}

/// A pod template.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Template<'a> {
    /// Metadata; missing where the author gives none.
    #[serde(borrow)]
    pub metadata: Option<Metadata<'a>>,
}
