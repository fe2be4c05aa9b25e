//! The `cargo lab` command line.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A local two-node Kubernetes, and what is run on it.
#[derive(Debug, Parser)]
#[command(name = "cargo lab", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Bring the cluster up; it stays until `down`
    Up,
    /// End the cluster
    Down,
}

/// Runs the command line of this process to its end.
#[must_use]
pub fn main() -> ExitCode {
    let Arguments { command } = Arguments::parse();
    match command {
        Command::Up | Command::Down => ExitCode::FAILURE,
    }
}
