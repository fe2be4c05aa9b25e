//! The cluster: a real two-node Kubernetes in pid, mount and network
//! namespaces of its own.
//!
//! A *supervisor* (this binary, started again) is process 1 of the pid
//! namespace. Whoever ends it, and however, ends every process, mount and
//! interface of the cluster with it.
//!
//! * [`plan`]: addresses and names. [`run_directory`]: the state on disk.
//! * [`supervisor`]: what runs inside. `owner`: what starts and ends it.
//! * `config`: the daemons' configuration. `ready`: when a cluster is up.

mod apply;
mod config;
mod containerd;
mod faults;
mod link;
mod owner;
pub mod plan;
mod ready;
pub mod run_directory;
pub mod supervisor;

use std::ffi::OsStr;
use std::fs::File;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio::process::Command;

use self::owner::Owner;
use self::run_directory::{Phase, RunDirectory, Supervisor};
use crate::assets::Assets;
use crate::images::{self, ImageFile};
use crate::process::bound;
use crate::progress::Progress;

/// The names of the nodes. Both run pods; the API server is on the first.
pub const NODES: [&str; 2] = [plan::NODE_A.name, plan::NODE_B.name];

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
    pub run_directory: RunDirectory,
    /// Whether Lameduck's own images are built and imported.
    pub product_images: bool,
}

impl Options {
    /// The cluster of `cargo lab up`: detached, in `$LAMEDUCK_RUN` or else in
    /// `run/default` of the cache.
    ///
    /// # Errors
    /// There is no place for a cache.
    pub fn shared() -> Result<Self> {
        Ok(Self {
            lifetime: Lifetime::Detached,
            run_directory: RunDirectory::shared()?,
            product_images: true,
        })
    }

    /// A cluster that belongs to this process: `name` and the process id name
    /// its run directory in the cache.
    ///
    /// # Errors
    /// There is no place for a cache.
    pub fn owned(name: &str) -> Result<Self> {
        Ok(Self {
            lifetime: Lifetime::Owned,
            run_directory: RunDirectory::owned(name)?,
            product_images: true,
        })
    }
}

