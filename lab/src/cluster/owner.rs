//! The host's side of a lab's life: start its supervisor, let it go, end it,
//! clear away what a killed one left.

use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::link::Link;
use super::run_directory::{Phase, RunDirectory, Status, Supervisor};
use super::supervisor::{self, DETACH};
use crate::assets::Assets;
use crate::images::cluster::PAUSE;

/// How long a lab may take to end by itself before it is killed.
const END_SECONDS: u64 = 10;

/// How long the logs of labs whose owners are gone are kept.
const LOGS_KEPT: Duration = Duration::from_secs(24 * 3600);

/// A supervisor that this process started. Dropping it ends the lab, and waits
/// until it has ended.
#[derive(Debug)]
pub(super) struct Owner {
    run: RunDirectory,
    child: Child,
}

impl Owner {
    /// Starts a supervisor in new pid and mount namespaces.
    pub(super) fn start(run: &RunDirectory, assets: &Assets) -> Result<Self> {
        let logs = run.logs();
        // The last lab's logs would be taken for this one's.
        if logs.is_dir() {
            fs::remove_dir_all(&logs)
                .with_context(|| format!("the old logs in {} cannot be removed", logs.display()))?;
        }
        fs::create_dir_all(&logs).with_context(|| format!("{} cannot be made", logs.display()))?;
        let log = File::create(logs.join("supervisor.log"))
            .context("the supervisor's log cannot be written")?;
        let errors = log.try_clone().context("the supervisor's log cannot be written")?;
        let bridge = assets.program("bridge").context("the CNI plugins are missing")?;
        let plugins = bridge.parent().context("the CNI plugins are in no folder")?;
        let this = std::env::current_exe().context("the lab cannot find its own program")?;
        let mut unshare = Command::new("unshare");
        unshare
            .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"])
            .arg(this)
            .args(["supervise", "--pause-image", PAUSE, "--run"])
            .arg(run.path())
            .arg("--cni-plugins")
            .arg(plugins)
            .env("PATH", assets.search_path()?)
            .stdin(Stdio::piped())
            .stdout(log)
            .stderr(errors);
        let libraries = assets.library_path()?;
        if !libraries.is_empty() {
            unshare.env("LD_LIBRARY_PATH", libraries);
        }
        // Out of the terminal's foreground: a Ctrl-C reaches us alone, and we end the lab in order.
        std::os::unix::process::CommandExt::process_group(&mut unshare, 0);
        let child = unshare
            .spawn()
            .context("the lab's supervisor cannot be started: is unshare (util-linux) there?")?;
        Ok(Self { run: run.clone(), child })
    }

