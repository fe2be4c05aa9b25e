//! `bench clb`: how often load balancers are read while many pods drain behind them, and how soon a drain
//! ends once the reads say zero.
//!
//! ```text
//! pods of the API server, no kubelet ─▶ controller ─TC3─▶ the CLB API's stand-in, in this process
//!        ▲      │ conditions, finalizers                     ▲        │ its own log of calls
//!        └──────┴──────────── the bench ─────── weights ─────┘◀───────┘
//! ```
//! There are two phases: all pods behind one load balancer, then as many behind a hundred. In each, all
//! pods are deleted at once; their rows keep their weight for a while, and then get weight 0 in groups.
//! A group has fifty pods: the controller's engine writes a hundred objects a second, two hundred at once,
//! and a pod needs two writes. Five hundred at once would measure that queue, and the API server.

mod drains;
mod phase;
mod reads;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use self::phase::{Measured, Phase, Stage};
use super::controller::process::Controller;
use super::hollow::HollowNode;
use super::{Figure, MIB, apply_definition, millis, quantile};
use crate::clb::calls::busiest_second;
use crate::clb::credentials::Secret;
use crate::clb::model::{DEFAULT_REGION, LoadBalancer};
use crate::clb::process::Admin;
use crate::clb::server;
use crate::clb::service::Service;
use crate::cluster::{Cluster, Options as ClusterOptions};
use crate::images::product;
use crate::progress::Progress;

/// What the controller is given to drain.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Pods of each phase.
    pub pods: usize,
    /// Load balancers of the second phase.
    pub load_balancers: usize,
    /// Groups whose rows get weight 0 together.
    pub groups: usize,
    /// Between two groups: longer than a read of each load balancer and its repetition take.
    pub pause: Duration,
    /// How long rows keep their weight after the last deletion, in the first phase. Longer than
    /// `nudgeSeconds` and the reminders of TKE take, which are a write for each pod.
    pub hold: Duration,
    /// The same in the second phase: enough rounds to see who is read how often.
    pub long_hold: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            pods: 500,
            load_balancers: 100,
            groups: 10,
            pause: Duration::from_secs(7),
            hold: Duration::from_secs(25),
            long_hold: Duration::from_secs(45),
        }
    }
}

/// The budgets of the specification.
const READS_PER_SECOND: f64 = 1.0;
const REQUESTS_PER_SECOND: f64 = 20.0;
const END_MILLIS: f64 = 2_000.0;
/// A round of 100 load balancers at the client's 18 requests per second takes 5.6 s; a read that is older than 10 s counts as none (`core::drain::clb`). In between.
const GAP_SECONDS: f64 = 8.0;
/// Some six rounds are counted, and each end of the count may cut one off or not.
const UNFAIRNESS: f64 = 1.5;

/// What the controller signs with.
const SECRET: (&str, &str) = ("AKIDbench", "bench-key");

/// Builds the controller, starts it next to a stand-in of the CLB API, and measures.
///
/// # Errors
/// The cluster does not come up, or a drain does not end at all.
pub async fn run(options: Options, progress: &Progress) -> Result<Vec<Figure>> {
    let binary = product::controller(progress).await?;
    let cluster_options =
        ClusterOptions { product_images: false, ..ClusterOptions::owned("bench-clb")? };
    let cluster = Cluster::up(&cluster_options, progress).await?;
    apply_definition(&cluster).await?;
    let client = cluster.client().await?;
    let node = HollowNode::new(client.clone()).await?;
    let _node = node.keep_alive();
    let service = Arc::new(Service::default());
    let (address, _served) = server::spawn(Arc::clone(&service)).await?;
    let admin = Admin::new(address);
    let (id, key) = SECRET;
    admin.set("credentials", &json!([Secret::permanent(id, key)])).await?;
    let controller = Controller::start(&binary, &cluster.kubeconfig(), |command| {
        command
            .args(["--clb-region", DEFAULT_REGION])
            .args(["--clb-vpc-id", &LoadBalancer::new("").vpc_id])
            .args(["--clb-endpoint", &admin.endpoint()])
            .args(["--clb-host", "clb.tencentcloudapi.com"])
            .env_remove("TENCENTCLOUD_TOKEN")
            .env("TENCENTCLOUD_SECRET_ID", id)
            .env("TENCENTCLOUD_SECRET_KEY", key);
    })
    .await?;

    let stage = Stage { client, node, service, admin, options };
    let one = Phase { namespace: "one", first: 0, load_balancers: 1, hold: options.hold };
    let one = stage.play(&one, progress).await?;
    let many = Phase {
        namespace: "many",
        first: options.pods,
        load_balancers: options.load_balancers,
        hold: options.long_hold,
    };
    let many = stage.play(&many, progress).await?;
    let memory = controller.memory()?;
    drop(controller);
    cluster.down().await?;

    let mut figures = Vec::new();
    one_figures(&one, options, &mut figures)?;
    many_figures(&many, options, &mut figures)?;
    figures.push(Figure::for_information(
        "controller: peak resident memory",
        memory.peak_bytes as f64 / MIB,
        "MiB",
    ));
    Ok(figures)
}

