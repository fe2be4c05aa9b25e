//! The parts of a `TerminationPolicy`: what an admin may choose, with a default for every field.
//!
//! The types are the schema too: `lameduck-api` puts them together into the CRD, so a bound written
//! here is what the API server refuses by. They are plain data; nothing here reads a cluster.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What Lameduck does to the pods and workloads of the policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    /// Inject and drain.
    #[default]
    Enforce,
    /// Report what would be injected, change nothing.
    Observe,
    /// Do nothing, say nothing.
    Off,
}

/// What has to happen before a held container gets its SIGTERM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Until {
    /// Traffic is off and every connection to the pod has closed.
    #[default]
    ConnectionsClosed,
    /// Traffic is off and every connection that is left has been silent for `idleSeconds`.
    ConnectionsIdle,
    /// Traffic is off; the application ends its connections by itself on SIGTERM.
    TrafficOff,
    /// No hold: a native preStop sleep of `sleepSeconds`.
    Off,
}

/// How a container is kept alive after its pod has been deleted. All times are in seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "self.until != 'ConnectionsIdle' || self.idleSeconds <= self.maxSeconds",
        "message": "idleSeconds must not be longer than maxSeconds: no connection could count as idle before the hold ends",
        "fieldPath": ".idleSeconds",
        "reason": "FieldValueInvalid",
    }
]))]
pub struct Hold {
    /// What to wait for.
    pub until: Until,
    /// With ConnectionsIdle: a connection counts as idle after so many seconds without a byte either way.
    #[schemars(range(min = 1, max = 86400))]
    pub idle_seconds: u32,
    /// The longest hold. SIGTERM follows all the same, with a Warning event.
    #[schemars(range(min = 1, max = 86400))]
    pub max_seconds: u32,
    /// The least time to hold where no controller can be asked.
    #[schemars(range(min = 0, max = 3600))]
    pub unreachable_seconds: u32,
    /// Length of the native preStop sleep where a hold cannot be injected, and with `until: Off`.
    #[schemars(range(min = 0, max = 3600))]
    pub sleep_seconds: u32,
}

impl Default for Hold {
    fn default() -> Self {
        Self {
            until: Until::default(),
            idle_seconds: 60,
            max_seconds: 900,
            unreachable_seconds: 30,
            sleep_seconds: 15,
        }
    }
}

/// Timing of the readiness probe that is injected into containers with a TCP port and no probe.
/// The probe itself is a TCP connect to the container's first TCP port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ReadinessProbe {
    /// Seconds after the container's start before the first probe.
    #[schemars(range(min = 0, max = 3600))]
    pub initial_delay_seconds: u32,
    /// Seconds between two probes.
    #[schemars(range(min = 1, max = 3600))]
    pub period_seconds: u32,
    /// Seconds that one probe may take.
    #[schemars(range(min = 1, max = 3600))]
    pub timeout_seconds: u32,
    /// Probes in a row that must succeed.
    #[schemars(range(min = 1, max = 100))]
    pub success_threshold: u32,
    /// Probes in a row that must fail.
    #[schemars(range(min = 1, max = 100))]
    pub failure_threshold: u32,
}

impl Default for ReadinessProbe {
    fn default() -> Self {
        Self {
            initial_delay_seconds: 0,
            period_seconds: 2,
            timeout_seconds: 1,
            success_threshold: 1,
            failure_threshold: 3,
        }
    }
}

/// Whether pods get the finalizer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FinalizerMode {
    /// Every pod that is injected gets it.
    #[default]
    Always,
    /// No pod gets it.
    Never,
}

/// Who says that traffic is off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Provider {
    /// The best proof that is at hand for the pod: Tencent's CLB where it is read, and the EndpointSlices.
    #[default]
    Auto,
    /// The CLBs that carry the pod, and its EndpointSlices. Without access to the CLBs traffic is never
    /// proven off.
    TencentCLB,
    /// The pod's EndpointSlices, and then `settleSeconds`.
    EndpointSlice,
}

/// How it is proven that a pod gets no new traffic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "self.settleSeconds < self.giveUpSeconds",
        "message": "settleSeconds must be shorter than giveUpSeconds: traffic could never be proven off in time",
        "fieldPath": ".settleSeconds",
        "reason": "FieldValueInvalid",
    }
]))]
pub struct TrafficOff {
    /// Who says so.
    pub provider: Provider,
    /// Reads of a load balancer, at least a second apart, that must agree.
    #[schemars(range(min = 2, max = 10))]
    pub confirm_reads: u32,
    /// Where a load balancer still has a weight for the pod so many seconds after its deletion, TKE is
    /// reminded by an annotation on the pod.
    #[schemars(range(min = 1, max = 3600))]
    pub nudge_seconds: u32,
    /// Seconds to wait after every endpoint of the pod went not-ready: kube-proxy, DNS and load
    /// balancers follow the API with a lag that nobody reports.
    #[schemars(range(min = 0, max = 3600))]
    pub settle_seconds: u32,
    /// The finalizer goes after so many seconds, with a Warning event, though traffic was not proven off.
    #[schemars(range(min = 1, max = 86400))]
    pub give_up_seconds: u32,
}

