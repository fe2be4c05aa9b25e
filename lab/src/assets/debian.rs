//! Programs that Debian packages: the host's own, or else unpacked into the cache.
//!
//! They are never installed: `apt-get --download-only` fetches exactly the
//! packages that an installation would need, and `dpkg -x` unpacks them. So no
//! service of the host is started or changed because of the lab.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::{cache, find_program, host_directories};
use crate::process::{bound, output};
use crate::progress::Progress;

/// Each program that the lab calls, with Debian's package that has it.
const PROGRAMS: [(&str, &str); 12] = [
    ("etcd", "etcd-server"),
    ("containerd", "containerd"),
    ("containerd-shim-runc-v2", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("bridge", "containernetworking-plugins"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("iptables", "iptables"),
    ("conntrack", "conntrack"),
    ("haproxy", "haproxy"),
    ("nginx", "nginx"),
];

/// Where CNI plugins are on a host: Debian's place, then the usual one.
const CNI_DIRECTORIES: [&str; 2] = ["/usr/lib/cni", "/opt/cni/bin"];

/// Where the programs of Debian's packages are.
#[derive(Clone, Debug)]
pub(super) struct Debian {
    /// The unpacked packages; none where the host has everything.
    root: Option<PathBuf>,
}

impl Debian {
    /// Folders with programs, before those of the host.
    pub(super) fn program_directories(&self) -> Vec<PathBuf> {
        let unpacked = self.root.iter().flat_map(|root| {
            ["usr/sbin", "usr/bin", "sbin", "bin", "usr/lib/cni"].map(|part| root.join(part))
        });
        unpacked.chain(CNI_DIRECTORIES.map(PathBuf::from)).collect()
    }

    /// Folders with the libraries of unpacked programs.
    pub(super) fn library_directories(&self) -> Vec<PathBuf> {
        let triple = format!("{}-linux-gnu", std::env::consts::ARCH);
        self.root
            .iter()
            .flat_map(|root| ["usr/lib", "lib"].map(|part| root.join(part).join(&triple)))
            .collect()
    }
}

/// Takes the host's programs, and unpacks Debian's packages for the rest.
///
/// # Errors
/// Something is missing and apt is not there, or cannot fetch it.
pub(super) async fn ensure(progress: &Progress) -> Result<Debian> {
    let host: Vec<PathBuf> =
        host_directories().into_iter().chain(CNI_DIRECTORIES.map(PathBuf::from)).collect();
    let missing: Vec<(&str, &str)> = PROGRAMS
        .into_iter()
        .filter(|(program, _)| find_program(program, &host).is_none())
        .collect();
    if missing.is_empty() {
        return Ok(Debian { root: None });
    }
    let mut packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    packages.sort_unstable();
    packages.dedup();
    let release = fs::read("/etc/os-release").unwrap_or_default();
    let entry = cache::Entry::new("debian", &[packages.join(" ").as_bytes(), &release])?;
    if let Some(root) = entry.complete() {
        return Ok(Debian { root: Some(root.join("root")) });
    }
    for needed in ["apt-get", "dpkg"] {
        if find_program(needed, &[]).is_none() {
            let programs: Vec<&str> = missing.iter().map(|(program, _)| *program).collect();
            bail!(
                "the lab needs {}, and {needed} is not here to fetch them. Install them; Debian's packages are called {}",
                programs.join(", "),
                packages.join(", ")
            );
        }
    }
    let mut step = progress.step(format!("fetching Debian packages: {}", packages.join(", ")));
    let directory = entry.begin()?;
    let archives = directory.join("archives");
    fs::create_dir_all(archives.join("partial"))
        .context("the folder for Debian's packages cannot be made")?;
    if download(&packages, &archives).await.is_err() {
        step.message("apt's package lists are missing or old: updating them");
        output("apt-get update", bound("apt-get").args(["update", "--quiet"])).await?;
        download(&packages, &archives).await?;
    }
    let root = directory.join("root");
    for archive in fs::read_dir(&archives).context("the fetched packages cannot be listed")? {
        let archive = archive.context("the fetched packages cannot be listed")?.path();
        if archive.extension().is_some_and(|extension| extension == "deb") {
            output("unpacking a Debian package", bound("dpkg").arg("-x").args([&archive, &root]))
                .await?;
        }
    }
    fs::remove_dir_all(&archives).context("the unpacked packages' archives cannot be removed")?;
    let unpacked = Debian { root: Some(root) };
    let still: Vec<&str> = missing
        .iter()
        .map(|(program, _)| *program)
        .filter(|program| find_program(program, &unpacked.program_directories()).is_none())
        .collect();
    if !still.is_empty() {
        bail!("Debian's packages {} do not have {}", packages.join(", "), still.join(", "));
    }
    let root = entry.finish()?.join("root");
    step.done("");
    Ok(Debian { root: Some(root) })
}

/// Downloads `packages`, and whatever the host lacks that they need, into `archives`.
async fn download(packages: &[&str], archives: &Path) -> Result<String> {
    let mut command = bound("apt-get");
    command
        .args(["install", "--download-only", "--no-install-recommends", "--yes", "--quiet"])
        .args(["--option", &format!("Dir::Cache::archives={}", archives.display())])
        // Another apt on the host may hold its lock for a moment.
        .args(["--option", "DPkg::Lock::Timeout=120"])
        .args(packages)
        .env("DEBIAN_FRONTEND", "noninteractive");
    output(&format!("fetching Debian packages {}", packages.join(" ")), &mut command).await
}
