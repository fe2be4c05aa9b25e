//! What is decided of an object, in a sentence, and what would change it. Pure.

use jiff::Timestamp;
use lameduck_core::inject::{Outcome, Plan};

use super::cures;
use super::document::{End, Enrolment, PodLine};
use super::facts::Facts;
use crate::common::words::{clock, count, duration};

/// A decision, and what would change it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) decision: String,
    pub(super) to_change_it: Vec<String>,
}

fn verdict(decision: impl Into<String>, to_change_it: &[&str]) -> Verdict {
    Verdict {
        decision: decision.into(),
        to_change_it: to_change_it.iter().map(|&line| line.to_owned()).collect(),
    }
}

pub(super) fn of_pod(
    facts: &Facts,
    enrolment: &Enrolment,
    is_injected: bool,
    plan: &Plan,
    end: Option<&End>,
    now: Timestamp,
) -> Verdict {
    match end {
        Some(end) if is_injected || end.has_finalizer => ending(facts, end, now),
        Some(_) => verdict("it ends as Kubernetes ends pods: Lameduck has no part in it", &[]),
        None if is_injected => verdict(
            "protected: when it is deleted it is held until its traffic is off and its connections have ended, \
             as its policy says",
            &[],
        ),
        None => unprotected(enrolment, plan),
    }
}

fn ending(facts: &Facts, end: &End, now: Timestamp) -> Verdict {
    if let Some(words) = &end.released {
        return verdict(format!("nothing is waited for any more: {words}"), &[]);
    }
    let left = |until: Timestamp| duration(until.duration_since(now));
    let nobody_leads = "no controller leads, so nobody proves that its traffic is off: \
                        kubectl lameduck check says why";
    let mut change: Vec<String> = Vec::new();
    if facts.leads == Some(false) {
        change.push(nobody_leads.to_owned());
    }
    let is_off = end.traffic_off.as_ref().is_some_and(|said| said.status == "True");
    let decision = match (&end.traffic_off, &end.drained) {
        (Some(traffic), None) if is_off => {
            let connections: u64 = end.holds.iter().filter_map(|hold| hold.connections).sum();
            let open = usize::try_from(connections).unwrap_or(usize::MAX);
            change.push("its connections close: clients that reconnect go elsewhere".to_owned());
            change.push(format!(
                "hold.until: ConnectionsIdle, or a smaller hold.maxSeconds, for pods that are made from then on \
                 (this one is held for {} at most)",
                left(end.hold_until)
            ));
            let open = if end.holds.is_empty() {
                "its connections are".to_owned()
            } else {
                format!(
                    "{} to it {}",
                    count(open, "connection"),
                    if open == 1 { "is" } else { "are" }
                )
            };
            format!("its traffic is off ({}), and {open} waited for", traffic.reason)
        }
        (_, Some(drained)) if is_off => format!(
            "its hold has ended ({}), and its application has until {} for its own shutdown",
            drained.reason,
            clock(end.killed_at)
        ),
        (Some(traffic), _) => {
            change.push(cures::traffic(&traffic.reason).to_owned());
            format!(
                "held, because its traffic is not proven off ({}): {}",
                traffic.reason, traffic.message
            )
        }
        (None, _) => {
            change.push(
                "the controller looks at it, which takes less than a second where one leads".into(),
            );
            "held, because nothing is known of its traffic yet".to_owned()
        }
    };
    change.push(
        "kubectl lameduck release lets it go now, and cuts off what it still serves".to_owned(),
    );
    Verdict { decision, to_change_it: change }
}

fn unprotected(enrolment: &Enrolment, plan: &Plan) -> Verdict {
    match plan.outcome {
        Outcome::NotEnrolled => verdict(
            "nothing is done: nobody enrols it",
            &["kubectl label namespace NAMESPACE lameduck.dev/policy=default, then a new pod"],
        ),
        Outcome::OptedOut => {
            verdict("nothing is done: it is opted out", &["another label, then a new pod"])
        }
        Outcome::UnknownPolicy => verdict(
            "not protected: its policy does not exist",
            &["the label names one that exists (kubectl get terminationpolicies), then a new pod"],
        ),
        Outcome::PolicyOff => {
            verdict("nothing is done: its policy has mode Off", &["mode: Enforce, then a new pod"])
        }
        Outcome::Observed => verdict(
            "nothing is changed: its policy has mode Observe",
            &["mode: Enforce, then a new pod"],
        ),
        Outcome::Skipped(skip) => verdict(format!("not protected: {}", skip.message()), &[]),
        Outcome::Patched | Outcome::Unchanged | Outcome::Restored if enrolment.policy_exists => {
            verdict(
                "not protected: it was made before it was enrolled, or while the webhook was away",
                &["a new pod: kubectl rollout restart its workload"],
            )
        }
        _ => verdict("not protected", &[]),
    }
}

pub(super) fn of_workload(facts: &Facts, enrolment: &Enrolment, pods: &[PodLine]) -> Verdict {
    let of = |state: &str| pods.iter().filter(|line| line.state == state).count();
    let (protected, ending) = (of("Protected"), of("Ending"));
    let others = pods.len() - protected - ending;
    if enrolment.policy.is_none() {
        let enrol =
            format!("kubectl label namespace {} lameduck.dev/policy=default", facts.namespace);
        return verdict("nothing is done: it is not enrolled", &[&enrol]);
    }
    let decision = format!(
        "{} of {} protected{}",
        protected,
        count(pods.len(), "pod"),
        if ending > 0 { format!(", {ending} ending") } else { String::new() }
    );
    if others == 0 {
        return verdict(decision, &[]);
    }
    let not_injected = of("NotInjected") > 0;
    let cure = if not_injected {
        "new pods in place of those that were made before the enrolment: kubectl rollout restart"
    } else {
        "see each pod: kubectl lameduck explain pod/NAME"
    };
    verdict(decision, &[cure])
}
