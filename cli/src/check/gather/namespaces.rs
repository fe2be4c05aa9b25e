//! Namespaces, and what is in them.

use std::collections::BTreeMap;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1;
use kube::api::{Api, DynamicObject, ListParams};
use kube::core::NamespaceResourceScope;
use kube::discovery::ApiResource;
use kube::{Client, Error, ResourceExt as _};
use lameduck_api::Upgrade;

use super::{CONCURRENCY, look};
use crate::check::facts::{self, Look, Namespace, Pod, Unseen, Workload};
use crate::check::read::{self, Rules};
use crate::common::cluster::{Cluster, ScopeArgs};
use crate::common::failure::Failure;
use crate::common::pages::pages;
use crate::common::policies::{self, Policies};

/// So many pods of a namespace are read one by one; more of them by a list.
const SINGLES_MAX: usize = 20;

/// What was seen in the namespaces.
pub(super) struct Seen {
    pub(super) policies: Look<Policies>,
    pub(super) namespaces: Look<Vec<Namespace>>,
    pub(super) workloads: Look<Vec<Workload>>,
    pub(super) pods: Look<Vec<Pod>>,
    pub(super) upgrades: Look<Vec<facts::Upgrade>>,
}

/// Which objects are looked at.
struct Scope<'a> {
    client: &'a Client,
    /// The one namespace; none: all.
    namespace: Option<&'a str>,
    params: ListParams,
}

impl Scope<'_> {
    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        match self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }

    fn untyped<K>(&self) -> Api<DynamicObject>
    where
        K: kube::Resource<DynamicType = ()>,
    {
        let kind = ApiResource::erase::<K>(&());
        match self.namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &kind),
            None => Api::all_with(self.client.clone(), &kind),
        }
    }
}

/// Looks at the policies, and at what is in the namespaces.
pub(super) async fn namespaces(cluster: &Cluster, args: &ScopeArgs) -> Result<Seen, Failure> {
    let params = match &args.selector {
        Some(selector) => ListParams::default().labels(selector),
        None => ListParams::default(),
    };
    let namespace = (!args.all_namespaces).then_some(cluster.namespace.as_str());
    let scope = Scope { client: &cluster.client, namespace, params };

    let policies = policies::read(&cluster.client).await;
    let policies = look("policies cannot be listed", policies)?;
    let namespaces = labels(&scope).await?;
    let (none, nobody) = (Policies::default(), Vec::new());
    let of_namespaces: BTreeMap<String, Option<String>> = namespaces
        .as_ref()
        .unwrap_or(&nobody)
        .iter()
        .map(|one| (one.name.clone(), one.policy.clone()))
        .collect();
    let rules = Rules { policies: policies.as_ref().unwrap_or(&none), namespaces: &of_namespaces };
    let (workloads, paused) = workloads(&scope, rules).await?;
    let upgrades = upgrades(&scope, &workloads, paused, args.selector.is_some()).await?;
    let pods = pods(&scope, rules).await?;
    Ok(Seen { policies, namespaces, workloads, pods, upgrades })
}

async fn labels(scope: &Scope<'_>) -> Result<Look<Vec<Namespace>>, Failure> {
    let api: Api<v1::Namespace> = Api::all(scope.client.clone());
    let Some(name) = scope.namespace else {
        let answer = pages(
            ListParams::default(),
            async |page| api.list_metadata(&page).await,
            |object| read::namespace(&object.metadata),
        )
        .await;
        return look("namespaces cannot be listed", answer);
    };
    let answer = api.get_metadata_opt(name).await;
    match look(&format!("the namespace {name} cannot be read"), answer)? {
        Ok(Some(object)) => Ok(Ok(vec![read::namespace(&object.metadata)])),
        Ok(None) => Err(Failure::refused(format!("there is no namespace {name}"))
            .cure("name another one with -n, or look at all with -A")),
        Err(unseen) => Ok(Err(unseen)),
    }
}

