//! How many pods of a side serve while it is upgraded.

use std::convert::Infallible;
use std::fmt::Display;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use tokio::time::sleep;

use crate::scenario::look::Seen;
use crate::scenario::side::Side;

/// Time between two samples.
const SAMPLE: Duration = Duration::from_millis(500);
/// Pods and load balancer are asked one after the other, so a single low sample may be made of two moments
/// that never were one. Two in a row are half a second without the capacity.
const LOW_SAMPLES: u32 = 2;

/// What has to serve at any time, and what did.
#[derive(Clone, Debug)]
pub(super) struct Capacity {
    /// The least number of pods that are ready, not ending, and have a weight.
    least: usize,
    /// The number that has to be reached once: with the pod that is there for the upgrade.
    surge: Option<usize>,
    most_seen: usize,
    low: u32,
}

impl Capacity {
    /// Of a set of `replicas`: all of them where there is a surge, else one less.
    pub(super) fn new(replicas: usize, surges: bool) -> Self {
        let (least, surge) = if surges {
            (replicas, Some(replicas + 1))
        } else {
            (replicas.saturating_sub(1), None)
        };
        Self { least, surge, most_seen: 0, low: 0 }
    }

    /// Looks at `side` again and again.
    ///
    /// # Errors
    /// Too few pods serve.
    pub(super) async fn watch(&mut self, side: &Side) -> Result<Infallible> {
        loop {
            self.see(&side.look().await?, &side.namespace)?;
            sleep(SAMPLE).await;
        }
    }

    fn see(&mut self, seen: &[Seen], namespace: impl Display) -> Result<()> {
        let serving = seen.iter().filter(|pod| pod.serves()).count();
        self.most_seen = self.most_seen.max(serving);
        self.low = if serving < self.least { self.low + 1 } else { 0 };
        if self.low >= LOW_SAMPLES {
            let pods: Vec<String> = seen.iter().map(ToString::to_string).collect();
            bail!(
                "only {serving} pods of {namespace} serve, and at least {} should during its upgrade: {}",
                self.least,
                pods.join("; ")
            );
        }
        Ok(())
    }

    /// What is known only at the end.
    ///
    /// # Errors
    /// No pod ever served beyond the replicas, and one should have.
    pub(super) fn conclude(&self, side: &Side) -> Result<()> {
        let Some(surge) = self.surge else { return Ok(()) };
        ensure!(
            self.most_seen >= surge,
            "no more than {} pods of {} ever served, and {surge} should have: the surge never took traffic",
            self.most_seen,
            side.namespace
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Capacity, Seen};

    fn seen(weights: &[u32]) -> Vec<Seen> {
        let pod = |weight: &u32| Seen { ready: true, weight: *weight, ..Seen::default() };
        weights.iter().map(pod).collect()
    }

    #[test]
    fn one_pod_may_be_away_and_two_may_not() {
        let mut capacity = Capacity::new(3, false);
        for weights in [[10, 10, 10], [10, 10, 0], [10, 0, 0], [10, 10, 0], [10, 0, 0]] {
            capacity.see(&seen(&weights), "shop").unwrap();
        }
        let error = capacity.see(&seen(&[10, 0, 0]), "shop").unwrap_err();
        assert!(error.to_string().starts_with("only 1 pods of shop serve"), "{error}");
    }

    #[test]
    fn with_a_surge_none_may() {
        let mut capacity = Capacity::new(3, true);
        capacity.see(&seen(&[10, 10, 10, 0]), "shop").unwrap();
        assert_eq!((capacity.most_seen, capacity.surge), (3, Some(4)));
        capacity.see(&seen(&[10, 10, 10, 10]), "shop").unwrap();
        assert_eq!(capacity.most_seen, 4);
        capacity.see(&seen(&[10, 0, 0, 10]), "shop").unwrap();
        capacity.see(&seen(&[10, 0, 0, 10]), "shop").unwrap_err();
    }
}
