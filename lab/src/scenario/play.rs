//! Playing a scenario: the sides side by side, the load, what ends the pods, and the wait until the
//! last drain is over.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, bail};
use futures::future::{join_all, try_join_all};
use serde_json::{Value, json};
use tokio::time::{Instant, interval, sleep};

use super::action::act;
use super::front::Front;
use super::report::{PodReport, Report, Run};
use super::side::{Plan, Side};
use super::stage::Stage;
use super::{Overrides, Scenario, Sides, upgrade};
use crate::lb::stand_in::pod_of;
use crate::load::{LoadProcess, Settings, Tally};
use crate::progress::{Progress, Step};

/// Time between the load's start and the action: every long connection stands by then.
const WARM_UP: Duration = Duration::from_secs(3);
/// Time that the load lasts beyond the load balancer's lag after the last drain: for what is lost
/// only when the load balancer hears of the end.
const TAIL: Duration = Duration::from_secs(2);
/// What is not limited by a scenario's drains, like what its action waits for; the load goes on meanwhile.
const LOAD_BEYOND: Duration = Duration::from_secs(60);
/// Pause between two looks at the cluster.
const PAUSE: Duration = Duration::from_millis(500);

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
        let mut step = progress.step(format!("{:<17}", scenario.name()));
        step.message("starting the pods");
        let name = stage.name(scenario.name());
        let plan = |protected: bool| Plan {
            protected,
            namespace: format!("{name}-{}", if protected { "lameduck" } else { "plain" }),
            policy: protected.then(|| (format!("lab-{name}"), policy(stage, scenario, overrides))),
            old_pods: protected && scenario == Scenario::UpgradeOldPods,
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
        let sides = try_join_all(sides).await?;
        step.message("ready");
        let drain_limit = overrides.drain_limit.unwrap_or_else(|| scenario.drain_limit());
        Ok(Self { stage, scenario, drain_limit, sides, step })
    }

    /// Loads both sides, ends the pods, and reports what was lost.
    pub(super) async fn perform(self) -> Result<Report> {
        let Self { stage, scenario, drain_limit, sides, mut step } = self;
        let loads: Vec<LoadProcess> = sides
            .iter()
            .map(|side| stage.load(&settings(scenario, side, drain_limit)))
            .collect::<Result<_>>()?;
        let course = async {
            sleep(WARM_UP).await;
            act(stage, scenario, &sides, drain_limit).await?;
            wait_until_settled(&sides, drain_limit).await?;
            sleep(scenario.front().lag(stage) + TAIL).await;
            anyhow::Ok(())
        };
        let tell = async {
            let mut each_second = interval(Duration::from_secs(1));
            loop {
                each_second.tick().await;
                step.message(said(&sides, &loads).await);
            }
        };
        let ended = tokio::select! {
            ended = course => ended,
            () = tell => Ok(()),
        };
        if let Err(error) = ended {
            let until_then = said(&sides, &loads).await;
            return Err(error.context(format!("not played to its end, until then {until_then}")));
        }
        let tallies = join_all(loads.into_iter().map(LoadProcess::finish)).await;
        let mut runs = Vec::new();
        for (side, tally) in sides.into_iter().zip(tallies) {
            runs.push(run(&side, tally?));
            side.finish().await?;
        }
        let report = Report::new(scenario, runs);
        step.done(summary(&report));
        Ok(report)
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
    if let Some(patch) = upgrade::policy(scenario) {
        json_patch::merge(&mut spec, &patch);
    }
    if let Some(patch) = &overrides.policy_patch {
        json_patch::merge(&mut spec, patch);
    }
    spec
}

/// The load on a side, which ends by itself where nobody ends it any more.
fn settings(scenario: Scenario, side: &Side, drain_limit: Duration) -> Settings {
    let usual = Settings::new(side.balancer.address());
    let most = WARM_UP + drain_limit + LOAD_BEYOND;
    Settings {
        max_seconds: usual.max_seconds.max(most.as_secs()),
        long_millis: scenario.long_millis(),
        ..usual
    }
}

/// What both loads have lost so far, and what an upgrade does, for a person who watches.
async fn said(sides: &[Side], loads: &[LoadProcess]) -> String {
    let mut parts = Vec::new();
    for (side, load) in sides.iter().zip(loads) {
        let counts = load.counts();
        parts.push(format!(
            "{}: {} requests, {} failed, {} long connections cut",
            if side.protected { "with Lameduck" } else { "without" },
            counts.requests,
            counts.failed,
            counts.long_connections_cut
        ));
        // Best effort: whether it can be read is for the scenario to say.
        if let Ok(Some(upgrade)) = side.upgrade().await {
            parts.push(format!("upgrade: {upgrade}"));
        }
    }
    parts.join(" | ")
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

/// Waits until no pod is ending any more and every workload is whole, on all sides at the same moment.
async fn wait_until_settled(sides: &[Side], limit: Duration) -> Result<()> {
    let end = Instant::now() + limit;
    loop {
        let missing = try_join_all(sides.iter().map(Side::unsettled)).await?;
        if missing.iter().all(Option::is_none) {
            return Ok(());
        }
        if Instant::now() >= end {
            let late = sides
                .iter()
                .zip(missing)
                .filter_map(|(side, missing)| Some(format!("{} ({})", side.namespace, missing?)));
            let late: Vec<_> = late.collect();
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
