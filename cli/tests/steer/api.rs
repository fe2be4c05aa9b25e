//! An API server on loopback for one run of the program: it has the objects of `recorded/`, merges patches into
//! them, and refuses with the words of a real one.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header::CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

/// Bytes of a request's body: far more than the program sends.
const BODY_MAX: usize = 1 << 20;

/// An object, or an answer, as it was recorded.
pub(crate) fn recorded(name: &str) -> Value {
    let path = format!("{}/tests/steer/recorded/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(&path).expect(&path)).expect(&path)
}

/// What a controller does about a pod that is released.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Controller {
    /// None runs.
    #[default]
    Away,
    /// It takes the finalizer off.
    LetsGo,
    /// The pod is gone before anybody looks again.
    Ends,
}

/// What is there, and what goes wrong.
#[derive(Debug, Default)]
pub(crate) struct World {
    objects: BTreeMap<String, Value>,
    /// Each patch is refused with the next of these.
    pub(crate) refusals: Vec<Value>,
    /// What happens after a pod was annotated.
    pub(crate) controller: Controller,
    writes: Vec<String>,
}

impl World {
    /// Of these recorded objects.
    pub(crate) fn of(names: &[&str]) -> Self {
        let objects = names.iter().map(|name| {
            let object = recorded(name);
            (path(&object), object)
        });
        Self { objects: objects.collect(), ..Self::default() }
    }

    fn answer(&mut self, method: &Method, path: &str, body: Value) -> (u16, Value) {
        if method == Method::GET {
            return self.objects.get(path).map_or_else(|| missing(path), |one| (200, one.clone()));
        }
        self.writes.push(format!("{method} {path}\n  {}", without_times(body.clone())));
        if path.ends_with("/selfsubjectreviews") {
            return (201, recorded("who"));
        }
        if method == Method::POST {
            return (201, body);
        }
        if !self.refusals.is_empty() {
            let status = self.refusals.remove(0);
            let code = status["code"].as_u64().and_then(|code| u16::try_from(code).ok());
            return (code.expect("a Status has a code"), status);
        }
        let Some(object) = self.objects.get_mut(path) else { return missing(path) };
        json_patch::merge(object, &body);
        let patched = object.clone();
        let is_annotated = !body["metadata"]["annotations"].is_null();
        match self.controller {
            Controller::LetsGo if is_annotated => object["metadata"]["finalizers"] = json!([]),
            Controller::Ends if is_annotated => drop(self.objects.remove(path)),
            _ => {}
        }
        (200, patched)
    }
}

/// Where an object is.
fn path(object: &Value) -> String {
    let (root, plural) = match object["kind"].as_str().expect("a kind") {
        "Pod" => ("api/v1", "pods"),
        "StatefulSet" => ("apis/apps/v1", "statefulsets"),
        "Upgrade" => ("apis/lameduck.dev/v1alpha1", "upgrades"),
        kind => panic!("no {kind} is asked for"),
    };
    let text = |field: &str| object["metadata"][field].as_str().expect("metadata").to_owned();
    format!("/{root}/namespaces/{}/{plural}/{}", text("namespace"), text("name"))
}

/// The server's words for what is not there.
fn missing(path: &str) -> (u16, Value) {
    let kind = if path.contains("/upgrades/") { "upgrade" } else { "pod" };
    (404, recorded(&format!("no-{kind}")))
}

/// No golden file has a time in it that passes.
fn without_times(mut body: Value) -> Value {
    if let Some(time) = body.get_mut("eventTime") {
        *time = json!("NOW");
    }
    if let Some(value) = body.pointer_mut("/metadata/annotations/lameduck.dev~1release")
        && let Some(Value::Object(mut release)) =
            value.as_str().and_then(|text| serde_json::from_str(text).ok())
    {
        release.insert("at".to_owned(), json!("NOW"));
        *value = Value::Object(release);
    }
    body
}

/// The server, for as long as it is kept.
pub(crate) struct Server {
    world: Arc<Mutex<World>>,
    kubeconfig: PathBuf,
    _runtime: tokio::runtime::Runtime,
}

impl Server {
    /// Listens, and writes a kubeconfig that names it.
    pub(crate) fn new(world: World) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let world = Arc::new(Mutex::new(world));
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
            .expect("a port");
        let address = listener.local_addr().expect("an address");
        let router = Router::new().fallback(answer).with_state(Arc::clone(&world));
        runtime.spawn(async move { axum::serve(listener, router).await });
        // By the port: tests of one process run at the same time, some with the same arguments.
        let kubeconfig = std::env::temp_dir().join(format!("lameduck-steer-{}", address.port()));
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "a",
            "clusters": [{"name": "a", "cluster": {"server": format!("http://{address}")}}],
            "users": [{"name": "a", "user": {}}],
            "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
        });
        std::fs::write(&kubeconfig, config.to_string()).expect("a kubeconfig");
        Self { world, kubeconfig, _runtime: runtime }
    }

    /// For the program.
    pub(crate) fn kubeconfig(&self) -> &std::path::Path {
        &self.kubeconfig
    }

    /// Everything that was not only read, in its order.
    pub(crate) fn writes(&self) -> Vec<String> {
        self.world.lock().expect("no answer panics").writes.clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        std::fs::remove_file(&self.kubeconfig).ok();
    }
}

async fn answer(State(world): State<Arc<Mutex<World>>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, BODY_MAX).await.expect("a body");
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let (code, said) =
        world.lock().expect("no answer panics").answer(&head.method, head.uri.path(), body);
    let code = StatusCode::from_u16(code).expect("a code");
    (code, [(CONTENT_TYPE, "application/json")], said.to_string()).into_response()
}
