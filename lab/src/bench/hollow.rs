//! Pods without a kubelet: objects of the API server, bound to a node that has none. What the controller
//! sees of them is what it would see in a large cluster.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, PodCondition, ServiceAccount};
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::progress::Progress;

/// Requests at once: enough to keep the API server busy.
const REQUESTS_AT_ONCE: usize = 32;
/// The node that all pods are bound to.
const NODE: &str = "bench";
/// What takes longer never comes.
pub(super) const PATIENCE: Duration = Duration::from_secs(180);

/// One of the pods.
#[derive(Clone, Debug)]
pub(super) struct HollowPod {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) address: Ipv4Addr,
    /// Labels besides those that every pod has.
    pub(super) labels: Vec<(&'static str, String)>,
    /// Its ReplicaSet; none for a pod that nobody made.
    pub(super) owner: Option<Value>,
}

impl HollowPod {
    /// The pod `number` of the bench, from 0 on.
    pub(super) fn new(
        number: usize,
        namespace: String,
        mut labels: Vec<(&'static str, String)>,
    ) -> Result<Self> {
        labels.push(("apps.kubernetes.io/pod-index", number.to_string()));
        // 100.64.0.0/10 is for carriers: no pod of the lab is there.
        let [high, low] = [number / 250, number % 250 + 1].map(u8::try_from);
        let address = Ipv4Addr::new(100, 64, high.context("too many pods")?, low?);
        let name = format!("web-7d4b9c6f58-{number:05}");
        Ok(Self { namespace, name, address, labels, owner: None })
    }

    fn api(&self, client: &Client) -> Api<Pod> {
        Api::namespaced(client.clone(), &self.namespace)
    }
}

/// The node, and its part of a pod's life.
#[derive(Clone)]
pub(super) struct HollowNode {
    client: Client,
}

impl HollowNode {
    /// Makes the node, and the namespace that the controller needs.
    pub(super) async fn new(client: Client) -> Result<Self> {
        let made = Self { client };
        let nodes: Api<Node> = Api::all(made.client.clone());
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
        made.namespace("lameduck-system", json!({})).await?;
        Ok(made)
    }

    /// Makes a namespace that pods may be made in.
    pub(super) async fn namespace(&self, name: &str, labels: Value) -> Result<()> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let namespace = object(json!({ "metadata": { "name": name, "labels": labels } }))?;
        namespaces.create(&PostParams::default(), &namespace).await.context("no namespace")?;
        // Pods are refused until the controller manager has made it.
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), name);
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
    pub(super) fn keep_alive(&self) -> AbortOnDropHandle<()> {
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
    pub(super) async fn create(&self, pods: &[HollowPod], progress: &Progress) -> Result<()> {
        let mut step = progress.counted_step("creating pods", u64::try_from(pods.len())?);
        let mut created =
            stream::iter(pods).map(|pod| self.create_one(pod)).buffer_unordered(REQUESTS_AT_ONCE);
        while created.try_next().await?.is_some() {
            step.advance(1);
        }
        step.done("");
        Ok(())
    }

    async fn create_one(&self, pod: &HollowPod) -> Result<()> {
        let pods = pod.api(&self.client);
        pods.create(&PostParams::default(), &object(made(pod))?)
            .await
            .context("a pod cannot be made")?;
        pods.patch_status(&pod.name, &PatchParams::default(), &Patch::Strategic(running(pod)))
            .await
            .context("a pod cannot be called running")?;
        Ok(())
    }

    /// Deletes pods, all at once.
    pub(super) async fn delete(&self, pods: &[HollowPod]) -> Result<()> {
        stream::iter(pods)
            .map(|pod| async move {
                pod.api(&self.client).delete(&pod.name, &DeleteParams::default()).await.map(drop)
            })
            .buffer_unordered(REQUESTS_AT_ONCE)
            .try_collect::<Vec<()>>()
            .await
            .context("a pod cannot be deleted")?;
        Ok(())
    }

    /// Writes to the status of pods, what the controller would write.
    pub(super) async fn say(&self, pods: &[HollowPod], status: &Value) -> Result<()> {
        let patch = Patch::Strategic(json!({ "status": status }));
        for pod in pods {
            pod.api(&self.client)
                .patch_status(&pod.name, &PatchParams::default(), &patch)
                .await
                .context("a pod's status cannot be written")?;
        }
        Ok(())
    }

    /// Says that the pod's last container has ended.
    pub(super) async fn end(&self, pod: &HollowPod) -> Result<()> {
        pod.api(&self.client)
            .patch_status(&pod.name, &PatchParams::default(), &Patch::Strategic(ended()))
            .await
            .context("a container cannot be ended")?;
        Ok(())
    }
}

/// Whether a pod with these conditions says that its traffic is off.
pub(super) fn is_traffic_off(conditions: &[PodCondition]) -> bool {
    conditions
        .iter()
        .any(|condition| condition.type_ == "lameduck.dev/TrafficOff" && condition.status == "True")
}

/// An object of the API.
pub(super) fn object<T: DeserializeOwned>(value: Value) -> Result<T> {
    serde_json::from_value(value).context("the bench writes an object that is none")
}

/// A pod as the webhook leaves it, with what such pods usually carry: 8 KB once it is stored.
fn made(pod: &HollowPod) -> Value {
    let environment: Vec<Value> = (0..20)
        .map(|n| json!({ "name": format!("SETTING_{n}"), "value": format!("value-of-{n}.shop.svc:8080") }))
        .collect();
    let mut labels: Map<String, Value> =
        pod.labels.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    for (name, value) in
        [("app", "web"), ("pod-template-hash", "7d4b9c6f58"), ("lameduck.dev/policy", "default")]
    {
        labels.insert(name.to_owned(), json!(value));
    }
    json!({
        "metadata": {
            "name": pod.name,
            "labels": labels,
            "annotations": {
                "lameduck.dev/injected": "0.1.0",
                "lameduck.dev/original-termination-grace-period-seconds": "30",
                "checksum/config": "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            },
            "finalizers": ["lameduck.dev/drain"],
            "ownerReferences": pod.owner.iter().collect::<Vec<_>>(),
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
fn running(pod: &HollowPod) -> Value {
    let address = pod.address;
    let condition = |type_: &str| json!({ "type": type_, "status": "True" });
    let conditions = ["PodScheduled", "Initialized", "ContainersReady", "Ready"].map(condition);
    json!({ "status": {
        "phase": "Running",
        "podIP": address, "podIPs": [{ "ip": address }],
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
