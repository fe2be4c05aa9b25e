//! Which backends stand behind a load balancer, and with which weight: what a verdict is made of.

use std::fmt;
use std::net::IpAddr;

/// The weight of a backend. Unknown is not zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Weight {
    /// 0 to 100. At 0 nothing new is sent to the backend.
    Known(u8),
    /// The answer has none that can be read, for this reason.
    Unknown(String),
}

impl Weight {
    /// Whether it was read, and as zero.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        *self == Self::Known(0)
    }
}

/// One backend of a listener or rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// `CVM`, `ENI`, `EVM`…; upper case, as the API's own case varies. Not for matching.
    pub backend_type: Option<String>,
    /// Id of a machine; pods have none.
    pub instance_id: Option<String>,
    /// Id of the network interface.
    pub eni_id: Option<String>,
    /// Its addresses in the VPC, at least one. A pod's is its pod IP.
    pub private_ips: Vec<IpAddr>,
    /// The backend's port; 0 in a target group over all ports.
    pub port: u16,
    /// The weight.
    pub weight: Weight,
    /// When it was bound, `YYYY-MM-DD HH:mm:ss` in an unknown zone: only fit to see whether it is
    /// still the same binding. `DescribeLBListeners` does not say it.
    pub registered_time: Option<String>,
}

/// A rule of an HTTP or HTTPS listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Id, `loc-…`.
    pub location_id: Option<String>,
    /// The host that it is for.
    pub domain: Option<String>,
    /// The path that it is for.
    pub url: Option<String>,
    /// Its backends; `None` where the API gave no value, which is not "none".
    pub targets: Option<Vec<Target>>,
}

/// A listener with its backends: by rules for HTTP and HTTPS, else directly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Id, `lbl-…`.
    pub listener_id: String,
    /// `TCP`, `UDP`, `TCP_SSL`, `QUIC`, `HTTP`, `HTTPS`; upper case.
    pub protocol: Option<String>,
    /// The port that clients connect to.
    pub port: Option<u16>,
    /// Last port of a range; `None` where it has one port.
    pub end_port: Option<u16>,
    /// Backends of a layer 4 listener; `None` for layer 7, and where the API gave no value.
    pub targets: Option<Vec<Target>>,
    /// Rules of a layer 7 listener; `None` for layer 4, and where the API gave no value.
    pub rules: Option<Vec<Rule>>,
}

/// A backend, and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    /// The listener.
    pub listener: &'a Listener,
    /// The rule; `None` on layer 4.
    pub rule: Option<&'a Rule>,
    /// The backend.
    pub target: &'a Target,
}

impl Listener {
    /// Every backend of the listener and its rules.
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        let direct = self.targets.iter().flatten().map(move |target| Row {
            listener: self,
            rule: None,
            target,
        });
        let by_rule = self.rules.iter().flatten().flat_map(move |rule| {
            let targets = rule.targets.iter().flatten();
            targets.map(move |target| Row { listener: self, rule: Some(rule), target })
        });
        direct.chain(by_rule)
    }
}

/// The listeners of one load balancer, as far as the answer could be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listeners {
    /// What could be read.
    pub listeners: Vec<Listener>,
    /// What could not: each may hide rows. A row that is not in an answer with gaps is unknown, not
    /// gone.
    pub gaps: Vec<Gap>,
}

impl Listeners {
    /// Every backend of every listener and rule.
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.listeners.iter().flat_map(Listener::rows)
    }

    /// The rows of a pod's port.
    pub fn rows_of(&self, ip: IpAddr, port: u16) -> impl Iterator<Item = Row<'_>> {
        self.rows()
            .filter(move |row| row.target.port == port && row.target.private_ips.contains(&ip))
    }

    /// Whether all of the answer could be read.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.gaps.is_empty()
    }
}

/// A part of an answer that may hold rows and could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The listener, where that much is known.
    pub listener_id: Option<String>,
    /// The rule, where that much is known.
    pub location_id: Option<String>,
    /// What kind of gap it is.
    pub kind: GapKind,
    /// What could not be read.
    pub detail: String,
}

/// How a part of an answer is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapKind {
    /// `null` or nothing where a list of backends or rules belongs. Maybe the API's word for an empty
    /// one: a caller that never saw a row of its pod there may take it for that; after having seen
    /// one, not.
    NoValue,
    /// Something that is not a listener, rule or backend, or one that cannot be told from others.
    Unreadable,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(id) = &self.listener_id {
            write!(f, "listener {id}: ")?;
        }
        if let Some(id) = &self.location_id {
            write!(f, "rule {id}: ")?;
        }
        f.write_str(&self.detail)
    }
}
