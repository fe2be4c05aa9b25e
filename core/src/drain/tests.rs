//! Tests of drains: a table of the states that matter, and properties over all of them.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::*;
use crate::inject::MARGIN_SECONDS;
use crate::policy::Policy;

/// 2026-01-01T00:00:00Z: the deletion of every pod here.
const DELETED: i64 = 1_767_225_600;
/// Grace of an injected pod: 30 s of its own, 900 s of hold, 10 s of margin.
const GRACE_SECONDS: u32 = 940;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(DELETED + seconds).unwrap()
}

fn deletion(grace_seconds: u32) -> Deletion {
    Deletion::new(at(i64::from(grace_seconds)), grace_seconds)
}

/// A pod that was deleted at second 0, and runs.
fn pod() -> PodFacts {
    PodFacts {
        deletion: Some(deletion(GRACE_SECONDS)),
        original_grace_seconds: 30,
        containers: Containers::Running,
        node: NodeState::Ready,
        has_finalizer: true,
        traffic_off: None,
        policy: Arc::default(),
    }
}

fn entry(ready: bool, terminating: bool) -> Endpoint {
    Endpoint { service: "shop/web".into(), ready, terminating, address: None }
}

fn endpoints(entries: Vec<Endpoint>) -> EndpointFacts {
    EndpointFacts {
        services: vec![SelectingService { name: "shop/web".into() }],
        entries,
        stale: None,
    }
}

/// A watch that has been broken for so many seconds.
fn stale(seconds: u64) -> Option<Stale> {
    let why = "the watch of services is broken".to_owned();
    Some(Stale { why, lasts: Duration::from_secs(seconds) })
}

fn condition(status: ConditionStatus, reason: &str, since: i64) -> Condition {
    Condition { status, reason: reason.into(), message: "as written".into(), since: at(since) }
}

/// What the API server keeps of a condition.
fn stored(condition: Condition) -> Condition {
    Condition { since: Timestamp::from_second(condition.since.as_second()).unwrap(), ..condition }
}

#[test]
fn a_ready_endpoint_is_on_and_named() {
    let other = Endpoint { service: "shop/api".into(), ..entry(true, false) };
    let facts = endpoints(vec![entry(false, true), other]);
    let early = decide(&pod(), &facts, at(1));
    assert_eq!((early.condition, early.next_check), (None, Some(at(2))), "not worth a write yet");
    let decision = decide(&pod(), &facts, at(2));
    let condition = decision.condition.unwrap();
    assert_eq!(condition.status, ConditionStatus::False);
    assert_eq!(&*condition.reason, "EndpointReady");
    assert_eq!(&*condition.message, "the pod is still a ready endpoint of Service shop/api");
    assert_eq!(decision.condition_event.unwrap().reason, EventReason::WaitingForTraffic);
    assert_eq!(decision.finalizer, Finalizer::Keep(KeepReason::ContainersRunning));
}

#[test]
fn endpoints_settle_and_a_new_leader_goes_on_from_the_condition() {
    let off = endpoints(vec![entry(false, true)]);
    let now = at(4) + SignedDuration::from_millis(1);
    let first = decide(&pod(), &off, now);
    let written = stored(first.condition.unwrap());
    assert_eq!(&*written.reason, "Settling");
    assert_eq!(written.since, at(5), "rounded up: the wait is never shorter than asked for");
    assert_eq!(first.next_check, Some(at(8)));

    let later = PodFacts { traffic_off: Some(written), ..pod() };
    let waits = decide(&later, &off, at(7));
    assert_eq!(waits.condition, None, "one write per transition");
    assert_eq!(waits.next_check, Some(at(8)));
    let done = decide(&later, &off, at(8));
    let condition = done.condition.unwrap();
    assert_eq!(condition.status, ConditionStatus::True);
    assert_eq!(&*condition.reason, "EndpointsNotReady");
    assert_eq!(
        &*condition.message,
        "endpoints of Service shop/web not ready since 00:00:05Z; settled 3 s"
    );
    assert_eq!(done.condition_event.unwrap().reason, EventReason::TrafficOff);
}

#[test]
fn an_endpoint_that_comes_back_settles_anew() {
    let settling = condition(ConditionStatus::False, "Settling", 1);
    let pod = PodFacts { traffic_off: Some(settling), ..pod() };
    let decision = decide(&pod, &endpoints(vec![entry(true, false)]), at(9));
    assert_eq!(&*decision.condition.unwrap().reason, "EndpointReady");
}

