//! Tests of drains: tables of the states that matter, and properties over all of them.

mod clb;
mod finalizer;
mod holds;
mod properties;
mod traffic;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::*;

/// 2026-01-01T00:00:00Z: the deletion of every pod here.
const DELETED: i64 = 1_767_225_600;
/// Grace of an injected pod: 30 s of its own, 900 s of hold, 10 s of margin.
const GRACE_SECONDS: u32 = 940;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(DELETED + seconds).unwrap()
}

fn deletion(grace_seconds: u32) -> Deletion {
    Deletion::new(at(i64::from(grace_seconds)), grace_seconds)
}

/// A pod that was deleted at second 0, and runs.
fn pod() -> PodFacts {
    PodFacts {
        deletion: Some(deletion(GRACE_SECONDS)),
        original_grace_seconds: 30,
        release: None,
        containers: Containers::Running,
        node: NodeState::Ready,
        has_finalizer: true,
        traffic_off: None,
        policy: Arc::default(),
        node_under_pressure: false,
    }
}

fn entry(ready: bool, terminating: bool) -> Endpoint {
    Endpoint { service: "shop/web".into(), ready, serving: true, terminating, address: None }
}

fn endpoints(entries: Vec<Endpoint>) -> EndpointFacts {
    EndpointFacts {
        services: vec![SelectingService { name: "shop/web".into(), others: Others::Ready }],
        entries,
        stale: None,
        clb: None,
    }
}

/// A watch that has been broken for so many seconds.
fn stale(seconds: u64) -> Option<Stale> {
    let why = "the watch of services is broken".to_owned();
    Some(Stale { why, lasts: Duration::from_secs(seconds) })
}

fn condition(status: ConditionStatus, reason: &str, since: i64) -> Condition {
    Condition { status, reason: reason.into(), message: "as written".into(), since: at(since) }
}

/// What the API server keeps of a condition.
fn stored(condition: Condition) -> Condition {
    Condition { since: Timestamp::from_second(condition.since.as_second()).unwrap(), ..condition }
}
