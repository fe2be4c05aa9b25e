//! Against a server that behaves as badly as it was told to.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener};
use std::sync::mpsc::{Receiver, channel};

use super::*;

/// Answers connection after connection with these bytes; what it was sent comes out of the channel.
fn server(answers: &[&str]) -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("an address");
    let answers: Vec<String> = answers.iter().map(|answer| (*answer).to_owned()).collect();
    let (sender, requests) = channel();
    std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut reader = BufReader::new(stream.try_clone().expect("a handle"));
            let (mut request, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).expect("a line");
                if let Some(value) = line.strip_prefix("Content-Length: ") {
                    length = value.trim().parse().expect("a length");
                }
                if line == "\r\n" {
                    break;
                }
                request.push_str(&line);
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).expect("a body");
            request.push_str(&String::from_utf8(body).expect("text"));
            sender.send(request).expect("a listening test");
            stream.write_all(answer.as_bytes()).expect("an answer");
            stream.shutdown(Shutdown::Both).ok();
        }
    });
    (address, requests)
}

fn json(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn controller(targets: &[String]) -> Controller {
    let identity = Identity {
        namespace: "shop".into(),
        name: "web-0".into(),
        uid: "u1".into(),
        ip: "10.0.0.1".into(),
    };
    Controller::new(targets.to_vec(), identity, "app".to_owned(), Resolver::default())
}

fn poll() -> Poll {
    Poll {
        phase: Phase::WaitingForTraffic,
        known: None,
        connections: Some(7),
        wait: Duration::from_secs(20),
    }
}

#[test]
fn asks_by_the_protocol() {
    let answer = json(r#"{"state":"Holding","reason":"X","message":"why","deadlineSeconds":12}"#);
    let (address, requests) = server(&[&answer, &answer]);
    let mut controller = controller(&[format!("http://{address}")]);
    let (answer, message) = controller.ask(&poll()).expect("an answer");
    assert_eq!(
        (answer.verdict, answer.deadline),
        (Verdict::Holding, Some(Duration::from_secs(12)))
    );
    assert_eq!((message.as_str(), controller.last_good()), ("why", Some(address)));
    let request = requests.recv().expect("a request");
    let target = "GET /v1/hold/shop/web-0?uid=u1&container=app&phase=WaitingForTraffic&wait=20&connections=7 HTTP/1.1\r\n";
    assert!(request.starts_with(target), "{request}");

    let known = Some(Verdict::TrafficOff);
    let later = Poll { phase: Phase::WaitingForConnections, known, connections: None, ..poll() };
    controller.ask(&later).expect("an answer");
    let request = requests.recv().expect("a request");
    assert!(request.contains("phase=WaitingForConnections&wait=20&state=TrafficOff "), "{request}");
}

#[test]
fn reports_by_the_protocol() {
    let (address, requests) = server(&["HTTP/1.1 204 No Content\r\n\r\n"]);
    let times = Times {
        traffic: Duration::from_millis(1500),
        pre_stop: Duration::ZERO,
        connections: Duration::from_secs(2),
        connections_left: 3,
    };
    controller(&[])
        .report(address, Outcome::DeadlineExceeded, &times, true, "said \"so\"")
        .expect("a report");
    let request = requests.recv().expect("a request");
    let target = "POST /v1/hold/shop/web-0/report?uid=u1&container=app HTTP/1.1\r\n";
    assert!(request.starts_with(target), "{request}");
    let body = r#"{"outcome":"DeadlineExceeded","trafficMillis":1500,"preStopMillis":0,"connectionsMillis":2000,"connectionsLeft":3,"sigtermIgnored":true,"message":"said \"so\""}"#;
    assert!(request.ends_with(body), "{request}");
}

#[test]
fn what_is_no_answer_is_an_error_that_says_why() {
    let truncated = "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"state\":\"TrafficOff\"";
    let endless = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    for (answer, expected) in [
        ("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "HTTP 403"),
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "HTTP 404"),
        ("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", "HTTP 503"),
        ("", "ends in its head"),
        ("SSH-2.0-OpenSSH\r\n", "its head"),
        (truncated, "ends in its body"),
        (&endless, "too long"),
        (&json(r#"{"state":"Whatever"}"#), "cannot be read"),
        (&json("<html>"), "cannot be read"),
    ] {
        let (address, _requests) = server(&[answer]);
        let error = controller(&[address.to_string()]).ask(&poll()).expect_err(expected);
        assert!(error.to_string().contains(expected), "{expected}: {error}");
    }
}

#[test]
fn a_server_that_never_answers_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("an address").to_string();
    let error = controller(&[address]).ask(&poll()).expect_err("no answer");
    assert!(error.to_string().contains("no response in time"), "{error}");
}

#[test]
fn goes_on_to_the_next_target() {
    let refused = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let refused = refused.local_addr().expect("an address").to_string();
    let (bad, _bad_requests) = server(&["HTTP/1.1 503 Service Unavailable\r\n\r\n"]);
    let answer = json(r#"{"state":"TrafficOff","reason":"X","message":"","deadlineSeconds":null}"#);
    let (good, _requests) = server(&[&answer]);
    let targets = [refused, bad.to_string(), "no port".to_owned(), good.to_string()];
    let (answer, _) = controller(&targets).ask(&poll()).expect("an answer");
    assert_eq!((answer.verdict, answer.deadline), (Verdict::TrafficOff, None));
}

#[test]
fn deadlines_in_the_past_are_now() {
    let read = |body: &str| {
        let response = http::Response { status: 200, body: body.as_bytes().to_vec() };
        read(&response).expect("an answer").0.deadline
    };
    assert_eq!(read(r#"{"state":"Holding","deadlineSeconds":-5}"#), Some(Duration::ZERO));
    assert_eq!(
        read(r#"{"state":"Holding","deadlineSeconds":1.5}"#),
        Some(Duration::from_millis(1500))
    );
    assert_eq!(read(r#"{"state":"Holding","deadlineSeconds":1e300}"#), None);
    assert_eq!(read(r#"{"state":"Holding"}"#), None);
}

#[test]
fn hosts_and_ports_are_told_apart() {
    assert_eq!(split_host_port("a.b:80"), Some(("a.b", 80)));
    assert_eq!(split_host_port("[fd00::1]:80"), Some(("fd00::1", 80)));
    assert_eq!(split_host_port(":80"), Some(("", 80)));
    for bad in ["a.b", "fd00::1:80", "[fd00::1:80", "a:b", "a:70000"] {
        assert_eq!(split_host_port(bad), None, "{bad}");
    }
}
