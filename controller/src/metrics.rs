//! What Prometheus sees. Labels are bounded: reasons, outcomes, kinds; the namespace only where an
//! admin needs it.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tokio::time::Instant;

use crate::index::{Kind, SharedIndex};
use crate::leader::Leadership;

/// One label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabel {
    phase: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabel {
    call: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallNameLabel {
    call: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CertificateLabel {
    certificate: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabel {
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct UpgradeLabel {
    phase: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UnprotectedLabel {
    namespace: String,
    reason: &'static str,
}

/// Part of a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// From the deletion to traffic off.
    Traffic,
    /// The container's own preStop.
    PreStop,
    /// Waiting for connections.
    Connections,
    /// From the deletion to the finalizer's end.
    Total,
}

impl Phase {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Traffic => "traffic",
            Self::PreStop => "pre_stop",
            Self::Connections => "connections",
            Self::Total => "total",
        }
    }
}

/// Seconds: from one look of a hold to the longest hold that is usual.
const DRAIN_SECONDS: [f64; 14] =
    [0.1, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0];
/// Seconds of an API call or of a release.
const CALL_SECONDS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.3, 1.0, 2.5, 5.0, 10.0];

fn drain_histogram() -> Histogram {
    Histogram::new(DRAIN_SECONDS)
}

fn call_histogram() -> Histogram {
    Histogram::new(CALL_SECONDS)
}

type Durations<L> = Family<L, Histogram, fn() -> Histogram>;

/// Handles of every metric. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    drain: Durations<PhaseLabel>,
    drains: Family<OutcomeLabel, Counter>,
    released: Family<ReasonLabel, Counter>,
    connections_left: Counter,
    unprotected: Family<UnprotectedLabel, Gauge>,
    leader: Gauge,
    leads: Leadership,
    terminating: Gauge,
    watch_fresh: Family<KindLabel, Gauge>,
    watch_errors: Family<KindLabel, Counter>,
    calls: Family<CallLabel, Counter>,
    clb_calls: Family<CallLabel, Counter>,
    upgrade_errors: Counter,
    upgrades: Family<UpgradeLabel, Gauge>,
    call_duration: Durations<CallNameLabel>,
    hold_requests: Family<StatusLabel, Counter>,
    hold_waiting: Gauge,
    certificate_expiry: Family<CertificateLabel, Gauge>,
    certificate_errors: Counter,
    events_dropped: Counter,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Metrics")
    }
}

impl Metrics {
    /// Registers everything.
    #[must_use]
    pub fn new(leads: Leadership) -> Self {
        let mut registry = Registry::with_prefix("lameduck");
        let drain = Durations::new_with_constructor(drain_histogram as fn() -> Histogram);
        let call_duration = Durations::new_with_constructor(call_histogram as fn() -> Histogram);
        let mut metrics = Self {
            registry: Arc::default(),
            drain,
            drains: Family::default(),
            released: Family::default(),
            connections_left: Counter::default(),
            unprotected: Family::default(),
            leader: Gauge::default(),
            leads,
            terminating: Gauge::default(),
            watch_fresh: Family::default(),
            watch_errors: Family::default(),
            calls: Family::default(),
            clb_calls: Family::default(),
            upgrade_errors: Counter::default(),
            upgrades: Family::default(),
            call_duration,
            hold_requests: Family::default(),
            hold_waiting: Gauge::default(),
            certificate_expiry: Family::default(),
            certificate_errors: Counter::default(),
            events_dropped: Counter::default(),
        };
        registry.register_with_unit(
            "drain_duration",
            "Time that ending a pod took, by phase",
            Unit::Seconds,
            metrics.drain.clone(),
        );
        registry.register("drains", "Holds that ended, by outcome", metrics.drains.clone());
        registry.register(
            "finalizers_removed",
            "Pods whose finalizer was taken off, by reason",
            metrics.released.clone(),
        );
        registry.register(
            "connections_left",
            "Connections that were open when their hold ended",
            metrics.connections_left.clone(),
        );
        registry.register(
            "unprotected_pods",
            "Pods in scope that run without protection, by reason (leader only)",
            metrics.unprotected.clone(),
        );
        registry.register("leader", "1 where this replica leads", metrics.leader.clone());
        registry.register(
            "terminating_pods",
            "Protected pods that are being deleted",
            metrics.terminating.clone(),
        );
        registry.register(
            "watch_fresh",
            "1 where a watch can be relied on",
            metrics.watch_fresh.clone(),
        );
        registry.register("watch_errors", "Failures of watches", metrics.watch_errors.clone());
        registry.register("api_writes", "Writes to the API server", metrics.calls.clone());
        registry.register_with_unit(
            "api_write_duration",
            "Time of a write to the API server",
            Unit::Seconds,
            metrics.call_duration.clone(),
        );
        registry.register(
            "clb_calls",
            "Calls of the API of Tencent's load balancers, by how they ended after their tries",
            metrics.clb_calls.clone(),
        );
        registry.register(
            "hold_requests",
            "Requests of holds, by HTTP status",
            metrics.hold_requests.clone(),
        );
        registry.register(
            "hold_waiting",
            "Holds that wait for an answer now",
            metrics.hold_waiting.clone(),
        );
        registry.register_with_unit(
            "certificate_expiry_timestamp",
            "When a certificate ends, since 1970 (leader only)",
            Unit::Seconds,
            metrics.certificate_expiry.clone(),
        );
        registry.register(
            "certificate_errors",
            "Looks after the certificates that did not come to their end",
            metrics.certificate_errors.clone(),
        );
        registry.register(
            "upgrades",
            "Upgrades of StatefulSets that are not complete, by phase",
            metrics.upgrades.clone(),
        );
        registry.register(
            "upgrade_errors",
            "Looks at upgrades of StatefulSets that failed, and are tried again",
            metrics.upgrade_errors.clone(),
        );
        registry.register(
            "events_dropped",
            "Events that were not sent: the queue was full, or the API server refused them",
            metrics.events_dropped.clone(),
        );
        metrics.registry = Arc::new(registry);
        metrics
    }

