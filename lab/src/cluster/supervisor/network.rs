//! The lab's networks: one network namespace per node, a link between them, and
//! one from the first node to the host.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::cluster::plan::{
    NODE_A, NODE_B, NODES, SLOTS, host_address, host_interface, lab_address,
};
use crate::process::last_lines;

/// Makes the networks and returns the slot: the first whose interface nobody
/// has. The kernel refuses a name twice, so labs that start at once are safe.
/// Everything goes away with the namespaces.
pub(super) fn create() -> Result<u8> {
    for node in &NODES {
        ip(&["netns", "add", node.name])
            .with_context(|| format!("the network of {} cannot be made", node.name))?;
    }
    let slot = link_to_host()?;
    let batch_a = [
        "link set lo up".to_owned(),
        format!("addr add {}/30 dev host", lab_address(slot)),
        "link set host up".to_owned(),
        // The nodes' network is a bridge on the first node, for a node needs an
        // interface with its address, and not every kernel has dummies.
        "link add eth0 type bridge".to_owned(),
        format!("addr add {}/24 dev eth0", NODE_A.address),
        "link set eth0 up".to_owned(),
        format!("link add eth0p type veth peer name eth0 netns {}", NODE_B.name),
        "link set eth0p master eth0".to_owned(),
        "link set eth0p up".to_owned(),
        format!("route add {} via {}", NODE_B.pods, NODE_B.address),
        // Service addresses are rewritten after a route was found for them, so there must be one.
        "route add default dev eth0".to_owned(),
    ];
    batch(NODE_A.name, &batch_a)?;
    let batch_b = [
        "link set lo up".to_owned(),
        format!("addr add {}/24 dev eth0", NODE_B.address),
        "link set eth0 up".to_owned(),
        format!("route add {} via {}", NODE_A.pods, NODE_A.address),
        format!("route add default via {}", NODE_A.address),
    ];
    batch(NODE_B.name, &batch_b)?;
    for node in &NODES {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", node.name)).args([
            "sh",
            "-c",
            "echo 1 > /proc/sys/net/ipv4/ip_forward",
        ]);
        finish(command, None)
            .with_context(|| format!("{} cannot be made to forward packets", node.name))?;
    }
    Ok(slot)
}

/// Makes the link to the host, in the first slot that is free.
fn link_to_host() -> Result<u8> {
    for slot in 0..SLOTS {
        let name = host_interface(slot);
        match ip(&[
            "link",
            "add",
            &name,
            "type",
            "veth",
            "peer",
            "name",
            "host",
            "netns",
            NODE_A.name,
        ]) {
            Err(error) if format!("{error:#}").contains("File exists") => {}
            Err(error) => {
                return Err(error).with_context(|| {
                    format!("the link {name} between host and lab cannot be made")
                });
            }
            Ok(()) => {
                ip(&["addr", "add", &format!("{}/30", host_address(slot)), "dev", &name])?;
                ip(&["link", "set", &name, "up"])?;
                return Ok(slot);
            }
        }
    }
    bail!("{SLOTS} labs run on this machine already: end one of them")
}

fn ip(arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("ip");
    command.args(arguments);
    finish(command, None)
}

/// Runs `lines` as commands of `ip` in the network of `node`.
fn batch(node: &str, lines: &[String]) -> Result<()> {
    let mut command = Command::new("ip");
    command.args(["-netns", node, "-batch", "-"]);
    finish(command, Some(lines.join("\n")))
        .with_context(|| format!("the network of {node} cannot be set up"))
}

/// Runs a short command to its end.
fn finish(mut command: Command, input: Option<String>) -> Result<()> {
    let mut child = command
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{command:?} cannot be started"))?;
    if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
        stdin
            .write_all(input.as_bytes())
            .with_context(|| format!("{command:?} does not read its input"))?;
    }
    let output =
        child.wait_with_output().with_context(|| format!("{command:?} cannot be awaited"))?;
    if !output.status.success() {
        bail!(
            "{command:?}: {}: {}",
            output.status,
            last_lines(&String::from_utf8_lossy(&output.stderr), 5)
        );
    }
    Ok(())
}
