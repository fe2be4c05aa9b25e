//! The data plane follows the load balancers: the targets of a listener or rule are those of its side.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::sleep;

use super::model::{Health, LoadBalancer, Target};
use crate::lb;
use crate::lb::haproxy::Side;

/// How often a change is tried that the data plane refuses, and the pause between two tries.
const TRIES: u32 = 25;
const PAUSE: Duration = Duration::from_millis(200);

/// An HAProxy that somebody else has started; without one, load balancers forward nothing.
#[derive(Clone, Debug, Default)]
pub struct Plane {
    haproxy: Option<(PathBuf, IpAddr)>,
}

impl Plane {
    /// The HAProxy whose runtime socket is `socket` and whose sides are at `address`.
    #[must_use]
    pub fn new(socket: PathBuf, address: IpAddr) -> Self {
        Self { haproxy: Some((socket, address)) }
    }

    /// Makes the sides of `load_balancer` equal to it.
    pub(super) async fn follow(&self, load_balancer: &LoadBalancer) -> Result<()> {
        let Some((socket, address)) = &self.haproxy else { return Ok(()) };
        for (listener, _, side, targets) in load_balancer.pools() {
            let Some(number) = side else { continue };
            let side = Side::attach(socket.clone(), *address, number);
            let desired = forwarding(targets);
            let mut tries = 1;
            while let Err(error) = side.reconcile(&desired).await {
                if tries >= TRIES {
                    let what = format!("side {number}, which is {} of CLB", listener.id);
                    return Err(error).context(what);
                }
                tries += 1;
                sleep(PAUSE).await;
            }
        }
        Ok(())
    }
}

/// What the data plane does with these targets: none that is dead gets new connections, unless none of
/// those that have a weight is alive.
#[must_use]
pub fn forwarding(targets: &[Target]) -> Vec<lb::Target> {
    let alive = |target: &Target| target.health != Health::Dead;
    let any = targets.iter().any(|target| target.weight > 0 && alive(target));
    let forwarded = targets.iter().map(|target| lb::Target {
        name: target.name.clone().unwrap_or_else(|| name(target)),
        address: (target.ip, target.port).into(),
        weight: if alive(target) || !any { target.weight } else { 0 },
    });
    forwarded.collect()
}

/// A name that no other target ever has.
fn name(target: &Target) -> String {
    let ip = target.ip.to_string().replace([':', '.'], "-");
    format!("{ip}-{}.{}", target.port, target.registered.as_millisecond())
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::forwarding;
    use crate::clb::model::{Health, Target};

    #[test]
    fn dead_targets_get_nothing_unless_all_are_dead() {
        let target = |last: u8, weight: u32, health| Target {
            ip: [198, 18, 8, last].into(),
            port: 8080,
            weight,
            registered: Timestamp::UNIX_EPOCH,
            health,
            name: None,
        };
        let weights = |targets: &[Target]| -> Vec<u32> {
            forwarding(targets).into_iter().map(|target| target.weight).collect()
        };
        let (alive, dead) = (Health::Alive, Health::Dead);
        assert_eq!(weights(&[target(1, 10, alive), target(2, 10, dead)]), [10, 0]);
        assert_eq!(weights(&[target(1, 0, alive), target(2, 10, dead)]), [0, 10]);
        assert_eq!(weights(&[target(1, 10, dead), target(2, 5, dead)]), [10, 5]);
        assert_eq!(weights(&[target(1, 0, alive)]), [0]);
    }
}
