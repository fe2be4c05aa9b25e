//! Measurements against the budgets that the parts were given.
//!
//! * [`cli`]: time, memory and requests of `kubectl lameduck status` in a large cluster.
//! * [`clb`]: how often load balancers are read, and how soon a drain ends behind them.
//! * [`controller`]: the controller's memory, and how soon a finalizer goes.
//! * [`hold`]: the hold's size, memory, share of a core, and how soon it ends.
//! * [`upgrade`]: time per pod of a StatefulSet's upgrade, beside Kubernetes' own and the guide by hand.
//! * [`webhook`]: the webhook's reviews per second, latency, time of a decision, and memory.
//!
//! A bench prints a table, and its process fails where a budget is missed.

pub mod clb;
pub mod cli;
pub mod controller;
pub mod hold;
mod hollow;
mod process;
pub mod upgrade;
pub mod webhook;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use comfy_table::{Table, presets};
use serde::Serialize;

use crate::cluster::Cluster;
use crate::images::product;

/// Bytes of a mebibyte, the unit of the budgets.
const MIB: f64 = 1024.0 * 1024.0;

/// One figure of a bench, and what it was allowed to be.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// What was measured.
    pub what: String,
    /// The measurement, with its unit.
    pub measured: String,
    /// The budget, with its unit; empty for a figure without one.
    pub budget: String,
    /// Whether the measurement is within the budget.
    pub pass: bool,
}

impl Figure {
    /// A figure that may be at most `budget`, both in `unit`.
    #[must_use]
    pub fn at_most(what: impl Into<String>, measured: f64, budget: f64, unit: &str) -> Self {
        let shown = |value: f64| format!("{} {unit}", significant(value));
        Self {
            what: what.into(),
            measured: shown(measured),
            budget: format!("<= {}", shown(budget)),
            pass: measured <= budget,
        }
    }

    /// A figure that must be at least `budget`, both in `unit`.
    #[must_use]
    pub fn at_least(what: impl Into<String>, measured: f64, budget: f64, unit: &str) -> Self {
        let shown = |value: f64| format!("{} {unit}", significant(value));
        Self {
            what: what.into(),
            measured: shown(measured),
            budget: format!(">= {}", shown(budget)),
            pass: measured >= budget,
        }
    }

    /// A figure that has no budget.
    #[must_use]
    pub fn for_information(what: impl Into<String>, measured: f64, unit: &str) -> Self {
        let measured = format!("{} {unit}", significant(measured));
        Self { what: what.into(), measured, budget: String::new(), pass: true }
    }
}

/// Three digits that count, which is as much as any of these measurements is worth.
fn significant(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.decimals$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// The figures as a table for people.
#[must_use]
pub fn table(figures: &[Figure]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(["", "measured", "budget", ""]);
    for Figure { what, measured, budget, pass } in figures {
        let verdict = match (budget.is_empty(), pass) {
            (true, _) => "",
            (false, true) => "pass",
            (false, false) => "MISSED",
        };
        table.add_row([what, measured, budget, verdict]);
    }
    table
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// The smallest value that `percent` of the sorted values do not exceed.
fn quantile(sorted: &[Duration], percent: usize) -> Result<Duration> {
    let rank = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(rank).copied().context("nothing was measured")
}

/// Makes the controller's own kind known to the API server.
async fn apply_definition(cluster: &Cluster) -> Result<()> {
    apply_definition_of(cluster, "terminationpolicies").await
}

async fn apply_definition_of(cluster: &Cluster, plural: &str) -> Result<()> {
    let definition =
        product::workspace().join(format!("manifests/crds/{plural}.lameduck.dev.yaml"));
    let applied = cluster.kubectl(["apply", "--filename"]).arg(definition).output().await?;
    ensure!(
        applied.status.success(),
        "the CustomResourceDefinition cannot be applied: {}",
        String::from_utf8_lossy(&applied.stderr)
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_say_whether_they_are_within_their_budget() {
        assert!(Figure::at_most("a", 1.0, 1.0, "s").pass);
        let missed = Figure::at_most("a", 1.01, 1.0, "s");
        assert!(!missed.pass);
        assert_eq!((missed.measured.as_str(), missed.budget.as_str()), ("1.01 s", "<= 1 s"));
        assert!(Figure::at_least("a", 1.0, 1.0, "/s").pass);
        assert!(!Figure::at_least("a", 0.99, 1.0, "/s").pass);
        assert!(table(&[missed]).to_string().contains("MISSED"));
    }

    #[test]
    fn values_are_shown_with_three_digits() {
        let shown = [0.0, 0.1234, 1.5, 12.34, 1234.0].map(significant);
        assert_eq!(shown, ["0", "0.123", "1.5", "12.3", "1234"]);
    }

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let values: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        let at = |percent| quantile(&values, percent).unwrap().as_millis();
        assert_eq!((at(50), at(99), at(100)), (100, 198, 200));
        assert!(quantile(&[], 50).is_err());
    }
}
