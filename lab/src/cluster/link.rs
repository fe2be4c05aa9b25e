//! The host's end of a lab's link.
//!
//! It goes with the network namespace at its other end, which the kernel keeps for as long as a connection
//! of it is not through with its retries: minutes, where a lab ends under load. So it is removed.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::Result;

use super::plan;
use super::run_directory::RunDirectory;

/// One interface, by name and index: the same name may be another lab's by now.
pub(super) struct Link {
    interface: String,
    index: Option<String>,
}

impl Link {
    /// That of the lab in `run`, where it has one.
    ///
    /// # Errors
    /// The state on disk cannot be read.
    pub(super) fn of(run: &RunDirectory) -> Result<Option<Self>> {
        let slot = run.status()?.and_then(|status| status.slot);
        Ok(slot
            .map(plan::host_interface)
            .map(|interface| Self { index: index(&interface), interface }))
    }

    /// Removes it, unless it is gone or another lab's. One that cannot be removed is in nobody's way: the
    /// next lab takes another name.
    pub(super) fn remove(&self) {
        if self.index.is_some() && index(&self.interface) == self.index {
            let mut ip = Command::new("ip");
            ip.args(["link", "delete", "dev", &self.interface]);
            ip.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().ok();
        }
    }
}

fn index(interface: &str) -> Option<String> {
    fs::read_to_string(format!("/sys/class/net/{interface}/ifindex")).ok()
}
