//! `bench upgrade`: how long a StatefulSet's upgrade takes per pod, in three ways on the same work, one after
//! the other:
//!
//! * `RollingUpdate`: Kubernetes alone, which waits for no connection.
//! * The guide: what Tencent's guide to lossless upgrades has a person do, as a script (`guide`),
//!   without the pod that the guide adds for head room: no way has one here.
//! * Lameduck.
//!
//! All are behind a CLB that has a weight one second after it was asked for. A pod's own start, the soak and
//! the longest connection are given, and no way can do without them; what is left is overhead.

mod guide;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::future::join_all;
use serde_json::json;
use tokio::time::{Instant as Deadline, sleep};

use super::Figure;
use crate::cluster::{Cluster, Options as ClusterOptions};
use crate::load::{LoadProcess, Settings};
use crate::progress::{Progress, Step};
use crate::scenario::{Carrier, Front, Kind, Plan, Provider, Side, Stage, UPGRADED, install};

/// What is upgraded, under which load.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Lameduck's `soakSeconds`.
    pub soak: Duration,
    /// How long a long connection lives.
    pub connection: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { soak: Duration::from_secs(3), connection: Duration::from_secs(5) }
    }
}

/// The budget of the specification.
const OVERHEAD_SECONDS: f64 = 6.0;
/// Half a second until TKE asks for a weight, and half a second until the CLB has it.
const TKE_LAG: Duration = Duration::from_millis(500);
const TASK_MILLIS: u64 = 500;
const CARRIERS: &[Carrier] = &[Carrier { object: "service/web", lag: TKE_LAG }];
/// The load's processes. A process opens its long connections together, so that with one of them a pod would
/// be waited for anything between no time and a connection's life.
const LOADS: u32 = 5;
/// An upgrade that is not over by now never will: ten times what it should take.
const LIMIT: Duration = Duration::from_secs(300);
/// Time that the load lasts after it: for what is lost only when the load balancer hears of the end.
const TAIL: Duration = Duration::from_secs(3);
/// Pause between two looks: a twentieth of what is measured.
const PAUSE: Duration = Duration::from_millis(200);

/// What is lost: those that failed, and those that were cut.
const LOST: &str = "requests and connections";

/// How pods are replaced.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Way {
    RollingUpdate,
    Guide,
    Lameduck,
}

impl Way {
    const ALL: [Self; 3] = [Self::RollingUpdate, Self::Guide, Self::Lameduck];

    /// For people.
    fn name(self) -> &'static str {
        match self {
            Self::RollingUpdate => "RollingUpdate",
            Self::Guide => "the guide by hand",
            Self::Lameduck => "Lameduck",
        }
    }

    /// In a namespace's name.
    fn slug(self) -> &'static str {
        match self {
            Self::RollingUpdate => "rolling-update",
            Self::Guide => "guide",
            Self::Lameduck => "lameduck",
        }
    }

    /// What a pod takes in this way besides its start, were there no overhead.
    fn given(self, options: Options) -> Duration {
        match self {
            Self::RollingUpdate => Duration::ZERO,
            Self::Guide => options.connection,
            Self::Lameduck => options.connection + options.soak,
        }
    }
}

/// What was measured of one way.
#[derive(Clone, Copy, Debug)]
struct Measured {
    /// From the new template until all pods are new and served, over the number of pods.
    per_pod: Duration,
    /// From a pod's creation until it was ready, which on TKE is until it was bound; the mean.
    start: Duration,
    /// Requests that failed and long connections that were cut.
    lost: u64,
}

/// Upgrades a StatefulSet in each way, on a cluster of its own.
///
/// # Errors
/// The cluster does not come up, or an upgrade does not end.
pub async fn run(options: Options, progress: &Progress) -> Result<Vec<Figure>> {
    let cluster = Cluster::up(&ClusterOptions::owned("bench-upgrade")?, progress).await?;
    install(&cluster, Provider::TencentClb, progress).await?;
    let stage = Stage::open(&cluster).await?;
    let task_time = json!({"minMillis": TASK_MILLIS, "maxMillis": TASK_MILLIS});
    stage.clb().await?.admin().set("settings", &json!({"taskTime": task_time})).await?;
    let mut measured = Vec::new();
    for way in Way::ALL {
        let mut step = progress.step(format!("upgrading by {}", way.name()));
        let one = measure(&stage, way, options, &mut step).await;
        let one = one.with_context(|| format!("the upgrade by {}", way.name()))?;
        step.done(format!("{:.1} s per pod", one.per_pod.as_secs_f64()));
        measured.push((way, one));
    }
    drop(stage);
    cluster.down().await?;
    Ok(figures(&measured, options))
}

/// Each figure of all ways, one below the other.
fn figures(measured: &[(Way, Measured)], options: Options) -> Vec<Figure> {
    let seconds = |what: &str, way: Way, time: f64| {
        Figure::for_information(format!("{what}: {}", way.name()), time, "s")
    };
    let mut figures = Vec::new();
    for (way, one) in measured {
        figures.push(seconds("time per pod", *way, one.per_pod.as_secs_f64()));
    }
    for (way, one) in measured {
        figures.push(seconds("of that the pod's own start", *way, one.start.as_secs_f64()));
    }
    for (way, one) in measured {
        let given = one.start + way.given(options);
        let overhead = one.per_pod.as_secs_f64() - given.as_secs_f64();
        figures.push(match way {
            Way::Lameduck => {
                let soak = options.soak.as_secs();
                let what =
                    format!("overhead, beyond start, connections and {soak} s of soak: Lameduck");
                Figure::at_most(what, overhead, OVERHEAD_SECONDS, "s")
            }
            Way::Guide => seconds("overhead, beyond start and connections", *way, overhead),
            Way::RollingUpdate => seconds("overhead, beyond start", *way, overhead),
        });
    }
    for (way, one) in measured {
        let what = format!("lost: {}", way.name());
        #[expect(clippy::cast_precision_loss, reason = "some thousand requests")]
        let lost = one.lost as f64;
        figures.push(match way {
            Way::Lameduck => Figure::at_most(what, lost, 0.0, LOST),
            _ => Figure::for_information(what, lost, LOST),
        });
    }
    figures
}

