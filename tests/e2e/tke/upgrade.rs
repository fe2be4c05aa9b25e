//! Upgrades of StatefulSets: what happens to them when their controller dies, and what is left of them on the
//! objects of others. What is lost under load is in [`super::scenarios`].

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Service;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use lameduck_api::Upgrade;
use lameduck_api::names::{ANNOTATION_ORIGINAL_LB_RS_WEIGHT, LB_RS_WEIGHT};
use lameduck_core::upgrade::object::{Phase, Step};
use lameduck_lab::clb::model::LoadBalancer;
use lameduck_lab::scenario::{Overrides, Part, Provider, Scenario, Sides, Stage, play_all};
use serde_json::json;
use tokio::time::sleep;

use crate::bench::{Bench, until};

/// Steps that last long enough to be seen by who watches. What lies between two lines of code is tried by the
/// model check in core.
const STEPS: [Step; 6] = [
    Step::WeightZero,
    Step::Deleting,
    Step::Draining,
    Step::Starting,
    Step::Soaking,
    Step::Returning,
];

/// Kills whoever leads whenever an upgrade is first seen in a step, until it was seen in each.
async fn kill_in_each_step(bench: &Bench) -> Result<BTreeSet<Step>> {
    let upgrades: Api<Upgrade> = Api::all(bench.client.clone());
    let mut seen =
        watcher(upgrades, watcher::Config::default()).default_backoff().applied_objects().boxed();
    let mut killed = BTreeSet::new();
    while let Some(upgrade) = seen.try_next().await? {
        let claims = upgrade.status.map(|status| status.ordinals).unwrap_or_default();
        let Some(step) = claims.first().map(|claim| claim.step) else { continue };
        if STEPS.contains(&step) && killed.insert(step) {
            let dead = bench.kill_leader().await?;
            until("another leader", async || {
                Ok(bench.leader().await.ok().filter(|now| *now != dead))
            })
            .await?;
        }
        if killed.len() == STEPS.len() {
            return Ok(killed);
        }
    }
    bail!("the watch of upgrades ended")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_that_die_in_each_step_lose_nothing() -> Result<()> {
    let bench = Bench::take_with(Provider::TencentClb).await?;
    let stage = Stage::open(&bench.cluster).await?;
    let overrides = Overrides { sides: Sides::Protected, ..Overrides::default() };
    let parts = [Part { scenario: Scenario::Upgrade, overrides }];
    let scenario = play_all(&stage, &parts, &bench.progress);
    let (reports, killed) = tokio::join!(scenario, async {
        // No longer than the scenario itself may take.
        tokio::time::timeout(Duration::from_secs(400), kill_in_each_step(&bench)).await
    });
    let report = reports.into_iter().next().context("no report")??;
    stage.clean_up(&bench.progress).await?;
    let killed = killed.context("the upgrade was not seen in each step")??;
    assert_eq!(killed.into_iter().collect::<Vec<_>>(), STEPS);
    let run = report.runs.first().context("no run")?;
    assert_eq!((run.failed, run.long_connections_cut), (0, 0), "{run:#?}");
    Ok(())
}

/// A user's own weights, to the last space.
const OWN: &str = r#"{ "defaultWeight": 20,
 "groups": [{"key": {"proto": "TCP", "port": 80}, "statefulSets": [
   {"name": "web", "weights": [{"weight": 5, "podIndexes": [0, 2]}]}]}] }"#;

