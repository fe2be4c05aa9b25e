//! Reads what an explanation is made from. What is not essential may be missing, and is said to be.

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::{Api, ListParams};
use kube::core::Selector;
use kube::{Error, ResourceExt as _};
use lameduck_api::Upgrade;
use lameduck_api::names::POLICY_LABEL;
use serde::de::DeserializeOwned;

use super::facts::{Facts, Subject};
use crate::common::cluster::Cluster;
use crate::common::failure::Failure;
use crate::common::pages::pages;
use crate::common::policies;
use crate::common::replicas::replicas;
use crate::common::target::{Kind, Target};
use crate::status::facts::{Owner, owner};

/// Reads everything about `target`.
///
/// # Errors
/// The object cannot be read.
pub(super) async fn gather(target: &Target, cluster: &Cluster) -> Result<Facts, Failure> {
    let desk = Desk { cluster };
    let subject = desk.subject(target).await?;
    let mut notes = Vec::new();
    let set = match &subject {
        Subject::StatefulSet(..) => Some(target.name.clone()),
        Subject::Pod(pod) => Some(owner(&pod.metadata))
            .filter(|owner| owner.kind == Kind::StatefulSet.as_str())
            .map(|owner| owner.name),
        Subject::Deployment(..) => None,
    };
    let upgrades: Api<Upgrade> = desk.api();
    let services: Api<Service> = desk.api();
    let ingresses: Api<Ingress> = desk.api();
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let upgrade = async {
        match &set {
            Some(name) => upgrades.get_opt(name).await,
            None => Ok(None),
        }
    };
    let (upgrade, services, ingresses, policies, namespace, replicas) = tokio::join!(
        upgrade,
        all(&services, ListParams::default()),
        all(&ingresses, ListParams::default()),
        policies::read(&cluster.client),
        namespaces.get_metadata(&cluster.namespace),
        replicas(&cluster.client),
    );
    let upgrade: Option<Upgrade> = or_note(upgrade, "the upgrade", &mut notes);
    let policies = or_note(policies.map(Some), "policies", &mut notes);
    let namespace = or_note(namespace.map(Some), "the namespace's label", &mut notes);
    let replicas = or_note(replicas.map(Some), "the controller", &mut notes);
    let states: Option<Vec<_>> = replicas
        .map(|replicas| replicas.into_iter().filter_map(|replica| replica.state.ok()).collect());
    let (known, unreadable) = policies.map(|all| (all.known, all.unreadable)).unzip();
    Ok(Facts {
        namespace: cluster.namespace.clone(),
        namespace_label: namespace.map(|namespace| namespace.labels().get(POLICY_LABEL).cloned()),
        policies: known,
        unreadable_policies: unreadable.unwrap_or_default(),
        services: or_note(services, "Services", &mut notes),
        ingresses: or_note(ingresses, "Ingresses", &mut notes),
        upgrade: upgrade.and_then(|upgrade| upgrade.status),
        leads: states
            .as_ref()
            .filter(|states| !states.is_empty())
            .map(|states| states.iter().any(|state| state.leads)),
        holds: states.into_iter().flatten().flat_map(|state| state.holds).collect(),
        subject,
        notes,
    })
}

fn or_note<T: Default>(read: Result<T, Error>, what: &str, notes: &mut Vec<String>) -> T {
    read.unwrap_or_else(|error| {
        let failure = Failure::of_call(&format!("{what} cannot be read"), &error);
        notes.push(failure.message);
        T::default()
    })
}

/// Whether the workload made the pod.
fn is_of(pod: &Pod, target: &Target) -> bool {
    let Owner { kind, name } = owner(&pod.metadata);
    kind == target.kind.as_str() && name == target.name
}

/// Everything of a list, without what only the API server needs.
async fn all<K>(api: &Api<K>, params: ListParams) -> Result<Vec<K>, Error>
where
    K: kube::Resource + Clone + DeserializeOwned + std::fmt::Debug,
{
    let list = async |page| api.list(&page).await;
    pages(params, list, |mut object| {
        object.managed_fields_mut().clear();
        object
    })
    .await
}

struct Desk<'a> {
    cluster: &'a Cluster,
}

impl Desk<'_> {
    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.cluster.client.clone(), &self.cluster.namespace)
    }

    async fn subject(&self, target: &Target) -> Result<Subject, Failure> {
        Ok(match target.kind {
            Kind::Pod => Subject::Pod(Box::new(self.get::<Pod>(target).await?)),
            Kind::StatefulSet => {
                let set: StatefulSet = self.get(target).await?;
                let selector = set.spec.as_ref().map(|spec| &spec.selector);
                let mut pods = self.pods(target, selector).await?;
                pods.retain(|pod| is_of(pod, target));
                Subject::StatefulSet(Box::new(set), pods)
            }
            Kind::Deployment => {
                let deployment: Deployment = self.get(target).await?;
                let selector = deployment.spec.as_ref().map(|spec| &spec.selector);
                let mut pods = self.pods(target, selector).await?;
                pods.retain(|pod| is_of(pod, target));
                Subject::Deployment(Box::new(deployment), pods)
            }
        })
    }

    async fn get<K>(&self, target: &Target) -> Result<K, Failure>
    where
        K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
    {
        let name = format!("{target} in namespace {}", self.cluster.namespace);
        let found = self.api::<K>().get_opt(&target.name).await;
        found
            .map_err(|error| Failure::of_call(&format!("{name} cannot be read"), &error))?
            .ok_or_else(|| Failure::refused(format!("there is no {name}")))
    }

    async fn pods(
        &self,
        target: &Target,
        selector: Option<&LabelSelector>,
    ) -> Result<Vec<Pod>, Failure> {
        let selector = selector.cloned().unwrap_or_default();
        let selector: Selector = selector.try_into().map_err(|error| {
            Failure::refused(format!("the selector of {target} cannot be read: {error}"))
        })?;
        all(&self.api(), ListParams::default().labels_from(&selector)).await.map_err(|error| {
            Failure::of_call(&format!("the pods of {target} cannot be listed"), &error)
        })
    }
}
