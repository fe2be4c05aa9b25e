//! Facts and a time -> the document. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use lameduck_api::names::{POLICY_LABEL, POLICY_NONE};
use lameduck_core::policy::{Mode, Policy};
use lameduck_core::resolve::{Enrolment, enrolment};
use lameduck_core::unprotected::{Unprotected as Why, unprotected};

use super::document::{API_VERSION, Out, Status, Unprotected, Upgrade, Workload};
use super::facts::{Owner, PodFacts, UpgradeFacts};
use super::notes;
use super::world::{Key, World};

/// What was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// The namespace; none for all.
    pub namespace: Option<String>,
    /// The workload or the pod, as `statefulset/shop`.
    pub target: Option<String>,
    /// A selector is given: what it does not select is not there.
    pub selects: bool,
}

/// The document.
#[must_use]
pub fn status(world: &World, question: &Question, now: Timestamp) -> Status {
    let view = View { world, question, now };
    let workloads = view.workloads();
    let mut status = Status {
        api_version: API_VERSION,
        kind: "Status",
        time: now,
        namespace: question.namespace.clone(),
        workload: question.target.clone(),
        ending: view.ending(),
        upgrades: view.upgrades(&workloads),
        workloads,
        notes: Vec::new(),
    };
    status.notes = notes::notes(world, question, &status);
    status
}

impl World {
    fn namespace_label(&self, namespace: &str) -> Option<&str> {
        self.namespaces.get("", namespace)?.label.as_deref()
    }

    /// The labels of a pod's workload, nearest first.
    fn workload_labels(&self, namespace: &str, owner: &Owner) -> [Option<&str>; 2] {
        let listed = match owner.kind.as_str() {
            "deployment" => &self.deployments,
            "statefulset" => &self.stateful_sets,
            _ => return [None, None],
        };
        let facts = listed.get(namespace, &owner.name);
        facts
            .map_or([None, None], |facts| [facts.template_label.as_deref(), facts.label.as_deref()])
    }

    pub(super) fn enrolment<'a>(&'a self, namespace: &str, pod: &'a PodFacts) -> Enrolment<'a> {
        let [template, workload] = self.workload_labels(namespace, &pod.owner);
        let labels = [pod.label.as_deref(), template, workload, self.namespace_label(namespace)];
        enrolment(namespace, labels)
    }
}

pub(super) struct View<'a> {
    pub(super) world: &'a World,
    question: &'a Question,
    pub(super) now: Timestamp,
}

/// A workload while its pods are counted.
#[derive(Default)]
struct Count {
    row: Workload,
    why: BTreeMap<Why, u32>,
    is_shown: bool,
}

