//! The daemons: started in their node's network, each with a log of its own.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, WaitStatus};
use serde_json::Value;

use crate::cluster::config;
use crate::cluster::plan::{NODE_A, Node};
use crate::cluster::run_directory::RunDirectory;
use crate::process::last_lines;

/// The daemons that were started.
pub(super) struct Daemons {
    run: RunDirectory,
    children: Vec<(String, Child)>,
}

impl Daemons {
    pub(super) fn new(run: &RunDirectory) -> Self {
        Self { run: run.clone(), children: Vec::new() }
    }

    pub(super) fn etcd(&mut self) -> Result<()> {
        self.start("etcd", &NODE_A, "etcd", config::etcd(&self.run))
    }

    pub(super) fn api_server(&mut self) -> Result<()> {
        self.start("kube-apiserver", &NODE_A, "kube-apiserver", config::api_server(&self.run))
    }

    pub(super) fn controller_manager(&mut self) -> Result<()> {
        self.start(
            "kube-controller-manager",
            &NODE_A,
            "kube-controller-manager",
            config::controller_manager(&self.run),
        )
    }

    pub(super) fn scheduler(&mut self) -> Result<()> {
        self.start("kube-scheduler", &NODE_A, "kube-scheduler", config::scheduler(&self.run))
    }

    pub(super) fn containerd(
        &mut self,
        node: &Node,
        cni_plugins: &Path,
        pause_image: &str,
    ) -> Result<()> {
        let directory = self.run.node(node);
        fs::create_dir_all(directory.join("cni"))
            .with_context(|| format!("{} cannot be made", directory.display()))?;
        write_json(&directory.join("cni/10-lab.conflist"), &config::pod_network(&self.run, node))?;
        let path = directory.join("containerd.toml");
        fs::write(&path, config::containerd(&self.run, node, cni_plugins, pause_image))
            .with_context(|| format!("{} cannot be written", path.display()))?;
        let arguments = vec!["--config".to_owned(), path.display().to_string()];
        self.start(&format!("{}-containerd", node.name), node, "containerd", arguments)
    }

    pub(super) fn kubelet(&mut self, node: &Node) -> Result<()> {
        write_json(&self.run.node(node).join("kubelet.json"), &config::kubelet(&self.run, node))?;
        self.start(
            &format!("{}-kubelet", node.name),
            node,
            "kubelet",
            config::kubelet_arguments(&self.run, node),
        )
    }

    pub(super) fn proxy(&mut self, node: &Node) -> Result<()> {
        let path = self.run.node(node).join("proxy.json");
        write_json(&path, &config::proxy(&self.run, node))?;
        let arguments = vec![format!("--config={}", path.display())];
        self.start(&format!("{}-kube-proxy", node.name), node, "kube-proxy", arguments)
    }

    fn start(
        &mut self,
        name: &str,
        node: &Node,
        program: &str,
        arguments: Vec<String>,
    ) -> Result<()> {
        let log = self.run.logs().join(format!("{name}.log"));
        let out =
            File::create(&log).with_context(|| format!("{} cannot be written", log.display()))?;
        let errors =
            out.try_clone().with_context(|| format!("{} cannot be written", log.display()))?;
        // `nsenter` becomes the daemon: there is no process between it and us.
        let child = Command::new("nsenter")
            .arg(format!("--net=/run/netns/{}", node.name))
            .arg("--")
            .arg(program)
            .args(arguments)
            .current_dir(self.run.path())
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(errors)
            .spawn()
            .with_context(|| format!("{name} cannot be started"))?;
        self.children.push((name.to_owned(), child));
        Ok(())
    }

    /// Whether all daemons that were started still run. Not to be used once
    /// somebody else reaps processes.
    ///
    /// # Errors
    /// One has ended; the message has the end of its log.
    pub(super) fn all_alive(&mut self) -> Result<()> {
        for (name, child) in &mut self.children {
            if let Some(how) =
                child.try_wait().with_context(|| format!("{name} cannot be watched"))?
            {
                let log = self.run.logs().join(format!("{name}.log"));
                let text = fs::read_to_string(&log).unwrap_or_default();
                bail!(
                    "{name} ended ({how}); its log {} ends with:\n{}",
                    log.display(),
                    last_lines(&text, 8)
                );
            }
        }
        Ok(())
    }

    /// The line for the status, if the process that ended is a daemon.
    pub(super) fn ended(&self, pid: Pid, how: WaitStatus) -> Option<String> {
        let raw = u32::try_from(pid.as_raw_nonzero().get()).ok()?;
        let (name, _) = self.children.iter().find(|(_, child)| child.id() == raw)?;
        Some(match (how.exit_status(), how.terminating_signal()) {
            (Some(code), _) => format!("{name} ended with code {code}"),
            (_, Some(signal)) => format!("{name} was ended by signal {signal}"),
            _ => format!("{name} ended"),
        })
    }
}

/// Writes `value` as JSON, which is YAML too.
pub(super) fn write_json(path: &Path, value: &Value) -> Result<()> {
    fs::write(path, format!("{value:#}\n"))
        .with_context(|| format!("{} cannot be written", path.display()))
}
