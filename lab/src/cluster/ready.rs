//! When a cluster is up: the waits of [`super::Cluster::up`], each with its bound.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client};

use super::apply::feed;
use super::owner::Owner;
use super::plan::NODES;
use super::run_directory::RunDirectory;
use crate::assets::Assets;
use crate::process::bound;

const CLUSTER_DNS: &str = include_str!("recipes/coredns.yaml");

/// Each wait takes seconds on an idle machine: one that takes two minutes hangs.
const WAIT_SECONDS: u64 = 120;

/// Waits until both nodes' containerds listen.
pub(super) async fn containerds(run: &RunDirectory, owner: &mut Owner) -> Result<()> {
    for node in &NODES {
        let socket = run.containerd_socket(node.name);
        // The socket is there a moment before containerd listens on it.
        owner
            .wait_for(WAIT_SECONDS, |_| std::os::unix::net::UnixStream::connect(&socket).is_ok())
            .await?;
    }
    Ok(())
}

/// Waits until both nodes are Ready.
pub(super) async fn nodes(client: &Client) -> Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    wait(async || {
        let mut missing = Vec::new();
        for node in &NODES {
            let found = nodes
                .get_opt(node.name)
                .await
                .with_context(|| format!("the node {} cannot be read", node.name))?;
            let conditions = found
                .and_then(|node| node.status)
                .and_then(|status| status.conditions)
                .unwrap_or_default();
            match conditions.into_iter().find(|condition| condition.type_ == "Ready") {
                Some(condition) if condition.status == "True" => {}
                Some(condition) => missing.push(format!(
                    "{}: {}",
                    node.name,
                    condition.message.unwrap_or_default()
                )),
                None => missing.push(format!("{} has not registered", node.name)),
            }
        }
        Ok(missing.join("; "))
    })
    .await
    .context("the nodes do not become Ready")
}

/// Applies the cluster's DNS.
pub(super) async fn cluster_dns_applied(run: &RunDirectory, assets: &Assets) -> Result<()> {
    let mut kubectl = bound(assets.program("kubectl")?);
    kubectl.args(["apply", "--server-side", "--filename", "-"]).env("KUBECONFIG", run.kubeconfig());
    feed(&mut kubectl, CLUSTER_DNS).await.context("the cluster's DNS cannot be applied")
}

/// Waits until the cluster's DNS serves: pods may ask it from their first moment.
pub(super) async fn cluster_dns(client: &Client) -> Result<()> {
    let sets: Api<DaemonSet> = Api::namespaced(client.clone(), "kube-system");
    wait(async || {
        let found = sets.get("coredns").await.context("the cluster's DNS cannot be read")?;
        let available = found.status.and_then(|status| status.number_available).unwrap_or(0);
        let missing = NODES.len().saturating_sub(usize::try_from(available).unwrap_or(0));
        Ok(if missing == 0 {
            String::new()
        } else {
            format!("{missing} of its pods are not available")
        })
    })
    .await
    .context("the cluster's DNS does not start")
}

/// Asks `missing` until it says nothing. A failed question is asked again.
async fn wait(missing: impl AsyncFn() -> Result<String>) -> Result<()> {
    let begin = Instant::now();
    loop {
        let said = match missing().await {
            Ok(nothing) if nothing.is_empty() => return Ok(()),
            Ok(said) => said,
            Err(error) => format!("{error:#}"),
        };
        if begin.elapsed().as_secs() > WAIT_SECONDS {
            bail!("after {WAIT_SECONDS} s: {said}");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
