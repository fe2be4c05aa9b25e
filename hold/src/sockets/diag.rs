//! Sockets by netlink's sock_diag.
//!
//! Written by hand and not with a netlink crate: it takes two fixed structures, and the crates cannot
//! send the kernel a filter, without which ten thousand idle sockets cost too much.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};

use super::{filter, tcp};
use crate::census::Connection;

// linux/netlink.h, linux/sock_diag.h, linux/inet_diag.h
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;
const INET_DIAG_REQ_BYTECODE: u16 = 1;
const INET_DIAG_INFO: u16 = 2;
const IPPROTO_TCP: u8 = 6;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// Bytes of `nlmsghdr`, `inet_diag_req_v2`, `inet_diag_msg` and `nlattr`.
const HEADER: usize = 16;
const REQUEST: usize = 56;
const MESSAGE: usize = 72;
const ATTRIBUTE: usize = 4;
/// Offsets in `tcp_info`, of milliseconds.
const LAST_DATA_SENT: usize = 44;
const LAST_DATA_RECEIVED: usize = 52;

/// The kernel answers at once or not at all.
const RECEIVE_TIMEOUT: Duration = Duration::from_secs(1);
/// The longest a whole sample may take.
const SAMPLE_TIMEOUT: Duration = Duration::from_secs(5);

/// A netlink socket.
#[derive(Debug)]
pub(super) struct Diag {
    socket: OwnedFd,
    buffer: Vec<u8>,
    sequence: u32,
    /// The kernel took a filter so far.
    filters: bool,
}

impl Diag {
    /// Opens a netlink socket in the thread's network namespace.
    ///
    /// # Errors
    /// The kernel or a sandbox has no sock_diag.
    pub(super) fn open() -> io::Result<Self> {
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC,
            Some(netlink::SOCK_DIAG),
        )?;
        set_socket_timeout(&socket, Timeout::Recv, Some(RECEIVE_TIMEOUT))?;
        Ok(Self { socket, buffer: vec![0; 32 * 1024], sequence: 0, filters: true })
    }

    /// Visits the ports that listen.
    pub(super) fn listeners(&mut self, visit: &mut dyn FnMut(u16)) -> io::Result<()> {
        for family in [AF_INET, AF_INET6] {
            self.dump(
                &Query { family, states: 1 << tcp::LISTEN, with_info: false, filter: None },
                &mut |message| {
                    if let Some(port) = read_u16_be(message, 4) {
                        visit(port);
                    }
                },
            )?;
        }
        Ok(())
    }

    /// Visits the connections in a state that can hold the pod, at least those to `ports`.
    pub(super) fn connections(
        &mut self,
        ports: &BTreeSet<u16>,
        with_idle: bool,
        visit: &mut dyn FnMut(Connection),
    ) -> io::Result<()> {
        if ports.is_empty() {
            return Ok(());
        }
        let filter = filter::program(ports).filter(|_| self.filters);
        for family in [AF_INET, AF_INET6] {
            let query = Query {
                family,
                states: tcp::HOLDING,
                with_info: with_idle,
                filter: filter.as_deref(),
            };
            let mut visit = |message: &[u8]| {
                if let Some(connection) = connection(message) {
                    visit(connection);
                }
            };
            match self.dump(&query, &mut visit) {
                // Nothing was visited: the request itself was refused.
                Err(error) if query.filter.is_some() && error.raw_os_error() == Some(EINVAL) => {
                    self.filters = false;
                    self.dump(&Query { filter: None, ..query }, &mut visit)?;
                }
                result => result?,
            }
        }
        Ok(())
    }

    /// Sends one query and visits every `inet_diag_msg`, with its attributes, of the answer.
    fn dump(&mut self, query: &Query<'_>, visit: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        send(&self.socket, &query.encode(self.sequence), SendFlags::empty())?;
        let started = Instant::now();
        loop {
            let (length, _) = recv(&self.socket, &mut self.buffer[..], RecvFlags::empty())?;
            let datagram = self.buffer.get(..length).unwrap_or_default();
            if read(datagram, self.sequence, visit)? {
                return Ok(());
            }
            if started.elapsed() > SAMPLE_TIMEOUT {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "sock_diag never ends its answer",
                ));
            }
        }
    }
}

