//! The lab's view of the file system: the host's, but with folders and files of
//! its own where the daemons would otherwise write to the host.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::statfs;
use rustix::mount::{
    MountFlags, MountPropagationFlags, mount, mount_bind, mount_bind_recursive, mount_change,
};

use crate::cluster::plan::NODES;
use crate::cluster::run_directory::RunDirectory;

/// Folders of the host into which daemons write, whatever they are told: each
/// with the entries that the lab shall not see of the host's.
const SHARED_FOLDERS: [(&str, &[&str]); 3] = [
    // Network namespaces; containerd's shims.
    ("/run", &["netns", "containerd"]),
    // The CNI library's results; the kubelet's device plugins.
    ("/var/lib", &["cni", "kubelet", "containerd"]),
    // The kubelet's links to containers' logs.
    ("/var/log", &["containers", "pods"]),
];

/// Settings of the whole machine that a kubelet insists on, and changes where
/// it finds others. It is shown what it wants to see, so that it changes none.
const KUBELET_SETTINGS: [(&str, &str); 6] = [
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];

/// The type of an overlay file system (`OVERLAYFS_SUPER_MAGIC` of linux/magic.h).
/// A container's root often is one, and layers cannot be stacked on it: there
/// containerd keeps them in memory.
const OVERLAYFS: i64 = 0x794c_7630;

/// Makes the mounts. The caller must be in a mount namespace of its own.
pub(super) fn prepare(run: &RunDirectory) -> Result<()> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .context("the lab's mounts cannot be kept from the host")?;
    for (folder, hidden) in SHARED_FOLDERS {
        cover(Path::new(folder), hidden)
            .with_context(|| format!("the lab cannot have a {folder} of its own"))?;
    }
    let covers = run.path().join("covers");
    fs::create_dir_all(&covers).with_context(|| format!("{} cannot be made", covers.display()))?;
    for (setting, value) in KUBELET_SETTINGS {
        let file = covers.join(setting.replace('/', "."));
        fs::write(&file, format!("{value}\n"))
            .with_context(|| format!("{} cannot be written", file.display()))?;
        let target = Path::new("/proc/sys").join(setting);
        // A kernel without the setting has nothing to cover.
        if target.exists() {
            mount_bind(&file, &target)
                .with_context(|| format!("{} cannot be covered", target.display()))?;
        }
    }
    if statfs(run.path()).context("the lab's file system cannot be looked at")?.f_type == OVERLAYFS
    {
        for node in &NODES {
            let layers = run.node(node).join("containerd");
            fs::create_dir_all(&layers)
                .with_context(|| format!("{} cannot be made", layers.display()))?;
            mount("lab", &layers, "tmpfs", MountFlags::empty(), None)
                .with_context(|| format!("{} cannot be kept in memory", layers.display()))?;
        }
    }
    // Names of nodes, for `kubectl logs` and `exec`.
    let hosts = covers.join("hosts");
    let names: String =
        NODES.iter().map(|node| format!("{} {}\n", node.address, node.name)).collect();
    fs::write(&hosts, format!("127.0.0.1 localhost\n{names}"))
        .with_context(|| format!("{} cannot be written", hosts.display()))?;
    if Path::new("/etc/hosts").exists() {
        mount_bind(&hosts, "/etc/hosts").context("/etc/hosts cannot be covered")?;
    }
    Ok(())
}

/// Puts an empty folder in memory over `folder`, and the host's own folders
/// back into it, all but the `hidden` ones.
fn cover(folder: &Path, hidden: &[&str]) -> Result<()> {
    // Through its descriptor the host's folder stays reachable when it is covered.
    let below = File::open(folder)?;
    let names: Vec<_> = fs::read_dir(folder)?
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.file_name())
        .collect();
    mount("lab", folder, "tmpfs", MountFlags::empty(), None)?;
    for name in names.iter().filter(|name| !hidden.iter().any(|hidden| name == hidden)) {
        let place = folder.join(name);
        fs::create_dir(&place)?;
        mount_bind_recursive(
            Path::new(&format!("/proc/self/fd/{}", below.as_raw_fd())).join(name),
            &place,
        )?;
    }
    for name in hidden {
        fs::create_dir(folder.join(name))?;
    }
    Ok(())
}
