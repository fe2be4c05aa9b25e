//! The controller as a process of the host, and what it costs.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Child;
use tokio::time::{Instant, sleep};

use crate::process::bound;

/// A controller that is not ready by now never will be.
const PATIENCE: Duration = Duration::from_secs(120);

/// A controller that runs. It ends with this value.
pub(super) struct Controller {
    child: Child,
    admin: SocketAddr,
}

/// Resident memory.
pub(super) struct Memory {
    pub(super) now_bytes: u64,
    pub(super) peak_bytes: u64,
}

impl Controller {
    /// Starts the controller and waits until it has read everything and leads.
    pub(super) async fn start(binary: &Path, kubeconfig: &Path) -> Result<Self> {
        let (hold, admin) = (free_address()?, free_address()?);
        let child = bound(binary)
            .args(["--hold-address", &hold.to_string()])
            .args(["--admin-address", &admin.to_string()])
            // Its messages would be a line per pod and step.
            .args(["--log", "error"])
            .env("KUBECONFIG", kubeconfig)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("the controller cannot be started")?;
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

    pub(super) fn memory(&self) -> Result<Memory> {
        let pid = self.child.id().context("the controller has ended")?;
        let path = format!("/proc/{pid}/status");
        let text = fs::read_to_string(&path).with_context(|| path.clone())?;
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let kibibytes =
                line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
            kibibytes.map(|kib| kib * 1024).with_context(|| format!("{path} has no {name}"))
        };
        Ok(Memory { now_bytes: field("VmRSS:")?, peak_bytes: field("VmHWM:")? })
    }
}

fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is free")?;
    listener.local_addr().context("no port is free")
}

/// An answer of a small HTTP server, whole.
async fn get(address: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}
