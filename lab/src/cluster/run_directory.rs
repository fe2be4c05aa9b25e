//! A lab's state on disk: one directory is one lab.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::plan::{self, Node};
use crate::assets::cache;

/// The paths of a lab.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RunDirectory(PathBuf);

/// What stays when a lab ends: the lock, which another `up` may wait for, and
/// the logs, which say why it ended.
const KEPT: [&str; 2] = ["lock", "log"];

impl RunDirectory {
    /// The lab in `path`.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The lab of `cargo lab up`: `$LAMEDUCK_RUN`, else `run/default` in the cache.
    ///
    /// # Errors
    /// There is no place for a cache.
    pub fn shared() -> Result<Self> {
        match std::env::var_os("LAMEDUCK_RUN").filter(|value| !value.is_empty()) {
            Some(path) => {
                Ok(Self(std::path::absolute(&path).context("LAMEDUCK_RUN is no usable path")?))
            }
            None => Ok(Self(cache::directory()?.join("run/default"))),
        }
    }

    /// A lab that belongs to this process.
    ///
    /// # Errors
    /// There is no place for a cache.
    pub fn owned(name: &str) -> Result<Self> {
        Ok(Self(cache::directory()?.join(format!("run/{name}-{}", std::process::id()))))
    }

    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The admin's kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.0.join("kubeconfig")
    }

    /// The folder with one log file per daemon.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.0.join("log")
    }

    pub(super) fn images(&self) -> PathBuf {
        self.0.join("images")
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }

    pub(super) fn etcd(&self) -> PathBuf {
        self.0.join("etcd")
    }

    pub(super) fn pki(&self, file: &str) -> PathBuf {
        self.0.join("pki").join(file)
    }

    pub(super) fn node(&self, node: &Node) -> PathBuf {
        self.0.join(node.name)
    }

    pub(super) fn containerd_socket(&self, node_name: &str) -> PathBuf {
        self.0.join(node_name).join("containerd.sock")
    }

    /// What the supervisor says of itself; none before it has said anything.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn status(&self) -> Result<Option<Status>> {
        self.read("status.json")
    }

    pub(super) fn write_status(&self, status: &Status) -> Result<()> {
        self.write("status.json", status)
    }

    /// The supervisor's process as the host sees it.
    pub(super) fn supervisor(&self) -> Result<Option<Supervisor>> {
        self.read("supervisor.json")
    }

    pub(super) fn write_supervisor(&self, supervisor: &Supervisor) -> Result<()> {
        self.write("supervisor.json", supervisor)
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let path = self.0.join(name);
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .map(Some)
                .with_context(|| format!("{} makes no sense", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("{} cannot be read", path.display())),
        }
    }

    /// Writes all or nothing, because somebody else may read at any moment.
    fn write<T: Serialize>(&self, name: &str, value: &T) -> Result<()> {
        let path = self.0.join(name);
        let unfinished = self.0.join(format!(".{name}"));
        let text = serde_json::to_vec_pretty(value)
            .with_context(|| format!("{name} cannot be written"))?;
        fs::write(&unfinished, text)
            .and_then(|()| fs::rename(&unfinished, &path))
            .with_context(|| format!("{} cannot be written", path.display()))
    }

    /// Whether there is anything to clear away.
    pub(super) fn has_state(&self) -> bool {
        fs::read_dir(&self.0).is_ok_and(|entries| entries.flatten().any(|entry| !is_kept(&entry)))
    }

    /// Removes everything but the logs and the lock.
    pub(super) fn clear(&self) -> Result<()> {
        let entries = match fs::read_dir(&self.0) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            entries => entries.with_context(|| format!("{} cannot be listed", self.0.display()))?,
        };
        for entry in entries.flatten().filter(|entry| !is_kept(entry)) {
            let path = entry.path();
            let removed = if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            };
            removed
                .with_context(|| format!("{} of an ended lab cannot be removed", path.display()))?;
        }
        Ok(())
    }
}

fn is_kept(entry: &fs::DirEntry) -> bool {
    KEPT.iter().any(|kept| entry.file_name() == *kept)
}

/// How far a lab is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Phase {
    /// The daemons are being started.
    Starting,
    /// The API server answers, and all daemons run.
    Running,
    /// A daemon that must run has ended, or could not be started.
    Failed,
}

/// What the supervisor says of itself.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Status {
    /// How far it is.
    pub phase: Phase,
    /// What it does just now, or why it failed.
    pub message: String,
    /// Which of the labs on this machine it is; none before that is known.
    pub slot: Option<u8>,
    /// The daemons that ended by themselves, and how.
    pub ended: Vec<String>,
}

impl Status {
    /// The address of the lab that the host reaches.
    #[must_use]
    pub fn address(&self) -> Option<Ipv4Addr> {
        self.slot.map(plan::lab_address)
    }
}

/// The supervisor's process as the host sees it. The start time tells it apart
/// from a later process with the same id.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Supervisor {
    pub pid: u32,
    pub started_ticks: u64,
    /// Whether the lab came up whole.
    pub ready: bool,
}

impl Supervisor {
    /// Looks at the process `pid`; none if there is no such process.
    pub(super) fn find(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some(Self { pid, started_ticks: started_ticks(&stat)?, ready: false })
    }

    /// Whether the process is still there. A zombie is not.
    pub(super) fn is_alive(&self) -> bool {
        Self::find(self.pid).is_some_and(|found| found.started_ticks == self.started_ticks)
    }
}

/// The start time in a line of `/proc/PID/stat`: the 22nd field (proc(5)). The
/// second is the program's name in parentheses and may hold anything, so count
/// from behind it. None for a process that has ended.
fn started_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?;
    if state == "Z" || state == "X" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Supervisor, started_ticks};

    #[test]
    fn a_start_time_is_found_behind_any_name() {
        let rest = (4..=30).map(|field| field.to_string()).collect::<Vec<_>>().join(" ");
        assert_eq!(started_ticks(&format!("7 (a) b) c) S {rest}")), Some(22));
        assert_eq!(started_ticks(&format!("7 (a) Z {rest}")), None);
    }

    #[test]
    fn this_process_is_alive_and_its_id_with_another_start_is_not() {
        let mut this = Supervisor::find(std::process::id()).unwrap();
        assert!(this.is_alive());
        this.started_ticks += 1;
        assert!(!this.is_alive());
    }
}
