//! HAProxy's configuration: the sides, and how each forwards.

use std::net::IpAddr;
use std::path::Path;

use super::FULL_WEIGHT;

/// The first port; side N listens on this + N.
pub(super) const FIRST_PORT: u16 = 9_100;

/// How many sides there are of each kind. Those of layer 7 come after those of layer 4.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Sides {
    /// A connection stays with its server, as with a TCP listener.
    pub layer_4: u16,
    /// Each request goes to a server of its own, also on a kept-alive connection, as with an HTTP
    /// listener.
    pub layer_7: u16,
}

impl Sides {
    /// All of them.
    #[must_use]
    pub fn count(self) -> u16 {
        self.layer_4 + self.layer_7
    }
}

/// The name of side `number`.
pub(super) fn backend(number: u16) -> String {
    format!("side-{number}")
}

/// The whole configuration.
pub(super) fn configure(socket: &Path, address: IpAddr, sides: Sides) -> String {
    let mut text = format!(
        "global
    stats socket {socket} mode 600 level admin
    stats timeout 1h
    # A scenario has some hundred connections open at a time; dead servers add some thousand.
    maxconn 8000
    nbthread 1
    log stdout format raw local0 info
defaults
    mode tcp
    balance roundrobin
    # Only what went wrong: who, which server, how it ended.
    log global
    option dontlog-normal
    log-format \"%cp %b %s %ts\"
    # What a backend does is what its client gets: no second try, no other server.
    retries 0
    no option redispatch
    timeout connect 3s
    timeout queue 1s
    # CLB's own idle time-out for TCP.
    timeout client 900s
    timeout server 900s
",
        socket = socket.display(),
    );
    for number in 0..sides.count() {
        let (name, port) = (backend(number), FIRST_PORT + number);
        // CLB's own time-out for a client's idle HTTP connection; it keeps none to the server.
        let (front, back) = if number < sides.layer_4 {
            ("", "")
        } else {
            (
                "    mode http\n    timeout http-keep-alive 75s\n",
                "    mode http\n    option http-server-close\n    http-reuse never\n",
            )
        };
        text.push_str(&format!(
            "frontend {name}\n{front}    bind {address}:{port} backlog 4096\n    default_backend {name}\n\
             backend {name}\n{back}    default-server init-addr none weight {FULL_WEIGHT}\n",
        ));
    }
    text
}
