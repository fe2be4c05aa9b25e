//! What is there once in a cluster.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::coordination::v1;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::api::{Api, ListParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Client, Error, ResourceExt as _};
use lameduck_api::names::{ANNOTATION_INJECTED, POLICY_LABEL, SYSTEM_NAMESPACE};
use lameduck_api::state::{CLB_ACCESS_PATH, ClbAccess};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::{CONCURRENCY, look};
use crate::check::facts::{Installation, Lease, Look, Replica, Tke, Trial, Unseen};
use crate::check::findings::installation::no_leader;
use crate::check::{read, rights};
use crate::common::failure::{Failure, is_missing_kind};
use crate::common::replicas;

const GROUP_VERSION: &str = "lameduck.dev/v1alpha1";
const KINDS: [&str; 2] = ["terminationpolicies", "upgrades"];
/// Where a leader has just gone, another one follows within the pause of its looks (2 s).
const SECOND_LOOK: Duration = Duration::from_secs(5);

/// The API server's version: major, minor and the whole.
pub(super) async fn server(client: &Client) -> Result<Look<(u32, u32, String)>, Failure> {
    let what = "the cluster cannot be asked for its version";
    Ok(look(what, client.apiserver_version().await)?.map(|version| {
        // Some clouds write `33+`.
        let number = |text: &str| {
            let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
            digits.parse().unwrap_or(u32::MAX)
        };
        (number(&version.major), number(&version.minor), version.git_version)
    }))
}

/// All but the API server's version.
pub(super) async fn installation(client: &Client) -> Result<Installation, Failure> {
    let replicas = replicas(client).await?;
    let reads_clb = replicas
        .iter()
        .flatten()
        .any(|replica| replica.state.as_ref().is_ok_and(|state| state.reads_clb));
    Ok(Installation {
        server: Err(Unseen::NoSuchKind),
        missing_kinds: missing_kinds(client).await?,
        components: components(client).await?,
        hooks: hooks(client).await?,
        certificate: certificate(client).await?,
        trial: trial(client).await?,
        pod_trial: pod_trial(client).await?,
        lease: lease(client).await?,
        missing_rights: missing_rights(client, reads_clb).await?,
        clb: clb(client, &replicas, reads_clb).await,
        tke: tke(client).await?,
        replicas,
    })
}

fn system<K>(client: &Client) -> Api<K>
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope>,
    K::DynamicType: Default,
{
    Api::namespaced(client.clone(), SYSTEM_NAMESPACE)
}

async fn missing_kinds(client: &Client) -> Result<Look<Vec<String>>, Failure> {
    let served = match client.list_api_group_resources(GROUP_VERSION).await {
        Ok(list) => Ok(list.resources.into_iter().map(|kind| kind.name).collect()),
        // Nobody serves the group at all.
        Err(Error::Api(status)) if is_missing_kind(&status) => Ok(Vec::new()),
        Err(error) => Err(error),
    };
    let missing = |served: Vec<String>| {
        let missing = KINDS.iter().filter(|kind| served.iter().all(|one| one != *kind));
        missing.map(|kind| (*kind).to_owned()).collect()
    };
    Ok(look("Lameduck's kinds cannot be listed", served)?.map(missing))
}

async fn components(client: &Client) -> Result<Look<Vec<crate::check::facts::Component>>, Failure> {
    let deployments = system::<Deployment>(client);
    let names = ListParams::default().labels(&format!(
        "app.kubernetes.io/name in ({},{})",
        rights::CONTROLLER,
        rights::WEBHOOK
    ));
    let answer = deployments.list(&names).await;
    Ok(look("Lameduck's Deployments cannot be listed", answer)?
        .map(|list| list.items.iter().map(read::component).collect()))
}

async fn hooks(client: &Client) -> Result<Look<Option<Vec<crate::check::facts::Hook>>>, Failure> {
    let configurations: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    let answer = configurations.get_opt("lameduck").await;
    Ok(look("the webhook configuration cannot be read", answer)?
        .map(|configuration| configuration.as_ref().map(read::hooks)))
}

async fn certificate(
    client: &Client,
) -> Result<Look<Option<crate::check::facts::Certificate>>, Failure> {
    let answer = system::<Secret>(client).get_opt(rights::WEBHOOK_TLS_SECRET).await;
    Ok(look("the webhook's certificate cannot be read", answer)?
        .map(|secret| secret.as_ref().map(read::certificate)))
}

/// Creates an enrolled StatefulSet without pods on trial. The hooks of workloads have the failurePolicy
/// `Fail`, so the API server says why it cannot call the webhook; a working webhook puts the policy's label
/// on the template, whatever the policy is, and whether it exists.
async fn trial(client: &Client) -> Result<Look<Trial>, Failure> {
    let name = "lameduck-check";
    let set = json!({
        "metadata": {"generateName": format!("{name}-"), "labels": {POLICY_LABEL: "default"}},
        "spec": {
            "replicas": 0,
            "serviceName": name,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{
                    "name": name, "image": name, "ports": [{"containerPort": 80}],
                }]},
            },
        },
    });
    let what = "a StatefulSet cannot be created on trial in the namespace default";
    tried(client, what, set, |made: StatefulSet| {
        let template = made.spec.and_then(|spec| spec.template.metadata).unwrap_or_default();
        template.labels.is_some_and(|labels| labels.contains_key(POLICY_LABEL))
    })
    .await
}

