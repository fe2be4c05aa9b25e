//! How much later a pod is Ready for having the hold put into it: real pods on the lab's cluster, with
//! and without, in turn.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{DeleteParams, PostParams};
use kube::runtime::wait::{await_condition, conditions::is_deleted};
use kube::{Api, Client, ResourceExt};
use lameduck_api::names::{ANNOTATION_INJECTED, POLICY_LABEL};
use serde_json::json;
use tokio::time::timeout;

use crate::cluster::{Cluster, Options};
use crate::images::cluster::NGINX;
use crate::progress::{Progress, Step};
use crate::scenario::{Provider, install};

const WITHOUT: &str = "bench-without";
const WITH: &str = "bench-with";
/// Longer than any pod takes to start or to end.
const PATIENCE: Duration = Duration::from_secs(120);

/// Medians over the pods of each kind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Starts {
    pub(super) without: Duration,
    pub(super) with: Duration,
}

/// Brings a cluster up, and starts `pods` pods of each kind, one after the other.
pub(super) async fn measure(pods: usize, progress: &Progress) -> Result<Starts> {
    let cluster = Cluster::up(&Options::owned("bench-hold")?, progress).await?;
    install(&cluster, Provider::EndpointSlice, progress).await?;
    let mut step = progress.step("starting pods without and with a hold, in turn");
    let starts = in_turn(cluster.client().await?, pods, &mut step).await?;
    step.done("");
    cluster.down().await?;
    Ok(starts)
}

async fn in_turn(client: Client, pods: usize, step: &mut Step) -> Result<Starts> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    for (name, labels) in [(WITHOUT, json!({})), (WITH, json!({POLICY_LABEL: "default"}))] {
        let object = json!({"metadata": {"name": name, "labels": labels}});
        let object = serde_json::from_value(object)?;
        namespaces.create(&PostParams::default(), &object).await.context("a namespace")?;
    }
    let (mut without, mut with) = (Vec::new(), Vec::new());
    // The first of each kind warms caches up, and does not count.
    for round in 0..=pods {
        step.message(format!("round {round} of {pods}"));
        for (namespace, times) in [(WITHOUT, &mut without), (WITH, &mut with)] {
            let api = Api::namespaced(client.clone(), namespace);
            let took = start(&api, &format!("pod-{round}"), namespace == WITH).await?;
            if round > 0 {
                times.push(took);
            }
        }
    }
    Ok(Starts { without: median(without)?, with: median(with)? })
}

/// Takes the time from the request that creates a pod until it is Ready, and ends the pod.
async fn start(pods: &Api<Pod>, name: &str, protected: bool) -> Result<Duration> {
    // No port, so that no readiness probe is injected, whose period would be all that is seen. It ends
    // on SIGTERM: one that does not is waited for until the kubelet's raised grace is over.
    let command = ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.2; done"];
    let pod = serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "app", "image": NGINX, "imagePullPolicy": "Never", "command": command}],
        },
    }))?;
    let began = Instant::now();
    let created = pods.create(&PostParams::default(), &pod).await.context("a pod is refused")?;
    let ready = await_condition(pods.clone(), name, |pod: Option<&Pod>| is_ready(pod));
    timeout(PATIENCE, ready).await.context("a pod does not get ready")??;
    let took = began.elapsed();
    let injected = created.annotations().contains_key(ANNOTATION_INJECTED);
    ensure!(injected == protected, "pod {name}: injected is {injected}, which it should not be");
    pods.delete(name, &DeleteParams::default()).await?;
    let uid = created.uid().context("a pod without a UID")?;
    let gone = await_condition(pods.clone(), name, is_deleted(&uid));
    timeout(PATIENCE, gone).await.context("a pod does not end")??;
    Ok(took)
}

fn is_ready(pod: Option<&Pod>) -> bool {
    let conditions = pod.and_then(|pod| pod.status.as_ref()?.conditions.as_deref());
    let mut conditions = conditions.unwrap_or_default().iter();
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn median(mut times: Vec<Duration>) -> Result<Duration> {
    times.sort_unstable();
    times.get(times.len() / 2).copied().context("no pod was started")
}
