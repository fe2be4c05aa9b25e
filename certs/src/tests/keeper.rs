//! The keeper against an API server that keeps objects and their versions, and can be made to fail.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http_body_util::BodyExt;
use hyper::{Method, Request, Response, StatusCode};
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

use super::world::settings;
use crate::keeper::{Keeper, KeeperError, Kept};
use crate::plan::Reason;

const CA: &str = "/api/v1/namespaces/lameduck-system/secrets/lameduck-ca";
const TLS: &str = "/api/v1/namespaces/lameduck-system/secrets/lameduck-webhook-tls";
const HOOKS: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/lameduck";

/// What happens to the next writes instead of what was asked for.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    /// Somebody else writes the object just before.
    Overtaken,
    /// The API server refuses.
    Forbidden,
}

#[derive(Default)]
struct Server {
    objects: BTreeMap<String, Value>,
    version: u64,
    /// Method and path of every write that was carried out.
    writes: Vec<String>,
    faults: Vec<Fault>,
}

impl Server {
    fn put(&mut self, path: &str, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.objects.insert(path.to_owned(), object.clone());
        object
    }

    fn answer(&mut self, method: &Method, path: &str, body: Value) -> (StatusCode, Value) {
        if method == Method::GET {
            return match self.objects.get(path) {
                Some(object) => (StatusCode::OK, object.clone()),
                None => failure(StatusCode::NOT_FOUND),
            };
        }
        let path = if method == Method::POST {
            format!("{path}/{}", body["metadata"]["name"].as_str().expect("a name"))
        } else {
            path.to_owned()
        };
        match self.faults.pop() {
            Some(Fault::Forbidden) => return failure(StatusCode::FORBIDDEN),
            Some(Fault::Overtaken) => {
                let mut object = self.objects.get(&path).unwrap_or(&body).clone();
                object["metadata"]["labels"]["overtaken"] = json!("yes");
                self.put(&path, object);
            }
            None => {}
        }
        let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
        let stored = match (method, self.objects.get(&path)) {
            (&Method::POST, None) => body,
            (&Method::POST, Some(_)) => return failure(StatusCode::CONFLICT),
            (_, None) => return failure(StatusCode::NOT_FOUND),
            (_, Some(old)) if version(old) != version(&body) => {
                return failure(StatusCode::CONFLICT);
            }
            (&Method::PUT, Some(_)) => body,
            (_, Some(old)) => merged(old.clone(), &body),
        };
        self.writes.push(format!("{method} {path}"));
        (StatusCode::OK, self.put(&path, stored))
    }
}

/// A strategic merge of hooks: by name, and of `clientConfig` by field.
fn merged(mut old: Value, patch: &Value) -> Value {
    for hook in patch["webhooks"].as_array().expect("hooks") {
        let stored = old["webhooks"]
            .as_array_mut()
            .and_then(|hooks| hooks.iter_mut().find(|stored| stored["name"] == hook["name"]))
            .expect("no hook is added");
        stored["clientConfig"]["caBundle"] = hook["clientConfig"]["caBundle"].clone();
    }
    old
}

fn failure(code: StatusCode) -> (StatusCode, Value) {
    // The API server's words: "NotFound", "Conflict", "Forbidden".
    let message = code.canonical_reason().map(|reason| reason.replace(' ', ""));
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "metadata": {},
        "message": message, "reason": message, "code": code.as_u16()});
    (code, status)
}

fn server() -> Arc<Mutex<Server>> {
    let mut server = Server::default();
    let hook = |name: &str| {
        json!({"name": name, "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "failurePolicy": "Ignore",
            "clientConfig": {"service": {"name": "lameduck-webhook", "namespace": "lameduck-system"}}})
    };
    server.put(
        HOOKS,
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": "lameduck"}, "webhooks": [hook("pods.lameduck.dev"), hook("workloads.lameduck.dev")]}),
    );
    Arc::new(Mutex::new(server))
}

fn keeper(server: &Arc<Mutex<Server>>) -> Keeper {
    let server = Arc::clone(server);
    let service = tower::service_fn(move |request: Request<Body>| {
        let server = Arc::clone(&server);
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.expect("a body").to_bytes();
            let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
            let (code, answer) =
                server.lock().expect("a lock").answer(&head.method, head.uri.path(), body);
            let answer = Body::from(answer.to_string().into_bytes());
            Ok::<_, Infallible>(Response::builder().status(code).body(answer).expect("a response"))
        }
    });
    Keeper::new(Client::new(service, "default"), settings()).expect("settings that can rotate")
}

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().expect("a time")
}

fn reasons(kept: &Kept) -> Vec<Reason> {
    kept.done.iter().map(|done| done.reason).collect()
}

