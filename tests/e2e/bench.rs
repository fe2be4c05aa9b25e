//! What every test starts from: the cluster with Lameduck on it, and a namespace of its own.

use std::fmt::Debug;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, Namespace, Pod, Service};
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::{GroupVersionKind, NamespaceResourceScope};
use kube::discovery::ApiResource;
use kube::{Api, Client, Resource, ResourceExt};
use lameduck_api::names::{FINALIZER, POLICY_LABEL, SYSTEM_NAMESPACE};
use lameduck_lab::cluster::Cluster;
use lameduck_lab::progress::Progress;
use lameduck_lab::scenario::{Installed, Provider, install};
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, sleep};

/// One test at a time: they load the cluster, and some take parts of it away. With it goes what Lameduck was
/// installed with last.
static TURN: Mutex<Option<Installed>> = Mutex::const_new(None);
/// Longer than anything here takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(180);
/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(200);

/// A test's turn on the cluster.
pub(crate) struct Bench {
    pub(crate) cluster: Cluster,
    pub(crate) client: Client,
    pub(crate) progress: Progress,
    _turn: MutexGuard<'static, Option<Installed>>,
}

impl Bench {
    /// Waits for the turn, and sees to it that Lameduck is installed and whole.
    pub(crate) async fn take() -> Result<Self> {
        Self::take_with(Provider::EndpointSlice).await
    }

    /// The same, with Lameduck asking `provider`.
    pub(crate) async fn take_with(provider: Provider) -> Result<Self> {
        let mut turn = TURN.lock().await;
        let cluster = Cluster::attach()
            .await?
            .context("no cluster: these tests run under `cargo lab test`")?;
        let progress = Progress::new();
        *turn = Some(match turn.take() {
            Some(installed) => installed.renew(&cluster, provider, &progress).await?,
            None => install(&cluster, provider, &progress).await?,
        });
        let client = cluster.client().await?;
        Ok(Self { cluster, client, progress, _turn: turn })
    }

    /// A new namespace with these labels, gone again when the test has ended well.
    pub(crate) async fn namespace(&self, name: &str, labels: Value) -> Result<String> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let namespace = serde_json::from_value(json!({
            "metadata": {"generateName": format!("{name}-"), "labels": labels},
        }))?;
        let name = namespaces.create(&PostParams::default(), &namespace).await?.name_any();
        // Without its default account a namespace takes no pods.
        let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> = self.api(&name);
        until("the namespace's default account", async || Ok(accounts.get_opt("default").await?))
            .await?;
        Ok(name)
    }

    /// A new namespace that is enrolled in a new policy with this spec.
    pub(crate) async fn enrolled(&self, name: &str, spec: Value) -> Result<String> {
        self.policy(name, &spec).await?;
        let namespace = self.namespace(name, json!({POLICY_LABEL: name})).await?;
        // The webhook's watches are some milliseconds behind.
        let pods: Api<Pod> = self.api(&namespace);
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        until("the webhook to know the namespace", async || {
            let pod = pods.create(&dry_run, &pod("probe", json!({}))).await?;
            Ok(pod.finalizers().iter().any(|finalizer| finalizer == FINALIZER).then_some(()))
        })
        .await?;
        Ok(namespace)
    }

    /// Writes a policy.
    pub(crate) async fn policy(&self, name: &str, spec: &Value) -> Result<()> {
        let policy = json!({
            "apiVersion": "lameduck.dev/v1alpha1",
            "kind": "TerminationPolicy",
            "metadata": {"name": name},
            "spec": spec,
        });
        let patch = PatchParams::apply("lameduck-tests").force();
        policies(&self.client).patch(name, &patch, &Patch::Apply(policy)).await?;
        Ok(())
    }

    pub(crate) fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// A pod of the lab's nginx that is ready, in `namespace`; `spec` is merged into its own.
    pub(crate) async fn ready_pod(&self, namespace: &str, name: &str, spec: Value) -> Result<Pod> {
        let pods: Api<Pod> = self.api(namespace);
        pods.create(&PostParams::default(), &pod(name, spec)).await?;
        until(&format!("pod {name} to be ready"), async || {
            Ok(pods.get_opt(name).await?.filter(is_ready))
        })
        .await
    }

    /// A Service for the pods of this name, so that there is traffic to wait for.
    pub(crate) async fn serve(&self, namespace: &str, name: &str) -> Result<Service> {
        self.service(namespace, json!({"metadata": {"name": name}}), name).await
    }

    /// A Service for the pods of the name `selected`; `object` has the rest of it.
    pub(crate) async fn service(
        &self,
        namespace: &str,
        mut object: Value,
        selected: &str,
    ) -> Result<Service> {
        object["spec"]["selector"] = json!({"app": selected});
        object["spec"]["ports"] = json!([{"port": 80, "targetPort": 8080}]);
        let service = serde_json::from_value(object)?;
        Ok(self.api::<Service>(namespace).create(&PostParams::default(), &service).await?)
    }

    /// Waits for the Event with this reason about a pod: Events are sent after the fact.
    pub(crate) async fn event(&self, namespace: &str, pod: &str, reason: &str) -> Result<String> {
        until(&format!("the Event {reason} about pod {pod}"), async || {
            let events = self.events(namespace, pod).await?;
            Ok(events.into_iter().find(|event| event.starts_with(&format!("{reason}: "))))
        })
        .await
    }

    /// The identity of the controller that leads.
    pub(crate) async fn leader(&self) -> Result<String> {
        let leases: Api<Lease> = self.api(SYSTEM_NAMESPACE);
        let lease = leases.get("lameduck-controller").await?;
        let holder = lease.spec.and_then(|spec| spec.holder_identity);
        holder.filter(|name| !name.is_empty()).context("nobody leads")
    }

    /// Ends the controller that leads without a word: no shutdown, no release of the Lease. Returns its
    /// identity.
    pub(crate) async fn kill_leader(&self) -> Result<String> {
        let identity = self.leader().await?;
        let system: Api<Pod> = self.api(SYSTEM_NAMESPACE);
        let pods = system.list(&ListParams::default()).await?.items;
        let leader = pods
            .into_iter()
            .find(|pod| identity.contains(&pod.name_any()))
            .with_context(|| format!("no pod for the leader {identity}"))?;
        let force = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        system.delete(&leader.name_any(), &force).await?;
        Ok(identity)
    }

    /// Deletes a namespace, and waits until it is gone.
    pub(crate) async fn gone(&self, namespace: &str) -> Result<()> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        namespaces.delete(namespace, &DeleteParams::default()).await?;
        until(&format!("namespace {namespace} to go"), async || {
            Ok(namespaces.get_opt(namespace).await?.is_none().then_some(()))
        })
        .await
    }

    /// The Events about an object, as `reason: note`.
    pub(crate) async fn events(&self, namespace: &str, object: &str) -> Result<Vec<String>> {
        let list = self.api::<Event>(namespace).list(&ListParams::default()).await?;
        Ok(list
            .items
            .into_iter()
            .filter(|event| event.involved_object.name.as_deref() == Some(object))
            .map(|event| {
                let reason = event.reason.unwrap_or_default();
                format!("{reason}: {}", event.message.unwrap_or_default())
            })
            .collect())
    }

    /// `kubectl`, in the test's namespace: what it printed, or an error with all that it said.
    pub(crate) async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        lameduck_lab::process::output(
            &format!("kubectl {}", arguments.join(" ")),
            &mut self.cluster.kubectl(arguments),
        )
        .await
    }

    /// Sets the replicas of one of Lameduck's own Deployments, and waits until it is so.
    pub(crate) async fn scale(&self, deployment: &str, replicas: u32) -> Result<()> {
        let replicas_flag = format!("--replicas={replicas}");
        self.kubectl(&["-n", SYSTEM_NAMESPACE, "scale", "deployment", deployment, &replicas_flag])
            .await?;
        let pods: Api<Pod> = self.api(SYSTEM_NAMESPACE);
        let labels = ListParams::default().labels(&format!("app.kubernetes.io/name={deployment}"));
        let wanted = usize::try_from(replicas)?;
        until(&format!("{replicas} replicas of {deployment}"), async || {
            let pods = pods.list(&labels).await?.items;
            Ok((pods.len() == wanted && pods.iter().all(is_ready)).then_some(()))
        })
        .await
    }
}

