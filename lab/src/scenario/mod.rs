//! Scenarios: a way in which pods end, played twice at the same time on the same work, without and
//! with Lameduck, and what each side lost.
//!
//! ```text
//! stage   the cluster, its load balancer, Lameduck installed
//! side    a namespace with an ordinary workload, its port of the load balancer, its load
//! play    the load, the action, and the wait until all drains are over
//! waves   many plays, beside each other and one after the other
//! action  what ends the pods: a delete, a rollout, a drain
//! upgrade what ends a StatefulSet's pods one by one: a new template
//! report  what was lost, and whether the scenario proves anything
//! ```
//! A side's load starts before the action and lasts until every drain is over and the load balancer
//! has heard of it. Both sides run just as long.

mod action;
mod demo;
mod front;
mod install;
mod look;
mod play;
mod pods;
mod report;
mod settled;
mod side;
mod stage;
mod table;
mod upgrade;
mod waves;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use demo::{Arguments as DemoArguments, demo};
pub use front::{Clb, SECRET};
pub use install::{Installed, Provider, install};
pub use report::{Drain, PodReport, Report, Run, Verdict};
pub use stage::Stage;
pub use waves::{Part, play_all};

pub(crate) use front::{Carrier, Front};
pub(crate) use side::{Kind, Plan, Side};

/// A way in which pods end.
#[derive(
    Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Scenario {
    /// A pod of a StatefulSet is deleted
    Delete,
    /// A Deployment gets a new template
    Rollout,
    /// A Deployment is scaled from four pods to two
    ScaleIn,
    /// A node is drained
    Drain,
    /// A pod that is ending already is force-deleted
    Force,
    /// A pod with long connections is deleted
    Long,
    /// A pod is deleted while no controller of Lameduck runs
    ControllerDown,
    /// A Deployment rolls whose pods call themselves ready before they listen
    SlowStart,
    /// A Deployment rolls behind a CLB that TKE brings up to date 8 s late
    Lag,
    /// A pod is deleted behind two CLBs, one of them 8 s late
    TwoClbs,
    /// A Deployment rolls behind a CLB whose reads fail in every way, one after the other
    ClbFaults,
    /// A Deployment rolls behind a CLB's HTTP listener with rules
    L7,
    /// A StatefulSet gets a new template
    Upgrade,
    /// The same with a pod more, so that none is ever missing
    UpgradeSurge,
    /// A StatefulSet gets a template that cannot start, and a good one after it
    UpgradeBadImage,
    /// A StatefulSet gets a new template, and half way the old one again
    UpgradeRollback,
    /// A StatefulSet whose pods are older than Lameduck gets a new template
    UpgradeOldPods,
    /// A StatefulSet gets a new template, and half way a person stops it for a while
    UpgradePaused,
}

