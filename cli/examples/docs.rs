//! Writes the command line's manual into `docs/cli.md`:
//!
//! ```sh
//! cargo run -p lameduck-cli --example docs
//! ```

use std::path::Path;

use clap::CommandFactory as _;
use lameduck_cli::args::Cli;
use lameduck_cli::docs::manual;

fn main() -> Result<(), std::io::Error> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cli.md");
    std::fs::write(file, manual(Cli::command()))
}
