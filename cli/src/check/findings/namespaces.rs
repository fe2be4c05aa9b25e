//! What is wrong with enrolled namespaces, workloads, pods and upgrades.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use lameduck_api::names::{EXEMPT_NAMESPACES, POLICY_LABEL, POLICY_NONE};
use lameduck_core::upgrade::object::Phase;

use super::installation::no_leader;
use super::{Finding, Reason};
use crate::check::facts::{Ending, Facts, Pod, Upgrade, Workload};
use crate::common::policies::Policies;
use crate::common::words::since;

/// A drain that is over is followed by the finalizer's end within a second or two.
const ORPHAN_AFTER: SignedDuration = SignedDuration::from_secs(60);

pub(super) fn look(facts: &Facts, now: Timestamp, found: &mut Vec<Finding>) {
    policies(facts, found);
    for workload in facts.workloads.iter().flatten() {
        look_at_workload(workload, found);
    }
    let leaderless = facts
        .installation
        .lease
        .as_ref()
        .is_ok_and(|lease| no_leader(lease.as_ref(), now).is_some());
    for pod in facts.pods.iter().flatten() {
        look_at_pod(pod, leaderless, now, found);
    }
    for upgrade in facts.upgrades.iter().flatten() {
        look_at_upgrade(upgrade, found);
    }
}

/// Labels that name no policy, each once where it was written, and policies that no label names.
fn policies(facts: &Facts, found: &mut Vec<Finding>) {
    let Ok(policies) = &facts.policies else { return };
    for (name, why) in &policies.unreadable {
        found.push(Finding::new(
            Reason::PolicyUnreadable,
            format!("terminationpolicy/{name}"),
            format!("this command does not understand it, so nothing was judged by it: {why}"),
            "use the kubectl-lameduck of the installation's version",
        ));
    }
    let mut named: BTreeSet<&str> = BTreeSet::new();
    let mut told: BTreeSet<(&str, &str)> = BTreeSet::new();
    let look = |namespace: Option<&str>, kind: &str, name: &str, label: Option<&str>| {
        let object = match namespace {
            Some(namespace) => format!("{kind}/{namespace}/{name}"),
            None => format!("{kind}/{name}"),
        };
        let label = label.filter(|label| !label.is_empty() && *label != POLICY_NONE)?;
        (!policies.contains(label))
            .then(|| unknown(policies, &object, kind, name, namespace, label))
    };
    for namespace in facts.namespaces.iter().flatten() {
        let label = namespace.policy.as_deref();
        named.extend(label);
        if EXEMPT_NAMESPACES.contains(&namespace.name.as_str()) {
            continue;
        }
        if let Some(finding) = look(None, "namespace", &namespace.name, label) {
            found.push(finding);
            told.extend(label.map(|label| (namespace.name.as_str(), label)));
        }
    }
    let exempt = |namespace: &str| EXEMPT_NAMESPACES.contains(&namespace);
    for one in facts.workloads.iter().flatten().filter(|one| !exempt(&one.namespace)) {
        // The template's label is a copy of the workload's, or its author's own.
        let labels = BTreeSet::from([one.policy.as_deref(), one.template_policy.as_deref()]);
        named.extend(labels.iter().flatten());
        for label in labels {
            if let Some(finding) = look(Some(&one.namespace), one.kind, &one.name, label) {
                found.push(finding);
                told.extend(label.map(|label| (one.namespace.as_str(), label)));
            }
        }
    }
    for pod in facts.pods.iter().flatten().filter(|pod| !exempt(&pod.namespace)) {
        let label = pod.policy.as_deref();
        named.extend(label);
        // Pods have their label from somebody who was told of already.
        if label.is_some_and(|label| told.contains(&(pod.namespace.as_str(), label))) {
            continue;
        }
        found.extend(look(Some(&pod.namespace), "pod", &pod.name, label));
    }
    // Unknown is not unused: elsewhere somebody may name it.
    let saw_all = facts.is_whole_cluster
        && !facts.is_selection
        && facts.namespaces.is_ok()
        && facts.workloads.is_ok()
        && facts.pods.is_ok();
    if saw_all {
        for name in policies.names().filter(|name| *name != "default" && !named.contains(name)) {
            found.push(Finding::new(
                Reason::PolicyUnused,
                format!("terminationpolicy/{name}"),
                "no namespace, workload or pod names it",
                format!("kubectl label namespace NAMESPACE {POLICY_LABEL}={name}, or delete it"),
            ));
        }
    }
}

