//! The facts that a drain is decided from. Whoever fills them in decides nothing.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::clb::ClbFacts;
use super::release::Release;
use crate::policy::Policy;
use crate::time::later;

/// The deletion of a pod, as the *first* request for it said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// When the pod was deleted (`deletionTimestamp` less the grace), by the API server's clock.
    pub requested_at: Timestamp,
    /// The grace that the kubelet runs on, in seconds: that of the first request. A running preStop is
    /// not shortened by a later request with less.
    pub grace_seconds: u32,
    /// The grace that stands on the object now is 0: somebody forced it, or the kubelet is done.
    pub forced: bool,
}

impl Deletion {
    /// Reads `metadata.deletionTimestamp` and `metadata.deletionGracePeriodSeconds`.
    #[must_use]
    pub fn new(deletion_timestamp: Timestamp, grace_seconds: u32) -> Self {
        let grace = SignedDuration::from_secs(i64::from(grace_seconds));
        Self {
            requested_at: deletion_timestamp.checked_sub(grace).unwrap_or(deletion_timestamp),
            grace_seconds,
            forced: grace_seconds == 0,
        }
    }

    /// What is known after this deletion was seen on a pod of which `first` was known before.
    ///
    /// The API server overwrites the grace when a later request has less, and the kubelet does not
    /// care: so the first one counts, and only `forced` follows.
    #[must_use]
    pub fn after(self, first: Option<&Self>) -> Self {
        match first {
            Some(first) if first.grace_seconds >= self.grace_seconds => {
                Self { forced: self.forced, ..*first }
            }
            _ => self,
        }
    }

    /// When the kubelet kills whatever still runs.
    #[must_use]
    pub fn killed_at(&self) -> Timestamp {
        later(self.requested_at, self.grace_seconds)
    }
}

/// Whether anything of the pod runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Containers {
    /// At least one container runs, or nobody says that none does.
    Running,
    /// Every container has ended and the pod waits for its kubelet, or the phase is final.
    Ended,
    /// No container has ever run.
    NeverStarted,
}

/// The node that the pod is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// The pod is bound to no node.
    Unscheduled,
    /// The node's kubelet reports.
    Ready,
    /// The node is there, and its kubelet does not report, or not well.
    NotReady,
    /// There is no such node any more.
    Gone,
    /// The watch of the nodes is not fresh.
    Unknown,
}

/// Status of a pod condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConditionStatus {
    /// It is so.
    True,
    /// It is not so, or not yet.
    False,
    /// Nobody can say.
    Unknown,
}

impl ConditionStatus {
    /// The word in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// A pod condition of ours, as read or to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Its status.
    pub status: ConditionStatus,
    /// Its CamelCase reason.
    pub reason: Box<str>,
    /// The evidence, for a person.
    pub message: Box<str>,
    /// Since when status *and reason* are what they are. The API keeps whole seconds.
    pub since: Timestamp,
}

/// One pod.
#[derive(Clone, Debug)]
pub struct PodFacts {
    /// Its deletion, where there is one.
    pub deletion: Option<Deletion>,
    /// `spec.terminationGracePeriodSeconds` as its author wrote it (annotation), in seconds.
    pub original_grace_seconds: u32,
    /// Whether anything of it runs.
    pub containers: Containers,
    /// Its node.
    pub node: NodeState,
    /// It carries our finalizer.
    pub has_finalizer: bool,
    /// A person let it go.
    pub release: Option<Release>,
    /// Its `lameduck.dev/TrafficOff` condition.
    pub traffic_off: Option<Condition>,
    /// The policy that it was injected by, or the default one where that policy is gone.
    pub policy: Arc<Policy>,
    /// Its node is short of memory, disk or process ids: its kubelet may be evicting pods.
    pub node_under_pressure: bool,
}

/// A Service whose selector matches the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectingService {
    /// `namespace/name`.
    pub name: Arc<str>,
    /// What it has besides this pod.
    pub others: Others,
}

/// What a Service has besides one pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// An endpoint that takes traffic.
    Ready,
    /// No such endpoint, but a pod that was made lately and may become one.
    Starting,
    /// Neither, or this pod does not serve the Service.
    Absent,
}

/// One entry of an EndpointSlice that is about the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// `namespace/name` of the Service that the slice belongs to, or of the slice where it has none.
    pub service: Arc<str>,
    /// Condition `ready` (absent counts as true, as the API says).
    pub ready: bool,
    /// Condition `serving` (absent counts as `ready`, as the API says).
    pub serving: bool,
    /// Condition `terminating`.
    pub terminating: bool,
    /// The address, for messages.
    pub address: Option<IpAddr>,
}

impl Endpoint {
    /// Whether consumers that obey the API send new connections here.
    ///
    /// A terminating endpoint is `ready` only where its Service sets `publishNotReadyAddresses`: such
    /// an entry stays until the pod has ended, so waiting for it would wait for the hold that waits.
    #[must_use]
    pub const fn takes_traffic(&self) -> bool {
        self.ready && !self.terminating
    }
}

/// Everything that sends traffic to the pod, and whether that knowledge can be relied on.
#[derive(Clone, Debug, Default)]
pub struct EndpointFacts {
    /// Services that select the pod.
    pub services: Vec<SelectingService>,
    /// Entries of EndpointSlices about the pod.
    pub entries: Vec<Endpoint>,
    /// Why the two lists cannot be relied on; None where both watches are fresh.
    pub stale: Option<Stale>,
    /// Tencent's load balancers in front of the pod; None where they are not read, because the policy does
    /// not want it or nobody gave access.
    pub clb: Option<ClbFacts>,
}

/// Why what is known cannot be relied on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stale {
    /// For a person: `the watch of services is broken and being resumed`.
    pub why: String,
    /// For how long that has been so.
    pub lasts: Duration,
}