/// Workloads, and the StatefulSets among them whose upgrades are stopped by an annotation.
async fn workloads(
    scope: &Scope<'_>,
    rules: Rules<'_>,
) -> Result<(Look<Vec<Workload>>, Vec<(String, String)>), Failure> {
    let mut all = Vec::new();
    let mut paused = Vec::new();
    for (kind, api) in [
        ("deployment", scope.untyped::<Deployment>()),
        ("statefulset", scope.untyped::<StatefulSet>()),
    ] {
        let answer = pages(
            scope.params.clone(),
            async |page| api.list(&page).await,
            |object| {
                let stopped = (kind == "statefulset" && read::is_paused(&object))
                    .then(|| (object.namespace().unwrap_or_default(), object.name_any()));
                (read::workload(kind, &object, rules), stopped)
            },
        )
        .await;
        match look(&format!("{kind}s cannot be listed"), answer)? {
            Ok(seen) => {
                for (workload, stopped) in seen {
                    match workload {
                        Ok(workload) => all.push(workload),
                        Err(why) => return Ok((Err(Unseen::Because(why)), paused)),
                    }
                    paused.extend(stopped);
                }
            }
            Err(unseen) => return Ok((Err(unseen), paused)),
        }
    }
    Ok((Ok(all), paused))
}

async fn upgrades(
    scope: &Scope<'_>,
    workloads: &Look<Vec<Workload>>,
    paused: Vec<(String, String)>,
    is_selection: bool,
) -> Result<Look<Vec<facts::Upgrade>>, Failure> {
    let api = scope.api::<Upgrade>();
    // Upgrades carry no labels of their own: a selector is about their StatefulSets.
    let answer =
        pages(ListParams::default(), async |page| api.list(&page).await, |one| read::upgrade(&one))
            .await;
    let mut seen = match look("upgrades cannot be listed", answer)? {
        Ok(seen) => seen,
        Err(unseen) => return Ok(Err(unseen)),
    };
    if is_selection {
        let sets: Vec<&Workload> = workloads.iter().flatten().collect();
        seen.retain(|upgrade| {
            sets.iter().any(|set| set.name == upgrade.name && set.namespace == upgrade.namespace)
        });
    }
    for (namespace, name) in paused {
        match seen.iter_mut().find(|one| one.namespace == namespace && one.name == name) {
            Some(upgrade) => upgrade.is_annotated = true,
            None => seen.push(facts::Upgrade {
                namespace,
                name,
                phase: None,
                message: String::new(),
                is_paused: false,
                is_annotated: true,
            }),
        }
    }
    Ok(Ok(seen))
}

/// Pods: their metadata, and the whole of those that something may be wrong with.
async fn pods(scope: &Scope<'_>, rules: Rules<'_>) -> Result<Look<Vec<Pod>>, Failure> {
    let api = scope.api::<v1::Pod>();
    let answer = pages(
        scope.params.clone(),
        async |page| api.list_metadata(&page).await,
        |object| (read::pod(&object.metadata), read::needs_details(&object.metadata, rules)),
    )
    .await;
    let seen = match look("pods cannot be listed", answer)? {
        Ok(seen) => seen,
        Err(unseen) => return Ok(Err(unseen)),
    };
    let mut pods = Vec::new();
    let mut open: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (pod, needs_details) in seen {
        if needs_details {
            open.entry(pod.namespace).or_default().push(pod.name);
        } else {
            pods.push(pod);
        }
    }
    for (namespace, mut names) in open {
        names.sort_unstable();
        match look("pods cannot be read", details(scope, &namespace, names, rules).await)? {
            Ok(more) => pods.extend(more),
            Err(unseen) => return Ok(Err(unseen)),
        }
    }
    Ok(Ok(pods))
}

async fn details(
    scope: &Scope<'_>,
    namespace: &str,
    names: Vec<String>,
    rules: Rules<'_>,
) -> Result<Vec<Pod>, Error> {
    let api: Api<v1::Pod> = Api::namespaced(scope.client.clone(), namespace);
    if names.len() > SINGLES_MAX {
        let all = pages(
            scope.params.clone(),
            async |page| api.list(&page).await,
            |pod| read::details(&pod, rules),
        );
        let mut all = all.await?;
        all.retain(|pod| names.binary_search(&pod.name).is_ok());
        return Ok(all);
    }
    stream::iter(names)
        .map(async |name| Ok(api.get_opt(&name).await?.map(|pod| read::details(&pod, rules))))
        .buffered(CONCURRENCY)
        .try_filter_map(async |pod| Ok(pod))
        .try_collect()
        .await
}
