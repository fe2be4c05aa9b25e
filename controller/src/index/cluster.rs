//! What the index knows besides pods: Services, Ingresses, EndpointSlices, namespaces, nodes, policies.

use std::sync::Arc;

use lameduck_core::names::POLICY_LABEL;
use lameduck_core::policy::Policy;

use super::endpoints::Slice;
use super::{Carrier, Index, Ingress, Namespace, Node, Selector, Service, remove_nested};
use crate::slim::{self, Meta};

impl Index {
    /// Adds or changes a Service.
    pub fn apply_service(&mut self, service: &slim::Service) {
        let namespace = self.interner.get(&service.metadata.namespace);
        let name = self.interner.get(&service.metadata.name);
        // An ExternalName Service selects nothing, whatever stands in its selector.
        let selector: Selector = if service.spec.type_ == "ExternalName" {
            Box::default()
        } else {
            let selector = &service.spec.selector;
            selector.iter().map(|(k, v)| (self.interner.get(k), self.interner.get(v))).collect()
        };
        let known = &service.metadata.annotations;
        let load_balancer = known.load_balancer.as_ref();
        let load_balancer = load_balancer.filter(|_| service.spec.type_ == "LoadBalancer");
        let load_balancer = self.carrier(load_balancer, known.direct_access.as_ref());
        self.touch_namespace(&namespace);
        let service = Service { selector, load_balancer };
        self.services.entry(namespace).or_default().insert(name, service);
    }

    /// Removes a Service.
    pub fn delete_service(&mut self, namespace: &str, name: &str) {
        remove_nested(&mut self.services, namespace, name);
        self.touch_namespace(namespace);
    }

    /// Adds or changes an Ingress. Those without a CLB are not kept.
    pub fn apply_ingress(&mut self, ingress: &slim::Ingress) {
        let Meta { namespace, name, annotations: known, .. } = &ingress.metadata;
        self.delete_ingress(namespace, name);
        let carrier = self
            .carrier(known.ingress_load_balancer.as_ref(), known.ingress_direct_access.as_ref());
        let Some(load_balancer) = carrier else { return };
        let services = ingress.spec.services().map(|name| self.interner.get(name)).collect();
        let (namespace, name) = (self.interner.get(namespace), self.interner.get(name));
        let ingress = Ingress { services, load_balancer };
        self.ingresses.entry(namespace).or_default().insert(name, ingress);
    }

    /// Removes an Ingress.
    pub fn delete_ingress(&mut self, namespace: &str, name: &str) {
        remove_nested(&mut self.ingresses, namespace, name);
        self.touch_namespace(namespace);
    }

    fn carrier(&mut self, id: Option<&String>, direct_access: Option<&String>) -> Option<Carrier> {
        let id = id.filter(|id| !id.is_empty())?;
        let direct = direct_access.is_some_and(|value| value == "true");
        Some(Carrier { id: self.interner.get(id), direct })
    }

    /// Adds or changes an EndpointSlice.
    pub fn apply_slice(&mut self, slice: &slim::EndpointSlice) {
        let namespace = self.interner.get(&slice.metadata.namespace);
        let name = self.interner.get(&slice.metadata.name);
        let slice = Slice::new(slice, &mut self.interner);
        self.touch_slice(&namespace, &slice);
        let slices = self.slices.entry(Arc::clone(&namespace)).or_default();
        if let Some(former) = slices.insert(name, slice) {
            self.touch_slice(&namespace, &former);
        }
    }

    /// Removes an EndpointSlice.
    pub fn delete_slice(&mut self, namespace: &str, name: &str) {
        if let Some(former) = remove_nested(&mut self.slices, namespace, name) {
            self.touch_slice(namespace, &former);
        }
    }

    /// Adds or changes a namespace.
    pub fn apply_namespace(&mut self, namespace: &slim::Namespace) {
        let name = self.interner.get(&namespace.metadata.name);
        let policy = namespace.metadata.labels.get(POLICY_LABEL);
        let policy = policy.map(|value| self.interner.get(value));
        let terminating = namespace.metadata.deletion_timestamp.is_some();
        self.namespaces.insert(name, Namespace { policy, terminating });
    }

    /// Removes a namespace.
    pub fn delete_namespace(&mut self, name: &str) {
        self.namespaces.remove(name);
    }

    /// A namespace.
    #[must_use]
    pub fn namespace(&self, name: &str) -> Option<&Namespace> {
        self.namespaces.get(name)
    }

    /// Every namespace.
    pub fn namespaces(&self) -> impl Iterator<Item = (&Arc<str>, &Namespace)> {
        self.namespaces.iter()
    }

    /// Adds or changes a node.
    pub fn apply_node(&mut self, node: &slim::Node) {
        let holds = |types: &[&str]| {
            let mut conditions = node.status.conditions.iter();
            conditions.any(|found| types.contains(&found.type_.as_str()) && found.status == "True")
        };
        let state = Node {
            ready: holds(&["Ready"]),
            under_pressure: holds(&["MemoryPressure", "DiskPressure", "PIDPressure"]),
        };
        let name = self.interner.get(&node.metadata.name);
        if self.nodes.insert(Arc::clone(&name), state) != Some(state) {
            self.touch_node(&name);
        }
    }

    /// Removes a node.
    pub fn delete_node(&mut self, name: &str) {
        self.nodes.remove(name);
        self.touch_node(name);
    }

    /// Adds or changes a policy.
    pub fn apply_policy(&mut self, name: &str, policy: Policy) {
        let name = self.interner.get(name);
        self.policies.insert(name, Arc::new(policy));
        self.touch_all();
    }

    /// Removes a policy. Pods that were injected by it end by the default one.
    pub fn delete_policy(&mut self, name: &str) {
        self.policies.remove(name);
        self.touch_all();
    }

    /// A policy.
    #[must_use]
    pub fn policy(&self, name: &str) -> Option<&Arc<Policy>> {
        self.policies.get(name)
    }

    /// Every policy.
    pub fn policies(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<Policy>)> {
        self.policies.iter()
    }
}
