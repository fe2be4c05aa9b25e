//! The programs that the lab needs, fetched or built once into a cache outside
//! the checkout.
//!
//! * [`debian`]: etcd, containerd, runc and the like: from the host where it has
//!   them, else Debian's packages, unpacked into the cache and never installed,
//!   so that no service of the host is started.
//! * [`go`]: Kubernetes and CoreDNS, built through the Go module proxy.
//!
//! Every entry of the cache is made in a temporary folder and moved into place
//! when it is complete: half a build never counts.

pub mod cache;
pub mod debian;
pub mod go;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::progress::Progress;

/// The version of Kubernetes that the lab runs.
pub const KUBERNETES_VERSION: &str = "1.36.3";

/// All programs that the lab needs, ready to be run.
#[derive(Clone, Debug)]
pub struct Assets {
    program_directories: Vec<PathBuf>,
    library_directories: Vec<PathBuf>,
    coredns: PathBuf,
}

impl Assets {
    /// Takes what the host and the cache have, and fetches or builds the rest:
    /// seconds when warm, about eight minutes on two cores the first time.
    ///
    /// # Errors
    /// Names each program that is missing and what to install for it.
    pub async fn ensure(progress: &Progress) -> Result<Self> {
        go::require()?;
        let _lock = cache::lock(progress).await?;
        cache::clear_leftovers()?;
        let debian = debian::ensure(progress).await?;
        let kubernetes = go::kubernetes(progress).await?;
        let coredns = go::coredns(progress).await?;
        let mut program_directories = Vec::new();
        program_directories.extend(go::kubebuilder_assets());
        program_directories.push(kubernetes);
        program_directories.extend(debian.program_directories());
        Ok(Self {
            program_directories,
            library_directories: debian.library_directories(),
            coredns: coredns.join("coredns"),
        })
    }

    /// The program `name`, with its whole path.
    ///
    /// # Errors
    /// It is nowhere.
    pub fn program(&self, name: &str) -> Result<PathBuf> {
        match find_program(name, &self.program_directories) {
            Some(path) => Ok(path),
            None => bail!("the program {name} is neither on the host nor in the lab's cache"),
        }
    }

    /// The `coredns` binary.
    #[must_use]
    pub fn coredns(&self) -> &Path {
        &self.coredns
    }

    /// A `PATH` that finds all programs.
    ///
    /// # Errors
    /// A folder's name has a colon in it.
    pub fn search_path(&self) -> Result<OsString> {
        std::env::join_paths(self.program_directories.iter().cloned().chain(host_directories()))
            .context("the search path for the lab's programs cannot be written: a folder's name has a colon")
    }

    /// An `LD_LIBRARY_PATH` for programs that are not installed but unpacked;
    /// empty where the host has everything.
    ///
    /// # Errors
    /// A folder's name has a colon in it.
    pub fn library_path(&self) -> Result<OsString> {
        std::env::join_paths(&self.library_directories)
            .context("the library path for the lab's programs cannot be written: a folder's name has a colon")
    }
}

/// `PATH`, and the folders with root's programs, which are often not on it.
fn host_directories() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .collect()
}

/// The first file `name` in `directories`, then on the host.
fn find_program(name: &str, directories: &[PathBuf]) -> Option<PathBuf> {
    directories
        .iter()
        .cloned()
        .chain(host_directories())
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
}
