//! What each pod that ends waits for. Pure.

use std::collections::HashMap;

use lameduck_api::state::HoldSeen;
use lameduck_core::drain::{Containers, hold_deadline};
use lameduck_core::resolve::Enrolment;

use super::document::{Ending, Phase, Traffic};
use super::end_facts::{EndFacts, last_words};
use super::facts::PodFacts;
use super::view::{View, ending};

impl View<'_> {
    pub(super) fn ending(&self) -> Vec<Ending> {
        // Once for all pods: each of ten thousand would look through the holds of all others.
        let mut holds: HashMap<&str, Vec<&HoldSeen>> = HashMap::new();
        for seen in &self.world.holds.seen {
            holds.entry(seen.uid.as_str()).or_default().push(seen);
        }
        let seen_of = |uid: &str| holds.get(uid).map(Vec::as_slice).unwrap_or_default();
        let mut ending: Vec<Ending> = ending(self.world)
            .map(|((namespace, name), pod)| self.end(namespace, name, pod, seen_of(&pod.uid)))
            .collect();
        ending
            .sort_by(|a, b| (&a.namespace, a.since, &a.pod).cmp(&(&b.namespace, b.since, &b.pod)));
        ending
    }

    fn end(&self, namespace: &str, name: &str, pod: &PodFacts, seen: &[&HoldSeen]) -> Ending {
        let facts = self.world.ends.get(&pod.uid);
        let mut policy = pod.injected.clone().flatten();
        if policy.is_none()
            && let Enrolment::Policy(name) = self.world.enrolment(namespace, pod)
        {
            policy = Some(name.to_owned());
        }
        let holds = last_words(seen.iter().copied(), facts);
        let connections = holds.iter().filter_map(|hold| hold.connections);
        let connections = connections.reduce(u64::saturating_add);
        let phase = facts.map_or(Phase::Unknown, |facts| facts.phase(pod, &holds));
        // Of a grace of 0 nobody knows when the first request came: forced, or the kubelet is done.
        let deletion = pod.deletion.filter(|deletion| deletion.grace_seconds > 0);
        let max_seconds = policy
            .as_deref()
            .and_then(|name| self.policy(name))
            .unwrap_or_default()
            .hold
            .max_seconds;
        let killed_at = deletion.map(|deletion| deletion.killed_at());
        let deadline = match phase {
            // What a person let go waits for nothing: its kubelet's own time is left.
            Phase::Unknown if pod.release.is_some() => killed_at,
            Phase::WaitingForTraffic | Phase::WaitingForConnections | Phase::Unknown => deletion
                .map(|deletion| hold_deadline(&deletion, pod.original_grace_seconds, max_seconds)),
            Phase::Stopping | Phase::NotHeld => killed_at,
            Phase::Ended => None,
        };
        let is_asked = self.world.asked.contains_key(&pod.uid);
        let since = pod.deletion.map(|deletion| deletion.requested_at);
        Ending {
            namespace: namespace.to_owned(),
            pod: name.to_owned(),
            uid: pod.uid.clone(),
            workload: format!("{}/{}", pod.owner.kind, pod.owner.name),
            node: facts.and_then(|facts| facts.node.clone()),
            policy,
            phase,
            since,
            since_seconds: since.map(|at| self.now.duration_since(at).as_secs().max(0)),
            traffic: facts.and_then(|facts| facts.traffic.as_ref()).map(|condition| Traffic {
                off: match condition.status.as_str() {
                    "True" => Some(true),
                    "False" => Some(false),
                    _ => None,
                },
                reason: condition.reason.clone(),
                message: condition.message.clone(),
                since: condition.since,
            }),
            connections,
            holds,
            deadline,
            deadline_in_seconds: deadline.map(|at| at.duration_since(self.now).as_secs().max(0)),
            killed_at,
            message: message(pod, facts, phase, connections, is_asked),
        }
    }
}

