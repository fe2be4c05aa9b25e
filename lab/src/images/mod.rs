//! Container images, made without a container engine.
//!
//! * [`archive`]: files -> an image archive, the same bytes for the same files.
//! * [`elf`]: the libraries that a program needs beside it.
//! * [`cluster`]: what the cluster itself and the demo's pods run.
//! * [`product`]: Lameduck's own three images.

pub mod archive;
pub mod cluster;
pub mod elf;
pub mod product;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// An image archive on disk.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ImageFile {
    /// The full name, registry and tag included.
    pub name: String,
    /// The manifest's digest, `sha256:…`: the same wherever the archive is imported.
    pub digest: String,
    /// The archive: a tar that is both an OCI image layout and a `docker save`
    /// archive, so `ctr`, `docker load`, `podman load` and `kind load` take it.
    pub path: PathBuf,
}

/// Writes `image` into `directory`, named after the image, all or nothing.
///
/// # Errors
/// A file of the image cannot be read, or the archive cannot be written.
pub fn write(image: &archive::Image, directory: &Path) -> Result<ImageFile> {
    let (digest, bytes) = image.build()?;
    let short = image.name.rsplit('/').next().unwrap_or(&image.name).replace(':', "-");
    let path = directory.join(format!("{short}.tar"));
    // The name tells labs apart that write the same image at the same time.
    let unfinished = directory.join(format!(".{short}.{}", std::process::id()));
    fs::create_dir_all(directory)
        .and_then(|()| fs::write(&unfinished, bytes))
        .and_then(|()| fs::rename(&unfinished, &path))
        .with_context(|| {
            format!("the image {} cannot be written to {}", image.name, path.display())
        })?;
    Ok(ImageFile { name: image.name.clone(), digest, path })
}
