//! `completion`: a script for the shell.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::args::Cli;
use crate::common::failure::Failure;
use crate::common::screen::{Colours, Format, Screen};

/// Arguments of `completion`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  kubectl-lameduck completion bash > /etc/bash_completion.d/kubectl-lameduck
  kubectl-lameduck completion zsh > \"${fpath[1]}/_kubectl-lameduck\"
  kubectl-lameduck completion fish > ~/.config/fish/completions/kubectl-lameduck.fish

`kubectl lameduck` itself is completed by kubectl, which asks a program kubectl_complete-lameduck on the
PATH: see docs/cli.md.")]
pub struct CompletionArgs {
    /// The shell
    #[arg(value_parser = clap::builder::EnumValueParser::<Shell>::new())]
    shell: Shell,
}

/// Prints the script.
///
/// # Errors
/// Standard output cannot be written.
pub fn run(args: &CompletionArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    let mut command = Cli::command().bin_name("kubectl-lameduck");
    clap_complete::generate(args.shell, &mut command, "kubectl-lameduck", &mut script);
    Screen::new(Format::Table, Colours::Never).print(&String::from_utf8_lossy(&script))
}