fn unknown(
    policies: &Policies,
    object: &str,
    kind: &str,
    name: &str,
    namespace: Option<&str>,
    label: &str,
) -> Finding {
    let nearest = nearest(label, policies.names());
    let hint = match nearest {
        Some(name) => format!("; did you mean {name}?"),
        None if policies.names().next().is_none() => {
            "; there is no TerminationPolicy at all".to_owned()
        }
        None => {
            let names: Vec<&str> = policies.names().collect();
            format!("; existing: {}", names.join(", "))
        }
    };
    let into = namespace.map(|namespace| format!(" -n {namespace}")).unwrap_or_default();
    let right = nearest.unwrap_or("POLICY");
    Finding::new(
        Reason::UnknownPolicy,
        object,
        format!("not protected: the label {POLICY_LABEL}={label} names no TerminationPolicy{hint}"),
        format!(
            "kubectl label {kind} {name}{into} {POLICY_LABEL}={right} --overwrite, then restart its pods"
        ),
    )
}

/// The name that was meant: at most a third of it is mistyped.
fn nearest<'a>(label: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    names
        .map(|name| (distance(label, name), name))
        .min()
        .filter(|(distance, name)| distance * 3 <= name.chars().count().max(3))
        .map(|(_, name)| name)
}

/// Characters that are put in, left out, replaced or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let replaced = last[j] + usize::from(x != y);
            let mut best = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(0)
}

fn look_at_workload(one: &Workload, found: &mut Vec<Finding>) {
    let Some(policy) = &one.enforced else { return };
    let Workload { kind, namespace, name, replicas, .. } = one;
    let object = format!("{kind}/{namespace}/{name}");
    let mut tell = |reason, message: String, cure: String| {
        found.push(Finding::new(reason, object.clone(), message, cure));
    };
    if *replicas == 1 {
        tell(
            Reason::SingleReplica,
            "with replicas 1 nobody takes new requests while its pod is evicted or replaced"
                .to_owned(),
            format!("kubectl -n {namespace} scale {kind} {name} --replicas=2"),
        );
    }
    if one.recreates {
        tell(
            Reason::RecreateStrategy,
            "strategy Recreate ends every pod before a new one starts: requests in between are lost"
                .to_owned(),
            "set spec.strategy.type to RollingUpdate".to_owned(),
        );
    }
    if one.host_network {
        tell(
            Reason::HostNetwork,
            "hostNetwork: its pods share their node's addresses, so two of them cannot stand side by side \
             on a node while one replaces the other, and a CLB lists none of them"
                .to_owned(),
            "give the pods addresses of their own: remove spec.template.spec.hostNetwork".to_owned(),
        );
    }
    if !one.unprobed.is_empty() {
        tell(
            Reason::NoReadinessProbe,
            format!(
                "no readiness probe and no TCP port to make one for: a pod counts as ready when its process \
                 starts (container {})",
                one.unprobed.join(", ")
            ),
            "give the container a readinessProbe, or list its ports".to_owned(),
        );
    }
    for warning in &one.warnings {
        tell(
            Reason::LimitedProtection,
            format!("by policy {policy}: {warning}"),
            "docs/injection.md says what is needed for a hold".to_owned(),
        );
    }
}

