//! What kube-proxy does with pods that end, seen by clients inside the cluster.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, PostParams};
use lameduck_api::names::CONDITION_TRAFFIC_OFF;
use lameduck_lab::process::output;
use serde_json::json;

use crate::bench::{Bench, condition, is_ready, pod, until};

/// Seconds of load: the new pods are ready in ten, and the old ones have gone in some more.
const LOAD_SECONDS: u32 = 30;

/// Requests on new connections to a Service's address from a node, one after the other, each bounded in
/// time. Prints how many were answered and how many were not.
const LOAD: &str = r#"
answered=0; failed=0
while [ "$SECONDS" -lt "$2" ]; do
    if timeout 3 bash -c '
        exec 3<>"/dev/tcp/$0/80" && printf "GET /healthz HTTP/1.0\r\n\r\n" >&3 &&
        IFS= read -r line <&3 && [[ $line == *" 200 "* ]]' "$1" 2>/dev/null
    then answered=$((answered + 1)); else failed=$((failed + 1)); fi
done
echo "$answered $failed"
"#;

/// What a side's clients saw.
#[derive(Debug)]
struct Seen {
    answered: u32,
    failed: u32,
}

/// Deletes every pod of a Deployment at once under load, and waits until the load is over.
async fn delete_all(bench: &Bench, namespace: &str) -> Result<Seen> {
    let service = bench.serve(namespace, "all").await?;
    let address = service.spec.and_then(|spec| spec.cluster_ip).context("no ClusterIP")?;
    let mut spec = serde_json::to_value(pod("all", json!({})).spec)?;
    // New ones take their time; the deleted ones must not be gone before.
    spec["containers"][0]["readinessProbe"]["initialDelaySeconds"] = json!(8);
    let deployment: Deployment = serde_json::from_value(json!({
        "metadata": {"name": "all"},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "all"}},
            "template": {"metadata": {"labels": {"app": "all"}}, "spec": spec},
        },
    }))?;
    bench.api(namespace).create(&PostParams::default(), &deployment).await?;
    let pods = bench.api::<Pod>(namespace);
    let list = ListParams::default();
    until("two pods to be ready", async || {
        let items = pods.list(&list).await?.items;
        Ok((items.len() == 2 && items.iter().all(is_ready)).then_some(()))
    })
    .await?;

    let seconds = LOAD_SECONDS.to_string();
    let mut load = bench.cluster.enter("bash", ["-c", LOAD, "load", &address, &seconds]);
    let load = tokio::spawn(async move { output("the load", &mut load).await });
    // Until its first answers are there; before, every run would count the same.
    tokio::time::sleep(Duration::from_secs(3)).await;
    pods.delete_collection(&DeleteParams::default(), &list).await?;
    let printed = load.await??;
    let (answered, failed) =
        printed.trim().split_once(' ').context("the load printed no result")?;
    Ok(Seen { answered: answered.parse()?, failed: failed.parse()? })
}

/// Nobody is ready, and kube-proxy goes on sending to the pods that end: those that are held serve until
/// a new one is ready, and say that they wait for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_pod_of_a_service_is_deleted_at_once() -> Result<()> {
    let bench = Bench::take().await?;
    let enrolled = bench.enrolled("all", json!({"trafficOff": {"settleSeconds": 3}})).await?;
    let ordinary = bench.namespace("all-without", json!({})).await?;
    let pods = bench.api::<Pod>(&enrolled);
    let waits = until("a pod to wait for its replacement", async || {
        let items = pods.list(&ListParams::default()).await?.items;
        let conditions = items.iter().filter_map(|pod| condition(pod, CONDITION_TRAFFIC_OFF));
        Ok(conditions.into_iter().find(|(_, reason, _)| reason == "NotReplaced"))
    });
    let (with, without, waits) =
        tokio::join!(delete_all(&bench, &enrolled), delete_all(&bench, &ordinary), waits);
    let (with, without) = (with?, without?);
    assert!(without.failed > 0, "without Lameduck nothing was lost: {without:?}");
    assert!(with.failed == 0 && with.answered > 0, "{with:?}");
    let (status, _, message) = waits?;
    assert!(status == "False" && message.contains("Service"), "{status} {message}");
    bench.gone(&ordinary).await?;
    bench.gone(&enrolled).await
}
