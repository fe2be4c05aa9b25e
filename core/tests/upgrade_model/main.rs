//! The real planner in every order of events: two controllers that both believe to lead, each of which may be
//! slow or die between any two lines, a CLB that lags, and faults.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it cannot go on")]

mod ends;
mod model;
mod planner;
mod state;
mod steps;

use std::time::Instant;

use model::{Config, OUT, SETTLES, Sabotage, UNPROVEN, Upgrade};
use state::Faults;
use stateright::{Checker, HasDiscoveries, Model};

fn check(name: &str, config: Config, at_least: usize) {
    let start = Instant::now();
    let checker = Upgrade::new(config).checker().threads(2).spawn_bfs().join();
    let states = checker.unique_state_count();
    println!("{name}: {states} states, depth {}, {:.1?}", checker.max_depth(), start.elapsed());
    if let Some((property, path)) = checker.discoveries().into_iter().next() {
        for (state, action) in path.into_vec() {
            println!("{state}\n  -> {action:?}");
        }
        panic!("{name}: {property}");
    }
    assert!(states >= at_least, "{states}");
}

const NONE: Faults = Faults { crashes: 0, deletions: 0, templates: 0, lates: 0, pauses: 0 };

#[test]
fn nothing_goes_wrong() {
    check("clb, 1", Config::new(1, true, NONE), 500);
    check("bare, 1", Config::new(1, false, NONE), 200);
    check("clb, 2", Config::new(2, true, NONE), 30_000);
    check("bare, 2", Config::new(2, false, NONE), 7_000);
}

#[test]
fn one_of_each() {
    for (name, faults) in [
        ("crash", Faults { crashes: 1, ..NONE }),
        ("deletion", Faults { deletions: 1, ..NONE }),
        ("template", Faults { templates: 1, ..NONE }),
        ("late", Faults { lates: 1, ..NONE }),
        ("pause", Faults { pauses: 2, ..NONE }),
    ] {
        check(&format!("{name}, clb, 1"), Config::new(1, true, faults), 3_000);
        check(&format!("{name}, bare, 1"), Config::new(1, false, faults), 1_000);
        check(&format!("{name}, bare, 2"), Config::new(2, false, faults), 10_000);
    }
}

#[test]
fn two_may_be_out_and_one_crashes() {
    let faults = Faults { crashes: 1, ..NONE };
    check("crash, clb, 2", Config::new(2, true, faults), 500_000);
}

#[test]
fn two_may_be_out_and_the_deadline_passes() {
    let faults = Faults { lates: 1, ..NONE };
    check("late, clb, 2", Config::new(2, true, faults), 200_000);
}

#[test]
fn a_crash_and_another_template() {
    let faults = Faults { crashes: 1, templates: 1, ..NONE };
    check("crash, template, clb, 1", Config::new(1, true, faults), 200_000);
}

#[test]
fn there_and_back_again() {
    let faults = Faults { templates: 2, ..NONE };
    check("2 templates, clb, 1", Config::new(1, true, faults), 200_000);
}

#[test]
fn a_bad_image_another_template_and_the_deadline() {
    let faults = Faults { templates: 2, lates: 1, ..NONE };
    let config = Config { bad: Some(1), ..Config::new(1, true, faults) };
    check("bad image, 2 templates, late, clb, 1", config, 100_000);
}

#[test]
fn a_pause_and_another_template() {
    let faults = Faults { templates: 1, pauses: 2, ..NONE };
    check("2 pauses, template, clb, 1", Config::new(1, true, faults), 50_000);
}

#[test]
fn reads_that_take_their_time() {
    let torn = |faults| Config { torn: true, ..Config::new(1, true, faults) };
    check("torn, clb, 1", torn(NONE), 2_000);
    check("torn, crash, clb, 1", torn(Faults { crashes: 1, ..NONE }), 100_000);
    check("torn, template, clb, 1", torn(Faults { templates: 1, ..NONE }), 50_000);
}

/// Without a safeguard the checker finds how it is missed.
fn misses(sabotage: Sabotage, faults: Faults, property: &'static str) {
    let torn = matches!(sabotage, Sabotage::UpgradeFirst | Sabotage::UpgradeLast);
    let config = Config { sabotage, torn, ..Config::new(1, true, faults) };
    let found = HasDiscoveries::AnyOf([property].into());
    let checker = Upgrade::new(config).checker().threads(2).finish_when(found).spawn_bfs().join();
    let path = checker.discovery(property);
    let steps = path.map(|path| path.into_actions().len());
    println!("without {sabotage:?}: {} states, {steps:?} steps", checker.unique_state_count());
    assert!(steps.is_some(), "{sabotage:?}: not found; others: {:?}", checker.discoveries().keys());
}

const LATE_AND_TEMPLATE: Faults = Faults { lates: 1, templates: 1, ..NONE };

#[test]
fn without_the_proof() {
    misses(Sabotage::NoProof, NONE, UNPROVEN);
}

#[test]
fn with_a_proof_from_before_the_annotation() {
    misses(Sabotage::OldProof, LATE_AND_TEMPLATE, UNPROVEN);
}

#[test]
fn without_the_preconditions_of_a_deletion() {
    misses(Sabotage::BlindDelete, NONE, UNPROVEN);
}

#[test]
fn without_the_mark() {
    misses(Sabotage::NoMark, LATE_AND_TEMPLATE, UNPROVEN);
}

#[test]
fn without_the_version_of_the_service() {
    misses(Sabotage::BlindWeights, LATE_AND_TEMPLATE, UNPROVEN);
}

#[test]
fn without_the_version_of_the_upgrade() {
    misses(Sabotage::BlindStatus, LATE_AND_TEMPLATE, OUT);
}

#[test]
fn without_the_status_first() {
    misses(Sabotage::ActFirst, NONE, SETTLES);
}

#[test]
fn with_the_upgrade_read_first_only() {
    misses(Sabotage::UpgradeFirst, NONE, UNPROVEN);
}

#[test]
fn with_the_upgrade_read_last_only() {
    misses(Sabotage::UpgradeLast, Faults { templates: 1, ..NONE }, UNPROVEN);
}
