//! What became of a side's pods: a watch that remembers their ends.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use lameduck_api::names::{ANNOTATION_INJECTED, CONDITION_DRAINED};
use tokio::task::JoinHandle;

use super::report::Drain;
use super::settled::is_ready;

/// What is known of one pod.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record {
    pub(super) name: String,
    node: String,
    injected: bool,
    /// Times are those at which the watch told it: a pod's own have whole seconds.
    created: Option<Instant>,
    ready: Option<Instant>,
    deleted: Option<Instant>,
    ended: Option<Instant>,
    gone: Option<Instant>,
    reason: Option<String>,
    message: Option<String>,
}

/// The most pods that are remembered: a scenario makes some ten.
const LIMIT: usize = 1_000;

/// A watch on a namespace's pods. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct PodLog {
    records: Arc<Mutex<BTreeMap<String, Record>>>,
    task: JoinHandle<()>,
}

impl PodLog {
    pub(super) fn start(client: Client, namespace: &str) -> Self {
        let records = Arc::default();
        let task = tokio::spawn(follow(Api::namespaced(client, namespace), Arc::clone(&records)));
        Self { records, task }
    }

    /// All pods that were ever seen.
    pub(crate) fn records(&self) -> Vec<Record> {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        records.values().cloned().collect()
    }
}

impl Drop for PodLog {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(pods: Api<Pod>, records: Arc<Mutex<BTreeMap<String, Record>>>) {
    let mut events = std::pin::pin!(watcher(pods, watcher::Config::default()).default_backoff());
    // An error is followed by another try; a drain that was missed has no times.
    while let Some(event) = events.next().await {
        let Ok(event) = event else { continue };
        let mut records = records.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            watcher::Event::Apply(pod) | watcher::Event::InitApply(pod) => {
                let uid = pod.uid().unwrap_or_default();
                if records.len() < LIMIT || records.contains_key(&uid) {
                    records.entry(uid).or_default().see(&pod);
                }
            }
            watcher::Event::Delete(pod) => {
                let record = records.entry(pod.uid().unwrap_or_default()).or_default();
                record.see(&pod);
                record.gone = Some(Instant::now());
            }
            watcher::Event::Init | watcher::Event::InitDone => {}
        }
    }
}

impl Record {
    fn see(&mut self, pod: &Pod) {
        self.name = pod.name_any();
        self.injected = pod.annotations().contains_key(ANNOTATION_INJECTED);
        if let Some(node) = pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref()) {
            self.node.clone_from(node);
        }
        self.created.get_or_insert_with(Instant::now);
        if pod.metadata.deletion_timestamp.is_none() {
            if is_ready(pod) {
                self.ready.get_or_insert_with(Instant::now);
            }
            return;
        }
        self.deleted.get_or_insert_with(Instant::now);
        let Some(status) = &pod.status else { return };
        let containers = status.container_statuses.as_deref().unwrap_or_default();
        let ended = |state: &k8s_openapi::api::core::v1::ContainerStatus| {
            state.state.as_ref().is_some_and(|state| state.terminated.is_some())
        };
        if !containers.is_empty() && containers.iter().all(ended) {
            self.ended.get_or_insert_with(Instant::now);
        }
        let conditions = status.conditions.iter().flatten();
        if let Some(drained) = conditions.into_iter().find(|one| one.type_ == CONDITION_DRAINED) {
            self.reason.clone_from(&drained.reason);
            self.message.clone_from(&drained.message);
        }
    }

    /// From its creation until it was ready the first time; none if it was there before `since`, or never was
    /// ready.
    pub(crate) fn start(&self, since: Instant) -> Option<Duration> {
        let created = self.created.filter(|created| *created >= since)?;
        Some(self.ready? - created)
    }

    /// Whether its containers have ended, or it is gone altogether.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.is_some() || self.gone.is_some()
    }

    /// Whether Lameduck injected it.
    pub(super) fn is_injected(&self) -> bool {
        self.injected
    }

    /// Whether it was deleted.
    pub(super) fn is_deleted(&self) -> bool {
        self.deleted.is_some()
    }

    /// Its end; none if it did not end.
    pub(super) fn drain(&self) -> Option<Drain> {
        let deleted = self.deleted?;
        // Tenths: the watch and the kubelet's reports are no more exact than that.
        let seconds =
            |at: Option<Instant>| at.map(|at| ((at - deleted).as_secs_f64() * 10.0).round() / 10.0);
        Some(Drain {
            node: self.node.clone(),
            served_seconds: seconds(self.ended),
            gone_seconds: seconds(self.gone),
            reason: self.reason.clone(),
            message: self.message.clone(),
        })
    }
}