fn message(
    pod: &PodFacts,
    facts: Option<&EndFacts>,
    phase: Phase,
    connections: Option<u64>,
    is_asked: bool,
) -> String {
    let traffic = facts.and_then(|facts| facts.traffic.as_ref());
    let said = traffic.map_or("its endpoints are being looked at", |one| one.message.as_str());
    let drained = facts.and_then(|facts| facts.drained.as_ref()).map(|one| one.message.as_str());
    let nothing_runs = match facts.map(|facts| facts.containers) {
        Some(Containers::NeverStarted) => "its containers never started",
        _ => "its containers have ended",
    };
    if let Some(release) = &pod.release {
        return match phase {
            Phase::Ended => format!("{nothing_runs}; {release}"),
            _ => release.clone(),
        };
    }
    match phase {
        Phase::Unknown if !is_asked => "the pod has not been read".to_owned(),
        Phase::Unknown => "the pod could not be read".to_owned(),
        Phase::WaitingForTraffic => said.to_owned(),
        Phase::WaitingForConnections => match connections {
            None => "traffic is off; it ends when its connections have".to_owned(),
            Some(0) => "traffic is off, and no connection is left".to_owned(),
            Some(1) => "traffic is off; it ends when its connection has".to_owned(),
            Some(n) => format!("traffic is off; it ends when its {n} connections have"),
        },
        Phase::Stopping => match drained {
            Some(drained) => format!("the hold is over and the application ends: {drained}"),
            None => "the hold is over and the application ends".to_owned(),
        },
        Phase::Ended if traffic.is_some_and(|one| !one.is_true()) && pod.has_finalizer => {
            format!("{nothing_runs}; the object stays until traffic is off: {said}")
        }
        Phase::Ended => nothing_runs.to_owned(),
        Phase::NotHeld if pod.injected.is_some() => {
            "it sleeps before it ends: no hold keeps it".to_owned()
        }
        Phase::NotHeld => "nothing holds it: it was made before it was enrolled".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::{Value, json};

    use super::*;
    use crate::status::view::{Question, status};
    use crate::status::world::{Change, Said, World, key};

    const UID: &str = "u-1";

    fn released(uid: &str) -> String {
        json!({
            "uid": uid, "by": "alice", "reason": "INC-4711", "at": "2026-11-22T14:00:10Z",
        })
        .to_string()
    }

    /// A held pod that was deleted at 14:00:00 with 940 s of grace, 40 of them its own.
    fn shown(release: Option<String>, pod_status: Option<Value>, is_asked: bool) -> Ending {
        let pod = json!({
            "metadata": {
                "name": "web-1", "namespace": "shop", "uid": UID,
                "deletionTimestamp": "2026-11-22T14:15:40Z", "deletionGracePeriodSeconds": 940,
                "annotations": {
                    "lameduck.dev/injected": r#"{"policy":"default","mode":"hold"}"#,
                    "lameduck.dev/original-grace": "40",
                    "lameduck.dev/release": release,
                },
            },
            "status": pod_status.clone().unwrap_or_default(),
        });
        let mut pod = pod;
        if let Some(annotations) = pod["metadata"]["annotations"].as_object_mut() {
            annotations.retain(|_, value| !value.is_null());
        }
        let pod: Pod = serde_json::from_value(pod).expect("a pod");
        let mut world = World::default();
        let facts = PodFacts { held: true, ..PodFacts::new(&pod.metadata) };
        world.hear(Said::Pod(Ok(Change::Put(key(&pod.metadata), facts))));
        if pod_status.is_some() {
            world.ends.insert(UID.to_owned(), EndFacts::new(&pod));
        }
        if is_asked {
            world.asked.insert(UID.to_owned(), String::new());
        }
        let now: Timestamp = "2026-11-22T14:00:20Z".parse().expect("a time");
        let shown = status(&world, &Question::default(), now);
        shown.ending.first().expect("a pod that ends").clone()
    }

    #[test]
    fn who_let_a_pod_go_stands_in_place_of_what_it_waited_for() {
        let settling = || {
            Some(json!({"phase": "Running", "conditions": [{
                "type": "lameduck.dev/TrafficOff", "status": "False", "reason": "Settling",
                "message": "it settles",
            }]}))
        };
        let waits = shown(None, settling(), true);
        assert_eq!((waits.phase, waits.message.as_str()), (Phase::WaitingForTraffic, "it settles"));
        let ended = Some(json!({"phase": "Succeeded"}));
        let table = [
            (settling(), Phase::Stopping, "alice let it go: INC-4711"),
            (None, Phase::Unknown, "alice let it go: INC-4711"),
            (ended, Phase::Ended, "its containers have ended; alice let it go: INC-4711"),
        ];
        for (pod_status, phase, message) in table {
            let pod = shown(Some(released(UID)), pod_status, true);
            assert_eq!((pod.phase, pod.message.as_str()), (phase, message));
            assert_ne!(pod.deadline, waits.deadline, "the old deadline");
            assert!(pod.deadline.is_none() || pod.deadline == pod.killed_at);
        }
        let others = shown(Some(released("u-2")), settling(), true);
        assert_eq!(others, waits, "an annotation that was copied means nothing");
    }

    #[test]
    fn what_nobody_asked_for_is_not_said_to_be_unreadable() {
        assert_eq!(shown(None, None, false).message, "the pod has not been read");
        assert_eq!(shown(None, None, true).message, "the pod could not be read");
    }

    #[test]
    fn a_pod_that_never_started_is_not_said_to_have_run() {
        let pod = shown(None, Some(json!({"phase": "Pending"})), true);
        assert_eq!(
            (pod.phase, pod.message.as_str()),
            (Phase::Ended, "its containers never started")
        );
    }
}
