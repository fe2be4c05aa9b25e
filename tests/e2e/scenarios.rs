//! Every scenario, on the cluster and under load: something is lost without Lameduck, and nothing with it.
//! Those behind CLBs are in [`crate::tke::scenarios`].

use lameduck_lab::scenario::{Provider, Scenario};

use crate::played::{Wanted, scenario_tests};
use crate::tke;

scenario_tests! {
    delete: Delete,
    rollout: Rollout,
    scale_in: ScaleIn,
    drain: Drain,
    force_while_held: Force,
    long_connections: Long,
    controller_down: ControllerDown,
    slow_start: SlowStart,
}

#[test]
fn none_is_forgotten_and_each_stands_with_its_provider() {
    let of = |wanted: Vec<Wanted>, provider| {
        let all: Vec<Scenario> = wanted.into_iter().map(|one| one.part.scenario).collect();
        assert!(all.iter().all(|one| one.provider() == provider), "{all:?}");
        all
    };
    let mut all = of(wanted(), Provider::EndpointSlice);
    all.extend(of(tke::scenarios::wanted(), Provider::TencentClb));
    all.extend(of(tke::courses::wanted(), Provider::TencentClb));
    // Played while leaders die, in `tke::upgrade`.
    all.push(Scenario::Upgrade);
    all.sort();
    assert_eq!(all, Scenario::ALL);
}
