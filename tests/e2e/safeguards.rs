//! Takes one safeguard away from the protected side and sees the loss: so the scenarios can fail.

use anyhow::Result;
use lameduck_lab::scenario::Scenario;
use serde_json::json;

use crate::played::{Wanted, name_of, protected_runs};

/// What the tests of this module want played: the protected side of a scenario, with its policy changed.
pub(crate) fn wanted() -> Vec<Wanted> {
    let wait = name_of!(without_the_wait_for_traffic_off_a_delete_loses);
    vec![
        Wanted::protected(
            name_of!(without_the_hold_a_delete_loses),
            Scenario::Delete,
            json!({"hold": {"until": "Off", "sleepSeconds": 0}}),
        ),
        Wanted::protected(wait, Scenario::Delete, json!({"hold": {"until": "TrafficOff"}})),
        Wanted::protected(
            wait,
            Scenario::Delete,
            json!({"hold": {"until": "TrafficOff"}, "trafficOff": {"settleSeconds": 0}}),
        ),
        Wanted::protected(
            name_of!(without_the_finalizer_a_forced_pod_is_cut_off),
            Scenario::Force,
            json!({"finalizer": "Never"}),
        ),
    ]
}

#[test]
fn without_the_hold_a_delete_loses() -> Result<()> {
    let [run] = protected_runs(name_of!(without_the_hold_a_delete_loses))?;
    assert!(run.failed > 0 && run.long_connections_cut > 0, "{run:#?}");
    Ok(())
}

/// With connections to wait for, a hold that does not wait for traffic would be saved by them. So the
/// application is left to end its connections itself here: what then counts are the requests that the
/// load balancer goes on sending to nobody, for as long as its lag.
#[test]
fn without_the_wait_for_traffic_off_a_delete_loses() -> Result<()> {
    let [waits, hurries] =
        protected_runs(name_of!(without_the_wait_for_traffic_off_a_delete_loses))?;
    // A request that is under way at SIGTERM is cut in both.
    assert!(hurries.failed > waits.failed + 50, "waits: {waits:#?}\nhurries: {hurries:#?}");
    Ok(())
}

/// A forced pod's object goes at once without the finalizer, and the load balancer with it: it takes the
/// pod out and cuts what is connected, though the container still serves.
#[test]
fn without_the_finalizer_a_forced_pod_is_cut_off() -> Result<()> {
    let [run] = protected_runs(name_of!(without_the_finalizer_a_forced_pod_is_cut_off))?;
    assert!(run.long_connections_cut > 0, "{run:#?}");
    Ok(())
}
