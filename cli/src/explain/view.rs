//! Facts to explanation. Pure; what is decided of objects is asked of core.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt as _;
use lameduck_api::names::{
    ANNOTATION_INJECTED, ANNOTATION_ORIGINAL_GRACE, ANNOTATION_ORIGINAL_UPDATE_STRATEGY,
    POLICY_LABEL, POLICY_NONE,
};
use lameduck_core::drain::{Containers, hold_deadline};
use lameduck_core::inject::{
    self, Context, Injected, Outcome, Plan, Settings, WorkloadKind, authors_strategy, view,
};
use lameduck_core::policy::Policy;
use lameduck_core::resolve::{Enrolment as Resolved, enrolment};
use lameduck_core::upgrade::object::UpgradeStatus;
use serde::Serialize;

use super::document::{API_VERSION, End, Enrolment, Explanation, Injection, PodLine, Said};
use super::facts::{Facts, Subject};
use super::senders::senders;
use super::verdict;
use crate::common::finalizer::has_finalizer;
use crate::common::words::count;
use crate::status::end_facts::{ConditionFacts, EndFacts, last_words};
use crate::status::facts::PodFacts;

/// Explains what was read.
#[must_use]
pub fn view(facts: &Facts, now: Timestamp) -> Explanation {
    match &facts.subject {
        Subject::Pod(pod) => of_pod(facts, pod, now),
        Subject::StatefulSet(set, pods) => {
            let template = set.spec.as_ref().and_then(|spec| spec.template.metadata.as_ref());
            let workload = Workload {
                kind: WorkloadKind::StatefulSet,
                word: "statefulset",
                metadata: &set.metadata,
                template,
                json: json(set),
            };
            of_workload(facts, &workload, pods)
        }
        Subject::Deployment(deployment, pods) => {
            let template =
                deployment.spec.as_ref().and_then(|spec| spec.template.metadata.as_ref());
            let workload = Workload {
                kind: WorkloadKind::Deployment,
                word: "deployment",
                metadata: &deployment.metadata,
                template,
                json: json(deployment),
            };
            of_workload(facts, &workload, pods)
        }
    }
}

/// An object of the API is always JSON again.
fn json<T: Serialize>(object: &T) -> String {
    serde_json::to_string(object).unwrap_or_default()
}

fn label(metadata: Option<&ObjectMeta>) -> Option<&str> {
    metadata?.labels.as_ref()?.get(POLICY_LABEL).map(String::as_str)
}

fn of_pods_labels(facts: &Facts, pod: &Pod) -> Enrolment {
    enrolled(facts, &[("pod", label(Some(&pod.metadata)))])
}

fn of_pod(facts: &Facts, pod: &Pod, now: Timestamp) -> Explanation {
    let enrolment = of_pods_labels(facts, pod);
    let injected = pod.annotations().get(ANNOTATION_INJECTED).and_then(|text| Injected::read(text));
    let plan = pod_plan(facts, &enrolment, pod);
    let end = end(facts, pod);
    let verdict =
        verdict::of_pod(facts, &enrolment, injected.as_ref(), plan.as_ref(), end.as_ref(), now);
    Explanation {
        api_version: API_VERSION,
        kind: "Explanation",
        object: format!("pod/{}", pod.name_any()),
        namespace: facts.namespace.clone(),
        injected: injected.map(|injected| injection(pod, &injected)),
        if_created_now: word(plan.as_ref()),
        warnings: plan.map(|plan| plan.warnings).unwrap_or_default(),
        services: senders(facts, pod.labels()),
        end,
        pods: Vec::new(),
        upgrade: facts.upgrade.as_ref().map(upgrade),
        decision: verdict.decision,
        to_change_it: verdict.to_change_it,
        notes: facts.notes.clone(),
        enrolment,
    }
}

/// A workload, of either kind.
struct Workload<'a> {
    kind: WorkloadKind,
    word: &'static str,
    metadata: &'a ObjectMeta,
    template: Option<&'a ObjectMeta>,
    json: String,
}

