//! The data plane: an HAProxy in the lab's network, and its runtime API over a unix socket.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::Target;
use super::answers::{log_line, servers, sessions};
use super::configuration::{FIRST_PORT, Sides, backend, configure};
use super::plan::{Change, Server, plan};

/// How long HAProxy may take to start, and a command to be answered.
const LIMIT: Duration = Duration::from_secs(5);
/// The longest answer of the runtime API that is read: some hundred servers take 50 KiB.
const ANSWER_LIMIT_BYTES: u64 = 4 * 1024 * 1024;
/// How often a server is asked to go after its connections were cut: they end within milliseconds.
const DELETE_TRIES: u32 = 50;
/// The most abnormal connections of which the end is kept.
const LOG_LIMIT: usize = 20_000;

/// How a connection ended that did not end well, by HAProxy's log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Abnormal {
    /// The server that had it; `<NOSRV>` if none did.
    pub server: String,
    /// HAProxy's two letters for who ended it, and in which phase.
    pub end: String,
}

/// Client port -> end of the connection, per side. A port that comes again replaces the older entry.
type Log = Arc<Mutex<BTreeMap<(String, u16), Abnormal>>>;

/// A running HAProxy. Dropping it ends it.
#[derive(Debug)]
pub struct HaProxy {
    child: Child,
    socket: PathBuf,
    address: IpAddr,
    sides: Sides,
    log: Log,
}

impl HaProxy {
    /// Starts an HAProxy with `sides` at `address`. `program` makes the command that runs
    /// HAProxy with the given arguments in the right network; socket and configuration are written
    /// to `directory`, which both this process and that network's see.
    ///
    /// # Errors
    /// It cannot be started, or does not answer within 5 s.
    pub async fn start(
        program: impl FnOnce(&[String]) -> Command,
        directory: &Path,
        address: IpAddr,
        sides: Sides,
    ) -> Result<Self> {
        std::fs::create_dir_all(directory)
            .with_context(|| format!("{} cannot be made", directory.display()))?;
        let socket = directory.join("haproxy.sock");
        let configuration = directory.join("haproxy.cfg");
        std::fs::write(&configuration, configure(&socket, address, sides))
            .with_context(|| format!("{} cannot be written", configuration.display()))?;
        // -db: in the foreground, so that it ends with us.
        let arguments = ["-db".to_owned(), "-f".to_owned(), configuration.display().to_string()];
        let mut child = program(&arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("HAProxy cannot be started")?;
        let log = Log::default();
        let stdout = child.stdout.take().context("HAProxy has no standard output")?;
        tokio::spawn(follow(BufReader::new(stdout), Arc::clone(&log)));
        let mut haproxy = Self { child, socket, address, sides, log };
        haproxy.wait_until_up().await?;
        // From here on its warnings interest nobody, but a full pipe would stop it.
        if let Some(mut stderr) = haproxy.child.stderr.take() {
            tokio::spawn(async move { tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await });
        }
        Ok(haproxy)
    }

    async fn wait_until_up(&mut self) -> Result<()> {
        let mut last = None;
        for _ in 0..50 {
            match self.command("show version").await {
                Ok(_) => return Ok(()),
                Err(error) => last = Some(error),
            }
            if let Some(status) = self.child.try_wait().context("HAProxy cannot be waited for")? {
                let mut said = String::new();
                if let Some(stderr) = self.child.stderr.take() {
                    stderr.take(16 * 1024).read_to_string(&mut said).await.unwrap_or_default();
                }
                bail!("HAProxy ended at once ({status}, signal {:?}): {said}", status.signal());
            }
            sleep(LIMIT / 50).await;
        }
        Err(last.unwrap_or_else(|| anyhow::anyhow!("no try was made")))
            .context("HAProxy does not answer 5 s after its start")
    }

    /// The runtime socket, for a process that shall change the servers.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Which sides it has.
    #[must_use]
    pub fn sides(&self) -> Sides {
        self.sides
    }

    /// A handle to side `number`, from 0.
    ///
    /// # Errors
    /// There are not that many.
    pub fn side(&self, number: u16) -> Result<Side> {
        let count = self.sides.count();
        if number >= count {
            bail!("the load balancer has {count} sides, and side {number} was asked for");
        }
        Ok(Side {
            socket: self.socket.clone(),
            backend: backend(number),
            address: SocketAddr::new(self.address, FIRST_PORT + number),
            log: Arc::clone(&self.log),
        })
    }

    async fn command(&self, command: &str) -> Result<String> {
        send(&self.socket, command).await
    }
}

/// One port of the load balancer with its servers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Side {
    socket: PathBuf,
    backend: String,
    address: SocketAddr,
    log: Log,
}

