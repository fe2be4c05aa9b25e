//! A controller that says of every pod that its traffic is off.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

const ANSWER: &str =
    r#"{"state":"TrafficOff","reason":"Bench","message":"","deadlineSeconds":600}"#;

/// Starts it on loopback. It ends with the process.
pub(super) fn start() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").context("no port on loopback")?;
    let address = listener.local_addr()?;
    thread::Builder::new().spawn(move || {
        for stream in listener.incoming().flatten() {
            // A hold that gets no answer asks again.
            thread::spawn(move || drop(answer(stream)));
        }
    })?;
    Ok(address)
}

/// Answers one request as a controller does: at once where the hold does not know the state yet, else
/// when the time is over that the hold is ready to wait.
fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut request = String::new();
    let mut reader = BufReader::new(stream.try_clone()?);
    reader.read_line(&mut request)?;
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let number = |key: &str| {
        let value = request.split(['?', '&', ' ']).find_map(|part| part.strip_prefix(key));
        value.and_then(|value| value.parse().ok()).unwrap_or(0)
    };
    if request.contains("state=TrafficOff") {
        thread::sleep(Duration::from_secs(number("wait=")));
    }
    let length = ANSWER.len();
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{ANSWER}")
}