#[test]
fn a_condition_from_the_future_or_before_the_deletion_is_not_believed() {
    let off = endpoints(vec![]);
    let with = |since| PodFacts {
        traffic_off: Some(condition(ConditionStatus::False, "Settling", since)),
        ..pod()
    };
    // Another leader's clock was an hour ahead: settle again, from now.
    let decision = decide(&with(3600), &off, at(10));
    assert_eq!(decision.condition.unwrap().since, at(10));
    // Or a day behind: no earlier than the deletion.
    assert!(!decide(&with(-86_400), &off, at(2)).traffic.is_off());
    assert!(decide(&with(-86_400), &off, at(3)).traffic.is_off());
}

#[test]
fn no_service_is_off_at_once() {
    let decision = decide(&pod(), &EndpointFacts::default(), at(0));
    let condition = decision.condition.unwrap();
    assert_eq!((condition.status, &*condition.reason), (ConditionStatus::True, "NotSelected"));
}

#[test]
fn an_entry_without_a_service_counts() {
    let custom = EndpointFacts { entries: vec![entry(true, false)], ..EndpointFacts::default() };
    assert!(!decide(&pod(), &custom, at(900)).traffic.is_off());
}

#[test]
fn unready_endpoints_that_are_published_do_not_hold_for_ever() {
    let settling = condition(ConditionStatus::False, "Settling", 1);
    let pod = PodFacts { traffic_off: Some(settling), ..pod() };
    let decision = decide(&pod, &endpoints(vec![entry(true, true)]), at(5));
    assert!(decision.traffic.is_off());
    assert!(decision.traffic.message().contains("published though not ready"));
}

#[test]
fn a_stale_watch_is_unknown_and_takes_settling_back() {
    let settling = condition(ConditionStatus::False, "Settling", 1);
    let pod = PodFacts { traffic_off: Some(settling), ..pod() };
    let facts = EndpointFacts { stale: stale(60), ..endpoints(vec![]) };
    let decision = decide(&pod, &facts, at(60));
    let condition = decision.condition.unwrap();
    assert_eq!((condition.status, &*condition.reason), (ConditionStatus::Unknown, "WatchNotFresh"));
}

#[test]
fn a_watch_that_is_back_soon_changes_no_condition_and_brings_nothing_off() {
    let settling = condition(ConditionStatus::False, "Settling", 1);
    let pod = PodFacts { traffic_off: Some(settling), ..pod() };
    let facts = EndpointFacts { stale: stale(2), ..endpoints(vec![]) };
    let decision = decide(&pod, &facts, at(60));
    assert_eq!(decision.condition, None);
    assert!(!decision.traffic.is_off());
    assert_eq!(decision.next_check, Some(at(63)));
}

#[test]
fn off_is_final_whatever_the_watches_say_later() {
    let pod = PodFacts {
        traffic_off: Some(condition(ConditionStatus::True, "EndpointsNotReady", 5)),
        containers: Containers::Ended,
        ..pod()
    };
    let facts = EndpointFacts { stale: stale(60), ..endpoints(vec![entry(true, false)]) };
    let decision = decide(&pod, &facts, at(6));
    assert!(decision.traffic.is_recorded());
    assert_eq!(decision.condition, None);
    assert_eq!(decision.finalizer, Finalizer::Remove(RemoveReason::Ended));
    assert_eq!(decision.finalizer_event.unwrap().reason, EventReason::Released);
}

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
fn a_pod_that_is_not_deleted_gets_nothing() {
    let pod = PodFacts {
        deletion: None,
        // Written by somebody who may write pods/status: it proves nothing.
        traffic_off: Some(condition(ConditionStatus::True, "EndpointsNotReady", 1)),
        ..pod()
    };
    let decision = decide(&pod, &EndpointFacts::default(), at(5));
    assert_eq!(decision.condition, None);
    assert_eq!(decision.finalizer, Finalizer::Keep(KeepReason::NotTerminating));
    assert_eq!(answer(&pod, at(5)).state, HoldState::NotTerminating);
}

#[test]
fn a_later_shorter_delete_does_not_shorten_the_hold() {
    let first = deletion(GRACE_SECONDS);
    for (grace, forced) in [(5, false), (0, true)] {
        let second = Deletion::new(at(100), grace).after(Some(&first));
        assert_eq!(second, Deletion { forced, ..first });
        assert_eq!(hold_deadline(&second, 30, 900), at(900));
    }
    // The other way round the shorter one was first, and the kubelet runs on it.
    assert_eq!(hold_deadline(&deletion(60), 30, 900), at(30));
}

