//! Templates that change, and images that do not start.

use lameduck_core::upgrade::object::{Phase, Step};

use crate::world::World;

#[test]
fn back_before_it_is_deleted_the_pod_gets_its_weight_again() {
    let mut world = World::new(3);
    world.apply("b");
    world.tke = false;
    world.run_to(2, Step::WeightZero);
    world.think();
    assert_eq!(world.zeros(0), [2]);
    let uid = world.pods[&2].pod.uid.clone();
    world.apply("a");
    world.tke = true;
    world.run(60);
    assert_eq!(world.pods[&2].pod.uid, uid);
    assert_eq!(world.log, ["zero [2]", "zero []"]);
    assert_eq!((world.revisions().as_str(), world.status().phase), ("aaa", Phase::Complete));
    world.assert_clean();
}

#[test]
fn back_while_it_is_marked_the_mark_goes_before_the_weight_comes() {
    let mut world = World::new(3);
    world.apply("b");
    world.run_to(2, Step::Deleting);
    assert!(world.control(), "the mark");
    let pod = world.pods[&2].pod.clone();
    assert!(pod.marked);
    world.apply("a");
    world.run(60);
    assert_eq!(world.log, ["zero [2]", "unmark web-2", "zero []"]);
    assert_eq!(world.pods[&2].pod.uid, pod.uid);
    assert_ne!(world.pods[&2].pod.version, pod.version, "what was decided before meets this");
    assert_eq!(world.status().phase, Phase::Complete);
    world.assert_clean();
}

#[test]
fn back_half_way_only_what_was_replaced_is_replaced_again() {
    let mut world = World::new(3);
    world.apply("b");
    world.run_to(1, Step::WeightZero);
    assert_eq!(world.revisions(), "aab");
    let kept = (world.pods[&0].pod.uid.clone(), world.pods[&1].pod.uid.clone());
    world.apply("a");
    world.run(300);
    assert_eq!((world.revisions().as_str(), world.status().phase), ("aaa", Phase::Complete));
    assert_eq!((world.pods[&0].pod.uid.clone(), world.pods[&1].pod.uid.clone()), kept);
    world.assert_clean();
}

#[test]
fn a_third_template_replaces_what_is_out_first() {
    let mut world = World::new(3);
    world.apply("b");
    world.run_to(2, Step::Soaking);
    world.apply("c");
    world.run(400);
    assert_eq!((world.revisions().as_str(), world.status().phase), ("ccc", Phase::Complete));
    let deletes = world.log.iter().filter(|line| line.starts_with("delete"));
    let expected = ["delete web-2", "delete web-2", "delete web-1", "delete web-0"];
    assert!(deletes.eq(expected.iter()), "{:?}", world.log);
    world.assert_clean();
}

#[test]
fn a_template_that_changes_as_a_weight_comes_back_waits_until_it_is_there() {
    let mut world = World::new(3);
    world.apply("b");
    world.run_to(2, Step::Returning);
    assert_eq!(world.zeros(0), [2]);
    world.apply("c");
    world.run(2);
    // A write that gives the weight back may be on its way: the zero is not counted on.
    assert_eq!(world.log[2..4], ["zero []", "zero [2]"]);
    world.run(400);
    assert_eq!((world.revisions().as_str(), world.status().phase), ("ccc", Phase::Complete));
    world.assert_clean();
}

#[test]
fn a_bad_image_ends_with_the_first_pod_and_a_newer_one_goes_on() {
    let mut world = World::new(3);
    world.bad.insert("b");
    world.apply("b");
    world.run(550);
    assert_eq!((world.revisions().as_str(), world.status().phase), ("aa-", Phase::Progressing));
    world.run(200);
    let status = world.status();
    assert_eq!((status.phase, &*status.reason), (Phase::Stalled, "ProgressDeadlineExceeded"));
    assert!(status.message.contains("web-2 is not ready"), "{}", status.message);
    assert_eq!(world.zeros(0), [2]);
    world.run(2000);
    assert_eq!(world.revisions(), "aa-", "only the first");
    world.apply("c");
    world.run(400);
    assert_eq!((world.revisions().as_str(), world.status().phase), ("ccc", Phase::Complete));
    world.assert_clean();
}

#[test]
fn a_bad_image_is_rolled_back() {
    let mut world = World::new(3);
    world.bad.insert("b");
    world.apply("b");
    world.run(800);
    world.apply("a");
    world.run(100);
    assert_eq!((world.revisions().as_str(), world.status().phase), ("aaa", Phase::Complete));
    assert_eq!(world.log, ["zero [2]", "delete web-2", "delete web-2", "zero []"]);
    world.assert_clean();
}

#[test]
fn a_revision_that_its_controller_has_not_seen_moves_nothing() {
    let mut world = World::new(2);
    world.set().update_revision = "b".into();
    world.think();
    assert_eq!(world.upgrade, None);
    world.observe();
    world.think();
    assert_eq!(world.status().target_revision, "b");
    let (status, log) = (world.status().clone(), world.log.clone());
    world.set();
    world.think();
    assert_eq!((world.status(), &world.log), (&status, &log));
}

#[test]
fn a_partition_that_is_raised_keeps_what_is_not_deleted_yet() {
    let mut world = World::new(3);
    world.apply("b");
    world.tke = false;
    world.run_to(2, Step::WeightZero);
    world.think();
    world.set().partition = 3;
    world.tke = true;
    world.run(60);
    assert_eq!((world.revisions().as_str(), world.status().phase), ("aaa", Phase::Complete));
    assert_eq!(world.log, ["zero [2]", "zero []"]);
    world.assert_clean();
}

#[test]
fn scaled_down_half_way_the_rest_goes_on() {
    let mut world = World::new(4);
    world.apply("b");
    world.run_to(3, Step::WeightZero);
    world.set().replicas = 2;
    world.run(300);
    assert_eq!((world.revisions().as_str(), world.status().phase), ("bb", Phase::Complete));
    assert_eq!((world.status().total, world.pods.len()), (2, 2));
    world.assert_clean();
}

#[test]
fn a_pod_that_gets_ready_and_unready_again_and_again_stalls_it() {
    let mut world = World::new(3);
    world.apply("b");
    world.run_to(2, Step::Soaking);
    for _ in 0..100 {
        world.pod(2).pod.ready_since = None;
        world.think();
        // The world makes it ready again.
        world.run(8);
    }
    assert_eq!((world.revisions().as_str(), world.status().phase), ("aab", Phase::Stalled));
    let stalls = world.events.iter().filter(|event| event.reason.as_str() == "UpgradeStalled");
    assert_eq!(stalls.count(), 1);
}

#[test]
fn a_soak_that_is_longer_than_the_deadline_is_waited_for() {
    let mut world = World::new(2);
    world.policy.stateful_sets.upgrade.soak_seconds = 1000;
    world.apply("b");
    world.run(2500);
    assert_eq!((world.revisions().as_str(), world.status().phase), ("bb", Phase::Complete));
    let stalls = world.events.iter().filter(|event| event.reason.as_str() == "UpgradeStalled");
    assert_eq!(stalls.count(), 0);
}
