//! A minimal HTTP/1.1 client that does exactly what it is told, and says exactly how it failed. A
//! client library would open connections and repeat requests on its own, and hide the losses.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustix::net::RecvFlags;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The longest answer that is read: the demo's server answers with some hundred bytes.
const ANSWER_LIMIT_BYTES: usize = 64 * 1024;
/// The most header fields of an answer that is understood.
const HEADER_LIMIT: usize = 64;

/// How a request failed.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// Nobody listens at the address.
    ConnectRefused,
    /// No connection in time.
    ConnectTimeout,
    /// The connection failed otherwise, e.g. no route.
    ConnectFailed,
    /// The connection was reset after the request had been written.
    Reset,
    /// The connection was closed before the whole answer had come.
    ClosedEarly,
    /// No whole answer in time.
    ResponseTimeout,
    /// An answer other than 200.
    BadStatus,
    /// Something that is no HTTP/1.1 answer.
    BadResponse,
}

/// An answer with status 200.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Answer {
    /// The pod that answered: the first line of the body; none if that is empty.
    pub(super) pod: Option<String>,
    /// Whether the connection may carry another request.
    pub(super) reusable: bool,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    /// The client's port: the load balancer's log names a connection by it.
    pub(super) port: u16,
    /// The pod at the other end, once an answer has named it.
    pub(super) pod: Option<String>,
}

impl Connection {
    /// Connects within `limit`.
    pub(super) async fn open(target: SocketAddr, limit: Duration) -> Result<Self, FailureKind> {
        let stream = timeout(limit, TcpStream::connect(target))
            .await
            .map_err(|_| FailureKind::ConnectTimeout)?
            .map_err(|error| match error.kind() {
                io::ErrorKind::ConnectionRefused => FailureKind::ConnectRefused,
                io::ErrorKind::TimedOut => FailureKind::ConnectTimeout,
                _ => FailureKind::ConnectFailed,
            })?;
        // Small requests must not wait for each other's acknowledgements.
        stream.set_nodelay(true).map_err(|_| FailureKind::ConnectFailed)?;
        let port = stream.local_addr().map_err(|_| FailureKind::ConnectFailed)?.port();
        Ok(Self { stream, port, pod: None })
    }

    /// Whether the server has ended the connection while nothing was asked of it. The kernel is
    /// asked directly: what the runtime has heard of may be older.
    pub(super) fn ended_by_server(&self) -> bool {
        let mut byte = [0_u8; 1];
        match rustix::net::recv(&self.stream, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            // 0: closed. More: bytes that nobody asked for, after which no answer can be told apart.
            Ok(_) => true,
            Err(error) => {
                error != rustix::io::Errno::WOULDBLOCK && error != rustix::io::Errno::INTR
            }
        }
    }

    /// Sends one `GET /` and reads the whole answer within `limit`.
    pub(super) async fn request(
        &mut self,
        keep: bool,
        limit: Duration,
    ) -> Result<Answer, FailureKind> {
        let request: &[u8] = if keep {
            b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n"
        } else {
            b"GET / HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n"
        };
        let exchange = async {
            self.stream.write_all(request).await.map_err(|error| after_sending(&error))?;
            self.read_answer().await
        };
        let answer = timeout(limit, exchange).await.unwrap_or(Err(FailureKind::ResponseTimeout))?;
        self.pod.clone_from(&answer.pod);
        Ok(answer)
    }

    async fn read_answer(&mut self) -> Result<Answer, FailureKind> {
        let mut bytes = Vec::with_capacity(1024);
        loop {
            if let Some(answer) = parse(&bytes)? {
                return Ok(answer);
            }
            if bytes.len() >= ANSWER_LIMIT_BYTES {
                return Err(FailureKind::BadResponse);
            }
            match self.stream.read_buf(&mut bytes).await {
                Ok(0) => return Err(FailureKind::ClosedEarly),
                Ok(_) => {}
                Err(error) => return Err(after_sending(&error)),
            }
        }
    }
}

/// The kind of an error on a connection that stood.
fn after_sending(error: &io::Error) -> FailureKind {
    match error.kind() {
        io::ErrorKind::TimedOut => FailureKind::ResponseTimeout,
        _ => FailureKind::Reset,
    }
}

/// The answer at the start of `bytes`; none if it is not whole yet.
fn parse(bytes: &[u8]) -> Result<Option<Answer>, FailureKind> {
    let mut fields = [httparse::EMPTY_HEADER; HEADER_LIMIT];
    let mut response = httparse::Response::new(&mut fields);
    let head = match response.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(FailureKind::BadResponse),
    };
    let field = |name: &str| {
        response
            .headers
            .iter()
            .find(|field| field.name.eq_ignore_ascii_case(name))
            .and_then(|field| std::str::from_utf8(field.value).ok())
    };
    let length: usize = field("content-length")
        .and_then(|value| value.trim().parse().ok())
        .filter(|length| *length <= ANSWER_LIMIT_BYTES)
        .ok_or(FailureKind::BadResponse)?;
    let Some(body) = bytes.get(head..head + length) else { return Ok(None) };
    if response.code != Some(200) {
        return Err(FailureKind::BadStatus);
    }
    let line =
        String::from_utf8_lossy(body.split(|byte| *byte == b'\n').next().unwrap_or_default())
            .trim()
            .to_owned();
    let reusable = !field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    Ok(Some(Answer { pod: Some(line).filter(|line| !line.is_empty()), reusable }))
}

#[cfg(test)]
mod tests {
    use super::{Answer, FailureKind, parse};

    #[test]
    fn an_answer_is_whole_only_with_its_last_byte() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nweb-0\n";
        for end in 0..whole.len() {
            assert_eq!(parse(&whole[..end]), Ok(None), "after {end} bytes");
        }
        let answer = Answer { pod: Some("web-0".into()), reusable: true };
        assert_eq!(parse(whole), Ok(Some(answer)));
    }

    #[test]
    fn what_is_no_good_answer_is_told_apart() {
        let status = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(parse(status), Err(FailureKind::BadStatus));
        assert_eq!(parse(b"SSH-2.0-OpenSSH\r\n\r\n"), Err(FailureKind::BadResponse));
        let endless = b"HTTP/1.1 200 OK\r\n\r\n";
        assert_eq!(parse(endless), Err(FailureKind::BadResponse));
        let last = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        assert_eq!(parse(last), Ok(Some(Answer { pod: None, reusable: false })));
    }
}
