//! Playing a scenario: the sides side by side, the load, what ends the pods, and the wait until the
//! last drain is over.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use futures::future::{join_all, try_join_all};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use lameduck_api::names::SYSTEM_NAMESPACE;
use serde_json::{Value, json};
use tokio::time::{Instant, interval, sleep};

use super::front::{Fault, Front};
use super::report::{PodReport, Report, Run};
use super::side::{Plan, Side};
use super::stage::Stage;
use super::{Overrides, Scenario, Sides};
use crate::cluster::NODES;
use crate::lb::stand_in::pod_of;
use crate::load::{LoadProcess, Tally};
use crate::process::output;
use crate::progress::{Progress, Step};

/// Time between the load's start and the action: every long connection stands by then.
const WARM_UP: Duration = Duration::from_secs(3);
/// Time that the load lasts beyond the load balancer's lag after the last drain: for what is lost
/// only when the load balancer hears of the end.
const TAIL: Duration = Duration::from_secs(2);
/// How long the drains of a scenario may take; see [`Overrides::drain_limit`].
const DRAIN_LIMIT: Duration = Duration::from_secs(150);
/// How long Lameduck's own pods may take to go and to come.
const CONTROLLER_LIMIT: Duration = Duration::from_secs(90);
/// Pause between two looks at the cluster.
const PAUSE: Duration = Duration::from_millis(500);
/// Label value and name of the controller's Deployment.
const CONTROLLER: &str = "lameduck-controller";

/// A scenario whose sides are served and wait for their load.
pub(super) struct Play<'a> {
    stage: &'a Stage<'a>,
    scenario: Scenario,
    drain_limit: Duration,
    sides: Vec<Side>,
    step: Step,
}

impl<'a> Play<'a> {
    /// Makes both sides.
    pub(super) async fn prepare(
        stage: &'a Stage<'a>,
        scenario: Scenario,
        overrides: &Overrides,
        progress: &Progress,
    ) -> Result<Self> {
        let mut step = progress.step(format!("{:<16}", scenario.name()));
        step.message("starting the pods");
        let name = stage.name(scenario.name());
        let plan = |protected: bool| Plan {
            protected,
            namespace: format!("{name}-{}", if protected { "lameduck" } else { "plain" }),
            policy: protected.then(|| (format!("lab-{name}"), policy(stage, scenario, overrides))),
            extra_objects: if protected { &overrides.extra_objects } else { &[] },
            kind: scenario.kind(),
            manifests: scenario.manifests(),
            front: scenario.front(),
        };
        let sides: &[bool] = match overrides.sides {
            Sides::Both => &[false, true],
            Sides::Plain => &[false],
            Sides::Protected => &[true],
        };
        let sides = sides.iter().map(|protected| Side::prepare(stage, plan(*protected)));
        let sides = try_join_all(sides).await.with_context(|| scenario.name())?;
        step.message("ready");
        let drain_limit = overrides.drain_limit.unwrap_or(DRAIN_LIMIT);
        Ok(Self { stage, scenario, drain_limit, sides, step })
    }

    /// Loads both sides, ends the pods, and reports what was lost.
    pub(super) async fn perform(self) -> Result<Report> {
        let Self { stage, scenario, drain_limit, sides, mut step } = self;
        let loads: Vec<LoadProcess> =
            sides.iter().map(|side| stage.load(side.balancer.address())).collect::<Result<_>>()?;
        let course = async {
            sleep(WARM_UP).await;
            act(stage, scenario, &sides).await?;
            wait_until_settled(&sides, drain_limit).await?;
            sleep(scenario.front().lag(stage) + TAIL).await;
            anyhow::Ok(())
        };
        let mut course = Box::pin(course);
        let mut each_second = interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                result = &mut course => break result.with_context(|| scenario.name())?,
                _ = each_second.tick() => step.message(said(&sides, &loads)),
            }
        }
        drop(course);
        let tallies = join_all(loads.into_iter().map(LoadProcess::finish)).await;
        let mut runs = Vec::new();
        for (side, tally) in sides.into_iter().zip(tallies) {
            runs.push(run(&side, tally.with_context(|| scenario.name())?));
            side.finish().await?;
        }
        let report = Report::new(scenario, runs);
        step.done(summary(&report));
        Ok(report)
    }

    /// Which one it is.
    pub(super) fn scenario(&self) -> Scenario {
        self.scenario
    }

    /// The namespaces of the sides.
    pub(super) fn namespaces(&self) -> Vec<String> {
        self.sides.iter().map(|side| side.namespace.clone()).collect()
    }
}

/// The spec of the protected side's policy.
fn policy(stage: &Stage<'_>, scenario: Scenario, overrides: &Overrides) -> Value {
    let mut spec = match scenario.front() {
        Front::Guessed => {
            // The EndpointSlice provider does not see the load balancer: `settleSeconds` must outlast its
            // lag.
            let settle = stage.lag().as_secs() + 2;
            json!({
                "trafficOff": {"settleSeconds": settle},
                // Without a controller the hold knows even less, so it waits longer.
                "hold": {"unreachableSeconds": settle * 2},
            })
        }
        // What everybody has.
        Front::Clb(_) => json!({}),
    };
    if let Some(patch) = &overrides.policy_patch {
        json_patch::merge(&mut spec, patch);
    }
    spec
}