fn look_at_pod(pod: &Pod, leaderless: bool, now: Timestamp, found: &mut Vec<Finding>) {
    let Pod { namespace, name, .. } = pod;
    if pod.is_unprotected {
        let cure = match &pod.owner {
            Some(owner) => format!("kubectl -n {namespace} rollout restart {owner}"),
            None => format!("kubectl -n {namespace} delete pod {name}, and create it again"),
        };
        found.push(Finding::new(
            Reason::UnprotectedPod,
            format!("pod/{namespace}/{name}"),
            "it is enrolled and runs without protection: it was created before, or while the webhook was away",
            cure,
        ));
    }
    if let Some(why) = pod.ending.as_ref().and_then(|ending| orphaned(ending, leaderless, now)) {
        found.push(Finding::new(
            Reason::OrphanFinalizer,
            format!("pod/{namespace}/{name}"),
            format!("it has ended, and Lameduck's finalizer is still on it: {why}"),
            format!("kubectl lameduck release pod/{name} -n {namespace} --reason \"...\""),
        ));
    }
}

/// Why nobody will take the finalizer off; none where somebody does in time.
fn orphaned(ending: &Ending, leaderless: bool, now: Timestamp) -> Option<String> {
    if ending.runs {
        return None;
    }
    if leaderless {
        return Some("no controller leads that could take it off".to_owned());
    }
    let late = |since: Timestamp| now.duration_since(since) > ORPHAN_AFTER;
    let ended_at = ending.ended_at.unwrap_or(ending.deleted_at);
    if let Some(off_since) = ending.off_since.map(|off| off.max(ended_at))
        && late(off_since)
    {
        return Some(format!("its traffic has been off for {}", since(off_since, now)));
    }
    let give_up = SignedDuration::from_secs(i64::from(ending.give_up_seconds?));
    let given_up_at = ending.deleted_at.saturating_add(give_up).ok()?.max(ended_at);
    late(given_up_at).then(|| {
        format!("it was deleted {} ago, longer than giveUpSeconds", since(ending.deleted_at, now))
    })
}

fn look_at_upgrade(upgrade: &Upgrade, found: &mut Vec<Finding>) {
    let Upgrade { namespace, name, message, .. } = upgrade;
    // The command takes the annotation off too, and needs an upgrade to be asked about.
    let goes_on = match upgrade.phase {
        Some(_) => format!("kubectl lameduck upgrade resume {name} -n {namespace}"),
        None => format!("kubectl -n {namespace} annotate statefulset {name} lameduck.dev/paused-"),
    };
    let object = format!("upgrade/{namespace}/{name}");
    let (reason, object, message, cure) = match upgrade.phase {
        Some(Phase::Paused) => {
            (Reason::UpgradePaused, object, format!("somebody stopped it: {message}"), goes_on)
        }
        Some(Phase::Stalled) => (
            Reason::UpgradeStalled,
            object,
            format!("it cannot go on by itself: {message}"),
            format!(
                "mend what it names, then kubectl lameduck upgrade retry {name} -n {namespace}"
            ),
        ),
        Some(Phase::WaitingForApproval) => (
            Reason::ApprovalNeeded,
            object,
            format!("it waits for a person: {message}"),
            format!("kubectl lameduck upgrade approve {name} -n {namespace}"),
        ),
        _ if upgrade.is_paused || upgrade.is_annotated => {
            let object = if upgrade.phase.is_some() {
                object
            } else {
                format!("statefulset/{namespace}/{name}")
            };
            let message = "its upgrades are stopped: a new template reaches no pod".to_owned();
            (Reason::UpgradePaused, object, message, goes_on)
        }
        _ => return,
    };
    found.push(Finding::new(reason, object, message, cure));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_meant_is_proposed_and_nothing_far_fetched() {
        let names = ["default", "grpc", "slow-start"];
        for (label, meant) in [
            ("defualt", Some("default")),
            ("Default", Some("default")),
            ("grcp", Some("grpc")),
            ("slowstart", Some("slow-start")),
            ("batch", None),
            ("", None),
        ] {
            assert_eq!(nearest(label, names.into_iter()), meant, "{label}");
        }
        assert_eq!(nearest("default", [].into_iter()), None);
    }
}
