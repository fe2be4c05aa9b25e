//! `Upgrade`: how far a StatefulSet is on its way to a new revision.

use kube::CustomResource;
use lameduck_core::upgrade::object::{UpgradeSpec as Spec, UpgradeStatus};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a person may ask of an upgrade. Lameduck makes the object, and writes none of this.
#[derive(
    CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema,
)]
#[kube(
    group = "lameduck.dev",
    version = "v1alpha1",
    kind = "Upgrade",
    plural = "upgrades",
    shortname = "upg",
    category = "lameduck",
    namespaced,
    status = "UpgradeStatus",
    doc = "How far the StatefulSet of the same name is on its way to a new revision. Made by Lameduck.",
    printcolumn = r#"{"name":"Phase","type":"string","jsonPath":".status.phase"}"#,
    printcolumn = r#"{"name":"Updated","type":"integer","jsonPath":".status.updated"}"#,
    printcolumn = r#"{"name":"Total","type":"integer","jsonPath":".status.total"}"#,
    printcolumn = r#"{"name":"Out","type":"string","jsonPath":".status.ordinals[*].ordinal"}"#,
    printcolumn = r#"{"name":"Step","type":"string","jsonPath":".status.ordinals[*].step"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".status.reason"}"#,
    printcolumn = r#"{"name":"Message","type":"string","jsonPath":".status.message","priority":1}"#,
    printcolumn = r#"{"name":"Revision","type":"string","jsonPath":".status.targetRevision","priority":1}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(default)]
pub struct UpgradeSpec {
    /// What a person may ask for.
    #[serde(flatten)]
    pub asked: Spec,
}