#[test]
fn the_deadline_leaves_the_application_its_own_grace() {
    // grace, original, max -> seconds of hold
    let table = [
        (940, 30, 900, 900),
        (940, 30, 60, 60),
        (100, 30, 900, 60),
        (30, 30, 900, 15),
        (0, 30, 900, 0),
    ];
    for (grace, original, max, expected) in table {
        assert_eq!(hold_deadline(&deletion(grace), original, max), at(expected), "grace {grace}");
    }
}

#[test]
fn a_hold_hears_the_conditions_words_and_the_time_left() {
    let pending = answer(&pod(), at(10));
    assert_eq!((pending.state, pending.deadline_seconds), (HoldState::Holding, Some(890)));
    let off =
        PodFacts { traffic_off: Some(condition(ConditionStatus::True, "NotSelected", 1)), ..pod() };
    let answer = answer(&off, at(5000));
    assert_eq!(answer.state, HoldState::TrafficOff);
    assert_eq!(answer.reason.as_str(), "NotSelected");
    assert_eq!(answer.deadline_seconds, Some(0));
}

#[test]
fn a_force_that_a_new_replica_sees_alone_ends_no_hold() {
    let forced = PodFacts { deletion: Some(deletion(0)), ..pod() };
    assert_eq!(answer(&forced, at(10)).deadline_seconds, None);
}

#[test]
fn the_worst_report_stays() {
    let report = |outcome, left| Report {
        outcome,
        traffic_millis: 3210,
        pre_stop_millis: 0,
        connections_millis: 61_500,
        connections_left: left,
        message: "line\nbreak".into(),
    };
    let (late, event) = drained(None, "web", &report(Outcome::DeadlineExceeded, 2), at(9));
    let late = late.unwrap();
    assert_eq!(late.status, ConditionStatus::False);
    assert_eq!(event.unwrap().reason, EventReason::DeadlineExceeded);
    assert_eq!(
        &*late.message,
        "container web: 3.2 s for traffic, 0.0 s for its own preStop, 61.5 s for connections; \
         2 connections are left; the hold says: linebreak"
    );
    let (good, event) =
        drained(Some(&late), "proxy", &report(Outcome::ConnectionsClosed, 0), at(9));
    assert_eq!(good, None);
    assert_eq!(event.unwrap().reason, EventReason::Drained);
    let (nothing, event) = drained(None, "web", &report(Outcome::NotTerminating, 0), at(9));
    assert_eq!((nothing, event), (None, None));
}

#[test]
fn an_event_fits_the_api() {
    let event = EventText::new(EventReason::Drained, "\u{fc}".repeat(2000));
    assert!(event.note.len() <= 1024 && event.note.ends_with("..."));
}

fn any_condition() -> impl Strategy<Value = Option<Condition>> {
    let status = prop_oneof![
        Just((ConditionStatus::True, "EndpointsNotReady")),
        Just((ConditionStatus::False, "Settling")),
        Just((ConditionStatus::False, "EndpointReady")),
        Just((ConditionStatus::Unknown, "WatchNotFresh")),
    ];
    proptest::option::of(
        (status, -100_i64..2000)
            .prop_map(|((status, reason), since)| condition(status, reason, since)),
    )
}

prop_compose! {
    fn any_pod()(
        containers in prop_oneof![
            Just(Containers::Running), Just(Containers::Ended), Just(Containers::NeverStarted)],
        node in prop_oneof![
            Just(NodeState::Unscheduled), Just(NodeState::Ready), Just(NodeState::NotReady),
            Just(NodeState::Gone), Just(NodeState::Unknown)],
        grace in 0_u32..2000,
        traffic_off in any_condition(),
        settle_seconds in 0_u32..30,
        give_up_seconds in 1_u32..1500,
    ) -> PodFacts {
        let mut policy = Policy::default();
        policy.traffic_off.settle_seconds = settle_seconds;
        policy.traffic_off.give_up_seconds = give_up_seconds;
        PodFacts {
            deletion: Some(deletion(grace)), containers, node, traffic_off,
            policy: Arc::new(policy), ..pod()
        }
    }
}

