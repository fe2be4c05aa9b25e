//! `bench cli`: what `kubectl lameduck status` takes where ten thousand pods are enrolled.
//!
//! The program is the one that users get. The pods are API objects only, and no controller runs: a status
//! asks none but the API server.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use kube::api::{Api, DeleteParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::time::Instant;

use super::hollow::{HollowNode, HollowPod, object};
use super::process::Memory;
use super::{Figure, MIB, apply_definition, apply_definition_of, quantile};
use crate::cluster::{Cluster, Options as ClusterOptions};
use crate::images::product;
use crate::process::bound;
use crate::progress::Progress;

/// What the command is given to look at.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Enrolled pods.
    pub pods: usize,
    /// Namespaces, each with one Deployment.
    pub namespaces: usize,
    /// Pods of them that end.
    pub ends: usize,
    /// How often the command runs.
    pub runs: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { pods: 10_000, namespaces: 20, ends: 20, runs: 10 }
    }
}

/// The budgets of the specification.
const SECONDS: f64 = 2.0;
const MEMORY_MIB: f64 = 100.0;
/// What one list may answer at once.
const PAGE: f64 = 500.0;

/// Builds the command, fills a cluster of its own with pods, and measures.
///
/// # Errors
/// The cluster does not come up, or the command fails or does not see what is there.
pub async fn run(options: Options, progress: &Progress) -> Result<Vec<Figure>> {
    let binary = product::cli_of_users(progress).await?;
    let cluster_options =
        ClusterOptions { product_images: false, ..ClusterOptions::owned("bench-cli")? };
    let cluster = Cluster::up(&cluster_options, progress).await?;
    apply_definition(&cluster).await?;
    apply_definition_of(&cluster, "upgrades").await?;
    let client = cluster.client().await?;
    let node = HollowNode::new(client.clone()).await?;
    let _alive = node.keep_alive();
    let pods = workloads(&client, &node, options).await?;
    node.create(&pods, progress).await?;
    let (ending, _) = pods.split_at_checked(options.ends).context("more ends than pods")?;
    node.delete(ending).await?;
    node.say(ending, &traffic_on()).await?;

    let mut step = progress.step("measuring the command");
    let (mut times, mut peak_bytes, mut pages, mut lists) = (Vec::new(), 0, 0, 0);
    // The first run finds the API server's caches cold, as a person does; it is measured as well.
    for number in 0..options.runs {
        step.message(format!("run {} of {}", number + 1, options.runs));
        let before = Lists::read(&client).await?;
        let ran = status(&binary, &cluster.kubeconfig()).await?;
        let after = Lists::read(&client).await?;
        ran.check(options)?;
        times.push(ran.took);
        peak_bytes = peak_bytes.max(ran.peak_bytes);
        pages = pages.max(after.pods.saturating_sub(before.pods));
        lists = lists.max(after.all.saturating_sub(before.all));
    }
    cluster.down().await?;
    times.sort_unstable();
    step.done("");

    let Options { pods, namespaces, ends, runs } = options;
    let what = format!("{pods} enrolled pods in {namespaces} namespaces, {ends} ending");
    ensure!(pages > 0, "the API server counted no list of pods");
    let median = quantile(&times, 50)?.as_secs_f64();
    let slowest = quantile(&times, 100)?.as_secs_f64();
    Ok(vec![
        Figure::for_information(format!("`status -A -o json`, {what}: median"), median, "s"),
        Figure::at_most(format!("slowest of {runs}"), slowest, SECONDS, "s"),
        Figure::at_most("peak resident memory", peak_bytes as f64 / MIB, MEMORY_MIB, "MiB"),
        Figure::at_most(
            "pods in one answer, on average over its pages",
            pods as f64 / pages as f64,
            PAGE,
            "pods",
        ),
        Figure::for_information(
            "lists that the API server answered, for one run",
            lists as f64,
            "",
        ),
    ])
}

