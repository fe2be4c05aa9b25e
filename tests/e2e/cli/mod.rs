//! `kubectl lameduck`, the real program, on the lab's cluster.
//!
//! * [`check`]: each planted fault is found, and a healthy cluster is silent.
//! * [`mutate`]: what it says offline is what the API server stores.
//! * [`status`]: a held pod is shown with what it waits for.
//! * [`steer`]: `explain`, `release` and `upgrade` do what they say.

mod check;
mod mutate;
mod status;
mod steer;

use std::path::PathBuf;
use std::process::Output;

use anyhow::{Context, Result};
use lameduck_lab::images::product::cli_of_tests;
use serde_json::Value;
use tokio::process::Command;

use crate::bench::Bench;

/// The program, with the lab's kubeconfig.
struct Program {
    path: PathBuf,
    kubeconfig: PathBuf,
}

impl Program {
    async fn new(bench: &Bench) -> Result<Self> {
        let path = cli_of_tests(&bench.progress).await?;
        Ok(Self { path, kubeconfig: bench.cluster.kubeconfig() })
    }

    async fn run(&self, arguments: &[&str]) -> Result<Output> {
        let output = Command::new(&self.path)
            .args(arguments)
            .env("KUBECONFIG", &self.kubeconfig)
            .output()
            .await?;
        // Whatever happens, nobody sees a backtrace.
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!said.contains("panicked"), "{arguments:?}: {said}");
        Ok(output)
    }

    /// What it prints where it exits with this code; what it says on standard error comes behind.
    async fn says(&self, exit: i32, arguments: &[&str]) -> Result<String> {
        let output = self.run(arguments).await?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(exit), "{arguments:?}: {said}");
        Ok(said)
    }

    async fn json(&self, arguments: &[&str]) -> Result<Value> {
        let said = self.says(0, &[arguments, &["-o", "json"]].concat()).await?;
        serde_json::from_str(&said).with_context(|| format!("{arguments:?} said {said}"))
    }
}