const SERVICE: &str = include_str!("../../../manifests/examples/tke-service.yaml");
/// What is upgraded: a StatefulSet behind a CLB.
pub(crate) const UPGRADED: &[&str] =
    &[include_str!("../../../manifests/examples/tke-statefulset.yaml"), SERVICE];

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::Delete,
        Self::Rollout,
        Self::ScaleIn,
        Self::Drain,
        Self::Force,
        Self::Long,
        Self::ControllerDown,
        Self::SlowStart,
        Self::Lag,
        Self::TwoClbs,
        Self::ClbFaults,
        Self::L7,
        Self::Upgrade,
        Self::UpgradeSurge,
        Self::UpgradeBadImage,
        Self::UpgradeRollback,
        Self::UpgradeOldPods,
        Self::UpgradePaused,
    ];

    /// The name on the command line and in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::Rollout => "rollout",
            Self::ScaleIn => "scale-in",
            Self::Drain => "drain",
            Self::Force => "force",
            Self::Long => "long",
            Self::ControllerDown => "controller-down",
            Self::SlowStart => "slow-start",
            Self::Lag => "lag",
            Self::TwoClbs => "two-clbs",
            Self::ClbFaults => "clb-faults",
            Self::L7 => "l7",
            Self::Upgrade => "upgrade",
            Self::UpgradeSurge => "upgrade-surge",
            Self::UpgradeBadImage => "upgrade-bad-image",
            Self::UpgradeRollback => "upgrade-rollback",
            Self::UpgradeOldPods => "upgrade-old-pods",
            Self::UpgradePaused => "upgrade-paused",
        }
    }

    /// What a person does in it.
    #[must_use]
    pub fn action(self) -> &'static str {
        match self {
            Self::Delete => "kubectl delete pod web-1",
            Self::Rollout => "kubectl rollout restart deployment web",
            Self::ScaleIn => "kubectl scale deployment web --replicas=2",
            Self::Drain => "kubectl drain node-b",
            Self::Force => "kubectl delete pod web-1, 2 s later --force --grace-period=0",
            Self::Long => "kubectl delete pod, with connections that live 20 s",
            Self::ControllerDown => "kubectl delete pod web-1 while Lameduck's controller is away",
            Self::SlowStart => {
                "kubectl rollout restart, no readiness probe, a server that starts in 5 s"
            }
            Self::Lag => "kubectl rollout restart deployment web, behind a CLB 8 s late",
            Self::TwoClbs => "kubectl delete pod, behind two CLBs, one of them 8 s late",
            Self::ClbFaults => {
                "kubectl rollout restart deployment web, behind a CLB that can hardly be read"
            }
            Self::L7 => "kubectl rollout restart deployment web, behind a CLB's HTTP listener",
            Self::Upgrade => "kubectl rollout restart statefulset web",
            Self::UpgradeSurge => {
                "kubectl rollout restart statefulset web, with a fourth pod meanwhile"
            }
            Self::UpgradeBadImage => {
                "kubectl set image statefulset web to one that is not there, and to a good one after it"
            }
            Self::UpgradeRollback => {
                "kubectl rollout restart statefulset web, and half way kubectl rollout undo"
            }
            Self::UpgradeOldPods => {
                "kubectl rollout restart statefulset web, whose pods were there before Lameduck"
            }
            Self::UpgradePaused => {
                "kubectl rollout restart statefulset web, and half way lameduck.dev/paused for 10 s"
            }
        }
    }

    fn kind(self) -> Kind {
        match self {
            Self::Delete
            | Self::Force
            | Self::ControllerDown
            | Self::Upgrade
            | Self::UpgradeSurge
            | Self::UpgradeBadImage
            | Self::UpgradeRollback
            | Self::UpgradeOldPods
            | Self::UpgradePaused => Kind::StatefulSet,
            Self::Rollout
            | Self::ScaleIn
            | Self::Drain
            | Self::Long
            | Self::SlowStart
            | Self::Lag
            | Self::TwoClbs
            | Self::ClbFaults
            | Self::L7 => Kind::Deployment,
        }
    }

    fn manifests(self) -> &'static [&'static str] {
        const DEPLOYMENT: &str = include_str!("../../../manifests/examples/tke-deployment.yaml");
        const INTERNAL: &str =
            include_str!("../../../manifests/examples/tke-internal-service.yaml");
        const INGRESS: &str = include_str!("../../../manifests/examples/tke-ingress.yaml");
        match self {
            Self::SlowStart => &[include_str!("../../../manifests/examples/slow-start.yaml")],
            Self::Lag | Self::ClbFaults => &[DEPLOYMENT, SERVICE],
            Self::TwoClbs => &[DEPLOYMENT, SERVICE, INTERNAL],
            Self::L7 => &[DEPLOYMENT, INGRESS],
            _ if self.is_upgrade() => UPGRADED,
            _ => match self.kind() {
                Kind::StatefulSet => {
                    &[include_str!("../../../manifests/examples/statefulset.yaml")]
                }
                Kind::Deployment => &[include_str!("../../../manifests/examples/deployment.yaml")],
            },
        }
    }

    fn front(self) -> Front {
        const fn carrier(object: &'static str, lag_seconds: u64) -> Carrier {
            Carrier { object, lag: Duration::from_secs(lag_seconds) }
        }
        const LATE: &[Carrier] = &[carrier("service/web", 8)];
        const TWO: &[Carrier] = &[carrier("service/web", 1), carrier("service/web-internal", 8)];
        const USUAL: &[Carrier] = &[carrier("service/web", 4)];
        // Each pod waits for it three times; a longer one is for `lag` to show.
        const PROMPT: &[Carrier] = &[carrier("service/web", 1)];
        const RULES: &[Carrier] = &[carrier("ingress/web", 4)];
        match self {
            Self::Lag => Front::Clb(LATE),
            Self::TwoClbs => Front::Clb(TWO),
            Self::ClbFaults => Front::Clb(USUAL),
            Self::L7 => Front::Clb(RULES),
            _ if self.is_upgrade() => Front::Clb(PROMPT),
            _ => Front::Guessed,
        }
    }

    /// Whether it is about a StatefulSet's new template.
    fn is_upgrade(self) -> bool {
        upgrade::policy(self).is_some()
    }

    /// How many milliseconds a long connection lives in it. Each pod of an upgrade is waited for that long:
    /// one of the upgrades shows that at full length, and the others are about something else.
    fn long_millis(self) -> u64 {
        if self.is_upgrade() && self != Self::Upgrade { 10_000 } else { 20_000 }
    }

    /// How long its drains may take; see [`Overrides::drain_limit`].
    fn drain_limit(self) -> Duration {
        if self.is_upgrade() { upgrade::LIMIT } else { Duration::from_secs(150) }
    }

    /// Who has to say in it that traffic is off: what Lameduck is installed with.
    #[must_use]
    pub fn provider(self) -> Provider {
        match self.front() {
            Front::Guessed => Provider::EndpointSlice,
            Front::Clb(_) => Provider::TencentClb,
        }
    }

    /// Whether it touches more than its own two namespaces, so that no other may run beside it.
    #[must_use]
    pub fn runs_alone(self) -> bool {
        matches!(self, Self::Drain | Self::ControllerDown | Self::ClbFaults)
    }
}

/// Which sides of a scenario are played.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
pub enum Sides {
    /// Both, as it should be.
    #[default]
    Both,
    /// The unprotected one alone.
    Plain,
    /// The protected one alone.
    Protected,
}

/// What a caller may change in a scenario, to take a safeguard away or to look at one side.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// A JSON merge patch onto the `spec` of the protected side's TerminationPolicy.
    pub policy_patch: Option<Value>,
    /// YAML that is applied to the protected side's namespace before its workload.
    pub extra_objects: Vec<String>,
    /// Which sides are played.
    pub sides: Sides,
    /// How long the load lasts at most after the action began; 150 s if none is given, 420 s in an upgrade.
    /// A side whose drains are not over by then fails the scenario.
    pub drain_limit: Option<Duration>,
}
