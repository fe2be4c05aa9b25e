//! The command line: from these definitions come the help texts, the completions and docs/cli.md.

use clap::{Parser, Subcommand};

use crate::common::cluster::ClusterArgs;
use crate::common::failure::Exit;
use crate::common::screen::Colours;
use crate::{check, completion, explain, mutate, release, status, upgrade};

/// See, understand and steer how pods end
///
/// Lameduck holds pods that end until no load balancer sends to them and their connections have closed, and
/// upgrades StatefulSets one ordinal at a time. This says what it does, what it waits for and why, and
/// lets you step in.
#[derive(Debug, Parser)]
#[command(
    name = "kubectl-lameduck",
    bin_name = "kubectl lameduck",
    version,
    disable_help_subcommand = true,
    after_help = exit_codes()
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Which cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// Whether output is coloured
    #[arg(
        long,
        visible_alias = "colour",
        global = true,
        value_enum,
        default_value_t,
        value_name = "WHEN"
    )]
    pub color: Colours,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// What asks a cluster.
    #[command(flatten)]
    Cluster(ClusterCommand),
    /// Show what the webhook would change in manifests; asks no cluster
    Mutate(mutate::MutateArgs),
    /// Print a script that completes commands in your shell
    Completion(completion::CompletionArgs),
}

/// What asks a cluster.
#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// Show enrolled workloads, pods that end now, and upgrades
    Status(status::StatusArgs),
    /// Say why an object is treated as it is, and what would change that
    Explain(explain::ExplainArgs),
    /// Look for what is wrong with the installation and with enrolled namespaces
    Check(check::CheckArgs),
    /// Steer the upgrade of a StatefulSet
    Upgrade(upgrade::UpgradeArgs),
    /// Let a pod that is held go now: the break-glass
    Release(release::ReleaseArgs),
}

fn exit_codes() -> String {
    let lines: Vec<String> =
        Exit::ALL.iter().map(|(exit, meaning)| format!("  {:<4} {meaning}", exit.code())).collect();
    format!("Exit codes:\n{}", lines.join("\n"))
}
