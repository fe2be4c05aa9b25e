//! What the real API server makes of our patches, our policies and our absence.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use lameduck_api::names::{
    ANNOTATION_INJECTED, ANNOTATION_ORIGINAL_UPDATE_STRATEGY, FINALIZER, POLICY_LABEL,
    SYSTEM_NAMESPACE,
};
use serde_json::{Value, json};

use crate::bench::{Bench, pod, policies, until};

/// The recorded reviews of pods, without what the API server gives each object anew.
fn recorded_pods() -> Result<Vec<(PathBuf, Pod)>> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut pods = Vec::new();
    for entry in std::fs::read_dir(&corpus)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let review: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
        let request = &review["request"];
        if request["kind"]["kind"] != "Pod" || request["operation"] != "CREATE" {
            continue;
        }
        let mut pod: Pod = serde_json::from_value(request["object"].clone())?;
        pod.metadata.managed_fields = None;
        pod.metadata.namespace = None;
        pod.metadata.uid = None;
        pod.metadata.creation_timestamp = None;
        // Owners would be looked for. What they decide (skipping Jobs) is tested on the whole review.
        let of_job = pod.owner_references().iter().any(|owner| owner.kind == "Job");
        pod.metadata.owner_references = None;
        // The token's volume has the name of a pod that is not this one; the API server adds another.
        if !of_job {
            pods.push((path, pod));
        }
    }
    assert!(pods.len() >= 10, "the corpus has only {} pods", pods.len());
    Ok(pods)
}

/// QoS class as the API server computed it.
fn qos(pod: &Pod) -> Option<&str> {
    pod.status.as_ref()?.qos_class.as_deref()
}

/// Every recorded pod that a restricted namespace takes unprotected, it takes protected; the same for a
/// namespace without any restriction. And the QoS class stays what it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_accepted_stays_accepted_and_keeps_its_qos_class() -> Result<()> {
    let bench = Bench::take().await?;
    let enforced = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    let with_policy = |mut labels: Value| {
        labels[POLICY_LABEL] = json!("default");
        labels
    };
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let mut injected = 0;
    for labels in [json!({}), enforced] {
        let plain: Api<Pod> = bench.api(&bench.namespace("plain", labels.clone()).await?);
        let ours: Api<Pod> = bench.api(&bench.namespace("enrolled", with_policy(labels)).await?);
        for (path, pod) in recorded_pods()? {
            // As it came, it named its policy perhaps; on the plain side nothing must answer to that.
            let mut bare = pod.clone();
            bare.labels_mut().remove(POLICY_LABEL);
            let Ok(before) = plain.create(&dry_run, &bare).await else { continue };
            let after = ours
                .create(&dry_run, &pod)
                .await
                .with_context(|| format!("{} was accepted unprotected", path.display()))?;
            assert_eq!(qos(&before), qos(&after), "{}", path.display());
            injected += usize::from(after.annotations().contains_key(ANNOTATION_INJECTED));
        }
    }
    assert!(injected >= 8, "only {injected} pods were injected");
    Ok(())
}

/// A bad policy is refused when it is applied, and the answer names the field.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_policy_is_refused_with_its_field() -> Result<()> {
    let bench = Bench::take().await?;
    for (spec, field) in [
        (json!({"hold": {"maxSeconds": 0}}), "spec.hold.maxSeconds"),
        (json!({"hold": {"until": "Whenever"}}), "spec.hold.until"),
        (json!({"trafficOff": {"settleSeconds": -1}}), "spec.trafficOff.settleSeconds"),
        (json!({"hold": {"maxSecond": 5}}), "maxSecond"),
        (json!({"mode": "Sometimes"}), "spec.mode"),
        // Two fields that do not fit together.
        (
            json!({"hold": {"until": "ConnectionsIdle", "idleSeconds": 901}}),
            "spec.hold.idleSeconds",
        ),
        (
            json!({"trafficOff": {"settleSeconds": 9, "giveUpSeconds": 9}}),
            "spec.trafficOff.settleSeconds",
        ),
        (
            json!({"hold": {"maxSeconds": 20}, "trafficOff": {"settleSeconds": 20}}),
            "spec.trafficOff.settleSeconds",
        ),
        (json!({"deployments": {"maxSurge": 0}}), "spec.deployments.maxSurge"),
        (json!({"statefulSets": {"upgrade": {"surge": 2}}}), "spec.statefulSets.upgrade.surge"),
        (json!({"statefulSets": {"upgrade": {"surge": "1"}}}), "spec.statefulSets.upgrade.surge"),
        (
            json!({"statefulSets": {"upgrade": {"maxUnavailable": 0}}}),
            "spec.statefulSets.upgrade.maxUnavailable",
        ),
    ] {
        let policy = serde_json::from_value(json!({
            "apiVersion": "lameduck.dev/v1alpha1",
            "kind": "TerminationPolicy",
            "metadata": {"name": "bad"},
            "spec": spec,
        }))?;
        let strict = PostParams { dry_run: true, ..PostParams::default() };
        match policies(&bench.client).create(&strict, &policy).await {
            Err(kube::Error::Api(status)) => {
                assert!(status.message.contains(field), "{spec}: {}", status.message);
            }
            // An unknown field is only refused where the client asks for it, as kubectl does.
            Ok(_) if field == "maxSecond" => {
                let manifest = std::env::temp_dir().join("lameduck-bad-policy.json");
                std::fs::write(&manifest, serde_json::to_string(&policy)?)?;
                let path = manifest.to_string_lossy();
                let refusal = bench.kubectl(&["apply", "--dry-run=server", "-f", &path]).await;
                let refusal = refusal.expect_err("kubectl took an unknown field").to_string();
                assert!(refusal.contains(field), "{refusal}");
            }
            other => panic!("{spec} was not refused: {other:?}"),
        }
    }
    Ok(())
}

