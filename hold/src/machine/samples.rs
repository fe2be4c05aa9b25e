//! When the next sample of the connections is taken, and what the last one said. Pure.

use std::time::Duration;

use crate::census::{Extent, Sample};

/// Between two samples while nothing depends on them, and between two that count all connections.
pub(super) const RARELY: Duration = Duration::from_secs(5);
/// Between two samples that both find nothing: the end is near.
const QUIET: Duration = Duration::from_millis(100);
/// Bounds between two samples while connections are open. Two quiet samples follow the one that
/// finds them gone, and all that has to fit into a second after the last close.
pub(super) const BUSY_MIN: Duration = Duration::from_millis(200);
pub(super) const BUSY_MAX: Duration = Duration::from_millis(450);
/// A sample that takes t is taken every t times this: about half a percent of a core.
pub(super) const REST: u32 = 200;

/// The samples of one wait for connections.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Samples {
    next_at: Duration,
    next_of_all_at: Duration,
    last: Option<Sample>,
    over: bool,
}

impl Samples {
    /// From `now` on the end depends on what is found.
    pub(crate) fn restart(&mut self, now: Duration) {
        self.over = false;
        self.next_at = now;
    }

    /// The sample to take at `now`, if it is time for one. It is given once.
    pub(crate) fn due(&mut self, now: Duration) -> Option<Extent> {
        if now < self.next_at {
            return None;
        }
        // Set again by the result; this is for a result that never comes.
        self.next_at = now + RARELY;
        if now < self.next_of_all_at {
            return Some(Extent::Enough);
        }
        self.next_of_all_at = now + RARELY;
        Some(Extent::All)
    }

    /// Takes in a sample: what it found, whether by that nothing holds the pod, and what it cost. None
    /// where connections cannot be counted. `waited_for`: the end depends on it.
    pub(crate) fn take_in(
        &mut self,
        now: Duration,
        sample: Option<(Sample, bool)>,
        cost: Duration,
        waited_for: bool,
    ) {
        self.last = sample.map(|(sample, _)| sample);
        self.over = waited_for && sample.is_some_and(|(_, over)| over);
        let pause = match sample {
            _ if !waited_for => RARELY,
            Some((sample, _)) if sample.lasting == 0 => QUIET,
            _ => (cost * REST).clamp(BUSY_MIN, BUSY_MAX),
        };
        self.next_at = now + pause;
    }

    /// When the next sample is due.
    pub(crate) fn next_at(&self) -> Duration {
        self.next_at
    }

    /// The last sample. None before the first, and where connections cannot be counted.
    pub(crate) fn last(&self) -> Option<Sample> {
        self.last
    }

    /// Whether nothing holds the pod any more, as far as the end depends on it.
    pub(crate) fn is_over(&self) -> bool {
        self.over
    }
}
