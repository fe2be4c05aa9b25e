//! `check` finds each planted fault, and says nothing of a healthy cluster.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, Secret};
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use lameduck_api::names::{POLICY_LABEL, SYSTEM_NAMESPACE};
use lameduck_lab::clb::credentials::Secret as Key;
use lameduck_lab::images::product::cli_of_tests;
use lameduck_lab::scenario::{Provider, SECRET, Stage};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::bench::{Bench, is_ready, pod, pod_gone, until};

/// Ended in January 2020. It belongs to no key.
const EXPIRED: &str = include_str!("expired.pem");
const TLS_SECRET: &str = "lameduck-webhook-tls";
/// No node has it: such a pod costs nothing, and never runs.
const NOWHERE: &str = "lameduck.dev/nowhere";

/// `kubectl lameduck check -n NAMESPACE -o json`.
struct Doctor<'a> {
    bench: &'a Bench,
    program: PathBuf,
    namespace: &'a str,
}

impl Doctor<'_> {
    /// The exit code and the document.
    async fn look(&self) -> Result<(i32, Value)> {
        let output = Command::new(&self.program)
            .args(["check", "-n", self.namespace, "-o", "json"])
            .env("KUBECONFIG", self.bench.cluster.kubeconfig())
            .output()
            .await?;
        let said = String::from_utf8_lossy(&output.stderr);
        let document = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("check said no JSON: {said}"))?;
        Ok((output.status.code().context("check was killed")?, document))
    }

    /// Waits until this is found, and returns its message. The exit code is 1 for errors alone.
    async fn finds(&self, severity: &str, reason: &str, object: &str) -> Result<String> {
        let what = format!("check to find {reason} of {object}");
        let (exit, finding) = until(&what, async || {
            let (exit, document) = self.look().await?;
            let all = document["findings"].as_array().context("no findings")?;
            let found = all.iter().find(|one| one["reason"] == reason && one["object"] == object);
            // What was found instead is told at the end of the wait.
            ensure!(found.is_some(), "exit {exit}: {document}");
            let errors = all.iter().any(|one| one["severity"] == "error");
            assert_eq!(exit, i32::from(errors), "{document}");
            Ok(found.cloned().map(|finding| (exit, finding)))
        })
        .await?;
        assert_eq!(finding["severity"], severity, "{finding}");
        assert!(severity != "error" || exit == 1);
        assert!(finding["cure"].as_str().is_some_and(|cure| !cure.is_empty()), "{finding}");
        Ok(finding["message"].as_str().context("no message")?.to_owned())
    }

    /// Waits until nothing is found.
    async fn is_silent(&self) -> Result<()> {
        until("check to be silent", async || {
            let (exit, document) = self.look().await?;
            ensure!(document["findings"] == json!([]), "{document}");
            assert_eq!(exit, 0, "{document}");
            Ok(Some(()))
        })
        .await
    }
}

fn homeless(name: &str) -> Pod {
    pod(name, json!({"nodeSelector": {NOWHERE: "true"}}))
}

/// A workload of pods that no node takes.
fn workload(name: &str, replicas: u32) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "serviceName": name,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": homeless(name).spec},
        },
    })
}

/// Ten faults, one after the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_planted_faults_are_found_and_a_healthy_cluster_is_silent() -> Result<()> {
    let bench = Bench::take_with(Provider::TencentClb).await?;
    let stage = Stage::open(&bench.cluster).await?;
    let clb = stage.clb().await?;
    let program = cli_of_tests(&bench.progress).await?;
    let spec = json!({
        "hold": {"until": "TrafficOff"},
        "trafficOff": {"provider": "EndpointSlice", "settleSeconds": 0},
    });
    let namespace = bench.enrolled("doctor", spec).await?;
    let doctor = Doctor { bench: &bench, program, namespace: &namespace };

    let mut healthy: StatefulSet = serde_json::from_value(workload("web", 2))?;
    if let Some(spec) = healthy.spec.as_mut() {
        spec.pod_management_policy = Some("Parallel".to_owned());
        spec.template.spec = pod("web", json!({})).spec;
    }
    bench.api::<StatefulSet>(&namespace).create(&PostParams::default(), &healthy).await?;
    let pods: Api<Pod> = bench.api(&namespace);
    until("the pods of web to be ready", async || {
        let list = pods.list(&Default::default()).await?.items;
        Ok((list.len() == 2 && list.iter().all(is_ready)).then_some(()))
    })
    .await?;
    doctor.is_silent().await?;

    policy_typo(&doctor).await?;
    single_replica(&doctor).await?;
    paused_upgrade(&doctor).await?;
    missing_right(&doctor).await?;

    clb.admin().delete("credentials").await?;
    let seen = doctor.finds("error", "ClbAccessFailed", CONTROLLER_DEPLOYMENT).await;
    clb.admin().set("credentials", &[Key::permanent(SECRET.0, SECRET.1)]).await?;
    assert!(seen?.contains("AuthFailure"));

    bench.scale("lameduck-webhook", 0).await?;
    let seen = webhook_down(&doctor).await;
    // Also after a failure: the other tests need it.
    bench.scale("lameduck-webhook", 2).await?;
    seen?;
    pods.delete("bare", &DeleteParams::default()).await?;

    bench.scale("lameduck-controller", 0).await?;
    let seen = no_controller(&doctor).await;
    bench.scale("lameduck-controller", 2).await?;
    seen?;
    pod_gone(&pods, "orphan").await?;

    doctor.is_silent().await?;
    bench.gone(&namespace).await
}

