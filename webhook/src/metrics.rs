//! Metrics in the text format of Prometheus / OpenMetrics.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use crate::admission::Hook;

/// Fine around the budget, which is 20 µs for a review of 10 KB.
const DECISION_BUCKETS_SECONDS: [f64; 16] = [
    5e-6, 10e-6, 15e-6, 20e-6, 25e-6, 30e-6, 40e-6, 60e-6, 80e-6, 100e-6, 200e-6, 500e-6, 1e-3,
    2e-3, 5e-3, 20e-3,
];

/// Labels of a review.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReviewLabels {
    hook: &'static str,
    outcome: &'static str,
}

/// Labels of a refused request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabels {
    status: u16,
}

/// Every metric of the webhook.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    reviews: Family<ReviewLabels, Counter>,
    rejected: Family<StatusLabels, Counter>,
    decision: Histogram,
    operations: Counter,
    /// Open connections.
    pub connections: Gauge,
    /// TLS handshakes that failed or took too long.
    pub handshake_failures: Counter,
    /// Connections that were closed at once because there were too many.
    pub connections_refused: Counter,
    certificate_expiry: Gauge<f64, AtomicU64>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Registers all of them.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("lameduck_webhook");
        let reviews = Family::default();
        let rejected = Family::default();
        let decision = Histogram::new(DECISION_BUCKETS_SECONDS);
        let operations = Counter::default();
        let connections = Gauge::default();
        let handshake_failures = Counter::default();
        let connections_refused = Counter::default();
        let certificate_expiry = Gauge::default();
        registry.register("reviews", "Reviews by what came of them", reviews.clone());
        registry.register(
            "rejected_requests",
            "Requests that were no review, by HTTP status",
            rejected.clone(),
        );
        registry.register_with_unit(
            "decision",
            "Time from the request's bytes to the answer's bytes",
            Unit::Seconds,
            decision.clone(),
        );
        registry.register("patch_operations", "Operations in patches", operations.clone());
        registry.register("connections", "Open connections", connections.clone());
        registry.register(
            "handshake_failures",
            "TLS handshakes that failed or took too long",
            handshake_failures.clone(),
        );
        registry.register(
            "connections_refused",
            "Connections closed at once because there were too many",
            connections_refused.clone(),
        );
        registry.register_with_unit(
            "certificate_expiry",
            "Unix time at which the serving certificate ends; 0 without one",
            Unit::Seconds,
            certificate_expiry.clone(),
        );
        Self {
            registry,
            reviews,
            rejected,
            decision,
            operations,
            connections,
            handshake_failures,
            connections_refused,
            certificate_expiry,
        }
    }

    /// Counts one review.
    pub fn reviewed(&self, hook: Hook, outcome: &'static str, operations: usize, seconds: f64) {
        self.reviews.get_or_create(&ReviewLabels { hook: hook.as_str(), outcome }).inc();
        self.operations.inc_by(operations as u64);
        self.decision.observe(seconds);
    }

    /// Counts one request that was no review.
    pub fn rejected(&self, status: u16) {
        self.rejected.get_or_create(&StatusLabels { status }).inc();
    }

    /// How many requests were refused with this status.
    pub fn rejected_count(&self, status: u16) -> u64 {
        self.rejected.get_or_create(&StatusLabels { status }).get()
    }

    /// How many reviews had this outcome.
    pub fn reviewed_count(&self, hook: Hook, outcome: &'static str) -> u64 {
        self.reviews.get_or_create(&ReviewLabels { hook: hook.as_str(), outcome }).get()
    }

    /// The text for a scrape. `certificate_ends`: Unix seconds.
    ///
    /// # Errors
    /// Where a metric cannot be written down.
    pub fn encode(&self, certificate_ends: Option<f64>) -> Result<String, std::fmt::Error> {
        self.certificate_expiry.set(certificate_ends.unwrap_or(0.0));
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