impl View<'_> {
    /// The policy of this name. Where policies cannot be read, the default one stands for each.
    pub(super) fn policy(&self, name: &str) -> Option<Policy> {
        if !self.world.policies.complete {
            return Some(Policy::default());
        }
        self.world.policies.get("", name).map(|facts| facts.policy.clone())
    }

    fn workloads(&self) -> Vec<Workload> {
        let mut counts: BTreeMap<(String, Owner), Count> = BTreeMap::new();
        let listed =
            [("deployment", &self.world.deployments), ("statefulset", &self.world.stateful_sets)];
        for (kind, list) in listed {
            for ((namespace, name), facts) in list.iter() {
                let labels = [facts.template_label.as_deref(), facts.label.as_deref()];
                let labels = labels.into_iter().chain([self.world.namespace_label(namespace)]);
                let mut count = self.count(namespace, kind, name, enrolment(namespace, labels));
                count.is_shown |= self.question.target.is_some();
                count.row.desired = Some(facts.desired);
                count.row.ready = Some(facts.ready);
                let upgrade = self.world.upgrades.get(namespace, name);
                count.row.upgrade =
                    upgrade.filter(|_| kind == "statefulset").map(|upgrade| upgrade.phase.clone());
                let owner = Owner { kind: kind.to_owned(), name: name.clone() };
                counts.insert((namespace.clone(), owner), count);
            }
        }
        for ((namespace, _), pod) in self.world.pods.iter() {
            let enrolment = self.world.enrolment(namespace, pod);
            let Owner { kind, name } = &pod.owner;
            let count = counts
                .entry((namespace.clone(), pod.owner.clone()))
                .or_insert_with(|| self.count(namespace, kind, name, Enrolment::NotEnrolled));
            self.add(count, pod, enrolment);
        }
        counts.into_values().filter(|count| count.is_shown).map(Count::done).collect()
    }

    fn count(&self, namespace: &str, kind: &str, name: &str, enrolment: Enrolment<'_>) -> Count {
        let mut count = Count::default();
        count.row.namespace = namespace.to_owned();
        count.row.kind = kind.to_owned();
        count.row.name = name.to_owned();
        self.enrol(&mut count, enrolment);
        count
    }

    fn enrol(&self, count: &mut Count, enrolment: Enrolment<'_>) {
        if let Enrolment::Policy(name) = enrolment
            && count.row.policy.is_none()
        {
            count.row.policy = Some(name.to_owned());
            count.row.mode = self.policy(name).map(|policy| mode(policy.mode).to_owned());
            count.is_shown = true;
        }
    }

    fn add(&self, count: &mut Count, pod: &PodFacts, enrolment: Enrolment<'_>) {
        let is_injected = pod.injected.is_some();
        let is_enrolled = matches!(enrolment, Enrolment::Policy(_));
        if !is_enrolled && !is_injected {
            return;
        }
        if pod.deletion.is_some() {
            count.row.ending += 1;
            self.enrol(count, enrolment);
            count.is_shown = true;
            return;
        }
        let policy = match enrolment {
            Enrolment::Policy(name) => self.policy(name),
            _ => None,
        };
        let why = unprotected(enrolment, policy.as_ref(), is_injected, pod.skip);
        // What is left alone by design, as the pods of a Job, is no workload that anybody asks for.
        if matches!(why, Some(Why::Skipped(_))) {
            return;
        }
        self.enrol(count, enrolment);
        count.is_shown = true;
        count.row.pods += 1;
        count.row.protected += u32::from(is_injected);
        if let Some(why) = why {
            *count.why.entry(why).or_default() += 1;
        }
    }

    fn upgrades(&self, workloads: &[Workload]) -> Vec<Upgrade> {
        let is_selected = |namespace: &str, name: &str| {
            let is = |one: &Workload| {
                one.kind == "statefulset" && one.namespace == namespace && one.name == name
            };
            !self.question.selects || workloads.iter().any(is)
        };
        self.world
            .upgrades
            .iter()
            .filter(|((namespace, name), _)| is_selected(namespace, name))
            .map(|((namespace, name), facts)| self.upgrade(namespace, name, facts))
            .collect()
    }

    fn upgrade(&self, namespace: &str, name: &str, facts: &UpgradeFacts) -> Upgrade {
        let out = |claim: &super::facts::ClaimFacts| Out {
            ordinal: claim.ordinal,
            pod: claim.pod.clone(),
            step: claim.step.clone(),
            since: claim.since,
            since_seconds: claim.since.map(|at| self.now.duration_since(at).as_secs().max(0)),
            message: claim.message.clone(),
        };
        Upgrade {
            namespace: namespace.to_owned(),
            stateful_set: name.to_owned(),
            phase: facts.phase.clone(),
            reason: facts.reason.clone(),
            message: facts.message.clone(),
            updated: facts.updated,
            total: facts.total,
            target_revision: facts.target_revision.clone(),
            started_at: facts.started_at,
            completed_at: facts.completed_at,
            out: facts.ordinals.iter().map(out).collect(),
        }
    }
}

/// Pods that end and that Lameduck has something to do with, or was meant to.
pub(super) fn ending(world: &World) -> impl Iterator<Item = (&Key, &PodFacts)> {
    world.pods.iter().filter(|((namespace, _), pod)| {
        let is_enrolled = || {
            let enrolment = world.enrolment(namespace, pod);
            matches!(enrolment, Enrolment::Policy(_)) && pod.skip.is_none()
        };
        let is_touched = pod.injected.is_some() || pod.has_finalizer;
        pod.deletion.is_some() && (is_touched || is_enrolled())
    })
}

impl Count {
    fn done(self) -> Workload {
        let Workload { namespace, kind, name, .. } = &self.row;
        let unprotected = self.why.iter().map(|(why, pods)| Unprotected {
            reason: why.as_str().to_owned(),
            pods: *pods,
            cure: match why {
                Why::UnknownPolicy => format!(
                    "there is no TerminationPolicy {}: kubectl get terminationpolicies",
                    self.row.policy.as_deref().unwrap_or(POLICY_NONE)
                ),
                _ if ["deployment", "statefulset", "daemonset"].contains(&kind.as_str()) => {
                    format!("kubectl -n {namespace} rollout restart {kind}/{name}")
                }
                _ => format!("make it anew: it was made before {POLICY_LABEL} was set"),
            },
        });
        let unprotected = unprotected.collect();
        Workload { unprotected, ..self.row }
    }
}

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Enforce => "Enforce",
        Mode::Observe => "Observe",
        Mode::Off => "Off",
    }
}
