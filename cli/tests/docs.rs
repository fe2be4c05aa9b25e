//! The manual in `docs/` is the one of this command line.

use std::fs;
use std::path::Path;

use clap::CommandFactory as _;
use lameduck_cli::args::Cli;
use lameduck_cli::docs::manual;

#[test]
fn docs_cli_md_is_up_to_date() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cli.md");
    let there = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        there == manual(Cli::command()),
        "docs/cli.md is not what the definitions say; write it anew: \
         cargo run -p lameduck-cli --example docs"
    );
}

#[test]
fn every_command_and_flag_is_in_the_manual() {
    let mut command = Cli::command();
    command.build();
    let text = manual(Cli::command());
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        assert!(text.contains(&format!("\n### {}\n", sub.get_name())), "{}", sub.get_name());
        for long in
            sub.get_arguments().filter(|arg| !arg.is_hide_set()).filter_map(|arg| arg.get_long())
        {
            assert!(text.contains(&format!("--{long}")) || long == "help", "--{long}");
        }
    }
    assert!(!text.contains('\u{1b}'), "colours");
}
