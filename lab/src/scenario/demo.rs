//! `cargo lab demo`: one scenario as a JSON document, or the whole story as a table.

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::future::{join, try_join_all};
use serde_json::json;

use super::play::Play;
use super::report::{Report, Verdict};
use super::stage::Stage;
use super::{Overrides, Provider, Scenario, Sides, install, table};
use crate::cluster::{Cluster, Options};
use crate::lb::stand_in::DEFAULT_LAG;
use crate::progress::Progress;

/// Arguments of `demo`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// One scenario instead of all; may be given several times
    #[arg(long)]
    scenario: Vec<Scenario>,
    /// Play those behind Tencent's load balancers, which are read, instead of those on any Kubernetes
    #[arg(long, conflicts_with = "scenario")]
    tke: bool,
    /// What is written to standard output
    #[arg(long, default_value = "table")]
    output: Output,
    /// Leave the cluster up
    #[arg(long)]
    keep: bool,
    /// Take Lameduck's images as the cluster has them, and do not build them
    #[arg(long)]
    without_build: bool,
    /// Milliseconds by which the load balancer's weights follow the pods
    #[arg(long, default_value_t = u64::try_from(DEFAULT_LAG.as_millis()).unwrap_or(3_000))]
    lag_millis: u64,
    /// Play one side only, to look into something: the verdict is always `fail`
    #[arg(long, default_value = "both", hide = true)]
    sides: Sides,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
enum Output {
    /// A table and sentences
    Table,
    /// A JSON document
    Json,
}

impl Arguments {
    fn chosen(&self) -> Vec<Scenario> {
        if !self.scenario.is_empty() {
            return self.scenario.clone();
        }
        let provider = if self.tke { Provider::TencentClb } else { Provider::EndpointSlice };
        Scenario::ALL.into_iter().filter(|one| one.provider() == provider).collect()
    }
}

/// What runs beside each other. Within a wave the scenarios do not touch each other, and their load
/// is little enough for two cores: four sides take about half of them.
fn waves(chosen: &[Scenario]) -> Vec<Vec<Scenario>> {
    let story = [
        // First, while there are no pods of others on the node.
        vec![Scenario::Drain],
        vec![Scenario::ControllerDown],
        vec![Scenario::Delete, Scenario::Rollout],
        vec![Scenario::Long, Scenario::ScaleIn],
        vec![Scenario::Force, Scenario::SlowStart],
        vec![Scenario::Lag],
        vec![Scenario::TwoClbs],
        vec![Scenario::L7],
        vec![Scenario::ClbFaults],
        // Each is little more than its load for most of its time: connections that are waited for.
        vec![Scenario::Upgrade, Scenario::UpgradeSurge],
        vec![Scenario::UpgradeRollback, Scenario::UpgradePaused],
        vec![Scenario::UpgradeBadImage, Scenario::UpgradeOldPods],
    ];
    let of_wave = |wave: Vec<Scenario>| -> Vec<Scenario> {
        wave.into_iter().filter(|scenario| chosen.contains(scenario)).collect()
    };
    let waves = story.map(of_wave);
    waves.into_iter().filter(|wave| !wave.is_empty()).collect()
}

