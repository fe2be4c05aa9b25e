//! One pod more meanwhile.

use lameduck_core::policy::Surge;
use lameduck_core::upgrade::object::{Phase, Step};

use crate::world::World;

fn surging(replicas: u32) -> World {
    let mut world = World::new(replicas);
    world.set().has_claims = false;
    world
}

#[test]
fn one_more_first_and_it_goes_at_the_end() {
    let mut world = surging(2);
    world.apply("b");
    world.run(400);
    assert_eq!(world.log[..2], ["scale 3", "zero [1]"]);
    assert_eq!(world.log.last().map(String::as_str), Some("scale 2"));
    assert_eq!((world.revisions().as_str(), world.status().phase), ("bb", Phase::Complete));
    assert_eq!((world.pods.len(), world.status().total), (2, 2));
    world.assert_clean();
}

#[test]
fn complete_is_said_when_the_one_more_is_gone() {
    let mut world = surging(2);
    world.apply("b");
    for _ in 0..300 {
        world.run(2);
        if world.status().phase == Phase::Complete {
            break;
        }
    }
    assert_eq!((world.pods.len(), world.status().phase), (2, Phase::Complete));
}

#[test]
fn a_single_replica_is_upgraded_behind_it() {
    let mut world = surging(1);
    world.budget = Some(0);
    world.apply("b");
    world.run(20);
    assert_eq!(world.log, ["scale 2"]);
    world.budget = Some(1);
    world.run(300);
    assert_eq!((world.revisions().as_str(), world.status().phase), ("b", Phase::Complete));
    assert_eq!(world.pods.len(), 1);
    world.assert_clean();
}

#[test]
fn somebody_else_who_scales_wins() {
    let mut world = surging(2);
    world.apply("b");
    world.run_to(1, Step::Soaking);
    world.set().replicas = 5;
    world.run(800);
    assert_eq!((world.revisions().as_str(), world.status().phase), ("bbbbb", Phase::Complete));
    let scales =
        world.log.iter().filter(|line| line.contains("scale") || line.contains("replicas"));
    assert!(scales.eq(["scale 3", "forget replicas"].iter()), "{:?}", world.log);
    let told = world.events.iter().filter(|event| event.reason.as_str() == "ReplicasChanged");
    assert_eq!(told.count(), 1);
    world.assert_clean();
    let at = world.status().history.iter().find(|entry| entry.step.is_none()).map(|entry| entry.at);
    assert!(at > world.status().started_at);
}

#[test]
fn a_one_more_that_never_gets_ready_takes_no_other_and_a_newer_template_does() {
    let mut world = surging(2);
    world.bad.insert("b");
    world.apply("b");
    world.run(800);
    assert_eq!((world.revisions().as_str(), world.status().phase), ("aa-", Phase::Stalled));
    assert_eq!(world.log, ["scale 3"]);
    world.apply("c");
    world.run(400);
    assert_eq!((world.revisions().as_str(), world.status().phase), ("cc", Phase::Complete));
    world.assert_clean();
}

#[test]
fn a_set_with_volumes_has_one_more_only_where_the_policy_says_so() {
    let mut world = World::new(2);
    world.policy.stateful_sets.upgrade.surge = Surge::One;
    world.apply("b");
    world.run(20);
    assert_eq!(world.log[0], "scale 3");
    let mut world = surging(2);
    world.policy.stateful_sets.upgrade.surge = Surge::None;
    world.apply("b");
    world.run(400);
    assert!(!world.log.iter().any(|line| line.contains("scale")));
    assert_eq!(world.status().phase, Phase::Complete);
}

#[test]
fn an_abort_takes_it_away() {
    let mut world = surging(2);
    world.apply("b");
    world.run_to(1, Step::Soaking);
    world.spec().abort_revision = Some("b".to_owned());
    world.run(100);
    assert_eq!((world.pods.len(), world.status().phase), (2, Phase::Aborted));
    world.assert_clean();
}

fn scale(world: &mut World, replicas: u32) {
    let set = world.set();
    set.replicas = replicas;
    set.generation = (set.generation.0 + 1, set.generation.1 + 1);
}

/// A manifest that is applied again has the author's replicas in it: that is no wish against the added pod.
#[test]
fn who_applies_a_cured_manifest_gets_the_one_more_again() {
    let mut world = surging(1);
    world.bad.insert("b");
    world.apply("b");
    world.run(800);
    assert_eq!((world.revisions().as_str(), world.status().phase), ("a-", Phase::Stalled));
    scale(&mut world, 1);
    world.apply("c");
    world.run(400);
    assert_eq!((world.revisions().as_str(), world.status().phase), ("c", Phase::Complete));
    world.assert_clean();
}

#[test]
fn who_sets_the_replicas_back_again_and_again_wins() {
    let mut world = surging(2);
    world.bad.insert("b");
    world.apply("b");
    for _ in 0..8 {
        world.run(60);
        if world.set().replicas == 3 {
            scale(&mut world, 2);
        }
    }
    let added = world.log.iter().filter(|line| *line == "scale 3").count();
    assert_eq!(added, 4, "{:?}", world.log);
    assert!(world.status().surge_given_up);
}

#[test]
fn one_that_cannot_start_goes_when_the_policy_or_the_template_says_so() {
    let mut world = surging(2);
    world.bad.insert("b");
    world.apply("b");
    world.run(800);
    assert_eq!(world.pods.len(), 3);
    world.policy.stateful_sets.upgrade.surge = Surge::None;
    world.run(60);
    assert_eq!(world.set().replicas, 2);

    let mut world = surging(2);
    world.bad.insert("b");
    world.apply("b");
    world.run(800);
    world.apply("a");
    world.run(400);
    assert_eq!((world.revisions().as_str(), world.status().phase), ("aa", Phase::Complete));
    assert!(!world.log.iter().any(|line| line.starts_with("delete")), "{:?}", world.log);
    world.assert_clean();
}
