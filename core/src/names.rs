//! The public names: labels, annotations, conditions, the finalizer.
//!
//! They are a contract with every manifest and every script out there; none of them changes without
//! a new API version. `lameduck-api` re-exports them for the crates that never touch a decision.

/// Label on a Namespace, a workload or a pod template that enrols it. Its value is the name of a
/// `TerminationPolicy`, or [`POLICY_NONE`].
pub const POLICY_LABEL: &str = "lameduck.dev/policy";
/// Value of [`POLICY_LABEL`] that opts out, whatever a wider scope says.
pub const POLICY_NONE: &str = "none";
/// Finalizer that keeps a pod's object until its traffic is proven off.
pub const FINALIZER: &str = "lameduck.dev/drain";

/// Pod condition: no load balancer and no endpoint sends new traffic to the pod any more.
pub const CONDITION_TRAFFIC_OFF: &str = "lameduck.dev/TrafficOff";
/// Pod condition: the pod's own connections have ended.
pub const CONDITION_DRAINED: &str = "lameduck.dev/Drained";

/// Condition on a namespace that is being deleted: none of its pods is held any more.
pub const CONDITION_PODS_RELEASED: &str = "lameduck.dev/PodsReleased";

/// Annotation on a pod that says which version injected what.
pub const ANNOTATION_INJECTED: &str = "lameduck.dev/injected";
/// Annotation on a pod: the grace that its author asked for, in seconds.
pub const ANNOTATION_ORIGINAL_GRACE: &str =
    "lameduck.dev/original-termination-grace-period-seconds";
/// Annotation on a pod: the JSON of who let it go, and why ([`crate::drain::Release`]).
pub const ANNOTATION_RELEASE: &str = "lameduck.dev/release";
/// Annotation on a workload: the JSON of the update strategy that its author asked for.
pub const ANNOTATION_ORIGINAL_UPDATE_STRATEGY: &str = "lameduck.dev/original-update-strategy";
/// Annotation on a StatefulSet that stops its upgrade, with the value `true`.
pub const ANNOTATION_PAUSED: &str = "lameduck.dev/paused";
/// Annotation on a pod that an upgrade is about to delete. It goes before the pod's weight comes back, so a
/// deletion that was decided before meets another `resourceVersion`.
pub const ANNOTATION_UPGRADE_DELETES: &str = "lameduck.dev/upgrade-deletes";
/// Annotation on a StatefulSet that has one pod more for its upgrade: what its replicas are without.
pub const ANNOTATION_ORIGINAL_REPLICAS: &str = "lameduck.dev/original-replicas";

/// Annotation on a Service: the JSON of its [`LB_RS_WEIGHT`] as its author wrote it, and what we put in its
/// place. It is written and removed in one patch with that one.
pub const ANNOTATION_ORIGINAL_LB_RS_WEIGHT: &str = "lameduck.dev/original-lb-rs-weight";

/// Namespace of the installation. It is never enrolled.
pub const SYSTEM_NAMESPACE: &str = "lameduck-system";
/// Namespaces whose pods are never touched, whatever their labels say.
pub const EXEMPT_NAMESPACES: [&str; 3] = ["kube-system", "kube-node-lease", SYSTEM_NAMESPACE];

/// Name of the injected init container and of the volume that carries the hold.
pub const HOLD_CONTAINER: &str = "lameduck";
/// Where that volume is mounted in the application's containers, read-only.
pub const HOLD_MOUNT_PATH: &str = "/lameduck";
/// Path of the hold's binary inside the application's containers.
pub const HOLD_BINARY_PATH: &str = "/lameduck/hold";
/// Host and port under which a hold finds any controller replica.
pub const HOLD_SERVICE: &str = "lameduck-hold.lameduck-system:8080";

/// Annotation on a pod: its weight at CLBs of Services, 0 to 100. TKE's service-controller obeys it from
/// v2.4.0 on (document 457/128647).
pub const CUSTOM_WEIGHT_SERVICE: &str = "service.cloud.tencent.com/custom-weight";
/// The same at CLBs of Ingresses, from v2.6.0 of the ingress-controller on.
pub const CUSTOM_WEIGHT_INGRESS: &str = "ingress.cloud.tencent.com/custom-weight";
/// Annotation on a Service: JSON of the weights of StatefulSets' pods at its CLB, by ordinal, 0 to 100
/// (document 457/51258).
pub const LB_RS_WEIGHT: &str = "service.cloud.tencent.com/lb-rs-weight";
