//! Current servers and desired targets -> the changes that make them equal.

use std::net::SocketAddr;

use super::Target;

/// A server as the data plane has it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Server {
    /// Its name.
    pub name: String,
    /// Where it sends to.
    pub address: SocketAddr,
    /// Its weight.
    pub weight: u32,
    /// Whether it is out of service altogether: new ones are until they are enabled, and removed
    /// ones until their last connection is gone.
    pub maintenance: bool,
}

/// One change of the data plane.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Change {
    /// Make a server. It is in maintenance.
    Add(Target),
    /// Take a server out of maintenance.
    Enable(String),
    /// Set a server's weight.
    Weigh {
        /// Which one.
        name: String,
        /// The new weight.
        weight: u32,
    },
    /// Put a server into maintenance, cut its connections, and delete it.
    Remove(String),
}

/// What has to be done, in order: what takes traffic comes before what stops taking it, so that a
/// replacement never leaves the side without a server.
#[must_use]
pub fn plan(current: &[Server], desired: &[Target]) -> Vec<Change> {
    let kept = |target: &Target| {
        current.iter().find(|server| server.name == target.name && server.address == target.address)
    };
    // The name of a server that moved is free only after its removal.
    let (moved, gone): (Vec<&Server>, Vec<&Server>) = current
        .iter()
        .filter(|server| {
            !desired
                .iter()
                .any(|target| target.name == server.name && target.address == server.address)
        })
        .partition(|server| desired.iter().any(|target| target.name == server.name));
    let mut changes: Vec<Change> =
        moved.into_iter().map(|server| Change::Remove(server.name.clone())).collect();
    for target in desired.iter().filter(|target| kept(target).is_none()) {
        changes.push(Change::Add(target.clone()));
        changes.push(Change::Enable(target.name.clone()));
    }
    let mut weights: Vec<(u32, &Target)> = desired
        .iter()
        .filter_map(|target| kept(target).map(|server| (server.weight, target)))
        .filter(|(weight, target)| *weight != target.weight)
        .collect();
    weights.sort_by_key(|(weight, target)| *weight > target.weight);
    changes.extend(
        weights
            .into_iter()
            .map(|(_, target)| Change::Weigh { name: target.name.clone(), weight: target.weight }),
    );
    // A server may have been left in maintenance by a change that failed half way.
    let disabled =
        desired.iter().filter(|target| kept(target).is_some_and(|server| server.maintenance));
    changes.extend(disabled.map(|target| Change::Enable(target.name.clone())));
    changes.extend(gone.into_iter().map(|server| Change::Remove(server.name.clone())));
    changes
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::{Change, Server, plan};
    use crate::lb::Target;

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([198, 18, 8, last], 8080))
    }

    fn target(name: &str, last: u8, weight: u32) -> Target {
        Target { name: name.into(), address: address(last), weight }
    }

    fn server(name: &str, last: u8, weight: u32) -> Server {
        Server { name: name.into(), address: address(last), weight, maintenance: false }
    }

    /// What it is, current servers, desired targets, expected changes.
    type Case = (&'static str, Vec<Server>, Vec<Target>, Vec<Change>);

    fn weigh(name: &str, weight: u32) -> Change {
        Change::Weigh { name: name.into(), weight }
    }

    #[test]
    fn changes_are_the_difference_in_a_safe_order() {
        let added = |target: Target| {
            let name = target.name.clone();
            [Change::Add(target), Change::Enable(name)]
        };
        let disabled = Server { maintenance: true, ..server("a", 1, 10) };
        let cases: [Case; 7] = [
            ("nothing to do", vec![server("a", 1, 10)], vec![target("a", 1, 10)], vec![]),
            ("first pod", vec![], vec![target("a", 1, 10)], added(target("a", 1, 10)).into()),
            (
                "terminating: weight only, connections live",
                vec![server("a", 1, 10)],
                vec![target("a", 1, 0)],
                vec![weigh("a", 0)],
            ),
            ("gone", vec![server("a", 1, 0)], vec![], vec![Change::Remove("a".into())]),
            (
                "replaced: the new one first, and up before down",
                vec![server("old", 1, 10), server("new", 2, 0)],
                vec![target("new", 2, 10), target("newer", 3, 0), target("old", 1, 0)],
                [added(target("newer", 3, 0)).to_vec(), vec![weigh("new", 10), weigh("old", 0)]]
                    .concat(),
            ),
            (
                "same name at another address",
                vec![server("a", 1, 10)],
                vec![target("a", 2, 10)],
                [vec![Change::Remove("a".into())], added(target("a", 2, 10)).to_vec()].concat(),
            ),
            (
                "left half done",
                vec![disabled],
                vec![target("a", 1, 0)],
                vec![weigh("a", 0), Change::Enable("a".into())],
            ),
        ];
        for (what, current, desired, expected) in cases {
            assert_eq!(plan(&current, &desired), expected, "{what}");
        }
    }
}
