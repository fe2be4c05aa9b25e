//! What holds said when they asked last: for people who look, nothing is decided from it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use lameduck_api::state::HoldSeen;

/// A hold asks at least every 20 s. One that has not for so long asks another replica, or is gone.
const REMEMBERED: SignedDuration = SignedDuration::from_secs(60);
/// As many as may wait at once.
const SEEN_MAX: usize = super::WAITING_MAX;

/// Containers of one pod: more than any has that is not made to crowd others out.
const PER_POD_MAX: usize = 32;

/// UID of a pod, and one of its containers.
type Key = (Box<str>, Box<str>);

/// The holds that asked this replica, and what they said.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    by_container: Arc<Mutex<HashMap<Key, HoldSeen>>>,
}

impl Seen {
    /// A hold has asked.
    pub(super) fn take(&self, seen: HoldSeen) {
        let mut all = self.by_container.lock().unwrap_or_else(PoisonError::into_inner);
        let key: Key = (seen.uid.as_str().into(), seen.container.as_str().into());
        let is_new = !all.contains_key(&key);
        if is_new && all.keys().filter(|(uid, _)| *uid == key.0).count() >= PER_POD_MAX {
            return;
        }
        if is_new && all.len() >= SEEN_MAX {
            all.retain(|_, one| is_fresh(one, seen.at));
            if all.len() >= SEEN_MAX {
                return;
            }
        }
        all.insert(key, seen);
    }

    /// Those that asked a moment ago.
    #[must_use]
    pub fn fresh(&self, now: Timestamp) -> Vec<HoldSeen> {
        let mut all = self.by_container.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, one| is_fresh(one, now));
        all.values().cloned().collect()
    }
}

fn is_fresh(one: &HoldSeen, now: Timestamp) -> bool {
    now.duration_since(one.at) <= REMEMBERED
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(container: &str, at: Timestamp) -> HoldSeen {
        HoldSeen {
            namespace: "shop".into(),
            pod: "web-0".into(),
            uid: "u-0".into(),
            container: container.into(),
            phase: "WaitingForConnections".into(),
            connections: Some(3),
            at,
        }
    }

    #[test]
    fn the_last_word_of_each_container_is_kept_for_a_while() {
        let (seen, start) = (Seen::default(), Timestamp::UNIX_EPOCH);
        let later = |seconds| start + SignedDuration::from_secs(seconds);
        seen.take(said("app", start));
        seen.take(HoldSeen { connections: Some(1), ..said("app", later(5)) });
        seen.take(said("sidecar", start));
        let fresh = seen.fresh(later(61));
        assert_eq!(fresh.len(), 1);
        assert_eq!(fresh[0].connections, Some(1));
        assert!(seen.fresh(later(70)).is_empty());
    }

    #[test]
    fn a_crowd_makes_room_by_the_old_ones_alone() {
        let (seen, start) = (Seen::default(), Timestamp::UNIX_EPOCH);
        let of = |number: usize, at| HoldSeen { uid: number.to_string(), ..said("app", at) };
        for number in 0..SEEN_MAX {
            seen.take(of(number, start));
        }
        seen.take(of(SEEN_MAX, start));
        assert_eq!(seen.fresh(start).len(), SEEN_MAX);
        let later = start + SignedDuration::from_secs(61);
        seen.take(of(SEEN_MAX, later));
        assert_eq!(seen.fresh(later).len(), 1);
    }

    #[test]
    fn one_pod_takes_no_room_from_others() {
        let (seen, start) = (Seen::default(), Timestamp::UNIX_EPOCH);
        for number in 0..SEEN_MAX {
            seen.take(said(&number.to_string(), start));
        }
        assert_eq!(seen.fresh(start).len(), PER_POD_MAX);
    }
}
