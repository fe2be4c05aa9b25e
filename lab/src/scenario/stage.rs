//! What all scenarios of a process share: the cluster and its load balancer.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client, ResourceExt};
use lameduck_api::TerminationPolicy;
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};

use super::front::Clb;
use super::side::WORKLOAD;
use crate::clb::process::ClbStandIn;
use crate::cluster::{Cluster, NODES};
use crate::lb::configuration::Sides;
use crate::lb::haproxy::{HaProxy, Side};
use crate::lb::stand_in::DEFAULT_LAG;
use crate::load::{LoadProcess, Settings};
use crate::process::output;
use crate::progress::Progress;

/// Arguments of `nice`: on a busy machine, what measures must not wait for what is measured.
const PRIORITY: [&str; 2] = ["-n", "-10"];
/// How long the pods of all scenarios may take to go.
const CLEAN_UP_LIMIT: Duration = Duration::from_secs(120);
/// Label with the run that an object belongs to.
const RUN_LABEL: &str = "lab.lameduck.dev/run";
/// Ports of the load balancer: two or four for each scenario, and some for what a test adds; and some that
/// forward requests, not connections.
const SIDES: Sides = Sides { layer_4: 64, layer_7: 8 };

/// A cluster with a load balancer in front of it. Dropping it ends the load balancer.
pub struct Stage<'a> {
    cluster: &'a Cluster,
    client: Client,
    balancer: HaProxy,
    next_side: AtomicU16,
    next_layer_7_side: AtomicU16,
    next_name: AtomicU16,
    lag: Duration,
    label: String,
    clb: OnceCell<Clb>,
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
        weigh_containers();
        forget_closed_connections(cluster).await?;
        let start = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // Tells the namespaces of two runs on one cluster apart.
        let label =
            format!("{:04x}", (start.as_millis() ^ u128::from(std::process::id())) & 0xffff);
        let directory = cluster.run_directory().join("lb");
        let address = IpAddr::V4(cluster.lb_address());
        let balancer = HaProxy::start(
            |arguments| {
                let mut command = cluster.enter("nice", PRIORITY);
                command.arg("haproxy").args(arguments);
                command
            },
            &directory,
            address,
            SIDES,
        )
        .await
        .context("the load balancer of the scenarios")?;
        Ok(Self {
            cluster,
            client,
            balancer,
            next_side: AtomicU16::new(0),
            next_layer_7_side: AtomicU16::new(SIDES.layer_4),
            next_name: AtomicU16::new(0),
            lag,
            label,
            clb: OnceCell::new(),
        })
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
    /// All 64 are taken.
    pub fn side(&self) -> Result<Side> {
        let number = self.next_side.fetch_add(1, Ordering::Relaxed);
        if number >= SIDES.layer_4 {
            bail!("all {} ports of the load balancer are taken", SIDES.layer_4);
        }
        self.balancer.side(number)
    }

    /// As [`Stage::side`], one that forwards requests, not connections.
    ///
    /// # Errors
    /// All 8 are taken.
    pub fn layer_7_side(&self) -> Result<Side> {
        self.balancer.side(self.next_layer_7_side.fetch_add(1, Ordering::Relaxed))
    }

    /// Starts the stand-ins of the CLB API and of TKE's controllers in front of this stage's load
    /// balancer. One at a time: they listen on one port.
    ///
    /// # Errors
    /// They do not start.
    pub async fn start_clb(&self) -> Result<ClbStandIn> {
        ClbStandIn::start(self.cluster, &lab_program()?, self.balancer.socket()).await
    }

    /// The stand-ins of CLB and TKE that the scenarios of this stage share; started where they are not.
    ///
    /// # Errors
    /// They do not start.
    pub async fn clb(&self) -> Result<&Clb> {
        self.clb.get_or_try_init(|| Clb::start(self)).await
    }

    /// A name for the objects of one scenario, which no other run has.
    pub(crate) fn name(&self, scenario: &str) -> String {
        let number = self.next_name.fetch_add(1, Ordering::Relaxed);
        format!("{scenario}-{}{number}", self.label)
    }

    /// Ends everything that scenarios have made on this stage, and waits until no pod of it is left.
    ///
    /// # Errors
    /// Something cannot be deleted, or a pod is still there after 120 s.
    pub async fn clean_up(&self, progress: &Progress) -> Result<()> {
        let step = progress.step("clearing away what the scenarios made");
        let ours = ListParams::default().labels(&format!("{RUN_LABEL}={}", self.label));
        let namespaces: Api<Namespace> = Api::all(self.client());
        let list = namespaces.list(&ours).await.context("the namespaces cannot be listed")?;
        let names: Vec<String> = list.items.iter().map(ResourceExt::name_any).collect();
        self.end_workloads(&names).await?;
        // The namespaces after their pods: Kubernetes looks at a namespace that waits for a pod only
        // after half of that pod's grace, and a held pod's grace is long.
        let end = Instant::now() + CLEAN_UP_LIMIT;
        for name in &names {
            let pods: Api<Pod> = Api::namespaced(self.client(), name);
            loop {
                let left =
                    pods.list(&ListParams::default()).await.context("pods cannot be listed")?;
                if left.items.is_empty() {
                    break;
                }
                if Instant::now() >= end {
                    let seconds = CLEAN_UP_LIMIT.as_secs();
                    bail!("{} pods of {name} are still there after {seconds} s", left.items.len());
                }
                sleep(Duration::from_millis(500)).await;
            }
            let deleted = namespaces.delete(name, &DeleteParams::default()).await;
            deleted.with_context(|| format!("the namespace {name} cannot be deleted"))?;
        }
        let policies: Api<TerminationPolicy> = Api::all(self.client());
        match policies.delete_collection(&DeleteParams::default(), &ours).await {
            Ok(_) => {}
            // Lameduck is not installed.
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(error).context("the scenarios' policies cannot be deleted"),
        }
        step.done("");
        Ok(())
    }

    /// Deletes the workloads of `namespaces`, and does not wait for their pods.
    pub(crate) async fn end_workloads(&self, namespaces: &[String]) -> Result<()> {
        let parameters = DeleteParams::background();
        for name in namespaces {
            let deployments: Api<Deployment> = Api::namespaced(self.client(), name);
            let stateful_sets: Api<StatefulSet> = Api::namespaced(self.client(), name);
            let ended = [
                deployments.delete(WORKLOAD, &parameters).await.map(drop),
                stateful_sets.delete(WORKLOAD, &parameters).await.map(drop),
            ];
            for result in ended {
                match result {
                    Ok(()) => {}
                    Err(kube::Error::Api(status)) if status.code == 404 => {}
                    Err(error) => {
                        let what = format!("the workload of {name} cannot be deleted");
                        return Err(error).context(what);
                    }
                }
            }
        }
        Ok(())
    }

    /// The labels of all objects that a run makes outside its namespaces.
    pub(super) fn labels(&self) -> Value {
        json!({"app.kubernetes.io/managed-by": "lameduck-lab", RUN_LABEL: self.label})
    }

    /// Starts a load, inside the cluster's network.
    pub(crate) fn load(&self, settings: &Settings) -> Result<LoadProcess> {
        let mut command = self.cluster.enter("nice", PRIORITY);
        command.arg(lab_program()?).arg("load").args(settings.arguments());
        LoadProcess::start(&mut command)
    }
}

