//! What a hold hears, and what becomes of its report.

use super::*;

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
        sigterm_ignored: false,
        message: "line\nbreak".into(),
    };
    let first = deletion(GRACE_SECONDS);
    let drained = |current: Option<&Condition>, container: &str, report: &Report| {
        let (condition, events) = drained(current, container, report, &first, at(9));
        (condition, events.into_iter().map(|event| event.reason).collect::<Vec<_>>())
    };
    let (late, events) = drained(None, "web", &report(Outcome::DeadlineExceeded, 2));
    let late = late.unwrap();
    assert_eq!(late.status, ConditionStatus::False);
    assert_eq!(events, [EventReason::DeadlineExceeded]);
    assert_eq!(
        &*late.message,
        "container web: 3.2 s for traffic, 0.0 s for its own preStop, 61.5 s for connections; \
         2 connections are left; the hold says: linebreak"
    );
    let (good, events) = drained(Some(&late), "proxy", &report(Outcome::ConnectionsClosed, 0));
    assert_eq!(good, None);
    assert_eq!(events, [EventReason::Drained]);
    let (nothing, events) = drained(None, "web", &report(Outcome::NotTerminating, 0));
    assert_eq!((nothing, events), (None, vec![]));
}

#[test]
fn an_application_that_will_not_end_is_named_with_the_time_of_its_kill() {
    let report: Report =
        serde_json::from_str(r#"{"outcome": "ConnectionsClosed", "sigtermIgnored": true}"#)
            .unwrap();
    let (condition, events) = drained(None, "web", &report, &deletion(GRACE_SECONDS), at(9));
    let reasons: Vec<_> = events.iter().map(|event| event.reason).collect();
    assert_eq!(reasons, [EventReason::Drained, EventReason::SigtermIgnored]);
    let says = "container web has no handler for SIGTERM, so that it lives until its kubelet kills it \
                at 00:15:40Z";
    assert!(events[1].note.starts_with(says), "{}", events[1].note);
    assert!(condition.unwrap().message.contains(says));
}

#[test]
fn a_pod_that_its_kubelet_may_be_ending_leaves_the_hold_alone_until_it_is_deleted_too() {
    for (node, node_under_pressure, expected) in [
        (NodeState::Ready, false, HoldState::NotTerminating),
        (NodeState::Unknown, false, HoldState::NotTerminating),
        (NodeState::Ready, true, HoldState::Alone),
        (NodeState::NotReady, false, HoldState::Alone),
    ] {
        let runs = PodFacts { deletion: None, node, node_under_pressure, ..pod() };
        assert_eq!(answer(&runs, at(1)).state, expected, "{node:?} {node_under_pressure}");
        let deleted = PodFacts { node, node_under_pressure, ..pod() };
        assert_eq!(answer(&deleted, at(1)).state, HoldState::Holding);
    }
}

#[test]
fn an_event_fits_the_api() {
    let event = EventText::new(EventReason::Drained, "\u{fc}".repeat(2000));
    assert!(event.note.len() <= 1024 && event.note.ends_with("..."));
}
