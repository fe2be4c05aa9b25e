//! `kubectl lameduck mutate`: equal to the webhook, and clear about what makes no sense.

#![allow(clippy::expect_used, clippy::panic, reason = "a test ends where it cannot go on")]

mod corpus;
mod files;
mod golden;
mod hostile;

use clap::Parser as _;
use lameduck_cli::args::{Cli, Command};
use lameduck_cli::mutate::{Document, Input, MutateArgs, reviewed};

/// The arguments that these flags come to.
pub(crate) fn args(flags: &[&str]) -> MutateArgs {
    let words = [&["kubectl-lameduck", "mutate", "-f", "-"], flags].concat();
    match Cli::try_parse_from(words).expect("flags").command {
        Command::Mutate(args) => args,
        other => panic!("{other:?}"),
    }
}

/// What comes of one file.
pub(crate) fn mutate(file: &str, bytes: impl Into<Vec<u8>>, flags: &[&str]) -> Document {
    let input = Input { file: file.to_owned(), bytes: Ok(bytes.into()) };
    reviewed(vec![input], &args(flags), Some("record")).expect("objects")
}
