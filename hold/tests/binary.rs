//! The whole binary, as a kubelet runs it, against a controller that follows the test's orders.

#![allow(clippy::expect_used)] // The helpers are tests too, though clippy does not see it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

/// Longer than any of these holds takes, so that a hang is a failure and not a stuck run.
const PATIENCE: Duration = Duration::from_secs(60);

/// A folder with an installed hold.
struct Pod {
    folder: PathBuf,
}

impl Pod {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("hold-binary-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        let installed = Command::new(env!("CARGO_BIN_EXE_lameduck-hold"))
            .args(["install", "--to"])
            .arg(&folder)
            .env("LAMEDUCK_POD_NAMESPACE", "shop")
            .env("LAMEDUCK_POD_NAME", "web-0")
            .env("LAMEDUCK_POD_UID", "u1")
            .env("LAMEDUCK_POD_IP", "127.0.0.1")
            .status()
            .expect("install runs");
        assert!(installed.success());
        Self { folder }
    }

    fn hold(&self, controller: SocketAddr, more: &[&str]) -> Hold {
        let child = Command::new(self.folder.join("hold"))
            .args(["wait", "--container", "app", "--controller", &controller.to_string()])
            .args(["--until", "ConnectionsClosed", "--max-seconds", "50", "--idle-seconds", "5"])
            .args(["--grace-seconds", "5", "--unreachable-seconds", "1", "--port", "1"])
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the hold runs");
        Hold(child)
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

struct Hold(Child);

impl Hold {
    fn is_running(&mut self) -> bool {
        self.0.try_wait().expect("a status").is_none()
    }

    fn end(mut self) -> (ExitStatus, String) {
        let mut waited = Duration::ZERO;
        while self.is_running() {
            assert!(waited < PATIENCE, "the hold hangs");
            std::thread::sleep(Duration::from_millis(20));
            waited += Duration::from_millis(20);
        }
        let mut output = String::new();
        for pipe in [
            self.0.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn std::io::Read>),
            self.0.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn std::io::Read>),
        ] {
            pipe.expect("a pipe").read_to_string(&mut output).expect("output");
        }
        (self.0.wait().expect("a status"), output)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Hands every request to the test, which answers it when it likes.
struct Controller {
    address: SocketAddr,
    requests: Receiver<Request>,
}

struct Request {
    text: String,
    stream: TcpStream,
}

impl Controller {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let address = listener.local_addr().expect("an address");
        let (sender, requests) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                read_request(stream, &sender);
            }
        });
        Self { address, requests }
    }

    fn next(&self) -> Request {
        self.requests.recv_timeout(PATIENCE).expect("a request")
    }

    /// Answers polls with `state` until the report comes, and returns that.
    fn answer_until_report(&self, state: &str) -> String {
        loop {
            let request = self.next();
            if request.text.starts_with("POST ") {
                let text = request.text.clone();
                request.answer("");
                return text;
            }
            request.state(state);
        }
    }
}

