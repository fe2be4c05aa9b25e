//! The TCP sockets of the pod: what listens, and what is connected.
//!
//! Every container of a pod shares one network namespace, and looking at its sockets takes no
//! privilege. Netlink's sock_diag answers fastest; `/proc/thread-self/net/tcp` is there for kernels and
//! sandboxes without it.

mod diag;
mod filter;
mod procfs;

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use crate::census::{Census, Connection, Extent, MESH_INBOUND_PORTS, Rule, Sample, holds};

/// Neither way of asking the kernel works.
#[derive(Debug)]
pub(crate) struct Error {
    first: io::Error,
    second: io::Error,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, second } = self;
        write!(f, "connections cannot be counted: {first}; {second}")
    }
}

/// Connections that are looked up by themselves.
const WITNESSES: usize = 4;

/// How often it is looked for new listeners.
const LISTENERS_EVERY: Duration = Duration::from_secs(2);

/// The sockets of the network namespace that the process is in.
#[derive(Debug)]
pub(crate) struct Sockets {
    source: Source,
    /// The user named the ports; else all that listen are meant.
    named: bool,
    /// The ports whose connections count. Ports are only ever added: an application that stops
    /// listening still has its connections.
    serving: BTreeSet<u16>,
    listeners_read: Option<Instant>,
    /// Some connections that held the pod in the last sample. While one of them still does, that is all
    /// there is to know, and it costs next to nothing.
    witnesses: Vec<Connection>,
}

#[derive(Debug)]
enum Source {
    Diag(diag::Diag),
    Procfs,
}

impl Sockets {
    /// Connections to `ports`, or to every port that listens where `ports` is empty; and to the
    /// inbound port of a mesh sidecar, if there is one.
    pub(crate) fn new(ports: &[u16]) -> Self {
        Self {
            source: diag::Diag::open().map_or(Source::Procfs, Source::Diag),
            named: !ports.is_empty(),
            serving: ports.iter().copied().collect(),
            listeners_read: None,
            witnesses: Vec::new(),
        }
    }

    /// Takes one sample, of all connections or of as many as [`Census::begin`] says.
    ///
    /// # Errors
    /// Neither way of asking the kernel works; the census is as after a sample that was not ended.
    pub(crate) fn sample(
        &mut self,
        census: &mut Census,
        rule: &Rule,
        extent: Extent,
    ) -> Result<Sample, Error> {
        if extent == Extent::Enough && self.a_witness_holds(rule) {
            return Ok(census.end_unchanged());
        }
        let Err(first) = self.read(census, rule, extent) else { return Ok(census.end()) };
        self.source = match self.source {
            Source::Diag(_) => Source::Procfs,
            Source::Procfs => match diag::Diag::open() {
                Ok(diag) => Source::Diag(diag),
                Err(second) => return Err(Error { first, second }),
            },
        };
        match self.read(census, rule, extent) {
            Ok(()) => Ok(census.end()),
            Err(second) => Err(Error { first, second }),
        }
    }

    /// Some of the connections that held the pod when all were last looked at.
    pub(crate) fn witnesses(&self) -> &[Connection] {
        &self.witnesses
    }

    fn read(&mut self, census: &mut Census, rule: &Rule, extent: Extent) -> io::Result<()> {
        self.read_listeners()?;
        census.begin(extent);
        self.witnesses.clear();
        let witnesses = &mut self.witnesses;
        let serving = &self.serving;
        let mut visit = |connection: Connection| {
            if !serving.contains(&connection.local.port()) {
                return ControlFlow::Continue(());
            }
            if witnesses.len() < WITNESSES && holds(&connection, rule) {
                witnesses.push(connection);
            }
            census.add(&connection, rule)
        };
        match &mut self.source {
            Source::Diag(diag) => diag.connections(serving, rule.idle_limit.is_some(), &mut visit),
            Source::Procfs => procfs::connections(&mut visit),
        }
    }

    /// Whether one of the witnesses still holds the pod: it then lives through two samples.
    fn a_witness_holds(&mut self, rule: &Rule) -> bool {
        let Source::Diag(diag) = &mut self.source else { return false };
        let with_idle = rule.idle_limit.is_some();
        self.witnesses
            .iter()
            .any(|witness| diag.look_up(witness, with_idle).is_some_and(|now| holds(&now, rule)))
    }

    fn read_listeners(&mut self) -> io::Result<()> {
        if self.listeners_read.is_some_and(|at| at.elapsed() < LISTENERS_EVERY) {
            return Ok(());
        }
        let (named, serving) = (self.named, &mut self.serving);
        let mut visit = |port: u16| {
            if !named || MESH_INBOUND_PORTS.contains(&port) {
                serving.insert(port);
            }
        };
        match &mut self.source {
            Source::Diag(diag) => diag.listeners(&mut visit)?,
            Source::Procfs => procfs::listeners(&mut visit)?,
        }
        self.listeners_read = Some(Instant::now());
        Ok(())
    }
}

/// Numbers of TCP states in the kernel's interfaces.
mod tcp {
    use crate::census::State;

    pub(super) const LISTEN: u8 = 10;

    /// The states that can hold a pod, as a bit mask.
    pub(super) const HOLDING: u32 = 1 << 1 | 1 << 4 | 1 << 8 | 1 << 9 | 1 << 11;

    pub(super) fn state(number: u8) -> Option<State> {
        match number {
            1 => Some(State::Established),
            8 => Some(State::CloseWait),
            // FIN_WAIT1, LAST_ACK, CLOSING
            4 | 9 | 11 => Some(State::Closing),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
