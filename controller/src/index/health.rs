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
    /// Ingresses; only where load balancers are read.
    Ingresses,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Pods,
        Self::Services,
        Self::EndpointSlices,
        Self::Namespaces,
        Self::Nodes,
        Self::TerminationPolicies,
        Self::Ingresses,
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
            Self::Ingresses => "ingresses",
        }
    }
}

/// Silence after which a watch is not believed any more. The API server ends each of our watches after
/// 60 s and sends a bookmark before: this is half a minute more.
pub const SILENCE_MAX: Duration = Duration::from_secs(90);

/// How long a watch may be broken before its replica is not ready any more. Less than the
/// `unreachableSeconds` of any sensible policy.
pub const BROKEN_MAX: Duration = Duration::from_secs(20);

/// Health of one watch.
#[derive(Clone, Copy, Debug, Default)]
pub struct Health {
    synced: bool,
    broken_since: Option<Instant>,
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
        self.stale_for(now).map(|(why, _)| why)
    }

    /// The same, and for how long that has been so.
    #[must_use]
    pub fn stale_for(&self, now: Instant) -> Option<(&'static str, Duration)> {
        let since = |at: Instant| now.saturating_duration_since(at);
        let broken = self.broken_since.map(since);
        if !self.synced {
            return Some(("has not been read completely yet", broken.unwrap_or_default()));
        }
        if let Some(broken) = broken {
            return Some(("is broken and being resumed", broken));
        }
        let silent = self.alive_at.map(since).unwrap_or_default();
        let longer = silent.checked_sub(SILENCE_MAX).filter(|longer| !longer.is_zero());
        longer.map(|longer| ("has been silent for too long", longer))
    }

    /// Why holds should rather ask another replica, or None. Later than [`Self::stale`]: an API server
    /// that is replaced breaks every watch of every replica for a moment.
    #[must_use]
    pub fn unready(&self, now: Instant) -> Option<&'static str> {
        let since = self.broken_since.map(|since| now.saturating_duration_since(since));
        match since {
            Some(since) if since <= BROKEN_MAX && self.synced => None,
            _ => self.stale(now),
        }
    }

    /// Complete and alive.
    pub(super) const fn synced(&mut self, now: Instant) {
        self.synced = true;
        self.alive(now);
    }

    /// An event, a bookmark, or an orderly end.
    pub(super) const fn alive(&mut self, now: Instant) {
        self.broken_since = None;
        self.alive_at = Some(now);
    }

    /// An error.
    pub(super) fn broken(&mut self, now: Instant) {
        self.broken_since.get_or_insert(now);
    }
}
