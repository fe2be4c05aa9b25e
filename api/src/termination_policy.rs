//! `TerminationPolicy`: how the pods of whoever names it end.

use kube::CustomResource;
use lameduck_core::policy::{
    Deployments, FinalizerMode, Hold, Mode, Policy, ReadinessProbe, StatefulSets, TrafficOff,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How pods end. Every field has a default: `spec: {}` is the default policy.
#[derive(
    CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema,
)]
#[kube(
    group = "lameduck.dev",
    version = "v1alpha1",
    kind = "TerminationPolicy",
    plural = "terminationpolicies",
    shortname = "tp",
    category = "lameduck",
    doc = "How the pods end that name this policy in the label lameduck.dev/policy.",
    printcolumn = r#"{"name":"Mode","type":"string","jsonPath":".spec.mode"}"#,
    printcolumn = r#"{"name":"Until","type":"string","jsonPath":".spec.hold.until"}"#,
    printcolumn = r#"{"name":"Max","type":"integer","jsonPath":".spec.hold.maxSeconds"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TerminationPolicySpec {
    /// What Lameduck does at all.
    pub mode: Mode,
    /// How a container is kept alive after its pod has been deleted.
    pub hold: Hold,
    /// Timing of the readiness probe for containers that have a TCP port and no probe.
    pub readiness_probe: ReadinessProbe,
    /// Whether pods get the finalizer.
    pub finalizer: FinalizerMode,
    /// How it is proven that a pod gets no new traffic.
    pub traffic_off: TrafficOff,
    /// Floors for Deployments that roll.
    pub deployments: Deployments,
    /// StatefulSets.
    pub stateful_sets: StatefulSets,
}

impl From<TerminationPolicySpec> for Policy {
    fn from(spec: TerminationPolicySpec) -> Self {
        // Destructured, so that a new field cannot be forgotten here.
        let TerminationPolicySpec {
            mode,
            hold,
            readiness_probe,
            finalizer,
            traffic_off,
            deployments,
            stateful_sets,
        } = spec;
        Self { mode, hold, readiness_probe, finalizer, traffic_off, deployments, stateful_sets }
    }
}
