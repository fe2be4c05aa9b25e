//! What the load balancer's own health check says of pods.

use lameduck_core::upgrade::object::{Phase, Step};

use crate::world::World;

#[test]
fn a_new_pod_that_the_clb_calls_dead_stops_it_at_the_first_ordinal() {
    let mut world = World::new(3);
    world.dead.insert("b");
    world.apply("b");
    world.run(700);
    assert_eq!((world.revisions().as_str(), world.status().phase), ("aab", Phase::Stalled));
    assert_eq!(world.status().claim(2).map(|claim| claim.step), Some(Step::Returning));
    assert!(world.status().message.contains("web-2 is not healthy"), "{}", world.status().message);
    world.dead.clear();
    world.run(400);
    assert_eq!((world.revisions().as_str(), world.status().phase), ("bbb", Phase::Complete));
    world.assert_clean();
}

/// A CLB that calls all of them dead sends to all of them, and a template may be what cures that.
#[test]
fn a_check_that_fails_everywhere_stops_nothing() {
    let mut world = World::new(3);
    world.dead.extend(["a", "b"]);
    world.apply("b");
    world.run(400);
    assert_eq!((world.revisions().as_str(), world.status().phase), ("bbb", Phase::Complete));
    world.assert_clean();
}
