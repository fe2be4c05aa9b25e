//! The safeguards behind CLBs; see [`crate::safeguards`].

use anyhow::Result;
use lameduck_lab::scenario::Scenario;
use serde_json::json;

use crate::played::{Wanted, name_of, protected_runs};

/// What the tests of this module want played.
pub(crate) fn wanted() -> Vec<Wanted> {
    let guess =
        json!({"trafficOff": {"provider": "EndpointSlice"}, "hold": {"until": "TrafficOff"}});
    vec![Wanted::protected(
        name_of!(without_the_proof_from_the_clb_a_rollout_loses),
        Scenario::Lag,
        guess,
    )]
}

/// The same rollout as in the scenario `lag`, with `settleSeconds` instead of the proof: 3 s against the 8 s
/// that the CLB is late.
#[test]
fn without_the_proof_from_the_clb_a_rollout_loses() -> Result<()> {
    let [run] = protected_runs(name_of!(without_the_proof_from_the_clb_a_rollout_loses))?;
    assert!(run.failed > 0, "{run:#?}");
    Ok(())
}
