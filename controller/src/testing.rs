//! An API server for tests: some pods with versions and preconditions, lists that are what a test says,
//! and faults.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use axum::http::{Method, Request, Response};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

/// A request that arrived.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Call {
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) uri: String,
    /// JSON, or null.
    pub(crate) body: Value,
}

impl Call {
    /// `PATCH web-0/status TrafficOff=True`: what an assertion reads best.
    pub(crate) fn short(&self) -> String {
        let path = self.uri.split('?').next().unwrap_or_default();
        let name = path.split("/pods/").nth(1).or_else(|| path.rsplit('/').next());
        let condition = &self.body["status"]["conditions"][0];
        let says = match (condition["status"].as_str(), condition["reason"].as_str()) {
            (Some(status), Some(reason)) => format!(" {status} {reason}"),
            _ => String::new(),
        };
        format!("{} {}{says}", self.method, name.unwrap_or_default())
    }
}

/// How a request is answered instead of the usual way.
pub(crate) enum Fault {
    /// With this status.
    Status(u16),
    /// Not at all.
    Silent,
    /// With this text and status 200.
    Text(String),
}

type Faults = Box<dyn FnMut(&Call) -> Option<Fault> + Send>;

#[derive(Default)]
struct State {
    pods: BTreeMap<String, Value>,
    lease: Option<Value>,
    services: Vec<Value>,
    slices: Vec<Value>,
    calls: Vec<Call>,
    faults: Option<Faults>,
    version: u64,
}

/// The server. Clones share everything.
#[derive(Clone, Default)]
pub(crate) struct FakeApi(Arc<Mutex<State>>);

/// Answers nothing for as long as it is set.
pub(crate) type Silence = Arc<AtomicBool>;

impl FakeApi {
    pub(crate) fn client(&self) -> Client {
        let state = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let state = state.clone();
            async move { Ok::<_, std::convert::Infallible>(state.handle(request).await) }
        });
        Client::new(service, "default")
    }

    /// A client that can be cut off.
    pub(crate) fn fragile_client(&self) -> (Client, Silence) {
        let silence = Silence::default();
        let (state, silent) = (self.clone(), Arc::clone(&silence));
        let service = tower::service_fn(move |request: Request<Body>| {
            let (state, silent) = (state.clone(), Arc::clone(&silent));
            async move {
                if silent.load(Ordering::Relaxed) {
                    std::future::pending::<()>().await;
                }
                Ok::<_, std::convert::Infallible>(state.handle(request).await)
            }
        });
        (Client::new(service, "default"), silence)
    }

    pub(crate) fn put_pod(&self, pod: Value) {
        let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
        self.0.lock().unwrap().pods.insert(name, pod);
    }

    pub(crate) fn pod(&self, name: &str) -> Option<Value> {
        self.0.lock().unwrap().pods.get(name).cloned()
    }

    pub(crate) fn put_slices(&self, services: Vec<Value>, slices: Vec<Value>) {
        let mut state = self.0.lock().unwrap();
        state.services = services;
        state.slices = slices;
    }

    pub(crate) fn faults(&self, faults: impl FnMut(&Call) -> Option<Fault> + Send + 'static) {
        self.0.lock().unwrap().faults = Some(Box::new(faults));
    }

    /// What arrived since the last look.
    pub(crate) fn calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.0.lock().unwrap().calls)
    }

    /// Number of calls that arrived since the last look.
    pub(crate) fn calls_len(&self) -> usize {
        self.0.lock().unwrap().calls.len()
    }

    /// The same in short.
    pub(crate) fn short_calls(&self) -> Vec<String> {
        self.calls().iter().map(Call::short).collect()
    }

    async fn handle(&self, request: Request<Body>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let call = Call {
            method: head.method,
            uri: head.uri.to_string(),
            body: serde_json::from_slice(&body).unwrap_or(Value::Null),
        };
        let answer = {
            let mut state = self.0.lock().unwrap();
            state.calls.push(call.clone());
            match state.faults.as_mut().and_then(|faults| faults(&call)) {
                Some(Fault::Silent) => None,
                Some(Fault::Status(status)) => Some(refusal(status)),
                Some(Fault::Text(text)) => Some((200, text)),
                None => Some(state.answer(&call)),
            }
        };
        match answer {
            None => std::future::pending().await,
            Some((status, text)) => {
                Response::builder().status(status).body(Body::from(text.into_bytes())).unwrap()
            }
        }
    }
}

