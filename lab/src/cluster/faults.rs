//! Faults that a test causes in a cluster, and takes back.

use std::fs;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

use super::{Cluster, plan};
use crate::process::output;

impl Cluster {
    /// Cuts the second node off the network: for everybody else it is dead, with all its pods.
    ///
    /// # Errors
    /// The link cannot be taken down.
    pub async fn disconnect_second_node(&self) -> Result<()> {
        self.set_second_node_link("down").await
    }

    /// Takes [`Cluster::disconnect_second_node`] back.
    ///
    /// # Errors
    /// The link cannot be taken up.
    pub async fn reconnect_second_node(&self) -> Result<()> {
        self.set_second_node_link("up").await
    }

    async fn set_second_node_link(&self, state: &str) -> Result<()> {
        let mut command = self.enter("ip", ["link", "set", "eth0p", state]);
        output(&format!("taking the link of {} {state}", plan::NODE_B.name), &mut command)
            .await
            .map(drop)
    }

    /// Stops the API server where it stands: connections to it stay open, and nothing is answered.
    ///
    /// # Errors
    /// There is no such process in the lab.
    pub fn pause_api_server(&self) -> Result<()> {
        self.signal("kube-apiserver", Signal::STOP)
    }

    /// Takes [`Cluster::pause_api_server`] back.
    ///
    /// # Errors
    /// There is no such process in the lab.
    pub fn resume_api_server(&self) -> Result<()> {
        self.signal("kube-apiserver", Signal::CONT)
    }

    /// Signals the process of this name, which may have 15 bytes, in the lab's own pid namespace.
    fn signal(&self, name: &str, signal: Signal) -> Result<()> {
        let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let lab = namespace(&self.supervisor.pid.to_string()).context("the lab has ended")?;
        let is_it = |pid: &str| {
            let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            comm.trim_end() == name && namespace(pid).as_ref() == Some(&lab)
        };
        let pid = fs::read_dir("/proc")
            .context("/proc cannot be read")?
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .find(|pid| is_it(pid))
            .and_then(|pid| Pid::from_raw(pid.parse().ok()?))
            .with_context(|| format!("there is no {name} in the lab"))?;
        kill_process(pid, signal).with_context(|| format!("{name} cannot be signalled"))
    }
}