fn read_request(stream: TcpStream, sender: &Sender<Request>) {
    let mut reader = BufReader::new(stream.try_clone().expect("a handle"));
    let (mut text, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        // The hold may have been killed.
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        if let Some(value) = line.strip_prefix("Content-Length: ") {
            length = value.trim().parse().expect("a length");
        }
        text.push_str(&line);
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("a body");
    text.push_str(&String::from_utf8(body).expect("text"));
    sender.send(Request { text, stream }).ok();
}

impl Request {
    fn state(self, state: &str) {
        self.answer(&format!(
            r#"{{"state":"{state}","reason":"Test","message":"because","deadlineSeconds":40}}"#
        ));
    }

    fn answer(mut self, body: &str) {
        let length = body.len();
        // The hold may have ended meanwhile.
        write!(self.stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}").ok();
    }
}

#[test]
fn holds_until_traffic_is_off_and_then_reports() {
    let (pod, controller) = (Pod::new(), Controller::start());
    let mut hold = pod.hold(controller.address, &["--", "sh", "-c", "echo mine; exit 3"]);
    let first = controller.next();
    assert!(
        first.text.starts_with("GET /v1/hold/shop/web-0?uid=u1&container=app&"),
        "{}",
        first.text
    );
    first.state("Holding");
    let second = controller.next();
    assert!(
        second.text.contains("phase=WaitingForTraffic") && second.text.contains("state=Holding")
    );
    assert!(hold.is_running());
    second.state("TrafficOff");

    let report = controller.answer_until_report("TrafficOff");
    assert!(report.contains(r#""outcome":"ConnectionsClosed""#), "{report}");
    assert!(report.contains(r#""message":"because""#), "{report}");
    let (status, output) = hold.end();
    // The user's own failure is the hold's, and its output the hold's output.
    assert_eq!(status.code(), Some(3), "{output}");
    assert!(output.contains("mine"), "{output}");
}

#[test]
fn a_container_that_is_only_restarted_is_let_go() {
    let (pod, controller) = (Pod::new(), Controller::start());
    let hold = pod.hold(controller.address, &[]);
    let report = controller.answer_until_report("NotTerminating");
    assert!(report.contains(r#""outcome":"NotTerminating""#), "{report}");
    assert!(hold.end().0.success());
}

#[test]
fn goes_on_alone_where_no_controller_answers() {
    let pod = Pod::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let refuses = listener.local_addr().expect("an address");
    drop(listener);
    let marker = pod.folder.join("ran");
    let touch = ["--", "touch", marker.to_str().expect("a path")];
    assert!(pod.hold(refuses, &touch).end().0.success());
    assert!(marker.exists(), "the user's preStop runs without a controller too");

    // Neither does one without an identity wait for ever.
    std::fs::remove_file(pod.folder.join("identity")).expect("no identity");
    assert!(pod.hold(refuses, &[]).end().0.success());
}

#[test]
fn two_holds_of_one_container_both_end() {
    let (pod, controller) = (Pod::new(), Controller::start());
    let holds = [pod.hold(controller.address, &[]), pod.hold(controller.address, &[])];
    for _ in &holds {
        controller.answer_until_report("TrafficOff");
    }
    for hold in holds {
        assert!(hold.end().0.success());
    }
}

#[test]
fn the_users_get_goes_to_the_pods_own_address() {
    let (pod, controller, app) = (Pod::new(), Controller::start(), Controller::start());
    let url = format!("http://:{}/drain?now", app.address.port());
    let more = ["--pre-stop-http-get", &url, "--pre-stop-http-header", "X-Reason: end"];
    let hold = pod.hold(controller.address, &more);
    controller.next().state("TrafficOff");
    let asked = app.next();
    assert!(asked.text.starts_with("GET /drain?now HTTP/1.1\r\n"), "{}", asked.text);
    assert!(asked.text.contains("X-Reason: end\r\n"), "{}", asked.text);
    asked.answer("");
    controller.answer_until_report("TrafficOff");
    assert!(hold.end().0.success());
}

#[test]
fn ends_on_sigterm() {
    let (pod, controller) = (Pod::new(), Controller::start());
    let hold = pod.hold(controller.address, &[]);
    controller.next().state("Holding");
    let pid = rustix::process::Pid::from_child(&hold.0);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("a signal");
    assert!(!hold.end().0.success());
}

#[test]
fn says_what_is_wrong_with_its_arguments() {
    let run = |words: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_lameduck-hold"))
            .args(words)
            .env_clear()
            .output()
            .expect("the hold runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, error) = run(&["install", "--to", "/nonexistent"]);
    assert_eq!(code, Some(1));
    assert!(error.contains("namespace is missing"), "{error}");
    let (code, error) = run(&["frobnicate"]);
    assert_eq!(code, Some(2));
    assert!(error.contains("frobnicate") && error.contains("--controller"), "{error}");
}
