//! The end of a lab: every process, mount, control group and file of it.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait};

use crate::cluster::link::Link;
use crate::cluster::plan::NODES;
use crate::cluster::run_directory::RunDirectory;

/// Where a machine's control groups are, in versions 1 and 2.
const CGROUPS: &str = "/sys/fs/cgroup";

/// How often to look whether killed processes are gone, 20 ms apart: a process
/// that is in the kernel for 5 s is stuck there.
const KILL_ROUNDS: u32 = 250;

/// Takes everything down. The caller must be process 1 of the lab.
pub(super) fn all(run: &RunDirectory) -> Result<()> {
    let containers = containers(run);
    kill_everybody()?;
    unmount_below(run.path());
    // The other interfaces go with their namespaces. This one is on the host.
    if let Some(link) = Link::of(run)? {
        link.remove();
    }
    remove_cgroups_of(&containers);
    run.clear()
}

/// Kills every process of this pid namespace but this one, and reaps them.
fn kill_everybody() -> Result<()> {
    for _ in 0..KILL_ROUNDS {
        let others = others()?;
        if others.is_empty() {
            return Ok(());
        }
        for pid in others {
            // It may have ended since.
            kill_process(pid, Signal::KILL).ok();
        }
        std::thread::sleep(Duration::from_millis(20));
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
    }
    bail!("processes {:?} of the lab do not end", others()?)
}

/// All processes of this pid namespace but its first.
fn others() -> Result<Vec<Pid>> {
    let entries = fs::read_dir("/proc").context("/proc cannot be listed")?;
    let numbers =
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    Ok(numbers.filter(|pid| *pid > 1).filter_map(Pid::from_raw).collect())
}

/// Unmounts whatever is mounted below `directory`: containers' root file
/// systems and pods' volumes. Innermost first, which is last first.
fn unmount_below(directory: &Path) {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points: Vec<&str> = text.lines().filter_map(|line| line.split(' ').nth(4)).collect();
    for point in points.into_iter().rev().filter(|point| Path::new(point).starts_with(directory)) {
        // What cannot be unmounted goes with the mount namespace.
        unmount(point, UnmountFlags::DETACH).ok();
    }
}

/// The ids of the containers that the lab's containerds know.
fn containers(run: &RunDirectory) -> BTreeSet<OsString> {
    let folders = NODES
        .iter()
        .map(|node| run.node(node).join("containerd/state/io.containerd.runtime.v2.task/k8s.io"));
    folders
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flatten()
        .flatten()
        .map(|entry| entry.file_name())
        .collect()
}

/// Removes the control groups of a lab whose processes are gone.
pub(in crate::cluster) fn remove_cgroups(run: &RunDirectory) {
    remove_cgroups_of(&containers(run));
}

/// runc makes a control group `/k8s.io/ID` for each container, in each
/// hierarchy, and removes it when it deletes the container. Those that were
/// killed with the lab are left.
fn remove_cgroups_of(containers: &BTreeSet<OsString>) {
    let hierarchies =
        fs::read_dir(CGROUPS).into_iter().flatten().flatten().map(|entry| entry.path());
    for hierarchy in hierarchies.chain([PathBuf::from(CGROUPS)]) {
        let parent = hierarchy.join("k8s.io");
        for container in containers {
            // Not every hierarchy has every container's.
            fs::remove_dir(parent.join(container)).ok();
        }
        // Refused, as it must be, while another lab or the host has containers there.
        fs::remove_dir(parent).ok();
    }
}
