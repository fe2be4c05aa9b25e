//! What a person may do by hand: let a held pod go, and steer an upgrade.

use anyhow::{Context, Result};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use lameduck_api::Upgrade;
use lameduck_api::names::FINALIZER;
use lameduck_core::upgrade::object::Phase;
use serde_json::json;

use super::Program;
use crate::bench::{Bench, condition, pod, pod_gone, until};

/// A pod whose traffic settles for ten minutes is let go at once: by the controller that leads, and, where none
/// is there, by the command alone. Who and why is told in both cases.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_pod_is_let_go_by_hand_with_and_without_a_controller() -> Result<()> {
    let bench = Bench::take().await?;
    let program = Program::new(&bench).await?;
    let spec = json!({"hold": {"unreachableSeconds": 0}, "trafficOff": {"settleSeconds": 600}});
    let namespace = bench.enrolled("release", spec).await?;
    let pods: Api<Pod> = bench.api(&namespace);
    let release = async |name: &str, more: &[&str]| {
        let pod = format!("pod/{name}");
        let usual = ["release", &pod, "-n", &namespace, "--reason", "INC-4711", "--yes"];
        program.says(0, &[&usual, more].concat()).await
    };

    for name in ["led", "alone"] {
        bench.ready_pod(&namespace, name, json!({})).await?;
        bench.serve(&namespace, name).await?;
    }
    let living = ["release", "pod/led", "-n", &namespace, "--reason", "x", "--yes"];
    let refused = program.says(1, &living).await?;
    assert!(refused.contains("not being deleted"), "{refused}");

    pods.delete("led", &DeleteParams::default()).await?;
    until("the pod to be held", async || {
        let pod = pods.get("led").await?;
        Ok(condition(&pod, "lameduck.dev/TrafficOff").filter(|(_, reason, _)| reason == "Settling"))
    })
    .await?;
    // Which replica its hold asked is for the Service to say; explain asks all of them.
    let said = until("explain to know of the hold", async || {
        let said = program.json(&["explain", "pod/led", "-n", &namespace]).await?;
        let waits = said["end"]["holds"][0]["phase"] == "WaitingForTraffic";
        Ok(waits.then_some(said))
    })
    .await?;
    assert_eq!(said["enrolment"]["foundOn"], "pod", "{said}");
    assert_eq!(said["end"]["trafficOff"]["reason"], "Settling", "{said}");
    assert!(said["decision"].as_str().is_some_and(|words| words.starts_with("held, ")), "{said}");

    // Asked, and nobody is there to answer.
    let unasked = ["release", "pod/led", "-n", &namespace, "--reason", "x"];
    program.says(2, &unasked).await?;
    let told = release("led", &[]).await?;
    assert!(told.contains("released"), "{told}");
    pod_gone(&pods, "led").await?;
    let event = bench.event(&namespace, "led", "LetGo").await?;
    assert!(event.contains("INC-4711"), "{event}");

    bench.scale("lameduck-controller", 0).await?;
    let seen = async {
        pods.delete("alone", &DeleteParams::default()).await?;
        until("the pod to be deleted", async || {
            Ok(pods.get("alone").await?.metadata.deletion_timestamp)
        })
        .await?;
        let told = release("alone", &["--controller-timeout", "2"]).await?;
        assert!(told.contains("no controller took it up"), "{told}");
        if let Some(pod) = pods.get_opt("alone").await? {
            assert!(!pod.finalizers().iter().any(|finalizer| finalizer == FINALIZER));
        }
        let event = bench.event(&namespace, "alone", "LetGo").await?;
        assert!(event.contains("INC-4711"), "{event}");
        pod_gone(&pods, "alone").await
    }
    .await;
    // Also after a failure: the other tests need it.
    bench.scale("lameduck-controller", 2).await?;
    seen?;
    bench.gone(&namespace).await
}

/// With mode Manual: nothing moves before it is approved; then it is paused, goes on, and ends. What makes no
/// sense is refused on the way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_is_approved_paused_resumed_and_aborted_by_hand() -> Result<()> {
    let bench = Bench::take().await?;
    let program = Program::new(&bench).await?;
    let upgrade = json!({"mode": "Manual", "surge": 0, "soakSeconds": 0});
    let namespace = bench
        .enrolled(
            "steer",
            json!({"trafficOff": {"settleSeconds": 1}, "statefulSets": {"upgrade": upgrade}}),
        )
        .await?;
    let sets: Api<StatefulSet> = bench.api(&namespace);
    let upgrades: Api<Upgrade> = bench.api(&namespace);
    let set = serde_json::from_value(json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 2,
            "serviceName": "web",
            "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": pod("web", json!({})).spec},
        },
    }))?;
    sets.create(&PostParams::default(), &set).await?;
    until("the set to be ready", async || {
        let status = sets.get("web").await?.status.unwrap_or_default();
        Ok((status.ready_replicas == Some(2)).then_some(()))
    })
    .await?;
    let steer = async |exit, verb: &str| {
        program.says(exit, &["upgrade", verb, "web", "-n", &namespace]).await
    };
    let phase = async |wanted: Phase| {
        until(&format!("the upgrade to be {wanted:?}"), async || {
            let status = upgrades.get_opt("web").await?.and_then(|upgrade| upgrade.status);
            Ok(status.filter(|status| status.phase == wanted))
        })
        .await
    };
    let template = async |mark: &str| {
        let annotations = json!({"annotations": {"mark": mark}});
        let patch = json!({"spec": {"template": {"metadata": annotations}}});
        sets.patch("web", &PatchParams::default(), &Patch::Merge(patch)).await
    };
    let none = steer(1, "pause").await?;
    assert!(none.contains("there is no upgrade"), "{none}");

    template("one").await?;
    phase(Phase::WaitingForApproval).await?;
    let refused = steer(1, "resume").await?;
    assert!(refused.contains("not paused"), "{refused}");
    steer(0, "approve").await?;
    until("the first pod to be taken", async || {
        let status = upgrades.get("web").await?.status.unwrap_or_default();
        Ok((!status.ordinals.is_empty()).then_some(()))
    })
    .await?;
    let refused = steer(1, "approve").await?;
    assert!(refused.contains("nobody's approval"), "{refused}");
    steer(0, "pause").await?;
    phase(Phase::Paused).await?;
    steer(0, "resume").await?;
    let done = phase(Phase::Complete).await?;
    assert_eq!((done.updated, done.total), (2, 2));
    let refused = steer(1, "abort").await?;
    assert!(refused.contains("nothing to abort: it is Complete"), "{refused}");

    // An old upgrade stays Complete until the next revision is seen.
    template("two").await?;
    phase(Phase::WaitingForApproval).await?;
    steer(0, "abort").await?;
    phase(Phase::Aborted).await?;
    steer(0, "retry").await?;
    phase(Phase::WaitingForApproval).await?;
    let said = program.json(&["explain", "sts/web", "-n", &namespace]).await?;
    let says = said["upgrade"].as_str().context("no word of the upgrade")?;
    assert!(says.starts_with("WaitingForApproval, 0 of 2 pods updated"), "{says}");
    bench.gone(&namespace).await
}
