//! Objects that go away, and hands that delete.

use lameduck_core::upgrade::facts::NotOurs;
use lameduck_core::upgrade::object::{Phase, Step};

use crate::world::World;

fn under_way() -> World {
    let mut world = World::new(3);
    world.set().has_claims = false;
    world.apply("b");
    world.run_to(2, Step::Soaking);
    assert_eq!((world.zeros(0), world.set().replicas), (vec![2], 4));
    world.observe();
    world
}

#[test]
fn not_enrolled_any_more_everything_is_put_back() {
    for why in [NotOurs::NotEnrolled, NotOurs::AuthorsStrategy] {
        let mut world = under_way();
        world.not_ours = Some(why);
        world.run(100);
        assert_eq!(
            (world.status().phase, &*world.status().reason),
            (Phase::Aborted, "NotEnrolled")
        );
        assert_eq!((world.zeros(0), world.pods.len()), (vec![], 3));
        world.assert_clean();
        world.not_ours = None;
        world.run(1000);
        assert_eq!((world.revisions().as_str(), world.status().phase), ("bbb", Phase::Complete));
        world.assert_clean();
    }
}

#[test]
fn not_enrolled_any_more_a_mark_goes_before_the_weight_comes() {
    let mut world = World::new(3);
    world.apply("b");
    world.run_to(2, Step::Deleting);
    world.control();
    assert!(world.pods[&2].pod.marked);
    world.not_ours = Some(NotOurs::NotEnrolled);
    world.run(20);
    assert_eq!(world.log, ["zero [2]", "unmark web-2", "zero []"]);
    world.assert_clean();
}

#[test]
fn the_set_is_deleted() {
    let mut world = under_way();
    (world.set, world.not_ours) = (None, Some(NotOurs::Gone));
    world.run(20);
    assert_eq!(world.zeros(0), [0; 0]);
    assert_eq!(world.status().phase, Phase::Aborted);
    world.assert_clean();
}

#[test]
fn the_object_is_deleted() {
    let mut world = under_way();
    world.upgrade = None;
    world.think();
    assert_eq!(world.log[world.log.len() - 2..], ["zero []", "scale 3"]);
    world.run(400);
    assert_eq!((world.revisions().as_str(), world.status().phase), ("bbb", Phase::Complete));
    world.assert_clean();
}

#[test]
fn the_object_is_deleted_while_a_pod_is_marked() {
    let mut world = World::new(3);
    world.apply("b");
    world.run_to(2, Step::Deleting);
    world.control();
    world.upgrade = None;
    world.run(400);
    assert_eq!(world.log[1..3], ["unmark web-2", "zero []"]);
    assert_eq!((world.revisions().as_str(), world.status().phase), ("bbb", Phase::Complete));
    world.assert_clean();
}

#[test]
fn pods_are_deleted_by_hand() {
    let mut world = World::new(3);
    world.apply("b");
    world.tke = false;
    world.run_to(2, Step::WeightZero);
    world.think();
    world.kubectl_delete(2);
    world.kubectl_delete(0);
    world.tke = true;
    world.run(300);
    assert_eq!((world.revisions().as_str(), world.status().phase), ("bbb", Phase::Complete));
    let deletes = world.log.iter().filter(|line| line.starts_with("delete"));
    assert!(deletes.eq(["delete web-1"].iter()), "{:?}", world.log);
    world.assert_clean();
}
