//! Every scenario, on the cluster and under load: something is lost without Lameduck, and nothing with it.

use anyhow::Result;
use lameduck_lab::scenario::{Overrides, Scenario, Stage, Verdict, run};

use crate::bench::Bench;

async fn passes(scenario: Scenario) -> Result<()> {
    let bench = Bench::take_with(scenario.provider()).await?;
    let stage = Stage::open(&bench.cluster).await?;
    let report = run(&stage, scenario, &Overrides::default(), &bench.progress).await?;
    stage.clean_up(&bench.progress).await?;
    assert_eq!(report.verdict, Verdict::Pass, "{}: {:#?}", report.why, report.runs);
    Ok(())
}

macro_rules! scenarios {
    ($($name:ident: $scenario:ident,)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() -> Result<()> {
            passes(Scenario::$scenario).await
        })*

        #[test]
        fn none_is_forgotten() {
            assert_eq!([$(Scenario::$scenario),*].len(), Scenario::ALL.len());
        }
    };
}

scenarios! {
    delete: Delete,
    rollout: Rollout,
    scale_in: ScaleIn,
    drain: Drain,
    force_while_held: Force,
    long_connections: Long,
    controller_down: ControllerDown,
    slow_start: SlowStart,
    clb_lag: Lag,
    clb_two: TwoClbs,
    clb_faults: ClbFaults,
    clb_layer_7: L7,
    // Named after the others behind a CLB, so that they run with them: another provider is another rollout of
    // Lameduck.
    clb_upgrade: Upgrade,
    clb_upgrade_surge: UpgradeSurge,
    clb_upgrade_bad_image: UpgradeBadImage,
    clb_upgrade_rollback: UpgradeRollback,
    clb_upgrade_old_pods: UpgradeOldPods,
    clb_upgrade_paused: UpgradePaused,
}
