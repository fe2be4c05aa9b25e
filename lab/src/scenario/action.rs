//! What ends the pods of a scenario.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::future::try_join_all;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use lameduck_api::names::SYSTEM_NAMESPACE;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::Scenario;
use super::front::Fault;
use super::settled::is_ready;
use super::side::Side;
use super::stage::Stage;
use super::upgrade;
use crate::cluster::NODES;
use crate::process::output;

/// How long Lameduck's own pods may take to go and to come.
const CONTROLLER_LIMIT: Duration = Duration::from_secs(90);
/// Pause between two looks at the cluster.
const PAUSE: Duration = Duration::from_millis(500);
/// Label value and name of the controller's Deployment.
const CONTROLLER: &str = "lameduck-controller";

/// Ends pods on all sides at the same time. `limit`: what the scenario's drains may take.
pub(super) async fn act(
    stage: &Stage<'_>,
    scenario: Scenario,
    sides: &[Side],
    limit: Duration,
) -> Result<()> {
    match scenario {
        Scenario::Delete | Scenario::Long | Scenario::TwoClbs => {
            try_join_all(sides.iter().map(|side| delete(side, false))).await?;
        }
        Scenario::Force => {
            try_join_all(sides.iter().map(|side| delete(side, true))).await?;
        }
        Scenario::Rollout | Scenario::SlowStart | Scenario::Lag | Scenario::L7 => {
            restart(sides).await?;
        }
        Scenario::ClbFaults => roll_through_faults(stage, sides).await?,
        Scenario::ScaleIn => {
            try_join_all(sides.iter().map(|side| side.scale(2))).await?;
        }
        Scenario::Drain => drain(stage).await?,
        Scenario::ControllerDown => {
            let down = without_controller(stage, sides, limit).await;
            // Also after a failure: the cluster may outlive this scenario.
            scale_controller(stage, 2).await?;
            down?;
        }
        Scenario::Upgrade
        | Scenario::UpgradeSurge
        | Scenario::UpgradeBadImage
        | Scenario::UpgradeRollback
        | Scenario::UpgradeOldPods
        | Scenario::UpgradePaused => upgrade::play(stage, scenario, sides, limit).await?,
    }
    Ok(())
}

/// Rollouts, one after the other, for as long as it takes until there was every fault.
async fn roll_through_faults(stage: &Stage<'_>, sides: &[Side]) -> Result<()> {
    let (mut ids, mut read, mut ips) = (Vec::new(), Vec::new(), Vec::new());
    for side in sides {
        ids.extend_from_slice(side.load_balancers());
        ips.extend(side.addresses().await?);
        if side.protected {
            read.extend_from_slice(side.load_balancers());
        }
    }
    let faults = async {
        for fault in Fault::all(&ips) {
            fault.endure(stage, &ids, &read).await?;
        }
        Ok(())
    };
    // Nothing is read of a CLB behind which nothing ends.
    let rollouts = async {
        loop {
            if try_join_all(sides.iter().map(Side::unsettled)).await?.iter().all(Option::is_none) {
                restart(sides).await?;
            }
            sleep(PAUSE).await;
        }
    };
    let ended = tokio::select! {
        faults = faults => faults,
        error = rollouts => error,
    };
    // Also after a failure: others are played behind the same API.
    let none = Fault::none(stage).await;
    ended.and(none)
}

async fn restart(sides: &[Side]) -> Result<()> {
    try_join_all(sides.iter().map(Side::restart)).await.map(drop)
}

async fn delete(side: &Side, then_by_force: bool) -> Result<()> {
    let pod = side.victim().await?;
    side.delete(&pod, None).await?;
    if then_by_force {
        sleep(Duration::from_secs(2)).await;
        side.delete(&pod, Some(0)).await?;
    }
    Ok(())
}

/// `kubectl drain` of the second node, which takes pods of all sides, and `uncordon`.
async fn drain(stage: &Stage<'_>) -> Result<()> {
    let node = NODES[1];
    // `--force` takes pods that nobody would replace, which somebody else may have left on a shared lab.
    let options = ["--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=150s"];
    let mut drain = stage.cluster().kubectl(["drain", node].into_iter().chain(options));
    let drained = output("kubectl drain", &mut drain).await;
    output("kubectl uncordon", &mut stage.cluster().kubectl(["uncordon", node])).await?;
    drained.map(drop)
}

/// Takes the controller away, deletes a pod of each side, and waits until its containers have ended
/// by themselves.
async fn without_controller(stage: &Stage<'_>, sides: &[Side], limit: Duration) -> Result<()> {
    scale_controller(stage, 0).await?;
    try_join_all(sides.iter().map(|side| delete(side, false))).await?;
    let end = Instant::now() + limit;
    loop {
        let ended = |side: &Side| {
            let records = side.pods.records();
            records.iter().any(|record| record.is_deleted() && record.has_ended())
        };
        if sides.iter().all(ended) {
            return Ok(());
        }
        if Instant::now() >= end {
            bail!("a pod did not end by itself in {} s without a controller", limit.as_secs());
        }
        sleep(PAUSE).await;
    }
}

/// Scales the controller and waits until so many pods of it are ready, and no other is left.
async fn scale_controller(stage: &Stage<'_>, replicas: u32) -> Result<()> {
    let deployments: Api<Deployment> = Api::namespaced(stage.client(), SYSTEM_NAMESPACE);
    let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    deployments
        .patch(CONTROLLER, &PatchParams::default(), &patch)
        .await
        .context("Lameduck's controller cannot be scaled")?;
    let pods: Api<Pod> = Api::namespaced(stage.client(), SYSTEM_NAMESPACE);
    let labels = ListParams::default().labels(&format!("app.kubernetes.io/name={CONTROLLER}"));
    let wanted = usize::try_from(replicas).unwrap_or(usize::MAX);
    let end = Instant::now() + CONTROLLER_LIMIT;
    loop {
        let pods =
            pods.list(&labels).await.context("the controller's pods cannot be listed")?.items;
        let ready = pods.iter().filter(|pod| is_ready(pod)).count();
        if pods.len() == wanted && ready == wanted {
            return Ok(());
        }
        if Instant::now() >= end {
            bail!(
                "Lameduck's controller has {ready} ready pods of {} and not {replicas} after {} s",
                pods.len(),
                CONTROLLER_LIMIT.as_secs()
            );
        }
        sleep(PAUSE).await;
    }
}
