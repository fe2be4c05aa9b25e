//! What sends to pods: Services, Ingresses, EndpointSlices.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Meta;

/// A Service.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Service {
    /// Metadata.
    pub metadata: Meta,
    /// Spec.
    pub spec: ServiceSpec,
}

/// `spec` of a Service.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceSpec {
    /// Pods with all of these labels; empty selects none.
    pub selector: BTreeMap<String, String>,
    /// ClusterIP, NodePort, LoadBalancer, ExternalName.
    #[serde(rename = "type")]
    pub type_: String,
}

/// An Ingress.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Ingress {
    /// Metadata.
    pub metadata: Meta,
    /// Spec.
    pub spec: IngressSpec,
}

/// `spec` of an Ingress.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IngressSpec {
    /// What no rule matches.
    pub default_backend: Option<IngressBackend>,
    /// Rules.
    pub rules: Vec<IngressRule>,
}

/// A rule of an Ingress.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct IngressRule {
    /// Its paths.
    pub http: Option<IngressPaths>,
}

/// The paths of a rule.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct IngressPaths {
    /// Each with its backend.
    pub paths: Vec<IngressPath>,
}

/// A path.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct IngressPath {
    /// Where it leads.
    pub backend: IngressBackend,
}

/// Where an Ingress leads.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct IngressBackend {
    /// The Service; None where it is another kind of object.
    pub service: Option<Named>,
}

/// A name in the same namespace.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Named {
    /// Name.
    pub name: String,
}

impl IngressSpec {
    /// Names of the Services that it leads to.
    pub fn services(&self) -> impl Iterator<Item = &str> {
        let paths =
            self.rules.iter().filter_map(|rule| rule.http.as_ref()).flat_map(|http| &http.paths);
        let backends = paths.map(|path| &path.backend).chain(&self.default_backend);
        backends.filter_map(|backend| Some(backend.service.as_ref()?.name.as_str()))
    }
}

/// An EndpointSlice.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct EndpointSlice {
    /// Metadata.
    pub metadata: Meta,
    /// Endpoints; null where there is none.
    pub endpoints: Option<Vec<Endpoint>>,
}

/// One endpoint.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Endpoint {
    /// Addresses; all of the same pod.
    pub addresses: Vec<String>,
    /// Conditions.
    pub conditions: EndpointConditions,
    /// The object behind it.
    pub target_ref: Option<TargetRef>,
}

/// Conditions of an endpoint. Absent means what the API says it means.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct EndpointConditions {
    /// Absent counts as ready.
    pub ready: Option<bool>,
    /// Absent counts as what `ready` says.
    pub serving: Option<bool>,
    /// Absent counts as not terminating.
    pub terminating: Option<bool>,
}

/// The object behind an endpoint.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct TargetRef {
    /// Kind.
    pub kind: String,
    /// Name, in the slice's namespace.
    pub name: String,
    /// UID.
    pub uid: String,
}