/// A cluster that is up.
#[derive(Debug)]
pub struct Cluster {
    run: RunDirectory,
    supervisor: Supervisor,
    address: Ipv4Addr,
    assets: Assets,
    /// Its drop ends the cluster: only there where it is ours.
    owner: Option<Owner>,
    /// Held as long as the cluster is ours, so that nobody takes it for left
    /// behind. Behind `owner`, because fields are dropped in their order.
    lock: Option<File>,
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
    pub async fn up(options: &Options, progress: &Progress) -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            bail!("the lab makes namespaces, interfaces and mounts, so it must be run as root");
        }
        let run = &options.run_directory;
        let assets = Assets::ensure(progress).await?;
        let lock = owner::lock(run).await?;
        if let Some(cluster) = Self::find(run, &assets)? {
            let images = Self::images(options, &assets, progress).await?;
            let step = progress.step("importing images");
            let imported = containerd::import(run, &assets, &images).await;
            // One whose supervisor was killed just now looked alive for a moment more.
            if Self::find(run, &assets)?.is_some() {
                let count = imported?;
                step.done(if count == 0 {
                    "nothing new".to_owned()
                } else {
                    format!("{count} new")
                });
                return Ok(cluster);
            }
            step.done("that lab was just ending; a new one is made");
        }
        owner::end(run)?;
        let images = Self::images(options, &assets, progress).await?;
        if options.lifetime == Lifetime::Owned {
            owner::prune(run);
        }
        let mut cluster = Self::start(options, assets, &images, progress).await?;
        cluster.lock = (options.lifetime == Lifetime::Owned).then_some(lock);
        Ok(cluster)
    }

    /// Makes the images in the lab's own directory: another checkout's lab has images of the same
    /// names.
    async fn images(
        options: &Options,
        assets: &Assets,
        progress: &Progress,
    ) -> Result<Vec<ImageFile>> {
        let directory = options.run_directory.images();
        let mut images = images::cluster::all(assets, &directory).await?;
        if options.product_images {
            images.extend(images::product::all(&directory, progress).await?);
        }
        Ok(images)
    }

    async fn start(
        options: &Options,
        assets: Assets,
        images: &[ImageFile],
        progress: &Progress,
    ) -> Result<Self> {
        let begin = Instant::now();
        let run = &options.run_directory;
        let mut step = progress.step("starting Kubernetes on two nodes");
        let mut owner = Owner::start(run, &assets)?;
        let mut supervisor = owner.supervisor().await?;
        step.message("the API server and containerd");
        let slot_known = owner.wait_for(30, |status| status.slot.is_some()).await?;
        let address = slot_known.address().context("the supervisor says no address")?;
        ready::containerds(run, &mut owner).await?;
        let import = containerd::import(run, &assets, images);
        let nodes = async {
            owner.wait_for(120, |status| status.phase == Phase::Running).await?;
            let client = client(run).await?;
            ready::cluster_dns_applied(run, &assets).await?;
            ready::nodes(&client).await?;
            Ok((client, begin.elapsed().as_secs_f64()))
        };
        let (_, (client, seconds)) = tokio::try_join!(import, nodes)?;
        step.message(format!(
            "both nodes are Ready after {seconds:.1} s; waiting for the cluster's DNS"
        ));
        ready::cluster_dns(&client).await?;
        supervisor.ready = true;
        run.write_supervisor(&supervisor)?;
        let owner = match options.lifetime {
            Lifetime::Owned => Some(owner),
            Lifetime::Detached => {
                owner.detach()?;
                None
            }
        };
        step.done(format!("both nodes Ready after {seconds:.1} s"));
        Ok(Self { run: run.clone(), supervisor, address, assets, owner, lock: None })
    }

    /// The cluster that is up in the run directory of [`Options::shared`], if there is one.
    ///
    /// # Errors
    /// The state on disk cannot be read, or the cache lacks the lab's programs.
    pub async fn attach() -> Result<Option<Self>> {
        let run = RunDirectory::shared()?;
        // A lab that is up has its programs in the cache already: this builds nothing.
        match run.supervisor()? {
            Some(supervisor) if supervisor.ready && supervisor.is_alive() => {
                let assets = Assets::ensure(&Progress::new()).await?;
                Self::find(&run, &assets)
            }
            _ => Ok(None),
        }
    }

    /// The cluster that is up in `run`, if there is one.
    fn find(run: &RunDirectory, assets: &Assets) -> Result<Option<Self>> {
        let (Some(supervisor), Some(status)) = (run.supervisor()?, run.status()?) else {
            return Ok(None);
        };
        let address = match status.address() {
            Some(address)
                if supervisor.ready && supervisor.is_alive() && status.ended.is_empty() =>
            {
                address
            }
            _ => return Ok(None),
        };
        Ok(Some(Self {
            run: run.clone(),
            supervisor,
            address,
            assets: assets.clone(),
            owner: None,
            lock: None,
        }))
    }

    /// Ends the cluster, whoever started it, and waits until nothing of it is
    /// left. The logs stay, unless it was this process's own: to keep those as
    /// well, drop it instead.
    ///
    /// # Errors
    /// Something is still there after 20 s; the message names it.
    pub async fn down(mut self) -> Result<()> {
        let Some(owner) = self.owner.take() else { return Self::down_in(&self.run).await };
        drop(owner);
        drop(self.lock.take());
        Self::down_in(&self.run).await?;
        std::fs::remove_dir_all(self.run.path())
            .with_context(|| format!("{} cannot be removed", self.run.path().display()))
    }

    /// Ends whatever is in `run`, also half a cluster.
    ///
    /// # Errors
    /// As [`Cluster::down`].
    pub async fn down_in(run: &RunDirectory) -> Result<()> {
        if !run.path().exists() {
            return Ok(());
        }
        let _lock = owner::lock(run).await?;
        owner::end(run)
    }

    /// A kubeconfig of the cluster's admin. Its server address works both on
    /// the host and inside the lab.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.run.kubeconfig()
    }

    /// A client with the admin's rights.
    ///
    /// # Errors
    /// The kubeconfig cannot be read.
    pub async fn client(&self) -> Result<kube::Client> {
        client(&self.run).await
    }

    /// `kubectl` with the admin's kubeconfig, on the host. It dies with this process.
    pub fn kubectl<I: IntoIterator<Item: AsRef<OsStr>>>(&self, arguments: I) -> Command {
        let mut command =
            bound(self.assets.program("kubectl").unwrap_or_else(|_| "kubectl".into()));
        command.env("KUBECONFIG", self.kubeconfig()).args(arguments);
        command
    }

    /// `program` inside the lab: the network of the first node, the lab's
    /// mounts and processes. It dies with this process and with the cluster.
    /// A bare name is searched on the host and in the lab's cache; a path is
    /// the same inside as outside.
    ///
    /// `env` on the returned command reaches the program.
    pub fn enter<I: IntoIterator<Item: AsRef<OsStr>>>(
        &self,
        program: impl AsRef<OsStr>,
        arguments: I,
    ) -> Command {
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
            .args(["--target", &self.supervisor.pid.to_string(), "--mount", "--pid", "--"])
            // The network's name is known only inside the mounts.
            .args(["nsenter", &format!("--net=/run/netns/{node}"), "--"])
            // The first `nsenter` stays outside as the parent; when it dies, so must the program.
            .args(["setpriv", "--pdeathsig", "KILL", "--"])
            .env("KUBECONFIG", self.kubeconfig())
            .arg(program)
            .args(arguments);
        if let Ok(path) = self.assets.search_path() {
            command.env("PATH", path);
        }
        match self.assets.library_path() {
            Ok(path) if !path.is_empty() => command.env("LD_LIBRARY_PATH", path),
            _ => &mut command,
        };
        command
    }

    /// Imports images into both nodes, but for those that are there already.
    /// Returns how many imports that took.
    ///
    /// # Errors
    /// A node's containerd refuses an image.
    pub async fn import_images(&self, images: &[ImageFile]) -> Result<usize> {
        containerd::import(&self.run, &self.assets, images).await
    }

    /// The programs that the lab has, HAProxy among them.
    #[must_use]
    pub fn assets(&self) -> &Assets {
        &self.assets
    }

    /// An address of the first node's network that servers inside the lab may
    /// bind, and that the host reaches too: the load balancer's.
    #[must_use]
    pub fn lb_address(&self) -> Ipv4Addr {
        self.address
    }

    /// The lab's directory. Files in it are seen inside and outside under the
    /// same path, and go away with the lab.
    #[must_use]
    pub fn run_directory(&self) -> &Path {
        self.run.path()
    }

    /// The folder with one log file per daemon. It stays when the lab ends.
    #[must_use]
    pub fn logs_dir(&self) -> PathBuf {
        self.run.logs()
    }

    /// The folder with the archives of all images that were imported when the cluster came up.
    #[must_use]
    pub fn images_dir(&self) -> PathBuf {
        self.run.images()
    }
}

/// A client with the rights of the admin of the lab in `run`.
async fn client(run: &RunDirectory) -> Result<kube::Client> {
    let kubeconfig =
        Kubeconfig::read_from(run.kubeconfig()).context("the lab's kubeconfig cannot be read")?;
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .context("the lab's kubeconfig cannot be used")?;
    kube::Client::try_from(config).context("a client for the lab cannot be made")
}
