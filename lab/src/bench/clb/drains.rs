//! When traffic was off and the finalizer went, as a watch saw it. The bench's part as a kubelet: a
//! container ends as soon as traffic is off.

use std::collections::HashMap;

use anyhow::{Context, Result, bail};
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use kube::{Client, ResourceExt};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::bench::hollow::{HollowNode, HollowPod, PATIENCE, is_traffic_off};

/// The API server ends a watch after so many seconds: more than a phase takes.
const WATCH_SECONDS: u32 = 290;

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
        let pods: Api<Pod> = Api::namespaced(client, namespace);
        let list = pods.list_metadata(&ListParams::default()).await?;
        let version = list.metadata.resource_version.context("a list without a version")?;
        Ok(Self { pods, version })
    }

    /// Follows `pods` until all finalizers are gone, and ends their containers on `node`.
    pub(super) async fn follow(
        self,
        node: HollowNode,
        pods: Vec<HollowPod>,
    ) -> Result<HashMap<String, Seen>> {
        let params = WatchParams::default().timeout(WATCH_SECONDS);
        let mut events = self.pods.watch(&params, &self.version).await?.boxed();
        let count = pods.len();
        let mut waiting: HashMap<String, HollowPod> =
            pods.into_iter().map(|pod| (pod.name.clone(), pod)).collect();
        let mut off: HashMap<String, Timestamp> = HashMap::new();
        let mut seen = HashMap::new();
        let mut ends = JoinSet::new();
        while seen.len() < count {
            let event = timeout(PATIENCE, events.try_next())
                .await
                .with_context(|| format!("{} drains never ended", count - seen.len()))??;
            let now = Timestamp::now();
            let pod = match event {
                Some(WatchEvent::Modified(pod) | WatchEvent::Deleted(pod)) => pod,
                Some(WatchEvent::Added(_) | WatchEvent::Bookmark(_)) => continue,
                Some(WatchEvent::Error(status)) => bail!("the watch failed: {}", status.message),
                None => bail!("the watch ended before its time"),
            };
            let name = pod.name_any();
            if is_traffic_off(&pod)
                && let Some(pod) = waiting.remove(&name)
            {
                off.insert(name.clone(), now);
                let node = node.clone();
                ends.spawn(async move { node.end(&pod).await });
            }
            if pod.finalizers().is_empty() {
                let off = off.remove(&name);
                if let Some(off) = off {
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
}
