//! `cargo lab`: see [`lameduck_lab::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    lameduck_lab::cli::main()
}
