//! Sockets by netlink's sock_diag.
//!
//! Written by hand and not with a netlink crate: it takes two fixed structures, and the crates cannot
//! send the kernel a filter, without which ten thousand idle sockets cost too much.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::ControlFlow;
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
/// The older request, which asks for IPv4 and IPv6 at once.
const TCPDIAG_GETSOCK: u16 = 18;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;
const INET_DIAG_REQ_BYTECODE: u16 = 1;
const INET_DIAG_INFO: u16 = 2;
const IPPROTO_TCP: u8 = 6;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// Bytes of `nlmsghdr`, `inet_diag_sockid`, `inet_diag_msg` and `nlattr`.
const HEADER: usize = 16;
const SOCKET_ID: usize = 48;
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
    /// The kernel takes the older request. Each request walks the machine's whole table of
    /// connections, which is most of its cost, so one for both families is worth having.
    one_walk: bool,
    /// The kernel takes filters.
    filters: bool,
}

impl Diag {
    /// Opens a netlink socket in the thread's network namespace.
    ///
    /// # Errors
    /// The kernel or a sandbox has no sock_diag.
    pub(super) fn open() -> io::Result<Self> {
        Ok(Self {
            socket: open_socket()?,
            buffer: vec![0; 32 * 1024],
            sequence: 0,
            one_walk: true,
            filters: true,
        })
    }

    /// One that asks in a way that was chosen.
    #[cfg(test)]
    pub(super) fn with(one_walk: bool, filters: bool) -> Self {
        Self { one_walk, filters, ..Self::open().expect("sock_diag") }
    }

    /// Visits the ports that listen.
    pub(super) fn listeners(&mut self, visit: &mut dyn FnMut(u16)) -> io::Result<()> {
        self.ask(1 << tcp::LISTEN, false, None, &mut |message| {
            read_u16_be(message, 4).into_iter().for_each(&mut *visit);
            ControlFlow::Continue(())
        })
    }

    /// Visits the connections in a state that can hold the pod, at least those to `ports`, until the
    /// visitor has seen enough.
    pub(super) fn connections(
        &mut self,
        ports: &BTreeSet<u16>,
        with_idle: bool,
        visit: &mut dyn FnMut(Connection) -> ControlFlow<()>,
    ) -> io::Result<()> {
        if ports.is_empty() {
            return Ok(());
        }
        let filter = filter::program(ports);
        self.ask(tcp::HOLDING, with_idle, filter.as_deref(), &mut |message| {
            connection(message).map_or(ControlFlow::Continue(()), &mut *visit)
        })
    }

    /// The same connection as it is now, if it is still there. It is found by its hash: that costs
    /// nothing, however many others there are.
    pub(super) fn look_up(&mut self, old: &Connection, with_idle: bool) -> Option<Connection> {
        self.sequence = self.sequence.wrapping_add(1);
        let family = if old.peer.is_ipv4() { AF_INET } else { AF_INET6 };
        let query = Query {
            family: Some(family),
            states: tcp::HOLDING,
            with_info: with_idle,
            filter: None,
            one: Some(old),
        };
        send(&self.socket, &query.encode(self.sequence), SendFlags::empty()).ok()?;
        let (length, _) = recv(&self.socket, &mut self.buffer[..], RecvFlags::empty()).ok()?;
        let mut found = None;
        // Whatever goes wrong, the caller then looks at all of them.
        read(self.buffer.get(..length)?, self.sequence, &mut |message| {
            found = connection(message).filter(|found| found.id == old.id);
            ControlFlow::Break(())
        })
        .ok()?;
        found
    }

