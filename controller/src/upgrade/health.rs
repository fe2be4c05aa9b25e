//! What the health checks of a CLB say of its backends, read besides their weights.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use lameduck_clb::{GapKind, Health, HealthState, Listener, Rule, Target};
use lameduck_core::text::chain;
use tokio::time::{Instant, timeout};
use tracing::warn;

use crate::clb::{Api, label};
use crate::metrics::Metrics;

/// The most that weights wait for the health beside them. They are of no use after 30 s
/// (`core/src/drain/clb/history.rs`), and an API that does not answer may take all of these.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// One that did not answer in time is not waited for again before that: upgrades that share a load
/// balancer read it one after the other, and each would wait.
const SILENT_PAUSE: Duration = Duration::from_secs(30);
/// The label of no answer in time, as of the client's own.
const SILENT: &str = "silent";

/// One read of the health of a load balancer's backends.
#[derive(Clone, Debug)]
pub(super) struct Checkup {
    /// None where it failed.
    health: Option<Arc<Health>>,
    /// How it ended: a label of `lameduck_clb_calls_total`, or that a part could not be read.
    ended: &'static str,
    began: Instant,
}

impl Checkup {
    pub(super) fn health(&self) -> Option<&Health> {
        self.health.as_deref()
    }
}

/// Reads the health of the backends of `id`. One that fails leaves them without one, and nothing else
/// unknown: the weights are the proof that traffic is off, and readiness and weights still say who
/// serves. It is logged when it begins to fail, and when it fails in another way than at `last`.
pub(super) async fn check_up<A: Api>(
    api: &A,
    metrics: &Metrics,
    id: &str,
    last: Option<&Checkup>,
) -> Checkup {
    let began = Instant::now();
    if let Some(last) = last
        && last.ended == SILENT
        && last.began.elapsed() < SILENT_PAUSE
    {
        return last.clone();
    }
    let (ended, result) = match timeout(ANSWER_MAX, api.health(id, None)).await {
        Ok(result) => (label(&result), result.map_err(|error| chain(&error))),
        Err(_) => (SILENT, Err(format!("no answer within {} s", ANSWER_MAX.as_secs()))),
    };
    metrics.clb_call("DescribeTargetHealth", ended);
    let unreadable = |health: &Health| {
        let gap = health.gaps.iter().find(|gap| gap.kind != GapKind::NoValue);
        gap.map(|gap| format!("a part of the answer could not be read: {gap}"))
    };
    let (ended, why) = match &result {
        Ok(health) => match unreadable(health) {
            Some(why) => ("partial", Some(why)),
            None => (ended, None),
        },
        Err(why) => (ended, Some(why.clone())),
    };
    // Not every second the same: a role without the right to this call fails for a whole upgrade.
    if let Some(error) = why.filter(|_| last.is_none_or(|last| last.ended != ended)) {
        warn!(
            load_balancer = id,
            reason = ended,
            error,
            "The health of a load balancer's backends was not read; upgrades go on by weights alone."
        );
    }
    Checkup { health: result.ok().map(Arc::new), ended, began }
}

/// The health of one load balancer's backends, by where they stand.
#[derive(Debug, Default)]
pub(super) struct ByPlace<'a>(HashMap<(&'a str, IpAddr, u16), Vec<Found<'a>>>);

/// The rule that it was found in, and what the check says there.
type Found<'a> = (Option<&'a str>, &'a HealthState);

impl<'a> ByPlace<'a> {
    pub(super) fn of(load_balancer: &str, health: Option<&'a Health>) -> Self {
        let mut all = Self::default();
        for row in health.iter().flat_map(|health| &health.targets) {
            if row.load_balancer_id == load_balancer {
                let key = (row.listener_id.as_str(), row.ip, row.port);
                all.0.entry(key).or_default().push((row.location_id.as_deref(), &row.state));
            }
        }
        all
    }

    /// Whether a backend of a listener, or of its `rule`, is healthy; None where nobody knows: it is not
    /// named, it has not been probed yet, or its state could not be read.
    pub(super) fn is_healthy(
        &self,
        listener: &Listener,
        rule: Option<&Rule>,
        target: &Target,
    ) -> Option<bool> {
        // A rule without an id could be any of the listener's.
        let wanted = match rule {
            Some(rule) => Some(rule.location_id.as_deref()?),
            // On layer 4 the answer puts all backends into one rule, whose id means nothing.
            None => None,
        };
        let own = target.private_ips.iter().filter_map(|ip| {
            let at: &str = &listener.listener_id;
            self.0.get(&(at, *ip, target.port))
        });
        let own = own.flatten().filter(|(location, _)| wanted.is_none() || *location == wanted);
        let states: Vec<_> = own.map(|(_, state)| state.is_healthy()).collect();
        // One by two addresses, or listed twice: it takes what all of them let through.
        if states.contains(&Some(false)) {
            return Some(false);
        }
        (!states.is_empty() && !states.contains(&None)).then_some(true)
    }
}

#[cfg(test)]
mod tests;