prop_compose! {
    fn any_endpoints()(
        selected in any::<bool>(),
        entries in proptest::collection::vec((any::<bool>(), any::<bool>()), 0..4),
        stale in prop_oneof![Just(None), (0_u64..10).prop_map(stale)],
    ) -> EndpointFacts {
        let mut facts = endpoints(entries.into_iter().map(|(r, t)| entry(r, t)).collect());
        if !selected {
            facts.services.clear();
        }
        EndpointFacts { stale, ..facts }
    }
}

/// The pod after the decision's condition has been written.
fn after(pod: &PodFacts, decision: &Decision) -> PodFacts {
    let written = decision.condition.clone().map(stored);
    PodFacts { traffic_off: written.or_else(|| pod.traffic_off.clone()), ..pod.clone() }
}

proptest! {
    /// Traffic is newly called off only on fresh watches without an endpoint that takes traffic.
    #[test]
    fn off_needs_proof(pod in any_pod(), facts in any_endpoints(), second in 0_i64..3000) {
        let decision = decide(&pod, &facts, at(second));
        if decision.traffic.is_off() && !decision.traffic.is_recorded() {
            prop_assert!(facts.stale.is_none());
            prop_assert!(entries_off(&facts.entries).is_ok());
        }
    }

    /// The object goes only where nothing runs and traffic is off, or where the time is over.
    #[test]
    fn release_needs_both(pod in any_pod(), facts in any_endpoints(), second in 0_i64..3000) {
        let decision = decide(&pod, &facts, at(second));
        let Finalizer::Remove(reason) = decision.finalizer else { return Ok(()) };
        if reason == RemoveReason::GaveUp {
            prop_assert!(second >= i64::from(pod.policy.traffic_off.give_up_seconds));
        } else {
            prop_assert!(decision.traffic.is_off());
            let lost = pod.node == NodeState::Gone || pod.node == NodeState::Unscheduled
                || (pod.node == NodeState::NotReady && pod.deletion.unwrap().forced);
            prop_assert!(pod.containers != Containers::Running || lost);
        }
    }

    /// Writing what was decided decides nothing new at the same moment: no write repeats itself.
    #[test]
    fn a_written_condition_is_not_written_again(
        pod in any_pod(), facts in any_endpoints(), millis in 0_i64..3_000_000,
    ) {
        let now = at(0) + SignedDuration::from_millis(millis);
        let first = decide(&pod, &facts, now);
        let pod = after(&pod, &first);
        let second = decide(&pod, &facts, now);
        prop_assert_eq!(second.condition, None);
    }

    /// Whatever happens to endpoints and watches, the pod is let go in the end, and the decision knows
    /// when to look: only following `next_check`, without any event, gets there.
    #[test]
    fn following_the_clock_always_lets_go(pod in any_pod(), facts in any_endpoints()) {
        let (mut pod, mut facts) = (pod, facts);
        let mut now = at(0);
        for _ in 0..12 {
            let decision = decide(&pod, &facts, now);
            if matches!(decision.finalizer, Finalizer::Remove(_)) {
                return Ok(());
            }
            pod = after(&pod, &decision);
            match decide(&pod, &facts, now).next_check {
                Some(next) => {
                    prop_assert!(next > now);
                    if let Some(stale) = &mut facts.stale {
                        stale.lasts += Duration::try_from(next.duration_since(now)).unwrap();
                    }
                    now = next;
                }
                None => prop_assert!(
                    matches!(decide(&pod, &facts, now).finalizer, Finalizer::Remove(_)),
                    "nothing more would ever be looked at: {:?}", pod
                ),
            }
        }
        prop_assert!(false, "not let go at {now}");
    }

    /// Once off, always off.
    #[test]
    fn off_stays(pod in any_pod(), one in any_endpoints(), two in any_endpoints(), t in 0_i64..2000) {
        let first = decide(&pod, &one, at(t));
        if first.traffic.is_off() {
            let pod = after(&pod, &first);
            prop_assert!(decide(&pod, &two, at(t + 1)).traffic.is_off());
        }
    }

    /// A hold never gets longer than its maximum, and never takes the application's grace.
    #[test]
    fn the_deadline_is_bounded(grace in 0_u32..5000, original in 0_u32..1000, max in 1_u32..2000) {
        let held = hold_deadline(&deletion(grace), original, max).duration_since(at(0)).as_secs();
        prop_assert!(held <= i64::from(max));
        let left = i64::from(grace) - held;
        prop_assert!(left >= i64::from(original + MARGIN_SECONDS).min(i64::from(grace / 2)));
    }
}
