//! `install`: puts the hold where the pod's containers find it.

use std::fmt;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::identity::Identity;

/// File name of the binary inside the folder that `install` fills.
pub(crate) const BINARY: &str = "hold";

/// Which file could not be installed, and why.
#[derive(Debug)]
pub(crate) struct Error {
    path: PathBuf,
    cause: io::Error,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot install {}: {}", self.path.display(), self.cause)
    }
}

/// Copies `binary` into `folder` and writes `identity` beside it. Each file appears whole or not at
/// all, so that the init container may be killed at any moment and run again.
///
/// # Errors
/// A file cannot be read or written.
pub(crate) fn install(binary: &Path, folder: &Path, identity: &Identity) -> Result<(), Error> {
    let copy = |to: &mut fs::File| io::copy(&mut fs::File::open(binary)?, to).map(drop);
    put(folder, BINARY, 0o555, copy)?;
    put(folder, Identity::FILE, 0o444, |to| to.write_all(identity.to_string().as_bytes()))
}

fn put(
    folder: &Path,
    name: &str,
    mode: u32,
    fill: impl FnOnce(&mut fs::File) -> io::Result<()>,
) -> Result<(), Error> {
    let path = folder.join(name);
    let unfinished = folder.join(format!(".{name}.unfinished"));
    let write = || {
        // A leftover of a killed run is read-only: it is removed, not reopened.
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(mode).open(&unfinished)?;
        fill(&mut file)?;
        // The umask does not count: other users run the binary.
        file.set_permissions(Permissions::from_mode(mode))?;
        // Closed before it is renamed: nothing executes a file that is open for writing.
        drop(file);
        fs::rename(&unfinished, &path)
    };
    write().map_err(|cause| Error { path: path.clone(), cause })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity { namespace: "n".into(), name: "p".into(), uid: "u".into(), ip: String::new() }
    }

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("hold-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        folder
    }

    #[test]
    fn runs_again_over_its_own_and_over_a_killed_run() {
        let folder = folder("install");
        let source = folder.join("source");
        fs::write(&source, b"one").expect("a source");
        fs::write(folder.join(".hold.unfinished"), b"half").expect("a leftover");
        fs::set_permissions(folder.join(".hold.unfinished"), Permissions::from_mode(0o444))
            .expect("a mode");

        install(&source, &folder, &identity()).expect("a first run");
        fs::write(&source, b"two").expect("a source");
        install(&source, &folder, &identity()).expect("a second run");

        assert_eq!(fs::read(folder.join("hold")).expect("the copy"), b"two");
        let mode = |name: &str| {
            fs::metadata(folder.join(name)).expect("a file").permissions().mode() & 0o777
        };
        assert_eq!((mode("hold"), mode("identity")), (0o555, 0o444));
        assert_eq!(Identity::read(&folder).expect("an identity"), identity());
        let left = fs::read_dir(&folder).expect("a folder").count();
        assert_eq!(left, 3, "source, hold, identity and nothing unfinished");
        fs::remove_dir_all(folder).expect("a clean end");
    }

    #[test]
    fn a_failed_copy_leaves_the_old_binary() {
        let folder = folder("failed");
        let source = folder.join("source");
        fs::write(&source, b"one").expect("a source");
        install(&source, &folder, &identity()).expect("a first run");
        let error = install(&folder.join("absent"), &folder, &identity()).expect_err("no source");
        assert!(error.to_string().contains("hold"), "{error}");
        assert_eq!(fs::read(folder.join("hold")).expect("the copy"), b"one");
        fs::remove_dir_all(folder).expect("a clean end");
    }
}
