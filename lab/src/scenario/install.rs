//! Lameduck on the lab's cluster, as an admin installs it: `kubectl apply -k manifests/base`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::{ListParams, PostParams};
use lameduck_api::names::{POLICY_LABEL, SYSTEM_NAMESPACE};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep};

use super::front::SECRET;
use crate::clb;
use crate::clb::model::LoadBalancer;
use crate::clb::process::Admin;
use crate::cluster::Cluster;
use crate::images;
use crate::process::output;
use crate::progress::{Progress, Step};

/// How long Lameduck may take to be ready.
const READY_LIMIT: Duration = Duration::from_secs(120);
/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(300);

/// Whom Lameduck is installed to ask whether traffic is off.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Provider {
    /// As `manifests/base` has it.
    EndpointSlice,
    /// The lab's stand-in of the CLB API too, by `manifests/components/tencent-clb`.
    TencentClb,
}

/// What was installed, to see later whether it still stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Installed {
    provider: Provider,
    /// Of each Deployment; they grow with every change of its `spec`.
    generations: BTreeMap<String, Option<i64>>,
}

impl Installed {
    fn new(provider: Provider, deployments: &[Deployment]) -> Self {
        let generation = |one: &Deployment| Some((name(one)?, one.metadata.generation));
        Self { provider, generations: deployments.iter().filter_map(generation).collect() }
    }

    /// Installs `provider`. Nothing is applied where it is what stands already, and where nobody has changed
    /// Lameduck's Deployments since; every replica is waited for all the same.
    ///
    /// # Errors
    /// As [`install`].
    pub async fn renew(
        self,
        cluster: &Cluster,
        provider: Provider,
        progress: &Progress,
    ) -> Result<Self> {
        if self != Self::new(provider, &list(&deployments(cluster).await?).await?) {
            return install(cluster, provider, progress).await;
        }
        let mut step = progress.step("waiting for Lameduck");
        wait_until_ready(cluster, &mut step).await?;
        Ok(self)
    }
}

/// Applies the checkout's manifests, and waits until every replica is ready. Pods that run an older build of
/// the images, or ask somebody else, are replaced.
///
/// # Errors
/// The manifests are refused, or something is not ready within 120 s.
pub async fn install(
    cluster: &Cluster,
    provider: Provider,
    progress: &Progress,
) -> Result<Installed> {
    let mut step = progress.step("installing Lameduck");
    let directory = kustomization(cluster, provider)?;
    let mut apply = cluster.kubectl(["apply", "--kustomize"]);
    output("kubectl apply of Lameduck's manifests", apply.arg(directory)).await?;
    let deployments = wait_until_ready(cluster, &mut step).await?;
    step.done("");
    Ok(Installed::new(provider, &deployments))
}

/// Waits until every replica of Lameduck's Deployments is ready, and returns them.
async fn wait_until_ready(cluster: &Cluster, step: &mut Step) -> Result<Vec<Deployment>> {
    let deployments = deployments(cluster).await?;
    let end = Instant::now() + READY_LIMIT;
    loop {
        let list = list(&deployments).await?;
        let missing: Vec<String> =
            list.iter().filter(|one| !is_ready(one)).filter_map(name).collect();
        if missing.is_empty() && !list.is_empty() {
            match reach_webhook(cluster).await {
                Ok(()) => return Ok(list),
                Err(error) if Instant::now() >= end => {
                    return Err(error).context("the API server does not reach the webhook");
                }
                Err(_) => step.message("waiting until the API server reaches the webhook"),
            }
        } else {
            step.message(format!("waiting for {}", missing.join(" and ")));
        }
        if Instant::now() >= end {
            let mut command = cluster.kubectl(["get", "pods", "--namespace", SYSTEM_NAMESPACE]);
            let pods = output("kubectl get pods", &mut command).await.unwrap_or_default();
            let seconds = READY_LIMIT.as_secs();
            bail!(
                "Lameduck is not ready after {seconds} s: {} is missing\n{pods}",
                missing.join(", ")
            );
        }
        sleep(PAUSE).await;
    }
}

/// Pods that are ready are reached through their Service only once kube-proxy has followed, and until then a
/// change to an enrolled workload is refused. Nothing is created.
async fn reach_webhook(cluster: &Cluster) -> Result<()> {
    let probe = json!({
        "metadata": {"name": "probe", "labels": {POLICY_LABEL: "default"}},
        "spec": {
            "selector": {"matchLabels": {"app": "probe"}},
            "template": {
                "metadata": {"labels": {"app": "probe"}},
                "spec": {"containers": [{"name": "probe", "image": "probe"}]},
            },
        },
    });
    let api: Api<Deployment> = Api::namespaced(cluster.client().await?, "default");
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    api.create(&dry_run, &serde_json::from_value(probe)?).await?;
    Ok(())
}

