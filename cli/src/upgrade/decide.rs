//! Whether what a person asks of an upgrade makes sense, and what it comes to. Pure.

use lameduck_core::upgrade::object::{Phase, UpgradeSpec, UpgradeStatus};
use lameduck_core::upgrade::reason::Reason;
use serde_json::{Value, json};

use crate::common::failure::Failure;

/// What a person may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Take no further pod.
    Pause,
    /// Go on.
    Resume,
    /// Start the next batch.
    Approve,
    /// End it.
    Abort,
    /// Try again.
    Retry,
}

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// `metadata.resourceVersion` of the upgrade.
    pub version: String,
    /// What people asked for so far.
    pub spec: UpgradeSpec,
    /// What it says of itself.
    pub status: UpgradeStatus,
    /// The StatefulSet has `lameduck.dev/paused: "true"`.
    pub set_is_paused: bool,
}

/// What it comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// A JSON merge patch of the upgrade's spec.
    pub spec: Option<Value>,
    /// The annotation on the StatefulSet goes.
    pub unpauses_set: bool,
    /// For the person who asked.
    pub told: String,
}

impl Change {
    fn of_spec(spec: Value, told: impl Into<String>) -> Self {
        Self { spec: Some(spec), unpauses_set: false, told: told.into() }
    }
}

/// Decides what a request comes to.
///
/// # Errors
/// It makes no sense; the message says why.
pub fn decide(verb: Verb, seen: &Seen) -> Result<Change, Failure> {
    let Seen { spec, status, .. } = seen;
    let is_paused = spec.paused || seen.set_is_paused;
    match verb {
        Verb::Pause if is_paused => Err(Failure::refused("it is paused already")),
        Verb::Pause if status.phase.is_over() => {
            Err(Failure::refused(format!("there is nothing to pause: {}", is(status))))
        }
        Verb::Pause => Ok(Change::of_spec(json!({"paused": true}), paused(status))),
        Verb::Resume if !is_paused => Err(refused(verb, "it is not paused", status)),
        Verb::Resume => Ok(Change {
            spec: spec.paused.then(|| json!({"paused": false})),
            unpauses_set: seen.set_is_paused,
            told: "resumed".to_owned(),
        }),
        Verb::Approve if status.phase != Phase::WaitingForApproval => {
            Err(refused(verb, "it waits for nobody's approval", status))
        }
        // It says so until the controller has looked, and each approval is one more batch.
        Verb::Approve if spec.approved_batches > status.approvals_seen => Err(Failure::refused(
            "the next batch is approved already, and the controller has not taken it up yet",
        )
        .cure("kubectl lameduck check says whether a controller leads")),
        Verb::Approve => {
            // What was approved before this revision came is spent.
            let next = spec.approved_batches.max(status.approved_before).saturating_add(1);
            Ok(Change::of_spec(json!({"approvedBatches": next}), "the next batch is approved"))
        }
        Verb::Abort if status.phase.is_over() => {
            Err(Failure::refused(format!("there is nothing to abort: {}", is(status))))
        }
        Verb::Abort if is_aborted(seen) => Err(Failure::refused("it is being aborted already")),
        Verb::Abort if status.target_revision.is_empty() => Err(Failure::refused(
            "the controller has not looked at it yet, so there is no revision to abort",
        )
        .cure("kubectl lameduck check says whether a controller leads")),
        Verb::Abort => Ok(Change::of_spec(
            json!({"abortRevision": status.target_revision}),
            format!(
                "revision {} is aborted: weights and replicas are put back, and pods stay as they are. \
                 Another template begins anew",
                status.target_revision
            ),
        )),
        Verb::Retry if is_aborted(seen) => Ok(Change::of_spec(
            json!({"abortRevision": null}),
            format!("revision {} is not aborted any more", status.target_revision),
        )),
        Verb::Retry if status.phase != Phase::Stalled => {
            Err(refused(verb, "there is nothing to retry", status))
        }
        Verb::Retry => {
            let next = spec.retries.max(status.retries_seen).saturating_add(1);
            Ok(Change::of_spec(json!({"retries": next}), "it is tried again"))
        }
    }
}

/// Whether a person ended the upgrade of this revision.
fn is_aborted(seen: &Seen) -> bool {
    let named = seen.spec.abort_revision.as_deref();
    !seen.status.target_revision.is_empty() && named == Some(&*seen.status.target_revision)
}

/// Somebody wants it to go on, and took the wrong word: with the right one. Where the status is behind the spec
/// that may be the word that was refused, and then there is none.
fn refused(verb: Verb, what: &str, status: &UpgradeStatus) -> Failure {
    let failure = Failure::refused(format!("{what}: {}", is(status)));
    let (right, cure) = match status.phase {
        Phase::Paused => (Verb::Resume, "kubectl lameduck upgrade resume lets it go on"),
        Phase::WaitingForApproval => {
            (Verb::Approve, "kubectl lameduck upgrade approve lets the next batch start")
        }
        Phase::Stalled | Phase::Aborted => {
            (Verb::Retry, "kubectl lameduck upgrade retry tries it again")
        }
        _ => return failure,
    };
    if right == verb { failure } else { failure.cure(cure) }
}

