//! Reports enrolled pods that run without protection: the webhook for pods fails open, and enrolling a
//! namespace changes new pods only. Leader only.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use lameduck_core::drain::{EventReason, EventText};
use lameduck_core::names::POLICY_LABEL;
use lameduck_core::resolve::{Enrolment, enrolment};
use lameduck_core::text::chain;
use lameduck_core::unprotected::{Unprotected, unprotected};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::events::{Events, Subject};
use crate::index::{Index, PodKey, SharedIndex};
use crate::leader::Leadership;
use crate::metrics::Metrics;
use crate::pods::{CallError, Pods};

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Time between two looks whether this replica leads.
const LEADS: Duration = Duration::from_secs(2);
/// Warnings per look: enrolling a namespace of thousands does not flood the API server; the rest follows
/// with the next looks.
const WARNINGS_PER_LOOK: usize = 100;
/// Policies that a warning names.
const POLICIES_SHOWN: usize = 8;

/// Looks for unprotected pods.
pub struct Scan {
    /// What is known.
    pub index: SharedIndex,
    /// Calls.
    pub pods: Pods,
    /// Who leads.
    pub leadership: Leadership,
    /// Events.
    pub events: Events,
    /// Metrics.
    pub metrics: Metrics,
}

impl std::fmt::Debug for Scan {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Scan")
    }
}

/// An unprotected pod.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    key: PodKey,
    uid: Box<str>,
    policy: Box<str>,
    why: Unprotected,
}

impl Scan {
    /// Looks again and again, until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        // Pods that were warned about, by UID. As large as the number of unprotected pods.
        let mut warned: HashSet<Box<str>> = HashSet::new();
        loop {
            let wait = if self.leadership.is_held() && self.index.with(|index| index.is_synced()) {
                match self.look().await {
                    Ok(found) => self.tell(&found, &mut warned),
                    Err(error) => warn!(
                        error = %chain(&error),
                        "Unprotected pods could not be looked for; trying again in a minute."
                    ),
                }
                LOOK_EVERY
            } else {
                // The leader counts them; two replicas would count them twice.
                self.metrics.unprotected([]);
                warned.clear();
                LEADS
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(wait) => {}
            }
        }
    }

    async fn look(&self) -> Result<Vec<Found>, CallError> {
        let mut found = self.index.with(|index| labelled(index));
        let namespaces = self.index.with(|index| enrolled_namespaces(index));
        for (namespace, policy) in namespaces {
            // Pods with the label are in the index; these are the others.
            let selector = format!("!{POLICY_LABEL}");
            self.pods
                .each(Some(&namespace), &selector, |pod| {
                    if pod.metadata.finalizer_at().is_some() {
                        let key = PodKey::new(&namespace, &pod.metadata.name);
                        let uid = &pod.metadata.uid;
                        self.index.with(|index| index.lost_label(&key, uid, Some(&policy)));
                        return;
                    }
                    let injected = pod.metadata.annotations.injected.is_some();
                    let why = self.index.with(|index| {
                        let named = index.policy(&policy).map(AsRef::as_ref);
                        let policy = Enrolment::Policy(&policy);
                        unprotected(policy, named, injected, pod.skip())
                    });
                    found.extend(why.map(|why| Found {
                        key: PodKey::new(&namespace, &pod.metadata.name),
                        uid: pod.metadata.uid.into(),
                        policy: policy.as_str().into(),
                        why,
                    }));
                })
                .await?;
        }
        Ok(found)
    }

    fn tell(&self, found: &[Found], warned: &mut HashSet<Box<str>>) {
        let mut counts: BTreeMap<(&str, &'static str), i64> = BTreeMap::new();
        for pod in found {
            *counts.entry((&pod.key.namespace, pod.why.as_str())).or_default() += 1;
        }
        self.metrics.unprotected(
            counts
                .into_iter()
                .map(|((namespace, reason), count)| (namespace.to_owned(), reason, count)),
        );
        let current: HashSet<&str> = found.iter().map(|pod| &*pod.uid).collect();
        warned.retain(|uid| current.contains(&**uid));
        let policies = self.index.with(|index| policy_names(index));
        let new = found
            .iter()
            .filter(|pod| pod.why.is_worth_a_warning() && !warned.contains(&pod.uid))
            .take(WARNINGS_PER_LOOK);
        let mut told = Vec::new();
        for pod in new {
            warn!(
                namespace = &*pod.key.namespace,
                pod = &*pod.key.name,
                uid = &*pod.uid,
                reason = pod.why.as_str(),
                "A pod runs without protection."
            );
            self.events.send(Subject::Pod, &pod.key, &pod.uid, warning(pod, &policies));
            told.push(pod.uid.clone());
        }
        warned.extend(told);
    }
}

/// Pods of the index that carry the label and were not injected.
fn labelled(index: &Index) -> Vec<Found> {
    let namespaces: HashMap<&str, Option<&str>> = index
        .namespaces()
        .map(|(name, namespace)| (&**name, namespace.policy.as_deref()))
        .collect();
    index
        .pods()
        .filter_map(|(key, pod)| {
            let wider = namespaces.get(&*key.namespace).copied().flatten();
            let enrolment = enrolment(&key.namespace, [Some(&*pod.policy), wider]);
            let Enrolment::Policy(policy) = enrolment else { return None };
            let named = index.policy(policy).map(AsRef::as_ref);
            let why = unprotected(enrolment, named, pod.injected, pod.skip)?;
            Some(Found { key: key.clone(), uid: pod.uid.clone(), policy: policy.into(), why })
        })
        .collect()
}

/// Namespaces whose pods are enrolled by the namespace's own label, with its value.
fn enrolled_namespaces(index: &Index) -> Vec<(String, String)> {
    index
        .namespaces()
        .filter(|(_, namespace)| !namespace.terminating)
        .filter_map(|(name, namespace)| match enrolment(name, [namespace.policy.as_deref()]) {
            Enrolment::Policy(policy) => Some((name.to_string(), policy.to_owned())),
            Enrolment::OptedOut | Enrolment::NotEnrolled => None,
        })
        .collect()
}

fn policy_names(index: &Index) -> String {
    let mut names: Vec<&str> = index.policies().map(|(name, _)| &**name).collect();
    if names.is_empty() {
        return "there is none".to_owned();
    }
    names.sort_unstable();
    let shown = names.iter().take(POLICIES_SHOWN).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(POLICIES_SHOWN) {
        0 => format!("there are: {shown}"),
        more => format!("there are: {shown} and {more} more"),
    }
}

fn warning(pod: &Found, policies: &str) -> EventText {
    match pod.why {
        Unprotected::UnknownPolicy => EventText::new(
            EventReason::UnknownPolicy,
            format!(
                "the pod runs without protection: {POLICY_LABEL}={} names no TerminationPolicy; {policies}",
                pod.policy
            ),
        ),
        Unprotected::NotInjected | Unprotected::Skipped(_) => EventText::new(
            EventReason::Unprotected,
            format!(
                "the pod is enrolled by TerminationPolicy {} and runs without protection: it was created \
                 before, or while the webhook was away; replacing it protects the new one",
                pod.policy
            ),
        ),
    }
}
