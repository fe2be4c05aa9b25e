//! The kinds that are watched, and what each becomes in the index.

use lameduck_api::TerminationPolicySpec;
use lameduck_core::names::POLICY_LABEL;
use lameduck_core::policy::Policy;
use tracing::warn;

use crate::index::{Index, Kind};
use crate::slim::{EndpointSlice, Ingress, Meta, Namespace, Node, Pod, Service, TerminationPolicy};
use crate::watch::Watched;

impl Watched for Pod {
    const KIND: Kind = Kind::Pods;
    const PATH: &'static str = "/api/v1/pods";
    const LABELS: Option<&'static str> = Some(POLICY_LABEL);

    fn meta(&self) -> &Meta {
        &self.metadata
    }
    fn apply(self, index: &mut Index) {
        index.apply_pod(self);
    }
    fn delete(self, index: &mut Index) {
        index.pod_left(&self);
    }
}

impl Watched for Service {
    const KIND: Kind = Kind::Services;
    const PATH: &'static str = "/api/v1/services";

    fn meta(&self) -> &Meta {
        &self.metadata
    }
    fn apply(self, index: &mut Index) {
        index.apply_service(&self);
    }
    fn delete(self, index: &mut Index) {
        index.delete_service(&self.metadata.namespace, &self.metadata.name);
    }
}

impl Watched for EndpointSlice {
    const KIND: Kind = Kind::EndpointSlices;
    const PATH: &'static str = "/apis/discovery.k8s.io/v1/endpointslices";
    // A full one has 40 KB.
    const PAGE_OBJECTS: u32 = 25;

    fn meta(&self) -> &Meta {
        &self.metadata
    }
    fn apply(self, index: &mut Index) {
        index.apply_slice(&self);
    }
    fn delete(self, index: &mut Index) {
        index.delete_slice(&self.metadata.namespace, &self.metadata.name);
    }
}

impl Watched for Ingress {
    const KIND: Kind = Kind::Ingresses;
    const PATH: &'static str = "/apis/networking.k8s.io/v1/ingresses";

    fn meta(&self) -> &Meta {
        &self.metadata
    }
    fn apply(self, index: &mut Index) {
        index.apply_ingress(&self);
    }
    fn delete(self, index: &mut Index) {
        index.delete_ingress(&self.metadata.namespace, &self.metadata.name);
    }
}

impl Watched for Namespace {
    const KIND: Kind = Kind::Namespaces;
    const PATH: &'static str = "/api/v1/namespaces";
    const METADATA_ONLY: bool = true;

    fn meta(&self) -> &Meta {
        &self.metadata
    }
    fn apply(self, index: &mut Index) {
        index.apply_namespace(&self);
    }
    fn delete(self, index: &mut Index) {
        index.delete_namespace(&self.metadata.name);
    }
}

impl Watched for Node {
    const KIND: Kind = Kind::Nodes;
    const PATH: &'static str = "/api/v1/nodes";
    // With the names of their images they have 20 KB.
    const PAGE_OBJECTS: u32 = 50;

    fn meta(&self) -> &Meta {
        &self.metadata
    }
    fn apply(self, index: &mut Index) {
        index.apply_node(&self);
    }
    fn delete(self, index: &mut Index) {
        index.delete_node(&self.metadata.name);
    }
}

impl Watched for TerminationPolicy {
    const KIND: Kind = Kind::TerminationPolicies;
    const PATH: &'static str = "/apis/lameduck.dev/v1alpha1/terminationpolicies";

    fn meta(&self) -> &Meta {
        &self.metadata
    }
    fn apply(self, index: &mut Index) {
        let spec = if self.spec.is_null() { serde_json::json!({}) } else { self.spec };
        match serde_json::from_value::<TerminationPolicySpec>(spec) {
            Ok(spec) => index.apply_policy(&self.metadata.name, Policy::from(spec)),
            // The schema refuses such a spec; one of a newer version may still be stored.
            Err(error) => warn!(
                policy = self.metadata.name,
                %error,
                "A TerminationPolicy cannot be read; what was known of it stays in force."
            ),
        }
    }
    fn delete(self, index: &mut Index) {
        index.delete_policy(&self.metadata.name);
    }
}