/// TerminationPolicies, as anybody's client sees them: not through our own type.
pub(crate) fn policies(client: &Client) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("lameduck.dev", "v1alpha1", "TerminationPolicy");
    let resource = ApiResource::from_gvk_with_plural(&kind, "terminationpolicies");
    Api::all_with(client.clone(), &resource)
}

/// A pod of the lab's nginx; `spec` is merged into its own.
pub(crate) fn pod(name: &str, spec: Value) -> Pod {
    let mut object = json!({
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "containers": [{
                "name": "nginx",
                "image": "docker.io/lab/nginx:1",
                "imagePullPolicy": "IfNotPresent",
                "ports": [{"containerPort": 8080}],
                "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1},
            }],
        },
    });
    json_patch::merge(&mut object["spec"], &spec);
    #[expect(clippy::expect_used, reason = "a literal of the test's own")]
    serde_json::from_value(object).expect("a pod")
}

pub(crate) fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|(status, _, _)| status == "True")
}

/// Status, reason and message of a pod's condition.
pub(crate) fn condition(pod: &Pod, kind: &str) -> Option<(String, String, String)> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let found = conditions.iter().find(|condition| condition.type_ == kind)?;
    Some((
        found.status.clone(),
        found.reason.clone().unwrap_or_default(),
        found.message.clone().unwrap_or_default(),
    ))
}

/// Waits until the pod is gone.
pub(crate) async fn pod_gone(pods: &Api<Pod>, name: &str) -> Result<()> {
    until(&format!("pod {name} to go"), async || {
        Ok(pods.get_opt(name).await?.is_none().then_some(()))
    })
    .await
}

/// Waits until `look` finds something. Errors of the API are looked at again, and told at the end.
pub(crate) async fn until<T: Debug>(
    what: &str,
    mut look: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let end = Instant::now() + LIMIT;
    loop {
        let seen = look().await;
        if let Ok(Some(found)) = seen {
            return Ok(found);
        }
        if Instant::now() >= end {
            bail!("waited {} s for {what}; last seen: {seen:?}", LIMIT.as_secs());
        }
        sleep(PAUSE).await;
    }
}
