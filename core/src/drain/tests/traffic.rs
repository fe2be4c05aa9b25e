//! When traffic is off.

use jiff::SignedDuration;

use super::*;

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
    assert_eq!(decision.condition_events[0].reason, EventReason::WaitingForTraffic);
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
    assert_eq!(done.condition_events[0].reason, EventReason::TrafficOff);
}

#[test]
fn the_last_to_serve_waits_for_one_that_starts_and_not_for_ever() {
    let with = |others| EndpointFacts {
        services: vec![SelectingService { name: "shop/web".into(), others }],
        entries: vec![entry(false, true)],
        stale: None,
        clb: None,
    };
    let early = decide(&pod(), &with(Others::Starting), at(1));
    assert_eq!((early.condition, early.next_check), (None, Some(at(2))), "not worth a write yet");
    let settling = condition(ConditionStatus::False, "Settling", 1);
    let settling = PodFacts { traffic_off: Some(settling), ..pod() };
    let waits = decide(&settling, &with(Others::Starting), at(10));
    let condition = waits.condition.unwrap();
    assert_eq!((condition.status, &*condition.reason), (ConditionStatus::False, "NotReplaced"));
    assert_eq!(
        &*condition.message,
        "no other endpoint of Service shop/web is ready yet, so new connections still come to this pod; \
         one is starting, and is waited for until 00:02:00Z"
    );
    assert_eq!(waits.next_check, Some(at(12)));
    // Another is ready: what follows endpoints with a lag gets its time from here on.
    let waited = PodFacts { traffic_off: Some(condition), ..pod() };
    let settles = decide(&waited, &with(Others::Ready), at(20)).condition.unwrap();
    assert_eq!((&*settles.reason, settles.since), ("Settling", at(20)));
    // Nobody starts, or for too long, or this one serves no more: nothing to wait for.
    assert_eq!(
        &*decide(&waited, &with(Others::Absent), at(20)).condition.unwrap().reason,
        "Settling"
    );
    let late = decide(&waited, &with(Others::Starting), at(120));
    assert_eq!(&*late.condition.unwrap().reason, "Settling");
    let silent = Endpoint { serving: false, ..entry(false, true) };
    let silent = EndpointFacts { entries: vec![silent], ..with(Others::Starting) };
    assert_eq!(&*decide(&waited, &silent, at(20)).condition.unwrap().reason, "Settling");
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
fn no_service_settles_from_the_deletion_on() {
    let nobody = EndpointFacts::default();
    let early = decide(&pod(), &nobody, at(2));
    assert_eq!(&*early.condition.unwrap().reason, "Settling");
    assert_eq!(early.next_check, Some(at(3)));
    let condition = decide(&pod(), &nobody, at(3)).condition.unwrap();
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
