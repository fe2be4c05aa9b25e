//! Pods behind Tencent's load balancers, and what their conditions and Events say. What is lost under load is
//! in [`super::scenarios`].

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use kube::{Api, ResourceExt};
use lameduck_api::names::CONDITION_TRAFFIC_OFF;
use lameduck_lab::clb::credentials::Secret;
use lameduck_lab::clb::model::LoadBalancer;
use lameduck_lab::scenario::{Clb, Provider, SECRET, Stage};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::bench::{Bench, condition, pod_gone, until};

/// A Service of TKE's with this CLB.
fn carrier(name: &str, load_balancer: &str, direct: bool) -> Value {
    json!({
        "metadata": {"name": name, "annotations": {
            "service.kubernetes.io/loadbalance-id": load_balancer,
            "service.cloud.tencent.com/direct-access": direct.to_string(),
        }},
        "spec": {"type": "LoadBalancer"},
    })
}

/// A ready pod `web` in a new namespace behind the CLB `lb-{namespace}`, which TKE follows so late.
/// Returns the namespace and the pod's address, once the CLB has it.
async fn pod_behind(
    bench: &Bench,
    clb: &Clb,
    name: &str,
    lag: Duration,
) -> Result<(String, String)> {
    let namespace = bench.enrolled(name, json!({})).await?;
    let id = format!("lb-{namespace}");
    clb.make(&[(LoadBalancer::new(id.as_str()).tcp(80, None), lag)]).await?;
    bench.service(&namespace, carrier("web", &id, true), "web").await?;
    let pod = bench.ready_pod(&namespace, "web", json!({})).await?;
    let ip = pod.status.and_then(|status| status.pod_ip).context("no address")?;
    until("TKE to bind the pod", async || {
        Ok((clb.admin().weights(&ip).await? == [10]).then_some(()))
    })
    .await?;
    Ok((namespace, ip))
}

/// Waits until `TrafficOff` has this reason, and returns its message.
async fn says(pods: &Api<Pod>, reason: &str) -> Result<String> {
    until(&format!("TrafficOff to say {reason}"), async || {
        let found = condition(&pods.get("web").await?, CONDITION_TRAFFIC_OFF);
        Ok(found.filter(|(_, said, _)| said == reason).map(|(_, _, message)| message))
    })
    .await
}

/// The leader dies while the CLB still sends: the next one reads anew, and lets nothing go before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_dies_while_the_clb_sends() -> Result<()> {
    let bench = Bench::take_with(Provider::TencentClb).await?;
    let stage = Stage::open(&bench.cluster).await?;
    let clb = stage.clb().await?;
    // Longer than a new leader takes, and than TKE is given before it is reminded.
    let (namespace, ip) = pod_behind(&bench, clb, "clb-leader", Duration::from_secs(45)).await?;
    let pods: Api<Pod> = bench.api(&namespace);
    pods.delete("web", &DeleteParams::default()).await?;
    let message = says(&pods, "ClbWeightNotZero").await?;
    assert!(message.contains("TCP:80 -> :8080 weight 10"), "{message}");
    let first = bench.kill_leader().await?;
    let off = until("TrafficOff to be True", async || {
        let pod = pods.get("web").await?;
        let found = condition(&pod, CONDITION_TRAFFIC_OFF);
        let off = found.filter(|(status, ..)| status == "True");
        // What is off stays off, so the weight is looked at after the word.
        if off.is_some() {
            assert_eq!(clb.admin().weights(&ip).await?, [0], "called off while the CLB sends");
        }
        Ok(off)
    })
    .await?;
    assert_eq!(off.1, "ClbWeightZero");
    assert!(off.2.contains("weight 0 on"), "{off:?}");
    assert_ne!(first, bench.leader().await?);
    let nudged = pods.get("web").await?;
    let weight = nudged.annotations().get("service.cloud.tencent.com/custom-weight");
    assert_eq!(weight.map(String::as_str), Some("0"), "TKE was not reminded");
    pod_gone(&pods, "web").await?;
    bench.event(&namespace, "web", "WeightNudged").await?;
    bench.gone(&namespace).await
}

/// With keys that are refused nothing is off, though the weight is 0; with others it goes on by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_are_refused_prove_nothing() -> Result<()> {
    let bench = Bench::take_with(Provider::TencentClb).await?;
    let stage = Stage::open(&bench.cluster).await?;
    let clb = stage.clb().await?;
    let (namespace, ip) = pod_behind(&bench, clb, "clb-keys", Duration::from_millis(500)).await?;
    let pods: Api<Pod> = bench.api(&namespace);
    clb.admin().delete("credentials").await?;
    pods.delete("web", &DeleteParams::default()).await?;
    let message = says(&pods, "ClbUnknown").await?;
    assert!(message.contains("AuthFailure"), "{message}");
    until("TKE to take the weight away", async || {
        Ok((clb.admin().weights(&ip).await? == [0]).then_some(()))
    })
    .await?;
    // Many reads long.
    let end = Instant::now() + Duration::from_secs(12);
    while Instant::now() < end {
        let said = condition(&pods.get("web").await?, CONDITION_TRAFFIC_OFF).context("none")?;
        assert_eq!((said.0.as_str(), said.1.as_str()), ("Unknown", "ClbUnknown"), "{said:?}");
        sleep(Duration::from_millis(500)).await;
    }
    clb.admin().set("credentials", &[Secret::permanent(SECRET.0, SECRET.1)]).await?;
    pod_gone(&pods, "web").await?;
    let off = bench.event(&namespace, "web", "TrafficOff").await?;
    assert!(off.contains("weight 0 on"), "{off}");
    // Nobody else is behind that listener.
    bench.event(&namespace, "web", "LastBackend").await?;
    bench.gone(&namespace).await
}

/// A CLB that is not there, and one whose backends are nodes: endpoints are believed, and that is said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn load_balancers_that_cannot_prove_anything_are_left_to_endpoints() -> Result<()> {
    let bench = Bench::take_with(Provider::TencentClb).await?;
    let stage = Stage::open(&bench.cluster).await?;
    stage.clb().await?;
    let namespace = bench.enrolled("clb-none", json!({})).await?;
    bench.service(&namespace, carrier("web", "lb-none", true), "web").await?;
    bench.service(&namespace, carrier("nodes", "lb-nodes", false), "web").await?;
    bench.ready_pod(&namespace, "web", json!({})).await?;
    let pods: Api<Pod> = bench.api(&namespace);
    pods.delete("web", &DeleteParams::default()).await?;
    let message = says(&pods, "ClbUnknown").await?;
    assert!(message.contains("CLB lb-none does not exist"), "{message}");
    pod_gone(&pods, "web").await?;
    let off = bench.event(&namespace, "web", "TrafficOff").await?;
    assert!(off.contains("/nodes sends through ports of nodes"), "{off}");
    let warning = bench.event(&namespace, "web", "ClbNotFound").await?;
    assert!(warning.contains("--clb-region"), "{warning}");
    bench.gone(&namespace).await
}
