//! Upgrades of a StatefulSet: a new template on both sides, which Kubernetes rolls out on the one and
//! Lameduck on the other, and what a person does meanwhile.
//!
//! * [`object`]: the `Upgrade`, as any client reads it.
//! * [`capacity`]: that enough pods served all the time.
//!
//! What these scenarios want besides losing nothing is told as an error: a report could not say it.

mod capacity;
mod object;

use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::future::try_join_all;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

pub(crate) use object::{COMPLETE, Upgrade};

use super::Scenario;
use super::look::Seen;
use super::settled::revision;
use super::side::{Side, WORKLOAD};
use super::stage::Stage;
use crate::images::cluster::NGINX;
use crate::process::output;
use capacity::Capacity;

/// How long all of it may take. Three pods, one after the other, each up to the life of the longest
/// connection (20 s), the proof, the start and the soak; a fourth for a surge, or the same ones again after a
/// rollback. On a busy machine twice that.
pub(super) const LIMIT: Duration = Duration::from_secs(420);
/// How long a paused upgrade must leave the pods alone.
const PAUSED_FOR: Duration = Duration::from_secs(10);
/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(500);
/// Nothing has this image, and nothing shall be asked for it.
const NO_IMAGE: (&str, &str) = ("docker.io/lab/nginx:no-such-tag", "Never");
/// What the manifest has.
const GOOD_IMAGE: (&str, &str) = (NGINX, "IfNotPresent");

/// What the policy of the protected side says beside its defaults; none for a scenario without an upgrade.
pub(super) fn policy(scenario: Scenario) -> Option<Value> {
    // No shorter soak would show that there is one.
    let upgrade = match scenario {
        Scenario::Upgrade
        | Scenario::UpgradeRollback
        | Scenario::UpgradeOldPods
        | Scenario::UpgradePaused => json!({"surge": 0, "soakSeconds": 3}),
        // `surge: Auto` is 1 without volumeClaimTemplates.
        Scenario::UpgradeSurge => json!({"soakSeconds": 3}),
        Scenario::UpgradeBadImage => {
            json!({"surge": 0, "soakSeconds": 3, "progressDeadlineSeconds": 20})
        }
        _ => return None,
    };
    Some(json!({"statefulSets": {"upgrade": upgrade}}))
}

/// Changes the template of every side, does what the scenario is about, and waits until all pods are new.
///
/// # Errors
/// The upgrade of the protected side does not end as it should within `limit`, or did on its way what it
/// never should.
pub(super) async fn play(
    stage: &Stage<'_>,
    scenario: Scenario,
    sides: &[Side],
    limit: Duration,
) -> Result<()> {
    let end = Instant::now() + limit;
    let each = sides.iter().map(|side| Course { stage, scenario, side, end });
    try_join_all(each.map(|course| async move { course.run().await })).await.map(drop)
}

/// The way of one side.
struct Course<'a> {
    stage: &'a Stage<'a>,
    scenario: Scenario,
    side: &'a Side,
    end: Instant,
}

