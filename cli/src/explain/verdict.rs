//! What is decided of an object, in a sentence, and what would change it. Pure.

use jiff::Timestamp;
use lameduck_core::inject::{Injected, Outcome, Plan};

use super::cures;
use super::document::{End, Enrolment, PodLine};
use super::facts::Facts;
use crate::common::words::{clock, count, duration};
use crate::status::document::Phase;

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
    injected: Option<&Injected>,
    plan: Option<&Plan>,
    end: Option<&End>,
    now: Timestamp,
) -> Verdict {
    match end {
        Some(end) if injected.is_some() || end.has_finalizer => ending(facts, end, now),
        Some(_) => verdict("it ends as Kubernetes ends pods: Lameduck has no part in it", &[]),
        None if injected.is_some() => verdict(
            "protected: when it is deleted it is held until its traffic is off and its connections have ended, \
             as its policy says",
            &[],
        ),
        None => unprotected(facts, enrolment, plan),
    }
}

fn ending(facts: &Facts, end: &End, now: Timestamp) -> Verdict {
    if let Some(words) = &end.released {
        return verdict(format!("nothing is waited for any more: {words}"), &[]);
    }
    let mut change: Vec<String> = Vec::new();
    if facts.leads == Some(false) {
        change.push(
            "no controller leads, so nobody proves that its traffic is off: kubectl lameduck check says why".to_owned(),
        );
    }
    let open = end.traffic_off.as_ref().filter(|said| said.status != "True");
    if let Some(traffic) = open
        && end.phase != Phase::NotHeld
    {
        change.push(cures::traffic(&traffic.reason).to_owned());
    }
    let decision = match end.phase {
        Phase::Ended => match open {
            Some(traffic) => format!(
                "nothing of it runs any more; its object stays until its traffic is off ({}): {}",
                traffic.reason, traffic.message
            ),
            None => "nothing of it runs any more; its object goes in a moment".to_owned(),
        },
        Phase::Stopping => {
            let why = end.drained.as_ref().map_or("", |drained| &drained.reason);
            let until = clock(end.killed_at);
            let object = open.map(|traffic| {
                format!("; its object stays until its traffic is off ({})", traffic.reason)
            });
            format!(
                "its hold has ended ({why}), and its application has until {until} for its own shutdown{}",
                object.unwrap_or_default()
            )
        }
        Phase::NotHeld => format!(
            "it has no hold, so its containers end by themselves, at {} at the latest; its object stays until its \
             traffic is off",
            clock(end.killed_at)
        ),
        Phase::WaitingForConnections => {
            change.push("its connections close: clients that reconnect go elsewhere".to_owned());
            change.push(format!(
                "hold.until: ConnectionsIdle, or a smaller hold.maxSeconds, for pods that are made from then on \
                 (this one is held for {} at most)",
                duration(end.hold_until.duration_since(now))
            ));
            let why = end.traffic_off.as_ref().map_or("", |traffic| &traffic.reason);
            format!("its traffic is off ({why}), and {} waited for", connections(end))
        }
        Phase::WaitingForTraffic | Phase::Unknown => match &end.traffic_off {
            Some(traffic) => format!(
                "held, because its traffic is not proven off ({}): {}",
                traffic.reason, traffic.message
            ),
            None => {
                change.push(
                    "the controller looks at it, which takes less than a second where one leads"
                        .to_owned(),
                );
                "held, because nothing is known of its traffic yet".to_owned()
            }
        },
    };
    change.push(
        "kubectl lameduck release lets it go now, and cuts off what it still serves".to_owned(),
    );
    Verdict { decision, to_change_it: change }
}

/// What its holds count, and the verb that goes with it.
fn connections(end: &End) -> String {
    if end.holds.is_empty() {
        return "its connections are".to_owned();
    }
    let sum: u64 = end.holds.iter().filter_map(|hold| hold.connections).sum();
    let open = usize::try_from(sum).unwrap_or(usize::MAX);
    format!("{} to it {}", count(open, "connection"), if open == 1 { "is" } else { "are" })
}

fn unprotected(facts: &Facts, enrolment: &Enrolment, plan: Option<&Plan>) -> Verdict {
    let Some(plan) = plan else {
        return verdict("not protected; why cannot be told, for not everything could be read", &[]);
    };
    match plan.outcome {
        Outcome::NotEnrolled => verdict(
            "nothing is done: nobody enrols it",
            &[
                &format!("{}, then a new pod", enrol(facts)),
                "where its workload was labelled after it was made: a new pod",
            ],
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
        Outcome::Patched | Outcome::Unchanged | Outcome::Restored
            if enrolment.policy_exists == Some(true) =>
        {
            verdict(
                "not protected: it was made before it was enrolled, or while the webhook was away",
                &["a new pod: kubectl rollout restart its workload"],
            )
        }
        _ => verdict("not protected", &[]),
    }
}

fn enrol(facts: &Facts) -> String {
    format!("kubectl label namespace {} lameduck.dev/policy=default", facts.namespace)
}

pub(super) fn of_workload(facts: &Facts, enrolment: &Enrolment, pods: &[PodLine]) -> Verdict {
    let of = |state: &str| pods.iter().filter(|line| line.state == state).count();
    let (protected, ending) = (of("Protected"), of("Ending"));
    let others = pods.len() - protected - ending;
    if !enrolment.is_known {
        return verdict("it cannot be told, for not everything could be read", &[]);
    }
    if enrolment.policy.is_none() {
        return verdict("nothing is done: it is not enrolled", &[&enrol(facts)]);
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
