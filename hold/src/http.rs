//! One HTTP/1.1 request over a connection of its own, with a bound on everything.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Why there is no response.
#[derive(Debug)]
pub(crate) enum Error {
    /// The connection failed, or the time was over.
    Io(io::Error),
    /// What came is no HTTP/1 response, or is longer than any that we expect.
    Malformed(&'static str),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Malformed(what) => write!(f, "not a valid HTTP response: {what}"),
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Most bytes of a response's head and body together. Ours have less than a tenth.
const MAX_RESPONSE_BYTES: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;

/// A request. Nothing in it may hold a line break: see [`Request::is_valid`].
#[derive(Debug)]
pub(crate) struct Request<'a> {
    /// GET or POST.
    pub(crate) method: &'a str,
    /// Path and query.
    pub(crate) target: &'a str,
    /// Value of the Host header.
    pub(crate) host: &'a str,
    /// Further headers, `Name: value` each.
    pub(crate) headers: &'a [String],
    /// Body, sent with its length where it is not empty.
    pub(crate) body: &'a [u8],
}

/// A response, read to its end.
#[derive(Debug)]
pub(crate) struct Response {
    /// Status code.
    pub(crate) status: u16,
    /// Body.
    pub(crate) body: Vec<u8>,
}

impl Request<'_> {
    /// Whether every part stays on its own line.
    fn is_valid(&self) -> bool {
        let parts = [self.method, self.target, self.host];
        !self.target.contains(' ')
            && parts
                .into_iter()
                .chain(self.headers.iter().map(String::as_str))
                .all(|part| !part.bytes().any(|byte| byte.is_ascii_control()))
    }

    fn encode(&self) -> Vec<u8> {
        let Self { method, target, host, headers, body } = self;
        let mut out = format!("{method} {target} HTTP/1.1\r\n");
        let has = |name: &str| {
            headers.iter().any(|header| {
                header.split(':').next().is_some_and(|own| own.eq_ignore_ascii_case(name))
            })
        };
        for (name, value) in [("Host", *host), ("User-Agent", "lameduck-hold"), ("Accept", "*/*")] {
            if !has(name) {
                out.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        for header in *headers {
            out.push_str(&format!("{header}\r\n"));
        }
        if !body.is_empty() {
            let length = body.len();
            out.push_str(&format!(
                "Content-Type: application/json\r\nContent-Length: {length}\r\n"
            ));
        }
        out.push_str("Connection: close\r\n\r\n");
        let mut out = out.into_bytes();
        out.extend(*body);
        out
    }
}

/// Sends `request` to `address` and reads the response, all within `timeout`, of which at most
/// `connect_timeout` for the connection.
///
/// # Errors
/// The connection fails, the time is over, or what comes back is no response.
pub(crate) fn send(
    address: SocketAddr,
    request: &Request<'_>,
    connect_timeout: Duration,
    timeout: Duration,
) -> Result<Response, Error> {
    if !request.is_valid() {
        return Err(Error::Malformed("the request would hold a line break"));
    }
    let give_up = Instant::now() + timeout;
    let mut stream = TcpStream::connect_timeout(&address, connect_timeout.min(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    stream.set_nodelay(true)?;
    stream.write_all(&request.encode())?;
    let mut received = Vec::new();
    let mut chunk = [0; 2048];
    loop {
        let left = give_up.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(timed_out().into());
        }
        stream.set_read_timeout(Some(left))?;
        let length = match stream.read(&mut chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(timed_out().into());
            }
            length => length?,
        };
        received.extend(chunk.get(..length).unwrap_or_default());
        if let Some(response) = read(&received, length == 0)? {
            return Ok(response);
        }
        if received.len() > MAX_RESPONSE_BYTES {
            return Err(Error::Malformed("it is too long"));
        }
    }
}

fn timed_out() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no response in time")
}

/// The response in `received`, or none while more has to come.
fn read(received: &[u8], ended: bool) -> Result<Option<Response>, Error> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut head = httparse::Response::new(&mut headers);
    let parsed = head.parse(received).map_err(|_| Error::Malformed("its head"))?;
    let httparse::Status::Complete(head_length) = parsed else {
        return if ended { Err(Error::Malformed("it ends in its head")) } else { Ok(None) };
    };
    let status = head.code.unwrap_or_default();
    let rest = received.get(head_length..).unwrap_or_default();
    let header = |name: &str| {
        let mut found = head.headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
        found.next().and_then(|header| std::str::from_utf8(header.value).ok())
    };
    let body = if header("transfer-encoding").is_some_and(|value| value.contains("chunked")) {
        dechunk(rest)?
    } else if let Some(length) = header("content-length") {
        let length: usize =
            length.trim().parse().map_err(|_| Error::Malformed("its content-length"))?;
        rest.get(..length).map(<[u8]>::to_vec)
    } else {
        // The end of the connection is the end of the body.
        return Ok(ended.then(|| Response { status, body: rest.to_vec() }));
    };
    match body {
        Some(body) => Ok(Some(Response { status, body })),
        None if ended => Err(Error::Malformed("it ends in its body")),
        None => Ok(None),
    }
}

