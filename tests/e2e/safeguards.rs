//! Takes one safeguard away from the protected side and sees the loss: so the scenarios can fail.

use anyhow::{Context, Result};
use lameduck_lab::scenario::{Overrides, Run, Scenario, Sides, Stage, run};
use serde_json::{Value, json};

use crate::bench::Bench;

/// The protected side of `scenario`, with its policy changed.
async fn protected(scenario: Scenario, policy_patch: Value) -> Result<Run> {
    let bench = Bench::take_with(scenario.provider()).await?;
    let stage = Stage::open(&bench.cluster).await?;
    let overrides = Overrides {
        policy_patch: Some(policy_patch),
        sides: Sides::Protected,
        ..Overrides::default()
    };
    let report = run(&stage, scenario, &overrides, &bench.progress).await?;
    stage.clean_up(&bench.progress).await?;
    report.runs.into_iter().next().context("no run")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_hold_a_delete_loses() -> Result<()> {
    let run =
        protected(Scenario::Delete, json!({"hold": {"until": "Off", "sleepSeconds": 0}})).await?;
    assert!(run.failed > 0 && run.long_connections_cut > 0, "{run:#?}");
    Ok(())
}

/// With connections to wait for, a hold that does not wait for traffic would be saved by them. So the
/// application is left to end its connections itself here: what then counts are the requests that the
/// load balancer goes on sending to nobody, for as long as its lag.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_wait_for_traffic_off_a_delete_loses() -> Result<()> {
    let waits = protected(Scenario::Delete, json!({"hold": {"until": "TrafficOff"}})).await?;
    let hurries = protected(
        Scenario::Delete,
        json!({"hold": {"until": "TrafficOff"}, "trafficOff": {"settleSeconds": 0}}),
    )
    .await?;
    // A request that is under way at SIGTERM is cut in both.
    assert!(hurries.failed > waits.failed + 50, "waits: {waits:#?}\nhurries: {hurries:#?}");
    Ok(())
}

/// The same rollout as in the scenario `lag`, with `settleSeconds` instead of the proof: 3 s against the 8 s
/// that the CLB is late.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_proof_from_the_clb_a_rollout_loses() -> Result<()> {
    let guess =
        json!({"trafficOff": {"provider": "EndpointSlice"}, "hold": {"until": "TrafficOff"}});
    let run = protected(Scenario::Lag, guess).await?;
    assert!(run.failed > 0, "{run:#?}");
    Ok(())
}

/// A forced pod's object goes at once without the finalizer, and the load balancer with it: it takes the
/// pod out and cuts what is connected, though the container still serves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_finalizer_a_forced_pod_is_cut_off() -> Result<()> {
    let run = protected(Scenario::Force, json!({"finalizer": "Never"})).await?;
    assert!(run.long_connections_cut > 0, "{run:#?}");
    Ok(())
}