fn of_workload(facts: &Facts, workload: &Workload<'_>, pods: &[Pod]) -> Explanation {
    let enrolment = enrolled(
        facts,
        &[("template", label(workload.template)), (workload.word, label(Some(workload.metadata)))],
    );
    let plan = with_context(facts, &enrolment, |context| {
        let seen = serde_json::from_str::<view::Workload<'_>>(&workload.json).ok()?;
        inject::plan_workload(workload.kind, &seen, None, context).ok()
    });
    let lines: Vec<PodLine> = pods.iter().map(|pod| pod_line(facts, pod)).collect();
    let verdict = verdict::of_workload(facts, &enrolment, &lines);
    let annotations = workload.metadata.annotations.as_ref();
    let original = annotations.and_then(|all| all.get(ANNOTATION_ORIGINAL_UPDATE_STRATEGY));
    let is_protected = |line: &PodLine| line.state == "Protected";
    Explanation {
        api_version: API_VERSION,
        kind: "Explanation",
        object: format!(
            "{}/{}",
            workload.word,
            workload.metadata.name.as_deref().unwrap_or_default()
        ),
        namespace: facts.namespace.clone(),
        injected: original
            .map(|original| Injection { what: vec![strategy(original)], version: None }),
        if_created_now: word(plan.as_ref()),
        warnings: plan.map(|plan| plan.warnings).unwrap_or_default(),
        services: senders(
            facts,
            workload
                .template
                .and_then(|template| template.labels.as_ref())
                .unwrap_or(&BTreeMap::new()),
        ),
        end: None,
        decision: verdict.decision,
        to_change_it: verdict.to_change_it,
        pods: lines.into_iter().filter(|line| !is_protected(line)).collect(),
        upgrade: facts.upgrade.as_ref().map(upgrade),
        notes: facts.notes.clone(),
        enrolment,
    }
}

/// The update strategy that the author wrote, in a few words.
fn strategy(original: &str) -> String {
    match authors_strategy(Some(original)) {
        Some(strategy) => format!("update strategy in place of the author's {strategy}"),
        None => "its template's label, or minReadySeconds".to_owned(),
    }
}

