//! The supervisor: process 1 of a lab's pid namespace, in mounts of its own.
//!
//! It builds the networks, starts the daemons, reaps what they leave, and takes
//! everything down when it is told to (SIGTERM), or when its owner is gone: the
//! owner holds the other end of standard input. The byte `DETACH` on it says
//! that the lab shall live on without an owner. It restarts nothing: a daemon
//! that ends is a fact to be seen, in the status and in its log.

mod daemons;
mod mounts;
mod network;
mod pki;
mod teardown;

use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kube::config::{KubeConfigOptions, Kubeconfig};
use rustix::process::{WaitOptions, wait};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use self::daemons::Daemons;
use super::config;
use super::plan::{self, NODE_A, NODES};
use super::run_directory::{Phase, RunDirectory, Status};

pub(super) use teardown::remove_cgroups;

/// What an owner writes when its lab shall outlive it.
pub(super) const DETACH: u8 = b'd';

/// How long the API server may take: seconds on an idle machine, so a minute
/// is one that hangs.
const API_SERVER_SECONDS: u64 = 90;

/// The hidden command `supervise`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// The lab's directory
    #[arg(long)]
    run: PathBuf,
    /// The folder of the CNI plugins
    #[arg(long)]
    cni_plugins: PathBuf,
    /// The image of every pod's first process
    #[arg(long)]
    pause_image: String,
}

/// Runs a lab from its first process to its last. The caller must be process 1
/// of new pid and mount namespaces.
///
/// # Errors
/// This is not process 1, or what is left of the lab cannot be cleared away.
pub fn run(arguments: &Arguments) -> Result<()> {
    if std::process::id() != 1 {
        bail!(
            "`supervise` is what the lab starts as the first process of its namespaces; `cargo lab up` does so"
        );
    }
    // A session of its own, so that a Ctrl-C in the owner's terminal does not reach the daemons.
    rustix::process::setsid().context("the supervisor cannot have a session of its own")?;
    let run = RunDirectory::new(&arguments.run);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the supervisor's runtime cannot be started")?;
    let slot = runtime.block_on(live(&run, arguments))?;
    // The thread that reads standard input may still be in its read; the end of this process ends it.
    runtime.shutdown_background();
    teardown::all(&run).with_context(|| format!("the lab in slot {slot:?} is not cleared away"))
}

/// Starts everything and waits for the end. Returns the slot.
async fn live(run: &RunDirectory, arguments: &Arguments) -> Result<Option<u8>> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be received")?;
    let mut child_ended = signal(SignalKind::child()).context("SIGCHLD cannot be received")?;
    let mut owner = watch_owner();
    let mut status = Status {
        phase: Phase::Starting,
        message: "starting".into(),
        slot: None,
        ended: Vec::new(),
    };
    let mut daemons = Daemons::new(run);

    let started = tokio::select! {
        started = start(run, arguments, &mut status, &mut daemons) => started,
        _ = terminate.recv() => return Ok(status.slot),
        _ = &mut owner => return Ok(status.slot),
    };
    match started {
        Ok(()) => {
            status.phase = Phase::Running;
            status.message = "all daemons run".into();
        }
        Err(error) => {
            status.phase = Phase::Failed;
            status.message = format!("{error:#}");
        }
    }
    run.write_status(&status)?;
    let mut detached = false;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(status.slot),
            said = &mut owner, if !detached => match said {
                Ok(true) => detached = true,
                _ => return Ok(status.slot),
            },
            _ = child_ended.recv() => {
                let before = status.ended.len();
                while let Ok(Some((pid, how))) = wait(WaitOptions::NOHANG) {
                    status.ended.extend(daemons.ended(pid, how));
                }
                if status.ended.len() != before {
                    run.write_status(&status)?;
                }
            }
        }
    }
}

/// Starts everything, the API server first, for the others need it.
async fn start(
    run: &RunDirectory,
    arguments: &Arguments,
    status: &mut Status,
    daemons: &mut Daemons,
) -> Result<()> {
    mounts::prepare(run)?;
    let slot = network::create()?;
    status.slot = Some(slot);
    pki::create(run, slot)?;
    let admin = config::kubeconfig(
        run,
        &format!("https://{}:{}", plan::lab_address(slot), plan::API_PORT),
        "admin",
    );
    daemons::write_json(&run.kubeconfig(), &admin)?;
    run.write_status(status)?;

    daemons.etcd()?;
    daemons.api_server()?;
    for node in &NODES {
        daemons.containerd(node, &arguments.cni_plugins, &arguments.pause_image)?;
    }
    wait_for_api_server(run, daemons).await?;
    daemons.controller_manager()?;
    daemons.scheduler()?;
    for node in &NODES {
        daemons.kubelet(node)?;
        daemons.proxy(node)?;
    }
    daemons.all_alive()
}

/// Waits until the API server says that it is ready.
async fn wait_for_api_server(run: &RunDirectory, daemons: &mut Daemons) -> Result<()> {
    let kubeconfig =
        Kubeconfig::read_from(run.kubeconfig()).context("the admin's kubeconfig cannot be read")?;
    let mut options =
        kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .context("the admin's kubeconfig cannot be used")?;
    options.connect_timeout = Some(Duration::from_secs(1));
    options.read_timeout = Some(Duration::from_secs(2));
    let client =
        kube::Client::try_from(options).context("a client for the API server cannot be made")?;
    let mut last = "it was never asked".to_owned();
    for _ in 0..API_SERVER_SECONDS * 10 {
        daemons.all_alive()?;
        let request = hyper::http::Request::get("/readyz")
            .body(Vec::new())
            .context("a request cannot be made")?;
        match client.request_text(request).await {
            Ok(_) => return Ok(()),
            Err(error) => last = error.to_string(),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("the API server on {} is not ready after {API_SERVER_SECONDS} s: {last}", NODE_A.name)
}

/// Says once whether the owner has let the lab go (`true`) or is gone. Standard
/// input is read in a thread, because it cannot be read without one.
fn watch_owner() -> oneshot::Receiver<bool> {
    let (send, ended) = oneshot::channel();
    std::thread::spawn(move || {
        let mut byte = [0];
        let detached = matches!(std::io::stdin().read(&mut byte), Ok(1)) && byte[0] == DETACH;
        // Nobody listens any more where the lab is being taken down already.
        send.send(detached).ok();
    });
    ended
}
