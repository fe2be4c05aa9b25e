//! Objects into the cluster, as a person brings them there.

use std::process::Stdio;

use anyhow::{Context, Result, bail};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::Cluster;
use crate::process::last_lines;

impl Cluster {
    /// `kubectl apply` of `objects`, YAML or JSON.
    ///
    /// # Errors
    /// The objects are refused: the message has what kubectl said.
    pub async fn apply(&self, namespace: Option<&str>, objects: &str) -> Result<()> {
        let mut arguments = vec!["apply", "--filename", "-"];
        arguments.extend(namespace.iter().flat_map(|namespace| ["--namespace", namespace]));
        feed(&mut self.kubectl(arguments), objects).await
    }
}

/// Runs a `kubectl apply` that reads `objects` from its input.
///
/// # Errors
/// As [`Cluster::apply`].
pub(super) async fn feed(kubectl: &mut Command, objects: &str) -> Result<()> {
    let mut child = kubectl
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("kubectl cannot be started")?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(objects.as_bytes()).await.context("kubectl does not read its input")?;
    }
    let output = child.wait_with_output().await.context("kubectl cannot be waited for")?;
    if !output.status.success() {
        bail!("kubectl apply: {}", last_lines(&String::from_utf8_lossy(&output.stderr), 10));
    }
    Ok(())
}
