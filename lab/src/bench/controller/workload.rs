//! Ten thousand pods without a kubelet, and their ends.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{Api, ListParams, PostParams, WatchEvent, WatchParams};
use kube::{Client, ResourceExt};
use serde_json::json;
use tokio::time::{Instant, interval, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::Options;
use crate::bench::hollow::{HollowNode, HollowPod, PATIENCE, is_traffic_off, object};
use crate::progress::{Progress, Step};

/// Pods per namespace, behind one Service: some EndpointSlices each.
const PODS_PER_NAMESPACE: usize = 500;
/// Label of the pods whose end is measured.
const ENDS: &str = "bench=ends";

/// What was measured, each sorted.
pub(super) struct Ends {
    /// From before the write that ends a container to the end of the finalizer.
    pub(super) releases: Vec<Duration>,
    /// That write alone: the API server's part, which a release has twice.
    pub(super) writes: Vec<Duration>,
}

/// The pods of the bench.
pub(super) struct Workload {
    client: Client,
    options: Options,
    node: HollowNode,
    pods: Vec<HollowPod>,
}

impl Workload {
    /// Makes the node and the namespaces.
    pub(super) async fn new(client: Client, options: Options) -> Result<Self> {
        let node = HollowNode::new(client.clone()).await?;
        for number in 0..options.pods.div_ceil(PODS_PER_NAMESPACE) {
            let name = namespace_of(number * PODS_PER_NAMESPACE);
            node.namespace(&name, json!({ "lameduck.dev/policy": "default" })).await?;
            let service = object(json!({
                "metadata": { "name": "web" },
                "spec": { "selector": { "app": "web" }, "ports": [{ "port": 80, "targetPort": 8080 }] },
            }))?;
            let services: Api<Service> = Api::namespaced(client.clone(), &name);
            services.create(&PostParams::default(), &service).await.context("no Service")?;
        }
        let pods = (0..options.pods).map(|number| {
            let ends = if number < options.ends { "ends" } else { "stays" };
            HollowPod::new(number, namespace_of(number), vec![("bench", ends.to_owned())])
        });
        let pods = pods.collect::<Result<_>>()?;
        Ok(Self { client, options, node, pods })
    }

    /// Keeps the node Ready.
    pub(super) fn keep_node_alive(&self) -> AbortOnDropHandle<()> {
        self.node.keep_alive()
    }

    /// Creates every pod and says of each that it runs.
    pub(super) async fn create(&self, progress: &Progress) -> Result<()> {
        self.node.create(&self.pods, progress).await
    }

    /// Deletes the pods to be measured, waits until their traffic is off, and ends their containers one
    /// by one.
    pub(super) async fn ends(&self, step: &mut Step) -> Result<Ends> {
        let ends = self.options.ends;
        let ending = self.pods.get(..ends).context("more ends than pods")?;
        self.node.delete(ending).await?;
        let version = timeout(PATIENCE, self.traffic_off(step))
            .await
            .context("traffic did not get off for every pod")??;
        let (stamps, stamped) = tokio::sync::mpsc::unbounded_channel();
        let gone = tokio::spawn(watch(self.client.clone(), version, ends, stamped));
        let mut writes = Vec::new();
        let mut due = interval(Duration::from_secs(1) / self.options.ends_per_second.max(1));
        for (number, pod) in ending.iter().enumerate() {
            due.tick().await;
            step.message(format!("container {} of {ends} ends", number + 1));
            // From before the request: the API server's own time counts too.
            let began = Instant::now();
            stamps.send((pod.name.clone(), began)).context("the watch has ended")?;
            self.node.end(pod).await?;
            writes.push(began.elapsed());
        }
        drop(stamps);
        let mut releases = gone.await.context("the watch ended without a word")??;
        writes.sort_unstable();
        releases.sort_unstable();
        Ok(Ends { releases, writes })
    }

    /// Waits until every deleted pod's condition says that traffic is off. Returns where to watch from.
    async fn traffic_off(&self, step: &mut Step) -> Result<String> {
        let pods: Api<Pod> = Api::all(self.client.clone());
        loop {
            let list = pods.list(&ListParams::default().labels(ENDS)).await?;
            let conditions = |pod: &Pod| pod.status.as_ref()?.conditions.clone();
            let is_off = |pod: &&Pod| is_traffic_off(&conditions(pod).unwrap_or_default());
            let off = list.iter().filter(is_off).count();
            step.message(format!("traffic is off for {off} of {}", self.options.ends));
            if off == self.options.ends {
                return list.metadata.resource_version.context("a list without a version");
            }
            sleep(Duration::from_millis(500)).await;
        }
    }
}

/// Takes the time between a container's end and the finalizer's, for `count` pods.
async fn watch(
    client: Client,
    version: String,
    count: usize,
    mut stamped: tokio::sync::mpsc::UnboundedReceiver<(String, Instant)>,
) -> Result<Vec<Duration>> {
    let pods: Api<Pod> = Api::all(client);
    let params = WatchParams::default().labels(ENDS).timeout(280);
    let mut events = pods.watch_metadata(&params, &version).await?.boxed();
    let mut began: HashMap<String, Instant> = HashMap::new();
    let mut took = Vec::new();
    while took.len() < count {
        let event = timeout(PATIENCE, events.try_next())
            .await
            .with_context(|| format!("{} finalizers never went", count - took.len()))??;
        let now = Instant::now();
        began.extend(std::iter::from_fn(|| stamped.try_recv().ok()));
        match event {
            Some(WatchEvent::Modified(pod) | WatchEvent::Deleted(pod)) => {
                if pod.finalizers().is_empty()
                    && let Some(began) = began.remove(&pod.name_any())
                {
                    took.push(now - began);
                }
            }
            Some(WatchEvent::Error(status)) => bail!("the watch failed: {}", status.message),
            Some(WatchEvent::Added(_) | WatchEvent::Bookmark(_)) => {}
            None => bail!("the watch ended before its time"),
        }
    }
    Ok(took)
}

fn namespace_of(number: usize) -> String {
    format!("bench-{}", number / PODS_PER_NAMESPACE)
}
