//! What `status` says of a pod that is held, to whom, and where nobody reads on.

use std::process::Stdio;

use anyhow::{Context, Result};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::Api;
use kube::api::{DeleteParams, ObjectMeta, PostParams};
use kube::config::Kubeconfig;
use serde_json::{Value, json};
use tokio::process::Command;

use super::Program;
use crate::bench::{Bench, pod_gone, until};

/// A pod whose traffic settles for ten minutes is shown with what its hold said. Who may read nothing hears
/// which right is missing, and a reader that goes away is no failure.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_pod_is_shown_with_what_it_waits_for() -> Result<()> {
    let bench = Bench::take().await?;
    let program = Program::new(&bench).await?;
    let spec = json!({"trafficOff": {"settleSeconds": 600}});
    let namespace = bench.enrolled("status", spec).await?;
    let pods: Api<Pod> = bench.api(&namespace);
    bench.ready_pod(&namespace, "web", json!({})).await?;
    bench.serve(&namespace, "web").await?;
    let status = ["status", "-n", &namespace];

    pods.delete("web", &DeleteParams::default()).await?;
    // The leader writes the condition, and a hold asks when it begins: both take a moment.
    let said = until("status to know of the pod and its hold", async || {
        let said = program.json(&status).await?;
        let pod = &said["ending"][0];
        let is_settling = pod["traffic"]["reason"] == "Settling";
        let waits = pod["holds"][0]["phase"] == "WaitingForTraffic";
        Ok((is_settling && waits).then_some(said))
    })
    .await?;
    let [pod] = ending(&said)? else { anyhow::bail!("one pod ends: {said}") };
    assert_eq!((&pod["pod"], &pod["phase"]), (&json!("web"), &json!("WaitingForTraffic")));
    assert_eq!(pod["traffic"]["off"], false, "{said}");
    let left = pod["deadlineInSeconds"].as_i64().context("no deadline")?;
    assert!(left > 0, "{said}");
    let shown = program.says(0, &status).await?;
    assert!(shown.contains("Settling"), "{shown}");

    let nobody = without_rights(&bench, &program, &namespace).await?;
    let refused = nobody.says(1, &status).await?;
    std::fs::remove_file(&nobody.kubeconfig)?;
    assert!(refused.contains("cannot be listed") && refused.contains("forbidden"), "{refused}");
    closed(&program, &status).await?;

    let release = ["release", "pod/web", "-n", &namespace, "--reason", "INC-4711", "--yes"];
    program.says(0, &release).await?;
    pod_gone(&pods, "web").await?;
    bench.gone(&namespace).await
}

/// The program as a ServiceAccount that nobody gave rights.
async fn without_rights(bench: &Bench, program: &Program, namespace: &str) -> Result<Program> {
    let accounts: Api<ServiceAccount> = bench.api(namespace);
    let account = ServiceAccount {
        metadata: ObjectMeta { name: Some("nobody".to_owned()), ..ObjectMeta::default() },
        ..ServiceAccount::default()
    };
    accounts.create(&PostParams::default(), &account).await?;
    let request = TokenRequest::default();
    let answer = accounts.create_token_request("nobody", &PostParams::default(), &request).await?;
    let token = answer.status.context("no token")?.token;
    let mut config = serde_json::to_value(Kubeconfig::read_from(&program.kubeconfig)?)?;
    for user in config["users"].as_array_mut().context("no users")? {
        user["user"] = json!({"token": token});
    }
    let kubeconfig = std::env::temp_dir().join(format!("lameduck-{namespace}.kubeconfig"));
    std::fs::write(&kubeconfig, config.to_string())?;
    Ok(Program { path: program.path.clone(), kubeconfig })
}

fn ending(status: &Value) -> Result<&[Value]> {
    Ok(status["ending"].as_array().context("no pods that end")?)
}

/// As in `status | head -0`: nobody reads what it prints.
async fn closed(program: &Program, arguments: &[&str]) -> Result<()> {
    let mut child = Command::new(&program.path)
        .args(arguments)
        .env("KUBECONFIG", &program.kubeconfig)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    drop(child.stdout.take());
    let output = child.wait_with_output().await?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("panicked"), "{said}");
    assert_eq!(output.status.code(), Some(0), "{said}");
    Ok(())
}