#[tokio::test]
async fn installs_once_and_then_only_looks() {
    let server = server();
    let keeper = keeper(&server);
    let kept = keeper.keep(now(), || true).await.expect("it is kept");
    assert_eq!(
        reasons(&kept),
        [Reason::FirstCa, Reason::CaBundleOutdated, Reason::ServingCertificateMissing]
    );
    assert_eq!(kept.ca_not_after, Some(now() + settings().ca_life));
    assert_eq!(kept.serving_not_after, Some(now() + settings().leaf_life));
    {
        let server = server.lock().expect("a lock");
        assert_eq!(
            server.writes,
            [format!("POST {CA}"), format!("PATCH {HOOKS}"), format!("POST {TLS}")]
        );
        assert_eq!(server.objects[TLS]["type"], "kubernetes.io/tls");
        let hooks = &server.objects[HOOKS]["webhooks"];
        for hook in hooks.as_array().expect("hooks") {
            assert_eq!(hook["clientConfig"]["caBundle"], server.objects[CA]["data"]["current.crt"]);
            assert_eq!(hook["failurePolicy"], "Ignore", "the rest of a hook stays");
        }
    }
    let kept = keeper.keep(now(), || true).await.expect("it is kept");
    assert_eq!((reasons(&kept), kept.reason), (vec![], Reason::UpToDate));
    assert_eq!(server.lock().expect("a lock").writes.len(), 3);
}

#[tokio::test]
async fn looks_again_where_it_was_overtaken() {
    let server = server();
    let keeper = keeper(&server);
    server.lock().expect("a lock").faults = vec![Fault::Overtaken; 2];
    let kept = keeper.keep(now(), || true).await.expect("it is kept");
    assert_eq!(kept.reason, Reason::UpToDate);

    // An update and a patch that are overtaken, in the midst of a rotation.
    let due = now() + SignedDuration::from_hours(20 * 24);
    server.lock().expect("a lock").faults = vec![Fault::Overtaken; 3];
    let kept = keeper.keep(due, || true).await.expect("it is kept");
    assert_eq!(kept.reason, Reason::Settling);
    let server = server.lock().expect("a lock");
    assert_eq!(server.objects[CA]["metadata"]["labels"]["overtaken"], "yes", "nothing is lost");
    assert!(server.faults.is_empty());
}

#[tokio::test]
async fn writes_nothing_without_leadership_or_when_it_ends_midway() {
    let server = server();
    let keeper = keeper(&server);
    let error = keeper.keep(now(), || false).await.unwrap_err();
    assert!(matches!(error, KeeperError::NotLeader), "{error:?}");
    assert_eq!(server.lock().expect("a lock").writes, [""; 0]);

    let asked = std::cell::Cell::new(0);
    let once = || asked.replace(asked.get() + 1) < 1;
    let error = keeper.keep(now(), once).await.unwrap_err();
    assert!(matches!(error, KeeperError::NotLeader), "{error:?}");
    assert_eq!(server.lock().expect("a lock").writes, [format!("POST {CA}")]);

    let kept = keeper.keep(now(), || true).await.expect("the next leader goes on");
    assert_eq!(reasons(&kept), [Reason::CaBundleOutdated, Reason::ServingCertificateMissing]);
}

#[tokio::test]
async fn says_what_was_refused_and_what_never_ends() {
    let server = server();
    let keeper = keeper(&server);
    server.lock().expect("a lock").faults = vec![Fault::Forbidden];
    let error = keeper.keep(now(), || true).await.unwrap_err();
    assert_eq!(error.to_string(), "cannot create Secret lameduck-ca; trying again");

    server.lock().expect("a lock").faults = vec![Fault::Overtaken; 100];
    let error = keeper.keep(now(), || true).await.unwrap_err();
    assert!(matches!(error, KeeperError::Contended { .. }), "{error:?}");
}

#[tokio::test]
async fn without_a_configuration_the_webhook_gets_its_certificate_all_the_same() {
    let server = server();
    let keeper = keeper(&server);
    let hooks = server.lock().expect("a lock").objects.remove(HOOKS).expect("a configuration");
    let kept = keeper.keep(now(), || true).await.expect("it is kept");
    assert_eq!(reasons(&kept), [Reason::FirstCa, Reason::ServingCertificateMissing]);
    assert_eq!(kept.reason, Reason::WebhookConfigurationMissing);

    server.lock().expect("a lock").put(HOOKS, hooks);
    let kept = keeper.keep(now(), || true).await.expect("it is kept");
    assert_eq!(reasons(&kept), [Reason::CaBundleOutdated]);
}
