//! Ten thousand pods without a kubelet, and their ends.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Service, ServiceAccount};
use kube::api::{
    Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use kube::{Client, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::{Instant, interval, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::Options;
use crate::progress::{Progress, Step};

/// Pods per namespace, behind one Service: some EndpointSlices each.
const PODS_PER_NAMESPACE: usize = 500;
/// Requests at once: enough to keep the API server busy.
const REQUESTS_AT_ONCE: usize = 32;
/// The node that all pods are bound to.
const NODE: &str = "bench";
/// Label of the pods whose end is measured.
const ENDS: &str = "bench=ends";
/// What takes longer never comes.
const PATIENCE: Duration = Duration::from_secs(180);

/// What was measured, each sorted.
pub(super) struct Ends {
    /// From before the write that ends a container to the end of the finalizer.
    pub(super) releases: Vec<Duration>,
    /// That write alone: the API server's part, which a release has twice.
    pub(super) writes: Vec<Duration>,
}

/// The pods of the bench.
pub(super) struct Workload {
    client: Client,
    options: Options,
}

impl Workload {
    /// Makes the node and the namespaces.
    pub(super) async fn new(client: Client, options: Options) -> Result<Self> {
        let workload = Self { client, options };
        let nodes: Api<Node> = Api::all(workload.client.clone());
        let node = object(json!({ "metadata": { "name": NODE } }))?;
        nodes.create(&PostParams::default(), &node).await.context("the node cannot be made")?;
        let ready = json!({ "status": { "conditions": [{
            "type": "Ready", "status": "True", "reason": "Bench", "message": "no kubelet",
            "lastHeartbeatTime": null, "lastTransitionTime": null,
        }] } });
        nodes
            .patch_status(NODE, &PatchParams::default(), &Patch::Strategic(ready))
            .await
            .context("the node cannot be made Ready")?;
        let system = json!({ "metadata": { "name": "lameduck-system" } });
        workload.namespace(&object(system)?).await?;
        for number in 0..options.pods.div_ceil(PODS_PER_NAMESPACE) {
            let name = namespace_of(number * PODS_PER_NAMESPACE);
            let labels = json!({ "lameduck.dev/policy": "default" });
            let namespace = json!({ "metadata": { "name": &name, "labels": labels } });
            workload.namespace(&object(namespace)?).await?;
            let service = object(json!({
                "metadata": { "name": "web" },
                "spec": { "selector": { "app": "web" }, "ports": [{ "port": 80, "targetPort": 8080 }] },
            }))?;
            let services: Api<Service> = Api::namespaced(workload.client.clone(), &name);
            services.create(&PostParams::default(), &service).await.context("no Service")?;
        }
        Ok(workload)
    }

    async fn namespace(&self, namespace: &Namespace) -> Result<()> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        namespaces.create(&PostParams::default(), namespace).await.context("no namespace")?;
        // Pods are refused until the controller manager has made it.
        let accounts: Api<ServiceAccount> =
            Api::namespaced(self.client.clone(), &namespace.name_any());
        let made = async {
            while accounts.get_opt("default").await?.is_none() {
                sleep(Duration::from_millis(20)).await;
            }
            Ok::<_, kube::Error>(())
        };
        timeout(PATIENCE, made).await.context("no ServiceAccount `default` was made")??;
        Ok(())
    }

    /// Renews the node's Lease, or the controller manager would call the node dead.
    pub(super) fn keep_node_alive(&self) -> AbortOnDropHandle<()> {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), "kube-node-lease");
        AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                let now = k8s_openapi::jiff::Timestamp::now();
                let lease = json!({
                    "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                    "spec": {
                        "holderIdentity": NODE, "leaseDurationSeconds": 40,
                        "renewTime": format!("{now:.6}"),
                    },
                });
                let apply = PatchParams::apply("bench").force();
                // One that fails is followed by the next, well before the Lease runs out.
                drop(leases.patch(NODE, &apply, &Patch::Apply(lease)).await);
                sleep(Duration::from_secs(5)).await;
            }
        }))
    }

    /// Creates every pod and says of each that it runs.
    pub(super) async fn create(&self, progress: &Progress) -> Result<()> {
        let total = self.options.pods;
        let mut step = progress.counted_step("creating pods", u64::try_from(total)?);
        let mut created = stream::iter(0..total)
            .map(|number| self.create_one(number))
            .buffer_unordered(REQUESTS_AT_ONCE);
        while created.try_next().await?.is_some() {
            step.advance(1);
        }
        step.done("");
        Ok(())
    }

    async fn create_one(&self, number: usize) -> Result<()> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &namespace_of(number));
        let pod = object(pod(number, number < self.options.ends))?;
        pods.create(&PostParams::default(), &pod).await.context("a pod cannot be made")?;
        let status = Patch::Strategic(running(number));
        pods.patch_status(&name_of(number), &PatchParams::default(), &status)
            .await
            .context("a pod cannot be called running")?;
        Ok(())
    }

    /// Deletes the pods to be measured, waits until their traffic is off, and ends their containers one
    /// by one.
    pub(super) async fn ends(&self, step: &mut Step) -> Result<Ends> {
        let ends = self.options.ends;
        stream::iter(0..ends)
            .map(|number| async move {
                let pods: Api<Pod> = Api::namespaced(self.client.clone(), &namespace_of(number));
                pods.delete(&name_of(number), &DeleteParams::default()).await.map(drop)
            })
            .buffer_unordered(REQUESTS_AT_ONCE)
            .try_collect::<Vec<()>>()
            .await
            .context("a pod cannot be deleted")?;
        let version = timeout(PATIENCE, self.traffic_off(step))
            .await
            .context("traffic did not get off for every pod")??;
        let (stamps, stamped) = tokio::sync::mpsc::unbounded_channel();
        let gone = tokio::spawn(watch(self.client.clone(), version, ends, stamped));
        let mut writes = Vec::new();
        let mut due = interval(Duration::from_secs(1) / self.options.ends_per_second.max(1));
        for number in 0..ends {
            due.tick().await;
            step.message(format!("container {} of {ends} ends", number + 1));
            let pods: Api<Pod> = Api::namespaced(self.client.clone(), &namespace_of(number));
            let name = name_of(number);
            // From before the request: the API server's own time counts too.
            let began = Instant::now();
            stamps.send((name.clone(), began)).context("the watch has ended")?;
            pods.patch_status(&name, &PatchParams::default(), &Patch::Strategic(ended()))
                .await
                .context("a container cannot be ended")?;
            writes.push(began.elapsed());
        }
        drop(stamps);
        let mut releases = gone.await.context("the watch ended without a word")??;
        writes.sort_unstable();
        releases.sort_unstable();
        Ok(Ends { releases, writes })
    }

    /// Waits until every deleted pod's condition says that traffic is off. Returns where to watch from.
    async fn traffic_off(&self, step: &mut Step) -> Result<String> {
        let pods: Api<Pod> = Api::all(self.client.clone());
        loop {
            let list = pods.list(&ListParams::default().labels(ENDS)).await?;
            let off = list.iter().filter(|pod| is_traffic_off(pod)).count();
            step.message(format!("traffic is off for {off} of {}", self.options.ends));
            if off == self.options.ends {
                return list.metadata.resource_version.context("a list without a version");
            }
            sleep(Duration::from_millis(500)).await;
        }
    }
}

