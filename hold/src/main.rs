//! Keeps a container serving after its pod was deleted, until traffic is off and its connections have
//! closed.
//!
//! ```text
//! install   the init container: puts this binary and the pod's identity into a volume
//! wait      the preStop of every container: returns when the container may get its SIGTERM
//! count     in a container of its own: ends when the pod's connections have
//! ```
//!
//! The decisions are in [`machine`] and [`census`], which are pure; everything else fetches facts for
//! them, within a bound of its own, so that no peer, nameserver or command can make a hold hang.

mod args;
mod census;
mod controller;
mod count;
mod dns;
mod http;
mod identity;
mod install;
mod log;
mod machine;
mod prestop;
mod sampler;
mod sigterm;
mod sockets;
mod wait;

use std::process::ExitCode;
use std::time::Duration;

/// How long `wait` holds when it cannot read its own arguments: better a guess than no hold.
const BLIND_HOLD: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1).peekable();
    let command = words.peek().cloned().unwrap_or_default();
    match args::parse(words) {
        Ok(args::Command::Wait(wait)) => wait::run(*wait),
        Ok(args::Command::Count(count)) => count::run(&count),
        Ok(args::Command::Install { to }) => match install(&to) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("lameduck-hold: {error}");
                ExitCode::FAILURE
            }
        },
        Ok(args::Command::Version) => {
            println!("lameduck-hold {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        Ok(args::Command::Help) => {
            print!("{}", args::USAGE);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("lameduck-hold: {error}\n{}", args::USAGE);
            if command == "wait" {
                let seconds = BLIND_HOLD.as_secs();
                log::Log::open().line(&format!("{error}; holding for {seconds} s"));
                std::thread::sleep(BLIND_HOLD);
            } else if command == "count" {
                count::leave_message(count::TERMINATION_LOG.as_ref(), &error.to_string());
            }
            ExitCode::from(2)
        }
    }
}

fn install(to: &std::path::Path) -> Result<(), String> {
    let identity = identity::Identity::from_environment(|name| std::env::var(name).ok())
        .map_err(|error| format!("{error}; the init container sets it by the downward API"))?;
    let binary = std::env::current_exe().map_err(|error| format!("no own binary: {error}"))?;
    install::install(&binary, to, &identity).map_err(|error| error.to_string())
}
