//! When load balancers read off.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::drain::clb::{ClbFacts, Gap, History, LoadBalancer, LookUp, Place, ReadOf, Row};
use crate::policy::{Policy, Provider, TrafficOff};

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

/// An answer with these rows; other backends take traffic wherever they stand.
fn answer(rows: &[Row]) -> ReadOf {
    ReadOf::Rows { rows: rows.to_vec(), gaps: vec![], alone: BTreeSet::new() }
}

fn history(reads: &[(i64, Vec<Row>)]) -> History {
    let mut history = History::default();
    for (second, rows) in reads {
        history.take(at(*second), answer(rows));
    }
    history
}

/// A pod whose endpoints have settled at second 4, behind these load balancers.
fn facts(histories: Vec<(&str, History)>) -> EndpointFacts {
    let load_balancers = histories
        .into_iter()
        .map(|(id, history)| LoadBalancer { id: id.into(), history })
        .collect();
    let clb = Some(ClbFacts { load_balancers, ..ClbFacts::default() });
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
    assert_eq!(once.reason(), TrafficReason::ClbConfirming);
    assert!(once.message().ends_with("to be read again"), "{}", once.message());
    let too_close = {
        let mut history = history(&[(5, zero.clone())]);
        history.take(at(5) + jiff::SignedDuration::from_millis(900), answer(&zero));
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
fn reads_with_a_long_time_between_them_do_not_agree() {
    // A leader that leads again after a while has what it read before.
    let zero = vec![row("lbl-1", 0)];
    let mut reads = vec![(5, zero.clone()), (6, zero.clone()), (130, zero.clone())];
    assert_eq!(verdict(history(&reads), 130).reason(), TrafficReason::ClbConfirming);
    reads.push((131, zero));
    assert!(verdict(history(&reads), 131).is_off());
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
    // Nothing read, and then one answer without the pod: that is only the first.
    let mut late = History::default();
    late.take(at(1), ReadOf::Failed("away".into()));
    late.take(at(60), answer(&[]));
    assert_eq!(verdict(late, 60).reason(), TrafficReason::ClbUnknown);
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
    failed.take(at(7), ReadOf::Failed("DescribeTargets failed: RequestLimitExceeded".into()));
    let unknown = verdict(failed.clone(), 7);
    assert_eq!(unknown.reason(), TrafficReason::ClbUnknown);
    assert_eq!(unknown.message(), "CLB lb-1: DescribeTargets failed: RequestLimitExceeded");
    failed.take(at(8), answer(&zero));
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
        for second in [6, 7] {
            let gaps = vec![gap(listener)];
            history.take(
                at(second),
                ReadOf::Rows { rows: rows.clone(), gaps, alone: BTreeSet::new() },
            );
        }
        assert_eq!(verdict(history, 7).reason(), expected, "{listener}");
    }
    assert_eq!(
        verdict(history(&[(5, zero.clone()), (6, zero)]), 37).reason(),
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
    unsure.clb.as_mut().unwrap().look_up =
        LookUp::Failed("the look-up of its address failed".into());
    let decision = decide(&settled(), &unsure, at(6));
    assert_eq!(decision.traffic.reason(), TrafficReason::ClbUnknown);
    assert_eq!(decision.condition.unwrap().status, ConditionStatus::Unknown);
}

#[test]
fn a_row_that_vanishes_with_a_weight_is_believed_after_a_while() {
    let (ten, both) = (row("lbl-2", 10), vec![row("lbl-1", 0), row("lbl-2", 10)]);
    let partial = vec![row("lbl-1", 0)];
    let mut reads = vec![(5, both.clone()), (6, partial.clone()), (20, partial.clone())];
    let facts = |reads: &[(i64, Vec<Row>)]| facts(vec![("lb-1", history(reads))]);
    let unsure = decide(&settled(), &facts(&reads), at(20));
    assert_eq!(unsure.traffic.reason(), TrafficReason::ClbUnknown);
    assert_eq!(
        unsure.traffic.message(),
        "CLB lb-1 lists lbl-2 TCP:80 -> :8080 weight 10 no more; that is believed from 00:00:36Z on"
    );
    assert_eq!(unsure.next_check, Some(at(36)));
    // A whole answer in between: nothing was proven.
    let mut again = reads.clone();
    again.extend([(21, vec![ten]), (22, partial.clone()), (36, partial.clone())]);
    assert_eq!(
        decide(&settled(), &facts(&again), at(36)).traffic.reason(),
        TrafficReason::ClbUnknown
    );
    reads.extend([(35, partial.clone()), (36, partial)]);
    let off = decide(&settled(), &facts(&reads), at(36)).traffic;
    assert_eq!(off.reason(), TrafficReason::ClbWeightZero);
    assert!(
        off.message().contains("weight 0 on lbl-1 TCP:80 -> :8080, 1 unbound"),
        "{}",
        off.message()
    );
}

#[test]
fn endpoints_settle_while_load_balancers_are_read() {
    let on = history(&[(1, vec![row("lbl-1", 10)]), (2, vec![row("lbl-1", 10)])]);
    let facts = facts(vec![("lb-1", on)]);
    let settles = decide(&pod(), &facts, at(2));
    assert_eq!(settles.traffic.reason(), TrafficReason::Settling);
    let settling = PodFacts { traffic_off: settles.condition.map(stored), ..pod() };
    let waits = decide(&settling, &facts, at(5)).condition.unwrap();
    assert_eq!((waits.status, &*waits.reason), (ConditionStatus::False, "ClbWeightNotZero"));
    // A new leader reads anew, and does not settle anew.
    let waiting = PodFacts { traffic_off: Some(stored(waits)), ..pod() };
    let zero = vec![row("lbl-1", 0)];
    let facts = self::facts(vec![("lb-1", history(&[(20, zero.clone()), (21, zero)]))]);
    assert_eq!(decide(&waiting, &facts, at(21)).traffic.reason(), TrafficReason::ClbWeightZero);
}

#[test]
fn agreement_is_said_only_where_it_takes_long() {
    let policy = Policy {
        traffic_off: TrafficOff { confirm_reads: 9, ..TrafficOff::default() },
        ..Policy::default()
    };
    let pod = PodFacts { policy: Arc::new(policy), ..settled() };
    let zero = vec![row("lbl-1", 0)];
    let facts = facts(vec![("lb-1", history(&[(5, zero.clone()), (6, zero.clone()), (10, zero)]))]);
    let decision = decide(&pod, &facts, at(9));
    assert_eq!((decision.condition, decision.next_check), (None, Some(at(10))));
    assert_eq!(&*decide(&pod, &facts, at(10)).condition.unwrap().reason, "ClbConfirming");
}

#[test]
fn a_condition_says_in_time_what_is_read_now() {
    let condition = Condition {
        message: "CLB lb-1 still sends to it: lbl-1 TCP:80 -> :8080 weight 10".into(),
        ..condition(ConditionStatus::False, "ClbWeightNotZero", 5)
    };
    let waiting = PodFacts { traffic_off: Some(condition.clone()), ..pod() };
    let same = facts(vec![("lb-1", history(&[(6, vec![row("lbl-1", 10)])]))]);
    assert_eq!(decide(&waiting, &same, at(90)).condition, None);
    let other = facts(vec![("lb-1", history(&[(6, vec![row("lbl-2", 10)])]))]);
    let early = decide(&waiting, &other, at(14));
    assert_eq!((early.condition, early.next_check), (None, Some(at(15))), "the nudge is due first");
    let late = decide(&waiting, &other, at(35));
    assert!(late.condition.unwrap().message.contains("lbl-2"));
    assert_eq!(late.condition_events, vec![], "the reason is the one that was said");
}

#[test]
fn a_load_balancer_that_does_not_exist_is_believed_after_a_while_with_a_warning() {
    let mut history = History::default();
    for second in [5, 30, 65] {
        let changed = history.take(at(second), ReadOf::NotFound("LBIdNotFound".into()));
        assert_eq!(changed, second == 5);
    }
    let waits = decide(&settled(), &facts(vec![("lb-1", history.clone())]), at(64));
    assert_eq!(waits.traffic.reason(), TrafficReason::ClbUnknown);
    assert_eq!(waits.next_check, Some(at(65)));
    let off = decide(&settled(), &facts(vec![("lb-1", history.clone())]), at(65));
    assert_eq!(off.traffic.reason(), TrafficReason::EndpointsNotReady);
    assert!(off.traffic.message().contains("CLB lb-1 does not exist"), "{}", off.traffic.message());
    let reasons: Vec<_> = off.condition_events.iter().map(|event| event.reason).collect();
    assert_eq!(reasons, [EventReason::TrafficOff, EventReason::ClbNotFound]);
    // A word of long ago.
    assert_eq!(verdict(history.clone(), 96).reason(), TrafficReason::ClbUnknown);
    // It exists after all.
    history.take(at(66), answer(&[row("lbl-1", 10)]));
    assert_eq!(verdict(history, 66).reason(), TrafficReason::ClbWeightNotZero);
}

#[test]
fn the_last_backend_goes_with_a_warning() {
    let alone = |listener: &str| {
        let mut history = History::default();
        for second in [5, 6] {
            let alone = BTreeSet::from([place(listener, None)]);
            let rows = vec![row("lbl-1", 0)];
            history.take(at(second), ReadOf::Rows { rows, gaps: vec![], alone });
        }
        decide(&settled(), &facts(vec![("lb-1", history)]), at(6)).condition_events
    };
    let [off, last] = &alone("lbl-1")[..] else { panic!("{:?}", alone("lbl-1")) };
    assert_eq!((off.reason, last.reason), (EventReason::TrafficOff, EventReason::LastBackend));
    assert!(last.note.contains("lbl-1 TCP:80 of CLB lb-1"), "{}", last.note);
    assert_eq!(alone("lbl-2").len(), 1, "nobody else's business");
}

#[test]
fn backends_that_are_nodes_are_left_to_endpoints_and_that_is_said() {
    let mut facts = facts(vec![]);
    facts.clb.as_mut().unwrap().through_nodes = vec!["Service shop/web".into()];
    let traffic = decide(&settled(), &facts, at(6)).traffic;
    assert_eq!(traffic.reason(), TrafficReason::EndpointsNotReady);
    assert!(traffic.message().contains("Service shop/web sends through ports of nodes"));
}

#[test]
fn an_address_that_cannot_be_looked_up_does_not_hold_for_ever_what_nothing_puts_behind_a_clb() {
    let look_up = LookUp::Failed("the look-up of its address: no answer".into());
    let mut unnamed = facts(vec![]);
    unnamed.clb.as_mut().unwrap().look_up = look_up.clone();
    let waits = decide(&settled(), &unnamed, at(59));
    assert_eq!(waits.traffic.reason(), TrafficReason::ClbUnknown);
    assert_eq!(waits.next_check, Some(at(60)));
    let off = decide(&settled(), &unnamed, at(60)).traffic;
    assert_eq!(off.reason(), TrafficReason::EndpointsNotReady);
    assert!(off.message().contains("the look-up of its address: no answer"), "{}", off.message());
    // A policy that wants the proof, or a CLB that is known: it stays unknown.
    let traffic_off = TrafficOff { provider: Provider::TencentCLB, ..TrafficOff::default() };
    let strict = Arc::new(Policy { traffic_off, ..Policy::default() });
    let strict = PodFacts { policy: strict, ..settled() };
    assert_eq!(decide(&strict, &unnamed, at(600)).traffic.reason(), TrafficReason::ClbUnknown);
    let zero = vec![row("lbl-1", 0)];
    let mut named = facts(vec![("lb-1", history(&[(598, zero.clone()), (599, zero)]))]);
    named.clb.as_mut().unwrap().look_up = look_up;
    assert_eq!(decide(&settled(), &named, at(600)).traffic.reason(), TrafficReason::ClbUnknown);
}

#[test]
fn tke_is_reminded_once_and_only_where_a_weight_was_read() {
    let on = history(&[(14, vec![row("lbl-1", 10)])]);
    let mut behind = facts(vec![("lb-1", on)]);
    let early = decide(&settled(), &behind, at(14));
    assert_eq!((early.nudge, early.next_check), (None, Some(at(15))));
    let event = decide(&settled(), &behind, at(15)).nudge.unwrap();
    assert_eq!(event.reason, EventReason::WeightNudged);
    assert!(event.note.contains("lbl-1 TCP:80 -> :8080 weight 10, 15 s after"), "{}", event.note);
    behind.clb.as_mut().unwrap().nudged = true;
    assert_eq!(decide(&settled(), &behind, at(15)).nudge, None);
    let unread = facts(vec![("lb-1", History::default())]);
    assert_eq!(decide(&settled(), &unread, at(15)).nudge, None);
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
                Some(rows) => history.take(at(second), answer(rows)),
                None => history.take(at(second), ReadOf::Failed("away".into())),
            };
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
