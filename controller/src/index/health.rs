//! Whether what a watch has told is still worth something.

use std::time::Duration;

use tokio::time::Instant;

/// Watched kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Enrolled pods.
    Pods,
    /// Services.
    Services,
    /// EndpointSlices.
    EndpointSlices,
    /// Namespaces.
    Namespaces,
    /// Nodes.
    Nodes,
    /// TerminationPolicies.
    TerminationPolicies,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Pods,
        Self::Services,
        Self::EndpointSlices,
        Self::Namespaces,
        Self::Nodes,
        Self::TerminationPolicies,
    ];

    /// The resource's plural name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pods => "pods",
            Self::Services => "services",
            Self::EndpointSlices => "endpointslices",
            Self::Namespaces => "namespaces",
            Self::Nodes => "nodes",
            Self::TerminationPolicies => "terminationpolicies",
        }
    }
}

/// Silence after which a watch is not believed any more. The API server ends each of our watches after
/// 60 s and sends a bookmark before: this is half a minute more.
pub const SILENCE_MAX: Duration = Duration::from_secs(90);

/// Health of one watch.
#[derive(Clone, Copy, Debug, Default)]
pub struct Health {
    synced: bool,
    broken: bool,
    alive_at: Option<Instant>,
}

impl Health {
    /// The first list is complete.
    #[must_use]
    pub const fn is_synced(&self) -> bool {
        self.synced
    }

    /// Why the watch's content cannot be relied on, or None where it can.
    #[must_use]
    pub fn stale(&self, now: Instant) -> Option<&'static str> {
        if !self.synced {
            return Some("has not been read completely yet");
        }
        if self.broken {
            return Some("is broken and being resumed");
        }
        match self.alive_at {
            Some(at) if now.saturating_duration_since(at) <= SILENCE_MAX => None,
            _ => Some("has been silent for too long"),
        }
    }

    /// Complete and alive.
    pub(super) const fn synced(&mut self, now: Instant) {
        self.synced = true;
        self.alive(now);
    }

    /// An event, a bookmark, or an orderly end.
    pub(super) const fn alive(&mut self, now: Instant) {
        self.broken = false;
        self.alive_at = Some(now);
    }

    /// An error.
    pub(super) const fn broken(&mut self) {
        self.broken = true;
    }
}
