//! Upgrades that take another course on the way. Their protected sides alone are played, two at a time: what a
//! RollingUpdate loses is shown by the others in [`super::scenarios`], and by `cargo lab demo --tke`.

use anyhow::Result;
use lameduck_lab::scenario::Scenario;
use serde_json::json;

use crate::played::{Wanted, name_of, protected_runs};

/// What the tests of this module want played.
pub(crate) fn wanted() -> Vec<Wanted> {
    vec![
        Wanted::protected(name_of!(clb_upgrade_rollback), Scenario::UpgradeRollback, json!({})),
        Wanted::protected(name_of!(clb_upgrade_paused), Scenario::UpgradePaused, json!({})),
    ]
}

fn loses_nothing(test: &'static str) -> Result<()> {
    let [run] = protected_runs(test)?;
    assert_eq!((run.failed, run.long_connections_cut), (0, 0), "{run:#?}");
    Ok(())
}

#[test]
fn clb_upgrade_rollback() -> Result<()> {
    loses_nothing(name_of!(clb_upgrade_rollback))
}

#[test]
fn clb_upgrade_paused() -> Result<()> {
    loses_nothing(name_of!(clb_upgrade_paused))
}
