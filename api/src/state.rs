//! What one replica of the controller says of itself at `GET :8081/v1/state`, and of the CLB API at
//! `GET :8081/v1/clb-access`. Read by `kubectl lameduck`, through the API server's proxy to pods.
//!
//! Nothing is decided from it: what matters stands on the objects. Fields are added and never change their
//! meaning; who reads takes what is missing for not known.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Path of [`ReplicaState`].
pub const STATE_PATH: &str = "/v1/state";
/// Path of [`ClbAccess`].
pub const CLB_ACCESS_PATH: &str = "/v1/clb-access";
/// The port of both, on each replica of the controller.
pub const ADMIN_PORT: u16 = 8081;

/// One replica of the controller.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplicaState {
    /// Its version.
    pub version: String,
    /// It leads.
    pub leads: bool,
    /// Watches that cannot be relied on, each with the reason: `pods: is broken since 12 s`.
    pub unready_watches: Vec<String>,
    /// It reads Tencent's load balancers.
    pub reads_clb: bool,
    /// The holds that asked this replica last. A hold asks one replica after the other.
    pub holds: Vec<HoldSeen>,
}

/// What a hold said when it asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HoldSeen {
    /// Namespace of the pod.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// UID of the pod.
    pub uid: String,
    /// The container that it holds.
    pub container: String,
    /// What it does: `WaitingForTraffic`, `PreStop` or `WaitingForConnections`; words of the hold, not of ours.
    pub phase: String,
    /// Connections that are left, where it counts them.
    #[serde(default)]
    pub connections: Option<u64>,
    /// When it said so.
    pub at: Timestamp,
}

/// Whether the CLB API can be read, tried when it was asked for (at most once in 10 s).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClbAccess {
    /// It is to be read: a region is configured.
    pub configured: bool,
    /// The call that was tried; none where nothing can be tried (no VPC is configured).
    pub call: Option<String>,
    /// Why it failed; none where it did not.
    pub error: Option<String>,
}
