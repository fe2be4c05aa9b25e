//! Whole upgrades that meet nothing.

use lameduck_core::upgrade::object::{Phase, Step};

use crate::world::World;

#[test]
fn the_highest_ordinal_first_weight_before_pod_and_nothing_is_left() {
    let mut world = World::new(3);
    world.run(10);
    assert_eq!(world.upgrade, None, "no object where there is nothing to do");
    world.apply("b");
    world.run(400);
    let expected = [
        "zero [2]",
        "delete web-2",
        "zero []",
        "zero [1]",
        "delete web-1",
        "zero []",
        "zero [0]",
        "delete web-0",
        "zero []",
    ];
    assert_eq!(world.log, expected);
    assert_eq!(world.revisions(), "bbb");
    assert_eq!(world.status().phase, Phase::Complete);
    assert_eq!((world.status().total, world.status().updated), (3, 3));
    world.assert_clean();
    let one = |ordinal| {
        use Step::{Deleting, Draining, Replacing, Returning, Soaking, Starting, WeightZero};
        [WeightZero, Deleting, Draining, Replacing, Starting, Soaking, Returning]
            .map(|step| (ordinal, step))
    };
    // What passes between two looks is not seen.
    let seen = |step: &&(u32, Step)| step.1 != Step::Replacing;
    let expected: Vec<_> = [2, 1, 0].into_iter().flat_map(one).collect();
    assert!(world.trail.iter().filter(seen).eq(expected.iter().filter(seen)), "{:?}", world.trail);
}

#[test]
fn without_a_balancer_there_is_no_weight() {
    let mut world = World::bare(2);
    world.apply("b");
    world.run(300);
    assert_eq!(world.log, ["delete web-1", "delete web-0"]);
    assert_eq!((world.revisions().as_str(), world.status().phase), ("bb", Phase::Complete));
    world.assert_clean();
}

#[test]
fn a_new_pod_soaks_before_its_weight_and_the_next_waits_until_it_serves() {
    let mut world = World::new(3);
    world.apply("b");
    world.run_to(2, Step::Soaking);
    let ready = world.pods[&2].pod.ready_since.unwrap();
    assert_eq!(world.zeros(0), [2]);
    world.run(6);
    assert_eq!(world.status().claim(2).unwrap().step, Step::Soaking);
    world.run_to(2, Step::Returning);
    assert!(world.now.duration_since(ready).as_secs() >= 10);
    world.tke = false;
    world.run(60);
    assert_eq!(world.zeros(0), [0; 0]);
    assert_eq!(world.status().ordinals.len(), 1, "it has no weight yet: none is taken");
    world.tke = true;
    world.run_to(1, Step::WeightZero);
    assert_eq!(world.status().claim(2), None);
}

#[test]
fn without_proof_nothing_is_deleted() {
    let mut world = World::new(3);
    world.apply("b");
    world.tke = false;
    world.run(200);
    assert_eq!((world.log.as_slice(), world.zeros(0)), (&["zero [2]".to_owned()][..], vec![2]));
    assert_eq!(world.revisions(), "aaa");
}

#[test]
fn ordinals_start_anywhere_and_the_partition_is_counted_from_there() {
    let mut world = World::bare(0);
    (world.set().start, world.set().replicas) = (5, 4);
    world.add_service("front", None);
    world.settle();
    world.set().partition = 2;
    world.apply("b");
    world.run(400);
    // As Kubernetes has it: `ordinal < start + partition` keeps the old one.
    assert_eq!(world.revisions(), "aabb");
    assert_eq!(world.status().phase, Phase::Complete);
    assert_eq!((world.status().total, world.status().updated), (2, 2));
    assert!(world.status().message.contains("below 7"), "{}", world.status().message);
    world.set().partition = 0;
    world.run(400);
    assert_eq!((world.revisions().as_str(), world.status().phase), ("bbbb", Phase::Complete));
    world.assert_clean();
}

#[test]
fn two_may_be_missing_where_the_policy_says_so() {
    let mut world = World::new(4);
    world.policy.stateful_sets.upgrade.max_unavailable = 2;
    world.apply("b");
    world.run_to(2, Step::WeightZero);
    world.think();
    assert_eq!(world.zeros(0), [2, 3]);
    world.run(400);
    assert_eq!((world.revisions().as_str(), world.status().phase), ("bbbb", Phase::Complete));
    world.assert_clean();
}

#[test]
fn times_are_in_whole_seconds_and_events_come_once() {
    let mut world = World::new(3);
    world.now = world.now.checked_add(jiff::SignedDuration::from_millis(250)).unwrap();
    world.apply("b");
    world.run(400);
    let status = world.status();
    let times = [status.started_at, status.completed_at, status.last_progress_at];
    let times = times.into_iter().flatten().chain(status.history.iter().map(|entry| entry.at));
    let times = times.chain(status.conditions.iter().map(|one| one.last_transition_time));
    assert_eq!(times.clone().filter(|at| at.subsec_nanosecond() != 0).count(), 0);
    assert!(times.count() > 20);
    let reasons: Vec<&str> = world.events.iter().map(|event| event.reason.as_str()).collect();
    let expected = ["UpgradeStarted"].into_iter();
    let expected = expected
        .chain(["OrdinalTaken", "OrdinalDeleted", "OrdinalBack"].repeat(3))
        .chain(["UpgradeComplete"]);
    let mut expected: Vec<&str> = expected.collect();
    // One is back and the next is taken in one status.
    expected.swap(3, 4);
    expected.swap(6, 7);
    assert_eq!(reasons, expected);
}