impl Course<'_> {
    async fn run(&self) -> Result<()> {
        if !self.side.protected {
            return self.upgrade().await;
        }
        let mut capacity = Capacity::new(self.replicas()?, self.scenario == Scenario::UpgradeSurge);
        tokio::select! {
            done = self.upgrade() => done?,
            too_few = capacity.watch(self.side) => { too_few?; }
        }
        capacity.conclude(self.side)?;
        let namespace = &self.side.namespace;
        let upgrade = self.side.upgrade().await?;
        upgrade.with_context(|| {
            format!("the pods of {namespace} are all new, and there never was an Upgrade: somebody else did it")
        })?;
        Ok(())
    }

    async fn upgrade(&self) -> Result<()> {
        match self.scenario {
            Scenario::UpgradeBadImage => self.through_a_bad_image().await?,
            Scenario::UpgradeRollback => self.back_again().await?,
            Scenario::UpgradePaused if self.side.protected => self.with_a_pause().await?,
            _ => self.side.restart().await?,
        }
        self.side.settle(self.end).await
    }

    /// A template that cannot start, and a good one once everything stands.
    async fn through_a_bad_image(&self) -> Result<()> {
        let old = self.revision_now().await?;
        self.side.set_image(NO_IMAGE).await?;
        let bad = self.revision_after(&old).await?;
        let wanted = self.replicas()?;
        if self.side.protected {
            let stands = "its Upgrade to be Stalled, one pod to be on the bad revision and all others to \
                          serve on the old one";
            self.until(stands, |seen, upgrade| {
                let upgrade = upgrade?;
                let broken = seen.iter().any(|pod| pod.revision == bad && !pod.ready);
                let serving = seen.iter().filter(|pod| pod.revision == old && pod.serves()).count();
                (upgrade.is_stalled() && broken && serving + 1 == wanted).then_some(())
            })
            .await?;
        } else {
            let stands = "a pod on the bad revision";
            self.until(stands, |seen, _| {
                seen.iter().any(|pod| pod.revision == bad && !pod.ending).then_some(())
            })
            .await?;
        }
        self.side.set_image(GOOD_IMAGE).await?;
        self.revision_after(&bad).await?;
        if !self.side.protected {
            // As Kubernetes' documents say ("Forced rollback"): where pods start in order, a broken one stands
            // in the way of the good template until somebody deletes it.
            for pod in self.side.list().await? {
                if revision(&pod) == bad && pod.metadata.deletion_timestamp.is_none() {
                    self.side.delete(&pod, None).await?;
                }
            }
        }
        Ok(())
    }

    /// A new template, and the old one again once the first pod is new.
    async fn back_again(&self) -> Result<()> {
        let old = self.revision_now().await?;
        self.side.restart().await?;
        let new = self.revision_after(&old).await?;
        self.until("the first pod to serve on the new revision", |seen, _| {
            seen.iter().any(|pod| pod.revision == new && pod.serves()).then_some(())
        })
        .await?;
        self.kubectl(&["rollout", "undo", &format!("statefulset/{WORKLOAD}")]).await?;
        let back = self.revision_after(&new).await?;
        if back != old {
            bail!(
                "the old template of {} is the revision {back} and not {old}: it is another template",
                self.side.namespace
            );
        }
        Ok(())
    }

    /// A new template, a pause once the first pod is taken out, and the rest after it.
    async fn with_a_pause(&self) -> Result<()> {
        let object = format!("statefulset/{WORKLOAD}");
        let old = self.revision_now().await?;
        self.side.restart().await?;
        self.revision_after(&old).await?;
        self.until("the first pod to be taken out", |seen, _| {
            seen.iter().any(|pod| pod.revision == old && !pod.serves()).then_some(())
        })
        .await?;
        self.kubectl(&["annotate", &object, "lameduck.dev/paused=true"]).await?;
        self.until("its Upgrade to be Paused", |_, upgrade| {
            upgrade.filter(Upgrade::is_paused).map(drop)
        })
        .await?;
        self.stand_still().await?;
        self.kubectl(&["annotate", &object, "lameduck.dev/paused-"]).await.map(drop)
    }

    /// Sees that no pod is deleted for as long as a pause lasts here, and that all get their weight back.
    async fn stand_still(&self) -> Result<()> {
        let namespace = &self.side.namespace;
        let wanted = self.replicas()?;
        let began = Instant::now();
        // Those that are ending already come back; that is no deletion of this time.
        let mut standing: Vec<Seen> = Vec::new();
        loop {
            let now = self.side.look().await?;
            for was in &standing {
                let is = now.iter().find(|pod| pod.uid == was.uid);
                if is.is_none_or(|pod| pod.ending) {
                    bail!(
                        "the pod {} of {namespace} was deleted while the upgrade is paused",
                        was.name
                    );
                }
            }
            let said = self.side.upgrade().await?.unwrap_or_default();
            if !said.is_paused() {
                bail!("the upgrade of {namespace} is paused, and its Upgrade says: {said}");
            }
            let serving = now.iter().filter(|pod| pod.serves()).count();
            if began.elapsed() >= PAUSED_FOR && serving == wanted {
                return Ok(());
            }
            if Instant::now() >= self.end {
                bail!(
                    "{serving} of {wanted} pods of {namespace} serve while the upgrade is paused, and all should: {}",
                    listed(&now)
                );
            }
            standing = now.into_iter().filter(|pod| !pod.ending).collect();
            sleep(PAUSE).await;
        }
    }

    fn replicas(&self) -> Result<usize> {
        let replicas = self.side.replicas.and_then(|replicas| usize::try_from(replicas).ok());
        replicas.with_context(|| format!("{} has no StatefulSet", self.side.namespace))
    }

    /// `kubectl` in the side's namespace.
    async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let within = ["--namespace", &self.side.namespace].into_iter();
        let mut kubectl = self.stage.cluster().kubectl(within.chain(arguments.iter().copied()));
        output(&format!("kubectl {}", arguments.join(" ")), &mut kubectl).await
    }

    async fn revision_now(&self) -> Result<String> {
        self.revision_after("").await
    }

    /// The revision that pods are made from once it is not `before`.
    async fn revision_after(&self, before: &str) -> Result<String> {
        loop {
            if let Some(now) = self.side.update_revision().await?.filter(|now| now != before) {
                return Ok(now);
            }
            if Instant::now() >= self.end {
                bail!("the template of {} is still the revision {before}", self.side.namespace);
            }
            sleep(PAUSE).await;
        }
    }

    /// Waits until `look` finds something in the pods and the Upgrade.
    async fn until<T>(
        &self,
        what: &str,
        look: impl Fn(&[Seen], Option<Upgrade>) -> Option<T>,
    ) -> Result<T> {
        loop {
            let seen = self.side.look().await?;
            let upgrade = self.side.upgrade().await?;
            let said = upgrade.as_ref().map(ToString::to_string);
            if let Some(found) = look(&seen, upgrade) {
                return Ok(found);
            }
            if Instant::now() >= self.end {
                bail!(
                    "{} waited in vain for {what}. Its Upgrade says: {}. Its pods: {}",
                    self.side.namespace,
                    said.as_deref().unwrap_or("nothing, there is none"),
                    listed(&seen)
                );
            }
            sleep(PAUSE).await;
        }
    }
}

fn listed(seen: &[Seen]) -> String {
    seen.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::policy;
    use crate::scenario::Scenario;

    #[test]
    fn every_upgrade_has_a_policy_and_nothing_else_has() {
        for scenario in Scenario::ALL {
            let upgrades = scenario.name().starts_with("upgrade");
            assert_eq!(policy(scenario).is_some(), upgrades, "{}", scenario.name());
        }
    }
}
