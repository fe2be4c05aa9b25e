//! When traffic was off and the finalizer went, as a watch saw it. The bench's part as a kubelet: a
//! container ends as soon as traffic is off.

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
use tokio::time::{Instant, timeout_at};

use crate::bench::hollow::{HollowNode, HollowPod, PATIENCE, is_traffic_off};

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
        let mut seen = HashMap::new();
        let mut ends = JoinSet::new();
        let mut events = self.events().await?;
        while seen.len() < count {
            let event = timeout_at(deadline, events.try_next())
                .await
                .with_context(|| format!("{} drains never ended", count - seen.len()))??;
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
                ends.spawn(async move { node.end(&pod).await });
            }
            if pod.finalizers().is_empty() {
                if let Some(off) = off.remove(&name) {
                    seen.insert(name, Seen { off, released: now });
                } else if waiting.contains_key(&name) {
                    bail!("the finalizer of {name} went before its traffic was off");
                }
            }
            while let Some(ended) = ends.try_join_next() {
                ended.context("a container's end ended without a word")??;
            }
        }
        Ok(seen)
    }

    async fn events(&self) -> Result<BoxStream<'static, kube::Result<WatchEvent<Pod>>>> {
        let params = WatchParams::default();
        Ok(self.pods.watch(&params, &self.version).await?.boxed())
    }
}