/// Which label counts, nearest first; the namespace's comes last.
fn enrolled(facts: &Facts, nearer: &[(&'static str, Option<&str>)]) -> Enrolment {
    let of_namespace = facts.namespace_label.as_ref();
    let namespace = ("namespace", of_namespace.and_then(Option::as_deref));
    let labels = || nearer.iter().copied().chain([namespace]);
    let resolved = enrolment(&facts.namespace, labels().map(|(_, value)| value));
    let counts = labels().find(|(_, value)| value.is_some_and(|value| !value.is_empty()));
    let found_on = counts.map(|(place, _)| place);
    let of = match found_on {
        Some("namespace") => format!("label {POLICY_LABEL} of namespace {}", facts.namespace),
        Some("pod") => format!("its own label {POLICY_LABEL}, from its template"),
        Some(place) => format!("label {POLICY_LABEL} of the {place}"),
        None => String::new(),
    };
    let nobody = Enrolment {
        policy: None,
        found_on,
        policy_exists: None,
        mode: None,
        settings: None,
        says: String::new(),
        is_known: true,
    };
    match resolved {
        Resolved::NotEnrolled if of_namespace.is_none() => Enrolment {
            says: format!(
                "not known: no label {POLICY_LABEL} on it, and its namespace could not be read"
            ),
            is_known: false,
            ..nobody
        },
        Resolved::NotEnrolled => {
            let says = format!("not enrolled: no label {POLICY_LABEL} on it or its namespace");
            Enrolment { says, ..nobody }
        }
        Resolved::OptedOut if counts.is_some_and(|(_, value)| value == Some(POLICY_NONE)) => {
            Enrolment { says: format!("opted out: {of} is {POLICY_NONE}"), ..nobody }
        }
        Resolved::OptedOut => {
            let says = format!("left alone: namespace {} is never touched", facts.namespace);
            Enrolment { found_on: None, says, ..nobody }
        }
        Resolved::Policy(name) => {
            let named = Enrolment { policy: Some(name.to_owned()), ..nobody };
            named_policy(facts, name, &of, named)
        }
    }
}

/// What is known of the policy that a label names.
fn named_policy(facts: &Facts, name: &str, of: &str, named: Enrolment) -> Enrolment {
    if let Some(why) = facts.unreadable_policies.get(name) {
        let says = format!("policy {name}, by {of}; this command cannot read it: {why}");
        return Enrolment { policy_exists: Some(true), says, is_known: false, ..named };
    }
    let Some(policies) = &facts.policies else {
        let says = format!("policy {name}, by {of}; policies could not be read");
        return Enrolment { says, is_known: false, ..named };
    };
    let policy = policies.get(name);
    let mode = policy.map(|policy| format!("{:?}", policy.mode));
    let says = match &mode {
        Some(mode) => format!("policy {name} (mode {mode}), by {of}"),
        None => format!("policy {name}, by {of}; there is no such policy"),
    };
    let settings = policy.map(settings);
    Enrolment { policy_exists: Some(mode.is_some()), mode, settings, says, ..named }
}

/// What a policy says of ends.
fn settings(policy: &Policy) -> String {
    let (hold, off) = (&policy.hold, &policy.traffic_off);
    format!(
        "hold.until {:?}, {} s at most; trafficOff.provider {:?}, settles {} s, given up after {} s; finalizer {:?}",
        hold.until,
        hold.max_seconds,
        off.provider,
        off.settle_seconds,
        off.give_up_seconds,
        policy.finalizer
    )
}

/// What the webhook would do. None where what it depends on is not known.
fn with_context(
    facts: &Facts,
    enrolment: &Enrolment,
    plan: impl FnOnce(&Context<'_>) -> Option<Plan>,
) -> Option<Plan> {
    if !enrolment.is_known {
        return None;
    }
    // What was injected stands on the object; its image and version change nothing of the decision.
    let settings = Settings { hold_image: String::new(), version: String::new() };
    let nothing = BTreeMap::new();
    plan(&Context {
        namespace: &facts.namespace,
        namespace_policy: facts.namespace_label.as_ref().and_then(Option::as_deref),
        policies: facts.policies.as_ref().unwrap_or(&nothing),
        settings: &settings,
    })
}

/// What the webhook would do with this pod, were it created now.
fn pod_plan(facts: &Facts, enrolment: &Enrolment, pod: &Pod) -> Option<Plan> {
    let mut anew = pod.clone();
    anew.metadata.deletion_timestamp = None;
    let json = json(&anew);
    with_context(facts, enrolment, |context| {
        let seen = serde_json::from_str::<view::Pod<'_>>(&json).ok()?;
        Some(inject::plan_pod(&seen, context))
    })
}

/// The outcome's word.
fn word(plan: Option<&Plan>) -> String {
    plan.map_or("Unknown", |plan| plan.outcome.as_str()).to_owned()
}

fn injection(pod: &Pod, injected: &Injected) -> Injection {
    let mut what = Vec::new();
    let list = |names: &std::collections::BTreeSet<String>| {
        names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
    };
    for (names, word) in [
        (&injected.holds, "hold before SIGTERM in"),
        (&injected.sleeps, "native sleep before SIGTERM in"),
        (&injected.probes, "readiness probe in"),
    ] {
        if !names.is_empty() {
            what.push(format!("{word} {}", list(names)));
        }
    }
    if has_finalizer(&pod.metadata) {
        what.push("finalizer".to_owned());
    }
    let grace = pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds);
    if let (Some(original), Some(grace)) = (pod.annotations().get(ANNOTATION_ORIGINAL_GRACE), grace)
    {
        what.push(format!("grace period {grace} s in place of the author's {original} s"));
    }
    Injection {
        what,
        version: Some(injected.version.clone()).filter(|version| !version.is_empty()),
    }
}

fn said(condition: ConditionFacts) -> Said {
    let ConditionFacts { status, reason, message, since } = condition;
    Said { status, reason, message, since }
}

/// The policy that the pod was injected by, or the default one where that is gone: as the controller has it.
fn policy_of(facts: &Facts, pod: &Pod) -> Policy {
    let of_namespace = facts.namespace_label.as_ref().and_then(Option::as_ref);
    let named = pod.labels().get(POLICY_LABEL).or(of_namespace);
    let policies = facts.policies.as_ref();
    named.and_then(|name| policies?.get(name)).cloned().unwrap_or_default()
}

fn end(facts: &Facts, pod: &Pod) -> Option<End> {
    let known = PodFacts::new(&pod.metadata);
    let deletion = known.deletion?;
    let max = policy_of(facts, pod).hold.max_seconds;
    let seen = EndFacts::new(pod);
    let of_pod = facts.holds.iter().filter(|hold| hold.uid == known.uid);
    let holds = last_words(of_pod, Some(&seen));
    Some(End {
        deleted_at: deletion.requested_at,
        hold_until: hold_deadline(&deletion, known.original_grace_seconds, max),
        killed_at: deletion.killed_at(),
        has_finalizer: known.has_finalizer,
        phase: seen.phase(&known, &holds),
        traffic_off: seen.traffic.map(said),
        drained: seen.drained.map(said),
        containers: match seen.containers {
            Containers::Running => "Running",
            Containers::Ended => "Ended",
            Containers::NeverStarted => "NeverStarted",
        },
        holds,
        released: known.release,
    })
}

fn pod_line(facts: &Facts, pod: &Pod) -> PodLine {
    let state = if pod.metadata.deletion_timestamp.is_some() {
        "Ending".to_owned()
    } else if pod.annotations().contains_key(ANNOTATION_INJECTED) {
        "Protected".to_owned()
    } else {
        let plan = pod_plan(facts, &of_pods_labels(facts, pod), pod);
        match plan.as_ref().map(|plan| plan.outcome) {
            // It would be changed now, so it was made before it was enrolled, or past the webhook.
            Some(Outcome::Patched) => "NotInjected".to_owned(),
            _ => word(plan.as_ref()),
        }
    };
    PodLine { name: pod.name_any(), state }
}

fn upgrade(status: &UpgradeStatus) -> String {
    let pods = count(usize::try_from(status.total).unwrap_or(usize::MAX), "pod");
    let mut says = format!("{}, {} of {pods} updated", status.phase.as_str(), status.updated);
    if !status.message.is_empty() {
        says.push_str(&format!(": {}", status.message));
    }
    says
}
