//! When the object may go.

use super::*;

#[test]
fn the_finalizer_follows_containers_node_and_time() {
    use Containers::{Ended, NeverStarted, Running};
    use Finalizer::{Keep, Remove};
    let table = [
        // containers, node, grace now, traffic off, second -> finalizer
        (Running, NodeState::Ready, 940, true, 500, Keep(KeepReason::ContainersRunning)),
        (Ended, NodeState::Ready, 940, false, 500, Keep(KeepReason::TrafficNotOff)),
        (Ended, NodeState::Ready, 940, true, 500, Remove(RemoveReason::Ended)),
        (NeverStarted, NodeState::Ready, 940, true, 5, Remove(RemoveReason::NeverStarted)),
        (Running, NodeState::Unscheduled, 0, true, 5, Remove(RemoveReason::NeverStarted)),
        // A force delete while the hold runs: the kubelet does not care, and the object stays.
        (Running, NodeState::Ready, 0, true, 5, Keep(KeepReason::ContainersRunning)),
        (Running, NodeState::NotReady, 0, true, 5, Remove(RemoveReason::NodeLost)),
        (Running, NodeState::NotReady, 940, true, 5, Keep(KeepReason::ContainersRunning)),
        (Running, NodeState::Gone, 940, true, 5, Remove(RemoveReason::NodeLost)),
        (Running, NodeState::Gone, 940, false, 5, Keep(KeepReason::TrafficNotOff)),
        (Running, NodeState::Unknown, 0, true, 5, Keep(KeepReason::ContainersRunning)),
        // Never for ever: 900 s, or the kubelet's own kill and a minute where it is at work.
        (Ended, NodeState::Ready, 940, false, 899, Keep(KeepReason::TrafficNotOff)),
        (Ended, NodeState::Ready, 940, false, 900, Remove(RemoveReason::GaveUp)),
        (Running, NodeState::NotReady, 940, true, 900, Remove(RemoveReason::GaveUp)),
        (Running, NodeState::Ready, 940, false, 999, Keep(KeepReason::ContainersRunning)),
        (Running, NodeState::Ready, 940, false, 1000, Remove(RemoveReason::GaveUp)),
    ];
    for (row, (containers, node, grace, off, second, expected)) in table.into_iter().enumerate() {
        let first = deletion(GRACE_SECONDS);
        let pod = PodFacts {
            containers,
            node,
            deletion: Some(Deletion::new(at(2), grace).after(Some(&first))),
            traffic_off: off.then(|| condition(ConditionStatus::True, "EndpointsNotReady", 1)),
            ..pod()
        };
        let decision = decide(&pod, &endpoints(vec![entry(true, false)]), at(second));
        assert_eq!(decision.finalizer, expected, "row {row}");
    }
}

#[test]
fn giving_up_says_so() {
    let pod = PodFacts { containers: Containers::Ended, ..pod() };
    let decision = decide(&pod, &endpoints(vec![entry(true, false)]), at(901));
    let event = decision.finalizer_event.unwrap();
    assert_eq!(event.reason.kind(), EventKind::Warning);
    assert!(event.note.contains("Service shop/web"), "{}", event.note);
    assert!(event.note.contains("900 s"), "{}", event.note);
}

#[test]
fn a_person_lets_it_go_whatever_it_waits_for() {
    let release = Release {
        uid: "u-1".into(),
        by: "alice".into(),
        reason: "stuck since noon".into(),
        at: at(5),
    };
    let held = PodFacts { release: Some(release), ..pod() };
    let decision = decide(&held, &endpoints(vec![entry(true, false)]), at(6));
    assert_eq!(decision.finalizer, Finalizer::Remove(RemoveReason::LetGo));
    let event = decision.finalizer_event.unwrap();
    assert_eq!(event.reason.kind(), EventKind::Warning);
    assert!(event.note.starts_with("alice let it go: stuck since noon."), "{}", event.note);
    let heard = answer(&held, at(6));
    assert_eq!((heard.state, heard.deadline_seconds), (HoldState::Released, Some(0)));

    // A pod that nobody deleted is not ended by it.
    let lives = PodFacts { deletion: None, ..held };
    assert_eq!(answer(&lives, at(6)).state, HoldState::NotTerminating);
    let decision = decide(&lives, &EndpointFacts::default(), at(6));
    assert_eq!(decision.finalizer, Finalizer::Keep(KeepReason::NotTerminating));
}
