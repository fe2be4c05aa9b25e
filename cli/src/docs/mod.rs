//! `docs/cli.md`, from the definitions of the command line. Pure.
//!
//! What no definition says stands beside this file as Markdown: how to install it, how shells complete it,
//! and what the documents of `-o json` have in them.

use clap::{Arg, ArgAction, Command};

use crate::common::failure::Exit;

const INSTALL: &str = include_str!("install.md");
const COMPLETION: &str = include_str!("completion.md");
const DOCUMENTS: &str = include_str!("documents.md");

/// The manual of a command line, as Markdown.
#[must_use]
pub fn manual(mut command: Command) -> String {
    // From here on every command knows its whole name and the flags that hold everywhere.
    command.build();
    let mut out = String::new();
    out.push_str(
        "<!-- Written by `cargo run -p lameduck-cli --example docs`: change cli/src/. -->\n",
    );
    out.push_str("# kubectl lameduck\n");
    section(&mut out, "Name", &format!("`kubectl-lameduck`: {}", lower(&about(&command))));
    section(&mut out, "Synopsis", &code(&synopsis(&command)));
    section(&mut out, "Description", &description(&command));
    section(&mut out, "Install", INSTALL);
    let everywhere: Vec<&Arg> = arguments(&command).collect();
    section(&mut out, "Options of every command", &options(&everywhere));
    out.push_str("\n## Commands\n\n");
    for sub in commands(&command) {
        out.push_str(&format!("- [`{0}`](#{0}): {1}\n", sub.get_name(), about(sub)));
    }
    for sub in commands(&command) {
        page(&mut out, sub, sub.get_name(), 3);
    }
    section(&mut out, "Documents", DOCUMENTS);
    section(&mut out, "Exit codes", &exit_codes());
    section(&mut out, "Completion by kubectl", COMPLETION);
    out
}

/// One command, and those below it.
fn page(out: &mut String, command: &Command, name: &str, level: usize) {
    let marks = "#".repeat(level);
    out.push_str(&format!("\n{marks} {name}\n\n{}\n\n", description(command)));
    out.push_str(&code(&synopsis(command)));
    out.push('\n');
    let own: Vec<&Arg> = arguments(command).filter(|arg| !arg.is_global_set()).collect();
    if !own.is_empty() {
        out.push('\n');
        out.push_str(&options(&own));
    }
    let after = command.get_after_long_help().or(command.get_after_help());
    if let Some(after) = after.map(ToString::to_string) {
        out.push_str(&format!("\n{}\n", code(after.trim())));
    }
    for sub in commands(command) {
        page(out, sub, &format!("{name} {}", sub.get_name()), level + 1);
    }
}

fn section(out: &mut String, title: &str, text: &str) {
    out.push_str(&format!("\n## {title}\n\n{}\n", text.trim()));
}

fn commands(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help")
}

fn arguments(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|arg| {
        let is_own = !matches!(
            arg.get_action(),
            ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version
        );
        is_own && !arg.is_hide_set()
    })
}

fn synopsis(command: &Command) -> String {
    let usage = command.clone().render_usage().to_string();
    let lines = usage.trim_start_matches("Usage:").lines();
    lines.map(str::trim).collect::<Vec<_>>().join("\n")
}

fn about(command: &Command) -> String {
    command.get_about().map(ToString::to_string).unwrap_or_default()
}

/// The long text where there is one: it begins with the short one.
fn description(command: &Command) -> String {
    let long = command.get_long_about().map(ToString::to_string);
    let text = long.unwrap_or_else(|| about(command));
    let text = text.trim();
    if text.ends_with(['.', ':']) { text.to_owned() } else { format!("{text}.") }
}

fn lower(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

fn code(text: &str) -> String {
    format!("```text\n{text}\n```")
}

fn options(all: &[&Arg]) -> String {
    all.iter().map(|arg| option(arg)).collect()
}

fn option(arg: &Arg) -> String {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let mut line = format!("- {}: {}", names(arg), help.trim_end_matches('.'));
    let defaults: Vec<String> = arg
        .get_default_values()
        .iter()
        .map(|value| format!("`{}`", value.to_string_lossy()))
        .collect();
    if !defaults.is_empty() && takes_value(arg) {
        line.push_str(&format!("; default {}", defaults.join(", ")));
    }
    if let Some(variable) = arg.get_env() {
        line.push_str(&format!("; environment variable `{}`", variable.to_string_lossy()));
    }
    line.push('\n');
    if takes_value(arg) && !arg.is_hide_possible_values_set() {
        for value in arg.get_possible_values().iter().filter(|value| !value.is_hide_set()) {
            let help = value.get_help().map(|help| format!(": {help}")).unwrap_or_default();
            line.push_str(&format!("  - `{}`{help}\n", value.get_name()));
        }
    }
    line
}

fn takes_value(arg: &Arg) -> bool {
    arg.is_positional() || matches!(arg.get_action(), ArgAction::Set | ArgAction::Append)
}

/// `-f`, `--filename <FILE>`.
fn names(arg: &Arg) -> String {
    let values: Vec<String> = arg
        .get_value_names()
        .into_iter()
        .flatten()
        .map(|name| if arg.is_positional() { name.to_string() } else { format!("<{name}>") })
        .collect();
    let values = values.join(" ");
    if arg.is_positional() {
        let more = if matches!(arg.get_action(), ArgAction::Append) { "..." } else { "" };
        return format!("`{values}{more}`");
    }
    let mut names = Vec::new();
    names.extend(arg.get_short().map(|short| format!("-{short}")));
    names.extend(
        arg.get_long_and_visible_aliases().into_iter().flatten().map(|long| format!("--{long}")),
    );
    if let Some(last) = names.last_mut().filter(|_| takes_value(arg) && !values.is_empty()) {
        *last = format!("{last} {values}");
    }
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

fn exit_codes() -> String {
    let mut table = "| code | meaning |\n|---|---|\n".to_owned();
    for (exit, meaning) in Exit::ALL {
        table.push_str(&format!("| {} | {meaning} |\n", exit.code()));
    }
    table
}
