//! Whether a side is as it should be: no pod is ending, the workload is whole, and an upgrade has left
//! nothing behind.

use std::time::Duration;

use anyhow::{Result, bail};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt;
use tokio::time::{Instant, sleep};

use super::side::{Kind, Side, WORKLOAD};
use super::upgrade::{COMPLETE, Upgrade};
use crate::clb::tke::desired::SERVICE_WEIGHTS;

/// The annotation with the `lb-rs-weight` that was there before Lameduck wrote its own.
const ORIGINAL_WEIGHTS: &str = "lameduck.dev/original-lb-rs-weight";
/// The label with the ControllerRevision that a pod was made from.
const REVISION_LABEL: &str = "controller-revision-hash";
/// Pause between two looks at the cluster.
const PAUSE: Duration = Duration::from_millis(500);

/// Whether the pod's condition says so.
pub(super) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// The ControllerRevision that a StatefulSet's pod was made from; empty where there is none.
pub(super) fn revision(pod: &Pod) -> &str {
    pod.labels().get(REVISION_LABEL).map_or("", String::as_str)
}

impl Side {
    /// What is not as it should be; none where everything is.
    ///
    /// # Errors
    /// The API server does not answer.
    pub(crate) async fn unsettled(&self) -> Result<Option<String>> {
        let pods = self.list().await?;
        if let Some(pod) = pods.iter().find(|pod| pod.metadata.deletion_timestamp.is_some()) {
            return Ok(Some(format!("the pod {} is ending", pod.name_any())));
        }
        match self.kind {
            Kind::Deployment => Ok(of_deployment(&self.api().get(WORKLOAD).await?)),
            Kind::StatefulSet => {
                let set: StatefulSet = self.api().get(WORKLOAD).await?;
                if let Some(missing) = of_stateful_set(&set, &pods, self.replicas) {
                    return Ok(Some(missing));
                }
                match self.upgrade().await? {
                    None => Ok(None),
                    Some(upgrade) => {
                        let services = self.api::<Service>().list(&Default::default()).await?;
                        Ok(of_upgrade(&upgrade, &set, &services.items))
                    }
                }
            }
        }
    }

    /// Waits until everything is as it should be.
    ///
    /// # Errors
    /// It is not at `end`.
    pub(crate) async fn settle(&self, end: Instant) -> Result<()> {
        while let Some(missing) = self.unsettled().await? {
            if Instant::now() >= end {
                bail!("the drains of {} are not over in time: {missing}", self.namespace);
            }
            sleep(PAUSE).await;
        }
        Ok(())
    }

    /// The revision that pods are made from now; none while the StatefulSet's status is behind its template.
    pub(super) async fn update_revision(&self) -> Result<Option<String>> {
        let set: StatefulSet = self.api().get(WORKLOAD).await?;
        let behind = is_behind(&set);
        Ok(set.status.filter(|_| !behind).and_then(|status| status.update_revision))
    }

    /// What is being done to the pods by Lameduck; none where nothing is or was.
    pub(crate) async fn upgrade(&self) -> Result<Option<Upgrade>> {
        if !self.protected || self.kind != Kind::StatefulSet {
            return Ok(None);
        }
        Upgrade::read(&self.client, &self.namespace, WORKLOAD).await
    }
}

fn of_deployment(object: &Deployment) -> Option<String> {
    let wanted = object.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let status = object.status.clone().unwrap_or_default();
    let counts = [status.ready_replicas, status.updated_replicas, status.replicas];
    if status.observed_generation == object.metadata.generation
        && counts.iter().all(|count| *count == Some(wanted))
    {
        return None;
    }
    let [ready, updated, replicas] = counts.map(Option::unwrap_or_default);
    Some(format!("{replicas} pods, {ready} ready and {updated} up to date, of {wanted}"))
}

fn is_behind(set: &StatefulSet) -> bool {
    let observed = set.status.as_ref().and_then(|status| status.observed_generation);
    observed.is_none() || observed != set.metadata.generation
}

/// `replicas`: what it was made with; an upgrade has to bring it back to that.
fn of_stateful_set(set: &StatefulSet, pods: &[Pod], replicas: Option<i32>) -> Option<String> {
    let wanted = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    if let Some(replicas) = replicas.filter(|replicas| *replicas != wanted) {
        return Some(format!("it has {wanted} replicas, and was made with {replicas}"));
    }
    if is_behind(set) {
        return Some("its controller has not seen the last change".to_owned());
    }
    let status = set.status.clone().unwrap_or_default();
    let ready = status.ready_replicas.unwrap_or_default();
    if ready != wanted || status.replicas != wanted {
        return Some(format!("{} pods, {ready} ready, of {wanted}", status.replicas));
    }
    let target = status.update_revision.unwrap_or_default();
    let old = pods.iter().find(|pod| revision(pod) != target);
    old.map(|pod| format!("the pod {} is not on the revision {target}", pod.name_any()))
}

/// What the upgrade has not brought to its end, or not taken away after it.
fn of_upgrade(upgrade: &Upgrade, set: &StatefulSet, services: &[Service]) -> Option<String> {
    let target = set.status.as_ref().and_then(|status| status.update_revision.as_deref());
    if upgrade.phase != COMPLETE {
        return Some(format!("its Upgrade says: {upgrade}"));
    }
    if target != Some(upgrade.target_revision.as_str()) {
        let wanted = target.unwrap_or("none");
        let found = &upgrade.target_revision;
        return Some(format!("its Upgrade is complete for {found}, and the revision is {wanted}"));
    }
    let annotations = services
        .iter()
        .map(|one| ("Service", one.annotations(), one.name_any()))
        .chain([("StatefulSet", set.annotations(), set.name_any())]);
    for (kind, annotations, name) in annotations {
        for left in [SERVICE_WEIGHTS, ORIGINAL_WEIGHTS] {
            if let Some(value) = annotations.get(left) {
                return Some(format!("its Upgrade has left {left}={value} on the {kind} {name}"));
            }
        }
    }
    None
}
