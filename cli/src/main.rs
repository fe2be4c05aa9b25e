//! `kubectl lameduck`: see [`lameduck_cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    lameduck_cli::main()
}