/// Takes the time between a container's end and the finalizer's, for `count` pods.
async fn watch(
    client: Client,
    version: String,
    count: usize,
    mut stamped: tokio::sync::mpsc::UnboundedReceiver<(String, Instant)>,
) -> Result<Vec<Duration>> {
    let pods: Api<Pod> = Api::all(client);
    let params = WatchParams::default().labels(ENDS).timeout(280);
    let mut events = pods.watch_metadata(&params, &version).await?.boxed();
    let mut began: HashMap<String, Instant> = HashMap::new();
    let mut took = Vec::new();
    while took.len() < count {
        let event = timeout(PATIENCE, events.try_next())
            .await
            .with_context(|| format!("{} finalizers never went", count - took.len()))??;
        let now = Instant::now();
        began.extend(std::iter::from_fn(|| stamped.try_recv().ok()));
        match event {
            Some(WatchEvent::Modified(pod) | WatchEvent::Deleted(pod)) => {
                if pod.finalizers().is_empty()
                    && let Some(began) = began.remove(&pod.name_any())
                {
                    took.push(now - began);
                }
            }
            Some(WatchEvent::Error(status)) => bail!("the watch failed: {}", status.message),
            Some(WatchEvent::Added(_) | WatchEvent::Bookmark(_)) => {}
            None => bail!("the watch ended before its time"),
        }
    }
    Ok(took)
}

