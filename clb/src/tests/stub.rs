//! A server in the same process, over pipes in memory: with tokio's clock paused, every wait and
//! timeout is exact.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;
use tower::BoxError;

use crate::clock::Clock;
use crate::http::Http;
use crate::{Client, CredentialSettings, Endpoint, Environment, Limits, Settings};

pub(crate) const SECRET_ID: &str = "AKIDwell-known-id-0123456789";
pub(crate) const SECRET_KEY: &str = "a-very-secret-key-0123456789";

/// A request as it came over the wire.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Bytes,
    pub(crate) body: Value,
    pub(crate) at: Instant,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn action(&self) -> &str {
        self.header("x-tc-action")
    }
}

/// What the server does.
#[derive(Clone)]
pub(crate) enum Reply {
    /// A status and a body.
    Whole(u16, Bytes),
    /// The same after a while.
    Late(Duration, Bytes),
    /// The same with a header.
    With(&'static str, String, Bytes),
    /// Begins a body and breaks the connection.
    Broken,
    /// Begins a body and never ends it.
    Stalled,
    /// Sends without end.
    Endless,
    /// No answer at all.
    Silent,
}

pub(crate) fn ok(mut response: Value) -> Reply {
    if response.get("RequestId").is_none() {
        response["RequestId"] = json!("a5cbe92d-c7f2-41d4-8343-3cb42c3fd1dd");
    }
    Reply::Whole(200, json!({ "Response": response }).to_string().into())
}

pub(crate) fn refused(code: &str, message: &str) -> Reply {
    ok(json!({"Error": {"Code": code, "Message": message}}))
}

pub(crate) fn text(status: u16, body: &str) -> Reply {
    Reply::Whole(status, Bytes::copy_from_slice(body.as_bytes()))
}

type Handler = dyn Fn(&Seen, usize) -> Reply + Send + Sync;

/// The server.
#[derive(Clone)]
pub(crate) struct Stub {
    handler: Arc<Handler>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Stub {
    /// Answers with `handler`: a request, and how many with the same path and action came before it.
    pub(crate) fn new(handler: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self { handler: Arc::new(handler), seen: Arc::default() }
    }

    /// Answers with `replies` in order; the last one stays.
    pub(crate) fn script(replies: Vec<Reply>) -> Self {
        Self::new(move |_, before| replies[before.min(replies.len() - 1)].clone())
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Requests with this action, or on this path.
    pub(crate) fn count(&self, what: &str) -> usize {
        self.seen().iter().filter(|seen| seen.action() == what || seen.path == what).count()
    }

    pub(crate) fn http(&self) -> Http {
        let stub = self.clone();
        Http::over(tower::service_fn(move |request| exchange(stub.clone(), request)))
    }

    /// A client with a fixed key, and its settings changed by `change`.
    pub(crate) fn client(&self, change: impl FnOnce(&mut Settings)) -> Client {
        let mut settings = settings(environment(&[
            ("TENCENTCLOUD_SECRET_ID", SECRET_ID),
            ("TENCENTCLOUD_SECRET_KEY", SECRET_KEY),
        ]));
        change(&mut settings);
        Client::over(self.http(), clock(), settings).unwrap()
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<UnsyncBoxBody<Bytes, BoxError>> {
        let (parts, body) = request.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let seen = Seen {
            method: parts.method,
            path: parts.uri.path().to_owned(),
            headers: parts.headers,
            body: serde_json::from_slice(&bytes).unwrap_or_default(),
            bytes,
            at: Instant::now(),
        };
        let reply = {
            let mut all = self.seen.lock().unwrap();
            let alike = |it: &&Seen| (&it.path, it.action()) == (&seen.path, seen.action());
            let before = all.iter().filter(alike).count();
            all.push(seen.clone());
            (self.handler)(&seen, before)
        };
        let response = Response::builder();
        let whole = |body: Bytes| Full::new(body).map_err(|never| match never {}).boxed_unsync();
        let begin = || Ok::<_, BoxError>(Frame::data(Bytes::from_static(b"{\"Response\": {")));
        match reply {
            Reply::Whole(status, body) => response.status(status).body(whole(body)),
            Reply::Late(wait, body) => {
                tokio::time::sleep(wait).await;
                response.body(whole(body))
            }
            Reply::With(name, value, body) => response.header(name, value).body(whole(body)),
            Reply::Broken => {
                let parts = [begin(), Err("broken".into())];
                response.body(StreamBody::new(futures::stream::iter(parts)).boxed_unsync())
            }
            Reply::Stalled => {
                let parts = futures::stream::once(std::future::ready(begin()));
                let parts = parts.chain(futures::stream::pending());
                response.body(StreamBody::new(parts).boxed_unsync())
            }
            Reply::Endless => {
                let part = || Ok::<_, BoxError>(Frame::data(Bytes::from(vec![b' '; 64 << 10])));
                let parts = futures::stream::repeat_with(part);
                response.body(StreamBody::new(parts).boxed_unsync())
            }
            Reply::Silent => std::future::pending().await,
        }
        .unwrap()
    }
}

async fn exchange(
    stub: Stub,
    request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>, BoxError> {
    let (near, far) = tokio::io::duplex(16 << 10);
    tokio::spawn(async move {
        let service =
            service_fn(|request| async { Ok::<_, Infallible>(stub.answer(request).await) });
        let server = hyper::server::conn::http1::Builder::new();
        // A client that gave up is no news.
        server.serve_connection(TokioIo::new(far), service).await.ok();
    });
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(near)).await?;
    tokio::spawn(connection);
    Ok(sender.send_request(request).await?)
}

/// 2026-03-01 10:00:00 UTC, and from there on as tokio's clock goes.
pub(crate) fn clock() -> Clock {
    Clock::Paused { began: began(), started: Instant::now() }
}

pub(crate) fn began() -> Timestamp {
    "2026-03-01T10:00:00Z".parse().unwrap()
}

pub(crate) fn environment(variables: &[(&str, &str)]) -> Environment {
    let variables: Vec<_> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Environment::of(move |wanted| {
        variables.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone())
    })
}

pub(crate) fn settings(environment: Environment) -> Settings {
    let at = |host: &str| Endpoint::new("http://stub").unwrap().with_host(host).unwrap();
    Settings {
        endpoint: at("clb.tencentcloudapi.com"),
        region: "ap-guangzhou".to_owned(),
        credentials: CredentialSettings {
            environment,
            folder: None,
            sts: at("sts.tencentcloudapi.com"),
            metadata: at("metadata.tencentyun.com"),
        },
        limits: Limits::default(),
    }
}
