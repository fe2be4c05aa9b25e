//! One side of a scenario: a namespace with an ordinary workload behind its own port of the load
//! balancer.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client, ResourceExt};
use lameduck_api::names::{ANNOTATION_INJECTED, POLICY_LABEL};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::front::{Front, Standing, stand_clbs};
use super::pods::PodLog;
use super::stage::Stage;
use crate::lb;
use crate::lb::stand_in::StandIn;

/// Name of the workload and of its Service in every example manifest.
pub(crate) const WORKLOAD: &str = "web";
/// How long the pods may take to be ready, and the load balancer to know them.
const READY_LIMIT: Duration = Duration::from_secs(120);
/// How long the webhook may take to answer after the installation.
const INJECTION_LIMIT: Duration = Duration::from_secs(60);
/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(300);

/// The kind of a side's workload.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Deployment,
    StatefulSet,
}

/// A side, ready to be loaded.
pub(crate) struct Side {
    pub(crate) protected: bool,
    pub(crate) namespace: String,
    /// What takes the load.
    pub(crate) balancer: lb::haproxy::Side,
    pub(crate) pods: PodLog,
    pub(crate) kind: Kind,
    /// What its StatefulSet was made with; none before that is known, and for a Deployment.
    pub(crate) replicas: Option<i32>,
    pub(super) client: Client,
    /// Everything that sends to the pods.
    balancers: Vec<lb::haproxy::Side>,
    standing: Standing,
}

/// What a side is made from.
#[derive(Clone, Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) protected: bool,
    pub(crate) namespace: String,
    /// The name and the `spec` of the TerminationPolicy; none for the unprotected side.
    pub(crate) policy: Option<(String, Value)>,
    /// Whether the namespace is enrolled only when its pods run already, so that they have no hold.
    pub(crate) old_pods: bool,
    pub(crate) extra_objects: &'a [String],
    pub(crate) kind: Kind,
    pub(crate) manifests: &'a [&'a str],
    pub(crate) front: Front,
}

impl Side {
    /// Makes the namespace and everything in it, and waits until the load balancer sends to every pod.
    pub(crate) async fn prepare(stage: &Stage<'_>, plan: Plan<'_>) -> Result<Self> {
        let Plan { protected, namespace, policy, old_pods, extra_objects, kind, manifests, front } =
            plan;
        let client = stage.client();
        let mut injects = false;
        if let Some((name, spec)) = &policy {
            injects = spec["mode"].as_str().is_none_or(|mode| mode == "Enforce");
            apply_policy(stage, name, spec).await?;
        }
        let enrolment = policy.as_ref().map(|(name, _)| name.as_str());
        apply_namespace(stage, &namespace, enrolment.filter(|_| !old_pods)).await?;
        if injects && !old_pods {
            wait_for_injection(&client, &namespace).await?;
        }
        for object in extra_objects {
            stage.cluster().apply(Some(&namespace), object).await?;
        }
        for manifest in manifests {
            stage.cluster().apply(Some(&namespace), manifest).await?;
        }
        let pods = PodLog::start(client.clone(), &namespace);
        let (balancers, standing) = match front {
            Front::Guessed => {
                let (side, lag) = (stage.side()?, stage.lag());
                let follows =
                    StandIn::start(client.clone(), side.clone(), &namespace, WORKLOAD, lag);
                (vec![side], Standing::Guessed(follows.await?))
            }
            Front::Clb(carriers) => {
                let (sides, ids) = stand_clbs(stage, &namespace, carriers).await?;
                (sides, Standing::Clb(ids))
            }
        };
        let balancer = balancers.last().cloned().context("nothing stands in front of the pods")?;
        let replicas = None;
        let mut side = Self {
            protected,
            namespace,
            balancer,
            pods,
            kind,
            replicas,
            client,
            balancers,
            standing,
        };
        side.wait_until_served().await?;
        if kind == Kind::StatefulSet {
            let set: StatefulSet = side.api().get(WORKLOAD).await?;
            side.replicas = set.spec.and_then(|spec| spec.replicas);
        }
        let injected = side.pods.records().iter().filter(|record| record.is_injected()).count();
        if old_pods {
            ensure!(
                injected == 0,
                "pods of {} have a hold, and should be old ones",
                side.namespace
            );
            apply_namespace(stage, &side.namespace, enrolment).await?;
            if injects {
                wait_for_injection(&side.client, &side.namespace).await?;
            }
        } else if injects && injected < side.pods.records().len() {
            bail!("pods of {} were started without Lameduck's injection", side.namespace);
        }
        Ok(side)
    }

    async fn wait_until_served(&self) -> Result<()> {
        let end = Instant::now() + READY_LIMIT;
        loop {
            let missing = self.unsettled().await?;
            let mut serving = usize::MAX;
            for balancer in &self.balancers {
                let servers = balancer.servers().await?;
                let servers = servers.iter();
                let serve = servers.filter(|server| server.weight > 0 && !server.maintenance);
                serving = serving.min(serve.count());
            }
            let pods = self.pods.records().len();
            if missing.is_none() && serving > 0 && serving == pods {
                return Ok(());
            }
            if Instant::now() >= end {
                bail!(
                    "the pods of {} are not served {} s after they were made: {pods} pods, {serving} \
                     with the load balancer{}",
                    self.namespace,
                    READY_LIMIT.as_secs(),
                    missing.map(|missing| format!("; {missing}")).unwrap_or_default()
                );
            }
            sleep(PAUSE).await;
        }
    }

