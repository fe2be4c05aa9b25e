//! Tests of the hold endpoint, through its router. The API server behind it is a mock that answers, or
//! says nothing.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Method, Request, StatusCode};
use axum::response::IntoResponse;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::*;
use crate::events;
use crate::index::Kind;
use crate::leader::Leadership;
use crate::slim;
use crate::testing::{self, Call, FakeApi, Fault, deleted};

const POD_IP: &str = "10.0.0.7";

/// The pod of every test, as the API server would say it.
fn pod(is_deleted: bool, traffic_off: Option<&str>) -> Value {
    let mut pod = testing::pod("web-0");
    pod["metadata"]["uid"] = json!("u-0");
    if let Some(status) = traffic_off {
        pod["status"]["conditions"] = json!([{
            "type": "lameduck.dev/TrafficOff", "status": status, "reason": "EndpointsNotReady",
            "message": "the evidence", "lastTransitionTime": "2026-01-01T00:00:00Z",
        }]);
    }
    if is_deleted { deleted(pod, jiff::Timestamp::now()) } else { pod }
}

fn slim_pod(pod: Value) -> slim::Pod {
    serde_json::from_value(pod).unwrap()
}

/// The pod's node, with one more condition that is true.
fn node(condition: &str) -> slim::Node {
    let ready = if condition == "Down" { "False" } else { "True" };
    serde_json::from_value(json!({
        "metadata": { "name": "n" },
        "status": { "conditions": [
            { "type": "Ready", "status": ready }, { "type": condition, "status": "True" },
        ] },
    }))
    .unwrap()
}

struct Scene {
    index: SharedIndex,
    holds: Holds,
    stop: CancellationToken,
    api: FakeApi,
}

impl Scene {
    /// An endpoint in front of an API server that has `live`, or is silent.
    fn new(live: Option<Value>) -> Self {
        let api = FakeApi::default();
        match live {
            Some(live) => api.put_pod(live),
            None => api.faults(|_| Some(Fault::Silent)),
        }
        let client = api.client();
        let index = SharedIndex::default();
        index.with(|index| {
            for kind in Kind::ALL {
                index.watch_synced(kind, Instant::now());
            }
            index.apply_node(&node("Fine"));
        });
        let stop = CancellationToken::new();
        let metrics = Metrics::new(Leadership::default());
        let (events, _sender) =
            events::start(client.clone(), metrics.clone(), "me".into(), CancellationToken::new());
        let pods = Pods::new(client);
        let holds = Holds::new(index.clone(), pods, events, metrics, false, stop.clone());
        Self { index, holds, stop, api }
    }

    fn with_pod(live: Option<Value>, pod: Value) -> Self {
        let scene = Self::new(live);
        scene.apply(pod);
        scene
    }

    fn apply(&self, pod: Value) {
        self.index.with(|index| index.apply_pod(slim_pod(pod)));
    }

    async fn get(&self, peer: &str, query: &str) -> (StatusCode, String) {
        let request = Request::get(format!("/v1/hold/shop/web-0?{query}"));
        self.send(peer, request.body(Body::empty()).unwrap()).await
    }

    async fn send(&self, peer: &str, mut request: Request<Body>) -> (StatusCode, String) {
        let peer = SocketAddr::new(peer.parse::<IpAddr>().unwrap(), 40_000);
        request.extensions_mut().insert(ConnectInfo(peer));
        let response = self.holds.clone().router().oneshot(request).await.into_response();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }
}

#[tokio::test]
async fn a_pod_that_its_kubelet_may_be_evicting_is_not_let_go() {
    let scene = Scene::with_pod(Some(pod(false, None)), pod(false, None));
    let query = "uid=u-0&container=web&wait=0";
    for kind in ["MemoryPressure", "Down"] {
        scene.index.with(|index| index.apply_node(&node(kind)));
        let (status, body) = scene.get(POD_IP, query).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{kind}");
        assert!(body.contains("decides alone"), "{body}");
    }
    scene.index.with(|index| index.apply_node(&node("Fine")));
    let (status, body) = scene.get(POD_IP, query).await;
    assert!(status == StatusCode::OK && body.contains("NotTerminating"), "{status} {body}");
}

#[tokio::test]
async fn a_held_pod_hears_its_state_and_its_deadline() {
    let scene = Scene::with_pod(None, pod(true, None));
    let (status, body) = scene.get(POD_IP, "uid=u-0&container=web&wait=0").await;
    assert_eq!(status, StatusCode::OK);
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["state"], "Holding");
    assert_eq!(body["reason"], "Pending");
    let deadline = body["deadlineSeconds"].as_u64().unwrap();
    assert!((850..=900).contains(&deadline), "{deadline}");

    scene.apply(pod(true, Some("True")));
    let (_, body) = scene.get(POD_IP, "uid=u-0&state=Holding&wait=20").await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["state"], "TrafficOff");
    assert_eq!(body["message"], "the evidence");
    assert_eq!(scene.api.calls(), [], "answers come from the index");
}

