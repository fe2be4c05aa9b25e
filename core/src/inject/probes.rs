//! Probes: a readiness probe where there is none, and the application's own grace where a liveness
//! probe would otherwise inherit the raised one.
//!
//! Without a readiness probe a container counts as ready when its process starts, so a rollout takes
//! the old pod's traffic away before the new one listens. The injected probe connects to the first
//! TCP port that the author listed. It can hurt where that port is closed on purpose: a standby that
//! listens only as the leader, a port bound to 127.0.0.1, a server that counts bare connects as
//! attacks. Such a container needs a readiness probe of its own; then nothing is injected.

use serde_json::{Value, json};

use super::{
    patch::Patch,
    view::{Container, Probe},
};
use crate::policy::ReadinessProbe;

/// The readiness probe for `container`, where it has a TCP port and no probe.
pub(super) fn readiness(container: &Container<'_>, timing: &ReadinessProbe) -> Option<Value> {
    if container.readiness_probe.is_some() {
        return None;
    }
    let port = container.tcp_ports().next()?;
    Some(json!({
        "tcpSocket": {"port": port},
        "initialDelaySeconds": timing.initial_delay_seconds,
        "periodSeconds": timing.period_seconds,
        "timeoutSeconds": timing.timeout_seconds,
        "successThreshold": timing.success_threshold,
        "failureThreshold": timing.failure_threshold,
    }))
}

/// Gives the probes at `path` (of one container) that kill it the application's own grace.
///
/// Without it, a process that fails its liveness probe could live on for the pod's raised grace.
pub(super) fn keep_kill_grace(
    patch: &mut Patch,
    path: &str,
    container: &Container<'_>,
    original_seconds: i64,
) {
    let probes: [(&str, &Option<Probe>); 2] =
        [("livenessProbe", &container.liveness_probe), ("startupProbe", &container.startup_probe)];
    for (name, probe) in probes {
        if probe.as_ref().is_some_and(|probe| probe.termination_grace_period_seconds.is_none()) {
            // The API refuses 0 here.
            patch.set(
                format!("{path}/{name}/terminationGracePeriodSeconds"),
                original_seconds.max(1),
            );
        }
    }
}
