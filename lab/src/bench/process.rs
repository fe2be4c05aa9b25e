//! A program under measurement: the addresses that it is given, what it answers, and its memory.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Resident memory of a process.
pub(super) struct Memory {
    pub(super) now_bytes: u64,
    pub(super) peak_bytes: u64,
}

impl Memory {
    /// Reads it.
    ///
    /// # Errors
    /// The process is gone.
    pub(super) fn of(pid: u32) -> Result<Self> {
        let path = format!("/proc/{pid}/status");
        let text = fs::read_to_string(&path).with_context(|| path.clone())?;
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let kibibytes =
                line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
            kibibytes.map(|kib| kib * 1024).with_context(|| format!("{path} has no {name}"))
        };
        Ok(Self { now_bytes: field("VmRSS:")?, peak_bytes: field("VmHWM:")? })
    }
}

/// Time of all threads of a process on a processor, in nanoseconds. The scheduler's own count: ticks
/// are too coarse.
///
/// # Errors
/// The process is gone.
pub(super) fn processor_nanos(pid: u32) -> Result<u64> {
    let tasks = format!("/proc/{pid}/task");
    let mut sum = 0;
    for task in fs::read_dir(&tasks).context("the process ended before its time")? {
        let path = task?.path().join("schedstat");
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let first = text.split_ascii_whitespace().next().and_then(|word| word.parse::<u64>().ok());
        sum += first.with_context(|| format!("{} has no number", path.display()))?;
    }
    Ok(sum)
}

/// An address on loopback that nobody has.
pub(super) fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is free")?;
    listener.local_addr().context("no port is free")
}

/// An answer of a small HTTP server, whole.
pub(super) async fn get(address: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}
