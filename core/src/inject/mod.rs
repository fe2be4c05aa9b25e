//! Injection: what the webhook changes in a pod or a workload so that its pods end without a loss.
//!
//! ```text
//! view      the members of the object that matter, borrowed from the request
//! pod       enrolment -> skip -> [ delivery | prestop | grace | probes ] -> patch
//! workload  enrolment -> strategy of a Deployment or a StatefulSet, or its restoration
//! ```
//!
//! Every plan is idempotent: a second review of the patched object changes nothing, and a container
//! that another webhook added in between is the only one that is still changed.

mod delivery;
mod grace;
mod patch;
mod pod;
mod prestop;
mod probes;
mod skip;
mod strategy;
pub mod view;
mod workload;

use std::collections::BTreeMap;

pub use grace::{GRACE_SECONDS_DEFAULT, MARGIN_SECONDS};
pub use patch::Operation;
pub use pod::{Injected, is_held, plan_pod};
pub use skip::{Skip, SkipFacts, skip};
pub use workload::{WorkloadKind, authors_strategy, plan_workload};

use crate::{
    names::POLICY_LABEL,
    policy::{Mode, Policy},
    resolve::{Enrolment, enrolment},
};

/// The API server cuts longer warnings off, in runes.
const MAX_WARNING_CHARS: usize = 256;

/// What the installation decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Image of the injected init container.
    pub hold_image: String,
    /// Version that is written into the pod's annotation.
    pub version: String,
}

/// What is known about the cluster when an object is reviewed.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The object's namespace.
    pub namespace: &'a str,
    /// The policy label of that namespace.
    pub namespace_policy: Option<&'a str>,
    /// Every policy by name.
    pub policies: &'a BTreeMap<String, Policy>,
    /// The installation's settings.
    pub settings: &'a Settings,
}

/// What came of a review. The words are stable: metric labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The object is changed.
    Patched,
    /// The object is as it should be already.
    Unchanged,
    /// What Lameduck had changed before is put back, because nobody enrols the object any more.
    Restored,
    /// The policy's mode is Observe: the warnings say what would have been changed.
    Observed,
    /// Nobody enrols the object.
    NotEnrolled,
    /// Somebody opted out, or the namespace is exempt.
    OptedOut,
    /// The label names a policy that does not exist.
    UnknownPolicy,
    /// The policy's mode is Off.
    PolicyOff,
    /// Enrolled, and left alone for this reason.
    Skipped(Skip),
}

impl Outcome {
    /// The stable CamelCase word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Patched => "Patched",
            Self::Unchanged => "Unchanged",
            Self::Restored => "Restored",
            Self::Observed => "Observed",
            Self::NotEnrolled => "NotEnrolled",
            Self::OptedOut => "OptedOut",
            Self::UnknownPolicy => "UnknownPolicy",
            Self::PolicyOff => "PolicyOff",
            Self::Skipped(skip) => skip.as_str(),
        }
    }
}

/// The answer to a review.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The changes; none where the object stays as it is.
    pub operations: Vec<Operation>,
    /// For whoever sent the request, at most 256 characters each.
    pub warnings: Vec<String>,
    /// What came of it.
    pub outcome: Outcome,
}

impl Plan {
    fn new(outcome: Outcome, operations: Vec<Operation>, warnings: Vec<String>) -> Self {
        let warnings = warnings.into_iter().map(|warning| shorten(&warning)).collect();
        Self { operations, warnings, outcome }
    }

    fn nothing(outcome: Outcome) -> Self {
        Self::new(outcome, Vec::new(), Vec::new())
    }
}

/// A warning as the API server takes it: one line of at most 256 characters.
pub fn shorten(warning: &str) -> String {
    let one_line = warning.replace(|c: char| c.is_control(), " ");
    if one_line.chars().count() <= MAX_WARNING_CHARS {
        return one_line;
    }
    let mut short: String = one_line.chars().take(MAX_WARNING_CHARS - 1).collect();
    short.push('…');
    short
}

/// The policy that applies, or the plan that says why none does.
fn resolve<'a>(
    context: &Context<'a>,
    labels_nearest_first: [Option<&'a str>; 2],
    subject: &str,
) -> Result<(&'a str, &'a Policy), Plan> {
    let [nearest, wider] = labels_nearest_first;
    let name = match enrolment(context.namespace, [nearest, wider, context.namespace_policy]) {
        Enrolment::Policy(name) => name,
        Enrolment::OptedOut => return Err(Plan::nothing(Outcome::OptedOut)),
        Enrolment::NotEnrolled => return Err(Plan::nothing(Outcome::NotEnrolled)),
    };
    let Some(policy) = context.policies.get(name) else {
        return Err(Plan::new(
            Outcome::UnknownPolicy,
            Vec::new(),
            vec![unknown_policy(subject, name, context.policies)],
        ));
    };
    if policy.mode == Mode::Off {
        return Err(Plan::nothing(Outcome::PolicyOff));
    }
    Ok((name, policy))
}

fn unknown_policy(subject: &str, name: &str, policies: &BTreeMap<String, Policy>) -> String {
    let existing = if policies.is_empty() {
        "there is no TerminationPolicy at all".to_owned()
    } else {
        let names: Vec<&str> = policies.keys().map(String::as_str).collect();
        format!("existing: {}", names.join(", "))
    };
    format!(
        "{subject} is not protected: label {POLICY_LABEL}={name} names no TerminationPolicy; {existing}"
    )
}
