//! Parts that die while pods end: everything is let go, and nothing before its time.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, Secret};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, ResourceExt};
use lameduck_api::names::{CONDITION_DRAINED, CONDITION_TRAFFIC_OFF, FINALIZER, SYSTEM_NAMESPACE};
use lameduck_lab::cluster::NODES;
use serde_json::json;

use crate::bench::{Bench, condition, pod, pod_gone, until};

fn has_finalizer(pod: &Pod) -> bool {
    pod.finalizers().iter().any(|finalizer| finalizer == FINALIZER)
}

/// The whole way of one pod, as `kubectl describe` shows it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_says_what_it_waits_for_and_why_it_ended() -> Result<()> {
    let bench = Bench::take().await?;
    let namespace = bench.enrolled("story", json!({"trafficOff": {"settleSeconds": 4}})).await?;
    bench.serve(&namespace, "web").await?;
    bench.ready_pod(&namespace, "web", json!({})).await?;
    let pods: Api<Pod> = bench.api(&namespace);
    pods.delete("web", &DeleteParams::default()).await?;
    let mut settled = false;
    let last = until("both conditions", async || {
        let pod = pods.get("web").await?;
        if let Some((status, reason, message)) = condition(&pod, CONDITION_TRAFFIC_OFF) {
            settled |= status == "False" && reason == "Settling" && message.contains("web");
        }
        Ok(condition(&pod, CONDITION_DRAINED).map(|drained| (pod, drained)))
    })
    .await;
    pod_gone(&pods, "web").await?;
    let (pod, drained) = last?;
    assert!(settled, "TrafficOff never said that it settles");
    assert_eq!(condition(&pod, CONDITION_TRAFFIC_OFF).map(|all| all.0).as_deref(), Some("True"));
    assert_eq!(drained.0, "True", "{drained:?}");
    let events = bench.events(&namespace, "web").await?;
    for reason in ["TrafficSettling", "TrafficOff", "Drained"] {
        assert!(events.iter().any(|event| event.starts_with(reason)), "no {reason} in {events:#?}");
    }
    bench.gone(&namespace).await
}

/// The application ends by itself while it is held: the object waits for the proof, and no longer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_that_crashes_while_it_is_held() -> Result<()> {
    let bench = Bench::take().await?;
    let settle_seconds = 20;
    let namespace =
        bench.enrolled("crash", json!({"trafficOff": {"settleSeconds": settle_seconds}})).await?;
    bench.serve(&namespace, "web").await?;
    // The file is the sign to crash. As process 1 it would ignore SIGTERM without a trap.
    let command = "trap 'exit 0' TERM; nginx -e /dev/stderr & \
                   while [ ! -e /tmp/crash ]; do sleep 0.2; done; exit 1";
    let spec = json!({"containers": [{
        "name": "nginx",
        "image": "docker.io/lab/nginx:1",
        "command": ["sh", "-c", command],
        "ports": [{"containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1},
    }]});
    bench.ready_pod(&namespace, "web", spec).await?;
    let pods: Api<Pod> = bench.api(&namespace);
    pods.delete("web", &DeleteParams::default()).await?;
    // Before the kubelet has heard of the deletion it would start the container again.
    bench.event(&namespace, "web", "Killing").await?;
    bench.kubectl(&["-n", &namespace, "exec", "web", "--", "sh", "-c", ": > /tmp/crash"]).await?;
    let ended = until("the container's end", async || {
        let pod = pods.get("web").await?;
        let phase = pod.status.as_ref().and_then(|status| status.phase.clone());
        Ok(matches!(phase.as_deref(), Some("Failed" | "Succeeded")).then_some(pod))
    })
    .await?;
    if condition(&ended, CONDITION_TRAFFIC_OFF).is_none_or(|(status, _, _)| status != "True") {
        assert!(has_finalizer(&ended), "the object went before traffic was proven off");
    }
    pod_gone(&pods, "web").await?;
    bench.event(&namespace, "web", "Released").await?;
    bench.gone(&namespace).await
}

/// An application that does not handle SIGTERM outlives its hold: the pod says so, and until when.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_that_ignores_sigterm_is_named() -> Result<()> {
    let bench = Bench::take().await?;
    let namespace = bench.enrolled("sigterm", json!({"hold": {"maxSeconds": 5}})).await?;
    let spec = json!({
        "terminationGracePeriodSeconds": 2,
        "containers": [{
            "name": "deaf",
            "image": "docker.io/lab/nginx:1",
            "imagePullPolicy": "IfNotPresent",
            "command": ["sh", "-c", "while :; do sleep 0.5; done"],
        }],
    });
    bench.ready_pod(&namespace, "deaf", spec).await?;
    let pods: Api<Pod> = bench.api(&namespace);
    pods.delete("deaf", &DeleteParams::default()).await?;
    let event = bench.event(&namespace, "deaf", "SigtermIgnored").await?;
    assert!(event.contains("container deaf") && event.contains("hold.maxSeconds"), "{event}");
    pod_gone(&pods, "deaf").await?;
    bench.gone(&namespace).await
}

