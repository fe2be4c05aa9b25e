//! The cache folder: where it is, one builder at a time, whole entries only.

use std::fs::{self, File, TryLockError};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::progress::Progress;

/// How long to wait for another lab that fills the cache: a first build takes
/// eight minutes on two cores, so an hour is a build that hangs.
const LOCK_SECONDS: u64 = 3600;

/// `$LAMEDUCK_CACHE`, else `$XDG_CACHE_HOME/lameduck`, else `~/.cache/lameduck`.
///
/// # Errors
/// None of the three variables that could say it is set.
pub fn directory() -> Result<PathBuf> {
    let set =
        |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(directory) = set("LAMEDUCK_CACHE") {
        return std::path::absolute(&directory)
            .with_context(|| format!("LAMEDUCK_CACHE={} is no usable path", directory.display()));
    }
    if let Some(directory) = set("XDG_CACHE_HOME") {
        return Ok(directory.join("lameduck"));
    }
    match set("HOME") {
        Some(home) => Ok(home.join(".cache/lameduck")),
        None => bail!("there is no place for the lab's cache: set LAMEDUCK_CACHE or HOME"),
    }
}

/// Waits until no other lab fills the cache. The lock ends with the returned
/// file, so also with this process.
///
/// # Errors
/// The cache cannot be written, or the other lab holds it for an hour.
pub async fn lock(progress: &Progress) -> Result<File> {
    let directory = directory()?;
    fs::create_dir_all(&directory)
        .with_context(|| format!("the cache folder {} cannot be made", directory.display()))?;
    let path = directory.join("lock");
    let file =
        File::create(&path).with_context(|| format!("{} cannot be opened", path.display()))?;
    let mut waiting = None;
    for _ in 0..LOCK_SECONDS * 5 {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => {
                let step = waiting.get_or_insert_with(|| {
                    progress.step("waiting for another lab that fills the cache")
                });
                step.message("");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("{} cannot be locked", path.display()));
            }
        }
    }
    bail!("another lab holds {} for an hour: end it, or set LAMEDUCK_CACHE", path.display())
}

/// Removes what a killed builder left. Call it under the lock.
pub(super) fn clear_leftovers() -> Result<()> {
    let directory = directory()?.join("unfinished");
    match fs::remove_dir_all(&directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{} cannot be cleared", directory.display()))
        }
        _ => Ok(()),
    }
}

/// An entry of the cache that is being made. Call it under the lock.
pub(super) struct Entry {
    path: PathBuf,
    unfinished: PathBuf,
}

impl Entry {
    /// The entry `name`, whose contents depend on nothing but `recipe`.
    pub(super) fn new(name: &str, recipe: &[&[u8]]) -> Result<Self> {
        let name = format!("{name}-{}", &hash(recipe)[..12]);
        let directory = directory()?;
        Ok(Self {
            path: directory.join(&name),
            unfinished: directory.join("unfinished").join(name),
        })
    }

    /// The whole entry, if it was made before.
    pub(super) fn complete(&self) -> Option<PathBuf> {
        self.path.is_dir().then(|| self.path.clone())
    }

    /// An empty folder to make the entry in.
    pub(super) fn begin(&self) -> Result<PathBuf> {
        fs::create_dir_all(&self.unfinished).with_context(|| {
            format!("the cache folder {} cannot be made", self.unfinished.display())
        })?;
        Ok(self.unfinished.clone())
    }

    /// Moves the entry into place: from now on it counts.
    pub(super) fn finish(self) -> Result<PathBuf> {
        fs::rename(&self.unfinished, &self.path).with_context(|| {
            format!("the finished cache entry cannot be moved to {}", self.path.display())
        })?;
        Ok(self.path)
    }
}

/// The SHA-256 of `parts`, in hexadecimal.
#[must_use]
pub fn hash(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        // The length first, so that no two lists of parts run into the same bytes.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hex(&hash.finalize())
}

/// `bytes` in lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
