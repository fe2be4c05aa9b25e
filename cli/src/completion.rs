//! `completion`: a script for the shell, and the answers to kubectl, which completes its plugins by itself.

use clap::{Arg, ArgAction, Args, Command, CommandFactory as _, ValueHint};
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
    #[arg(
        value_parser = clap::builder::EnumValueParser::<Shell>::new(),
        required_unless_present = "words"
    )]
    shell: Option<Shell>,
    /// In place of a shell: the words so far, the last one unfinished. Answers as kubectl reads it
    #[arg(last = true, value_name = "WORD")]
    words: Vec<String>,
}

/// Prints the script, or the answer.
///
/// # Errors
/// Standard output cannot be written.
pub fn run(args: &CompletionArgs) -> Result<(), Failure> {
    let screen = Screen::new(Format::Table, Colours::Never);
    let Some(shell) = args.shell else { return screen.print(&answer(Cli::command(), &args.words)) };
    let mut script = Vec::new();
    let mut command = Cli::command().bin_name("kubectl-lameduck");
    clap_complete::generate(shell, &mut command, "kubectl-lameduck", &mut script);
    screen.print(&String::from_utf8_lossy(&script))
}

/// What may stand in place of the last of `words`, in the words of cobra, which kubectl is built with: a line
/// each, with what it is for behind a tab, and a number that says what else the shell may do.
fn answer(mut command: Command, words: &[String]) -> String {
    /// `ShellCompDirectiveDefault`: names of files, where nothing is offered.
    const FILES: &str = ":0\n";
    /// `ShellCompDirectiveNoFileComp`.
    const NO_FILES: &str = ":4\n";
    command.build();
    let (last, before) =
        words.split_last().map_or(("", [].as_slice()), |(last, before)| (last.as_str(), before));
    let mut at = &command;
    let mut flag: Option<&Arg> = None;
    for word in before {
        if flag.take().is_some() {
            continue;
        }
        if word.starts_with('-') {
            flag = at.get_arguments().find(|arg| is_flag(arg, word) && takes_value(arg));
        } else {
            at = at.find_subcommand(word).unwrap_or(at);
        }
    }
    let mut offered: Vec<(String, String)> = Vec::new();
    let values = |arg: &Arg| {
        let values = arg.get_possible_values().into_iter().filter(|value| !value.is_hide_set());
        let line = |value: clap::builder::PossibleValue| {
            let help = value.get_help().map(ToString::to_string).unwrap_or_default();
            (value.get_name().to_owned(), help)
        };
        values.map(line).collect::<Vec<_>>()
    };
    let mut more = NO_FILES;
    if let Some(flag) = flag {
        offered.extend(values(flag));
        if matches!(flag.get_value_hint(), ValueHint::AnyPath | ValueHint::FilePath) {
            more = FILES;
        }
    } else if last.starts_with('-') {
        let flags = at.get_arguments().filter(|arg| !arg.is_hide_set());
        offered.extend(flags.filter_map(|arg| {
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            Some((format!("--{}", arg.get_long()?), help))
        }));
    } else {
        let subs = at.get_subcommands().filter(|sub| !sub.is_hide_set());
        offered.extend(subs.map(|sub| {
            let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
            (sub.get_name().to_owned(), about)
        }));
        offered.extend(at.get_positionals().filter(|arg| takes_value(arg)).flat_map(values));
    }
    let lines = offered.iter().filter(|(word, _)| word.starts_with(last)).map(|(word, help)| {
        // One line each, whatever a help text has in it.
        let help = help.lines().next().unwrap_or_default();
        if help.is_empty() { format!("{word}\n") } else { format!("{word}\t{help}\n") }
    });
    lines.chain([more.to_owned()]).collect()
}

fn is_flag(arg: &Arg, word: &str) -> bool {
    let longs = arg.get_long_and_visible_aliases().unwrap_or_default();
    let is_long = word.strip_prefix("--").is_some_and(|word| longs.contains(&word));
    let is_short = arg.get_short().is_some_and(|short| word == format!("-{short}"));
    is_long || is_short
}

fn takes_value(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Set | ArgAction::Append)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubectl_gets_what_may_stand_there() {
        let answer = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(ToString::to_string).collect();
            answer(Cli::command(), &words)
        };
        assert!(answer(&["mut"]).starts_with("mutate\t"), "{}", answer(&["mut"]));
        assert!(answer(&[""]).contains("completion\t"));
        assert!(answer(&["-n", "shop", "mutate", "--pol"]).starts_with("--policy\t"));
        assert!(answer(&["mutate", "-o", "j"]).starts_with("json\t"));
        assert_eq!(answer(&["mutate", "-f", ""]), ":0\n");
        assert!(answer(&["completion", "z"]).starts_with("zsh"));
        assert_eq!(answer(&["mutate", "nonsense"]), ":4\n");
        assert!(answer(&[]).ends_with(":4\n"));
    }
}