    /// The supervisor as the host sees it, once it is there: the only child of `unshare`.
    pub(super) async fn supervisor(&mut self) -> Result<Supervisor> {
        let pid = self.child.id();
        for _ in 0..200 {
            let children =
                fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
            if let Some(found) =
                children.split(' ').find_map(|child| child.parse().ok()).and_then(Supervisor::find)
            {
                self.run.write_supervisor(&found)?;
                return Ok(found);
            }
            self.check_alive()?;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        bail!(
            "the lab's supervisor does not start; see {}",
            self.run.logs().join("supervisor.log").display()
        )
    }

    /// The supervisor's status, once `wanted` is true of it.
    pub(super) async fn wait_for(
        &mut self,
        seconds: u64,
        wanted: impl Fn(&Status) -> bool,
    ) -> Result<Status> {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.run.status()? {
                if status.phase == Phase::Failed {
                    bail!("the lab did not start: {}", status.message);
                }
                if wanted(&status) {
                    return Ok(status);
                }
            }
            self.check_alive()?;
            if begin.elapsed().as_secs() > seconds {
                bail!(
                    "the lab does not start within {seconds} s; the logs are in {}",
                    self.run.logs().display()
                );
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn check_alive(&mut self) -> Result<()> {
        if let Some(how) =
            self.child.try_wait().context("the lab's supervisor cannot be watched")?
        {
            let log = self.run.logs().join("supervisor.log");
            let text = fs::read_to_string(&log).unwrap_or_default();
            bail!("the lab's supervisor ended ({how}): {}", text.trim());
        }
        Ok(())
    }

    /// Lets the lab live on without an owner.
    pub(super) fn detach(mut self) -> Result<()> {
        let mut input = self.child.stdin.take().context("the lab has been let go already")?;
        input.write_all(&[DETACH]).context("the lab's supervisor does not listen")
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // A lab that was let go has no input any more.
        if self.child.stdin.take().is_none()
            && self.child.try_wait().is_ok_and(|ended| ended.is_none())
        {
            return;
        }
        let link = Link::of(&self.run).unwrap_or_default();
        let begin = Instant::now();
        while self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            if begin.elapsed().as_secs() > END_SECONDS {
                // `--kill-child`: its end is the end of process 1, and so of all.
                drop(self.child.kill());
                drop(self.child.wait());
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        if let Err(error) = clear(&self.run) {
            eprintln!("the lab in {} is not cleared away: {error:#}", self.run.path().display());
        }
        if let Some(link) = link {
            link.remove();
        }
    }
}

/// One `up` or `down` per lab at a time. The lock ends with the returned file.
pub(super) async fn lock(run: &RunDirectory) -> Result<File> {
    fs::create_dir_all(run.path())
        .with_context(|| format!("{} cannot be made", run.path().display()))?;
    let path = run.lock();
    let file =
        File::create(&path).with_context(|| format!("{} cannot be written", path.display()))?;
    // A first `up` builds Kubernetes, so another may wait long; an hour is one that hangs.
    for _ in 0..3600 * 10 {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => tokio::time::sleep(Duration::from_millis(100)).await,
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("{} cannot be locked", path.display()));
            }
        }
    }
    bail!(
        "another process brings the lab in {} up or down for an hour already",
        run.path().display()
    )
}

/// Ends the lab in `run`, whoever started it, and waits until nothing is left.
pub(super) fn end(run: &RunDirectory) -> Result<()> {
    let link = Link::of(run)?;
    if let Some(supervisor) = run.supervisor()? {
        let pid = i32::try_from(supervisor.pid)
            .ok()
            .and_then(Pid::from_raw)
            .context("the lab's supervisor has no process id")?;
        for signal in [Signal::TERM, Signal::KILL] {
            if !supervisor.is_alive() {
                break;
            }
            // It may end between the two lines; then there is nothing to signal.
            kill_process(pid, signal).ok();
            let begin = Instant::now();
            while supervisor.is_alive() && begin.elapsed().as_secs() < END_SECONDS {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        if supervisor.is_alive() {
            bail!("the lab's supervisor, process {}, does not end", supervisor.pid);
        }
    }
    clear(run)?;
    if let Some(link) = link {
        link.remove();
    }
    Ok(())
}

/// Clears away the labs beside `run` whose owners are gone. Their supervisors
/// have done so, unless they were killed as well; then only logs are left, and
/// those stay for a day.
pub(super) fn prune(run: &RunDirectory) {
    let siblings = run
        .path()
        .parent()
        .and_then(|parent| fs::read_dir(parent).ok())
        .into_iter()
        .flatten()
        .flatten();
    for sibling in siblings {
        // Owned ones are called NAME-PID, and their owners hold their locks.
        let name = sibling.file_name();
        if name
            .to_str()
            .and_then(|name| name.rsplit_once('-'))
            .is_none_or(|(_, pid)| pid.parse::<u32>().is_err())
        {
            continue;
        }
        let old = RunDirectory::new(sibling.path());
        let Ok(lock) = File::open(old.lock()) else { continue };
        if lock.try_lock().is_err() {
            continue;
        }
        if let Err(error) = end(&old) {
            eprintln!(
                "a lab whose owner is gone, in {}, is not cleared away: {error:#}",
                old.path().display()
            );
        }
        let modified = sibling.metadata().and_then(|metadata| metadata.modified());
        if modified.is_ok_and(|time| time.elapsed().is_ok_and(|age| age > LOGS_KEPT)) {
            // Somebody else may prune at the same time.
            fs::remove_dir_all(old.path()).ok();
        }
    }
}

/// Removes what an ended lab left, if its supervisor could not do so itself.
fn clear(run: &RunDirectory) -> Result<()> {
    if run.has_state() {
        supervisor::remove_cgroups(run);
        run.clear()?;
    }
    Ok(())
}
