//! When load balancers read off.

use proptest::prelude::*;

use super::*;
use crate::drain::clb::{ClbFacts, Gap, History, LoadBalancer, Place, Row};

fn place(listener: &str, rule: Option<&str>) -> Place {
    Place { listener: listener.into(), rule: rule.map(Into::into) }
}

fn row(listener: &str, weight: u8) -> Row {
    Row {
        place: place(listener, None),
        frontend: "TCP:80".into(),
        port: 8080,
        weight: Some(weight),
        registered: Some("2026-01-01 00:00:00".into()),
    }
}

fn history(reads: &[(i64, Vec<Row>)]) -> History {
    let mut history = History::default();
    for (second, rows) in reads {
        history.read(at(*second), rows.clone(), &[]);
    }
    history
}

/// A pod whose endpoints have settled at second 4, behind these load balancers.
fn facts(histories: Vec<(&str, History)>) -> EndpointFacts {
    let load_balancers = histories
        .into_iter()
        .map(|(id, history)| LoadBalancer { id: id.into(), history })
        .collect();
    let clb = Some(ClbFacts { load_balancers, unknown: None });
    EndpointFacts { clb, ..endpoints(vec![entry(false, true)]) }
}

fn settled() -> PodFacts {
    PodFacts { traffic_off: Some(condition(ConditionStatus::False, "Settling", 1)), ..pod() }
}

fn verdict(history: History, second: i64) -> Traffic {
    decide(&settled(), &facts(vec![("lb-1", history)]), at(second)).traffic
}

#[test]
fn two_reads_of_zero_a_second_apart_are_off_and_say_so() {
    let zero = vec![row("lbl-1", 0), row("lbl-2", 0)];
    let once = verdict(history(&[(5, zero.clone())]), 5);
    assert_eq!(once.reason(), TrafficReason::ClbWeightNotZero);
    assert!(once.message().ends_with("to be read again"), "{}", once.message());
    let too_close = {
        let mut history = history(&[(5, zero.clone())]);
        history.read(at(5) + jiff::SignedDuration::from_millis(900), zero.clone(), &[]);
        verdict(history, 6)
    };
    assert!(!too_close.is_off());
    let off = verdict(history(&[(5, zero.clone()), (6, zero)]), 6);
    assert_eq!(off.reason(), TrafficReason::ClbWeightZero);
    assert_eq!(
        off.message(),
        "CLB lb-1: weight 0 on lbl-1 TCP:80 -> :8080, lbl-2 TCP:80 -> :8080; \
         endpoints of Service shop/web not ready since 00:00:01Z; settled 3 s"
    );
}

#[test]
fn one_listener_that_sends_keeps_the_pod_on() {
    let partial = vec![row("lbl-1", 0), row("lbl-2", 10)];
    let on = verdict(history(&[(5, partial.clone()), (7, partial)]), 7);
    assert_eq!(on.reason(), TrafficReason::ClbWeightNotZero);
    assert_eq!(on.message(), "CLB lb-1 still sends to it: lbl-2 TCP:80 -> :8080 weight 10");
}

#[test]
fn a_row_that_comes_back_takes_it_back() {
    let (zero, ten) = (vec![row("lbl-1", 0)], vec![row("lbl-1", 10)]);
    let reads = [(5, zero.clone()), (6, ten), (7, zero.clone()), (7, zero.clone()), (8, zero)];
    assert!(verdict(history(&reads[..2]), 6).reason() == TrafficReason::ClbWeightNotZero);
    assert!(!verdict(history(&reads[..4]), 7).is_off(), "a second has not passed");
    assert!(verdict(history(&reads), 8).is_off());
}

#[test]
fn gone_after_it_was_seen_is_off_and_empty_from_the_start_is_not_for_a_while() {
    let seen = history(&[(5, vec![row("lbl-1", 0)]), (6, vec![]), (7, vec![])]);
    let off = verdict(seen, 7);
    assert!(off.is_off() && off.message().contains("1 unbound"), "{}", off.message());
    let never = history(&[(5, vec![]), (6, vec![]), (34, vec![]), (35, vec![])]);
    assert_eq!(verdict(never.clone(), 34).reason(), TrafficReason::ClbUnknown);
    let decision = decide(&settled(), &facts(vec![("lb-1", never.clone())]), at(34));
    assert_eq!(decision.next_check, Some(at(35)));
    assert_eq!(verdict(never, 35).reason(), TrafficReason::EndpointsNotReady);
}

