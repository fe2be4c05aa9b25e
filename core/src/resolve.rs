//! Which policy applies: the nearest label wins (pod template, workload, namespace).

use crate::names::{EXEMPT_NAMESPACES, POLICY_NONE};

/// What the labels say, before anybody looks whether the policy exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enrolment<'a> {
    /// The policy of this name applies.
    Policy(&'a str),
    /// Somebody wrote `none`, or the namespace is exempt.
    OptedOut,
    /// No label anywhere.
    NotEnrolled,
}

/// Resolves the enrolment of an object in `namespace` from its labels, nearest first.
///
/// An empty label value counts as no label: `kubectl label ns shop lameduck.dev/policy=` is how people
/// try to take a label off.
pub fn enrolment<'a>(
    namespace: &str,
    nearest_first: impl IntoIterator<Item = Option<&'a str>>,
) -> Enrolment<'a> {
    if EXEMPT_NAMESPACES.contains(&namespace) {
        return Enrolment::OptedOut;
    }
    match nearest_first.into_iter().flatten().find(|value| !value.is_empty()) {
        None => Enrolment::NotEnrolled,
        Some(POLICY_NONE) => Enrolment::OptedOut,
        Some(name) => Enrolment::Policy(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_label_wins() {
        assert_eq!(enrolment("shop", [Some("pod"), Some("ns")]), Enrolment::Policy("pod"));
        assert_eq!(enrolment("shop", [None, Some("ns")]), Enrolment::Policy("ns"));
        assert_eq!(enrolment("shop", [Some(""), Some("ns")]), Enrolment::Policy("ns"));
    }

    #[test]
    fn none_opts_out_of_a_wider_scope() {
        assert_eq!(enrolment("shop", [Some("none"), Some("ns")]), Enrolment::OptedOut);
        assert_eq!(enrolment("shop", [None, None]), Enrolment::NotEnrolled);
    }

    #[test]
    fn the_installation_and_the_system_are_never_enrolled() {
        for namespace in EXEMPT_NAMESPACES {
            assert_eq!(enrolment(namespace, [Some("default")]), Enrolment::OptedOut);
        }
    }
}
