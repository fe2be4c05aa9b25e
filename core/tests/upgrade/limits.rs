//! What keeps a pod from being taken.

use lameduck_core::upgrade::facts::Backend;
use lameduck_core::upgrade::object::{Phase, Step};
use lameduck_core::upgrade::weights::{Annotations, Zeros, with_zeros};

use crate::world::{HTTP, World};

fn blocked(world: &mut World) -> (Phase, String) {
    world.apply("b");
    world.run(100);
    assert_eq!(world.log, [""; 0]);
    (world.status().phase, world.status().reason.clone())
}

#[test]
fn a_budget_that_is_spent() {
    let mut world = World::new(3);
    world.budget = Some(0);
    assert_eq!(blocked(&mut world), (Phase::Progressing, "BudgetExhausted".to_owned()));
    world.run(700);
    assert_eq!(world.status().phase, Phase::Stalled);
    world.budget = Some(1);
    world.run(300);
    assert_eq!(world.status().phase, Phase::Complete);
}

#[test]
fn a_budget_of_one_is_spent_by_one_that_is_taken_and_still_ready() {
    let mut world = World::new(4);
    world.policy.stateful_sets.upgrade.max_unavailable = 2;
    world.budget = Some(1);
    world.tke = false;
    world.apply("b");
    world.run(60);
    assert_eq!(world.status().ordinals.len(), 1);
}

#[test]
fn the_last_backend() {
    let mut world = World::new(1);
    assert_eq!(blocked(&mut world), (Phase::Progressing, "LastBackend".to_owned()));
    assert!(world.status().message.contains("CLB lb-front TCP:80"), "{}", world.status().message);
}

#[test]
fn another_set_on_the_service_takes_its_place() {
    let mut world = World::new(1);
    world.others = vec![Backend { pod: None, weight: Some(10), healthy: Some(true) }];
    world.apply("b");
    world.run(200);
    assert_eq!((world.revisions().as_str(), world.status().phase), ("b", Phase::Complete));
}

/// Another set's zeros on the Service.
fn zero_other(world: &mut World) {
    let service = &mut world.services[0];
    let annotations = Annotations { weights: service.weights.as_deref(), record: None };
    let zeros = Zeros::from([("other".into(), [0].into())]);
    let change = with_zeros(&annotations, &[HTTP], &zeros).unwrap().unwrap();
    service.weights = change.weights.map(Into::into);
    service.record = change.record.map(Into::into);
}

#[test]
fn another_set_that_has_only_just_taken_its_own_does_not() {
    let mut world = World::new(1);
    world.others = vec![Backend { pod: None, weight: Some(10), healthy: Some(true) }];
    // TKE has not carried it to the CLB yet.
    zero_other(&mut world);
    assert_eq!(blocked(&mut world), (Phase::Progressing, "LastBackend".to_owned()));
}

#[test]
fn two_sets_that_claim_at_once_do_not_both_go() {
    let mut world = World::new(1);
    world.others = vec![Backend { pod: None, weight: Some(10), healthy: Some(true) }];
    world.apply("b");
    world.run_to(0, Step::WeightZero);
    zero_other(&mut world);
    world.run(60);
    assert_eq!(world.log, [""; 0], "its claim was given back");
    assert_eq!(
        (world.status().ordinals.as_slice(), &*world.status().reason),
        (&[][..], "LastBackend")
    );
}

#[test]
fn weights_that_cannot_be_read() {
    let mut world = World::new(3);
    world.services[0].weights = Some("{not JSON".into());
    assert_eq!(blocked(&mut world), (Phase::Progressing, "WeightsInvalid".to_owned()));
    world.services[0].weights = None;
    world.run(300);
    assert_eq!(world.status().phase, Phase::Complete);
}

#[test]
fn weights_that_cannot_be_read_any_more_stall_it() {
    let mut world = World::new(3);
    world.apply("b");
    world.run_to(2, Step::WeightZero);
    world.services[0].weights = Some("{not JSON".into());
    world.run(700);
    assert_eq!(world.status().phase, Phase::Stalled);
    assert_eq!(world.log, [""; 0]);
    assert_eq!(world.services[0].weights.as_deref(), Some("{not JSON"));
}

#[test]
fn a_clb_that_cannot_be_read() {
    let mut world = World::new(3);
    world.unknown = Some("CLB lb-front: RequestLimitExceeded".into());
    assert_eq!(blocked(&mut world), (Phase::Progressing, "ClbUnknown".to_owned()));
    world.unknown = None;
    world.run(300);
    assert_eq!(world.status().phase, Phase::Complete);
}

#[test]
fn a_pod_that_does_not_serve() {
    let mut world = World::new(3);
    world.pod(0).pod.ready_since = None;
    world.pod(0).pod.trouble = Some("CrashLoopBackOff".into());
    world.pod(0).pod.revision = "b".into();
    assert_eq!(blocked(&mut world), (Phase::Progressing, "PodsNotServing".to_owned()));
    assert!(world.status().message.contains("CrashLoopBackOff"));
}

#[test]
fn broken_old_pods_go_first_without_a_drain_and_one_at_a_time() {
    let mut world = World::new(3);
    for ordinal in [0, 1] {
        let sim = world.pod(ordinal);
        (sim.pod.ready_since, sim.pod.trouble) = (None, Some("ImagePullBackOff".into()));
        sim.weights.clear();
    }
    world.apply("b");
    let mut most = 0;
    for _ in 0..200 {
        world.run(2);
        let out = world.pods.values().filter(|sim| sim.deleted.is_some()).count();
        most = most.max(out);
    }
    assert_eq!((world.revisions().as_str(), world.status().phase), ("bbb", Phase::Complete));
    let deletes: Vec<&String> = world.log.iter().filter(|line| line.starts_with("del")).collect();
    assert_eq!(deletes, ["delete web-1", "delete web-0", "delete web-2"]);
    assert_eq!(world.log[..2], ["zero [1]", "delete web-1"]);
    let drained = world.trail.iter().filter(|step| step.1 == Step::WeightZero);
    assert!(drained.eq([(2, Step::WeightZero)].iter()), "{:?}", world.trail);
    assert_eq!(most, 1, "what makes all pods unready for a moment must not restart them all");
    world.assert_clean();
}

#[test]
fn an_old_pod_that_runs_without_a_hold_and_is_never_ready_goes_too() {
    let mut world = World::bare(3);
    world.has_hold = false;
    for ordinal in 0..3 {
        world.kubectl_delete(ordinal);
    }
    world.settle();
    let sim = world.pod(1);
    (sim.pod.ready_since, sim.pod.trouble) = (None, Some("probe fails".into()));
    world.apply("b");
    world.run(400);
    assert_eq!((world.revisions().as_str(), world.status().phase), ("bbb", Phase::Complete));
    assert_eq!(world.log[..2], ["count web-1", "delete web-1"]);
}

#[test]
fn where_fewer_may_be_missing_than_before_the_rest_goes_back() {
    let mut world = World::new(4);
    world.policy.stateful_sets.upgrade.max_unavailable = 2;
    world.apply("b");
    world.tke = false;
    world.run(20);
    assert_eq!(world.zeros(0), [2, 3]);
    world.policy.stateful_sets.upgrade.max_unavailable = 1;
    world.run(20);
    assert_eq!(world.zeros(0), [3]);
    world.tke = true;
    world.run(400);
    assert_eq!((world.revisions().as_str(), world.status().phase), ("bbbb", Phase::Complete));
    world.assert_clean();
}
