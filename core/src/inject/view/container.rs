//! What is read of a container.

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{IntOrString, Str};

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
