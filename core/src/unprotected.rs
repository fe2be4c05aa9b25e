//! Pods that are enrolled and run without protection, and why.

use crate::inject::Skip;
use crate::policy::{Mode, Policy};
use crate::resolve::Enrolment;

/// Why an enrolled pod runs without protection. The words are metric labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unprotected {
    /// It was created before it was enrolled, or while the webhook was away.
    NotInjected,
    /// Its label names no policy.
    UnknownPolicy,
    /// It cannot be protected. This is by design: counted, nobody is warned.
    Skipped(&'static str),
}

impl Unprotected {
    /// The stable CamelCase word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotInjected => "NotInjected",
            Self::UnknownPolicy => "UnknownPolicy",
            Self::Skipped(reason) => reason,
        }
    }

    /// Whether somebody can do something about it, and should hear of it.
    #[must_use]
    pub const fn is_worth_a_warning(self) -> bool {
        matches!(self, Self::NotInjected | Self::UnknownPolicy)
    }
}

/// Why a pod runs without protection; None where it is protected, or nobody asked for it.
///
/// `policy` is the policy that `enrolment` names, where there is one; `skip` is what
/// [`crate::inject::skip`] says of the pod.
#[must_use]
pub fn unprotected(
    enrolment: Enrolment<'_>,
    policy: Option<&Policy>,
    injected: bool,
    skip: Option<Skip>,
) -> Option<Unprotected> {
    let Enrolment::Policy(_) = enrolment else { return None };
    // A pod that ends is past help, and one that is injected stays so whatever its policy becomes.
    if injected || skip == Some(Skip::Terminating) {
        return None;
    }
    let Some(policy) = policy else { return Some(Unprotected::UnknownPolicy) };
    match (policy.mode, skip) {
        (Mode::Observe | Mode::Off, _) => None,
        (Mode::Enforce, Some(skip)) => Some(Unprotected::Skipped(skip.as_str())),
        (Mode::Enforce, None) => Some(Unprotected::NotInjected),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_asked_for_and_is_missing_counts() {
        let enforce = Policy::default();
        let observe = Policy { mode: Mode::Observe, ..Policy::default() };
        let named = Enrolment::Policy("default");
        let table = [
            (named, Some(&enforce), false, None, Some(Unprotected::NotInjected)),
            (named, Some(&enforce), true, None, None),
            (named, Some(&observe), false, None, None),
            (named, None, false, None, Some(Unprotected::UnknownPolicy)),
            (named, None, true, None, None),
            (named, None, false, Some(Skip::Terminating), None),
            (
                named,
                Some(&enforce),
                false,
                Some(Skip::JobOwned),
                Some(Unprotected::Skipped("JobOwned")),
            ),
            (Enrolment::OptedOut, Some(&enforce), false, None, None),
            (Enrolment::NotEnrolled, Some(&enforce), false, None, None),
        ];
        for (row, (enrolment, policy, injected, skip, expected)) in table.into_iter().enumerate() {
            assert_eq!(unprotected(enrolment, policy, injected, skip), expected, "row {row}");
        }
    }
}
