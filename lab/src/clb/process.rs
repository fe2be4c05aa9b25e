//! Starts the stand-ins inside the lab's network, and sets them up from a scenario.

use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::Child;
use tokio::time::timeout;

use super::calls::Call;
use super::server::PORT;
use crate::cluster::Cluster;

/// How long the process may take to listen, and an admin path to answer.
const LIMIT: Duration = Duration::from_secs(10);
/// The longest answer that is read: the calls of an hour.
const ANSWER_LIMIT_BYTES: u64 = 64 * 1024 * 1024;

/// The running stand-ins. Dropping it ends them.
#[derive(Debug)]
pub struct ClbStandIn {
    admin: Admin,
    _child: Child,
}

impl ClbStandIn {
    /// Starts `program` (the `lab`) inside the network of `cluster`: the API at the load balancer's
    /// address, in front of the HAProxy behind `haproxy_socket`, and TKE's controllers on the cluster.
    /// What it has to say goes to `clb-stand-in.log` in the lab's logs.
    ///
    /// # Errors
    /// It cannot be started, or does not listen within 10 s.
    pub async fn start(cluster: &Cluster, program: &Path, haproxy_socket: &Path) -> Result<Self> {
        let log = cluster.logs_dir().join("clb-stand-in.log");
        let log =
            File::create(&log).with_context(|| format!("{} cannot be made", log.display()))?;
        let mut command = cluster.enter(program, ["clb-stand-in"]);
        command.arg("--address").arg(cluster.lb_address().to_string());
        command.arg("--haproxy-socket").arg(haproxy_socket);
        command.arg("--kubeconfig").arg(cluster.kubeconfig());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().context("the CLB stand-in cannot be started")?;
        let stdout = child.stdout.take().context("the CLB stand-in has no standard output")?;
        let mut lines = BufReader::new(stdout).lines();
        timeout(LIMIT, lines.next_line())
            .await
            .context("the CLB stand-in does not listen after 10 s")??
            .context("the CLB stand-in ended at once; see clb-stand-in.log")?;
        let address = SocketAddr::new(cluster.lb_address().into(), PORT);
        Ok(Self { admin: Admin::new(address), _child: child })
    }

    /// Its admin paths.
    #[must_use]
    pub fn admin(&self) -> Admin {
        self.admin
    }
}

/// A client for the admin paths.
#[derive(Clone, Copy, Debug)]
pub struct Admin {
    address: SocketAddr,
}

impl Admin {
    /// Of the stand-in at `address`.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    /// Where the API is: `http://ADDRESS:PORT`, from pods and from the host.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sets what stands under `/lab/PATH`.
    ///
    /// # Errors
    /// The stand-in is not there, or refuses it.
    pub async fn set(&self, path: &str, body: &impl Serialize) -> Result<()> {
        let body = serde_json::to_vec(body)?;
        exchange(self.address, "POST", &format!("/lab/{path}"), &[], &body).await?.ok().map(drop)
    }

    /// Reads what stands under `/lab/PATH`.
    ///
    /// # Errors
    /// As [`Admin::set`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let answer =
            exchange(self.address, "GET", &format!("/lab/{path}"), &[], &[]).await?.ok()?;
        serde_json::from_slice(&answer.body).context("the CLB stand-in's answer")
    }

    /// Deletes what stands under `/lab/PATH`.
    ///
    /// # Errors
    /// As [`Admin::set`].
    pub async fn delete(&self, path: &str) -> Result<()> {
        exchange(self.address, "DELETE", &format!("/lab/{path}"), &[], &[]).await?.ok().map(drop)
    }

    /// The calls of the API so far, in their order.
    ///
    /// # Errors
    /// As [`Admin::set`].
    pub async fn calls(&self) -> Result<Vec<Call>> {
        self.get("calls").await
    }

    /// The weights of all rows of `pod_ip`, over all load balancers, listeners and rules, as they are.
    ///
    /// # Errors
    /// As [`Admin::set`].
    pub async fn weights(&self, pod_ip: &str) -> Result<Vec<u32>> {
        let all: Vec<super::model::LoadBalancer> = self.get("load-balancers").await?;
        let rows = all.iter().flat_map(|one| one.pools().flat_map(|(.., targets)| targets));
        Ok(rows.filter(|row| row.ip.to_string() == pod_ip).map(|row| row.weight).collect())
    }
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

impl Answer {
    fn ok(self) -> Result<Self> {
        if self.status / 100 != 2 {
            bail!("the CLB stand-in refuses: {}", String::from_utf8_lossy(&self.body));
        }
        Ok(self)
    }
}

/// One request over a connection of its own.
pub(super) async fn exchange(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(String, String)],
    body: &[u8],
) -> Result<Answer> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
    if !headers.iter().any(|(name, _)| name == "host") {
        head.push_str(&format!("host: {address}\r\n"));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body).await?;
        let mut answer = Vec::new();
        stream.take(ANSWER_LIMIT_BYTES).read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = timeout(LIMIT, exchange)
        .await
        .context("the CLB stand-in did not answer in 10 s")?
        .with_context(|| format!("the CLB stand-in at {address} cannot be asked"))?;
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut parsed = httparse::Response::new(&mut fields);
    let head = parsed.parse(&answer).context("the CLB stand-in's answer")?;
    let httparse::Status::Complete(length) = head else {
        bail!("the CLB stand-in's answer ends in its head");
    };
    let status = parsed.code.context("the CLB stand-in's answer has no status")?;
    let body = answer.get(length..).unwrap_or_default().to_vec();
    Ok(Answer { status, body })
}
