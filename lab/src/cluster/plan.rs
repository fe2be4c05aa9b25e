//! The addresses and names of a lab, all in 198.18.0.0/15, which RFC 2544 sets
//! aside for tests. Several labs on one machine share everything but the *slot*:
//! the host sees nothing of a lab but the one address that the slot gives.

use std::net::Ipv4Addr;

/// One node of the cluster.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Node {
    /// Its name, which is also that of its network namespace.
    pub name: &'static str,
    /// Its address among the nodes.
    pub address: Ipv4Addr,
    /// The subnet of its pods, with the length of its prefix.
    pub pods: &'static str,
}

/// The node that carries the API server, and where the load balancer stands.
pub const NODE_A: Node =
    Node { name: "node-a", address: Ipv4Addr::new(198, 18, 0, 1), pods: "198.18.8.0/24" };
/// The other node.
pub const NODE_B: Node =
    Node { name: "node-b", address: Ipv4Addr::new(198, 18, 0, 2), pods: "198.18.9.0/24" };
/// Both nodes.
pub const NODES: [Node; 2] = [NODE_A, NODE_B];

/// The subnet of all pods.
pub const CLUSTER_CIDR: &str = "198.18.8.0/22";
/// The subnet of Services.
pub const SERVICE_CIDR: &str = "198.19.0.0/24";
/// The Service of the API server: the first address of [`SERVICE_CIDR`].
pub const API_SERVICE: Ipv4Addr = Ipv4Addr::new(198, 19, 0, 1);
/// The Service of the cluster's DNS; also in `recipes/coredns.yaml`.
pub const DNS_SERVICE: Ipv4Addr = Ipv4Addr::new(198, 19, 0, 10);
/// The port of the API server.
pub const API_PORT: u16 = 6443;

/// How many labs one machine can have: their link subnets are the third octets 128 to 255.
pub const SLOTS: u8 = 128;

/// The host's end of the link into the lab of `slot`.
#[must_use]
pub fn host_interface(slot: u8) -> String {
    format!("lameduck{slot}")
}

/// The host's address on the link to the lab of `slot`.
#[must_use]
pub fn host_address(slot: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, 128 + slot % SLOTS, 1)
}

/// The lab's address on the link to the host.
#[must_use]
pub fn lab_address(slot: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, 128 + slot % SLOTS, 2)
}
