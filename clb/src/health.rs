//! What the health checks of load balancers say of their backends.

use std::net::IpAddr;

use serde_json::Value;

use crate::decode::{Place, kind, port, text, upper};
use crate::rows::{Gap, GapKind};
use crate::text::one_line;

/// What a health check says. A load balancer sends only to backends that are healthy and have a weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HealthState {
    /// It passes.
    Alive,
    /// It fails.
    Dead,
    /// There is none: it is switched off, or the listener is stopped.
    Close,
    /// Not probed yet, being probed, or not readable in the answer, for this reason.
    Unknown(String),
}

impl HealthState {
    /// Whether the check lets traffic through; `None` where that is not known (yet).
    #[must_use]
    pub fn is_healthy(&self) -> Option<bool> {
        match self {
            // Without a check nothing keeps traffic away.
            Self::Alive | Self::Close => Some(true),
            Self::Dead => Some(false),
            Self::Unknown(_) => None,
        }
    }

    fn read(target: &Value) -> Self {
        // The second is the API's own slip of the pen, which older answers have.
        let details = [&target["HealthStatusDetail"], &target["HealthStatusDetial"]];
        let is_there =
            |value: &&Value| !(value.is_null() || value.is_string() && text(value).is_none());
        let detail = details.into_iter().find(is_there);
        let status = target["HealthStatus"].as_bool();
        let Some(detail) = detail else {
            return match status {
                Some(true) => Self::Alive,
                Some(false) => Self::Dead,
                None => Self::Unknown("neither HealthStatus nor HealthStatusDetail".to_owned()),
            };
        };
        match upper(detail).as_deref() {
            Some("ALIVE") if status == Some(false) => {
                Self::Unknown("HealthStatusDetail is Alive and HealthStatus false".to_owned())
            }
            Some("ALIVE") => Self::Alive,
            Some("DEAD") => Self::Dead,
            // Its HealthStatus is not documented, and says nothing: nobody checks.
            Some("CLOSE") => Self::Close,
            Some("UNKNOWN") => Self::Unknown("not probed yet, or being probed".to_owned()),
            Some(other) => Self::Unknown(format!("HealthStatusDetail is {other}")),
            None => Self::Unknown(format!("HealthStatusDetail is {}", kind(detail))),
        }
    }
}

/// One backend, and what the health check of one listener or rule says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetHealth {
    /// The load balancer, `lb-…`.
    pub load_balancer_id: String,
    /// The listener, `lbl-…`.
    pub listener_id: String,
    /// The rule, `loc-…`. On layer 4, where there are no rules, the API names one all the same: not for
    /// matching there.
    pub location_id: Option<String>,
    /// The backend's address; a pod's is its pod IP.
    pub ip: IpAddr,
    /// The backend's port.
    pub port: u16,
    /// What the check says.
    pub state: HealthState,
}

/// The health of the backends of load balancers, as far as the answer could be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// What could be read: one row per backend of each listener or rule.
    pub targets: Vec<TargetHealth>,
    /// What could not: each may hide backends. One that is not in an answer is unknown, not unhealthy.
    pub gaps: Vec<Gap>,
}

/// The backends of the load balancers `values`.
pub(crate) fn read(values: &[Value]) -> Health {
    let mut health = Health::default();
    for value in values {
        load_balancer(value, &mut health);
    }
    health
}

fn load_balancer(value: &Value, into: &mut Health) {
    let id = text(&value["LoadBalancerId"]);
    let mut place = Place { listener_id: None, location_id: None, gaps: &mut into.gaps };
    let Some(id) = id else {
        place.gap(GapKind::Unreadable, "a load balancer without LoadBalancerId");
        return;
    };
    for value in place.wanted(&value["Listeners"], "Listeners").unwrap_or_default() {
        listener(&id, value, into);
    }
}

fn listener(load_balancer_id: &str, value: &Value, into: &mut Health) {
    let id = text(&value["ListenerId"]);
    let mut place = Place { listener_id: id.as_deref(), location_id: None, gaps: &mut into.gaps };
    let Some(id) = id.as_deref() else {
        place.gap(GapKind::Unreadable, "a listener without ListenerId");
        return;
    };
    // On layer 4, too: there it is one, without domain and path.
    for rule in place.wanted(&value["Rules"], "Rules").unwrap_or_default() {
        let location = text(&rule["LocationId"]);
        let mut place =
            Place { listener_id: Some(id), location_id: location.as_deref(), gaps: &mut into.gaps };
        if !rule.is_object() {
            place.gap(GapKind::Unreadable, format!("a rule that is {}", kind(rule)));
            continue;
        }
        for value in place.wanted(&rule["Targets"], "Targets").unwrap_or_default() {
            match address(value) {
                Ok((ip, port)) => into.targets.push(TargetHealth {
                    load_balancer_id: load_balancer_id.to_owned(),
                    listener_id: id.to_owned(),
                    location_id: location.clone(),
                    ip,
                    port,
                    state: HealthState::read(value),
                }),
                Err(detail) => place.gap(GapKind::Unreadable, detail),
            }
        }
    }
}

/// What a backend is told from others by.
fn address(value: &Value) -> Result<(IpAddr, u16), String> {
    if !value.is_object() {
        return Err(format!("a backend that is {}", kind(value)));
    }
    let ip = value["IP"].as_str().and_then(|ip| ip.trim().parse().ok()).ok_or_else(|| {
        format!("a backend with the address {}", one_line(&value["IP"].to_string()))
    })?;
    let port = port(&value["Port"]).ok_or_else(|| format!("the backend {ip} without a port"))?;
    Ok((ip, port))
}
