//! The webhook as a process on one core, and what it costs.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::process::Child;
use tokio::time::{Instant, sleep};

use crate::bench::process::{Memory, free_address, get, processor_nanos};
use crate::process::bound;

/// A webhook that is not ready by now never will be.
const PATIENCE: Duration = Duration::from_secs(30);

/// A webhook that runs. It ends with this value.
pub(super) struct Webhook {
    child: Child,
    /// Where reviews go.
    pub(super) reviews: SocketAddr,
    health: SocketAddr,
}

/// What the process has used since it started, or between two looks.
pub(super) struct Usage {
    /// Time on a processor.
    pub(super) processor_seconds: f64,
    /// Decisions that took at most so many seconds, by this upper bound, in ascending order.
    decisions: Vec<(f64, f64)>,
}

impl Usage {
    /// What was used between `self` and `later`.
    pub(super) fn until(&self, later: &Self) -> Self {
        Self {
            processor_seconds: later.processor_seconds - self.processor_seconds,
            decisions: self
                .decisions
                .iter()
                .zip(&later.decisions)
                .map(|((bound, before), (_, after))| (*bound, after - before))
                .collect(),
        }
    }

    /// Median time of a decision, from the request's bytes to the answer's bytes. A mean would count
    /// every time at which the machine gave the core to somebody else.
    pub(super) fn decision_micros(&self) -> Result<f64> {
        let total = self.decisions.last().map_or(0.0, |(_, decisions)| *decisions);
        ensure!(total > 0.0, "the webhook counted no review");
        let (mut lower_bound, mut before) = (0.0, 0.0);
        for (bound, decisions) in self.decisions.iter().filter(|(bound, _)| bound.is_finite()) {
            if *decisions >= total / 2.0 {
                // As if those of one bucket were spread evenly.
                let share = (total / 2.0 - before) / (decisions - before);
                return Ok((lower_bound + share * (bound - lower_bound)) * 1e6);
            }
            (lower_bound, before) = (*bound, *decisions);
        }
        bail!("more than half of the decisions took longer than the largest bucket");
    }
}

impl Webhook {
    /// Starts the webhook on one core and waits until it is ready.
    pub(super) async fn start(binary: &Path, kubeconfig: &Path, core: usize) -> Result<Self> {
        let (reviews, health) = (free_address()?, free_address()?);
        let child = bound("taskset")
            .args(["--cpu-list", &core.to_string()])
            .arg(binary)
            .args(["--listen", &reviews.to_string()])
            .args(["--health-listen", &health.to_string()])
            .args(["--log", "warn"])
            .env("KUBECONFIG", kubeconfig)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("taskset cannot start the webhook")?;
        let mut webhook = Self { child, reviews, health };
        let started = Instant::now();
        while !get(health, "/readyz").await.is_ok_and(|text| text.contains(" 200 ")) {
            if let Some(status) = webhook.child.try_wait()? {
                bail!("the webhook ended: {status}");
            }
            if started.elapsed() > PATIENCE {
                let answer = get(health, "/readyz").await.unwrap_or_default();
                bail!("the webhook was not ready within {} s: {answer}", PATIENCE.as_secs());
            }
            sleep(Duration::from_millis(50)).await;
        }
        Ok(webhook)
    }

    pub(super) async fn usage(&self) -> Result<Usage> {
        let nanos = processor_nanos(self.pid()?)?;
        let metrics = get(self.health, "/metrics").await?;
        let bucket = |line: &str| {
            let bucket = line.strip_prefix("lameduck_webhook_decision_seconds_bucket{le=\"")?;
            let (bound, decisions) = bucket.split_once("\"} ")?;
            let bound = bound.parse::<f64>().ok()?;
            Some((bound, decisions.parse::<f64>().ok()?))
        };
        let decisions: Vec<_> = metrics.lines().filter_map(bucket).collect();
        ensure!(!decisions.is_empty(), "the webhook's metrics have no histogram of decisions");
        Ok(Usage { processor_seconds: nanos as f64 / 1e9, decisions })
    }

    /// Resident memory.
    pub(super) fn memory(&self) -> Result<Memory> {
        Memory::of(self.pid()?)
    }

    /// `taskset` becomes the webhook, so its process is the webhook's.
    fn pid(&self) -> Result<u32> {
        self.child.id().context("the webhook has ended")
    }
}