const CONTROLLER_DEPLOYMENT: &str = "deployment/lameduck-system/lameduck-controller";

async fn policy_typo(doctor: &Doctor<'_>) -> Result<()> {
    let Doctor { bench, namespace, .. } = *doctor;
    let label = async |value: &str| {
        let label = format!("{POLICY_LABEL}={value}");
        bench.kubectl(&["label", "namespace", namespace, &label, "--overwrite"]).await
    };
    label("docter").await?;
    let object = format!("namespace/{namespace}");
    let message = doctor.finds("error", "UnknownPolicy", &object).await?;
    assert!(message.contains("docter") && message.contains("did you mean doctor?"), "{message}");
    label("doctor").await?;
    doctor.is_silent().await
}

async fn single_replica(doctor: &Doctor<'_>) -> Result<()> {
    let Doctor { bench, namespace, .. } = *doctor;
    let deployments: Api<Deployment> = bench.api(namespace);
    let one = serde_json::from_value(workload("one", 1))?;
    deployments.create(&PostParams::default(), &one).await?;
    let object = format!("deployment/{namespace}/one");
    doctor.finds("warning", "SingleReplica", &object).await?;
    deployments.delete("one", &DeleteParams::foreground()).await?;
    doctor.is_silent().await
}

async fn paused_upgrade(doctor: &Doctor<'_>) -> Result<()> {
    let Doctor { bench, namespace, .. } = *doctor;
    let sets: Api<StatefulSet> = bench.api(namespace);
    let halted = serde_json::from_value(workload("halted", 2))?;
    sets.create(&PostParams::default(), &halted).await?;
    let pods: Api<Pod> = bench.api(namespace);
    until("the first pod of halted", async || Ok(pods.get_opt("halted-0").await?)).await?;
    let patch = Patch::Merge(json!({
        "metadata": {"annotations": {"lameduck.dev/paused": "true"}},
        "spec": {"template": {"metadata": {"annotations": {"revision": "next"}}}},
    }));
    sets.patch("halted", &PatchParams::default(), &patch).await?;
    let object = format!("upgrade/{namespace}/halted");
    let message = doctor.finds("warning", "UpgradePaused", &object).await?;
    assert!(
        message.contains("somebody stopped it") || message.contains("are stopped"),
        "{message}"
    );
    sets.delete("halted", &DeleteParams::foreground()).await?;
    doctor.is_silent().await
}

async fn missing_right(doctor: &Doctor<'_>) -> Result<()> {
    let roles: Api<ClusterRole> = Api::all(doctor.bench.client.clone());
    let role = roles.get("lameduck-controller").await?;
    let write = async |rules: Value| {
        let patch = Patch::Merge(json!({"rules": rules}));
        roles.patch("lameduck-controller", &PatchParams::default(), &patch).await
    };
    let of_budgets = |rule: &Value| rule["resources"] == json!(["poddisruptionbudgets"]);
    let rules = serde_json::to_value(&role.rules)?;
    let all = rules.as_array().context("no rules")?;
    let fewer: Vec<&Value> = all.iter().filter(|rule| !of_budgets(rule)).collect();
    assert_eq!(fewer.len() + 1, all.len());
    write(json!(fewer)).await?;
    let object = "serviceaccount/lameduck-system/lameduck-controller";
    let seen = doctor.finds("error", "RightsMissing", object).await;
    write(rules).await?;
    assert_eq!(seen?, "it may not list poddisruptionbudgets.policy");
    Ok(())
}

/// The webhook is away: it cannot be called, and a pod that starts meanwhile is unprotected.
async fn webhook_down(doctor: &Doctor<'_>) -> Result<()> {
    let Doctor { bench, namespace, .. } = *doctor;
    doctor.finds("error", "WebhookUnreachable", "service/lameduck-system/lameduck-webhook").await?;
    let pods: Api<Pod> = bench.api(namespace);
    pods.create(&PostParams::default(), &homeless("bare")).await?;
    let object = format!("pod/{namespace}/bare");
    doctor.finds("warning", "UnprotectedPod", &object).await?;
    Ok(())
}

/// No controller: nobody leads, nobody renews certificates, and nobody takes finalizers off.
async fn no_controller(doctor: &Doctor<'_>) -> Result<()> {
    let Doctor { bench, namespace, .. } = *doctor;
    doctor.finds("error", "NoLeader", "lease/lameduck-system/lameduck-controller").await?;

    let secrets: Api<Secret> = bench.api(SYSTEM_NAMESPACE);
    let good = secrets.get(TLS_SECRET).await?.data.context("an empty Secret")?;
    let write = async |data: Value| {
        secrets.patch(TLS_SECRET, &PatchParams::default(), &Patch::Merge(data)).await
    };
    write(json!({"stringData": {"tls.crt": EXPIRED}})).await?;
    let object = format!("secret/{SYSTEM_NAMESPACE}/{TLS_SECRET}");
    let seen = doctor.finds("error", "CertificateExpired", &object).await;
    write(json!({"data": good})).await?;
    assert!(seen?.contains("2020-01-31"));

    let pods: Api<Pod> = bench.api(namespace);
    pods.create(&PostParams::default(), &homeless("orphan")).await?;
    pods.delete("orphan", &DeleteParams::default()).await?;
    let object = format!("pod/{namespace}/orphan");
    doctor.finds("error", "OrphanFinalizer", &object).await?;
    Ok(())
}