fn is(status: &UpgradeStatus) -> String {
    let phase = status.phase.as_str();
    let enrolled = status.reason != Reason::NotEnrolled.as_str();
    match &*status.message {
        _ if !enrolled => format!("it is {phase}: the StatefulSet is not enrolled any more"),
        "" => format!("it is {phase}"),
        message => format!("it is {phase}, {message}"),
    }
}

fn paused(status: &UpgradeStatus) -> String {
    let out = |step: fn(&lameduck_core::upgrade::object::Step) -> bool| -> Vec<&str> {
        let claims = status.ordinals.iter().filter(|claim| step(&claim.step));
        claims.map(|claim| &*claim.pod).collect()
    };
    let (given_back, replaced) =
        (out(|step| step.is_untouched()), out(|step| !step.is_untouched()));
    let mut told = "paused: no further pod is taken out of service".to_owned();
    if !given_back.is_empty() {
        told.push_str(&format!("; {} gets its weight back", given_back.join(", ")));
    }
    if !replaced.is_empty() {
        told.push_str(&format!(
            "; {} was deleted already, and is brought back into service",
            replaced.join(", ")
        ));
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(phase: Phase) -> Seen {
        let status = UpgradeStatus {
            phase,
            target_revision: "web-2".into(),
            approved_before: 4,
            approvals_seen: 4,
            retries_seen: 2,
            message: "web-1 is not ready".into(),
            ..UpgradeStatus::default()
        };
        Seen { status, ..Seen::default() }
    }

    #[test]
    fn what_makes_sense_is_one_change_of_the_spec() {
        let with = |phase, spec| Seen { spec, ..seen(phase) };
        let table = [
            (Verb::Pause, seen(Phase::Progressing), json!({"paused": true})),
            (Verb::Pause, seen(Phase::Stalled), json!({"paused": true})),
            (
                Verb::Resume,
                with(Phase::Paused, UpgradeSpec { paused: true, ..UpgradeSpec::default() }),
                json!({"paused": false}),
            ),
            (Verb::Approve, seen(Phase::WaitingForApproval), json!({"approvedBatches": 5})),
            (Verb::Abort, seen(Phase::Stalled), json!({"abortRevision": "web-2"})),
            (Verb::Retry, seen(Phase::Stalled), json!({"retries": 3})),
            (
                Verb::Retry,
                with(
                    Phase::Aborted,
                    UpgradeSpec { abort_revision: Some("web-2".into()), ..UpgradeSpec::default() },
                ),
                json!({"abortRevision": null}),
            ),
        ];
        for (verb, seen, expected) in table {
            let change = decide(verb, &seen).expect("it makes sense");
            assert_eq!(change.spec, Some(expected), "{verb:?}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_the_reason() {
        let paused = Seen {
            spec: UpgradeSpec { paused: true, ..UpgradeSpec::default() },
            ..seen(Phase::Paused)
        };
        let unseen = Seen::default();
        let hasty = Seen {
            spec: UpgradeSpec { approved_batches: 5, ..UpgradeSpec::default() },
            ..seen(Phase::WaitingForApproval)
        };
        let table = [
            (Verb::Approve, hasty, "is approved already"),
            (Verb::Pause, seen(Phase::Complete), "nothing to pause: it is Complete"),
            (Verb::Pause, paused, "paused already"),
            (
                Verb::Resume,
                seen(Phase::Progressing),
                "not paused: it is Progressing, web-1 is not ready",
            ),
            (Verb::Approve, seen(Phase::Progressing), "waits for nobody's approval"),
            (Verb::Abort, seen(Phase::Aborted), "nothing to abort"),
            (Verb::Abort, unseen, "has not looked at it yet"),
            (Verb::Retry, seen(Phase::Progressing), "nothing to retry"),
        ];
        for (verb, seen, words) in table {
            let failure = decide(verb, &seen).expect_err(words);
            assert!(failure.message.contains(words), "{}", failure.message);
        }
    }

    #[test]
    fn what_was_refused_is_not_its_own_cure() {
        // The controller has not looked since it was resumed.
        let failure = decide(Verb::Resume, &seen(Phase::Paused)).expect_err("nothing is paused");
        assert_eq!(failure.cure, None);
        let failure = decide(Verb::Resume, &seen(Phase::Stalled)).expect_err("nothing is paused");
        assert!(failure.cure.is_some_and(|cure| cure.contains("upgrade retry")));
    }

    #[test]
    fn a_pause_on_the_set_is_taken_off_too() {
        let seen = Seen { set_is_paused: true, ..seen(Phase::Paused) };
        let change = decide(Verb::Resume, &seen).expect("it makes sense");
        assert_eq!((change.spec, change.unpauses_set), (None, true));
    }
}
