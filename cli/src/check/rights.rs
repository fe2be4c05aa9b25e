//! What the installation ships: the rights of its accounts and the entries of its webhook configuration,
//! read from the manifests themselves, so that the check cannot drift from them.

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use k8s_openapi::api::rbac::v1::PolicyRule;
use kube::core::ObjectMeta;
use lameduck_api::names::SYSTEM_NAMESPACE;
use serde::Deserialize;

/// Account of the controller.
pub const CONTROLLER: &str = "lameduck-controller";
/// Account of the webhook.
pub const WEBHOOK: &str = "lameduck-webhook";
/// Secret with the certificate that the webhook serves.
pub const WEBHOOK_TLS_SECRET: &str = "lameduck-webhook-tls";

const CONTROLLER_RBAC: &str = include_str!("../../../manifests/base/controller-rbac.yaml");
const CLB_RBAC: &str = include_str!("../../../manifests/components/tencent-clb/rbac.yaml");
const WEBHOOK_RBAC: &str = include_str!("../../../manifests/base/webhook-rbac.yaml");
const HOOKS: &str = include_str!("../../../manifests/base/webhook-configuration.yaml");

/// One thing that an account may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Right {
    /// The account.
    pub account: &'static str,
    /// The namespace that it is for; none: all of them.
    pub namespace: Option<String>,
    /// API group; empty: the core.
    pub group: String,
    /// Kind, as a plural, with its subresource: `pods/status`.
    pub resource: String,
    /// The one object that it is for; none: every one.
    pub name: Option<String>,
    /// The verb.
    pub verb: String,
}

impl std::fmt::Display for Right {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} {}", self.verb, self.resource)?;
        if !self.group.is_empty() {
            write!(out, ".{}", self.group)?;
        }
        if let Some(name) = &self.name {
            write!(out, " {name}")?;
        }
        self.namespace.iter().try_for_each(|namespace| write!(out, " in {namespace}"))
    }
}

impl Right {
    /// The question to the API server whether the account has it.
    #[must_use]
    pub fn review(&self) -> SubjectAccessReview {
        let (resource, subresource) = match self.resource.split_once('/') {
            Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
            None => (self.resource.as_str(), None),
        };
        SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(format!("system:serviceaccount:{SYSTEM_NAMESPACE}:{}", self.account)),
                // As the account's own requests come: rights may be bound to its groups.
                groups: Some(vec![
                    "system:serviceaccounts".to_owned(),
                    format!("system:serviceaccounts:{SYSTEM_NAMESPACE}"),
                    "system:authenticated".to_owned(),
                ]),
                resource_attributes: Some(ResourceAttributes {
                    group: Some(self.group.clone()),
                    resource: Some(resource.to_owned()),
                    subresource,
                    name: self.name.clone(),
                    namespace: self.namespace.clone(),
                    verb: Some(self.verb.clone()),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        }
    }
}

#[derive(Deserialize)]
struct Document {
    kind: String,
    #[serde(default)]
    metadata: ObjectMeta,
    #[serde(default)]
    rules: Vec<PolicyRule>,
    #[serde(default)]
    webhooks: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

/// The documents of one of our own manifests; a test reads each of them.
fn documents(text: &str) -> Vec<Document> {
    serde_saphyr::from_multiple(text).unwrap_or_default()
}

/// Every right that the accounts of the installation have; those for CLB where it is read.
#[must_use]
pub fn rights(reads_clb: bool) -> Vec<Right> {
    let mut rights = Vec::new();
    for (account, text) in
        [(CONTROLLER, CONTROLLER_RBAC), (CONTROLLER, CLB_RBAC), (WEBHOOK, WEBHOOK_RBAC)]
    {
        if text == CLB_RBAC && !reads_clb {
            continue;
        }
        let roles = documents(text)
            .into_iter()
            .filter(|document| matches!(document.kind.as_str(), "ClusterRole" | "Role"));
        for Document { metadata, rules, .. } in roles {
            for rule in rules {
                of_rule(account, metadata.namespace.as_deref(), &rule, &mut rights);
            }
        }
    }
    rights
}

fn of_rule(
    account: &'static str,
    namespace: Option<&str>,
    rule: &PolicyRule,
    rights: &mut Vec<Right>,
) {
    let names: Vec<Option<String>> = match rule.resource_names.as_deref() {
        None | Some([]) => vec![None],
        Some(names) => names.iter().cloned().map(Some).collect(),
    };
    for group in rule.api_groups.iter().flatten() {
        for resource in rule.resources.iter().flatten() {
            for name in &names {
                for verb in &rule.verbs {
                    rights.push(Right {
                        account,
                        namespace: namespace.map(str::to_owned),
                        group: group.clone(),
                        resource: resource.clone(),
                        name: name.clone(),
                        verb: verb.clone(),
                    });
                }
            }
        }
    }
}

/// Names of the entries of the webhook configuration.
#[must_use]
pub fn hooks() -> Vec<String> {
    documents(HOOKS).into_iter().flat_map(|all| all.webhooks).map(|hook| hook.name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_manifest_is_read() {
        for text in [CONTROLLER_RBAC, CLB_RBAC, WEBHOOK_RBAC, HOOKS] {
            let all: Vec<Document> = serde_saphyr::from_multiple(text).expect("a manifest of ours");
            assert!(!all.is_empty());
        }
        assert!(hooks().iter().any(|name| name == "pods.lameduck.dev"));
        assert!(hooks().len() >= 8);
    }

    #[test]
    fn rights_are_those_of_the_roles() {
        let told: Vec<String> =
            rights(false).iter().map(|right| format!("{}: {right}", right.account)).collect();
        for expected in [
            "lameduck-controller: patch pods/status",
            "lameduck-controller: get mutatingwebhookconfigurations.admissionregistration.k8s.io lameduck",
            "lameduck-controller: create leases.coordination.k8s.io in lameduck-system",
            "lameduck-webhook: watch secrets lameduck-webhook-tls in lameduck-system",
        ] {
            assert!(told.iter().any(|one| one == expected), "{expected} in {told:#?}");
        }
        assert!(!told.iter().any(|one| one.contains("ingresses")));
        assert!(rights(true).iter().any(|right| right.resource == "ingresses"));
    }

    #[test]
    fn a_subresource_is_asked_for_as_one() {
        let right = Right {
            account: CONTROLLER,
            namespace: None,
            group: String::new(),
            resource: "pods/status".to_owned(),
            name: None,
            verb: "patch".to_owned(),
        };
        let asked = right.review().spec.resource_attributes.expect("of a resource");
        assert_eq!(asked.resource.as_deref(), Some("pods"));
        assert_eq!(asked.subresource.as_deref(), Some("status"));
    }
}
