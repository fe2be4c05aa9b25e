//! One look at a side's pods and at what its load balancer does with them.

use std::fmt::{Display, Formatter};

use anyhow::Result;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::settled::{is_ready, revision};
use super::side::Side;
use crate::lb::plan::Server;
use crate::lb::stand_in::target_name;

/// A pod at one moment.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Seen {
    pub(crate) name: String,
    pub(crate) uid: String,
    /// Name of the ControllerRevision that it was made from; empty where it has none.
    pub(crate) revision: String,
    pub(crate) ready: bool,
    /// Whether it is deleted, and still there.
    pub(crate) ending: bool,
    /// What the load balancer gives it; 0 where it does not know it.
    pub(crate) weight: u32,
}

impl Seen {
    fn new(pod: &Pod, servers: &[Server]) -> Self {
        let target = target_name(pod);
        let server = servers.iter().find(|server| server.name == target && !server.maintenance);
        Self {
            name: pod.name_any(),
            uid: pod.uid().unwrap_or_default(),
            revision: revision(pod).to_owned(),
            ready: is_ready(pod),
            ending: pod.metadata.deletion_timestamp.is_some(),
            weight: server.map_or(0, |server| server.weight),
        }
    }

    /// Whether new connections come to it, and should.
    pub(crate) fn serves(&self) -> bool {
        self.ready && !self.ending && self.weight > 0
    }
}

impl Display for Seen {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        let Self { name, revision, ready, ending, weight, .. } = self;
        let ready = if *ready { "ready" } else { "not ready" };
        let ending = if *ending { ", ending" } else { "" };
        write!(formatter, "{name} on {revision} {ready}{ending}, weight {weight}")
    }
}

impl Side {
    /// Its pods now.
    ///
    /// # Errors
    /// API server or load balancer do not answer.
    pub(crate) async fn look(&self) -> Result<Vec<Seen>> {
        let pods = self.list().await?;
        let servers = self.balancer.servers().await?;
        Ok(pods.iter().map(|pod| Seen::new(pod, &servers)).collect())
    }
}
