//! Random walks: whatever happens, it comes to an end when nothing happens any more.

use lameduck_core::policy::{Surge, UpgradeMode};
use lameduck_core::upgrade::facts::NotOurs;
use lameduck_core::upgrade::object::Phase;
use proptest::prelude::*;

use crate::world::World;

#[derive(Clone, Debug)]
enum Event {
    Run(i64),
    Think,
    Pass,
    Apply(usize),
    Delete(u32),
    Crash(u32),
    Heal,
    Tke(bool),
    Pause(bool),
    Retry,
    Approve,
    Abort(bool),
    Scale(u32),
    Partition(u32),
    Budget(Option<u32>),
    Unknown(bool),
    Enrolled(bool),
    ForgetUpgrade,
    Bad(bool),
    Max(u32),
    Weights(bool),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (1..400i64).prop_map(Event::Run),
        3 => Just(Event::Think),
        6 => Just(Event::Pass),
        3 => (0..3usize).prop_map(Event::Apply),
        1 => (0..4u32).prop_map(Event::Delete),
        2 => (0..4u32).prop_map(Event::Crash),
        1 => Just(Event::Heal),
        2 => any::<bool>().prop_map(Event::Tke),
        1 => any::<bool>().prop_map(Event::Pause),
        1 => Just(Event::Retry),
        2 => Just(Event::Approve),
        1 => any::<bool>().prop_map(Event::Abort),
        1 => (0..5u32).prop_map(Event::Scale),
        1 => (0..4u32).prop_map(Event::Partition),
        1 => prop::option::of(0..3u32).prop_map(Event::Budget),
        1 => any::<bool>().prop_map(Event::Unknown),
        1 => any::<bool>().prop_map(Event::Enrolled),
        1 => Just(Event::ForgetUpgrade),
        1 => any::<bool>().prop_map(Event::Bad),
        1 => (1..4u32).prop_map(Event::Max),
        1 => any::<bool>().prop_map(Event::Weights),
    ]
}

fn happen(world: &mut World, event: &Event) {
    match event {
        Event::Run(seconds) => world.run(*seconds),
        Event::Think => world.think(),
        Event::Pass => world.pass(),
        Event::Apply(revision) => world.apply(["a", "b", "c"][*revision]),
        Event::Delete(ordinal) => {
            if world.pods.get(ordinal).is_some_and(|sim| sim.deleted.is_none()) {
                world.kubectl_delete(*ordinal);
            }
        }
        Event::Crash(ordinal) => {
            if world.pods.contains_key(ordinal) {
                let pod = &mut world.pod(*ordinal).pod;
                (pod.ready_since, pod.trouble) = (None, Some("CrashLoopBackOff".into()));
            }
        }
        Event::Heal => world.pods.values_mut().for_each(|sim| sim.pod.trouble = None),
        Event::Tke(on) => world.tke = *on,
        Event::Pause(on) => world.set().paused = *on,
        Event::Retry => {
            if let Some(upgrade) = &mut world.upgrade {
                upgrade.spec.retries += 1;
            }
        }
        Event::Approve => {
            if let Some(upgrade) = &mut world.upgrade {
                upgrade.spec.approved_batches += 1;
            }
        }
        Event::Abort(on) => {
            let revision = world.set().update_revision.to_string();
            if let Some(upgrade) = &mut world.upgrade {
                upgrade.spec.abort_revision = on.then_some(revision);
            }
        }
        Event::Scale(replicas) => world.set().replicas = *replicas,
        Event::Partition(partition) => world.set().partition = *partition,
        Event::Budget(allowed) => world.budget = *allowed,
        Event::Unknown(on) => world.unknown = on.then(|| "a read failed".into()),
        Event::Enrolled(on) => world.not_ours = (!on).then_some(NotOurs::NotEnrolled),
        Event::ForgetUpgrade => world.upgrade = None,
        Event::Bad(on) => {
            world.bad = if *on { ["b"].into() } else { [].into() };
        }
        Event::Max(max) => world.policy.stateful_sets.upgrade.max_unavailable = *max,
        Event::Weights(valid) => {
            let service = &mut world.services[0];
            service.weights = (!valid).then(|| "{not JSON".into());
        }
    }
}

/// Nothing is wrong any more.
fn calm(world: &mut World) {
    world.tke = true;
    world.bad.clear();
    (world.budget, world.unknown, world.not_ours) = (None, None, None);
    world.policy.stateful_sets.upgrade.mode = UpgradeMode::Automatic;
    world.pods.values_mut().for_each(|sim| sim.pod.trouble = None);
    world.services[0].weights = None;
    let set = world.set();
    (set.paused, set.partition) = (false, 0);
    if let Some(upgrade) = &mut world.upgrade {
        upgrade.spec.abort_revision = None;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_walk_ends(
        events in prop::collection::vec(event(), 1..40),
        replicas in 1..5u32,
        has_claims: bool,
        has_hold: bool,
        surge in prop_oneof![Just(Surge::None), Just(Surge::One), Just(Surge::Auto)],
        mode in prop_oneof![
            3 => Just(UpgradeMode::Automatic),
            1 => Just(UpgradeMode::PerBatch),
            1 => Just(UpgradeMode::Manual),
        ],
    ) {
        let mut world = World::bare(replicas);
        world.has_hold = has_hold;
        for ordinal in 0..replicas {
            world.kubectl_delete(ordinal);
        }
        world.add_service("front", None);
        world.settle();
        world.set().has_claims = has_claims;
        world.policy.stateful_sets.upgrade.surge = surge;
        world.policy.stateful_sets.upgrade.mode = mode;
        world.apply("b");
        for event in &events {
            happen(&mut world, event);
        }
        calm(&mut world);
        world.run(100);
        if let Some(upgrade) = &mut world.upgrade {
            upgrade.spec.retries += 1;
        }
        world.run(2500);
        let template = world.set().update_revision.clone();
        world.observe();
        world.think();
        let phase = world.upgrade.as_ref().map(|upgrade| upgrade.status.phase);
        // A single pod behind a CLB has nobody to stand in for it.
        let is_alone = world.upgrade.as_ref().is_some_and(|one| one.status.reason == "LastBackend");
        if !is_alone {
            prop_assert!(matches!(phase, None | Some(Phase::Complete)), "{:?} {:?}", world.upgrade, world.log);
            let all = world.pods.values().all(|sim| sim.pod.revision == template);
            prop_assert!(all, "{:?}", world.revisions());
        }
        world.assert_clean();
        let before = world.events.len();
        world.run(200);
        prop_assert_eq!(world.events.len(), before);
    }
}
