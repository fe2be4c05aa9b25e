//! The controller as a process of the host, and what it costs.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::bench::process::{Memory, free_address, get};
use crate::process::bound;

/// A controller that is not ready by now never will be.
const PATIENCE: Duration = Duration::from_secs(120);

/// A controller that runs. It ends with this value.
pub(in crate::bench) struct Controller {
    child: Child,
    admin: SocketAddr,
}

impl Controller {
    /// Starts the controller, with what `more` adds to its command, and waits until it has read
    /// everything and leads.
    pub(in crate::bench) async fn start(
        binary: &Path,
        kubeconfig: &Path,
        more: impl FnOnce(&mut Command),
    ) -> Result<Self> {
        let (hold, admin) = (free_address()?, free_address()?);
        let mut command = bound(binary);
        command
            .args(["--hold-address", &hold.to_string()])
            .args(["--admin-address", &admin.to_string()])
            // Its messages would be a line per pod and step.
            .args(["--log", "error"])
            .env("KUBECONFIG", kubeconfig)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        more(&mut command);
        let child = command.spawn().context("the controller cannot be started")?;
        let mut controller = Self { child, admin };
        let started = Instant::now();
        while !controller.leads().await {
            if let Some(status) = controller.child.try_wait()? {
                bail!("the controller ended: {status}");
            }
            if started.elapsed() > PATIENCE {
                bail!("the controller was not ready within {} s", PATIENCE.as_secs());
            }
            sleep(Duration::from_millis(200)).await;
        }
        Ok(controller)
    }

    async fn leads(&self) -> bool {
        let ready = get(self.admin, "/readyz").await.is_ok_and(|text| text.contains(" 200 "));
        ready
            && get(self.admin, "/metrics")
                .await
                .is_ok_and(|text| text.contains("\nlameduck_leader 1\n"))
    }

    pub(in crate::bench) fn memory(&self) -> Result<Memory> {
        let pid = self.child.id().context("the controller has ended")?;
        Memory::of(pid)
    }
}
