//! Metadata of objects without `managedFields`: the larger part of them, which only the API server reads. Skipped
//! while it is parsed, so that ten thousand pods take neither its time nor its memory.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::marker::PhantomData;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use kube::Resource;
use serde::{Deserialize, Deserializer};

/// The metadata of an object of kind `K`. The API server is asked for no more.
#[derive(Clone, Debug)]
pub struct Light<K> {
    /// The metadata.
    pub metadata: ObjectMeta,
    kind: PhantomData<K>,
}

/// What is read.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Fields {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    owner_references: Option<Vec<OwnerReference>>,
    finalizers: Option<Vec<String>>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    deletion_grace_period_seconds: Option<i64>,
}

impl<'de, K> Deserialize<'de> for Light<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Object {
            metadata: Fields,
        }
        let Object { metadata: fields } = Object::deserialize(deserializer)?;
        let metadata = ObjectMeta {
            name: fields.name,
            namespace: fields.namespace,
            uid: fields.uid,
            resource_version: fields.resource_version,
            labels: fields.labels,
            annotations: fields.annotations,
            owner_references: fields.owner_references,
            finalizers: fields.finalizers,
            creation_timestamp: fields.creation_timestamp,
            deletion_timestamp: fields.deletion_timestamp,
            deletion_grace_period_seconds: fields.deletion_grace_period_seconds,
            ..ObjectMeta::default()
        };
        Ok(Self { metadata, kind: PhantomData })
    }
}

impl<K: Resource> Resource for Light<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn metadata_api() -> bool {
        true
    }

    fn kind(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::kind(dt)
    }

    fn group(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::group(dt)
    }

    fn version(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::version(dt)
    }

    fn plural(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::plural(dt)
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