/// Weights and replicas are the user's again when it is complete, and also when the set is deleted in the
/// middle of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_the_users_is_put_back() -> Result<()> {
    let bench = Bench::take_with(Provider::TencentClb).await?;
    let stage = Stage::open(&bench.cluster).await?;
    let clb = stage.clb().await?;
    let upgrade = json!({"statefulSets": {"upgrade": {"soakSeconds": 0, "surge": 1}}});
    let namespace = bench.enrolled("upgrade-users", upgrade).await?;
    let id = format!("lb-{namespace}");
    let lag = Duration::from_millis(300);
    clb.make(&[(LoadBalancer::new(id.as_str()).tcp(80, None), lag)]).await?;
    for manifest in [
        include_str!("../../../manifests/examples/tke-service.yaml"),
        include_str!("../../../manifests/examples/tke-statefulset.yaml"),
    ] {
        bench.cluster.apply(Some(&namespace), manifest).await?;
    }
    let services: Api<Service> = bench.api(&namespace);
    let annotations = json!({"service.kubernetes.io/loadbalance-id": id, LB_RS_WEIGHT: OWN});
    let patch = Patch::Merge(json!({"metadata": {"annotations": annotations}}));
    services.patch("web", &PatchParams::default(), &patch).await?;
    let sets: Api<StatefulSet> = bench.api(&namespace);
    let upgrades: Api<Upgrade> = bench.api(&namespace);
    let ready = |set: &StatefulSet| {
        let status = set.status.clone().unwrap_or_default();
        status.ready_replicas == Some(3) && status.observed_generation == set.metadata.generation
    };
    until("the set to be ready", async || Ok(ready(&sets.get("web").await?).then_some(()))).await?;

    restart(&sets, "one").await?;
    zeroed(&services).await?;
    let surged = sets.get("web").await?;
    assert_eq!(surged.spec.and_then(|spec| spec.replicas), Some(4), "one more first");
    until("the upgrade to be complete", async || {
        let found = upgrades.get_opt("web").await?.and_then(|upgrade| upgrade.status);
        Ok(found.filter(|status| status.phase == Phase::Complete && status.updated == 3).map(drop))
    })
    .await?;
    users_own(&services).await?;
    let set = sets.get("web").await?;
    assert_eq!(set.spec.as_ref().and_then(|spec| spec.replicas), Some(3));
    assert!(!set.annotations().contains_key("lameduck.dev/original-replicas"));
    let told = bench.events(&namespace, "web").await?;
    for reason in ["UpgradeStarted", "OrdinalTaken", "OrdinalDeleted", "OrdinalBack"] {
        assert!(told.iter().any(|event| event.starts_with(&format!("{reason}: "))), "{told:#?}");
    }
    let listed = bench.kubectl(&["-n", &namespace, "get", "upgrades"]).await?;
    assert!(listed.contains("Complete"), "{listed}");

    restart(&sets, "two").await?;
    zeroed(&services).await?;
    sets.delete("web", &DeleteParams::default()).await?;
    users_own(&services).await?;
    bench.gone(&namespace).await
}

async fn restart(sets: &Api<StatefulSet>, mark: &str) -> Result<()> {
    let annotations = json!({"kubectl.kubernetes.io/restartedAt": mark});
    let patch = json!({"spec": {"template": {"metadata": {"annotations": annotations}}}});
    sets.patch("web", &PatchParams::default(), &Patch::Merge(patch)).await?;
    // What comes before is not of this restart.
    sleep(Duration::from_millis(500)).await;
    Ok(())
}

/// Waits until an ordinal has weight 0 by our hand.
async fn zeroed(services: &Api<Service>) -> Result<()> {
    until("weights of ours on the Service", async || {
        let service = services.get("web").await?;
        let is_ours = service.annotations().contains_key(ANNOTATION_ORIGINAL_LB_RS_WEIGHT);
        let is_other = service.annotations().get(LB_RS_WEIGHT).is_some_and(|text| text != OWN);
        Ok((is_ours && is_other).then_some(()))
    })
    .await
}

/// Waits until the Service's weights are the user's own.
async fn users_own(services: &Api<Service>) -> Result<()> {
    until("the user's own weights on the Service", async || {
        let service = services.get("web").await?;
        let is_ours = service.annotations().contains_key(ANNOTATION_ORIGINAL_LB_RS_WEIGHT);
        let is_users = service.annotations().get(LB_RS_WEIGHT).is_some_and(|text| text == OWN);
        Ok((!is_ours && is_users).then_some(()))
    })
    .await
}
