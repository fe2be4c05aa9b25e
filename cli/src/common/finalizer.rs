//! Lameduck's finalizer on an object.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use lameduck_api::names::FINALIZER;

/// Whether an object has it.
#[must_use]
pub fn has_finalizer(metadata: &ObjectMeta) -> bool {
    metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER)
}
