//! The user's own preStop, as the kubelet would have run it.
//!
//! A kubelet that restarts while a pod ends starts its preStop anew. So it does with a hold, which then
//! runs the user's preStop anew as well: a preStop has to bear that, with a hold or without.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::args::PreStop;
use crate::controller::split_host_port;
use crate::dns::Resolver;
use crate::http::{self, Request};
use crate::identity::Identity;

/// How it ended.
#[derive(Debug, PartialEq)]
pub(crate) enum End {
    /// It did what it should.
    Success,
    /// It did not: what to say, and the hold's exit code.
    Failure(String, u8),
}

/// Between two looks whether a command has ended.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Runs it to its end, at most for `limit`.
pub(crate) fn run(
    pre_stop: &PreStop,
    identity: Option<&Identity>,
    resolver: &Resolver,
    limit: Duration,
) -> End {
    match pre_stop {
        PreStop::Sleep(duration) => {
            std::thread::sleep(limit.min(*duration));
            End::Success
        }
        PreStop::HttpGet { url, headers } => {
            let pod_ip = identity.map_or("", |identity| identity.ip.as_str());
            match http_get(url, headers, pod_ip, resolver, limit) {
                Ok(()) => End::Success,
                Err(reason) => End::Failure(format!("preStop GET {url}: {reason}"), 1),
            }
        }
        PreStop::Exec(words) => exec(words, limit),
    }
}

fn exec(words: &[OsString], limit: Duration) -> End {
    let Some((program, arguments)) = words.split_first() else { return End::Success };
    let shown = program.to_string_lossy();
    // A group of its own, so that what it started can be ended with it.
    let spawned = Command::new(program).args(arguments).process_group(0).spawn();
    let mut child = match spawned {
        Ok(child) => child,
        // The shell's codes for "not found" and "not executable".
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return End::Failure(format!("preStop {shown}: {error}"), 127);
        }
        Err(error) => return End::Failure(format!("preStop {shown}: {error}"), 126),
    };
    let started = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return End::Success,
            Ok(Some(status)) => {
                return End::Failure(format!("preStop {shown}: {status}"), exit_code(status));
            }
            Ok(None) if started.elapsed() < limit => {
                std::thread::sleep(LOOK_EVERY.min(limit.saturating_sub(started.elapsed())));
            }
            Ok(None) => {
                kill(&mut child);
                let seconds = limit.as_secs();
                return End::Failure(
                    format!("preStop {shown}: ended after the pod's own grace of {seconds} s"),
                    137,
                );
            }
            Err(error) => return End::Failure(format!("preStop {shown}: {error}"), 1),
        }
    }
}

/// Ends the command and whatever it left in its group.
fn kill(child: &mut Child) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // It may have ended just now.
        kill_process_group(group, Signal::KILL).ok();
    }
    // Killed, so this does not wait.
    child.wait().ok();
}

fn exit_code(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt as _;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// Any answer is a success, whatever its status: so it is for the kubelet.
fn http_get(
    url: &str,
    headers: &[String],
    pod_ip: &str,
    resolver: &Resolver,
    limit: Duration,
) -> Result<(), String> {
    let rest = url.strip_prefix("http://").ok_or("only http:// can be asked")?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (host, port) = split_host_port(authority).ok_or("not of the form http://HOST:PORT/PATH")?;
    let host = if host.is_empty() { pod_ip } else { host };
    if host.is_empty() {
        return Err("the pod's own IP is not known".to_owned());
    }
    let ips = resolver.resolve(host).map_err(|error| error.to_string())?;
    let address = ips.first().map(|ip| SocketAddr::new(*ip, port)).ok_or("no address")?;
    let target = format!("/{path}");
    let shown = address.to_string();
    let request = Request { method: "GET", target: &target, host: &shown, headers, body: &[] };
    match http::send(address, &request, limit, limit) {
        Ok(_) => Ok(()),
        Err(http::Error::Io(error)) => Err(error.to_string()),
        // It answered; what it says does not matter.
        Err(http::Error::Malformed(_)) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> PreStop {
        PreStop::Exec(words.iter().map(OsString::from).collect())
    }

    fn run_it(pre_stop: &PreStop, limit: Duration) -> End {
        run(pre_stop, None, &Resolver::default(), limit)
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn the_commands_own_code_comes_out() {
        assert_eq!(run_it(&words(&["true"]), LONG), End::Success);
        let code = |pre_stop: &[&str]| match run_it(&words(pre_stop), LONG) {
            End::Success => 0,
            End::Failure(_, code) => code,
        };
        assert_eq!(code(&["sh", "-c", "exit 7"]), 7);
        assert_eq!(code(&["sh", "-c", "kill -TERM $$"]), 143);
        assert_eq!(code(&["/does/not/exist"]), 127);
        assert_eq!(code(&["/"]), 126);
    }

    #[test]
    fn a_command_that_hangs_is_ended_with_its_children() {
        let marker = std::env::temp_dir().join(format!("hold-prestop-{}", std::process::id()));
        let script = format!("sleep 600 & echo $! > {}; wait", marker.display());
        let end = run_it(&words(&["sh", "-c", &script]), Duration::from_secs(1));
        assert!(matches!(end, End::Failure(_, 137)), "{end:?}");
        let pid = std::fs::read_to_string(&marker).expect("the child's pid");
        let is_alive = || {
            // Gone, or dead and not yet reaped by whoever adopted it.
            std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()))
                .is_ok_and(|stat| !stat.contains(") Z "))
        };
        // The signal has been sent; the kernel may take a moment over it.
        let gone = (0..500).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            !is_alive()
        });
        assert!(gone, "process {pid} lives on");
        std::fs::remove_file(marker).expect("a clean end");
    }

    #[test]
    fn a_get_says_what_is_wrong() {
        let get = |url: &str| PreStop::HttpGet { url: url.to_owned(), headers: Vec::new() };
        for (url, expected) in [
            ("https://127.0.0.1:1/", "only http"),
            ("http://127.0.0.1/", "HOST:PORT"),
            ("http://:8080/", "own IP is not known"),
        ] {
            let End::Failure(reason, _) = run_it(&get(url), LONG) else { panic!("{url}") };
            assert!(reason.contains(expected), "{url}: {reason}");
        }
    }
}