async fn measure(
    stage: &Stage<'_>,
    way: Way,
    options: Options,
    step: &mut Step,
) -> Result<Measured> {
    step.message("starting the pods");
    let name = stage.name(&format!("bench-{}", way.slug()));
    let protected = way == Way::Lameduck;
    let upgrade = json!({"surge": 0, "soakSeconds": options.soak.as_secs()});
    let policy = json!({"statefulSets": {"upgrade": upgrade}});
    let plan = Plan {
        protected,
        namespace: name.clone(),
        policy: protected.then(|| (format!("lab-{name}"), policy)),
        old_pods: false,
        extra_objects: &[],
        kind: Kind::StatefulSet,
        manifests: UPGRADED,
        front: Front::Clb(CARRIERS),
    };
    let side = Side::prepare(stage, plan).await?;
    if way == Way::Guide {
        // As the guide asks for; a `rollingUpdate` beside it would be refused.
        let strategy = json!({"type": "OnDelete", "rollingUpdate": null});
        side.patch(json!({"spec": {"updateStrategy": strategy}})).await?;
    }
    let mut loads: Vec<LoadProcess> = Vec::new();
    for _ in 0..LOADS {
        loads.push(stage.load(&settings(&side, options))?);
        // So that at any time some connection is young.
        sleep(options.connection / LOADS).await;
    }
    let (took, began) = upgrade_side(stage, way, &side, step).await?;
    sleep(TAIL).await;
    let mut lost = 0;
    for tally in join_all(loads.into_iter().map(LoadProcess::finish)).await {
        let counts = tally?.counts;
        ensure!(counts.requests > 0, "a load sent nothing");
        lost += counts.failed + counts.long_connections_cut;
    }
    let records = side.pods.records();
    let starts: Vec<Duration> = records.iter().filter_map(|one| one.start(began)).collect();
    let pods = replicas(&side)?;
    ensure!(starts.len() == pods, "{} new pods got ready, and not {pods}", starts.len());
    let pods = u32::try_from(pods)?;
    let start = starts.iter().sum::<Duration>() / pods;
    stage.end_workloads(&[name]).await?;
    side.finish().await?;
    Ok(Measured { per_pod: took / pods, start, lost })
}

/// Changes the template, and waits until all pods are new and served. Returns how long it took, and since when.
async fn upgrade_side(
    stage: &Stage<'_>,
    way: Way,
    side: &Side,
    step: &mut Step,
) -> Result<(Duration, Instant)> {
    let (began, end) = (Instant::now(), Deadline::now() + LIMIT);
    side.restart().await?;
    if way == Way::Guide {
        guide::upgrade(side, stage.clb().await?.admin(), end, step).await?;
    }
    loop {
        let missing = side.unsettled().await?;
        let serving = side.look().await?.iter().filter(|pod| pod.serves()).count();
        if missing.is_none() && serving == replicas(side)? {
            break;
        }
        let missing = missing.unwrap_or_else(|| format!("{serving} pods are served"));
        ensure!(Deadline::now() < end, "it is not over after {} s: {missing}", LIMIT.as_secs());
        step.message(missing);
        sleep(PAUSE).await;
    }
    let took = began.elapsed();
    if way == Way::Lameduck {
        side.upgrade().await?.context("all pods are new, and there never was an Upgrade")?;
    }
    Ok((took, began))
}

fn replicas(side: &Side) -> Result<usize> {
    let replicas = side.replicas.and_then(|replicas| usize::try_from(replicas).ok());
    replicas.context("the side has no StatefulSet")
}

/// One process of a light load: what is measured is waiting, not work.
fn settings(side: &Side, options: Options) -> Settings {
    Settings {
        new_per_second: 4,
        kept_per_second: 4,
        kept_connections: 2,
        kept_millis: 1_000,
        long_connections: 6,
        long_millis: u64::try_from(options.connection.as_millis()).unwrap_or(u64::MAX),
        max_seconds: 2 * LIMIT.as_secs(),
        ..Settings::new(side.balancer.address())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Measured, Options, Way, figures};

    #[test]
    fn overhead_is_what_is_left_when_all_that_is_given_is_taken_away() {
        let measured = |per_pod: u64| Measured {
            per_pod: Duration::from_secs(per_pod),
            start: Duration::from_secs(2),
            lost: 0,
        };
        let overhead = |per_pod: u64| {
            let all = Way::ALL.map(|way| (way, measured(per_pod)));
            let figures = figures(&all, Options::default());
            assert_eq!(figures.len(), 12);
            let of = |name: &str| {
                let fits = |what: &str| what.starts_with("overhead") && what.ends_with(name);
                figures.iter().find(|one| fits(&one.what)).cloned().unwrap()
            };
            (of("RollingUpdate").measured, of("by hand").measured, of("Lameduck"))
        };
        let (rolling, guide, lameduck) = overhead(16);
        assert_eq!((rolling.as_str(), guide.as_str()), ("14 s", "9 s"));
        assert_eq!((lameduck.measured.as_str(), lameduck.pass), ("6 s", true));
        assert!(!overhead(17).2.pass);
    }
}