/// Makes the namespaces and their Deployments. Returns the pods that are to be made.
///
/// The Deployment is paused, and its ReplicaSet is being deleted and kept by a finalizer: so no controller
/// makes, adopts or deletes a pod, and the garbage collector sees that the owner is there.
async fn workloads(client: &Client, node: &HollowNode, options: Options) -> Result<Vec<HollowPod>> {
    let each = options.pods.div_ceil(options.namespaces);
    let mut pods = Vec::new();
    for number in 0..options.namespaces {
        let namespace = format!("bench-{number}");
        node.namespace(&namespace, json!({ "lameduck.dev/policy": "default" })).await?;
        let labels = json!({ "app": "web", "pod-template-hash": "7d4b9c6f58" });
        let template = json!({
            "metadata": { "labels": labels },
            "spec": { "containers": [{ "name": "web", "image": "registry.example/shop/web:1.2.3" }] },
        });
        let deployment = object(json!({
            "metadata": { "name": "web" },
            "spec": {
                "replicas": each, "paused": true,
                "selector": { "matchLabels": { "app": "web" } }, "template": template,
            },
        }))?;
        let deployments: Api<Deployment> = Api::namespaced(client.clone(), &namespace);
        deployments.create(&PostParams::default(), &deployment).await.context("no Deployment")?;
        let set = object(json!({
            "metadata": { "name": "web-7d4b9c6f58", "finalizers": ["bench.lameduck.dev/keep"] },
            "spec": {
                "replicas": 0,
                "selector": { "matchLabels": { "app": "web", "pod-template-hash": "7d4b9c6f58" } },
                "template": template,
            },
        }))?;
        let sets: Api<ReplicaSet> = Api::namespaced(client.clone(), &namespace);
        let set = sets.create(&PostParams::default(), &set).await.context("no ReplicaSet")?;
        sets.delete(&set.name_any(), &DeleteParams::background()).await.context("no deletion")?;
        let owner = json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": set.name_any(),
            "uid": set.uid(), "controller": true,
        });
        let first = number * each;
        for pod in first..options.pods.min(first + each) {
            let pod = HollowPod::new(pod, namespace.clone(), Vec::new())?;
            pods.push(HollowPod { owner: Some(owner.clone()), ..pod });
        }
    }
    Ok(pods)
}

/// What the controller writes on a pod that still gets traffic.
fn traffic_on() -> Value {
    json!({ "conditions": [{
        "type": "lameduck.dev/TrafficOff", "status": "False", "reason": "ClbWeightNotZero",
        "message": "CLB lb-bench still sends to it: lbl-bench TCP:80 -> :8080 weight 10",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }] })
}

/// One run of the command.
struct Ran {
    took: Duration,
    peak_bytes: u64,
    document: Value,
}

impl Ran {
    /// Whether it saw what is there.
    fn check(&self, options: Options) -> Result<()> {
        let rows =
            |name: &str| self.document[name].as_array().map(Vec::as_slice).unwrap_or_default();
        let protected: u64 =
            rows("workloads").iter().filter_map(|one| one["protected"].as_u64()).sum();
        let expected = options.pods - options.ends;
        ensure!(
            usize::try_from(protected)? == expected,
            "{protected} of {expected} protected pods were seen"
        );
        let workloads = rows("workloads").len();
        ensure!(workloads == options.namespaces, "{workloads} workloads were seen");
        let read = rows("ending").iter().filter(|pod| pod["traffic"]["off"] == json!(false));
        let read = read.count();
        ensure!(read == options.ends, "{read} of {} pods that end were read", options.ends);
        Ok(())
    }
}

/// Runs the command to its end.
///
/// It writes when it has read and decided everything. The pipe is too small for its document, so it is
/// still there when the first bytes come, and the kernel says what it took of memory at most.
async fn status(binary: &Path, kubeconfig: &Path) -> Result<Ran> {
    let began = Instant::now();
    let mut child = bound(binary)
        .args(["status", "--all-namespaces", "--output", "json"])
        .env("KUBECONFIG", kubeconfig)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("the command cannot be started")?;
    let pid = child.id().context("the command has no process id")?;
    let mut stdout = child.stdout.take().context("the command has no output")?;
    rustix::pipe::fcntl_setpipe_size(&stdout, 4096).context("the pipe cannot be made small")?;
    let mut text = vec![0; 1024];
    stdout.read_exact(&mut text).await.context("the command printed next to nothing")?;
    let memory = Memory::of(pid)?;
    stdout.read_to_end(&mut text).await?;
    let ended = child.wait().await?;
    let took = began.elapsed();
    ensure!(ended.success(), "the command failed: {ended}");
    let document = serde_json::from_slice(&text).context("the command printed no JSON")?;
    Ok(Ran { took, peak_bytes: memory.peak_bytes, document })
}

/// Lists that the API server has answered since it started.
struct Lists {
    /// Of pods.
    pods: u64,
    /// Of everything that a status reads.
    all: u64,
}

impl Lists {
    async fn read(client: &Client) -> Result<Self> {
        const KINDS: [&str; 6] = [
            "pods",
            "deployments",
            "statefulsets",
            "namespaces",
            "upgrades",
            "terminationpolicies",
        ];
        let request = axum::http::Request::get("/metrics").body(Vec::new())?;
        let text = client.request_text(request).await.context("the API server has no metrics")?;
        let count = |resource: &str| {
            let resource = format!("resource=\"{resource}\"");
            let lines = text.lines().filter(|line| {
                line.starts_with("apiserver_request_total{")
                    && line.contains("verb=\"LIST\"")
                    && line.contains(&resource)
            });
            lines
                .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
                .map(|value| value as u64)
                .sum::<u64>()
        };
        Ok(Self { pods: count("pods"), all: KINDS.map(count).iter().sum() })
    }
}