#[test]
fn what_was_not_read_is_unknown_with_its_reason() {
    let zero = vec![row("lbl-1", 0)];
    let mut failed = history(&[(5, zero.clone()), (6, zero.clone())]);
    failed.failed(at(7), "DescribeTargets failed: RequestLimitExceeded");
    let unknown = verdict(failed.clone(), 7);
    assert_eq!(unknown.reason(), TrafficReason::ClbUnknown);
    assert_eq!(unknown.message(), "CLB lb-1: DescribeTargets failed: RequestLimitExceeded");
    failed.read(at(8), zero.clone(), &[]);
    assert!(!verdict(failed, 8).is_off(), "agreement starts anew");
    // A weight that is not there; a listener that hides what was seen; a stale read; none at all.
    let hidden = Row { weight: None, ..row("lbl-1", 0) };
    let unreadable = history(&[(5, vec![hidden.clone()]), (6, vec![hidden])]);
    assert_eq!(verdict(unreadable, 6).reason(), TrafficReason::ClbUnknown);
    let gap = |listener: &str| Gap {
        place: Some(place(listener, None)),
        may_be_empty: true,
        detail: "Targets is null".into(),
    };
    for (listener, expected) in
        [("lbl-1", TrafficReason::ClbUnknown), ("lbl-9", TrafficReason::ClbWeightZero)]
    {
        let mut history = history(&[(4, zero.clone()), (5, zero.clone())]);
        let rows = if listener == "lbl-1" { vec![] } else { zero.clone() };
        history.read(at(6), rows.clone(), &[gap(listener)]);
        history.read(at(7), rows, &[gap(listener)]);
        assert_eq!(verdict(history, 7).reason(), expected, "{listener}");
    }
    assert_eq!(
        verdict(history(&[(5, zero.clone()), (6, zero)]), 17).reason(),
        TrafficReason::ClbUnknown
    );
    assert_eq!(verdict(History::default(), 17).reason(), TrafficReason::ClbUnknown);
}

#[test]
fn a_reused_address_is_another_pods_once_nothing_of_this_one_runs() {
    let own = row("lbl-1", 0);
    let later = Row { registered: Some("2026-01-01 00:10:00".into()), ..row("lbl-1", 10) };
    let history = history(&[(5, vec![own]), (6, vec![later.clone()]), (8, vec![later])]);
    assert_eq!(verdict(history.clone(), 8).reason(), TrafficReason::ClbWeightNotZero);
    let ended = PodFacts { containers: Containers::Ended, ..settled() };
    let decision = decide(&ended, &facts(vec![("lb-1", history)]), at(8));
    assert_eq!(decision.traffic.reason(), TrafficReason::ClbWeightZero);
    assert_eq!(decision.finalizer, Finalizer::Remove(RemoveReason::Ended));
}

#[test]
fn every_load_balancer_counts() {
    let off = history(&[(5, vec![row("lbl-1", 0)]), (6, vec![row("lbl-1", 0)])]);
    let on = history(&[(5, vec![row("lbl-9", 10)]), (6, vec![row("lbl-9", 10)])]);
    let both = facts(vec![("lb-1", off.clone()), ("lb-2", on)]);
    let decision = decide(&settled(), &both, at(6));
    assert_eq!(decision.traffic.reason(), TrafficReason::ClbWeightNotZero);
    assert!(decision.traffic.message().starts_with("CLB lb-2"), "{}", decision.traffic.message());
    let mut unsure = facts(vec![("lb-1", off)]);
    unsure.clb.as_mut().unwrap().unknown = Some("the look-up of its address failed".into());
    let decision = decide(&settled(), &unsure, at(6));
    assert_eq!(decision.traffic.reason(), TrafficReason::ClbUnknown);
    assert_eq!(decision.condition.unwrap().status, ConditionStatus::Unknown);
}

fn any_read() -> impl Strategy<Value = Option<Vec<Row>>> {
    let rows =
        proptest::collection::vec((0_u8..3, prop_oneof![Just(0_u8), Just(0), Just(10)]), 0..3);
    proptest::option::weighted(
        0.8,
        rows.prop_map(|rows| {
            rows.into_iter()
                .map(|(listener, weight)| row(&format!("lbl-{listener}"), weight))
                .collect()
        }),
    )
}

proptest! {
    /// Off needs two last reads that agree, without a failure between them, in which nothing sends.
    #[test]
    fn off_needs_reads_that_agree(reads in proptest::collection::vec((any_read(), 0_i64..4), 1..12)) {
        let (mut history, mut second) = (History::default(), 5);
        for (read, step) in &reads {
            second += step;
            match read {
                Some(rows) => history.read(at(second), rows.clone(), &[]),
                None => history.failed(at(second), "away"),
            }
        }
        if verdict(history, second).reason() == TrafficReason::ClbWeightZero {
            let last: Vec<_> = reads.iter().rev().take(2).map(|(read, _)| read).collect();
            prop_assert!(last.len() == 2);
            for read in last {
                let rows = read.as_ref().unwrap();
                prop_assert!(rows.iter().all(|row| row.weight == Some(0)));
            }
        }
    }
}
