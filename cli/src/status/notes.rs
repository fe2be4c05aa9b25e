//! What somebody should know besides: what is missing, what cannot be read, and the cure.

use lameduck_api::names::POLICY_LABEL;

use super::document::{Note, Status};
use super::view::Question;
use super::world::{Trouble, World};
use crate::common::words;

/// The notes of a document that is finished but for them.
pub(super) fn notes(world: &World, question: &Question, status: &Status) -> Vec<Note> {
    let mut notes = Vec::new();
    let mut add = |message: String, cure: Option<String>| notes.push(Note { message, cure });
    if let Some((since, said)) = &world.away {
        let at = words::clock(*since);
        add(
            format!("the cluster does not answer since {at}; this is how it was then: {said}"),
            None,
        );
    }
    let is_missing =
        |trouble: &Option<Trouble>| trouble.as_ref().is_some_and(|trouble| trouble.is_missing);
    let not_installed = is_missing(&world.policies.trouble) && is_missing(&world.upgrades.trouble);
    if not_installed {
        add(
            "Lameduck is not installed in this cluster: it has none of its kinds".to_owned(),
            Some("kubectl apply -k manifests/base".to_owned()),
        );
    } else {
        let troubles = [
            (&world.policies.trouble, "the default policy's times are shown"),
            (&world.upgrades.trouble, "no upgrade is shown"),
        ];
        for (trouble, then) in troubles {
            if let Some(Trouble { failure, .. }) = trouble {
                add(format!("{}; {then}", failure.message), failure.cure.clone());
            }
        }
    }
    let troubles = [
        (&world.namespaces.trouble, "labels of namespaces are not seen"),
        (&world.pods.trouble, "pods are shown as they were"),
        (&world.deployments.trouble, "Deployments are shown as they were"),
        (&world.stateful_sets.trouble, "StatefulSets are shown as they were"),
    ];
    for (trouble, then) in troubles {
        if let Some(Trouble { failure, .. }) = trouble {
            add(format!("{}; {then}", failure.message), failure.cure.clone());
        }
    }
    if let Some(trouble) = &world.holds.trouble
        && !status.ending.is_empty()
    {
        add(format!("connections are not known: {trouble}"), None);
    }
    let all = status.ending.len();
    let read = status.ending.iter().filter(|pod| world.asked.contains_key(&pod.uid)).count();
    if world.in_part && read < all {
        add(format!("only {read} of {all} pods that end were read"), None);
    }
    if let Some((message, cure)) = empty(world, question, status) {
        add(message, Some(cure));
    }
    notes
}

/// Why there is nothing to see, and how that is changed.
fn empty(world: &World, question: &Question, status: &Status) -> Option<(String, String)> {
    if let Some(target) = &question.target {
        let named =
            status.workloads.iter().find(|one| format!("{}/{}", one.kind, one.name) == *target)?;
        let (namespace, kind, name) = (&named.namespace, &named.kind, &named.name);
        return named.policy.is_none().then(|| {
            (
                format!("{target} is not enrolled"),
                format!("kubectl -n {namespace} label {kind} {name} {POLICY_LABEL}=default"),
            )
        });
    }
    if !status.workloads.is_empty() {
        return None;
    }
    let selected = if question.selects { " that the selector selects" } else { "" };
    let Some(namespace) = &question.namespace else {
        return Some((
            format!("no enrolled workloads{selected} in any namespace"),
            format!("kubectl label namespace NAME {POLICY_LABEL}=default"),
        ));
    };
    if world.namespaces.complete && world.namespaces.get("", namespace).is_none() {
        return Some((
            format!("there is no namespace {namespace}"),
            "kubectl get namespaces, or --all-namespaces".to_owned(),
        ));
    }
    Some((
        format!("no enrolled workloads{selected} in namespace {namespace}"),
        format!("kubectl label namespace {namespace} {POLICY_LABEL}=default"),
    ))
}