fn one_figures(measured: &Measured, options: Options, figures: &mut Vec<Figure>) -> Result<()> {
    let name = format!("{} pods behind 1 CLB", options.pods);
    figures.push(Figure::at_most(
        format!("{name}: DescribeTargets in the busiest second"),
        busiest_second(&measured.calls, "DescribeTargets") as f64,
        READS_PER_SECOND,
        "/s",
    ));
    rate_figures(&name, measured, figures);
    end_figures(&name, measured, options, figures)
}

fn many_figures(measured: &Measured, options: Options, figures: &mut Vec<Figure>) -> Result<()> {
    let name = format!("{} pods behind {} CLBs", options.pods, options.load_balancers);
    rate_figures(&name, measured, figures);
    let reads = reads::of(&measured.calls);
    let fairness = reads::fairness(&reads, &measured.load_balancers, &measured.steady)
        .context("nothing was read while the weights stayed")?;
    let seconds = reads::length(&measured.steady).as_secs();
    figures.extend([
        Figure::at_most(
            format!("{name}: longest time without a read of one, over {seconds} s"),
            fairness.longest.as_secs_f64(),
            GAP_SECONDS,
            "s",
        ),
        Figure::for_information(
            format!("{name}: fewest reads of one in that time"),
            fairness.fewest as f64,
            "",
        ),
        Figure::at_most(
            format!("{name}: most reads of one / fewest"),
            fairness.most as f64 / fairness.fewest as f64,
            UNFAIRNESS,
            "",
        ),
    ]);
    end_figures(&name, measured, options, figures)
}

/// What the API was asked, as it counted it.
fn rate_figures(name: &str, Measured { calls, steady, .. }: &Measured, figures: &mut Vec<Figure>) {
    let (action, most) = reads::busiest_action(calls);
    let refused = calls.iter().filter(|call| !call.code.is_empty()).count();
    let all = reads::of(calls);
    figures.extend([
        Figure::at_most(
            format!("{name}: any action in its busiest second ({action})"),
            most as f64,
            REQUESTS_PER_SECOND,
            "/s",
        ),
        Figure::at_most(format!("{name}: refused requests"), refused as f64, 0.0, ""),
        Figure::for_information(
            format!("{name}: DescribeTargets while the weights stay, average"),
            reads::per_second(&all, steady),
            "/s",
        ),
    ]);
}

/// What became of the drains.
fn end_figures(
    name: &str,
    Measured { drains, .. }: &Measured,
    options: Options,
    figures: &mut Vec<Figure>,
) -> Result<()> {
    let premature = drains.iter().filter(|drain| drain.after_second_read().is_none()).count();
    let sorted = |times: &mut dyn Iterator<Item = Duration>| {
        let mut times: Vec<Duration> = times.collect();
        times.sort_unstable();
        times
    };
    let ends = sorted(&mut drains.iter().filter_map(phase::Drain::after_second_read));
    let since_zero = sorted(&mut drains.iter().map(phase::Drain::after_zero));
    let releases = sorted(&mut drains.iter().map(phase::Drain::release));
    figures.extend([
        Figure::at_least(
            format!("{name}: drains that ended"),
            drains.len() as f64,
            options.pods as f64,
            "",
        ),
        Figure::at_most(
            format!("{name}: of these before a second read of weight 0"),
            premature as f64,
            0.0,
            "",
        ),
        Figure::for_information(
            format!("{name}: second read of weight 0 to TrafficOff, median"),
            millis(quantile(&ends, 50)?),
            "ms",
        ),
        Figure::at_most(
            format!("{name}: second read of weight 0 to TrafficOff, slowest"),
            millis(quantile(&ends, 100)?),
            END_MILLIS,
            "ms",
        ),
        Figure::for_information(
            format!("{name}: weight 0 to TrafficOff, slowest"),
            millis(quantile(&since_zero, 100)?),
            "ms",
        ),
        Figure::for_information(
            format!("{name}: last container ended to finalizer off, slowest"),
            millis(quantile(&releases, 100)?),
            "ms",
        ),
    ]);
    Ok(())
}
