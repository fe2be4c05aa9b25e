//! What is kept of an EndpointSlice, and which of its entries are about a pod.

use std::net::IpAddr;
use std::sync::Arc;

use lameduck_core::drain::Endpoint;

use super::intern::Interner;
use super::pod::{Pod, PodKey};
use crate::slim;

/// Label that names the Service of a slice.
const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// One slice.
#[derive(Clone, Debug)]
pub(super) struct Slice {
    /// `namespace/name` of its Service, or of the slice where nobody says.
    service: Arc<str>,
    entries: Box<[Entry]>,
}

/// One endpoint, about 50 bytes.
#[derive(Clone, Debug)]
struct Entry {
    pod: Option<Arc<str>>,
    address: Option<IpAddr>,
    ready: bool,
    serving: bool,
    terminating: bool,
}

impl Slice {
    pub(super) fn new(slice: &slim::EndpointSlice, interner: &mut Interner) -> Self {
        let meta = &slice.metadata;
        let owner = meta.labels.get(SERVICE_LABEL).unwrap_or(&meta.name);
        let endpoints = slice.endpoints.as_deref().unwrap_or_default();
        Self {
            service: interner.get(&format!("{}/{owner}", meta.namespace)),
            entries: endpoints.iter().map(|endpoint| Entry::new(endpoint, interner)).collect(),
        }
    }

    /// Names of the pods that the slice is about; None where an entry names nobody.
    pub(super) fn pods(&self) -> impl Iterator<Item = Option<&Arc<str>>> {
        self.entries.iter().map(|entry| entry.pod.as_ref())
    }

    /// The entries about a pod: those that name it, and those that name nobody and have its address.
    pub(super) fn about<'a>(
        &'a self,
        key: &'a PodKey,
        pod: &'a Pod,
    ) -> impl Iterator<Item = Endpoint> + 'a {
        let is_about = |entry: &&Entry| match &entry.pod {
            Some(name) => **name == *key.name,
            None => entry.address.is_some_and(|address| pod.addresses.contains(&address)),
        };
        self.entries.iter().filter(is_about).map(|entry| Endpoint {
            service: Arc::clone(&self.service),
            ready: entry.ready,
            serving: entry.serving,
            terminating: entry.terminating,
            address: entry.address,
        })
    }

    /// Whether an endpoint besides the pod's takes traffic.
    pub(super) fn has_ready_besides(&self, key: &PodKey) -> bool {
        self.entries.iter().any(|entry| {
            entry.ready && !entry.terminating && entry.pod.as_deref() != Some(&*key.name)
        })
    }

    /// `namespace/name` of its Service.
    pub(super) fn service(&self) -> &str {
        &self.service
    }
}

impl Entry {
    fn new(endpoint: &slim::Endpoint, interner: &mut Interner) -> Self {
        let ready = endpoint.conditions.ready.unwrap_or(true);
        let target = endpoint.target_ref.as_ref().filter(|target| target.kind == "Pod");
        Self {
            pod: target.map(|target| interner.get(&target.name)),
            address: endpoint.addresses.first().and_then(|text| text.parse().ok()),
            ready,
            serving: endpoint.conditions.serving.unwrap_or(ready),
            terminating: endpoint.conditions.terminating.unwrap_or(false),
        }
    }
}

/// Slices that were just read from storage.
#[derive(Debug, Default)]
pub struct FreshSlices {
    slices: Vec<Slice>,
    interner: Interner,
}

impl FreshSlices {
    /// Adds one.
    pub fn add(&mut self, slice: &slim::EndpointSlice) {
        self.slices.push(Slice::new(slice, &mut self.interner));
    }

    /// The entries about a pod.
    #[must_use]
    pub fn about(&self, key: &PodKey, pod: &Pod) -> Vec<Endpoint> {
        self.slices.iter().flat_map(|slice| slice.about(key, pod)).collect()
    }
}
