//! Persons and deadlines that stop an upgrade, and let it go on.

use lameduck_core::policy::UpgradeMode;
use lameduck_core::upgrade::object::{Phase, Step};

use crate::world::World;

fn zeroing() -> World {
    let mut world = World::new(3);
    world.apply("b");
    world.tke = false;
    world.run_to(2, Step::WeightZero);
    world.think();
    assert_eq!(world.zeros(0), [2]);
    world
}

#[test]
fn a_pause_gives_back_what_was_not_deleted() {
    for by_spec in [true, false] {
        let mut world = zeroing();
        let pause = |world: &mut World, on: bool| match by_spec {
            true => world.spec().paused = on,
            false => world.set().paused = on,
        };
        pause(&mut world, true);
        world.tke = true;
        world.run(1000);
        assert_eq!((world.zeros(0), world.status().ordinals.as_slice()), (vec![], &[][..]));
        assert_eq!((world.status().phase, &*world.status().reason), (Phase::Paused, "Paused"));
        assert_eq!(world.log, ["zero [2]", "zero []"]);
        pause(&mut world, false);
        world.run(400);
        assert_eq!((world.revisions().as_str(), world.status().phase), ("bbb", Phase::Complete));
        world.assert_clean();
        let stalls = world.events.iter().filter(|event| event.reason.as_str() == "UpgradeStalled");
        assert_eq!(stalls.count(), 0);
    }
}

#[test]
fn what_was_deleted_comes_back_while_it_is_paused() {
    let mut world = World::new(3);
    world.apply("b");
    world.run_to(2, Step::Draining);
    world.spec().paused = true;
    world.run(200);
    assert_eq!((world.revisions().as_str(), world.status().phase), ("aab", Phase::Paused));
    assert_eq!(world.zeros(0), [0; 0]);
    assert_eq!(world.status().ordinals, []);
}

#[test]
fn a_clb_that_never_says_0_stalls_it_and_a_retry_goes_on() {
    let mut world = zeroing();
    world.run(700);
    let status = world.status();
    assert_eq!((status.phase, &*status.reason), (Phase::Stalled, "ProgressDeadlineExceeded"));
    assert!(status.message.contains("web-2 has weight"), "{}", status.message);
    assert_eq!((world.zeros(0), status.ordinals.as_slice()), (vec![], &[][..]));
    world.tke = true;
    world.run(1000);
    assert_eq!((world.revisions().as_str(), world.status().phase), ("aaa", Phase::Stalled));
    let before = world.events.len();
    world.run(100);
    assert_eq!(world.events.len(), before, "said once");
    world.spec().retries = 1;
    world.run(400);
    assert_eq!((world.revisions().as_str(), world.status().phase), ("bbb", Phase::Complete));
    world.assert_clean();
}

#[test]
fn each_ordinal_that_is_given_back_is_told() {
    let mut world = World::new(4);
    world.policy.stateful_sets.upgrade.max_unavailable = 2;
    world.apply("b");
    world.tke = false;
    world.run(700);
    assert_eq!(world.status().phase, Phase::Stalled);
    let told = world.events.iter().filter(|event| event.reason.as_str() == "OrdinalWithdrawn");
    let told: Vec<&str> = told.map(|event| event.note.as_str()).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("web-3") && told[1].contains("web-2"), "{told:?}");
}

#[test]
fn an_abort_puts_weights_back_and_counts_for_its_revision_only() {
    let mut world = zeroing();
    world.spec().abort_revision = Some("b".to_owned());
    world.tke = true;
    world.run(1000);
    assert_eq!((world.status().phase, &*world.status().reason), (Phase::Aborted, "Aborted"));
    assert_eq!(world.log, ["zero [2]", "zero []"]);
    world.assert_clean();
    world.apply("c");
    world.run(400);
    assert_eq!((world.revisions().as_str(), world.status().phase), ("ccc", Phase::Complete));
    world.assert_clean();
}

#[test]
fn an_abort_that_is_taken_back_begins_with_a_new_deadline() {
    let mut world = zeroing();
    world.spec().abort_revision = Some("b".to_owned());
    world.tke = true;
    world.run(1000);
    world.spec().abort_revision = None;
    world.budget = Some(0);
    world.run(20);
    assert_eq!(
        (world.status().phase, &*world.status().reason),
        (Phase::Progressing, "BudgetExhausted")
    );
}

#[test]
fn manual_starts_when_a_person_says_so() {
    let mut world = World::new(2);
    world.policy.stateful_sets.upgrade.mode = UpgradeMode::Manual;
    world.apply("b");
    world.run(1000);
    assert_eq!(
        (world.revisions().as_str(), world.status().phase),
        ("aa", Phase::WaitingForApproval)
    );
    world.spec().approved_batches = 1;
    world.run(300);
    assert_eq!((world.revisions().as_str(), world.status().phase), ("bb", Phase::Complete));
    world.apply("c");
    world.run(1000);
    assert_eq!(world.status().phase, Phase::WaitingForApproval, "that was for b");
    assert!(world.status().message.contains("spec.approvedBatches is 2"));
    world.spec().approved_batches = 2;
    world.run(300);
    assert_eq!((world.revisions().as_str(), world.status().phase), ("cc", Phase::Complete));
}

#[test]
fn per_batch_asks_after_each_batch() {
    let mut world = World::new(4);
    world.policy.stateful_sets.upgrade.mode = UpgradeMode::PerBatch;
    world.policy.stateful_sets.upgrade.max_unavailable = 2;
    world.apply("b");
    world.run(1000);
    assert_eq!(
        (world.revisions().as_str(), world.status().phase),
        ("aabb", Phase::WaitingForApproval)
    );
    world.spec().approved_batches = 1;
    world.run(300);
    assert_eq!((world.revisions().as_str(), world.status().phase), ("bbbb", Phase::Complete));
    world.assert_clean();
    world.apply("c");
    world.run(300);
    assert_eq!(
        (world.revisions().as_str(), world.status().phase),
        ("bbcc", Phase::WaitingForApproval)
    );
    world.apply("b");
    world.run(1000);
    assert_eq!((world.revisions().as_str(), world.status().phase), ("bbbb", Phase::Complete));
    let approvals = world.events.iter().filter(|event| event.reason.as_str() == "ApprovalNeeded");
    assert_eq!(approvals.count(), 2);
}
