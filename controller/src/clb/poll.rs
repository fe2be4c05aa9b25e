//! When which load balancer is read.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::index::PodKey;

/// Time between two reads of a load balancer: at first and where something changes, and at the longest.
const INTERVAL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));

/// One load balancer's reads.
#[derive(Debug)]
struct Poll {
    /// None while a read is on its way.
    due: Option<Instant>,
    interval: Duration,
    pods: Vec<PodKey>,
}

/// Every load balancer that is read.
#[derive(Debug, Default)]
pub(super) struct Polls(HashMap<Arc<str>, Poll>);

impl Polls {
    /// The load balancers to read now, at most so many; the longest overdue first.
    pub(super) fn due(
        &mut self,
        wanted: &HashMap<Arc<str>, Vec<PodKey>>,
        now: Instant,
        at_most: usize,
    ) -> Vec<Arc<str>> {
        self.0.retain(|id, _| wanted.contains_key(id));
        for (id, pods) in wanted {
            let poll = self.0.entry(Arc::clone(id)).or_insert_with(|| Poll {
                due: Some(now),
                interval: INTERVAL.0,
                pods: Vec::new(),
            });
            // Another pod wants to know soon.
            if pods.iter().any(|pod| !poll.pods.contains(pod)) {
                poll.interval = INTERVAL.0;
                poll.due = poll.due.map(|due| due.min(now + INTERVAL.0));
            }
            poll.pods.clone_from(pods);
        }
        let mut due: Vec<(Instant, Arc<str>)> = self
            .0
            .iter()
            .filter_map(|(id, poll)| Some((poll.due.filter(|due| *due <= now)?, Arc::clone(id))))
            .collect();
        due.sort();
        due.truncate(at_most);
        due.into_iter()
            .map(|(_, id)| {
                if let Some(poll) = self.0.get_mut(&id) {
                    poll.due = None;
                }
                id
            })
            .collect()
    }

    /// A read has ended; `changed` tells whether it said something new about any pod.
    pub(super) fn ended(&mut self, id: &str, changed: bool, now: Instant) {
        if let Some(poll) = self.0.get_mut(id) {
            poll.interval =
                if changed { INTERVAL.0 } else { (poll.interval * 5 / 4).min(INTERVAL.1) };
            poll.due = Some(now + poll.interval);
        }
    }
}
