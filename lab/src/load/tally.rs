//! What the load counts, and the lines in which it says so.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::client::FailureKind;

/// The most losses of which each detail is kept; all are counted.
const LOSS_LIMIT: usize = 2_000;

/// The key for what no answer has connected with a pod.
const UNKNOWN_POD: &str = "unknown";

/// A line of the generator's standard output.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// Once a second: the counts so far.
    Counts(Counts),
    /// The last line.
    Result(Tally),
}

/// Sums.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    /// Requests of all three kinds.
    pub requests: u64,
    /// Those that failed.
    pub failed: u64,
    /// Long connections that had their first answer.
    pub long_connections: u64,
    /// Those that ended before their time.
    pub long_connections_cut: u64,
}

/// What one pod did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct PodCounts {
    /// Requests that it answered.
    pub answered: u64,
    /// Requests that failed on connections to it.
    pub failed: u64,
    /// Long connections to it that were cut.
    pub long_connections_cut: u64,
}

/// On which kind of connection something was lost.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossKind {
    /// A connection for one request.
    New,
    /// A kept-alive connection.
    Kept,
    /// A long connection.
    Long,
}

/// A request that failed.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Loss {
    /// Milliseconds after the load's start.
    pub at_millis: u64,
    /// How it failed.
    pub kind: FailureKind,
    /// On what.
    pub connection: LossKind,
    /// The client's port; none where there was no connection.
    pub client_port: Option<u16>,
    /// The pod, where an earlier answer on the connection has named it.
    pub pod: Option<String>,
}

/// Everything that a run has counted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tally {
    /// Sums.
    #[serde(flatten)]
    pub counts: Counts,
    /// Failed requests by kind.
    pub failures: BTreeMap<FailureKind, u64>,
    /// What each pod did; `unknown` for requests that failed before any answer.
    pub pods: BTreeMap<String, PodCounts>,
    /// Kept-alive connections that the server ended between two requests: no loss.
    pub idle_closes: u64,
    /// Details of the failed requests, the first 2000 of them.
    pub losses: Vec<Loss>,
    /// Length of the run in milliseconds.
    pub millis: u64,
    #[serde(skip, default = "Instant::now")]
    started: Instant,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            counts: Counts::default(),
            failures: BTreeMap::new(),
            pods: BTreeMap::new(),
            idle_closes: 0,
            losses: Vec::new(),
            millis: 0,
            started: Instant::now(),
        }
    }
}

impl Tally {
    fn pod(&mut self, pod: Option<&str>) -> &mut PodCounts {
        self.pods.entry(pod.unwrap_or(UNKNOWN_POD).to_owned()).or_default()
    }

    pub(super) fn answered(&mut self, pod: Option<&str>) {
        self.counts.requests += 1;
        self.pod(pod).answered += 1;
    }

    pub(super) fn failed(
        &mut self,
        connection: LossKind,
        kind: FailureKind,
        client_port: Option<u16>,
        pod: Option<&str>,
    ) {
        self.counts.requests += 1;
        self.counts.failed += 1;
        *self.failures.entry(kind).or_default() += 1;
        self.pod(pod).failed += 1;
        if self.losses.len() < LOSS_LIMIT {
            let at_millis = self.elapsed_millis();
            let pod = pod.map(ToOwned::to_owned);
            self.losses.push(Loss { at_millis, kind, connection, client_port, pod });
        }
    }

    pub(super) fn long_opened(&mut self) {
        self.counts.long_connections += 1;
    }

    pub(super) fn long_cut(&mut self, pod: Option<&str>) {
        self.counts.long_connections_cut += 1;
        self.pod(pod).long_connections_cut += 1;
    }

    pub(super) fn ended(&mut self) {
        self.millis = self.elapsed_millis();
    }

    fn elapsed_millis(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
