//! `count`: waits for the end of the pod's connections from a container of its own.
//!
//! For pods that were made before Lameduck came and have no hold in them: an ephemeral container runs
//! this before the pod is deleted. Every container of a pod shares one network, so it sees the same
//! sockets as a hold would.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use signal_hook::consts::SIGTERM;

use crate::args::Count as Args;
use crate::census::Connection;
use crate::machine::{self, End, Step};
use crate::sampler::Sampler;

/// Where the kubelet reads what it puts into the container's status as `message`.
pub(crate) const TERMINATION_LOG: &str = "/dev/termination-log";

/// Exit codes. The controller reads them, so they never change their meaning.
const LEFT: u8 = 3;
const UNCOUNTABLE: u8 = 4;
/// As a shell says it of a process that a SIGTERM ended.
const BY_SIGTERM: i32 = 128 + SIGTERM;

/// Counts until the connections have ended, or until there is no time left.
pub(crate) fn run(args: &Args) -> ExitCode {
    let began = Instant::now();
    end_on_sigterm();
    let until = match args.idle_limit {
        Some(limit) => format!("closed or idle for {} s", limit.as_secs()),
        None => "closed".to_owned(),
    };
    say(&format!("waiting until connections have {until}, at most {} s", args.max.as_secs()));
    let mut count = machine::Count::new(args.max);
    let mut sampler = Sampler::new(&args.ports, args.idle_limit);
    let end = loop {
        let now = began.elapsed();
        match count.next(now) {
            Step::Finish(end) => break end,
            Step::Sleep(pause) => std::thread::sleep(pause),
            Step::Sample(extent) => {
                let (found, cost) = sampler.take(now, extent);
                count.on_sample(began.elapsed(), found, cost);
                if let Some(number) = count.news(began.elapsed()) {
                    say(&connections(number));
                }
            }
        }
    };
    let (message, code) = match end {
        End::Over => (over(began.elapsed(), args.idle_limit), 0),
        End::Left(number) => (left(began.elapsed(), number, sampler.examples()), LEFT),
        End::Uncountable => (uncountable(sampler.uncountable()), UNCOUNTABLE),
    };
    say(&message);
    leave_message(&args.message_to, &message);
    ExitCode::from(code)
}

/// The kernel drops a SIGTERM for which the first process of a container has no handler. Without one
/// this container would live for all of the grace period when somebody deletes the pod meanwhile.
fn end_on_sigterm() {
    static AT_ONCE: AtomicBool = AtomicBool::new(true);
    let registered =
        signal_hook::flag::register_conditional_shutdown(SIGTERM, BY_SIGTERM, &AT_ONCE);
    if let Err(error) = registered {
        say(&format!("SIGTERM will not end this: no handler could be installed: {error}"));
    }
}

/// A line into the container's log. Not `println`, which panics where nobody listens.
fn say(line: &str) {
    writeln!(std::io::stdout(), "{line}").ok();
}

/// Leaves the last word where the kubelet looks for it. The kubelet has made the file; where there is
/// none nobody asks for it. The exit code says what matters, so a failure is none of the count's.
pub(crate) fn leave_message(path: &Path, message: &str) {
    if let Ok(mut file) = OpenOptions::new().write(true).truncate(true).open(path) {
        file.write_all(message.as_bytes()).ok();
    }
}

fn connections(number: u64) -> String {
    format!("{number} connection{}", if number == 1 { "" } else { "s" })
}

fn over(after: Duration, idle_limit: Option<Duration>) -> String {
    let how =
        idle_limit.map(|limit| format!(" or idle for {} s", limit.as_secs())).unwrap_or_default();
    format!("connections closed{how} after {:.1} s", after.as_secs_f64())
}

fn left(after: Duration, number: u64, examples: &[Connection]) -> String {
    let mut message = format!("{} left after {} s", connections(number), after.as_secs());
    for (at, Connection { peer, local, .. }) in examples.iter().enumerate() {
        let separator = if at == 0 { ": " } else { ", " };
        let ip = peer.ip().to_canonical();
        let peer = std::net::SocketAddr::new(ip, peer.port());
        message.push_str(&format!("{separator}{peer} -> :{}", local.port()));
    }
    if number > examples.len() as u64 && !examples.is_empty() {
        message.push_str(", ...");
    }
    message
}

fn uncountable(reason: Option<&str>) -> String {
    reason.unwrap_or("connections cannot be counted: no look at them was possible").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::census::State;

    #[test]
    fn messages_say_what_an_admin_has_to_know() {
        let after = Duration::from_millis(12_345);
        assert_eq!(over(after, None), "connections closed after 12.3 s");
        assert_eq!(
            over(after, Some(Duration::from_secs(60))),
            "connections closed or idle for 60 s after 12.3 s"
        );
        let from = |peer: &str| Connection {
            id: 1,
            local: "[::ffff:10.0.0.1]:8080".parse().expect("an address"),
            peer: peer.parse().expect("an address"),
            state: State::Established,
            unacknowledged: 0,
            idle: None,
        };
        let peers = [from("[::ffff:10.0.0.5]:34512"), from("[fd00::2]:1")];
        assert_eq!(
            left(Duration::from_secs(900), 2, &peers),
            "2 connections left after 900 s: 10.0.0.5:34512 -> :8080, [fd00::2]:1 -> :8080"
        );
        let one = left(Duration::from_secs(900), 3, &peers[..1]);
        assert_eq!(one, "3 connections left after 900 s: 10.0.0.5:34512 -> :8080, ...");
        assert_eq!(left(after, 1, &[]), "1 connection left after 12 s");
        assert!(uncountable(None).starts_with("connections cannot be counted: "));
    }
}
