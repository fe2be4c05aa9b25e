//! What all scenarios of a process share: the cluster and its load balancer.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client};
use lameduck_api::TerminationPolicy;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::lb::haproxy::{HaProxy, Side};
use crate::lb::stand_in::DEFAULT_LAG;
use crate::load::{LoadProcess, Settings};
use crate::process::output;
use crate::progress::Progress;

/// Label with the run that an object belongs to.
const RUN_LABEL: &str = "lab.lameduck.dev/run";
/// Ports of the load balancer: two for each of the eight scenarios, and some for what a test adds.
const SIDES: u16 = 32;

/// A cluster with a load balancer in front of it. Dropping it ends the load balancer.
pub struct Stage<'a> {
    cluster: &'a Cluster,
    client: Client,
    balancer: HaProxy,
    next_side: AtomicU16,
    next_name: AtomicU16,
    lag: Duration,
    label: String,
}

impl<'a> Stage<'a> {
    /// Starts a load balancer in `cluster`, whose weights follow the pods [`DEFAULT_LAG`] late.
    ///
    /// # Errors
    /// HAProxy cannot be started, or there is no client for the cluster.
    pub async fn open(cluster: &'a Cluster) -> Result<Self> {
        Self::open_with_lag(cluster, DEFAULT_LAG).await
    }

    /// As [`Stage::open`], with another lag.
    ///
    /// # Errors
    /// As there.
    pub async fn open_with_lag(cluster: &'a Cluster, lag: Duration) -> Result<Self> {
        let client = cluster.client().await?;
        let start = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // Tells the namespaces of two runs on one cluster apart.
        let label =
            format!("{:04x}", (start.as_millis() ^ u128::from(std::process::id())) & 0xffff);
        let directory = cluster.run_directory().join("lb");
        let address = IpAddr::V4(cluster.lb_address());
        let balancer = HaProxy::start(
            |arguments| cluster.enter("haproxy", arguments),
            &directory,
            address,
            SIDES,
        )
        .await
        .context("the load balancer of the scenarios")?;
        let (next_side, next_name) = (AtomicU16::new(0), AtomicU16::new(0));
        Ok(Self { cluster, client, balancer, next_side, next_name, lag, label })
    }

    /// The cluster.
    #[must_use]
    pub fn cluster(&self) -> &'a Cluster {
        self.cluster
    }

    /// A client of the cluster.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// How late the load balancer's weights follow the pods.
    #[must_use]
    pub fn lag(&self) -> Duration {
        self.lag
    }

    /// A port of the load balancer that nobody else has.
    ///
    /// # Errors
    /// All 32 are taken.
    pub(super) fn side(&self) -> Result<Side> {
        self.balancer.side(self.next_side.fetch_add(1, Ordering::Relaxed))
    }

    /// A name for the objects of one scenario, which no other run has.
    pub(super) fn name(&self, scenario: &str) -> String {
        let number = self.next_name.fetch_add(1, Ordering::Relaxed);
        format!("{scenario}-{}{number}", self.label)
    }

    /// Ends everything that scenarios have made, and waits until it is gone.
    ///
    /// # Errors
    /// A namespace cannot be deleted, or is still there after 120 s.
    pub async fn clean_up(&self, progress: &Progress) -> Result<()> {
        let step = progress.step("clearing away what the scenarios made");
        let label = format!("{RUN_LABEL}={}", self.label);
        let namespaces = ["delete", "namespaces", "--timeout=120s", "--selector", &label];
        // The policies last: the pods' ends go by them.
        output("deleting the scenarios' namespaces", &mut self.cluster.kubectl(namespaces)).await?;
        let policies: Api<TerminationPolicy> = Api::all(self.client());
        let ours = ListParams::default().labels(&label);
        match policies.delete_collection(&DeleteParams::default(), &ours).await {
            Ok(_) => {}
            // Lameduck is not installed.
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(error).context("the scenarios' policies cannot be deleted"),
        }
        step.done("");
        Ok(())
    }

    /// The labels of all objects that a run makes outside its namespaces.
    pub(super) fn labels(&self) -> Value {
        json!({"app.kubernetes.io/managed-by": "lameduck-lab", RUN_LABEL: self.label})
    }

    /// Starts the load on `target`, inside the cluster's network.
    pub(super) fn load(&self, target: SocketAddr) -> Result<LoadProcess> {
        let mut arguments = vec!["load".to_owned()];
        arguments.extend(Settings::new(target).arguments());
        LoadProcess::start(&mut self.cluster.enter(lab_program()?, arguments))
    }
}

/// This program, or where it is a test of another crate the one that `LAMEDUCK_LAB_PROGRAM` names.
fn lab_program() -> Result<PathBuf> {
    match std::env::var_os("LAMEDUCK_LAB_PROGRAM") {
        Some(path) => Ok(path.into()),
        None => std::env::current_exe().context("the lab cannot find its own program"),
    }
}