/// Gives all containers together the weight of 16 processes.
///
/// The demo's pods ask for no CPU, as ordinary pods do, so next to anything else that computes on this
/// machine they would get next to nothing, and what is lost then says nothing about how pods end. Best
/// effort: where the file is not there or cannot be written, the machine had better be idle.
fn weigh_containers() {
    for (file, weight) in [
        ("/sys/fs/cgroup/cpu/k8s.io/cpu.shares", "16384"),
        ("/sys/fs/cgroup/k8s.io/cpu.weight", "1600"),
    ] {
        std::fs::write(file, weight).ok();
    }
}

/// Lets the nodes' connection tracking forget a closed connection after 10 s instead of 120 s.
///
/// Clients, load balancer and nodes share one kernel here. A wave of scenarios closes some 3,000
/// connections per second, and in 120 s they would fill the kernel's table of 262,144, which is the
/// same for every network namespace: then packets are dropped, of both sides alike.
async fn forget_closed_connections(cluster: &Cluster) -> Result<()> {
    let command = "echo 10 >/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_time_wait";
    for node in NODES {
        let mut shell = cluster.enter_node(node, "sh", ["-c", command]);
        output(&format!("shortening the memory of {node}'s connection tracking"), &mut shell)
            .await?;
    }
    Ok(())
}

/// This program, or where it is a test of another crate the one that `LAMEDUCK_LAB_PROGRAM` names.
fn lab_program() -> Result<PathBuf> {
    match std::env::var_os("LAMEDUCK_LAB_PROGRAM") {
        Some(path) => Ok(path.into()),
        None => std::env::current_exe().context("the lab cannot find its own program"),
    }
}
