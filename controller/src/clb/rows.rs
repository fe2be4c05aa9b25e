//! What an answer of the CLB API says about one pod.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use lameduck_clb::{Bindings, GapKind, Listener, Listeners, Rule, Target, Weight};
use lameduck_core::drain::clb::{Gap, Place, ReadOf, Row};

/// The rows with one of the pod's addresses, whatever their port: all of them must be off.
pub(crate) fn of(listeners: &Listeners, addresses: &[IpAddr]) -> ReadOf {
    let rows = listeners
        .rows()
        .filter(|row| has(row.target, addresses))
        .map(|row| Row {
            place: place(row.listener, row.rule),
            frontend: frontend(row.listener, row.rule).into(),
            port: row.target.port,
            weight: match row.target.weight {
                Weight::Known(weight) => Some(weight),
                Weight::Unknown(_) => None,
            },
            registered: row.target.registered_time.as_deref().map(Into::into),
        })
        .collect();
    let gaps = listeners
        .gaps
        .iter()
        .map(|gap| Gap {
            place: gap.listener_id.as_deref().map(|listener| Place {
                listener: listener.into(),
                rule: gap.location_id.as_deref().map(Into::into),
            }),
            may_be_empty: gap.kind == GapKind::NoValue,
            detail: gap.to_string().into(),
        })
        .collect();
    ReadOf::Rows { rows, gaps, alone: alone(listeners, addresses) }
}

/// Places where no other backend has a weight above 0. One that cannot be read may have.
fn alone(listeners: &Listeners, addresses: &[IpAddr]) -> BTreeSet<Place> {
    let takes = |target: &Target| target.weight != Weight::Known(0) && !has(target, addresses);
    let is_alone =
        |targets: &Option<Vec<Target>>| targets.as_ref().is_some_and(|all| !all.iter().any(takes));
    let mut alone = BTreeSet::new();
    for listener in &listeners.listeners {
        if is_alone(&listener.targets) {
            alone.insert(place(listener, None));
        }
        for rule in listener.rules.iter().flatten().filter(|rule| is_alone(&rule.targets)) {
            alone.insert(place(listener, Some(rule)));
        }
    }
    alone
}

/// The load balancers that a look-up found for a pod, or why that cannot be relied on.
pub(super) fn bound(found: &Bindings, addresses: &[IpAddr]) -> Result<Vec<Arc<str>>, String> {
    // Null in place of the list may be the API's word for none.
    if let Some(gap) = found.gaps.iter().find(|gap| gap.kind != GapKind::NoValue) {
        return Err(format!("the look-up of its address could not be read whole: {gap}"));
    }
    let carries = |listeners: &Listeners| {
        let mut rows = listeners.rows();
        // A part that cannot be read may hide the pod.
        !listeners.is_complete() || rows.any(|row| has(row.target, addresses))
    };
    let ids = found.load_balancers.iter().filter(|bound| carries(&bound.listeners));
    Ok(ids.map(|bound| bound.load_balancer_id.as_str().into()).collect())
}

/// Whether a backend is the pod with these addresses.
fn has(target: &Target, addresses: &[IpAddr]) -> bool {
    target.private_ips.iter().any(|ip| addresses.contains(ip))
}

pub(crate) fn place(listener: &Listener, rule: Option<&Rule>) -> Place {
    Place {
        listener: listener.listener_id.as_str().into(),
        rule: rule.and_then(|rule| rule.location_id.as_deref()).map(Into::into),
    }
}

/// `TCP:80`, `HTTPS:443 shop.example/`.
pub(crate) fn frontend(listener: &Listener, rule: Option<&Rule>) -> String {
    let protocol = listener.protocol.as_deref().unwrap_or("?");
    let port = listener.port.map_or_else(|| "?".to_owned(), |port| port.to_string());
    let domain = rule.and_then(|rule| rule.domain.as_deref()).unwrap_or_default();
    let url = rule.and_then(|rule| rule.url.as_deref()).unwrap_or_default();
    let space = if rule.is_some() { " " } else { "" };
    format!("{protocol}:{port}{space}{domain}{url}")
}

#[cfg(test)]
mod tests;
