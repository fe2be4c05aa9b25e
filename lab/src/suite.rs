//! `cargo lab test`: every test of the workspace, on a cluster of its own.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::cluster::{Cluster, Options};
use crate::images::product::workspace;
use crate::process::{cargo, exit_code};
use crate::progress::Progress;

/// The variable that tells tests that a cluster is up, and where: its run directory.
pub const LAB_VARIABLE: &str = "LAMEDUCK_LAB";

/// Every test there is: also those that need a cluster.
const TESTS: [&str; 4] = ["test", "--workspace", "--features", "lameduck-tests/lab"];

/// Builds the tests, brings a cluster up, runs the tests with their output as
/// it comes, and takes the cluster down. `arguments` go to `cargo test`.
/// Returns the test runner's exit code.
///
/// # Errors
/// The cluster does not start. A failed test is no error but an exit code.
pub async fn run(arguments: &[OsString], progress: &Progress) -> Result<ExitCode> {
    // First what needs no cluster: a test that does not compile is found before anything is started.
    let built = cargo()
        .args(TESTS)
        .arg("--no-run")
        .args(arguments.iter().take_while(|argument| *argument != "--"))
        .current_dir(workspace())
        .status()
        .await
        .context("cargo cannot be started")?;
    if !built.success() {
        return Ok(exit_code(built));
    }
    let options = Options::owned("test")?;
    let cluster = Cluster::up(&options, progress).await?;
    let status = cargo()
        // All of them: one failure says less than all of them.
        .args(TESTS)
        .arg("--no-fail-fast")
        .args(arguments)
        .current_dir(workspace())
        .env(LAB_VARIABLE, cluster.run_directory())
        // With it `Cluster::attach` finds this cluster.
        .env("LAMEDUCK_RUN", cluster.run_directory())
        .env("KUBECONFIG", cluster.kubeconfig())
        // Started again inside the lab, which a test's own program cannot be.
        .env("LAMEDUCK_LAB_PROGRAM", std::env::current_exe().context("the lab's own program")?)
        .status()
        .await
        .context("cargo cannot be started")?;
    if status.success() {
        cluster.down().await?;
    } else {
        progress.line(format!(
            "tests failed; the cluster's logs are in {}",
            cluster.logs_dir().display()
        ));
        drop(cluster);
    }
    Ok(exit_code(status))
}