impl Default for TrafficOff {
    fn default() -> Self {
        Self {
            provider: Provider::default(),
            confirm_reads: 2,
            nudge_seconds: 15,
            settle_seconds: 3,
            give_up_seconds: 900,
        }
    }
}

/// Floors for Deployments that roll: a stricter value of the author's own is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "self.maxUnavailable > 0 || self.maxSurge > 0",
        "message": "maxSurge must not be 0 while maxUnavailable is 0: no rollout could take a step",
        "fieldPath": ".maxSurge",
        "reason": "FieldValueInvalid",
    }
]))]
pub struct Deployments {
    /// Pods that may be missing during a rollout.
    #[schemars(range(min = 0, max = 1000))]
    pub max_unavailable: u32,
    /// Pods above `replicas` during a rollout.
    #[schemars(range(min = 0, max = 1000))]
    pub max_surge: u32,
    /// Seconds that a new pod must stay ready before the next step.
    #[schemars(range(min = 0, max = 3600))]
    pub min_ready_seconds: u32,
}

impl Default for Deployments {
    fn default() -> Self {
        Self { max_unavailable: 0, max_surge: 1, min_ready_seconds: 1 }
    }
}

/// What is done to the update strategy of StatefulSets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StatefulSetStrategy {
    /// `OnDelete`: a pod is replaced only when it is deleted.
    #[default]
    OnDelete,
    /// The author's own strategy stays.
    Unchanged,
}

/// Who says that an upgrade may go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum UpgradeMode {
    /// Nobody has to.
    #[default]
    Automatic,
    /// A person, after each batch of `maxUnavailable` pods: `approvedBatches` of the Upgrade.
    PerBatch,
    /// A person, at the start: `approvedBatches` of the Upgrade.
    Manual,
}

/// Whether a StatefulSet has one pod more while it is upgraded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Surge {
    /// 0: it keeps its size.
    None,
    /// 1: one more.
    One,
    /// One more unless the set has volumeClaimTemplates: a volume is made for that pod too, and stays.
    #[default]
    Auto,
}

impl Serialize for Surge {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => serializer.serialize_u8(0),
            Self::One => serializer.serialize_u8(1),
            Self::Auto => serializer.serialize_str("Auto"),
        }
    }
}

impl<'de> Deserialize<'de> for Surge {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::Number(number) if number.as_u64() == Some(0) => Ok(Self::None),
            serde_json::Value::Number(number) if number.as_u64() == Some(1) => Ok(Self::One),
            serde_json::Value::String(text) if text == "Auto" => Ok(Self::Auto),
            other => Err(serde::de::Error::custom(format!("{other} is none of 0, 1, \"Auto\""))),
        }
    }
}

impl JsonSchema for Surge {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Surge".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"x-kubernetes-int-or-string": true, "enum": [0, 1, "Auto"]})
    }
}

/// How StatefulSets with `updateStrategy: OnDelete` are carried to a new revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Upgrades {
    /// Who says that it may go on.
    pub mode: UpgradeMode,
    /// Pods that may be out of service at once; also the size of a batch.
    #[schemars(range(min = 1, max = 1000))]
    pub max_unavailable: u32,
    /// Whether the set has one pod more meanwhile: 0, 1, or Auto, which is 1 unless the set has
    /// volumeClaimTemplates.
    pub surge: Surge,
    /// Seconds that a new pod must stay ready before it gets its weight back.
    #[schemars(range(min = 0, max = 3600))]
    pub soak_seconds: u32,
    /// After so many seconds without a step the upgrade is Stalled. A drain has its own deadline.
    #[schemars(range(min = 1, max = 86400))]
    pub progress_deadline_seconds: u32,
}

impl Default for Upgrades {
    fn default() -> Self {
        Self {
            mode: UpgradeMode::default(),
            max_unavailable: 1,
            surge: Surge::default(),
            soak_seconds: 10,
            progress_deadline_seconds: 600,
        }
    }
}

/// StatefulSets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct StatefulSets {
    /// The update strategy to enforce.
    pub update_strategy: StatefulSetStrategy,
    /// How a new revision gets to the pods.
    pub upgrade: Upgrades,
}

/// A whole policy, as the decisions read it. `Policy::default()` is the policy of an empty spec.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// What Lameduck does at all.
    pub mode: Mode,
    /// The hold.
    pub hold: Hold,
    /// The injected readiness probe.
    pub readiness_probe: ReadinessProbe,
    /// The finalizer.
    pub finalizer: FinalizerMode,
    /// The proof that traffic is off.
    pub traffic_off: TrafficOff,
    /// Floors for Deployments.
    pub deployments: Deployments,
    /// StatefulSets.
    pub stateful_sets: StatefulSets,
}

impl Policy {
    /// Whether it changes anything, and does not only watch.
    #[must_use]
    pub fn is_enforced(&self) -> bool {
        self.mode == Mode::Enforce
    }
}
