//! Samples of the pod's connections, as both `wait` and `count` take them.

use std::time::{Duration, Instant};

use crate::census::{Census, Connection, Extent, Rule, Sample};
use crate::sockets::Sockets;

/// Reads sockets into a census, by one rule.
#[derive(Debug)]
pub(crate) struct Sampler {
    sockets: Sockets,
    census: Census,
    idle_limit: Option<Duration>,
    uncountable: Option<String>,
}

impl Sampler {
    /// Samples of the connections to `ports`, or to every port that listens where `ports` is empty.
    /// Those that were silent for `idle_limit` do not count, where there is one.
    pub(crate) fn new(ports: &[u16], idle_limit: Option<Duration>) -> Self {
        Self {
            sockets: Sockets::new(ports),
            census: Census::default(),
            idle_limit,
            uncountable: None,
        }
    }

    /// From now on quiet samples count anew.
    pub(crate) fn restart(&mut self) {
        self.census.restart();
    }

    /// Takes a sample: what it found and whether by that nothing holds the pod any more, none where
    /// connections cannot be counted; and how long it took. `waited`: for how long connections have
    /// been waited for.
    pub(crate) fn take(
        &mut self,
        waited: Duration,
        extent: Extent,
    ) -> (Option<(Sample, bool)>, Duration) {
        let rule = Rule { idle_limit: self.idle_limit, waited };
        let began = Instant::now();
        let found = match self.sockets.sample(&mut self.census, &rule, extent) {
            Ok(sample) => {
                self.uncountable = None;
                Some((sample, self.census.is_over(sample)))
            }
            Err(error) => {
                self.uncountable = Some(error.to_string());
                None
            }
        };
        (found, began.elapsed())
    }

    /// Why connections could not be counted the last time.
    pub(crate) fn uncountable(&self) -> Option<&str> {
        self.uncountable.as_deref()
    }

    /// A few of the connections that the last sample of [`Extent::All`] saw.
    pub(crate) fn examples(&self) -> &[Connection] {
        self.sockets.witnesses()
    }
}
