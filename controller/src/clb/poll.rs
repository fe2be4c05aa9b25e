//! When which load balancer is read.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::index::PodKey;

/// Time between two reads of a load balancer: at first and where something changes, and at the longest.
const INTERVAL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));

/// A read has ended by then, one way or the other: twice the time that the client allows for a call.
const READ_MAX: Duration = Duration::from_secs(60);

/// One load balancer's reads.
#[derive(Debug)]
struct Poll {
    /// None while a read is on its way.
    due: Option<Instant>,
    /// No other read begins before.
    not_before: Instant,
    interval: Duration,
    pods: HashSet<PodKey>,
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
        self.0.retain(|id, poll| {
            // One that nobody wants is remembered while it must not be read: pods that end one after the
            // other would have it read for each, whenever the last one read is off.
            let is_wanted = wanted.contains_key(id);
            if !is_wanted {
                poll.pods.clear();
            }
            is_wanted || now < poll.not_before
        });
        for (id, pods) in wanted {
            let poll = self.0.entry(Arc::clone(id)).or_insert_with(|| Poll {
                due: Some(now),
                not_before: now,
                interval: INTERVAL.0,
                pods: HashSet::new(),
            });
            // Another pod wants to know soon.
            if pods.iter().any(|pod| !poll.pods.contains(pod)) {
                poll.interval = INTERVAL.0;
                poll.due = poll.due.map(|due| due.min(poll.not_before.max(now)));
            }
            poll.pods = pods.iter().cloned().collect();
        }
        let mut due: Vec<(Instant, Arc<str>)> = self
            .0
            .iter()
            .filter(|(id, _)| wanted.contains_key(*id))
            // One whose read never ended, because it panicked, is read again.
            .map(|(id, poll)| (poll.due.unwrap_or(poll.not_before), Arc::clone(id)))
            .filter(|(due, _)| *due <= now)
            .collect();
        due.sort();
        due.truncate(at_most);
        due.into_iter()
            .map(|(_, id)| {
                if let Some(poll) = self.0.get_mut(&id) {
                    poll.due = None;
                    poll.not_before = now + READ_MAX;
                }
                id
            })
            .collect()
    }

    /// The pods that a load balancer is read for.
    pub(super) fn pods(&self, id: &str) -> Vec<PodKey> {
        self.0.get(id).map(|poll| poll.pods.iter().cloned().collect()).unwrap_or_default()
    }

    /// A read has ended; `changed` tells whether it said something new about any pod.
    pub(super) fn ended(&mut self, id: &str, changed: bool, now: Instant) {
        if let Some(poll) = self.0.get_mut(id) {
            poll.interval =
                if changed { INTERVAL.0 } else { (poll.interval * 5 / 4).min(INTERVAL.1) };
            poll.due = Some(now + poll.interval);
            poll.not_before = now + INTERVAL.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_that_never_ends_is_made_again() {
        let began = Instant::now();
        let id: Arc<str> = "lb-1".into();
        let wanted = HashMap::from([(Arc::clone(&id), vec![PodKey::new("shop", "web-0")])]);
        let mut polls = Polls::default();
        assert_eq!(polls.due(&wanted, began, 20), [Arc::clone(&id)]);
        assert!(polls.due(&wanted, began + READ_MAX / 2, 20).is_empty());
        assert_eq!(polls.due(&wanted, began + READ_MAX, 20), [id]);
    }

    #[test]
    fn pods_that_come_and_go_do_not_have_it_read_more_often() {
        let began = Instant::now();
        let id: Arc<str> = "lb-1".into();
        let mut polls = Polls::default();
        let mut reads = Vec::new();
        // A pod that is off after one read, at once followed by the next; and reads that take 300 ms.
        let mut on_its_way: Option<u64> = None;
        let mut number = 0;
        for millis in (0..20_000).step_by(50) {
            let now = began + Duration::from_millis(millis);
            if on_its_way.is_some_and(|since| since + 300 <= millis) {
                on_its_way = None;
                polls.ended(&id, true, now);
                // Nobody wants it for one look.
                number += 1;
                assert!(polls.due(&HashMap::new(), now, 20).is_empty());
                continue;
            }
            let pods = vec![PodKey::new("shop", &format!("web-{number}"))];
            let wanted = HashMap::from([(Arc::clone(&id), pods)]);
            if !polls.due(&wanted, now, 20).is_empty() {
                assert_eq!(on_its_way, None, "one at a time");
                on_its_way = Some(millis);
                reads.push(millis);
            }
            // Nor while it is read.
            if on_its_way == Some(millis) {
                assert!(polls.due(&HashMap::new(), now, 20).is_empty());
            }
        }
        assert_eq!(reads.len(), 20_000_usize.div_ceil(1_300), "{reads:?}");
        assert!(reads.windows(2).all(|pair| pair[1] - pair[0] >= 1_300), "{reads:?}");
        let later = began + Duration::from_secs(60);
        assert!(polls.due(&HashMap::new(), later, 20).is_empty());
        assert!(polls.0.is_empty(), "nothing is remembered for ever");
    }
}
