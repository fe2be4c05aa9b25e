//! Which StatefulSets Lameduck upgrades.

use std::sync::Arc;

use serde_json::Value;

use super::facts::NotOurs;
use crate::inject::authors_strategy;
use crate::policy::{Policy, StatefulSetStrategy};
use crate::resolve::{Enrolment, enrolment};

/// What decides it.
#[derive(Clone, Copy, Debug)]
pub struct Marks<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Values of the label `lameduck.dev/policy` on its pod template, itself and its namespace.
    pub labels: [Option<&'a str>; 3],
    /// `spec.updateStrategy.type`.
    pub strategy: &'a str,
    /// The annotation `lameduck.dev/original-update-strategy`.
    pub original: Option<&'a str>,
}

/// The policy that a StatefulSet is upgraded by, and the partition that its author keeps back; `policy`
/// finds one by its name.
///
/// # Errors
/// Why it is not upgraded.
pub fn ours(
    marks: &Marks<'_>,
    policy: impl FnOnce(&str) -> Option<Arc<Policy>>,
) -> Result<(Arc<Policy>, u32), NotOurs> {
    let Enrolment::Policy(name) = enrolment(marks.namespace, marks.labels) else {
        return Err(NotOurs::NotEnrolled);
    };
    let policy = policy(name).ok_or(NotOurs::NotEnrolled)?;
    if !policy.is_enforced()
        || policy.stateful_sets.update_strategy != StatefulSetStrategy::OnDelete
    {
        return Err(NotOurs::NotEnrolled);
    }
    // Who wrote OnDelete deletes pods by hand, and would meet us at it.
    let authors = authors_strategy(marks.original).filter(|_| marks.strategy == "OnDelete");
    let authors = authors.ok_or(NotOurs::AuthorsStrategy)?;
    let partition = authors.get("rollingUpdate").and_then(|rolling| rolling.get("partition"));
    let partition = partition.and_then(Value::as_u64).unwrap_or(0);
    Ok((policy, u32::try_from(partition).unwrap_or(u32::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Mode;

    fn marks(original: Option<&str>) -> Marks<'_> {
        Marks { namespace: "shop", labels: [None, None, Some("p")], strategy: "OnDelete", original }
    }

    fn policy(mode: Mode) -> Option<Arc<Policy>> {
        Some(Arc::new(Policy { mode, ..Policy::default() }))
    }

    const ROLLING: &str =
        r#"{"strategy":{"type":"RollingUpdate","rollingUpdate":{"partition":2}}}"#;

    #[test]
    fn what_the_webhook_put_on_delete_on_is_ours_from_the_authors_partition_on() {
        let (_, partition) = ours(&marks(Some(ROLLING)), |name| {
            assert_eq!(name, "p");
            policy(Mode::Enforce)
        })
        .expect("ours");
        assert_eq!(partition, 2);
    }

    #[test]
    fn who_asked_for_on_delete_is_left_alone() {
        let all = [None, Some("{}"), Some("not JSON"), Some(r#"{"templatePolicy":"p"}"#)];
        for original in all {
            let found = ours(&marks(original), |_| policy(Mode::Enforce));
            assert_eq!(found.err(), Some(NotOurs::AuthorsStrategy), "{original:?}");
        }
    }

    #[test]
    fn an_opt_out_and_a_policy_that_only_looks_end_it() {
        let opted_out = Marks { labels: [None, Some("none"), Some("p")], ..marks(Some(ROLLING)) };
        let found = ours(&opted_out, |_| policy(Mode::Enforce));
        assert_eq!(found.err(), Some(NotOurs::NotEnrolled));
        for mode in [Mode::Observe, Mode::Off] {
            let found = ours(&marks(Some(ROLLING)), |_| policy(mode));
            assert_eq!(found.err(), Some(NotOurs::NotEnrolled));
        }
        assert_eq!(ours(&marks(Some(ROLLING)), |_| None).err(), Some(NotOurs::NotEnrolled));
    }
}
