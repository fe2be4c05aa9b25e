//! Sockets by `/proc/thread-self/net/tcp` and `tcp6`, where sock_diag is not to be had.
//!
//! Idle times are not in there: a connection is then idle only when it is closed.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::ControlFlow;

use super::tcp;
use crate::census::Connection;

/// The longest line is 150 bytes or so; a longer one is none of the kernel's.
const MAX_LINE_BYTES: u64 = 4096;

/// Visits the ports that listen.
pub(super) fn listeners(visit: &mut dyn FnMut(u16)) -> io::Result<()> {
    lines(&mut |line| {
        if let Some(row) = Row::parse(line).filter(|row| row.state == tcp::LISTEN) {
            visit(row.local.port());
        }
        ControlFlow::Continue(())
    })
}

/// Visits the connections in a state that can hold the pod, until the visitor has seen enough.
pub(super) fn connections(visit: &mut dyn FnMut(Connection) -> ControlFlow<()>) -> io::Result<()> {
    lines(&mut |line| {
        let Some(row) = Row::parse(line) else { return ControlFlow::Continue(()) };
        let Some(state) = tcp::state(row.state) else { return ControlFlow::Continue(()) };
        visit(Connection {
            id: row.id(),
            local: row.local,
            peer: row.peer,
            state,
            unacknowledged: row.unacknowledged,
            idle: None,
        })
    })
}

fn lines(visit: &mut dyn FnMut(&str) -> ControlFlow<()>) -> io::Result<()> {
    let mut found = false;
    for path in ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"] {
        let file = match File::open(path) {
            // A kernel with only one of IPv4 and IPv6.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            file => file?,
        };
        found = true;
        let mut reader = BufReader::new(file);
        let mut line = String::new();
        while reader.by_ref().take(MAX_LINE_BYTES).read_line(&mut line)? > 0 {
            if visit(&line).is_break() {
                return Ok(());
            }
            line.clear();
        }
    }
    if found {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::NotFound, "no /proc/thread-self/net/tcp"))
    }
}

#[derive(Debug, PartialEq)]
struct Row {
    local: SocketAddr,
    peer: SocketAddr,
    state: u8,
    unacknowledged: u32,
}

impl Row {
    /// `sl local_address rem_address st tx_queue:rx_queue ...`; none for the heading.
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (local, peer) = (address(fields.next()?)?, address(fields.next()?)?);
        let state = u8::from_str_radix(fields.next()?, 16).ok()?;
        let (unacknowledged, _) = fields.next()?.split_once(':')?;
        let unacknowledged = u32::from_str_radix(unacknowledged, 16).ok()?;
        Some(Self { local, peer, state, unacknowledged })
    }

    /// Both ends make out a connection. FNV-1a: no key, so the same connection has the same number in
    /// every sample.
    fn id(&self) -> u64 {
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        let mut mix = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        for end in [self.local, self.peer] {
            match end.ip() {
                IpAddr::V4(ip) => ip.octets().into_iter().for_each(&mut mix),
                IpAddr::V6(ip) => ip.octets().into_iter().for_each(&mut mix),
            }
            end.port().to_be_bytes().into_iter().for_each(&mut mix);
        }
        hash
    }
}

/// `0100007F:1F90`: the address as 32-bit words in the machine's order, the port as a number.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word =
        |at: usize| u32::from_str_radix(ip.get(at * 8..at * 8 + 8)?, 16).ok().map(u32::to_ne_bytes);
    let ip = match ip.len() {
        8 => IpAddr::from(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut octets = [0; 16];
            for (at, chunk) in octets.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(at)?);
            }
            IpAddr::from(Ipv6Addr::from(octets)).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn reads_the_kernels_rows() {
        let row =
            "   1: 0100000A:1F90 0200000A:9C40 08 00000005:00000000 00:00000000 00000000 0 0 9 1";
        assert_eq!(
            Row::parse(row),
            Some(Row {
                local: SocketAddr::from(([10, 0, 0, 1], 8080)),
                peer: SocketAddr::from(([10, 0, 0, 2], 40_000)),
                state: 8,
                unacknowledged: 5,
            })
        );
        assert_eq!(
            Row::parse("  sl  local_address rem_address   st tx_queue rx_queue tr tm"),
            None
        );
        // ::ffff:10.0.0.2
        assert_eq!(
            address("0000000000000000FFFF00000200000A:0001"),
            Some(SocketAddr::from(([10, 0, 0, 2], 1)))
        );
    }
}
