//! Who sends to pods with these labels: Services, Ingresses that lead to them, and their CLBs. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::Ingress;
use kube::ResourceExt as _;

use super::document::Sender;
use super::facts::Facts;

/// Written by TKE, as `controller/src/slim` reads them.
const SERVICE_CLB: &str = "service.kubernetes.io/loadbalance-id";
const SERVICE_DIRECT: &str = "service.cloud.tencent.com/direct-access";
const INGRESS_CLB: &str = "kubernetes.io/ingress.qcloud-loadbalance-id";
const INGRESS_DIRECT: &str = "ingress.cloud.tencent.com/direct-access";

pub(super) fn senders(facts: &Facts, labels: &BTreeMap<String, String>) -> Vec<Sender> {
    let mut all = Vec::new();
    for service in facts.services.iter().filter(|service| selects(service, labels)) {
        let name = service.name_any();
        let leads_here = |ingress: &&Ingress| backends(ingress).any(|backend| backend == name);
        let of_ingresses = facts.ingresses.iter().filter(leads_here).map(|ingress| Sender {
            service: name.clone(),
            ingress: Some(ingress.name_any()),
            load_balancer: ingress.annotations().get(INGRESS_CLB).cloned(),
            direct_access: is_true(ingress.annotations(), INGRESS_DIRECT),
        });
        all.push(Sender {
            service: name.clone(),
            ingress: None,
            load_balancer: service.annotations().get(SERVICE_CLB).cloned(),
            direct_access: is_true(service.annotations(), SERVICE_DIRECT),
        });
        all.extend(of_ingresses);
    }
    all
}

fn selects(service: &Service, labels: &BTreeMap<String, String>) -> bool {
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector.is_some_and(|selector| {
        !selector.is_empty() && selector.iter().all(|(key, value)| labels.get(key) == Some(value))
    })
}

fn is_true(annotations: &BTreeMap<String, String>, name: &str) -> bool {
    annotations.get(name).is_some_and(|value| value == "true")
}

/// The Services that an Ingress leads to.
fn backends(ingress: &Ingress) -> impl Iterator<Item = &str> {
    let spec = ingress.spec.as_ref();
    let rules = spec.and_then(|spec| spec.rules.as_deref()).unwrap_or_default();
    let paths = rules.iter().filter_map(|rule| rule.http.as_ref()).flat_map(|http| &http.paths);
    let default = spec.and_then(|spec| spec.default_backend.as_ref());
    paths
        .map(|path| &path.backend)
        .chain(default)
        .filter_map(|backend| Some(&*backend.service.as_ref()?.name))
}
