//! Borrowed views of the objects under review: only the members that a decision reads.
//!
//! Decoding a whole `Pod` costs several times what these views cost, and ties the webhook to one
//! version of Kubernetes. Unknown members are ignored; `null` is the same as a missing member. Strings
//! borrow from the request's bytes unless they carry escapes.

mod container;

use std::{borrow::Cow, fmt, ops::Deref};

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, Visitor},
};
use serde_json::value::RawValue;

pub use container::{
    Amounts, Container, Exec, Handler, Header, HttpGet, Lifecycle, Port, Probe, Resources, Sleep,
    VolumeMount,
};

/// A string that borrows from the input where it can.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(transparent)]
pub struct Str<'a>(#[serde(borrow)] pub Cow<'a, str>);

impl Deref for Str<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// A number or a string: ports, and what a rollout may have missing or on top.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IntOrString<'a> {
    /// A number.
    Int(i64),
    /// A name, or a percentage.
    String(Cow<'a, str>),
}

impl<'de: 'a, 'a> Deserialize<'de> for IntOrString<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = IntOrString<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an integer or a string")
            }
            fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
                Ok(IntOrString::Int(value))
            }
            fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
                i64::try_from(value)
                    .map(IntOrString::Int)
                    .map_err(|_| E::custom("integer out of range"))
            }
            fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<Self::Value, E> {
                Ok(IntOrString::String(Cow::Borrowed(value)))
            }
            fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
                Ok(IntOrString::String(Cow::Owned(value.to_owned())))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// Labels of any object.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Labels<'a> {
    /// [`crate::names::POLICY_LABEL`].
    #[serde(borrow, rename = "lameduck.dev/policy")]
    pub policy: Option<Str<'a>>,
}

/// Annotations of any object.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Annotations<'a> {
    /// [`crate::names::ANNOTATION_INJECTED`].
    #[serde(borrow, rename = "lameduck.dev/injected")]
    pub injected: Option<Str<'a>>,
    /// [`crate::names::ANNOTATION_ORIGINAL_GRACE`].
    #[serde(borrow, rename = "lameduck.dev/original-termination-grace-period-seconds")]
    pub original_grace: Option<Str<'a>>,
    /// [`crate::names::ANNOTATION_ORIGINAL_UPDATE_STRATEGY`].
    #[serde(borrow, rename = "lameduck.dev/original-update-strategy")]
    pub original_update_strategy: Option<Str<'a>>,
    /// Set by the kubelet on the API's picture of a static pod.
    #[serde(rename = "kubernetes.io/config.mirror")]
    pub mirror: Option<IgnoredAny>,
}

/// One owner of an object.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct OwnerReference<'a> {
    /// The owner's kind.
    #[serde(borrow)]
    pub kind: Option<Str<'a>>,
}

/// Metadata of any object.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata<'a> {
    /// Name, empty for an object whose name the API server still has to make.
    #[serde(borrow)]
    pub name: Option<Str<'a>>,
    /// Prefix of the name that the API server makes.
    #[serde(borrow)]
    pub generate_name: Option<Str<'a>>,
    /// Labels; `None` where the member is missing, so that a patch knows to create it.
    #[serde(borrow)]
    pub labels: Option<Labels<'a>>,
    /// Annotations.
    #[serde(borrow)]
    pub annotations: Option<Annotations<'a>>,
    /// Finalizers.
    #[serde(borrow)]
    pub finalizers: Option<Vec<Str<'a>>>,
    /// Owners.
    #[serde(borrow)]
    pub owner_references: Option<Vec<OwnerReference<'a>>>,
    /// Set once the object is being deleted.
    pub deletion_timestamp: Option<IgnoredAny>,
}

impl Metadata<'_> {
    /// The value of the policy label, as it stands on this object.
    pub fn policy(&self) -> Option<&str> {
        self.labels.as_ref()?.policy.as_deref()
    }

    /// The name for a message: the name, else the prefix of the name.
    pub fn display_name(&self) -> &str {
        self.name
            .as_deref()
            .filter(|name| !name.is_empty())
            .or(self.generate_name.as_deref())
            .unwrap_or("(no name)")
    }
}

/// A pod under review.
#[derive(Clone, Debug, Deserialize)]
pub struct Pod<'a> {
    /// Metadata.
    #[serde(borrow)]
    pub metadata: Metadata<'a>,
    /// Specification.
    #[serde(borrow)]
    pub spec: PodSpec<'a>,
}

/// Specification of a pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSpec<'a> {
    /// Regular containers.
    #[serde(borrow, default)]
    pub containers: Vec<Container<'a>>,
    /// Init containers, sidecars among them.
    #[serde(borrow)]
    pub init_containers: Option<Vec<Container<'a>>>,
    /// Volumes.
    #[serde(borrow)]
    pub volumes: Option<Vec<Volume<'a>>>,
    /// `Always` where missing.
    #[serde(borrow)]
    pub restart_policy: Option<Str<'a>>,
    /// Seconds; 30 where missing.
    pub termination_grace_period_seconds: Option<i64>,
    /// Operating system.
    #[serde(borrow)]
    pub os: Option<Os<'a>>,
    /// Labels that the node must have.
    #[serde(borrow)]
    pub node_selector: Option<NodeSelector<'a>>,
    /// Whether the pod shares its node's network.
    pub host_network: Option<bool>,
    /// Security settings of the whole pod.
    pub security_context: Option<PodSecurityContext>,
    /// Resources of the whole pod (Kubernetes 1.34).
    #[serde(borrow)]
    pub resources: Option<Resources<'a>>,
}

/// `spec.os`.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Os<'a> {
    /// `linux` or `windows`.
    #[serde(borrow)]
    pub name: Option<Str<'a>>,
}

/// `spec.nodeSelector`.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct NodeSelector<'a> {
    /// The well-known label of the operating system.
    #[serde(borrow, rename = "kubernetes.io/os")]
    pub os: Option<Str<'a>>,
}

/// `spec.securityContext`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSecurityContext {
    /// User of every container that names none itself.
    pub run_as_user: Option<i64>,
}

/// A volume.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Volume<'a> {
    /// Name.
    #[serde(borrow)]
    pub name: Option<Str<'a>>,
    /// Set where the volume is an emptyDir.
    pub empty_dir: Option<IgnoredAny>,
}

/// A Deployment or a StatefulSet under review.
#[derive(Clone, Debug, Deserialize)]
pub struct Workload<'a> {
    /// Metadata.
    #[serde(borrow)]
    pub metadata: Metadata<'a>,
    /// Specification.
    #[serde(borrow)]
    pub spec: WorkloadSpec<'a>,
}

/// Specification of a Deployment or a StatefulSet.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadSpec<'a> {
    /// Pods; 1 where missing.
    pub replicas: Option<i64>,
    /// The pod template's bytes, so that two versions can be compared as a whole.
    #[serde(borrow)]
    pub template: &'a RawValue,
    /// A Deployment's strategy.
    pub strategy: Option<serde_json::Value>,
    /// A StatefulSet's strategy.
    pub update_strategy: Option<serde_json::Value>,
    /// Seconds that a new pod has to be ready to count as available.
    pub min_ready_seconds: Option<i64>,
    /// Seconds after which a rollout without progress counts as failed.
    pub progress_deadline_seconds: Option<i64>,
}

/// A pod template.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Template<'a> {
    /// Metadata; missing where the author gives none.
    #[serde(borrow)]
    pub metadata: Option<Metadata<'a>>,
}
