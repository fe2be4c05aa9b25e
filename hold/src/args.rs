//! The command line, as the webhook writes it into pods.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::prelude::{Long, Short, Value, ValueExt as _};

use crate::count::TERMINATION_LOG;

/// What the binary was asked to do.
#[derive(Debug, PartialEq)]
pub(crate) enum Command {
    /// Copy the binary and write the pod's identity into this folder.
    Install {
        /// The folder.
        to: PathBuf,
    },
    /// Hold the container that called it.
    Wait(Box<Wait>),
    /// Wait for the end of the pod's connections from a container of its own.
    Count(Count),
    /// Print the version.
    Version,
    /// Print the usage.
    Help,
}

/// Arguments of `wait`. They carry the whole policy, so that a hold can decide alone.
#[derive(Debug, PartialEq)]
pub(crate) struct Wait {
    /// `HOST:PORT` of the controllers, tried in this order.
    pub(crate) controllers: Vec<String>,
    /// Name of the container that is held.
    pub(crate) container: String,
    /// What has to happen before the container may get its SIGTERM.
    pub(crate) until: Until,
    /// The longest hold.
    pub(crate) max: Duration,
    /// With [`Until::ConnectionsIdle`]: silence after which a connection counts as idle.
    pub(crate) idle: Duration,
    /// The least time to hold where no controller can be asked.
    pub(crate) unreachable: Duration,
    /// The grace that the pod's author asked for; bounds the user's own preStop, as the kubelet would.
    pub(crate) grace: Duration,
    /// Serving ports. Empty: every port that listens in the pod's network namespace.
    pub(crate) ports: Vec<u16>,
    /// The user's own preStop.
    pub(crate) pre_stop: Option<PreStop>,
}

/// Arguments of `count`. What has to happen is in `idle_limit`: connections close, or those that are
/// left become idle. A count that waits for traffic alone would have nothing to count.
#[derive(Debug, PartialEq)]
pub(crate) struct Count {
    /// The longest count.
    pub(crate) max: Duration,
    /// Silence after which a connection counts as idle and does not have to close.
    pub(crate) idle_limit: Option<Duration>,
    /// Serving ports. Empty: every port that listens in the pod's network namespace.
    pub(crate) ports: Vec<u16>,
    /// The file for the last word.
    pub(crate) message_to: PathBuf,
}

/// What a hold waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// Traffic is off and the connections have closed.
    ConnectionsClosed,
    /// Traffic is off and the connections that are left are idle.
    ConnectionsIdle,
    /// Traffic is off.
    TrafficOff,
}

/// The user's own preStop, which Lameduck's took the place of.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum PreStop {
    /// A native sleep.
    Sleep(Duration),
    /// A GET over plain HTTP; any answer is a success, as for the kubelet.
    HttpGet {
        /// `http://HOST:PORT/PATH`; an empty host is the pod's own IP.
        url: String,
        /// `Name: value` lines.
        headers: Vec<String>,
    },
    /// A command with its arguments.
    Exec(Vec<OsString>),
}

/// Usage text.
pub(crate) const USAGE: &str = "\
lameduck-hold install --to DIRECTORY
lameduck-hold wait --controller HOST:PORT --container NAME
    --until ConnectionsClosed|ConnectionsIdle|TrafficOff
    --max-seconds N --idle-seconds N --unreachable-seconds N --grace-seconds N [--port N]...
    [--pre-stop-sleep-seconds N
     | --pre-stop-http-get http://HOST:PORT/PATH [--pre-stop-http-header 'K: V']...
     | -- COMMAND ARGUMENT...]
lameduck-hold count --until ConnectionsClosed|ConnectionsIdle --max-seconds N
    [--idle-seconds N] [--port N]... [--message-to FILE, default /dev/termination-log; it must be there]
    exits 0: connections have ended, 3: some are left, 4: they cannot be counted
lameduck-hold --version | --help
";

/// Reads the command line, without the program's name.
///
/// # Errors
/// Names the argument that is missing, unknown or malformed.
pub(crate) fn parse(
    args: impl IntoIterator<Item = impl Into<OsString>>,
) -> Result<Command, lexopt::Error> {
    let mut parser = lexopt::Parser::from_args(args);
    match parser.next()? {
        Some(Value(name)) if name == "install" => parse_install(&mut parser),
        Some(Value(name)) if name == "wait" => parse_wait(&mut parser),
        Some(Value(name)) if name == "count" => parse_count(&mut parser),
        Some(Long("version") | Short('V')) => Ok(Command::Version),
        Some(Long("help") | Short('h')) => Ok(Command::Help),
        Some(other) => Err(other.unexpected()),
        None => Err("a command is missing: install, wait or count".into()),
    }
}