    /// Its pods.
    pub(crate) async fn list(&self) -> Result<Vec<Pod>> {
        let api: Api<Pod> = self.api();
        let list = api.list(&ListParams::default()).await;
        Ok(list.with_context(|| format!("the pods of {} cannot be listed", self.namespace))?.items)
    }

    /// Its objects of one kind.
    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The pod of the workload that a scenario ends: `web-1` of a StatefulSet, else the first by name.
    pub(super) async fn victim(&self) -> Result<Pod> {
        let mut pods = self.list().await?;
        pods.sort_by_key(ResourceExt::name_any);
        let index = match self.kind {
            Kind::StatefulSet => 1,
            Kind::Deployment => 0,
        };
        pods.into_iter().nth(index).with_context(|| format!("{} has too few pods", self.namespace))
    }

    /// Deletes exactly `pod`, not a later one of its name; with `grace_seconds` if given.
    pub(crate) async fn delete(&self, pod: &Pod, grace_seconds: Option<u32>) -> Result<()> {
        let parameters = DeleteParams {
            grace_period_seconds: grace_seconds,
            preconditions: Some(Preconditions { uid: pod.uid(), resource_version: None }),
            ..DeleteParams::default()
        };
        match self.api::<Pod>().delete(&pod.name_any(), &parameters).await {
            Ok(_) => Ok(()),
            // Gone already, or its successor has the name.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(error) => Err(error).with_context(|| {
                format!("the pod {}/{} cannot be deleted", self.namespace, pod.name_any())
            }),
        }
    }

    /// What `kubectl rollout restart` does.
    pub(crate) async fn restart(&self) -> Result<()> {
        self.patch(json!({"spec": {"template": restarted()}})).await
    }

    /// What `kubectl set image` does, with an image and its pull policy; a template that never was before.
    pub(super) async fn set_image(&self, (image, pull): (&str, &str)) -> Result<()> {
        let mut template = restarted();
        let container = json!({"name": "nginx", "image": image, "imagePullPolicy": pull});
        template["spec"] = json!({"containers": [container]});
        self.patch(json!({"spec": {"template": template}})).await
    }

    /// What `kubectl scale` does.
    pub(super) async fn scale(&self, replicas: u32) -> Result<()> {
        self.patch(json!({"spec": {"replicas": replicas}})).await
    }

    /// Changes the workload by a strategic merge.
    pub(crate) async fn patch(&self, patch: Value) -> Result<()> {
        let (parameters, patch) = (PatchParams::default(), Patch::Strategic(patch));
        let patched = match self.kind {
            Kind::Deployment => {
                self.api::<Deployment>().patch(WORKLOAD, &parameters, &patch).await.map(drop)
            }
            Kind::StatefulSet => {
                self.api::<StatefulSet>().patch(WORKLOAD, &parameters, &patch).await.map(drop)
            }
        };
        patched.with_context(|| {
            format!("the workload {}/{WORKLOAD} cannot be changed", self.namespace)
        })
    }

    /// Ends the stand-in.
    ///
    /// # Errors
    /// It had failed.
    pub(crate) async fn finish(self) -> Result<()> {
        self.standing.finish().await
    }

    /// Ids of its CLBs.
    pub(super) fn load_balancers(&self) -> &[String] {
        self.standing.load_balancers()
    }

    /// The addresses of its pods.
    pub(super) async fn addresses(&self) -> Result<Vec<String>> {
        let pods = self.list().await?;
        Ok(pods.into_iter().filter_map(|pod| pod.status?.pod_ip).collect())
    }
}

/// A template that differs from every other one.
fn restarted() -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mark = now.as_millis().to_string();
    json!({"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": mark}}})
}

async fn apply_policy(stage: &Stage<'_>, name: &str, spec: &Value) -> Result<()> {
    let policy = json!({
        "apiVersion": "lameduck.dev/v1alpha1",
        "kind": "TerminationPolicy",
        "metadata": {"name": name, "labels": stage.labels()},
        "spec": spec,
    });
    stage.cluster().apply(None, &policy.to_string()).await.context("the scenario's policy")
}

/// Makes the namespace, or changes whether it is enrolled in a policy.
async fn apply_namespace(stage: &Stage<'_>, name: &str, policy: Option<&str>) -> Result<()> {
    let mut labels = stage.labels();
    if let Some(policy) = policy {
        labels[POLICY_LABEL] = json!(policy);
    }
    let object = json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": labels},
    });
    stage.cluster().apply(None, &object.to_string()).await
}

/// Waits until a pod in `namespace` would be injected. Nothing is made: the question is a dry run.
async fn wait_for_injection(client: &Client, namespace: &str) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "probe"},
        "spec": {
            "serviceAccountName": "default",
            "containers": [{"name": "probe", "image": "probe", "ports": [{"containerPort": 8080}]}],
        },
    }))
    .context("the probe pod")?;
    let parameters = kube::api::PostParams { dry_run: true, ..Default::default() };
    let end = Instant::now() + INJECTION_LIMIT;
    loop {
        let said = match pods.create(&parameters, &pod).await {
            Ok(pod) if pod.annotations().contains_key(ANNOTATION_INJECTED) => return Ok(()),
            Ok(_) => "pods are admitted unchanged".to_owned(),
            Err(error) => error.to_string(),
        };
        if Instant::now() >= end {
            bail!(
                "Lameduck's webhook does not inject pods of {namespace} after {} s: {said}",
                INJECTION_LIMIT.as_secs()
            );
        }
        sleep(PAUSE).await;
    }
}