/// `OnDelete` while enrolled, and the author's own strategy again when the label is taken off.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stateful_set_gets_its_strategy_back() -> Result<()> {
    let bench = Bench::take().await?;
    let namespace = bench.namespace("strategy", json!({})).await?;
    let sets: Api<StatefulSet> = bench.api(&namespace);
    let set = serde_json::from_value(json!({
        "metadata": {"name": "set", "labels": {POLICY_LABEL: "default"}},
        "spec": {
            "replicas": 0,
            "serviceName": "set",
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}},
            "selector": {"matchLabels": {"app": "set"}},
            "template": {"metadata": {"labels": {"app": "set"}}, "spec": pod("set", json!({})).spec},
        },
    }))?;
    let enrolled = sets.create(&PostParams::default(), &set).await?;
    let strategy = |set: &StatefulSet| {
        serde_json::to_value(set.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref()))
    };
    assert_eq!(strategy(&enrolled)?, json!({"type": "OnDelete"}));

    let off = Patch::Merge(json!({"metadata": {"labels": {POLICY_LABEL: null}}}));
    let left = sets.patch("set", &PatchParams::default(), &off).await?;
    assert_eq!(
        strategy(&left)?,
        json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 2}})
    );
    assert!(!left.annotations().contains_key(ANNOTATION_ORIGINAL_UPDATE_STRATEGY));
    bench.gone(&namespace).await
}

/// With the webhook away: changes to enrolled workloads are refused with a word why, pods start
/// unprotected, and the controller says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_webhook_workloads_are_refused_and_pods_are_reported() -> Result<()> {
    let bench = Bench::take().await?;
    let namespace = bench.enrolled("webhook-down", json!({})).await?;
    bench.scale("lameduck-webhook", 0).await?;
    let seen = async {
        let sets: Api<StatefulSet> = bench.api(&namespace);
        let set = serde_json::from_value(json!({
            "metadata": {"name": "set"},
            "spec": {
                "serviceName": "set",
                "selector": {"matchLabels": {"app": "set"}},
                "template": {"metadata": {"labels": {"app": "set"}}, "spec": pod("set", json!({})).spec},
            },
        }))?;
        let refusal = sets.create(&PostParams::default(), &set).await;
        let refusal = refusal.expect_err("a workload was changed behind the webhook's back");
        assert!(refusal.to_string().contains("workloads.lameduck.dev"), "{refusal}");

        let free = bench.ready_pod(&namespace, "free", json!({})).await?;
        assert!(!free.finalizers().iter().any(|finalizer| finalizer == FINALIZER));
        until("an Event about the unprotected pod", async || {
            let events = bench.events(&namespace, "free").await?;
            Ok(events.into_iter().find(|event| event.starts_with("Unprotected")))
        })
        .await
    }
    .await;
    // Also after a failure: the other tests need it.
    bench.scale("lameduck-webhook", 2).await?;
    seen?;
    bench.gone(&namespace).await
}

/// A label that names no policy: the pod runs, unprotected, and everybody who looks is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_policy_is_told() -> Result<()> {
    let bench = Bench::take().await?;
    let namespace = bench.namespace("unknown", json!({POLICY_LABEL: "defualt"})).await?;
    let manifest = std::env::temp_dir().join("lameduck-unknown-policy.json");
    std::fs::write(&manifest, serde_json::to_string(&pod("lost", json!({})))?)?;
    let path = manifest.to_string_lossy();
    let output = bench.cluster.kubectl(["-n", &namespace, "apply", "-f", &path]).output().await?;
    let warning = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{warning}");
    assert!(warning.contains("defualt") && warning.contains("default"), "{warning}");
    until("an Event about the unknown policy", async || {
        let events = bench.events(&namespace, "lost").await?;
        Ok(events.into_iter().find(|event| event.starts_with("UnknownPolicy")))
    })
    .await?;
    bench.gone(&namespace).await
}

/// Our own namespace and the system's are never touched, whatever their labels say.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_system_is_left_alone() -> Result<()> {
    let bench = Bench::take().await?;
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    for namespace in ["kube-system", SYSTEM_NAMESPACE] {
        let mut labelled = pod("labelled", json!({}));
        labelled.labels_mut().insert(POLICY_LABEL.to_owned(), "default".to_owned());
        // Restricted Pod Security holds in our own namespace.
        if let Some(spec) = labelled.spec.as_mut() {
            spec.security_context = serde_json::from_value(json!({
                "runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"},
            }))?;
            for container in &mut spec.containers {
                container.security_context = serde_json::from_value(json!({
                    "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
                }))?;
            }
        }
        let made = bench.api::<Pod>(namespace).create(&dry_run, &labelled).await?;
        assert!(!made.annotations().contains_key(ANNOTATION_INJECTED), "{namespace}");
    }
    let nodes: Api<Node> = Api::all(bench.client.clone());
    assert_eq!(nodes.list(&kube::api::ListParams::default()).await?.items.len(), 2);
    Ok(())
}
