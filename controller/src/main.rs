//! `lameduck-controller`: see the library of the same name.

use anyhow::Context;
use clap::Parser;
use lameduck_controller::{args::Args, run::run};
use tracing_subscriber::EnvFilter;

// The system's allocator: with 10,000 pods it keeps 10 MiB where mimalloc keeps 25, and nothing here
// allocates fast enough to notice.

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let filter = EnvFilter::try_new(&args.log)
        .with_context(|| format!("the log filter {:?} cannot be read", args.log))?;
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        anyhow::bail!("another provider of cryptography is installed already");
    }
    // One thread: everything here waits for the API server; the index is behind one lock anyway.
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the asynchronous runtime cannot start")?
        .block_on(run(args))
}