fn parse_install(parser: &mut lexopt::Parser) -> Result<Command, lexopt::Error> {
    let mut to = None;
    while let Some(arg) = parser.next()? {
        match arg {
            Long("to") => to = Some(parser.value()?.into()),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Command::Install { to: to.ok_or("--to is missing")? })
}

fn parse_wait(parser: &mut lexopt::Parser) -> Result<Command, lexopt::Error> {
    let mut wait = Wait {
        controllers: Vec::new(),
        container: String::new(),
        until: Until::ConnectionsClosed,
        max: Duration::from_secs(900),
        idle: DEFAULT_IDLE,
        unreachable: Duration::from_secs(30),
        grace: Duration::from_secs(30),
        ports: Vec::new(),
        pre_stop: None,
    };
    let mut headers = Vec::new();
    let mut command: Vec<OsString> = Vec::new();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("controller") => wait.controllers.push(parser.value()?.string()?),
            Long("container") => wait.container = parser.value()?.string()?,
            Long("until") => wait.until = parser.value()?.parse_with(parse_until)?,
            Long("max-seconds") => wait.max = seconds(parser)?,
            Long("idle-seconds") => wait.idle = seconds(parser)?,
            Long("unreachable-seconds") => wait.unreachable = seconds(parser)?,
            Long("grace-seconds") => wait.grace = seconds(parser)?,
            Long("port") => wait.ports.push(parser.value()?.parse()?),
            Long("pre-stop-sleep-seconds") => {
                set_pre_stop(&mut wait.pre_stop, PreStop::Sleep(seconds(parser)?))?;
            }
            Long("pre-stop-http-get") => {
                let url = parser.value()?.string()?;
                let http_get = PreStop::HttpGet { url, headers: Vec::new() };
                set_pre_stop(&mut wait.pre_stop, http_get)?;
            }
            Long("pre-stop-http-header") => headers.push(parser.value()?.string()?),
            // The first word after `--`, and everything behind it, is the user's command.
            Value(program) => {
                command.push(program);
                command.extend(parser.raw_args()?);
            }
            other => return Err(other.unexpected()),
        }
    }
    if !command.is_empty() {
        set_pre_stop(&mut wait.pre_stop, PreStop::Exec(command))?;
    }
    match &mut wait.pre_stop {
        Some(PreStop::HttpGet { headers: of_get, .. }) => *of_get = headers,
        _ if !headers.is_empty() => {
            return Err("--pre-stop-http-header needs --pre-stop-http-get".into());
        }
        _ => {}
    }
    if wait.container.is_empty() {
        return Err("--container is missing".into());
    }
    Ok(Command::Wait(Box::new(wait)))
}

/// As in a policy that does not say.
const DEFAULT_IDLE: Duration = Duration::from_secs(60);

/// Years are as good as for ever, and keep every sum of two durations in range.
const MAX_SECONDS: u64 = 10 * 365 * 86_400;

fn seconds(parser: &mut lexopt::Parser) -> Result<Duration, lexopt::Error> {
    let seconds: u64 = parser.value()?.parse()?;
    Ok(Duration::from_secs(seconds.min(MAX_SECONDS)))
}

fn parse_until(name: &str) -> Result<Until, &'static str> {
    match name {
        "ConnectionsClosed" => Ok(Until::ConnectionsClosed),
        "ConnectionsIdle" => Ok(Until::ConnectionsIdle),
        "TrafficOff" => Ok(Until::TrafficOff),
        _ => Err("not one of ConnectionsClosed, ConnectionsIdle, TrafficOff"),
    }
}