/// The API server is away while a pod settles: nothing is called off from what was known before, the
/// container serves on, and the drain ends once the API server is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_server_that_is_away_in_the_middle_of_a_drain() -> Result<()> {
    let bench = Bench::take().await?;
    let namespace = bench.enrolled("silence", json!({"trafficOff": {"settleSeconds": 8}})).await?;
    bench.serve(&namespace, "web").await?;
    bench.ready_pod(&namespace, "web", json!({})).await?;
    let pods: Api<Pod> = bench.api(&namespace);
    pods.delete("web", &DeleteParams::default()).await?;
    until("the drain to begin", async || {
        let found = condition(&pods.get("web").await?, CONDITION_TRAFFIC_OFF);
        Ok(found.filter(|(_, reason, _)| reason == "Settling"))
    })
    .await?;
    bench.cluster.pause_api_server()?;
    // Twice the time to settle, and more than leases and watches live.
    tokio::time::sleep(Duration::from_secs(20)).await;
    bench.cluster.resume_api_server()?;
    let pod =
        until("the API server to come back", async || Ok(Some(pods.get("web").await?))).await?;
    let statuses = pod.status.and_then(|status| status.container_statuses).unwrap_or_default();
    let running = |status: &ContainerStatus| {
        status.state.as_ref().is_some_and(|state| state.running.is_some())
    };
    assert!(
        statuses.iter().all(running),
        "the container ended while nobody could know: {statuses:#?}"
    );
    pod_gone(&pods, "web").await?;
    bench.gone(&namespace).await
}

/// A node is cut off, and somebody forces its pod away: the object goes once traffic is off.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forced_delete_on_a_dead_node() -> Result<()> {
    let bench = Bench::take().await?;
    let namespace = bench.enrolled("dead-node", json!({})).await?;
    bench.serve(&namespace, "web").await?;
    bench.ready_pod(&namespace, "web", json!({"nodeName": NODES[1]})).await?;
    let pods: Api<Pod> = bench.api(&namespace);
    bench.cluster.disconnect_second_node().await?;
    let ended = async {
        until("the node to count as dead", async || {
            let node = bench.kubectl(&["get", "node", NODES[1], "-o", "json"]).await?;
            let node: serde_json::Value = serde_json::from_str(&node)?;
            let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let ready = conditions.iter().find(|condition| condition["type"] == "Ready");
            Ok(ready.filter(|ready| ready["status"] != "True").map(|_| ()))
        })
        .await?;
        let force = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        pods.delete("web", &force).await?;
        pod_gone(&pods, "web").await
    }
    .await;
    bench.cluster.reconnect_second_node().await?;
    until("the node to come back", async || {
        let wait = ["wait", "node", NODES[1], "--for=condition=Ready", "--timeout=5s"];
        Ok(bench.kubectl(&wait).await.ok())
    })
    .await?;
    ended?;
    bench.gone(&namespace).await
}

/// The leader is killed while a pod settles: another goes on from what stands on the pod.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_dies_in_the_middle_of_a_drain() -> Result<()> {
    let bench = Bench::take().await?;
    let namespace = bench.enrolled("leader", json!({"trafficOff": {"settleSeconds": 10}})).await?;
    bench.serve(&namespace, "web").await?;
    bench.ready_pod(&namespace, "web", json!({})).await?;
    let pods: Api<Pod> = bench.api(&namespace);
    pods.delete("web", &DeleteParams::default()).await?;
    until("the drain to begin", async || {
        Ok(condition(&pods.get("web").await?, CONDITION_TRAFFIC_OFF))
    })
    .await?;
    let first = bench.kill_leader().await?;
    pod_gone(&pods, "web").await?;
    let second = bench.leader().await?;
    assert_ne!(first, second);
    bench.gone(&namespace).await
}

/// A namespace goes with pods in it that are held.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_that_is_deleted_with_everything_in_it() -> Result<()> {
    let bench = Bench::take().await?;
    let namespace = bench.enrolled("whole", json!({})).await?;
    bench.serve(&namespace, "one").await?;
    bench.ready_pod(&namespace, "one", json!({})).await?;
    bench
        .api::<Pod>(&namespace)
        .create(
            &PostParams::default(),
            &pod(
                "never",
                json!({
                    "nodeSelector": {"no": "such-node"},
                }),
            ),
        )
        .await?;
    bench.gone(&namespace).await
}

/// The serving certificate is lost: a new one comes, and the webhook answers all the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_certificate_is_replaced_without_a_failed_review() -> Result<()> {
    const SECRET: &str = "lameduck-webhook-tls";
    let bench = Bench::take().await?;
    let namespace = bench.enrolled("certificate", json!({})).await?;
    let secrets: Api<Secret> = bench.api(SYSTEM_NAMESPACE);
    let serial = async || -> Result<Option<Vec<u8>>> {
        let secret = secrets.get_opt(SECRET).await?;
        let data = secret.and_then(|secret| secret.data).unwrap_or_default();
        Ok(data.get("tls.crt").map(|bytes| bytes.0.clone()))
    };
    let before = serial().await?.context("there is no certificate")?;
    secrets.delete(SECRET, &DeleteParams::default()).await?;
    let pods: Api<Pod> = bench.api(&namespace);
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let mut after_it_came = 0;
    until("a new certificate", async || {
        // A review that fails is admitted unprotected: pods fail open.
        let pod = pods.create(&dry_run, &pod("probe", json!({}))).await?;
        assert!(has_finalizer(&pod), "a review failed");
        let new = serial().await?.is_some_and(|now| now != before);
        after_it_came += u32::from(new);
        // Some more, so that the new certificate is the one that answers.
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok((after_it_came > 50).then_some(()))
    })
    .await?;
    bench.gone(&namespace).await
}
