//! Pods without a hold: their connections are counted before they are deleted.

use lameduck_core::drain::EventReason;
use lameduck_core::policy::Until;
use lameduck_core::upgrade::census::Outcome;
use lameduck_core::upgrade::object::{Phase, Step};

use crate::world::World;

fn bare() -> World {
    let mut world = World::bare(3);
    world.has_hold = false;
    for ordinal in 0..3 {
        world.kubectl_delete(ordinal);
    }
    world.settle();
    world.add_service("front", None);
    world.settle();
    world.apply("b");
    world
}

#[test]
fn they_are_counted_until_they_end() {
    let mut world = bare();
    world.census = Outcome::Counting("3 connections".to_owned());
    world.run(700);
    assert_eq!(world.log, ["zero [2]", "count web-2"]);
    assert_eq!(world.status().claim(2).unwrap().step, Step::Counting);
    assert!(world.status().message.contains("are counted, until"), "{}", world.status().message);
    world.pod(2).pod.count = Some(Outcome::Closed("0 connections".to_owned()));
    world.census = Outcome::Closed("0 connections".to_owned());
    world.run(400);
    assert_eq!((world.revisions().as_str(), world.status().phase), ("bbb", Phase::Complete));
    assert_eq!(world.counted, ["web-2", "web-1", "web-0"], "each once");
    world.assert_clean();
}

#[test]
fn what_is_left_at_the_end_is_told() {
    let mut world = bare();
    world.census = Outcome::Left("2 connections after 900 s".to_owned());
    world.run(400);
    assert_eq!(world.status().phase, Phase::Complete);
    let told = world.events.iter().filter(|event| event.note.contains("2 connections after 900 s"));
    assert_eq!(told.count(), 3);
}

#[test]
fn what_cannot_be_counted_gets_a_while() {
    let mut world = bare();
    world.census = Outcome::Cannot("no ephemeral containers".to_owned());
    world.run_to(2, Step::Counting);
    let since = world.now;
    world.run_to(2, Step::Deleting);
    assert!(world.now.duration_since(since).as_secs() >= 30);
    world.run(600);
    assert_eq!(world.status().phase, Phase::Complete);
}

#[test]
fn nobody_counts_where_nobody_waits() {
    let mut world = bare();
    world.policy.hold.until = Until::TrafficOff;
    world.run(400);
    assert_eq!((world.status().phase, world.counted.len()), (Phase::Complete, 0));
}

/// A read that fails, or a new leader that has read nothing yet, makes no connection: the count is the same.
#[test]
fn a_read_that_fails_does_not_throw_the_count_away() {
    let mut world = bare();
    world.census = Outcome::Counting("3 connections".to_owned());
    world.run_to(2, Step::Counting);
    for _ in 0..5 {
        world.fails_to_read = true;
        world.run(20);
        assert_eq!(world.status().claim(2).unwrap().step, Step::Counting);
        world.fails_to_read = false;
        world.run(20);
    }
    assert_eq!(world.counted, ["web-2"], "once");
    assert_eq!(world.status().phase, Phase::Progressing);
}

#[test]
fn connections_that_are_left_are_a_warning() {
    let mut world = bare();
    world.census = Outcome::Left("2 connections after 900 s".to_owned());
    world.run(400);
    let reasons: Vec<_> = world.events.iter().map(|event| event.reason).collect();
    assert_eq!(reasons.iter().filter(|one| **one == EventReason::OrdinalDeletedBlind).count(), 3);
    assert!(!reasons.contains(&EventReason::OrdinalDeleted));
}
