//! What the stand-in's log of calls tells. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use jiff::Timestamp;

use crate::clb::calls::{Call, busiest_second};

/// When each load balancer was read with success, in order.
pub(super) type Reads<'a> = BTreeMap<&'a str, Vec<Timestamp>>;

/// The reads among `calls`.
pub(super) fn of(calls: &[Call]) -> Reads<'_> {
    let mut reads = Reads::new();
    let answered = |call: &&Call| call.action == "DescribeTargets" && call.code.is_empty();
    for call in calls.iter().filter(answered) {
        for id in &call.load_balancer_ids {
            reads.entry(id).or_default().push(call.at);
        }
    }
    reads
}

/// The second read of `id` after `at`.
pub(super) fn second_after(reads: &Reads<'_>, id: &str, at: Timestamp) -> Option<Timestamp> {
    reads.get(id)?.iter().copied().filter(|read| *read > at).nth(1)
}

/// Reads per second of all load balancers.
pub(super) fn per_second(reads: &Reads<'_>, during: &Range<Timestamp>) -> f64 {
    let count = reads.values().flatten().filter(|at| during.contains(at)).count();
    count as f64 / length(during).as_secs_f64()
}

/// The action that was called most often in a second, and how often.
pub(super) fn busiest_action(calls: &[Call]) -> (&str, usize) {
    let actions: BTreeSet<&str> = calls.iter().map(|call| call.action.as_str()).collect();
    let most = actions.into_iter().map(|action| (action, busiest_second(calls, action)));
    most.max_by_key(|(_, most)| *most).unwrap_or(("none", 0))
}

/// How evenly reads are spread.
#[derive(Debug, PartialEq)]
pub(super) struct Fairness {
    /// The longest time without a read of one load balancer.
    pub(super) longest: Duration,
    /// Reads of the one that was read most often.
    pub(super) most: usize,
    /// Reads of the one that was read least often; not 0.
    pub(super) fewest: usize,
}

/// How evenly reads are spread over the load balancers `ids`. None where one was not read at all.
pub(super) fn fairness(
    reads: &Reads<'_>,
    ids: &[String],
    during: &Range<Timestamp>,
) -> Option<Fairness> {
    let mut fairness = Fairness { longest: Duration::ZERO, most: 0, fewest: usize::MAX };
    for id in ids {
        let of_it: Vec<Timestamp> =
            reads.get(id.as_str())?.iter().copied().filter(|at| during.contains(at)).collect();
        fairness.most = fairness.most.max(of_it.len());
        fairness.fewest = fairness.fewest.min(of_it.len());
        // A time without a read may begin before and end after: what is seen of it counts.
        let begins = std::iter::once(during.start).chain(of_it.iter().copied());
        let ends = of_it.iter().copied().chain([during.end]);
        for (begin, end) in begins.zip(ends) {
            fairness.longest = fairness.longest.max(length(&(begin..end)));
        }
    }
    (fairness.most > 0 && fairness.fewest > 0).then_some(fairness)
}

/// How long it takes; nothing where its end is not after its begin.
pub(super) fn length(of: &Range<Timestamp>) -> Duration {
    of.end.duration_since(of.start).try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn call(at: i64, id: &str, code: &str) -> Call {
        Call {
            at: second(at),
            action: "DescribeTargets".into(),
            load_balancer_ids: vec![id.into()],
            secret_id: String::new(),
            code: code.into(),
        }
    }

    #[test]
    fn a_refused_read_is_none() {
        let calls = [
            call(1, "a", ""),
            call(2, "a", "RequestLimitExceeded"),
            call(3, "a", ""),
            call(4, "b", ""),
        ];
        let reads = of(&calls);
        assert_eq!(second_after(&reads, "a", second(0)), Some(second(3)));
        assert_eq!(second_after(&reads, "a", second(1)), None, "one after it");
        assert!((per_second(&reads, &(second(1)..second(4))) - 2.0 / 3.0).abs() < 1e-9);
        assert_eq!(busiest_action(&calls), ("DescribeTargets", 1));
    }

    #[test]
    fn fairness_counts_what_is_seen_at_the_ends() {
        let calls = [call(2, "a", ""), call(3, "b", ""), call(5, "a", ""), call(6, "a", "")];
        let reads = of(&calls);
        let of = |ids: &[&str]| {
            let ids: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
            fairness(&reads, &ids, &(second(0)..second(10)))
        };
        let longest = Duration::from_secs(7);
        assert_eq!(of(&["a", "b"]), Some(Fairness { longest, most: 3, fewest: 1 }));
        assert_eq!(of(&["a"]).map(|found| found.longest), Some(Duration::from_secs(4)));
        assert_eq!(of(&["a", "c"]), None, "one that is never read");
    }
}
