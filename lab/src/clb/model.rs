//! Load balancers, listeners, rules and targets, as the service has them.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One load balancer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LoadBalancer {
    /// `lb-…`.
    pub id: String,
    /// Its address as clients of the API are told it.
    #[serde(default = "default_vip")]
    pub vip: IpAddr,
    /// Requests with another `X-TC-Region` do not find it.
    #[serde(default = "default_region")]
    pub region: String,
    /// `vpc-…`.
    #[serde(default = "default_vpc")]
    pub vpc_id: String,
    /// The same as a number.
    #[serde(default = "default_numeric_vpc")]
    pub numeric_vpc_id: u32,
    /// Whether it is reached from the internet (`OPEN`) or from the VPC (`INTERNAL`).
    #[serde(default)]
    pub open: bool,
    /// Whether only its owner, TKE, may change it.
    #[serde(default)]
    pub protected: bool,
    /// Its listeners.
    #[serde(default)]
    pub listeners: Vec<Listener>,
}

/// One port of a load balancer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Listener {
    /// `lbl-…`.
    pub id: String,
    /// TCP, UDP, `TCP_SSL`, QUIC (layer 4), HTTP or HTTPS (layer 7).
    pub protocol: Protocol,
    /// Where clients connect.
    pub port: u16,
    /// The side of the data plane that follows it; layer 4 only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub side: Option<u16>,
    /// Layer 4: where connections go.
    #[serde(default)]
    pub targets: Vec<Target>,
    /// Layer 7: what goes where.
    #[serde(default)]
    pub rules: Vec<Rule>,
}

/// A listener's protocol.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are those of the protocols")]
pub enum Protocol {
    #[serde(rename = "TCP")]
    Tcp,
    #[serde(rename = "UDP")]
    Udp,
    #[serde(rename = "TCP_SSL")]
    TcpSsl,
    #[serde(rename = "QUIC")]
    Quic,
    #[serde(rename = "HTTP")]
    Http,
    #[serde(rename = "HTTPS")]
    Https,
}

impl Protocol {
    /// Whether its listeners have rules.
    #[must_use]
    pub fn has_rules(self) -> bool {
        matches!(self, Self::Http | Self::Https)
    }
}

/// A rule of a listener of layer 7.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// `loc-…`.
    pub location_id: String,
    /// The `Host` of the requests.
    pub domain: String,
    /// The path's prefix.
    pub url: String,
    /// The side of the data plane that follows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub side: Option<u16>,
    /// Where requests go.
    #[serde(default)]
    pub targets: Vec<Target>,
}

/// One target ("real server", RS).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Target {
    /// The pod's address.
    pub ip: IpAddr,
    /// The pod's port.
    pub port: u16,
    /// 0 to 100.
    pub weight: u32,
    /// When it was bound.
    pub registered: Timestamp,
    /// What the health check says.
    #[serde(default)]
    pub health: Health,
    /// What the lab calls it; the API does not tell it.
    #[serde(default)]
    pub name: Option<String>,
}

/// What the health check says of a target.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the API's own")]
pub enum Health {
    #[default]
    Alive,
    Dead,
    Unknown,
    Close,
}

fn default_vip() -> IpAddr {
    IpAddr::from([198, 51, 100, 1])
}

/// The region of load balancers that name none.
pub const DEFAULT_REGION: &str = "ap-guangzhou";

fn default_region() -> String {
    DEFAULT_REGION.to_owned()
}

fn default_vpc() -> String {
    "vpc-lab00001".to_owned()
}

fn default_numeric_vpc() -> u32 {
    1111
}

impl LoadBalancer {
    /// One without listeners.
    #[must_use]
    pub fn new(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            vip: default_vip(),
            region: default_region(),
            vpc_id: default_vpc(),
            numeric_vpc_id: default_numeric_vpc(),
            open: false,
            protected: false,
            listeners: Vec::new(),
        }
    }

    /// The same with a TCP listener whose connections go through the data plane's `side`.
    #[must_use]
    pub fn tcp(mut self, port: u16, side: Option<u16>) -> Self {
        let protocol = Protocol::Tcp;
        let id = format!("lbl-{}-tcp-{port}", self.id);
        let (targets, rules) = (Vec::new(), Vec::new());
        self.listeners.push(Listener { id, protocol, port, side, targets, rules });
        self
    }

    /// The same with an HTTP listener whose rules are these, each with its domain, path and side.
    #[must_use]
    pub fn http(mut self, port: u16, rules: &[(&str, &str, Option<u16>)]) -> Self {
        let protocol = Protocol::Http;
        let id = format!("lbl-{}-http-{port}", self.id);
        let rules = rules.iter().enumerate().map(|(number, (domain, url, side))| Rule {
            location_id: format!("loc-{}-{port}-{number}", self.id),
            domain: (*domain).to_owned(),
            url: (*url).to_owned(),
            side: *side,
            targets: Vec::new(),
        });
        let (targets, rules) = (Vec::new(), rules.collect());
        self.listeners.push(Listener { id, protocol, port, side: None, targets, rules });
        self
    }

    /// Every target of every listener and rule.
    pub fn targets_mut(&mut self) -> impl Iterator<Item = &mut Target> {
        self.listeners.iter_mut().flat_map(|listener| {
            let rules = listener.rules.iter_mut().flat_map(|rule| rule.targets.iter_mut());
            listener.targets.iter_mut().chain(rules)
        })
    }

    /// Every group of targets: listener, rule where there is one, side, targets.
    pub fn pools(
        &self,
    ) -> impl Iterator<Item = (&Listener, Option<&Rule>, Option<u16>, &[Target])> {
        self.listeners.iter().flat_map(|listener| {
            let rules = listener
                .rules
                .iter()
                .map(move |rule| (listener, Some(rule), rule.side, rule.targets.as_slice()));
            let own = (!listener.protocol.has_rules()).then_some((
                listener,
                None,
                listener.side,
                listener.targets.as_slice(),
            ));
            own.into_iter().chain(rules)
        })
    }
}