fn parse_count(parser: &mut lexopt::Parser) -> Result<Command, lexopt::Error> {
    let (mut until, mut max, mut idle) = (None, None, DEFAULT_IDLE);
    let (mut ports, mut message_to) = (Vec::new(), TERMINATION_LOG.into());
    while let Some(arg) = parser.next()? {
        match arg {
            Long("until") => until = Some(parser.value()?.parse_with(parse_until)?),
            Long("max-seconds") => max = Some(seconds(parser)?),
            Long("idle-seconds") => idle = seconds(parser)?,
            Long("port") => ports.push(parser.value()?.parse()?),
            Long("message-to") => message_to = parser.value()?.into(),
            other => return Err(other.unexpected()),
        }
    }
    let idle_limit = match until.ok_or("--until is missing")? {
        Until::ConnectionsClosed => None,
        Until::ConnectionsIdle => Some(idle),
        Until::TrafficOff => {
            return Err("--until TrafficOff: a count sees connections, and nothing of traffic; \
                        it takes ConnectionsClosed or ConnectionsIdle"
                .into());
        }
    };
    let max = max.ok_or("--max-seconds is missing")?;
    Ok(Command::Count(Count { max, idle_limit, ports, message_to }))
}

fn set_pre_stop(slot: &mut Option<PreStop>, value: PreStop) -> Result<(), lexopt::Error> {
    if slot.replace(value).is_some() {
        return Err("a container has at most one preStop of its own, more were given".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(line: &str) -> Result<Wait, String> {
        match parse(line.split(' ')).map_err(|error| error.to_string())? {
            Command::Wait(wait) => Ok(*wait),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn the_line_that_the_webhook_writes() {
        let line = "wait --controller lameduck-hold.lameduck-system:8080 --container app \
             --until ConnectionsIdle --max-seconds 600 --idle-seconds 7 --unreachable-seconds 5 \
             --grace-seconds 45 --port 8080 --port 9090 -- sh -c x --port 1";
        let wait = wait(line).expect("a valid line");
        assert_eq!(wait.controllers, ["lameduck-hold.lameduck-system:8080"]);
        assert_eq!(
            (wait.until, wait.ports.as_slice()),
            (Until::ConnectionsIdle, &[8080, 9090][..])
        );
        assert_eq!(
            [wait.max, wait.idle, wait.unreachable, wait.grace].map(|d| d.as_secs()),
            [600, 7, 5, 45]
        );
        // Options behind `--` are the user's own.
        let words = ["sh", "-c", "x", "--port", "1"].map(OsString::from).to_vec();
        assert_eq!(wait.pre_stop, Some(PreStop::Exec(words)));
    }

    #[test]
    fn the_line_that_the_upgrade_writes() {
        let count = |line: &str| match parse(line.split(' ')).expect(line) {
            Command::Count(count) => count,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            count(
                "count --until ConnectionsIdle --max-seconds 600 --idle-seconds 7 --port 8080 --port 1"
            ),
            Count {
                max: Duration::from_secs(600),
                idle_limit: Some(Duration::from_secs(7)),
                ports: vec![8080, 1],
                message_to: PathBuf::from("/dev/termination-log"),
            }
        );
        let closed = count("count --until ConnectionsClosed --max-seconds 9 --message-to /m");
        assert_eq!((closed.idle_limit, closed.message_to), (None, PathBuf::from("/m")));
        assert_eq!(
            count("count --until ConnectionsIdle --max-seconds 9").idle_limit,
            Some(DEFAULT_IDLE)
        );
    }

    #[test]
    fn http_get_keeps_its_headers() {
        let line = "wait --container a --pre-stop-http-header A:b --pre-stop-http-get http://:1/x";
        let expected =
            PreStop::HttpGet { url: "http://:1/x".into(), headers: vec!["A:b".to_owned()] };
        assert_eq!(wait(line).expect("a valid line").pre_stop, Some(expected));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, expected) in [
            ("wait", "--container"),
            ("wait --container a --until Never", "ConnectionsClosed"),
            ("wait --container a --port 70000", "70000"),
            ("wait --container a --frob", "--frob"),
            ("wait --container a --pre-stop-sleep-seconds 1 -- true", "at most one"),
            ("wait --container a --pre-stop-http-header A:b", "needs --pre-stop-http-get"),
            ("count --max-seconds 9", "--until"),
            ("count --until ConnectionsClosed", "--max-seconds"),
            ("count --until TrafficOff --max-seconds 9", "nothing of traffic"),
            ("count --until Never --max-seconds 9", "ConnectionsClosed"),
            ("count --until ConnectionsIdle --container app", "--container"),
            ("install", "--to"),
            ("frob", "frob"),
        ] {
            let error = wait(line).expect_err(line);
            assert!(error.contains(expected), "{line}: {error}");
        }
    }
}
