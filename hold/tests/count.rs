//! `count` against real connections, as an ephemeral container runs it. Loopback peers never count, so
//! the two ends get addresses of their own in a fresh network namespace, which takes root.

#![allow(clippy::expect_used, clippy::panic)] // The helpers are tests too, though clippy does not see it.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::UnshareFlags;

const POD: &str = "198.18.0.1";
const CLIENT: &str = "198.18.0.2";

fn unshare(flags: UnshareFlags) {
    // The flag that makes `unshare` unsound, FILES, is not given.
    #[allow(deprecated)]
    rustix::thread::unshare(flags).expect("a namespace");
}

/// Runs `test` on a thread inside a network namespace that has both addresses, with a server in it.
fn in_a_namespace(test: impl FnOnce(TcpListener) + Send + 'static) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: a network namespace takes root");
        return;
    }
    std::thread::spawn(move || {
        unshare(UnshareFlags::NEWNET);
        for line in [
            "link set lo up".to_owned(),
            format!("address add {POD}/32 dev lo"),
            format!("address add {CLIENT}/32 dev lo"),
        ] {
            let status = Command::new("ip").args(line.split(' ')).status().expect("ip runs");
            assert!(status.success(), "ip {line}");
        }
        test(TcpListener::bind((POD, 0)).expect("a listener"));
    })
    .join()
    .expect("the test in the namespace");
}

/// A connection, with both its ends.
fn dial(server: &TcpListener) -> (TcpStream, TcpStream) {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    bind(&socket, &SocketAddr::new(CLIENT.parse().expect("an address"), 0))
        .expect("a local address");
    connect(&socket, &server.local_addr().expect("an address")).expect("a connection");
    (TcpStream::from(socket), server.accept().expect("a connection").0)
}

/// A count that runs, and the file that its last word goes to.
struct Count {
    child: Child,
    log: BufReader<ChildStdout>,
    message_to: PathBuf,
}

impl Count {
    fn start(name: &str, words: &[&str]) -> Self {
        let message_to =
            std::env::temp_dir().join(format!("hold-count-{name}-{}", std::process::id()));
        // The kubelet makes the file. What an earlier run left in it goes.
        std::fs::write(&message_to, "x".repeat(500)).expect("a file");
        let mut child = Command::new(env!("CARGO_BIN_EXE_lameduck-hold"))
            .args(["count", "--message-to"])
            .arg(&message_to)
            .args(words)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the count runs");
        let log = BufReader::new(child.stdout.take().expect("a pipe"));
        Self { child, log, message_to }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.log.read_line(&mut line).expect("a line");
        line.trim_end().to_owned()
    }

    /// The exit code and the last word, which is in the log and in the file.
    fn end(mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        self.log.read_to_string(&mut rest).expect("the rest of the log");
        let code = self.child.wait().expect("a status").code();
        let message = std::fs::read_to_string(&self.message_to).expect("the last word");
        if code.is_some_and(|code| code < 128) {
            assert!(rest.trim_end().ends_with(&message), "{rest}");
        }
        (code, message)
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        std::fs::remove_file(&self.message_to).ok();
    }
}

const CLOSED: [&str; 4] = ["--until", "ConnectionsClosed", "--max-seconds", "600"];

#[test]
fn ends_when_the_last_connection_has_closed() {
    in_a_namespace(|server| {
        let other_server = TcpListener::bind((POD, 0)).expect("a listener");
        let elsewhere = dial(&other_server);
        let connections = [dial(&server), dial(&server)];
        let port = server.local_addr().expect("an address").port().to_string();
        let mut count = Count::start("closed", &[&CLOSED[..], &["--port", &port]].concat());
        assert!(count.line().contains("at most 600 s"));
        assert_eq!(count.line(), "2 connections");
        drop(connections);
        let (code, message) = count.end();
        assert_eq!(code, Some(0), "{message}");
        assert!(message.starts_with("connections closed after "), "{message}");
        drop(elsewhere);
    });
}

#[test]
fn says_which_are_left_at_the_deadline() {
    in_a_namespace(|server| {
        let (client, _server_end) = dial(&server);
        let peer = client.local_addr().expect("an address");
        let port = server.local_addr().expect("an address").port();
        // No port is named: every one that listens.
        let words = ["--until", "ConnectionsClosed", "--max-seconds", "1"];
        let (code, message) = Count::start("left", &words).end();
        assert_eq!(code, Some(3), "{message}");
        assert_eq!(message, format!("1 connection left after 1 s: {peer} -> :{port}"));
    });
}

#[test]
fn idle_connections_may_stay() {
    in_a_namespace(|server| {
        let _idle = dial(&server);
        let words = ["--until", "ConnectionsIdle", "--idle-seconds", "1", "--max-seconds", "600"];
        let (code, message) = Count::start("idle", &words).end();
        assert_eq!(code, Some(0), "{message}");
        assert!(message.starts_with("connections closed or idle for 1 s after "), "{message}");
    });
}

/// Where the kernel drops a SIGTERM that nobody handles: as the first process of a pid namespace.
#[test]
fn ends_on_sigterm_as_process_1() {
    in_a_namespace(|server| {
        let _open = dial(&server);
        unshare(UnshareFlags::NEWPID);
        let mut count = Count::start("sigterm", &CLOSED);
        // From its first line on it has its handler.
        count.line();
        kill_process(Pid::from_child(&count.child), Signal::TERM).expect("a signal");
        // Its own exit, and not a death by the signal.
        assert_eq!(count.end().0, Some(143));
    });
}

#[test]
fn a_last_word_that_cannot_be_left_is_no_error() {
    in_a_namespace(|_server| {
        let output = Command::new(env!("CARGO_BIN_EXE_lameduck-hold"))
            .args(["count", "--message-to", "/nonexistent/message"])
            .args(CLOSED)
            .stdin(Stdio::null())
            .output()
            .expect("the count runs");
        let log = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{log}");
        assert!(log.contains("0 connections\nconnections closed after "), "{log}");
    });
}
