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
    decisions: f64,
    decision_seconds: f64,
}

impl Usage {
    /// What was used between `self` and `later`.
    pub(super) fn until(&self, later: &Self) -> Self {
        Self {
            processor_seconds: later.processor_seconds - self.processor_seconds,
            decisions: later.decisions - self.decisions,
            decision_seconds: later.decision_seconds - self.decision_seconds,
        }
    }

    /// Mean time of a decision, from the request's bytes to the answer's bytes.
    pub(super) fn decision_micros(&self) -> Result<f64> {
        ensure!(self.decisions > 0.0, "the webhook counted no review");
        Ok(self.decision_seconds / self.decisions * 1e6)
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
        let metric = |name: &str| {
            let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            value
                .and_then(|value| value.parse::<f64>().ok())
                .with_context(|| format!("no metric {name}"))
        };
        Ok(Usage {
            processor_seconds: nanos as f64 / 1e9,
            decisions: metric("lameduck_webhook_decision_seconds_count")?,
            decision_seconds: metric("lameduck_webhook_decision_seconds_sum")?,
        })
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