impl Side {
    /// Side `number` of an HAProxy that another process has started. Its log is there, not here.
    #[must_use]
    pub fn attach(socket: PathBuf, address: IpAddr, number: u16) -> Self {
        let address = SocketAddr::new(address, FIRST_PORT + number);
        Self { socket, backend: backend(number), address, log: Log::default() }
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its number, from 0.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.address.port() - FIRST_PORT
    }

    /// The servers as HAProxy has them.
    ///
    /// # Errors
    /// HAProxy does not answer, or not as expected.
    pub async fn servers(&self) -> Result<Vec<Server>> {
        servers(&send(&self.socket, &format!("show servers state {}", self.backend)).await?)
    }

    /// How many connections each server has, by its name: what a CLB's console shows.
    ///
    /// # Errors
    /// As [`Side::servers`].
    pub async fn connections(&self) -> Result<BTreeMap<String, u32>> {
        // All proxies (-1), servers alone (4), all of them (-1): a name would mean the frontend.
        sessions(&send(&self.socket, "show stat -1 4 -1").await?, &self.backend)
    }

    /// Makes the servers equal to `desired`.
    ///
    /// # Errors
    /// HAProxy refuses a change. What was done before stays done; the next call takes up from there.
    pub async fn reconcile(&self, desired: &[Target]) -> Result<Vec<Change>> {
        let changes = plan(&self.servers().await?, desired);
        for change in &changes {
            self.carry_out(change).await?;
        }
        Ok(changes)
    }

    /// How the connection from `client_port` ended, if it did not end well. The last one counts
    /// where a port was used again.
    #[must_use]
    pub fn abnormal(&self, client_port: u16) -> Option<Abnormal> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.get(&(self.backend.clone(), client_port)).cloned()
    }

    async fn carry_out(&self, change: &Change) -> Result<()> {
        let backend = &self.backend;
        match change {
            Change::Add(Target { name, address, weight }) => {
                let command = format!("add server {backend}/{name} {address} weight {weight}");
                self.expect(&command, "New server registered").await
            }
            Change::Enable(name) => {
                self.expect(&format!("set server {backend}/{name} state ready"), "").await
            }
            Change::Weigh { name, weight } => {
                self.expect(&format!("set server {backend}/{name} weight {weight}"), "").await
            }
            Change::Remove(name) => self.remove(name).await,
        }
    }

    async fn remove(&self, name: &str) -> Result<()> {
        let server = format!("{}/{name}", self.backend);
        self.expect(&format!("set server {server} state maint"), "").await?;
        let mut said = String::new();
        for _ in 0..DELETE_TRIES {
            // Each time: a connection that was just being made to the server may come late.
            self.expect(&format!("shutdown sessions server {server}"), "").await?;
            said = send(&self.socket, &format!("del server {server}")).await?;
            if said.trim() == "Server deleted." {
                return Ok(());
            }
            sleep(Duration::from_millis(20)).await;
        }
        bail!("the load balancer does not delete the server {server}: {}", said.trim());
    }

    /// Sends a command whose answer starts with `expected`; nothing for one that is silent.
    async fn expect(&self, command: &str, expected: &str) -> Result<()> {
        let said = send(&self.socket, command).await?;
        let said = said.trim();
        let fits = if expected.is_empty() { said.is_empty() } else { said.starts_with(expected) };
        if !fits {
            bail!("the load balancer refused \"{command}\": {said}");
        }
        Ok(())
    }
}

/// One command of the runtime API: a connection each, which HAProxy closes after its answer.
async fn send(socket: &Path, command: &str) -> Result<String> {
    let exchange = async {
        let mut stream = UnixStream::connect(socket).await?;
        stream.write_all(format!("{command}\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.take(ANSWER_LIMIT_BYTES).read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    timeout(LIMIT, exchange)
        .await
        .with_context(|| format!("the load balancer did not answer \"{command}\" in 5 s"))?
        .with_context(|| {
            format!("the load balancer cannot be asked \"{command}\" at {}", socket.display())
        })
}

/// Keeps HAProxy's log lines, until it ends.
async fn follow(lines: BufReader<tokio::process::ChildStdout>, log: Log) {
    let mut lines = lines.lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some((key, abnormal)) = log_line(&line) {
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            if log.len() < LOG_LIMIT {
                log.insert(key, abnormal);
            }
        }
    }
}