#[tokio::test]
async fn only_the_pod_itself_is_answered() {
    let scene = Scene::with_pod(None, pod(true, None));
    let table = [
        // peer, query -> status
        (POD_IP, "uid=u-0", StatusCode::OK),
        ("::ffff:10.0.0.7", "uid=u-0", StatusCode::OK),
        ("10.0.0.8", "uid=u-0", StatusCode::FORBIDDEN),
        // The node's address is the pod's only with hostNetwork, or where an admin says so.
        ("10.9.9.9", "uid=u-0", StatusCode::FORBIDDEN),
        (POD_IP, "uid=u-1", StatusCode::FORBIDDEN),
        (POD_IP, "", StatusCode::BAD_REQUEST),
        (POD_IP, "uid=u-0&wait=soon", StatusCode::BAD_REQUEST),
    ];
    for (peer, query, expected) in table {
        assert_eq!(scene.get(peer, query).await.0, expected, "{peer} {query}");
    }
    let other = Request::get("/v1/hold/shop/web-1?uid=u-0").body(Body::empty()).unwrap();
    assert_eq!(scene.send(POD_IP, other).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn before_the_first_list_nobody_is_answered() {
    let scene = Scene::with_pod(None, pod(true, None));
    scene.index.with(|index| *index = crate::index::Index::default());
    scene.apply(pod(true, Some("True")));
    assert_eq!(scene.get(POD_IP, "uid=u-0").await.0, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_restart_is_let_go_only_by_a_fresh_read() {
    let scene = Scene::with_pod(Some(pod(false, None)), pod(false, None));
    let (status, body) = scene.get(POD_IP, "uid=u-0&wait=20").await;
    assert_eq!(status, StatusCode::OK);
    assert!(body.contains("\"NotTerminating\"") && body.contains("\"deadlineSeconds\":null"));
    assert_eq!(scene.api.calls().len(), 1);
}

#[tokio::test]
async fn a_deletion_that_the_watch_has_not_told_yet_holds() {
    let scene = Scene::with_pod(Some(pod(true, None)), pod(false, None));
    let (status, body) = scene.get(POD_IP, "uid=u-0&wait=0").await;
    assert_eq!(status, StatusCode::OK);
    assert!(body.contains("\"Holding\""), "{body}");
}

#[tokio::test]
async fn a_successor_of_the_same_name_lets_nobody_go() {
    let mut successor = pod(false, None);
    successor["metadata"]["uid"] = json!("u-1");
    let scene = Scene::with_pod(Some(successor), pod(false, None));
    assert_eq!(scene.get(POD_IP, "uid=u-0").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_says_nothing_lets_nobody_go() {
    let scene = Scene::with_pod(None, pod(false, None));
    assert_eq!(scene.get(POD_IP, "uid=u-0").await.0, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test(start_paused = true)]
async fn a_poll_waits_for_the_change_and_not_for_every_event() {
    let scene = Scene::with_pod(None, pod(true, None));
    let poll = scene.get(POD_IP, "uid=u-0&state=Holding&wait=20");
    let change = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        scene.apply(pod(true, Some("False")));
        tokio::time::sleep(Duration::from_secs(1)).await;
        scene.apply(pod(true, Some("True")));
        Instant::now()
    };
    let ((status, body), changed) = tokio::join!(poll, change);
    assert_eq!(status, StatusCode::OK);
    assert!(body.contains("\"TrafficOff\""), "{body}");
    assert_eq!(Instant::now(), changed, "answered at the change, by the paused clock");
}

#[tokio::test(start_paused = true)]
async fn a_poll_ends_after_its_wait_and_at_shutdown() {
    let scene = Scene::with_pod(None, pod(true, None));
    let began = Instant::now();
    let (_, body) = scene.get(POD_IP, "uid=u-0&state=Holding&wait=1000").await;
    assert!(body.contains("\"Holding\""));
    assert_eq!(began.elapsed().as_secs(), WAIT_SECONDS_MAX, "the endpoint's own bound");

    let began = Instant::now();
    let poll = scene.get(POD_IP, "uid=u-0&state=Holding&wait=20");
    let stop = async { scene.stop.cancel() };
    let ((status, _), ()) = tokio::join!(poll, stop);
    assert_eq!((status, began.elapsed()), (StatusCode::OK, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_goes_while_its_hold_waits_is_unknown() {
    let scene = Scene::with_pod(None, pod(true, None));
    let poll = scene.get(POD_IP, "uid=u-0&state=Holding&wait=20");
    let gone = async {
        scene.index.with(|index| index.delete_pod(&PodKey::new("shop", "web-0")));
    };
    let ((status, _), ()) = tokio::join!(poll, gone);
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test(start_paused = true)]
async fn too_many_polls_are_refused_and_not_queued() {
    let mut scene = Scene::with_pod(None, pod(true, None));
    scene.holds.waiting = Arc::new(Semaphore::new(1));
    let query = "uid=u-0&state=Holding&wait=20";
    let (one, two) = tokio::join!(scene.get(POD_IP, query), scene.get(POD_IP, query));
    let mut statuses = [one.0, two.0];
    statuses.sort();
    assert_eq!(statuses, [StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE]);
}

fn report(body: &str) -> Request<Body> {
    Request::post("/v1/hold/shop/web-0/report?uid=u-0&container=web")
        .body(Body::from(body.to_owned()))
        .unwrap()
}

#[tokio::test]
async fn a_report_becomes_a_condition() {
    let live = pod(true, Some("True"));
    let scene = Scene::with_pod(Some(live.clone()), live);
    let body = r#"{"outcome":"DeadlineExceeded","trafficMillis":3000,"connectionsLeft":2}"#;
    assert_eq!(scene.send(POD_IP, report(body)).await.0, StatusCode::ACCEPTED);
    scene.holds.finish().await;
    let calls = scene.api.calls();
    let [Call { method, uri: path, body }] = calls.as_slice() else { panic!("{calls:?}") };
    assert_eq!(*method, Method::PATCH);
    assert!(path.starts_with("/api/v1/namespaces/shop/pods/web-0/status?"), "{path}");
    assert_eq!(body["metadata"], json!({ "uid": "u-0" }), "another pod of that name gets nothing");
    let condition = &body["status"]["conditions"][0];
    assert_eq!(condition["type"], "lameduck.dev/Drained");
    assert_eq!(condition["status"], "False");
    assert_eq!(condition["reason"], "DeadlineExceeded");
    let text = scene.holds.metrics.encode(&scene.index).unwrap();
    assert!(text.contains("lameduck_drains_total{outcome=\"DeadlineExceeded\"} 1"), "{text}");
    assert!(text.contains("lameduck_connections_left_total 2"), "{text}");
}

#[tokio::test]
async fn a_report_that_drained_nothing_writes_nothing() {
    let scene = Scene::with_pod(Some(pod(false, None)), pod(false, None));
    let drained = r#"{"outcome":"ConnectionsClosed"}"#;
    assert_eq!(scene.send(POD_IP, report(drained)).await.0, StatusCode::ACCEPTED);
    scene.holds.finish().await;
    assert_eq!(scene.api.calls(), [], "the pod is not being deleted");
}

#[tokio::test]
async fn a_bad_report_is_refused() {
    let scene = Scene::with_pod(None, pod(true, None));
    let long =
        format!(r#"{{"outcome":"TrafficOff","message":"{}"}}"#, "x".repeat(REPORT_BYTES_MAX));
    let table = [
        (POD_IP, "", StatusCode::BAD_REQUEST),
        (POD_IP, r#"{"outcome":"Fine"}"#, StatusCode::BAD_REQUEST),
        (POD_IP, r#"{"outcome":"TrafficOff","connectionsLeft":-1}"#, StatusCode::BAD_REQUEST),
        (POD_IP, &long, StatusCode::PAYLOAD_TOO_LARGE),
        ("10.0.0.8", r#"{"outcome":"TrafficOff"}"#, StatusCode::FORBIDDEN),
    ];
    for (peer, body, expected) in table {
        assert_eq!(scene.send(peer, report(body)).await.0, expected, "{peer} {body:.40}");
    }
    assert_eq!(scene.api.calls(), []);
}

#[tokio::test(start_paused = true)]
async fn a_report_about_a_pod_with_a_successor_is_tried_once() {
    let mut successor = pod(false, None);
    successor["metadata"]["uid"] = json!("u-1");
    let scene = Scene::with_pod(Some(successor.clone()), pod(true, Some("True")));
    let body = r#"{"outcome":"ConnectionsClosed"}"#;
    assert_eq!(scene.send(POD_IP, report(body)).await.0, StatusCode::ACCEPTED);
    scene.holds.finish().await;
    assert_eq!(scene.api.calls().len(), 1, "refused for good");
    assert_eq!(scene.api.pod("web-0"), Some(successor));
}
