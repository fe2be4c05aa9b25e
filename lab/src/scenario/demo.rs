//! `cargo lab demo`: one scenario as a JSON document, or the whole story as a table.

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::report::{Report, Verdict};
use super::stage::Stage;
use super::waves::{Part, play_all};
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
        let provider = if self.tke { Provider::TencentClb } else { Provider::EndpointSlice };
        let is_chosen = |one: &Scenario| match self.scenario.as_slice() {
            [] => one.provider() == provider,
            named => named.contains(one),
        };
        Scenario::ALL.into_iter().filter(is_chosen).collect()
    }
}

/// What came of the scenarios.
#[derive(Default)]
struct Played {
    reports: Vec<Report>,
    /// Why others could not be played to their end.
    failures: Vec<String>,
}

impl Played {
    fn verdict(&self) -> Verdict {
        let pass = self.failures.is_empty()
            && self.reports.iter().all(|report| report.verdict == Verdict::Pass);
        if pass { Verdict::Pass } else { Verdict::Fail }
    }
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
    let played = play(arguments, &cluster, shared, start, progress).await;
    if !shared {
        cluster.down().await?;
    }
    let played = played?;
    if !played.failures.is_empty() {
        bail!("not everything was played to its end:\n{}", played.failures.join("\n"));
    }
    let pass = played.verdict() == Verdict::Pass;
    Ok(if pass { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn play(
    arguments: &Arguments,
    cluster: &Cluster,
    shared: bool,
    start: Instant,
    progress: &Progress,
) -> Result<Played> {
    let stage = Stage::open_with_lag(cluster, Duration::from_millis(arguments.lag_millis)).await?;
    progress.line(
        "Each scenario is played twice at the same time, without and with Lameduck, on 600 requests/s: new \
         connections, kept-alive ones, and 50 that live 20 s (10 s in most of the upgrades).",
    );
    let played = play_story(arguments, &stage, progress).await;
    let written = write(arguments, &played, start.elapsed());
    if shared && let Err(error) = stage.clean_up(progress).await {
        // The result stands all the same.
        progress.line(format!("not everything could be cleared away: {error:#}"));
    }
    written.context("the result cannot be written")?;
    Ok(played)
}

/// The chosen scenarios with each of what Lameduck can be installed with.
async fn play_story(arguments: &Arguments, stage: &Stage<'_>, progress: &Progress) -> Played {
    let overrides = Overrides { sides: arguments.sides, ..Overrides::default() };
    let mut played = Played::default();
    for provider in [Provider::EndpointSlice, Provider::TencentClb] {
        let chosen = arguments.chosen().into_iter().filter(|one| one.provider() == provider);
        let parts: Vec<Part> =
            chosen.map(|scenario| Part { scenario, overrides: overrides.clone() }).collect();
        if parts.is_empty() {
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
        if arguments.sides != Sides::Plain
            && let Err(error) = install(stage.cluster(), provider, progress).await
        {
            played.failures.push(format!("{error:#}"));
            continue;
        }
        for result in play_all(stage, &parts, progress).await {
            match result {
                Ok(report) => played.reports.push(report),
                Err(error) => played.failures.push(format!("{error:#}")),
            }
        }
    }
    played.reports.sort_by_key(|report| report.scenario);
    played
}

fn write(arguments: &Arguments, played: &Played, took: Duration) -> Result<()> {
    let Played { reports, .. } = played;
    if reports.is_empty() {
        return Ok(());
    }
    let mut out = std::io::stdout().lock();
    match arguments.output {
        Output::Json => {
            let document = match (arguments.scenario.len(), reports.as_slice()) {
                (1, [report]) => serde_json::to_value(report)?,
                _ => json!({"scenarios": reports, "verdict": played.verdict()}),
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