async fn deployments(cluster: &Cluster) -> Result<Api<Deployment>> {
    Ok(Api::namespaced(cluster.client().await?, SYSTEM_NAMESPACE))
}

async fn list(deployments: &Api<Deployment>) -> Result<Vec<Deployment>> {
    let list = deployments.list(&ListParams::default()).await;
    Ok(list.context("Lameduck's Deployments cannot be listed")?.items)
}

fn name(deployment: &Deployment) -> Option<String> {
    deployment.metadata.name.clone()
}

fn is_ready(deployment: &Deployment) -> bool {
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    deployment.status.as_ref().is_some_and(|status| {
        status.observed_generation == deployment.metadata.generation
            && [status.ready_replicas, status.updated_replicas, status.replicas]
                .iter()
                .all(|count| *count == Some(wanted))
    })
}

/// A kustomization around `manifests/base` that marks the pods with the images' contents: images of
/// one name and another content must replace the pods.
fn kustomization(cluster: &Cluster, provider: Provider) -> Result<PathBuf> {
    let directory = cluster.run_directory().join("install");
    std::fs::create_dir_all(&directory)
        .with_context(|| format!("{} cannot be made", directory.display()))?;
    let manifests = images::product::workspace().join("manifests");
    let mark = images_mark(&cluster.images_dir())?;
    let annotation = json!({"lab.lameduck.dev/images": mark});
    let patch = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "any"},
        "spec": {"template": {"metadata": {"annotations": annotation}}},
    });
    let mut kustomization = json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [relative(&directory, &manifests.join("base"))?],
        "patches": [{"patch": patch.to_string(), "target": {"kind": "Deployment"}}],
    });
    if provider == Provider::TencentClb {
        let component = relative(&directory, &manifests.join("components/tencent-clb"))?;
        json_patch::merge(&mut kustomization, &tencent_clb(&component));
        if let Some(patches) = kustomization["patches"].as_array_mut() {
            patches.push(json!({"patch": clb_endpoint(cluster).to_string()}));
        }
    }
    let file = directory.join("kustomization.yaml");
    std::fs::write(&file, kustomization.to_string())
        .with_context(|| format!("{} cannot be written", file.display()))?;
    Ok(directory)
}

/// What an admin adds on TKE: the component, and the region, VPC and keys.
fn tencent_clb(component: &Path) -> Value {
    let (id, key) = SECRET;
    let made = LoadBalancer::new("any");
    json!({
        "components": [component],
        "configMapGenerator": [{
            "name": "lameduck-clb",
            "namespace": SYSTEM_NAMESPACE,
            "literals": [format!("region={}", made.region), format!("vpcId={}", made.vpc_id)],
        }],
        "secretGenerator": [{
            "name": "lameduck-clb-credentials",
            "namespace": SYSTEM_NAMESPACE,
            "literals": [format!("secretId={id}"), format!("secretKey={key}")],
        }],
    })
}

/// The stand-in in place of Tencent's API.
fn clb_endpoint(cluster: &Cluster) -> Value {
    let address = SocketAddr::new(cluster.lb_address().into(), clb::server::PORT);
    let endpoint = Admin::new(address).endpoint();
    let env = json!([
        {"name": "LAMEDUCK_CLB_ENDPOINT", "value": endpoint},
        // What is signed for is told by the first label of the host.
        {"name": "LAMEDUCK_CLB_HOST", "value": "clb.tencentcloudapi.com"},
    ]);
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "lameduck-controller", "namespace": SYSTEM_NAMESPACE},
        "spec": {"template": {"spec": {"containers": [{"name": "controller", "env": env}]}}},
    })
}

/// A hash over the product's image archives in `directory`.
fn images_mark(directory: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    for name in ["webhook", "controller"] {
        let path = directory.join(format!("{name}-0.1.0.tar"));
        let bytes = std::fs::read(&path)
            .with_context(|| format!("the image {} cannot be read", path.display()))?;
        hash.update(bytes);
    }
    let digest = hash.finalize();
    Ok(digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

/// The way from `directory` to `target`: kustomize takes no absolute paths.
fn relative(directory: &Path, target: &Path) -> Result<PathBuf> {
    let real = |path: &Path| {
        path.canonicalize().with_context(|| format!("{} cannot be found", path.display()))
    };
    let (directory, target) = (real(directory)?, real(target)?);
    let ups = directory.components().filter(|part| matches!(part, Component::Normal(_))).count();
    let mut way: PathBuf = std::iter::repeat_n("..", ups).collect();
    way.extend(target.components().filter(|part| matches!(part, Component::Normal(_))));
    Ok(way)
}
