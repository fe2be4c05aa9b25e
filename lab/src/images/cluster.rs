//! What the cluster itself and the demo's pods run: the pause process, CoreDNS,
//! and an ordinary nginx.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::archive::{Entry, Image};
use super::{ImageFile, elf, write};
use crate::assets::{Assets, cache};
use crate::process::{bound, output};

/// The image of every pod's first process.
pub const PAUSE: &str = "docker.io/lab/pause:1";
/// The cluster's DNS server.
pub const COREDNS: &str = "docker.io/lab/coredns:1";
/// The demo's web server: nginx on port 8080, with `sh` and `sleep`.
pub const NGINX: &str = "docker.io/lab/nginx:1";

const PAUSE_SOURCE: &str = include_str!("recipes/pause.rs");
const NGINX_CONFIGURATION: &str = include_str!("recipes/nginx.conf");

/// Makes the three images in `directory`.
///
/// # Errors
/// A program of theirs is missing or cannot be built.
pub async fn all(assets: &Assets, directory: &Path) -> Result<Vec<ImageFile>> {
    let library_path = assets.library_path()?;

    let mut pause = Image::new(PAUSE, &["/pause"]);
    pause.files.insert("/pause".into(), Entry::Copy(pause_program().await?));

    let mut coredns = Image::new(COREDNS, &["/coredns"]);
    coredns.files.insert("/coredns".into(), Entry::Copy(assets.coredns().to_owned()));

    let mut nginx = Image::new(NGINX, &["nginx", "-e", "/dev/stderr"]);
    elf::add_program(&mut nginx, &assets.program("nginx")?, "/usr/sbin/nginx", &library_path)
        .await?;
    for (program, path) in [("dash", "/bin/sh"), ("sleep", "/bin/sleep"), ("cat", "/bin/cat")] {
        elf::add_program(&mut nginx, &assets.program(program)?, path, &library_path).await?;
    }
    nginx.files.insert("/etc/nginx/nginx.conf".into(), Entry::Text(NGINX_CONFIGURATION.into()));
    // nginx opens its built-in log path before it reads its configuration.
    nginx.files.insert("/var/log/nginx".into(), Entry::Shared);

    [pause, coredns, nginx].iter().map(|image| write(image, directory)).collect()
}

/// The pause program, compiled once into the cache.
async fn pause_program() -> Result<PathBuf> {
    let directory = cache::directory()?.join("images");
    let name = format!("pause-{}", &cache::hash(&[PAUSE_SOURCE.as_bytes()])[..12]);
    let program = directory.join(&name);
    if program.is_file() {
        return Ok(program);
    }
    let unfinished = directory.join(format!(".{name}.{}", std::process::id()));
    let source = directory.join(format!(".{name}.{}.rs", std::process::id()));
    fs::create_dir_all(&directory).and_then(|()| fs::write(&source, PAUSE_SOURCE)).with_context(
        || format!("the pause program's source cannot be written to {}", directory.display()),
    )?;
    let mut rustc = bound("rustc");
    rustc
        .args(["--edition", "2024", "--crate-name", "pause", "-C", "target-feature=+crt-static"])
        .args(["-C", "opt-level=z", "-C", "panic=abort", "-C", "strip=symbols", "-o"])
        .args([&unfinished, &source]);
    let compiled = output("compiling the pause program", &mut rustc).await;
    fs::remove_file(&source).context("the pause program's source cannot be removed")?;
    compiled?;
    fs::rename(&unfinished, &program)
        .context("the pause program cannot be moved into the cache")?;
    Ok(program)
}
