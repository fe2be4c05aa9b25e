//! The scenarios behind CLBs; see [`crate::scenarios`]. [`super::upgrade`] plays the plain upgrade.

use crate::played::scenario_tests;

scenario_tests! {
    clb_lag: Lag,
    clb_two: TwoClbs,
    clb_faults: ClbFaults,
    clb_layer_7: L7,
    clb_upgrade_surge: UpgradeSurge,
    clb_upgrade_bad_image: UpgradeBadImage,
    clb_upgrade_old_pods: UpgradeOldPods,
}
