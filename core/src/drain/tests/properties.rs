//! What holds in every state of the world.

use jiff::SignedDuration;
use proptest::prelude::*;

use super::*;
use crate::inject::MARGIN_SECONDS;
use crate::policy::Policy;

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
        others in prop_oneof![Just(Others::Ready), Just(Others::Starting), Just(Others::Absent)],
        entries in proptest::collection::vec((any::<bool>(), any::<bool>()), 0..4),
        stale in prop_oneof![Just(None), (0_u64..10).prop_map(stale)],
    ) -> EndpointFacts {
        let mut facts = endpoints(entries.into_iter().map(|(r, t)| entry(r, t)).collect());
        for service in &mut facts.services {
            service.others = others;
        }
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
            let serves = facts.entries.iter().any(|entry| entry.serving && entry.terminating);
            let starts = facts.services.iter().any(|service| service.others == Others::Starting);
            prop_assert!(!(serves && starts && second < 120));
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
        // 60 looks while nobody else is ready, and some for everything else.
        for _ in 0..80 {
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