const EINVAL: i32 = rustix::io::Errno::INVAL.raw_os_error();

#[derive(Clone, Copy)]
struct Query<'a> {
    family: u8,
    states: u32,
    with_info: bool,
    filter: Option<&'a [u8]>,
}

impl Query<'_> {
    fn encode(&self, sequence: u32) -> Vec<u8> {
        let attribute = self.filter.map_or(0, |filter| ATTRIBUTE + filter.len());
        let length = HEADER + REQUEST + attribute;
        let mut out = Vec::with_capacity(length);
        out.extend((length as u32).to_ne_bytes());
        out.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        out.extend((NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
        out.extend(sequence.to_ne_bytes());
        out.extend(0u32.to_ne_bytes());
        let extensions = if self.with_info { 1 << (INET_DIAG_INFO - 1) } else { 0 };
        out.extend([self.family, IPPROTO_TCP, extensions, 0]);
        out.extend(self.states.to_ne_bytes());
        // inet_diag_sockid: any socket.
        out.resize(HEADER + REQUEST, 0);
        if let Some(filter) = self.filter {
            out.extend((attribute as u16).to_ne_bytes());
            out.extend(INET_DIAG_REQ_BYTECODE.to_ne_bytes());
            out.extend(filter);
        }
        out
    }
}

/// Visits the messages of one datagram; true where it was the last of its dump.
fn read(mut datagram: &[u8], sequence: u32, visit: &mut dyn FnMut(&[u8])) -> io::Result<bool> {
    while !datagram.is_empty() {
        let length = read_u32(datagram, 0).ok_or_else(malformed)? as usize;
        let message = datagram.get(HEADER..length).ok_or_else(malformed)?;
        // An older dump that was given up may still have something in the socket's queue.
        if read_u32(datagram, 8) == Some(sequence) {
            match read_u16(datagram, 4) {
                Some(NLMSG_DONE) => return Ok(true),
                Some(NLMSG_ERROR) => {
                    let error = read_u32(message, 0).ok_or_else(malformed)? as i32;
                    return Err(io::Error::from_raw_os_error(error.wrapping_neg()));
                }
                Some(SOCK_DIAG_BY_FAMILY) => visit(message),
                _ => {}
            }
        }
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "sock_diag answers in an unknown form")
}

/// Reads `inet_diag_msg`; none where it is cut short or its state holds no pod.
fn connection(message: &[u8]) -> Option<Connection> {
    let fixed = message.get(..MESSAGE)?;
    let address = |at: usize| -> Option<IpAddr> {
        let bytes: [u8; 16] = fixed.get(at..at + 16)?.try_into().ok()?;
        Some(match fixed[0] {
            AF_INET => Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into(),
            _ => IpAddr::from(Ipv6Addr::from(bytes)).to_canonical(),
        })
    };
    let cookie = (u64::from(read_u32(fixed, 48)?) << 32) | u64::from(read_u32(fixed, 44)?);
    Some(Connection {
        id: cookie,
        local: SocketAddr::new(address(8)?, read_u16_be(fixed, 4)?),
        peer: SocketAddr::new(address(24)?, read_u16_be(fixed, 6)?),
        state: tcp::state(fixed[1])?,
        unacknowledged: read_u32(fixed, 60)?,
        idle: idle(&message[MESSAGE..]),
    })
}

/// The time since the last byte either way, from the attributes.
fn idle(mut attributes: &[u8]) -> Option<Duration> {
    while let (Some(length), Some(kind)) = (read_u16(attributes, 0), read_u16(attributes, 2)) {
        let length = usize::from(length);
        let value = attributes.get(ATTRIBUTE..length)?;
        if kind == INET_DIAG_INFO {
            let sent = read_u32(value, LAST_DATA_SENT)?;
            let received = read_u32(value, LAST_DATA_RECEIVED)?;
            return Some(Duration::from_millis(sent.min(received).into()));
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
    None
}

fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn read_u16_be(bytes: &[u8], at: usize) -> Option<u16> {
    read_u16(bytes, at).map(u16::from_be)
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
