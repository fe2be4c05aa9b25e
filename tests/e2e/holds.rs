//! What a hold does in containers of all kinds, as it says itself when it ends.

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::DeleteParams;
use lameduck_api::names::{CONDITION_DRAINED, POLICY_LABEL};
use lameduck_lab::images::cluster::PAUSE;
use serde_json::{Value, json};

use crate::bench::{Bench, condition, until};

/// Deletes a pod and waits for what its hold reports: reason and message of `Drained`.
async fn drained(bench: &Bench, namespace: &str, name: &str) -> Result<(String, String)> {
    let pods: Api<Pod> = bench.api(namespace);
    pods.delete(name, &DeleteParams::default()).await?;
    let (status, reason, message) = until("the hold's report", async || {
        Ok(condition(&pods.get(name).await?, CONDITION_DRAINED))
    })
    .await?;
    assert_eq!(status, "True", "{reason}: {message}");
    Ok((reason, message))
}

/// No user, no shell, no library, nothing to write to, no capability: a restricted namespace runs it, and
/// the hold counts its connections.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_container_that_may_do_nothing() -> Result<()> {
    let bench = Bench::take().await?;
    // What runs here has no handler for SIGTERM: it shall not live on for long.
    bench.policy("nothing", &json!({"hold": {"maxSeconds": 5, "unreachableSeconds": 5}})).await?;
    let labels = json!({
        POLICY_LABEL: "nothing",
        "pod-security.kubernetes.io/enforce": "restricted",
    });
    let namespace = bench.namespace("nothing", labels).await?;
    let spec = json!({
        "terminationGracePeriodSeconds": 1,
        "securityContext": {
            "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [{
            "name": "app",
            "image": PAUSE,
            "imagePullPolicy": "Never",
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"]},
            },
        }],
    });
    bench.ready_pod(&namespace, "app", spec).await?;
    let (reason, message) = drained(&bench, &namespace, "app").await?;
    assert_eq!(reason, "ConnectionsClosed", "{message}");
    bench.gone(&namespace).await
}

/// The author's own preStop runs between the end of traffic and the wait for connections.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_pre_stop_of_the_authors_own() -> Result<()> {
    let bench = Bench::take().await?;
    let namespace = bench.enrolled("own", json!({})).await?;
    for (name, own) in [
        ("exec", json!({"exec": {"command": ["sleep", "1"]}})),
        ("sleep", json!({"sleep": {"seconds": 1}})),
    ] {
        let mut spec: Value = serde_json::to_value(crate::bench::pod(name, json!({})).spec)?;
        spec["containers"][0]["lifecycle"] = json!({"preStop": own});
        bench.ready_pod(&namespace, name, spec).await?;
        let (_, message) = drained(&bench, &namespace, name).await?;
        let took = message.split(", ").find(|part| part.ends_with("for its own preStop"));
        let took = took.with_context(|| format!("no preStop in {message}"))?;
        assert!(!took.starts_with("0."), "{name}: {message}");
    }
    bench.gone(&namespace).await
}

/// A client that stays connected and says nothing keeps a pod only for as long as the policy says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_client_that_stays_and_is_silent() -> Result<()> {
    let bench = Bench::take().await?;
    let hold = json!({"until": "ConnectionsIdle", "idleSeconds": 5});
    let namespace = bench.enrolled("silent", json!({"hold": hold})).await?;
    let pod = bench.ready_pod(&namespace, "web", json!({})).await?;
    let address = pod.status.and_then(|status| status.pod_ip).context("no address")?;
    // nginx waits a minute for a request that does not come.
    let connect = "exec 3<>\"/dev/tcp/$0/8080\"; echo connected; sleep 50";
    let mut client = bench
        .cluster
        .enter("bash", ["-c", connect, &address])
        .stdout(std::process::Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    let stdout = client.stdout.take().context("no output")?;
    tokio::io::AsyncBufReadExt::read_line(&mut tokio::io::BufReader::new(stdout), &mut line)
        .await?;
    assert_eq!(line, "connected\n");
    let (reason, message) = drained(&bench, &namespace, "web").await?;
    assert_eq!(reason, "ConnectionsIdle", "{message}");
    assert!(client.try_wait()?.is_none(), "the client had gone: nothing was shown");
    client.kill().await?;
    bench.gone(&namespace).await
}