    /// Asks for sockets of both families, in the best way that the kernel knows.
    fn ask(
        &mut self,
        states: u32,
        with_info: bool,
        filter: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> io::Result<()> {
        let visited = Cell::new(false);
        let mut visit = |message: &[u8]| {
            visited.set(true);
            visit(message)
        };
        let query = Query {
            states,
            with_info,
            filter: filter.filter(|_| self.filters),
            one: None,
            family: None,
        };
        if self.one_walk {
            match self.dump(&query, &mut visit) {
                Ok(_) => return Ok(()),
                Err(error) if visited.get() || error.kind() == io::ErrorKind::TimedOut => {
                    return Err(error);
                }
                // Refused as a whole: it is asked in the other way, now and from now on.
                Err(_) => self.one_walk = false,
            }
        }
        let mut query = query;
        for family in [AF_INET, AF_INET6] {
            query.family = Some(family);
            let flow = match self.dump(&query, &mut visit) {
                Err(error) if query.filter.is_some() && error.raw_os_error() == Some(EINVAL) => {
                    self.filters = false;
                    query.filter = None;
                    self.dump(&query, &mut visit)?
                }
                flow => flow?,
            };
            if flow.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Sends one query and visits every `inet_diag_msg`, with its attributes, of the answer.
    fn dump(
        &mut self,
        query: &Query<'_>,
        visit: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> io::Result<ControlFlow<()>> {
        self.sequence = self.sequence.wrapping_add(1);
        send(&self.socket, &query.encode(self.sequence), SendFlags::empty())?;
        let started = Instant::now();
        loop {
            let (length, _) = recv(&self.socket, &mut self.buffer[..], RecvFlags::empty())?;
            let datagram = self.buffer.get(..length).unwrap_or_default();
            match read(datagram, self.sequence, visit)? {
                Progress::More => {}
                Progress::Done => return Ok(ControlFlow::Continue(())),
                Progress::Enough => {
                    // The kernel goes on with the walk only as its answer is read: a new socket
                    // ends it.
                    self.socket = open_socket()?;
                    return Ok(ControlFlow::Break(()));
                }
            }
            if started.elapsed() > SAMPLE_TIMEOUT {
                let what = "sock_diag never ends its answer";
                return Err(io::Error::new(io::ErrorKind::TimedOut, what));
            }
        }
    }
}

const EINVAL: i32 = rustix::io::Errno::INVAL.raw_os_error();

fn open_socket() -> io::Result<OwnedFd> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        Some(netlink::SOCK_DIAG),
    )?;
    set_socket_timeout(&socket, Timeout::Recv, Some(RECEIVE_TIMEOUT))?;
    Ok(socket)
}

#[derive(Clone, Copy)]
struct Query<'a> {
    /// None: both, by the older request.
    family: Option<u8>,
    states: u32,
    with_info: bool,
    filter: Option<&'a [u8]>,
    /// None: all of them.
    one: Option<&'a Connection>,
}

impl Query<'_> {
    fn encode(&self, sequence: u32) -> Vec<u8> {
        let mut out = Vec::with_capacity(2048);
        let kind = if self.family.is_some() { SOCK_DIAG_BY_FAMILY } else { TCPDIAG_GETSOCK };
        out.extend(0u32.to_ne_bytes()); // The length, known at the end.
        out.extend(kind.to_ne_bytes());
        let flags = if self.one.is_some() { NLM_F_REQUEST } else { NLM_F_REQUEST | NLM_F_DUMP };
        out.extend(flags.to_ne_bytes());
        out.extend(sequence.to_ne_bytes());
        out.extend(0u32.to_ne_bytes());
        let extensions = if self.with_info { 1 << (INET_DIAG_INFO - 1) } else { 0 };
        let id = self.one.map_or([0; SOCKET_ID], socket_id);
        match self.family {
            // inet_diag_req_v2: family, protocol, extensions, padding, states, id
            Some(family) => {
                out.extend([family, IPPROTO_TCP, extensions, 0]);
                out.extend(self.states.to_ne_bytes());
                out.extend(id);
            }
            // inet_diag_req: family, two prefix lengths, extensions, id, states, tables
            None => {
                out.extend([0, 0, 0, extensions]);
                out.extend(id);
                out.extend(self.states.to_ne_bytes());
                out.extend(0u32.to_ne_bytes());
            }
        }
        if let Some(filter) = self.filter {
            out.extend(((ATTRIBUTE + filter.len()) as u16).to_ne_bytes());
            out.extend(INET_DIAG_REQ_BYTECODE.to_ne_bytes());
            out.extend(filter);
        }
        let length = (out.len() as u32).to_ne_bytes();
        out.iter_mut().zip(length).for_each(|(place, byte)| *place = byte);
        out
    }
}

/// `inet_diag_sockid`: ports, addresses, interface, cookie. One of zeroes is any socket.
fn socket_id(connection: &Connection) -> [u8; SOCKET_ID] {
    let mut id = [0; SOCKET_ID];
    let mut put = |at: usize, bytes: &[u8]| {
        id.iter_mut().skip(at).zip(bytes).for_each(|(place, byte)| *place = *byte);
    };
    for (end, port_at, address_at) in [(connection.local, 0, 4), (connection.peer, 2, 20)] {
        put(port_at, &end.port().to_be_bytes());
        match end.ip() {
            IpAddr::V4(ip) => put(address_at, &ip.octets()),
            IpAddr::V6(ip) => put(address_at, &ip.octets()),
        }
    }
    put(40, &(connection.id as u32).to_ne_bytes());
    put(44, &((connection.id >> 32) as u32).to_ne_bytes());
    id
}

/// How far a dump is after one datagram of it.
enum Progress {
    More,
    Done,
    Enough,
}

/// Visits the messages of one datagram.
fn read(
    mut datagram: &[u8],
    sequence: u32,
    visit: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
) -> io::Result<Progress> {
    while !datagram.is_empty() {
        let length = read_u32(datagram, 0).ok_or_else(malformed)? as usize;
        let message = datagram.get(HEADER..length).ok_or_else(malformed)?;
        // An older dump that was given up may still have something in the socket's queue.
        if read_u32(datagram, 8) == Some(sequence) {
            match read_u16(datagram, 4) {
                Some(NLMSG_DONE) => return Ok(Progress::Done),
                Some(NLMSG_ERROR) => {
                    let error = read_u32(message, 0).ok_or_else(malformed)? as i32;
                    return Err(io::Error::from_raw_os_error(error.wrapping_neg()));
                }
                Some(SOCK_DIAG_BY_FAMILY | TCPDIAG_GETSOCK) if visit(message).is_break() => {
                    return Ok(Progress::Enough);
                }
                _ => {}
            }
        }
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(Progress::More)
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