impl State {
    fn answer(&mut self, call: &Call) -> (u16, String) {
        let path = call.uri.split('?').next().unwrap_or_default();
        let list = |items: &[Value]| {
            (200, json!({ "metadata": { "resourceVersion": "1" }, "items": items }).to_string())
        };
        if path.ends_with("/services") {
            return list(&self.services);
        }
        if path.ends_with("/endpointslices") {
            return list(&self.slices);
        }
        if path.contains("/leases") {
            return self.lease(call);
        }
        if path.ends_with("/events") {
            return (201, call.body.to_string());
        }
        if path.ends_with("/pods") && call.uri.contains("labelSelector=%21") {
            let label = "lameduck.dev/policy";
            let is_without = |pod: &&Value| pod["metadata"]["labels"][label].is_null();
            return list(&self.pods.values().filter(is_without).cloned().collect::<Vec<_>>());
        }
        let Some(target) = path.split("/pods/").nth(1) else { return refusal(404) };
        let (name, subresource) = target.split_once('/').unwrap_or((target, ""));
        self.version += 1;
        let version = self.version + 1000;
        let Some(pod) = self.pods.get_mut(name) else { return refusal(404) };
        if call.method == Method::GET {
            return (200, pod.to_string());
        }
        if subresource == "status" {
            if let Some(status) = unmet(&call.body["metadata"], &pod["metadata"]) {
                return refusal(status);
            }
            let new = call.body["status"]["conditions"][0].clone();
            let conditions = pod["status"]["conditions"].as_array_mut().unwrap();
            conditions.retain(|old| old["type"] != new["type"]);
            conditions.push(new);
        } else if call.body.is_object() {
            if let Some(status) = unmet(&call.body["metadata"], &pod["metadata"]) {
                return refusal(status);
            }
            json_patch::merge(pod, &call.body);
        } else {
            let patch: json_patch::Patch = serde_json::from_value(call.body.clone()).unwrap();
            if json_patch::patch(pod, &patch).is_err() {
                return refusal(422);
            }
        }
        pod["metadata"]["resourceVersion"] = json!(version.to_string());
        (200, pod.to_string())
    }
}

impl State {
    /// The one Lease there is: created once, replaced only by who has seen its last version.
    fn lease(&mut self, call: &Call) -> (u16, String) {
        let stored = self.lease.as_ref().map(|lease| &lease["metadata"]["resourceVersion"]);
        match (&call.method, stored) {
            (&Method::GET, None) => return refusal(404),
            (&Method::GET, Some(_)) => {}
            (&Method::POST, None) => self.put_lease(call),
            (&Method::PUT, Some(version))
                if *version == call.body["metadata"]["resourceVersion"] =>
            {
                self.put_lease(call);
            }
            _ => return refusal(409),
        }
        (200, self.lease.as_ref().unwrap().to_string())
    }

    fn put_lease(&mut self, call: &Call) {
        self.version += 1;
        let mut lease = call.body.clone();
        lease["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.lease = Some(lease);
    }
}

/// How the API server refuses a patch whose metadata does not fit: the version first, then the UID,
/// which is only another field that must not change.
fn unmet(wanted: &Value, found: &Value) -> Option<u16> {
    [("resourceVersion", 409), ("uid", 422)]
        .into_iter()
        .find(|(field, _)| !wanted[*field].is_null() && wanted[*field] != found[*field])
        .map(|(_, status)| status)
}

fn refusal(status: u16) -> (u16, String) {
    let reason = match status {
        404 => "NotFound",
        409 => "Conflict",
        410 => "Expired",
        _ => "Unknown",
    };
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status,
        "reason": reason, "message": "as the test says",
    });
    (status, body.to_string())
}

/// A pod that runs: `shop/NAME`, label app=web, injected, with our finalizer.
pub(crate) fn pod(name: &str) -> Value {
    json!({
        "metadata": {
            "namespace": "shop", "name": name, "uid": format!("uid-{name}"), "resourceVersion": "5",
            "labels": { "app": "web", "lameduck.dev/policy": "default" },
            "annotations": { "lameduck.dev/injected": "0.1.0" },
            "finalizers": ["lameduck.dev/drain"],
        },
        "spec": { "nodeName": "n" },
        "status": {
            "phase": "Running",
            "podIPs": [{ "ip": "10.0.0.7" }], "hostIPs": [{ "ip": "10.9.9.9" }],
            "conditions": [],
            "containerStatuses": [{ "state": { "running": {} } }],
        },
    })
}

/// Deletes it at `at`, with the grace of an injected pod: 940 s.
pub(crate) fn deleted(mut pod: Value, at: jiff::Timestamp) -> Value {
    let until = at + jiff::SignedDuration::from_secs(940);
    pod["metadata"]["deletionTimestamp"] = json!(format!("{until:.0}"));
    pod["metadata"]["deletionGracePeriodSeconds"] = json!(940);
    pod["metadata"]["resourceVersion"] = json!("6");
    pod
}

/// Ends its containers.
pub(crate) fn ended(mut pod: Value) -> Value {
    pod["status"]["phase"] = json!("Succeeded");
    pod["status"]["containerStatuses"][0]["state"] = json!({ "terminated": {} });
    pod
}
