//! Every scenario, on the cluster and under load: something is lost without Lameduck, and nothing with it.

use anyhow::{Context, Result};
use lameduck_lab::process::output;
use lameduck_lab::scenario::{Overrides, Report, Scenario, Stage, Verdict, run};
use tokio::process::Command;

use crate::bench::Bench;

/// As a person plays it: one JSON document on stdout, and exit code 0 where the verdict is a pass.
async fn passes_on_the_command_line(scenario: &str) -> Result<()> {
    let _bench = Bench::take().await?;
    let lab = std::env::var_os("LAMEDUCK_LAB_PROGRAM").context("`cargo lab test` names the lab")?;
    let mut demo = Command::new(lab);
    demo.args(["demo", "--scenario", scenario, "--output", "json"]);
    let printed = output("the demo", &mut demo).await?;
    let report: Report = serde_json::from_str(&printed).context("not one JSON document")?;
    assert_eq!(report.verdict, Verdict::Pass, "{printed}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delete() -> Result<()> {
    passes_on_the_command_line("delete").await
}

async fn passes(scenario: Scenario) -> Result<()> {
    let bench = Bench::take().await?;
    let stage = Stage::open(&bench.cluster).await?;
    let report = run(&stage, scenario, &Overrides::default(), &bench.progress).await?;
    stage.clean_up(&bench.progress).await?;
    assert_eq!(report.verdict, Verdict::Pass, "{}: {:#?}", report.why, report.runs);
    Ok(())
}

macro_rules! scenarios {
    ($($name:ident: $scenario:ident,)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() -> Result<()> {
            passes(Scenario::$scenario).await
        })*

        #[test]
        fn none_is_forgotten() {
            let played = [Scenario::Delete, $(Scenario::$scenario),*];
            assert_eq!(played.len(), Scenario::ALL.len());
        }
    };
}

scenarios! {
    rollout: Rollout,
    scale_in: ScaleIn,
    drain: Drain,
    force_while_held: Force,
    long_connections: Long,
    controller_down: ControllerDown,
    slow_start: SlowStart,
}
