//! `bench controller`: memory with ten thousand enrolled pods, and how soon a finalizer goes.
//!
//! The pods are API objects only. The bench plays the kubelet where containers end.

pub(super) mod process;
mod workload;

use anyhow::{Result, ensure};

use self::process::Controller;
use self::workload::{Ends, Workload};
use super::{Figure, MIB, apply_definition, millis, quantile};
use crate::cluster::{Cluster, Options as ClusterOptions};
use crate::images::product;
use crate::progress::Progress;

/// What the controller is given to look at.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Enrolled pods.
    pub pods: usize,
    /// Pods of them whose end is measured.
    pub ends: usize,
    /// Ends per second: a node of a hundred pods drained in ten.
    pub ends_per_second: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { pods: 10_000, ends: 200, ends_per_second: 10 }
    }
}

/// The budgets of the specification.
const MEMORY_MIB: f64 = 64.0;
const RELEASE_MILLIS: f64 = 300.0;

/// Builds the controller, fills a cluster of its own with pods, and measures.
///
/// # Errors
/// The cluster does not come up, or the controller does not do its work at all.
pub async fn run(options: Options, progress: &Progress) -> Result<Vec<Figure>> {
    let binary = product::controller(progress).await?;
    let cluster_options =
        ClusterOptions { product_images: false, ..ClusterOptions::owned("bench-controller")? };
    let cluster = Cluster::up(&cluster_options, progress).await?;
    apply_definition(&cluster).await?;
    let workload = Workload::new(cluster.client().await?, options).await?;
    let _node = workload.keep_node_alive();
    workload.create(progress).await?;

    let mut step = progress.step("measuring the controller");
    step.message("reading the cluster's state");
    let controller = Controller::start(&binary, &cluster.kubeconfig(), |_| {}).await?;
    let started = controller.memory()?;
    step.message(format!("{} pods end", options.ends));
    let Ends { releases, writes } = workload.ends(&mut step).await?;
    let ended = controller.memory()?;
    drop(controller);
    cluster.down().await?;

    ensure!(
        releases.len() == options.ends,
        "{} of {} finalizers went",
        releases.len(),
        options.ends
    );
    let (pods, ends) = (options.pods, options.ends);
    let figures = vec![
        Figure::at_most(
            format!("peak resident memory, {pods} enrolled pods"),
            ended.peak_bytes as f64 / MIB,
            MEMORY_MIB,
            "MiB",
        ),
        Figure::for_information(
            "resident memory after the first lists",
            started.now_bytes as f64 / MIB,
            "MiB",
        ),
        Figure::for_information(
            format!("resident memory after {ends} drains"),
            ended.now_bytes as f64 / MIB,
            "MiB",
        ),
        Figure::for_information(
            format!("last container ended to finalizer off, median of {ends}"),
            millis(quantile(&releases, 50)?),
            "ms",
        ),
        Figure::at_most(
            "last container ended to finalizer off, 99th percentile",
            millis(quantile(&releases, 99)?),
            RELEASE_MILLIS,
            "ms",
        ),
        // For information: one hiccup of an API server that shares two cores with everything else.
        Figure::for_information(
            "last container ended to finalizer off, slowest",
            millis(quantile(&releases, 100)?),
            "ms",
        ),
        Figure::for_information(
            "of that the API server's, for one write, median",
            millis(quantile(&writes, 50)?),
            "ms",
        ),
        Figure::for_information(
            "of that the API server's, for one write, 99th percentile",
            millis(quantile(&writes, 99)?),
            "ms",
        ),
    ];
    step.done("");
    Ok(figures)
}