/// What both loads have lost so far, for a person who watches.
fn said(sides: &[Side], loads: &[LoadProcess]) -> String {
    let parts = sides.iter().zip(loads).map(|(side, load)| {
        let counts = load.counts();
        format!(
            "{}: {} requests, {} failed, {} long connections cut",
            if side.protected { "with Lameduck" } else { "without" },
            counts.requests,
            counts.failed,
            counts.long_connections_cut
        )
    });
    parts.collect::<Vec<_>>().join(" | ")
}

/// The result in a line.
fn summary(report: &Report) -> String {
    let part = |protected: bool| {
        let words = if protected { "with Lameduck" } else { "without" };
        report.run(protected).map_or(format!("{words} not played"), |run| {
            format!("{words} {} failed and {} cut", run.failed, run.long_connections_cut)
        })
    };
    format!("{}, {}: {}", part(false), part(true), report.why)
}

/// Ends pods on all sides at the same time.
async fn act(stage: &Stage<'_>, scenario: Scenario, sides: &[Side]) -> Result<()> {
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
            let down = without_controller(stage, sides).await;
            // Also after a failure: the cluster may outlive this scenario.
            scale_controller(stage, 2).await?;
            down?;
        }
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
            if try_join_all(sides.iter().map(Side::settled)).await?.iter().all(|settled| *settled) {
                restart(sides).await?;
            }
            sleep(PAUSE).await;
        }
    };
    tokio::select! {
        faults = faults => faults,
        error = rollouts => error,
    }
}

async fn restart(sides: &[Side]) -> Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mark = now.as_secs().to_string();
    try_join_all(sides.iter().map(|side| side.restart(&mark))).await.map(drop)
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
async fn without_controller(stage: &Stage<'_>, sides: &[Side]) -> Result<()> {
    scale_controller(stage, 0).await?;
    try_join_all(sides.iter().map(|side| delete(side, false))).await?;
    let end = Instant::now() + DRAIN_LIMIT;
    loop {
        let ended = |side: &Side| {
            let records = side.pods.records();
            records.iter().any(|record| record.is_deleted() && record.has_ended())
        };
        if sides.iter().all(ended) {
            return Ok(());
        }
        if Instant::now() >= end {
            bail!(
                "a pod did not end by itself in {} s without a controller",
                DRAIN_LIMIT.as_secs()
            );
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

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Waits until no pod is ending any more and every workload is whole.
async fn wait_until_settled(sides: &[Side], limit: Duration) -> Result<()> {
    let end = Instant::now() + limit;
    loop {
        let settled = try_join_all(sides.iter().map(Side::settled)).await?;
        if settled.iter().all(|settled| *settled) {
            return Ok(());
        }
        if Instant::now() >= end {
            let late = sides.iter().zip(settled).filter(|(_, settled)| !settled);
            let late: Vec<_> = late.map(|(side, _)| side.namespace.as_str()).collect();
            bail!("the drains of {} are not over after {} s", late.join(" and "), limit.as_secs());
        }
        sleep(PAUSE).await;
    }
}

/// What a side's load and its pods say together.
fn run(side: &Side, tally: Tally) -> Run {
    let mut pods: BTreeMap<String, PodReport> = BTreeMap::new();
    for (name, counts) in &tally.pods {
        let pod = report_of(&mut pods, name);
        pod.answered += counts.answered;
        pod.failed += counts.failed;
        pod.long_connections_cut += counts.long_connections_cut;
    }
    // No answer has named the pod, but the load balancer's log knows where the connection went.
    for loss in tally.losses.iter().filter(|loss| loss.pod.is_none()) {
        let Some(port) = loss.client_port else { continue };
        let Some(abnormal) = side.balancer.abnormal(port) else { continue };
        if abnormal.server.starts_with('<') {
            continue;
        }
        let unknown = report_of(&mut pods, "unknown");
        unknown.failed = unknown.failed.saturating_sub(1);
        report_of(&mut pods, pod_of(&abnormal.server)).failed += 1;
    }
    for record in side.pods.records() {
        let pod = report_of(&mut pods, &record.name);
        pod.drains.extend(record.drain());
    }
    pods.retain(|name, pod| {
        name != "unknown" || pod.answered + pod.failed + pod.long_connections_cut > 0
    });
    Run {
        protected: side.protected,
        requests: tally.counts.requests,
        failed: tally.counts.failed,
        failures: tally.failures,
        long_connections: tally.counts.long_connections,
        long_connections_cut: tally.counts.long_connections_cut,
        idle_connections_closed: tally.idle_closes,
        pods: pods.into_values().collect(),
        seconds: Duration::from_millis(tally.millis).as_secs_f64(),
    }
}

fn report_of<'a>(pods: &'a mut BTreeMap<String, PodReport>, name: &str) -> &'a mut PodReport {
    pods.entry(name.to_owned())
        .or_insert_with(|| PodReport { name: name.to_owned(), ..PodReport::default() })
}