/// Brings the cluster up (or takes the one that is up), installs Lameduck, plays, and tears down.
/// Exit code 0 only where every scenario's verdict is `pass`.
///
/// # Errors
/// Something could not be played to its end.
pub async fn demo(arguments: &Arguments, progress: &Progress) -> Result<ExitCode> {
    let start = Instant::now();
    let shared = arguments.keep || Cluster::attach().await?.is_some();
    let mut options = if shared { Options::shared()? } else { Options::owned("demo")? };
    options.product_images = arguments.sides != Sides::Plain && !arguments.without_build;
    let cluster = Cluster::up(&options, progress).await?;
    let reports = play(arguments, &cluster, shared, start, progress).await;
    if !shared {
        cluster.down().await?;
    }
    let reports = reports?;
    let pass = reports.iter().all(|report| report.verdict == Verdict::Pass);
    Ok(if pass { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn play(
    arguments: &Arguments,
    cluster: &Cluster,
    shared: bool,
    start: Instant,
    progress: &Progress,
) -> Result<Vec<Report>> {
    let stage = Stage::open_with_lag(cluster, Duration::from_millis(arguments.lag_millis)).await?;
    progress.line(
        "Each scenario is played twice at the same time, without and with Lameduck, on 600 requests/s: new \
         connections, kept-alive ones, and 50 that live 20 s.",
    );
    let overrides = Overrides { sides: arguments.sides, ..Overrides::default() };
    let result = play_story(arguments, &stage, &overrides, progress).await;
    if let Ok(reports) = &result {
        write(arguments, reports, start.elapsed()).context("the result cannot be written")?;
    }
    if shared && let Err(error) = stage.clean_up(progress).await {
        // The result stands all the same.
        progress.line(format!("not everything could be cleared away: {error:#}"));
    }
    result
}

/// The waves with each of what Lameduck can be installed with.
async fn play_story(
    arguments: &Arguments,
    stage: &Stage<'_>,
    overrides: &Overrides,
    progress: &Progress,
) -> Result<Vec<Report>> {
    let mut reports = Vec::new();
    for provider in [Provider::EndpointSlice, Provider::TencentClb] {
        let of_provider = |wave: &Vec<Scenario>| wave.iter().all(|one| one.provider() == provider);
        let waves: Vec<_> = waves(&arguments.chosen()).into_iter().filter(of_provider).collect();
        if waves.is_empty() {
            continue;
        }
        progress.line(match provider {
            Provider::EndpointSlice => format!(
                "The load balancer follows the pods {:.0} s late, as a cloud's does; the policy's settleSeconds \
                 is 2 s more than that.",
                stage.lag().as_secs_f64()
            ),
            Provider::TencentClb => "TKE brings its load balancers up to date 1 to 8 s late, and Lameduck reads \
                                     them; what the policy says of traffic has its default."
                .to_owned(),
        });
        if arguments.sides != Sides::Plain {
            install(stage.cluster(), provider, progress).await?;
        }
        reports.extend(play_waves(waves, stage, overrides, progress).await?);
    }
    reports.sort_by_key(|report| report.scenario);
    Ok(reports)
}

async fn play_waves(
    waves: Vec<Vec<Scenario>>,
    stage: &Stage<'_>,
    overrides: &Overrides,
    progress: &Progress,
) -> Result<Vec<Report>> {
    let prepare = |wave: Vec<Scenario>| {
        try_join_all(
            wave.into_iter().map(|scenario| Play::prepare(stage, scenario, overrides, progress)),
        )
    };
    let mut reports = Vec::new();
    let mut waves = waves.into_iter();
    let mut next = match waves.next() {
        Some(wave) => prepare(wave).await?,
        None => Vec::new(),
    };
    while !next.is_empty() {
        let drains = next.iter().any(|play| play.scenario() == Scenario::Drain);
        let plays = try_join_all(next.into_iter().map(Play::perform));
        // The next wave's pods start while this one's end, unless a drain would take them along.
        let wave = waves.next().unwrap_or_default();
        next = if drains {
            reports.extend(plays.await?);
            prepare(wave).await?
        } else {
            let (played, prepared) = join(plays, prepare(wave)).await;
            reports.extend(played?);
            prepared?
        };
    }
    Ok(reports)
}

fn write(arguments: &Arguments, reports: &[Report], took: Duration) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match arguments.output {
        Output::Json => {
            let pass = reports.iter().all(|report| report.verdict == Verdict::Pass);
            let verdict = if pass { Verdict::Pass } else { Verdict::Fail };
            let document = match (arguments.scenario.len(), reports) {
                (1, [report]) => serde_json::to_value(report)?,
                _ => json!({"scenarios": reports, "verdict": verdict}),
            };
            writeln!(out, "{document:#}")?;
        }
        Output::Table => {
            writeln!(out, "{}", table::table(reports))?;
            for report in reports {
                writeln!(out, "{}", table::sentence(report))?;
            }
            writeln!(out, "({:.0} s in all)", took.as_secs_f64())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::waves;
    use crate::scenario::Scenario;

    #[test]
    fn the_story_has_every_scenario_once_and_the_wide_ones_alone() {
        let waves = waves(&Scenario::ALL);
        let mut all: Vec<Scenario> = waves.concat();
        all.sort();
        assert_eq!(all, Scenario::ALL);
        assert_eq!(super::waves(&[Scenario::Long, Scenario::Drain]).concat().len(), 2);
        for wave in waves.iter().filter(|wave| wave.len() > 1) {
            assert!(!wave.iter().any(|scenario| scenario.runs_alone()), "{wave:?}");
            assert!(wave.iter().all(|scenario| scenario.provider() == wave[0].provider()));
        }
    }
}