/// Creates an enrolled pod on trial. The hooks of pods have the failurePolicy `Ignore`: a pod that nobody was
/// asked about comes back as it went. It is as the strictest level of Pod Security wants it.
async fn pod_trial(client: &Client) -> Result<Look<Trial>, Failure> {
    let name = "lameduck-check";
    let pod = json!({
        "metadata": {"generateName": format!("{name}-"), "labels": {POLICY_LABEL: "default"}},
        "spec": {
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": name,
                "image": name,
                "ports": [{"containerPort": 80}],
                "securityContext": {
                    "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
                },
            }],
        },
    });
    let what = "a pod cannot be created on trial in the namespace default";
    tried(client, what, pod, |made: Pod| made.annotations().contains_key(ANNOTATION_INJECTED)).await
}

/// What becomes of an object that is created on trial (`dryRun`) in the namespace `default`.
async fn tried<K>(
    client: &Client,
    what: &str,
    object: serde_json::Value,
    is_changed: impl FnOnce(K) -> bool,
) -> Result<Look<Trial>, Failure>
where
    K: kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned,
{
    let object: K =
        serde_json::from_value(object).map_err(|error| Failure::refused(error.to_string()))?;
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let api: Api<K> = Api::namespaced(client.clone(), "default");
    let answer = match api.create(&dry_run, &object).await {
        Ok(made) => Ok(if is_changed(made) { Trial::Changed } else { Trial::Unchanged }),
        // `failed calling webhook "labelled-workloads.lameduck.dev": …`
        Err(Error::Api(status))
            if status.message.contains("webhook") && status.message.contains(".lameduck.dev\"") =>
        {
            Ok(Trial::Uncalled(status.message.clone()))
        }
        // Others have a say too (quotas, Pod Security, other webhooks), which is no failure of the cluster.
        Err(Error::Api(status)) if status.code != 401 => {
            return Ok(Err(Unseen::Because(format!("{what}: {}", status.message))));
        }
        Err(error) => Err(error),
    };
    look(what, answer)
}

async fn lease(client: &Client) -> Result<Look<Option<Lease>>, Failure> {
    let leases = system::<v1::Lease>(client);
    let read = async || {
        let answer = leases.get_opt(rights::CONTROLLER).await;
        look("the controllers' Lease cannot be read", answer)
            .map(|look| look.map(|lease| lease.as_ref().map(read::lease)))
    };
    let first = read().await?;
    match &first {
        Ok(lease) if no_leader(lease.as_ref(), Timestamp::now()).is_some() => {
            tokio::time::sleep(SECOND_LOOK).await;
            read().await
        }
        _ => Ok(first),
    }
}

async fn replicas(client: &Client) -> Result<Look<Vec<Replica>>, Failure> {
    let answer = replicas::replicas(client).await;
    let replicas = look("the controllers cannot be listed", answer)?;
    // Who starts or ends cannot be asked, and its Deployment says that.
    Ok(replicas.map(|replicas| {
        let able = replicas.into_iter().filter(|replica| is_ready(&replica.pod));
        able.map(|replica| Replica {
            pod: replica.pod.name_any(),
            state: replica.state.map_err(|failure| failure.message),
        })
        .collect()
    }))
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    pod.metadata.deletion_timestamp.is_none()
        && conditions.into_iter().flatten().any(|one| one.type_ == "Ready" && one.status == "True")
}

/// What an account may not do that it should, by account.
async fn missing_rights(
    client: &Client,
    reads_clb: bool,
) -> Result<Look<BTreeMap<String, Vec<String>>>, Failure> {
    let reviews: Api<SubjectAccessReview> = Api::all(client.clone());
    let ask = async |right: rights::Right| {
        let review = reviews.create(&PostParams::default(), &right.review()).await?;
        Ok::<_, Error>((right, review.status.is_some_and(|status| status.allowed)))
    };
    let asked: Result<Vec<(rights::Right, bool)>, Error> =
        stream::iter(rights::rights(reads_clb)).map(ask).buffered(CONCURRENCY).try_collect().await;
    let asked =
        look("the API server cannot be asked for the rights of Lameduck's accounts", asked)?;
    Ok(asked.map(|asked| {
        let mut missing: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (right, _) in asked.into_iter().filter(|(_, allowed)| !allowed) {
            missing.entry(right.account.to_owned()).or_default().push(right.to_string());
        }
        missing
    }))
}

/// What the leader says of the CLB API.
async fn clb(
    client: &Client,
    replicas: &Look<Vec<Replica>>,
    reads_clb: bool,
) -> Look<Option<ClbAccess>> {
    let replicas = replicas.as_ref().map_err(Clone::clone)?;
    let states = || replicas.iter().map(|replica| (&replica.pod, &replica.state));
    if !reads_clb {
        // A replica that does not say may read them.
        return match states().find_map(|(_, state)| state.as_ref().err()) {
            Some(why) => Err(Unseen::Because(why.clone())),
            None => Ok(None),
        };
    }
    let leads = |(_, state): &(&String, &Result<lameduck_api::state::ReplicaState, String>)| {
        state.as_ref().is_ok_and(|state| state.leads)
    };
    // Any of them has the keys; the one that reads knows best.
    let Some((pod, _)) = states().find(leads).or_else(|| states().next()) else {
        return Ok(None);
    };
    match replicas::ask(client, pod, CLB_ACCESS_PATH).await {
        Ok(access) => Ok(Some(access)),
        Err(failure) => Err(Unseen::Because(failure.message)),
    }
}

async fn tke(client: &Client) -> Result<Look<Tke>, Failure> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "kube-system");
    let version = async |name: &str| {
        let map = maps.get_opt(name).await?;
        Ok::<_, Error>(map.and_then(|map| map.data?.remove("VERSION")))
    };
    let both = async {
        Ok(Tke {
            service_controller: version("tke-service-controller-config").await?,
            ingress_controller: version("tke-ingress-controller-config").await?,
        })
    };
    look("the versions of TKE's controllers cannot be read", both.await)
}