    /// A phase of a drain took so long.
    pub fn drain_phase(&self, phase: Phase, took: Duration) {
        let label = PhaseLabel { phase: phase.as_str() };
        self.drain.get_or_create(&label).observe(took.as_secs_f64());
    }

    /// A hold ended.
    pub fn drain_ended(&self, outcome: &'static str, connections_left: u64) {
        self.drains.get_or_create(&OutcomeLabel { outcome }).inc();
        self.connections_left.inc_by(connections_left);
    }

    /// A finalizer was taken off.
    pub fn released(&self, reason: &'static str) {
        self.released.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// The pods that run unprotected, replacing what was said before.
    pub fn unprotected(&self, counts: impl IntoIterator<Item = (String, &'static str, i64)>) {
        self.unprotected.clear();
        for (namespace, reason, count) in counts {
            let label = UnprotectedLabel { namespace, reason };
            self.unprotected.get_or_create(&label).set(count);
        }
    }

    /// A watch failed, or an object of it could not be read.
    pub fn watch_error(&self, kind: Kind) {
        self.watch_errors.get_or_create(&KindLabel { kind: kind.as_str() }).inc();
    }

    /// A write to the API server ended.
    pub fn call(&self, call: &'static str, result: &'static str, took: Duration) {
        self.calls.get_or_create(&CallLabel { call, result }).inc();
        self.call_duration.get_or_create(&CallNameLabel { call }).observe(took.as_secs_f64());
    }

    /// A call of the CLB API ended, after all its tries.
    pub fn clb_call(&self, call: &'static str, result: &'static str) {
        self.clb_calls.get_or_create(&CallLabel { call, result }).inc();
    }

    /// The upgrades that are looked at, by the phase of each, replacing what was said before. Complete ones are
    /// looked at no more.
    pub fn upgrades(&self, phases: impl IntoIterator<Item = &'static str>) {
        self.upgrades.clear();
        for phase in phases {
            self.upgrades.get_or_create(&UpgradeLabel { phase }).inc();
        }
    }

    /// A look at an upgrade failed, for another reason than that somebody else was faster.
    pub fn upgrade_error(&self) {
        self.upgrade_errors.inc();
    }

    /// A hold was answered.
    pub fn hold_request(&self, status: u16) {
        self.hold_requests.get_or_create(&StatusLabel { status }).inc();
    }

    /// Number of holds that wait now.
    #[must_use]
    pub const fn hold_waiting(&self) -> &Gauge {
        &self.hold_waiting
    }

    /// When the CA and the serving certificate end, in seconds since 1970.
    pub fn certificates(&self, ca: Option<i64>, serving: Option<i64>) {
        for (certificate, expiry) in [("ca", ca), ("serving", serving)] {
            if let Some(expiry) = expiry {
                self.certificate_expiry
                    .get_or_create(&CertificateLabel { certificate })
                    .set(expiry);
            }
        }
    }

    /// A look after the certificates did not come to its end.
    pub fn certificate_error(&self) {
        self.certificate_errors.inc();
    }

    /// An event was dropped.
    pub fn event_dropped(&self) {
        self.events_dropped.inc();
    }

    /// The text that Prometheus scrapes.
    ///
    /// # Errors
    /// When the text cannot be written.
    pub fn encode(&self, index: &SharedIndex) -> Result<String, std::fmt::Error> {
        self.leader.set(i64::from(self.leads.is_held()));
        let now = Instant::now();
        index.with(|index| {
            self.terminating.set(i64::try_from(index.terminating_len()).unwrap_or(i64::MAX));
            for kind in Kind::ALL {
                let fresh = index.health(kind).stale(now).is_none();
                let label = KindLabel { kind: kind.as_str() };
                self.watch_fresh.get_or_create(&label).set(i64::from(fresh));
            }
        });
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
