//! A network namespace with a "pod" and a "client" in it, for the calling thread and its children.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rustix::net::{AddressFamily, SocketType, bind, connect, listen, socket};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const POD: [u8; 4] = [198, 18, 0, 1];
const CLIENT: [u8; 4] = [198, 18, 0, 2];
/// Open files that are no connections.
const OTHER_FILES: u64 = 200;

/// The namespace that the thread is in. Nothing of it is left once the thread and its children end.
#[derive(Debug)]
pub(super) struct Namespace;

/// A port of the pod that listens.
#[derive(Debug)]
pub(super) struct App(TcpListener);

impl Namespace {
    /// Moves the calling thread into a new network namespace.
    pub(super) fn enter() -> Result<Self> {
        // What makes `unshare` unsound is its flag FILES, which is not given.
        #[allow(deprecated)]
        rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNET)
            .context("a network namespace takes root")?;
        for words in [
            "link set lo up".to_owned(),
            format!("address add {}/32 dev lo", dotted(POD)),
            format!("address add {}/32 dev lo", dotted(CLIENT)),
        ] {
            let output = Command::new("ip").args(words.split(' ')).output();
            let output = output.context("ip (iproute2) cannot be started")?;
            let errors = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "ip {words}: {errors}");
        }
        // The namespace's own: how many connections may wait to be accepted.
        fs::write("/proc/sys/net/core/somaxconn", "65535").context("somaxconn cannot be set")?;
        Ok(Self)
    }

    pub(super) fn pod_ip(&self) -> String {
        dotted(POD)
    }

    /// A port of the pod whose connections are accepted by hand.
    pub(super) fn listen(&self, port: u16) -> Result<App> {
        Ok(App(TcpListener::from(listener(port)?)))
    }

    /// So many connections from the client to a port of the pod. The pod never accepts them: they are
    /// established all the same, and the pod's ends take no files.
    pub(super) fn open(&self, port: u16, connections: usize) -> Result<Vec<OwnedFd>> {
        let files = connections as u64 + OTHER_FILES;
        let limit = getrlimit(Resource::Nofile);
        if limit.current.is_some_and(|current| current < files) {
            let current = limit.maximum.map_or(files, |maximum| maximum.min(files));
            ensure!(current == files, "{files} open files are needed, the limit is {current}");
            setrlimit(Resource::Nofile, Rlimit { current: Some(files), maximum: limit.maximum })
                .context("the limit of open files cannot be raised")?;
        }
        let mut sockets = vec![listener(port)?];
        for _ in 0..connections {
            sockets.push(dial(port)?);
        }
        Ok(sockets)
    }
}

impl App {
    /// A connection of the client: its end and the pod's.
    pub(super) fn connect(&self) -> Result<(TcpStream, TcpStream)> {
        let client = TcpStream::from(dial(self.0.local_addr()?.port())?);
        let (server, _) = self.0.accept().context("a connection cannot be accepted")?;
        Ok((client, server))
    }
}

fn listener(port: u16) -> Result<OwnedFd> {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    rustix::net::sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &SocketAddr::from((POD, port))).context("the pod's port cannot be bound")?;
    listen(&socket, 65_535)?;
    Ok(socket)
}

fn dial(port: u16) -> Result<OwnedFd> {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&socket, &SocketAddr::from((CLIENT, 0)))?;
    connect(&socket, &SocketAddr::from((POD, port))).context("the pod cannot be connected")?;
    Ok(socket)
}

fn dotted(ip: [u8; 4]) -> String {
    std::net::Ipv4Addr::from(ip).to_string()
}
