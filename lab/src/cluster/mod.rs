//! The cluster: a real two-node Kubernetes in pid, mount and network
//! namespaces of its own.
//!
//! A *supervisor* (this binary, started again) is process 1 of the pid
//! namespace. Whoever ends it, and however, ends every process, mount and
//! interface of the cluster with it.

use std::ffi::OsStr;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use tokio::process::Command;

use crate::process::bound;
use crate::progress::Progress;

/// The names of the nodes. Both run pods; the API server is on the first.
pub const NODES: [&str; 2] = ["node-a", "node-b"];

/// How long a cluster lives.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lifetime {
    /// As long as the [`Cluster`] that [`Cluster::up`] returned: it ends with
    /// the process that owns it, even where that one is killed.
    Owned,
    /// Until `cargo lab down` (or [`Cluster::down`]).
    Detached,
}

/// What [`Cluster::up`] shall bring up.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long the cluster lives.
    pub lifetime: Lifetime,
    /// Where its state is kept. One directory is one cluster.
    pub run_directory: PathBuf,
    /// Whether Lameduck's own images are built and imported.
    pub product_images: bool,
}

impl Options {
    /// The cluster of `cargo lab up`: detached, in `$LAMEDUCK_RUN` or else in
    /// `run/default` of the cache.
    #[must_use]
    pub fn shared() -> Self {
        Self { lifetime: Lifetime::Detached, run_directory: PathBuf::new(), product_images: true }
    }

    /// A cluster that belongs to this process: `name` and the process id name
    /// its run directory in the cache.
    #[must_use]
    pub fn owned(_name: &str) -> Self {
        Self { lifetime: Lifetime::Owned, run_directory: PathBuf::new(), product_images: true }
    }
}

/// A cluster that is up.
#[derive(Debug)]
pub struct Cluster {
    run_directory: PathBuf,
    supervisor_pid: u32,
    address: Ipv4Addr,
}

impl Cluster {
    /// Brings a cluster up: fetches and builds what is missing, starts the
    /// daemons, imports the images, and waits until both nodes are Ready and
    /// the cluster's DNS answers. One that is already up in the run directory
    /// is taken as it is (its images are brought up to date); a half one is
    /// cleared away first.
    ///
    /// Dropping the future, or an owned cluster, tears everything down.
    ///
    /// # Errors
    /// Says what could not be fetched, built or started, and where its log is.
    pub async fn up(_options: &Options, _progress: &Progress) -> Result<Self> {
        bail!("the lab's cluster cannot be started yet")
    }

    /// The cluster that is up in the run directory of [`Options::shared`], if there is one.
    ///
    /// # Errors
    /// The state on disk cannot be read.
    pub fn attach() -> Result<Option<Self>> {
        Ok(None)
    }

    /// Ends the cluster, and waits until nothing of it is left (at most 15 s).
    ///
    /// # Errors
    /// Something is still there after that time; the message names it.
    pub async fn down(self) -> Result<()> {
        bail!("the lab's cluster cannot be ended yet")
    }

    /// A kubeconfig of the cluster's admin. Its server address works both on
    /// the host and inside the lab.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.run_directory.join("kubeconfig")
    }

    /// A client with the admin's rights.
    ///
    /// # Errors
    /// The kubeconfig cannot be read.
    pub async fn client(&self) -> Result<kube::Client> {
        bail!("the lab's cluster cannot be started yet")
    }

    /// `kubectl` with the admin's kubeconfig, on the host. It dies with this process.
    pub fn kubectl<I: IntoIterator<Item: AsRef<OsStr>>>(&self, arguments: I) -> Command {
        let mut command = bound("kubectl");
        command.env("KUBECONFIG", self.kubeconfig()).args(arguments);
        command
    }

    /// `program` inside the lab: the network of the first node, the lab's
    /// mounts and processes. It dies with this process and with the cluster.
    pub fn enter<I: IntoIterator<Item: AsRef<OsStr>>>(&self, program: impl AsRef<OsStr>, arguments: I) -> Command {
        self.enter_node(NODES[0], program, arguments)
    }

    /// Like [`Cluster::enter`], in the network of `node`.
    pub fn enter_node<I: IntoIterator<Item: AsRef<OsStr>>>(
        &self,
        node: &str,
        program: impl AsRef<OsStr>,
        arguments: I,
    ) -> Command {
        let mut command = bound("nsenter");
        command
            .args(["--target", &self.supervisor_pid.to_string(), "--mount", "--pid", "--"])
            .args(["nsenter", &format!("--net=/run/netns/{node}"), "--"])
            .args(["setpriv", "--pdeathsig", "KILL", "--"])
            .env("KUBECONFIG", self.kubeconfig())
            .arg(program)
            .args(arguments);
        command
    }

    /// Imports a docker-archive file into both nodes, unless they have it already.
    ///
    /// # Errors
    /// The file is no image, or a node's containerd refuses it.
    pub async fn import_image(&self, _archive: &Path) -> Result<()> {
        bail!("images cannot be imported yet")
    }

    /// An address of the first node's network that servers inside the lab may
    /// bind, and that the host reaches too: the load balancer's.
    #[must_use]
    pub fn lb_address(&self) -> Ipv4Addr {
        self.address
    }

    /// The folder with one log file per daemon.
    #[must_use]
    pub fn logs_dir(&self) -> PathBuf {
        self.run_directory.join("log")
    }

    /// Cuts `node` off the network: for everybody else it is dead, with all its pods.
    ///
    /// # Errors
    /// The node is unknown, or is the first one, which carries the API server.
    pub async fn disconnect_node(&self, _node: &str) -> Result<()> {
        bail!("nodes cannot be disconnected yet")
    }

    /// Takes [`Cluster::disconnect_node`] back.
    ///
    /// # Errors
    /// As there.
    pub async fn reconnect_node(&self, _node: &str) -> Result<()> {
        bail!("nodes cannot be reconnected yet")
    }
}
