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

use args::{Cli, Command};
use common::failure::{Exit, Failure};
use common::screen::{Format, Screen};

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
    // kube's TLS has one provider, which has to be chosen before the first connection.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return told(&Failure::refused(format!("no runtime can be started: {error}")));
        }
    };
    let done = runtime.block_on(async {
        tokio::select! {
            done = run(cli) => done,
            Ok(()) = tokio::signal::ctrl_c() => Ok(Exit::Interrupted),
        }
    });
    match done {
        Ok(exit) => exit.into(),
        Err(failure) => told(&failure),
    }
}

fn told(failure: &Failure) -> ExitCode {
    if !failure.message.is_empty() {
        anstream::eprintln!("{failure}");
    }
    failure.exit.into()
}

async fn run(cli: Cli) -> Result<Exit, Failure> {
    let told = Screen::new(Format::Table, cli.color);
    match cli.command {
        Command::Explain(args) => {
            let screen = args.output.screen(cli.color);
            explain::run(args, &cli.cluster.connect().await?, &screen).await.map(|()| Exit::Done)
        }
        Command::Upgrade(args) => {
            upgrade::run(args, &cli.cluster.connect().await?, &told).await.map(|()| Exit::Done)
        }
        Command::Release(args) => {
            release::run(args, &cli.cluster.connect().await?, &told).await.map(|()| Exit::Done)
        }
        Command::Mutate(args) => mutate::run(&args, cli.cluster.namespace.as_deref(), cli.color),
        Command::Check(args) => check::run(&args, &cli.cluster, cli.color).await,
        Command::Status(args) => status::run(args, &cli.cluster, cli.color).await,
        Command::Completion(args) => completion::run(&args).map(|()| Exit::Done),
    }
}
