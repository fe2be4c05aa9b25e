//! When traffic was off and the finalizer went, as a watch saw it. The bench's part as a kubelet: a
//! container ends a while after traffic is off.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod as FullPod, PodCondition};
use kube::api::{Api, ApiResource, ListParams, NotUsed, Object, WatchEvent, WatchParams};
use kube::{Client, ResourceExt};
use serde::Deserialize;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use crate::bench::hollow::{HollowNode, HollowPod, PATIENCE, is_traffic_off};

/// How long a container runs on after that: its own write, and that of the finalizer, must not stand in
/// the way of the conditions that are measured.
const RUNS_ON: Duration = Duration::from_secs(3);

/// A pod as far as it matters here: a watch that is slow to read is ended by the API server.
type Pod = Object<NotUsed, Status>;

#[derive(Clone, Debug, Default, Deserialize)]
struct Status {
    #[serde(default)]
    conditions: Vec<PodCondition>,
}

/// What was seen of one pod.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// Its condition said that traffic is off.
    pub(super) off: Timestamp,
    /// Its container was about to end.
    pub(super) ended: Timestamp,
    /// Its finalizer was gone.
    pub(super) released: Timestamp,
}

/// A watch of a namespace's pods from now on.
pub(super) struct Watch {
    pods: Api<Pod>,
    version: String,
}

impl Watch {
    /// Everything that changes after this call will be seen.
    pub(super) async fn begin(client: Client, namespace: &str) -> Result<Self> {
        let resource = ApiResource::erase::<FullPod>(&());
        let pods: Api<Pod> = Api::namespaced_with(client, namespace, &resource);
        let list = pods.list_metadata(&ListParams::default()).await?;
        let version = list.metadata.resource_version.context("a list without a version")?;
        Ok(Self { pods, version })
    }

    /// Follows `pods` until all finalizers are gone, and ends their containers on `node`. `during`: how
    /// long that takes where all is well.
    pub(super) async fn follow(
        mut self,
        node: HollowNode,
        pods: Vec<HollowPod>,
        during: Duration,
    ) -> Result<HashMap<String, Seen>> {
        let deadline = Instant::now() + during + PATIENCE;
        let count = pods.len();
        let mut waiting: HashMap<String, HollowPod> =
            pods.into_iter().map(|pod| (pod.name.clone(), pod)).collect();
        let mut off: HashMap<String, Timestamp> = HashMap::new();
        let mut released: HashMap<String, Timestamp> = HashMap::new();
        let mut ends = JoinSet::new();
        let mut events = self.events().await?;
        while released.len() < count {
            let event = timeout_at(deadline, events.try_next())
                .await
                .with_context(|| format!("{} drains never ended", count - released.len()))??;
            let now = Timestamp::now();
            let pod = match event {
                Some(WatchEvent::Modified(pod) | WatchEvent::Deleted(pod)) => pod,
                Some(WatchEvent::Added(_) | WatchEvent::Bookmark(_)) => continue,
                Some(WatchEvent::Error(status)) => bail!("the watch failed: {}", status.message),
                // The API server may end a watch whenever it likes; the next one goes on from there.
                None => {
                    events = self.events().await?;
                    continue;
                }
            };
            let name = pod.name_any();
            self.version = pod.resource_version().context("a pod without a version")?;
            let conditions = pod.status.as_ref().map_or(&[][..], |status| &status.conditions);
            if is_traffic_off(conditions)
                && let Some(pod) = waiting.remove(&name)
            {
                off.insert(name.clone(), now);
                let node = node.clone();
                ends.spawn(async move {
                    sleep(RUNS_ON).await;
                    let began = Timestamp::now();
                    node.end(&pod).await.map(|()| (pod.name, began))
                });
            }
            if pod.finalizers().is_empty() {
                if waiting.contains_key(&name) {
                    bail!("the finalizer of {name} went before its traffic was off");
                }
                released.entry(name).or_insert(now);
            }
        }
        let mut seen = HashMap::new();
        while let Some(end) = ends.join_next().await {
            let (name, ended) = end.context("a container's end ended without a word")??;
            if let (Some(off), Some(released)) = (off.get(&name), released.get(&name)) {
                seen.insert(name, Seen { off: *off, ended, released: *released });
            }
        }
        Ok(seen)
    }

    async fn events(&self) -> Result<BoxStream<'static, kube::Result<WatchEvent<Pod>>>> {
        let params = WatchParams::default();
        Ok(self.pods.watch(&params, &self.version).await?.boxed())
    }
}
