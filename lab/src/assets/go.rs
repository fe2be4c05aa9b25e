//! Kubernetes and CoreDNS, built by package name through the Go module proxy.
//!
//! A module of our own names the versions; no source tree is checked out. The
//! recipes stand beside this file and are part of the cache key, so a changed
//! recipe is a new build.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, BufReader};

use super::{KUBERNETES_VERSION, cache, find_program};
use crate::process::bound;
use crate::progress::{Progress, Step};

const KUBERNETES_MODULE: &str = include_str!("recipes/kubernetes/go.mod.txt");
const COREDNS_MODULE: &str = include_str!("recipes/coredns/go.mod.txt");
const COREDNS_MAIN: &str = include_str!("recipes/coredns/main.go");

/// The programs of Kubernetes that the lab runs.
const KUBERNETES_PROGRAMS: [&str; 6] = [
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kubectl",
    "kube-proxy",
];

/// Lines of a failed build that its error repeats.
const ERROR_LINES: usize = 20;

/// Says what to install where Go is not there.
///
/// # Errors
/// Go is not there.
pub(super) fn require() -> Result<()> {
    if find_program("go", &[]).is_none() {
        bail!(
            "the lab builds Kubernetes, so it needs Go 1.26 or newer: install it and put `go` on the PATH"
        );
    }
    Ok(())
}

/// The folder of `$KUBEBUILDER_ASSETS`, whose etcd, kube-apiserver and kubectl
/// are used instead of ours.
pub(super) fn kubebuilder_assets() -> Option<PathBuf> {
    std::env::var_os("KUBEBUILDER_ASSETS").filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// A folder with those programs of Kubernetes that `$KUBEBUILDER_ASSETS` lacks.
///
/// # Errors
/// The build fails; the message has its last lines.
pub(super) async fn kubernetes(progress: &Progress) -> Result<PathBuf> {
    let given = kubebuilder_assets();
    let programs: Vec<&str> = KUBERNETES_PROGRAMS
        .into_iter()
        .filter(|program| !given.as_ref().is_some_and(|folder| folder.join(program).is_file()))
        .collect();
    // Without a version in the binary its clients refuse to work.
    let [major, minor, _] = KUBERNETES_VERSION.splitn(3, '.').collect::<Vec<_>>()[..] else {
        bail!("{KUBERNETES_VERSION} is no version of Kubernetes");
    };
    let mut linker_flags = "-s -w".to_owned();
    for package in ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"] {
        linker_flags.push_str(&format!(
            " -X {package}.gitVersion=v{KUBERNETES_VERSION} -X {package}.gitMajor={major} -X {package}.gitMinor={minor}"
        ));
    }
    let packages: Vec<String> =
        programs.iter().map(|program| format!("k8s.io/kubernetes/cmd/{program}")).collect();
    let arguments = ["-tags", "selinux,notest,grpcnotrace", "-ldflags", &linker_flags];
    let name = format!("kubernetes-{KUBERNETES_VERSION}");
    let entry = cache::Entry::new(
        &name,
        &[
            KUBERNETES_MODULE.as_bytes(),
            arguments.join(" ").as_bytes(),
            programs.join(" ").as_bytes(),
            std::env::consts::ARCH.as_bytes(),
        ],
    )?;
    if let Some(directory) = entry.complete() {
        return Ok(directory);
    }
    let mut step = progress.step(format!("building Kubernetes {KUBERNETES_VERSION}, once"));
    build(&entry, &[("go.mod", KUBERNETES_MODULE)], &arguments, &packages, &mut step).await?;
    let directory = entry.finish()?;
    step.done("");
    Ok(directory)
}

/// A folder with `coredns`.
///
/// # Errors
/// The build fails; the message has its last lines.
pub(super) async fn coredns(progress: &Progress) -> Result<PathBuf> {
    let entry = cache::Entry::new(
        "coredns",
        &[COREDNS_MODULE.as_bytes(), COREDNS_MAIN.as_bytes(), std::env::consts::ARCH.as_bytes()],
    )?;
    if let Some(directory) = entry.complete() {
        return Ok(directory);
    }
    let mut step = progress.step("building CoreDNS, once");
    let sources = [("go.mod", COREDNS_MODULE), ("main.go", COREDNS_MAIN)];
    build(&entry, &sources, &["-ldflags", "-s -w"], &[".".to_owned()], &mut step).await?;
    let directory = entry.finish()?;
    step.done("");
    Ok(directory)
}

/// Builds `packages` of the module `sources` into the entry's folder.
async fn build(
    entry: &cache::Entry,
    sources: &[(&str, &str)],
    arguments: &[&str],
    packages: &[String],
    step: &mut Step,
) -> Result<()> {
    let directory = entry.begin()?;
    let module = directory.join("module");
    fs::create_dir_all(&module).context("the folder for a Go module cannot be made")?;
    for (name, text) in sources {
        fs::write(module.join(name), text).context("a Go module's file cannot be written")?;
    }
    let mut output = directory.clone().into_os_string();
    // The slash tells `go build` that this is a folder, though it builds one program.
    output.push("/");
    go(&module, step, "fetching", ["mod", "tidy"]).await?;
    let mut build = vec!["build".into(), "-v".into(), "-trimpath".into(), "-o".into(), output];
    build.extend(arguments.iter().map(Into::into));
    build.extend(packages.iter().map(Into::into));
    go(&module, step, "compiling", build).await?;
    fs::remove_dir_all(&module).context("a built Go module cannot be removed")
}

/// Runs `go` in `module`; each line that it writes counts as one package done.
async fn go<I: IntoIterator<Item: AsRef<std::ffi::OsStr>>>(
    module: &Path,
    step: &mut Step,
    doing: &str,
    arguments: I,
) -> Result<()> {
    let mut child = bound("go")
        .args(arguments)
        .current_dir(module)
        .env("CGO_ENABLED", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("Go cannot be started")?;
    let mut last: VecDeque<String> = VecDeque::new();
    if let Some(errors) = child.stderr.take() {
        let mut lines = BufReader::new(errors).lines();
        let mut count = 0_u32;
        while let Some(line) = lines.next_line().await.context("what Go says cannot be read")? {
            count += 1;
            step.message(format!(
                "{doing}, {count} packages: {}",
                line.rsplit(' ').next().unwrap_or_default()
            ));
            if last.len() == ERROR_LINES {
                last.pop_front();
            }
            last.push_back(line);
        }
    }
    let status = child.wait().await.context("Go's end cannot be awaited")?;
    if !status.success() {
        bail!("Go failed ({status}) while {doing}:\n{}", Vec::from(last).join("\n"));
    }
    Ok(())
}
