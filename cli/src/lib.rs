//! `kubectl lameduck`: what Lameduck does, what it waits for and why, in the terminal.
//!
//! ```text
//! arguments -> gather (asks the API server) -> facts -> view (pure) -> document -> table | JSON | YAML
//! ```
//! Each command is a folder with these three parts. What is decided of Kubernetes objects is decided by
//! `lameduck-core`, the same code as in the webhook and in the controller.

pub mod args;
pub mod check;
pub mod common;
pub mod completion;
pub mod docs;
pub mod explain;
pub mod mutate;
pub mod release;
pub mod status;
pub mod upgrade;

use std::process::ExitCode;

use clap::Parser as _;

use args::{Cli, ClusterCommand, Command};
use common::cluster::ClusterArgs;
use common::failure::{Exit, Failure};
use common::screen::{Colours, Format, Screen, tell};

/// Runs the command that the arguments name.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(help_or_error) => {
            // Nobody is left to hear of a closed pipe.
            drop(help_or_error.print());
            let is_error = help_or_error.use_stderr();
            return if is_error { Exit::Usage } else { Exit::Done }.into();
        }
    };
    let done = match cli.command {
        // They wait for nothing but files: Ctrl-C ends them as it ends any program.
        Command::Mutate(args) => mutate::run(&args, cli.cluster.namespace.as_deref(), cli.color),
        Command::Completion(args) => completion::run(&args).map(|()| Exit::Done),
        Command::Cluster(command) => on_cluster(command, &cli.cluster, cli.color),
    };
    match done {
        Ok(exit) => exit.into(),
        Err(failure) => {
            if !failure.message.is_empty() {
                tell(&failure);
            }
            failure.exit.into()
        }
    }
}

/// Runs a command that asks a cluster, until it is done or somebody presses Ctrl-C.
fn on_cluster(
    command: ClusterCommand,
    cluster: &ClusterArgs,
    colours: Colours,
) -> Result<Exit, Failure> {
    // kube's TLS has one provider, which has to be chosen before the first connection.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::refused(format!("no runtime can be started: {error}")))?;
    runtime.block_on(async {
        tokio::select! {
            done = run(command, cluster, colours) => done,
            Ok(()) = tokio::signal::ctrl_c() => Ok(Exit::Interrupted),
        }
    })
}

async fn run(
    command: ClusterCommand,
    cluster: &ClusterArgs,
    colours: Colours,
) -> Result<Exit, Failure> {
    let told = Screen::new(Format::Table, colours);
    match command {
        ClusterCommand::Status(args) => status::run(args, cluster, colours).await,
        ClusterCommand::Explain(args) => {
            let screen = args.output.screen(colours);
            explain::run(args, &cluster.connect().await?, &screen).await.map(|()| Exit::Done)
        }
        ClusterCommand::Check(args) => check::run(&args, cluster, colours).await,
        ClusterCommand::Upgrade(args) => {
            upgrade::run(args, &cluster.connect().await?, &told).await.map(|()| Exit::Done)
        }
        ClusterCommand::Release(args) => {
            release::run(args, &cluster.connect().await?, &told).await.map(|()| Exit::Done)
        }
    }
}