fn is_traffic_off(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref());
    conditions
        .unwrap_or_default()
        .iter()
        .any(|condition| condition.type_ == "lameduck.dev/TrafficOff" && condition.status == "True")
}

fn namespace_of(number: usize) -> String {
    format!("bench-{}", number / PODS_PER_NAMESPACE)
}

fn name_of(number: usize) -> String {
    format!("web-7d4b9c6f58-{number:05}")
}

fn object<T: DeserializeOwned>(value: Value) -> Result<T> {
    serde_json::from_value(value).context("the bench writes an object that is none")
}

/// A pod as the webhook leaves it, with what such pods usually carry: 8 KB once it is stored.
fn pod(number: usize, ends: bool) -> Value {
    let environment: Vec<Value> = (0..20)
        .map(|n| json!({ "name": format!("SETTING_{n}"), "value": format!("value-of-{n}.shop.svc:8080") }))
        .collect();
    json!({
        "metadata": {
            "name": name_of(number),
            "labels": {
                "app": "web",
                "pod-template-hash": "7d4b9c6f58",
                "apps.kubernetes.io/pod-index": number.to_string(),
                "bench": if ends { "ends" } else { "stays" },
                "lameduck.dev/policy": "default",
            },
            "annotations": {
                "lameduck.dev/injected": "0.1.0",
                "lameduck.dev/original-termination-grace-period-seconds": "30",
                "checksum/config": "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            },
            "finalizers": ["lameduck.dev/drain"],
        },
        "spec": {
            "nodeName": NODE,
            "terminationGracePeriodSeconds": 940,
            "tolerations": [{ "operator": "Exists" }],
            "volumes": [{ "name": "lameduck", "emptyDir": { "sizeLimit": "8Mi" } }],
            "initContainers": [{
                "name": "lameduck", "image": "docker.io/lameduck/hold:0.1.0",
                "args": ["install", "--to", "/lameduck"],
                "volumeMounts": [{ "name": "lameduck", "mountPath": "/lameduck" }],
            }],
            "containers": [{
                "name": "web", "image": "registry.example/shop/web:1.2.3",
                "env": environment,
                "ports": [{ "name": "http", "containerPort": 8080 }],
                "readinessProbe": { "httpGet": { "path": "/ready", "port": 8080 }, "periodSeconds": 2 },
                "livenessProbe": { "httpGet": { "path": "/live", "port": 8080 } },
                "lifecycle": { "preStop": { "exec": { "command": [
                    "/lameduck/hold", "wait", "--container", "web", "--until", "ConnectionsClosed",
                ] } } },
                "resources": { "requests": { "cpu": "100m", "memory": "128Mi" } },
                "volumeMounts": [{ "name": "lameduck", "mountPath": "/lameduck", "readOnly": true }],
            }],
        },
    })
}

/// What a kubelet says of such a pod while it serves.
fn running(number: usize) -> Value {
    // 100.64.0.0/10 is for carriers: no pod of the lab is there.
    let address = format!("100.64.{}.{}", number / 250, number % 250 + 1);
    let condition = |type_: &str| json!({ "type": type_, "status": "True" });
    let conditions = ["PodScheduled", "Initialized", "ContainersReady", "Ready"].map(condition);
    json!({ "status": {
        "phase": "Running",
        "podIP": &address, "podIPs": [{ "ip": &address }],
        "hostIP": "198.18.0.9", "hostIPs": [{ "ip": "198.18.0.9" }],
        "conditions": conditions,
        "containerStatuses": [{
            "name": "web", "image": "registry.example/shop/web:1.2.3", "imageID": "sha256:0",
            "containerID": "containerd://0", "ready": true, "started": true, "restartCount": 0,
            "state": { "running": { "startedAt": "2026-01-01T00:00:00Z" } },
        }],
    } })
}

/// What a kubelet says when the last container has ended.
fn ended() -> Value {
    json!({ "status": {
        "phase": "Succeeded",
        "containerStatuses": [{
            "name": "web", "image": "registry.example/shop/web:1.2.3", "imageID": "sha256:0",
            "containerID": "containerd://0", "ready": false, "started": false, "restartCount": 0,
            "state": { "running": null, "terminated": { "exitCode": 0, "reason": "Completed" } },
        }],
    } })
}