/// Joins the chunks, or none while the last has not come. A mesh sidecar may send so what we asked
/// a controller for.
fn dechunk(mut rest: &[u8]) -> Result<Option<Vec<u8>>, Error> {
    let mut body = Vec::new();
    loop {
        let size = httparse::parse_chunk_size(rest)
            .map_err(|_| Error::Malformed("the size of a chunk"))?;
        let httparse::Status::Complete((start, length)) = size else { return Ok(None) };
        if length == 0 {
            return Ok(Some(body));
        }
        let end = usize::try_from(length)
            .ok()
            .and_then(|length| start.checked_add(length))
            .filter(|end| *end <= MAX_RESPONSE_BYTES)
            .ok_or(Error::Malformed("a chunk is too long"))?;
        let Some(chunk) = rest.get(start..end) else { return Ok(None) };
        body.extend(chunk);
        rest = rest.get(end..).unwrap_or_default();
        rest = match rest.get(..2) {
            Some(b"\r\n") => rest.get(2..).unwrap_or_default(),
            Some(_) => return Err(Error::Malformed("the end of a chunk")),
            None => return Ok(None),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn body(text: &str, ended: bool) -> Result<Option<String>, Error> {
        let response = read(text.as_bytes(), ended)?;
        Ok(response.map(|response| String::from_utf8(response.body).expect("text")))
    }

    #[test]
    fn a_response_is_complete_at_its_last_byte_and_not_before() {
        for whole in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
        ] {
            let mut complete = None;
            for length in 0..=whole.len() {
                if let Some(body) = body(&whole[..length], false).expect("valid so far") {
                    complete.get_or_insert((length, body));
                } else {
                    assert!(body(&whole[..length], true).is_err(), "cut at {length}");
                }
            }
            let (length, body) = complete.expect("an end");
            assert_eq!(body, "hello");
            assert!(whole[length..].chars().all(|rest| "\r\n".contains(rest)), "at {length}");
        }
        let until_closed = "HTTP/1.0 200 OK\r\n\r\nhello";
        assert_eq!(body(until_closed, false).expect("valid so far"), None);
        assert_eq!(body(until_closed, true).expect("valid").as_deref(), Some("hello"));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "SSH-2.0-x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        ] {
            assert!(body(text, false).is_err(), "{text}");
        }
    }

    proptest! {
        /// A panic would end the hold, and with it the container.
        #[test]
        fn no_response_makes_it_panic(
            text in "(HTTP/1.1 200 OK\r\n)?(Content-Length: [0-9]{1,20}\r\n)?(Transfer-Encoding: chunked\r\n)?\r\n([0-9a-f]{0,17}\r\n.{0,20}\r\n){0,4}",
            ended in any::<bool>(),
        ) {
            body(&text, ended).ok();
        }
    }

    #[test]
    fn a_request_cannot_be_split() {
        let address = SocketAddr::from(([127, 0, 0, 1], 9));
        for (target, header) in [("/a\r\nX: y", "A: b"), ("/a b", "A: b"), ("/", "A: b\r\nC: d")] {
            let headers = [header.to_owned()];
            let request =
                Request { method: "GET", target, host: "h", headers: &headers, body: b"" };
            let error = send(address, &request, Duration::ZERO, Duration::ZERO);
            assert!(matches!(error, Err(Error::Malformed(_))), "{target} {header}");
        }
    }

    #[test]
    fn the_users_headers_replace_ours() {
        let headers = ["host: shop.example".to_owned()];
        let request =
            Request { method: "GET", target: "/x", host: "10.0.0.1", headers: &headers, body: b"" };
        let text = String::from_utf8(request.encode()).expect("text");
        assert!(text.starts_with("GET /x HTTP/1.1\r\n"), "{text}");
        assert!(text.contains("host: shop.example\r\n") && !text.contains("10.0.0.1"), "{text}");
    }
}
