use std::time::Duration;

use jiff::Timestamp;

use super::{Outcome, State};
use crate::clb::model::{Health, Listener, LoadBalancer, Protocol, Rule, Target};
use crate::clb::write::{Action, Part, PartTarget, RuleKey, Write};

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap()
}

fn target(last: u8, weight: u32) -> Target {
    Target {
        ip: [198, 18, 8, last].into(),
        port: 8080,
        weight,
        registered: at(0),
        health: Health::Alive,
        name: None,
    }
}

/// `lb-a` with a TCP listener of two targets and an HTTP listener of one rule.
fn state() -> State {
    let tcp = Listener {
        id: "lbl-tcp".into(),
        protocol: Protocol::Tcp,
        port: 80,
        side: None,
        targets: vec![target(1, 10), target(2, 10)],
        rules: vec![],
    };
    let rule = Rule {
        location_id: "loc-1".into(),
        domain: "shop.example".into(),
        url: "/".into(),
        side: None,
        targets: vec![target(1, 10)],
    };
    let http = Listener {
        id: "lbl-http".into(),
        protocol: Protocol::Http,
        port: 8000,
        side: None,
        targets: vec![],
        rules: vec![rule],
    };
    let made: LoadBalancer = serde_json::from_str(r#"{"id": "lb-a"}"#).unwrap();
    let mut state = State::default();
    state.make(LoadBalancer { listeners: vec![tcp, http], ..made }, at(0)).unwrap();
    state
}

fn part(listener: &str, rule: Option<RuleKey>, targets: &[(u8, Option<i64>)]) -> Part {
    let targets = targets.iter().map(|(last, weight)| PartTarget {
        ip: [198, 18, 8, *last].into(),
        port: 8080,
        weight: *weight,
        name: None,
    });
    Part { listener: listener.into(), rule, targets: targets.collect() }
}

fn write(action: Action, part: Part) -> Write {
    Write { load_balancer: "lb-a".into(), action, parts: vec![part] }
}

fn weights(state: &State) -> Vec<u32> {
    let found = state.get("lb-a").unwrap();
    found.listeners[0].targets.iter().map(|target| target.weight).collect()
}

#[test]
fn a_write_takes_effect_when_its_task_completes() {
    let mut state = state();
    let zero = write(Action::Weigh, part("lbl-tcp", None, &[(1, Some(0))]));
    state.begin(zero, false, "task", at(1_000)).unwrap();
    assert_eq!(weights(&state), [10, 10], "nothing yet");
    assert_eq!(state.outcome("task").unwrap(), (Outcome::Working, "lb-a"));
    assert!(state.due(at(1_299)).is_empty(), "300 ms at least");
    assert_eq!(state.next_due(), Some(at(1_300)));
    assert_eq!(state.due(at(1_300)), ["task"]);
    let after = state.after("task", at(1_300)).unwrap();
    assert_eq!(after.listeners[0].targets[0].weight, 0, "the data plane may follow");
    assert_eq!(weights(&state), [10, 10], "and no read shows it before");
    state.complete("task", None, at(1_310));
    assert_eq!(weights(&state), [0, 10]);
    assert_eq!(state.outcome("task").unwrap().0, Outcome::Done);
    assert!(state.due(at(9_999)).is_empty());
}

#[test]
fn one_write_at_a_time_and_the_documented_refusals() {
    let mut state = state();
    let zero = || write(Action::Weigh, part("lbl-tcp", None, &[(1, Some(0))]));
    state.begin(zero(), false, "first", at(0)).unwrap();
    let mut refused = || {
        let error = state.begin(zero(), false, "second", at(1)).unwrap_err();
        (error.code, error.message)
    };
    let (code, message) = refused();
    assert_eq!(code, "FailedOperation.ResourceInOperating");
    assert!(message.starts_with("Your task is working (ModifyQLBL4ListenerDeviceWeight)."));
    let (code, message) = refused();
    assert_eq!(code, "FailedOperation.ResourceInOperating");
    assert!(message.contains("is not in normal desState"));
    assert_eq!(refused().0, "FailedOperation");
    state.complete("first", None, at(400));
    state.begin(zero(), false, "second", at(401)).unwrap();
    assert!(state.outcome("second").is_some());
}

#[test]
fn binding_and_unbinding() {
    let mut state = state();
    let rule = || Some(RuleKey::Name("shop.example".into(), "/".into()));
    let register = write(Action::Register, part("lbl-http", rule(), &[(7, None)]));
    state.begin(register, false, "one", at(0)).unwrap();
    state.complete("one", None, at(5_000));
    let rows = |state: &State| state.get("lb-a").unwrap().listeners[1].rules[0].targets.clone();
    let bound = rows(&state);
    assert_eq!((bound[1].weight, bound[1].registered), (10, at(5_000)), "default weight, new time");
    let by_id = Some(RuleKey::Location("loc-1".into()));
    let deregister = write(Action::Deregister, part("lbl-http", by_id, &[(1, None)]));
    state.begin(deregister, false, "two", at(6_000)).unwrap();
    state.complete("two", None, at(7_000));
    assert_eq!(rows(&state).len(), 1);
    assert_eq!(weights(&state), [10, 10], "the other listener is not touched");
}

#[test]
fn a_task_may_fail() {
    let mut state = state();
    state.failing_tasks = 1;
    let zero = || write(Action::Weigh, part("lbl-tcp", None, &[(1, Some(0))]));
    state.begin(zero(), false, "one", at(0)).unwrap();
    state.complete("one", None, at(1_000));
    assert!(matches!(state.outcome("one").unwrap().0, Outcome::Failed(_)));
    assert_eq!(weights(&state), [10, 10]);
    state.begin(zero(), false, "two", at(1_000)).unwrap();
    state.complete("two", Some("HAProxy is away".into()), at(2_000));
    assert_eq!(state.outcome("two").unwrap().0, Outcome::Failed("HAProxy is away".into()));
    assert!(!state.is_busy("lb-a"));
}

#[test]
fn stale_reads_see_the_past() {
    let mut state = state();
    let zero = write(Action::Weigh, part("lbl-tcp", None, &[(1, Some(0))]));
    state.begin(zero, false, "one", at(0)).unwrap();
    state.complete("one", None, at(10_000));
    let seen = |now: i64, age: u64| {
        let found = state.as_of("lb-a", at(now), Duration::from_secs(age)).unwrap();
        found.listeners[0].targets[0].weight
    };
    assert_eq!(seen(12_000, 0), 0);
    assert_eq!(seen(12_000, 5), 10);
    assert_eq!(seen(15_000, 5), 0);
    assert_eq!(seen(12_000, 100_000), 10, "no further than is known");
}

#[test]
fn what_makes_no_sense_is_refused_with_its_code() {
    let many: Vec<(u8, Option<i64>)> = (10..31).map(|last| (last, None)).collect();
    let cases = [
        (
            "weight 101",
            Action::Weigh,
            part("lbl-tcp", None, &[(1, Some(101))]),
            "InvalidParameterValue",
        ),
        (
            "weight -1",
            Action::Weigh,
            part("lbl-tcp", None, &[(1, Some(-1))]),
            "InvalidParameterValue",
        ),
        (
            "twice",
            Action::Register,
            part("lbl-tcp", None, &[(9, None), (9, None)]),
            "InvalidParameterValue.Duplicate",
        ),
        (
            "21 targets",
            Action::Register,
            part("lbl-tcp", None, &many),
            "InvalidParameterValue.Length",
        ),
        ("no target", Action::Weigh, part("lbl-tcp", None, &[]), "MissingParameter"),
        ("not bound", Action::Weigh, part("lbl-tcp", None, &[(9, Some(0))]), "InvalidParameter"),
        (
            "no listener",
            Action::Weigh,
            part("lbl-x", None, &[(1, Some(0))]),
            "InvalidParameter.ListenerIdNotFound",
        ),
        (
            "no rule named",
            Action::Weigh,
            part("lbl-http", None, &[(1, Some(0))]),
            "MissingParameter",
        ),
        (
            "no such rule",
            Action::Weigh,
            part("lbl-http", Some(RuleKey::Location("loc-9".into())), &[(1, Some(0))]),
            "InvalidParameter.LocationNotFound",
        ),
    ];
    let mut state = state();
    for (what, action, part, code) in cases {
        let error = state.begin(write(action, part), false, "task", at(0)).unwrap_err();
        assert_eq!(error.code, code, "{what}");
    }
    let unknown = Write {
        load_balancer: "lb-x".into(),
        action: Action::Weigh,
        parts: vec![part("lbl-tcp", None, &[(1, Some(0))])],
    };
    let error = state.begin(unknown, false, "task", at(0)).unwrap_err();
    assert_eq!(error.code, "InvalidParameter.LBIdNotFound");
    assert!(!state.is_busy("lb-a"), "a refused write is no task");
}

#[test]
fn only_its_owner_changes_a_protected_load_balancer() {
    let mut state = state();
    let protected = LoadBalancer { protected: true, ..state.get("lb-a").unwrap().clone() };
    state.make(protected, at(0)).unwrap();
    let zero = || write(Action::Weigh, part("lbl-tcp", None, &[(1, Some(0))]));
    assert_eq!(state.begin(zero(), false, "x", at(0)).unwrap_err().code, "OperationDenied");
    state.begin(zero(), true, "y", at(0)).unwrap();
}
