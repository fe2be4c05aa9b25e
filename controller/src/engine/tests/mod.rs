//! Tests of the engine against a small API server: which calls, in which order, and which never.

mod load_balancers;

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use lameduck_core::policy::{Policy, TrafficOff};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::events;
use crate::index::Kind;
use crate::testing::{FakeApi, Fault, deleted, ended, pod};

struct Scene {
    api: FakeApi,
    index: SharedIndex,
    leadership: Leadership,
    start: Timestamp,
    stop: CancellationToken,
    task: JoinHandle<()>,
    /// Bookmarks of every watch.
    bookmarks: AbortOnDropHandle<()>,
}

impl Scene {
    /// A leader, a Ready node, and one Service with an EndpointSlice that lists nothing.
    fn new() -> Self {
        let api = FakeApi::default();
        let index = SharedIndex::default();
        index.with(|index| {
            for kind in Kind::ALL {
                index.watch_synced(kind, Instant::now());
            }
        });
        index.with(|index| {
            index.apply_node(&parse(&json!({
                "metadata": { "name": "n" },
                "status": { "conditions": [{ "type": "Ready", "status": "True" }] },
            })));
        });
        let bookmarks = tokio::spawn({
            let index = index.clone();
            async move {
                loop {
                    sleep(Duration::from_secs(30)).await;
                    for kind in Kind::ALL {
                        index.with(|index| index.watch_alive(kind, Instant::now()));
                    }
                }
            }
        });
        let bookmarks = AbortOnDropHandle::new(bookmarks);
        let start = Timestamp::from_second(1_767_225_600).unwrap();
        let began = Instant::now();
        let leadership = Leadership::default();
        leadership.hold_until(Duration::from_secs(1_000_000));
        let stop = CancellationToken::new();
        let metrics = Metrics::new(leadership.clone());
        let client = api.client();
        let (events, sender) =
            events::start(client.clone(), metrics.clone(), "me".into(), stop.clone());
        // Events have their own tests: they would only interleave with the calls here.
        drop(sender);
        let engine = Engine {
            index: index.clone(),
            pods: Pods::new(client.clone()),
            confirm: Confirm::new(Pods::new(client)),
            leadership: leadership.clone(),
            events,
            metrics,
            clock: Arc::new(move || start + SignedDuration::try_from(began.elapsed()).unwrap()),
        };
        let task = tokio::spawn(engine.run(stop.clone()));
        let scene = Self { api, index, leadership, start, stop, task, bookmarks };
        scene.endpoints(json!([]));
        scene
    }

    /// The Service's endpoints change, in the cluster and in what the watches know.
    fn endpoints(&self, endpoints: Value) {
        let (service, slice) = service(endpoints);
        self.index.with(|index| {
            index.apply_service(&parse(&service));
            index.apply_slice(&parse(&slice));
        });
        self.api.put_slices(vec![service], vec![slice]);
    }

    /// A pod changes, in the cluster and in what the watch knows.
    fn put(&self, pod: Value) {
        self.index.with(|index| index.apply_pod(parse(&pod)));
        self.api.put_pod(pod);
    }

    fn deleted(&self, name: &str) -> Value {
        deleted(pod(name), self.start)
    }

    /// The containers of a pod that is there end.
    fn end(&self, name: &str) {
        self.put(ended(self.api.pod(name).unwrap()));
    }

    async fn finish(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

fn parse<T: serde::de::DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap()
}

fn service(endpoints: Value) -> (Value, Value) {
    let service = json!({
        "metadata": { "namespace": "shop", "name": "web" }, "spec": { "selector": { "app": "web" } },
    });
    let slice = json!({
        "metadata": {
            "namespace": "shop", "name": "web-1", "labels": { "kubernetes.io/service-name": "web" },
        },
        "endpoints": endpoints,
    });
    (service, slice)
}

fn endpoint(name: &str, ready: bool) -> Value {
    json!({
        "addresses": ["10.0.0.7"], "conditions": { "ready": ready, "terminating": !ready },
        "targetRef": { "kind": "Pod", "name": name },
    })
}

#[tokio::test(start_paused = true)]
async fn a_pod_ends_step_by_step() {
    let scene = Scene::new();
    scene.endpoints(json!([endpoint("web-0", true)]));
    scene.put(scene.deleted("web-0"));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(scene.api.short_calls(), ["PATCH web-0/status False EndpointReady"]);

    scene.endpoints(json!([endpoint("web-0", false)]));
    sleep(Duration::from_secs(1)).await;
    assert_eq!(scene.api.short_calls(), ["PATCH web-0/status False Settling"]);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(
        scene.api.short_calls(),
        ["GET services", "GET endpointslices", "PATCH web-0/status True EndpointsNotReady"],
        "the fresh read comes before the word that lets the application be ended"
    );

    scene.end("web-0");
    sleep(Duration::from_secs(60)).await;
    let calls = scene.api.calls();
    let [removal] = calls.as_slice() else { panic!("{calls:?}") };
    assert_eq!(
        removal.body[0],
        json!({ "op": "test", "path": "/metadata/uid", "value": "uid-web-0" })
    );
    assert_eq!(scene.api.pod("web-0").unwrap()["metadata"]["finalizers"], json!([]));
    sleep(Duration::from_secs(3600)).await;
    assert_eq!(scene.api.short_calls(), Vec::<String>::new(), "nothing more is done, or polled");
    scene.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_fresh_read_that_disagrees_is_believed() {
    let scene = Scene::new();
    let (service, slice) = service(json!([endpoint("web-0", true)]));
    scene.api.put_slices(vec![service], vec![slice]);
    scene.put(scene.deleted("web-0"));
    sleep(Duration::from_secs(30)).await;
    let calls = scene.api.short_calls();
    assert!(calls.contains(&"GET endpointslices".to_owned()), "{calls:?}");
    assert!(!calls.iter().any(|call| call.contains("True")), "{calls:?}");
    scene.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_service_that_the_watch_has_not_told_yet_keeps_a_pod_on() {
    let scene = Scene::new();
    scene.index.with(|index| {
        index.delete_service("shop", "web");
        index.delete_slice("shop", "web-1");
    });
    scene.put(scene.deleted("web-0"));
    sleep(Duration::from_secs(30)).await;
    let calls = scene.api.short_calls();
    let writes: Vec<_> = calls.iter().filter(|call| call.starts_with("PATCH")).collect();
    assert_eq!(writes, ["PATCH web-0/status False Settling"]);
    scene.finish().await;
}

#[tokio::test(start_paused = true)]
async fn half_of_the_clusters_state_decides_nothing() {
    let scene = Scene::new();
    // As after a start: the policies are not listed yet, and a pod's own may be longer than the default.
    scene.index.with(|index| index.forget_health(Kind::TerminationPolicies));
    scene.put(scene.deleted("web-0"));
    sleep(Duration::from_secs(20)).await;
    assert_eq!(scene.api.short_calls(), Vec::<String>::new());
    let policy = Policy {
        traffic_off: TrafficOff { settle_seconds: 60, ..TrafficOff::default() },
        ..Policy::default()
    };
    scene.index.with(|index| {
        index.apply_policy("default", policy);
        index.watch_synced(Kind::TerminationPolicies, Instant::now());
    });
    sleep(Duration::from_secs(20)).await;
    assert_eq!(scene.api.short_calls(), ["PATCH web-0/status False Settling"]);
    scene.finish().await;
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_goes_silent_gets_no_step_towards_off() {
    let scene = Scene::new();
    scene.api.faults(|call| call.uri.contains("endpointslices").then_some(Fault::Silent));
    scene.put(scene.deleted("web-0"));
    sleep(Duration::from_secs(120)).await;
    let patches: Vec<String> =
        scene.api.short_calls().into_iter().filter(|call| call.starts_with("PATCH")).collect();
    assert_eq!(patches, ["PATCH web-0/status False Settling"]);
    scene.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_broken_watch_is_said_and_nothing_is_called_off() {
    let scene = Scene::new();
    scene.put(scene.deleted("web-0"));
    sleep(Duration::from_secs(1)).await;
    scene.bookmarks.abort();
    scene.index.with(|index| index.watch_broken(Kind::EndpointSlices, Instant::now()));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(
        scene.api.short_calls(),
        ["PATCH web-0/status False Settling", "PATCH web-0/status Unknown WatchNotFresh"]
    );
    scene.index.with(|index| index.watch_alive(Kind::EndpointSlices, Instant::now()));
    sleep(Duration::from_secs(30)).await;
    let calls = scene.api.short_calls();
    assert_eq!(calls.first().unwrap(), "PATCH web-0/status False Settling", "it settles anew");
    assert_eq!(calls.last().unwrap(), "PATCH web-0/status True EndpointsNotReady");
    scene.finish().await;
}

#[tokio::test(start_paused = true)]
async fn who_does_not_lead_writes_nothing_until_it_does() {
    let scene = Scene::new();
    scene.leadership.let_go();
    scene.put(scene.deleted("web-0"));
    scene.end("web-0");
    sleep(Duration::from_secs(60)).await;
    assert_eq!(scene.api.short_calls(), Vec::<String>::new());
    scene.leadership.hold_until(Duration::from_secs(1_000_000));
    sleep(Duration::from_secs(60)).await;
    assert!(scene.api.short_calls().contains(&"PATCH web-0".to_owned()));
    scene.finish().await;
}

#[tokio::test(start_paused = true)]
async fn leadership_that_ends_before_the_write_is_seen() {
    let scene = Scene::new();
    let leadership = scene.leadership.clone();
    // It ends while the confirming read is on its way.
    scene.api.faults(move |call| {
        if call.uri.contains("services") {
            leadership.let_go();
        }
        None
    });
    scene.put(scene.deleted("web-0"));
    sleep(Duration::from_secs(60)).await;
    let calls = scene.api.short_calls();
    assert_eq!(calls.last().unwrap(), "GET endpointslices", "{calls:?}");
    scene.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_whose_writes_fail_delays_nobody_and_is_not_hammered() {
    let scene = Scene::new();
    scene.api.faults(|call| call.uri.contains("web-0").then_some(Fault::Status(500)));
    scene.put(scene.deleted("web-0"));
    scene.put(scene.deleted("web-1"));
    sleep(Duration::from_secs(60)).await;
    let calls = scene.api.short_calls();
    assert!(calls.contains(&"PATCH web-1/status True EndpointsNotReady".to_owned()), "{calls:?}");
    let failed = calls.iter().filter(|call| call.contains("web-0")).count();
    assert!((3..20).contains(&failed), "{failed} tries in a minute");
    scene.finish().await;
}

#[tokio::test(start_paused = true)]
async fn giving_up_does_not_wait_for_a_condition_that_cannot_be_written() {
    let scene = Scene::new();
    scene.api.faults(|call| call.uri.contains("/status").then_some(Fault::Status(403)));
    scene.endpoints(json!([endpoint("web-0", true)]));
    scene.put(scene.deleted("web-0"));
    scene.end("web-0");
    sleep(Duration::from_secs(880)).await;
    assert_eq!(
        scene.api.pod("web-0").unwrap()["metadata"]["finalizers"],
        json!(["lameduck.dev/drain"])
    );
    sleep(Duration::from_secs(30)).await;
    assert_eq!(scene.api.pod("web-0").unwrap()["metadata"]["finalizers"], json!([]));
    scene.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_finalizer_that_moved_is_found_again() {
    let scene = Scene::new();
    scene.put(scene.deleted("web-0"));
    sleep(Duration::from_secs(10)).await;
    // Somebody put another one in front, and the watch has not told yet.
    let mut moved = scene.api.pod("web-0").unwrap();
    let known = ended(moved.clone());
    moved["metadata"]["resourceVersion"] = json!("5000");
    moved["metadata"]["finalizers"] = json!(["other.example/first", "lameduck.dev/drain"]);
    scene.api.put_pod(ended(moved));
    scene.index.with(|index| index.apply_pod(parse(&known)));
    sleep(Duration::from_secs(10)).await;
    let finalizers = scene.api.pod("web-0").unwrap()["metadata"]["finalizers"].clone();
    assert_eq!(finalizers, json!(["other.example/first"]));
    scene.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_conflict_is_read_again_and_does_not_wait_for_the_watch() {
    let scene = Scene::new();
    let pod = scene.deleted("web-0");
    let mut newer = pod.clone();
    newer["metadata"]["resourceVersion"] = json!("7");
    scene.index.with(|index| index.apply_pod(parse(&pod)));
    scene.api.put_pod(newer);
    sleep(Duration::from_secs(10)).await;
    let calls = scene.api.short_calls();
    assert_eq!(calls.last().unwrap(), "PATCH web-0/status True EndpointsNotReady", "{calls:?}");
    scene.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_gone_is_written_to_once() {
    // Still there by the watch; its condition, or its finalizer, is written next.
    for with_condition in [false, true] {
        let scene = Scene::new();
        let mut known = ended(scene.deleted("web-0"));
        if with_condition {
            known["status"]["conditions"] = json!([{
                "type": "lameduck.dev/TrafficOff", "status": "True", "reason": "EndpointsNotReady",
                "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z",
            }]);
        }
        scene.index.with(|index| index.apply_pod(parse(&known)));
        sleep(Duration::from_secs(60)).await;
        let calls = scene.api.short_calls();
        let patches = calls.iter().filter(|call| call.starts_with("PATCH")).count();
        assert_eq!(patches, 1, "{calls:?}");
        let key = PodKey::new("shop", "web-0");
        assert!(scene.index.with(|index| index.pod(&key).is_none()));
        scene.finish().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_successor_of_the_same_name_is_not_written_to() {
    let scene = Scene::new();
    scene.index.with(|index| index.apply_pod(parse(&scene.deleted("web-0"))));
    let mut successor = pod("web-0");
    successor["metadata"]["uid"] = json!("uid-new");
    successor["metadata"]["resourceVersion"] = json!("9");
    scene.api.put_pod(successor.clone());
    sleep(Duration::from_secs(60)).await;
    assert_eq!(scene.api.pod("web-0"), Some(successor));
    let calls = scene.api.short_calls();
    let patches = calls.iter().filter(|call| call.starts_with("PATCH")).count();
    assert_eq!(patches, 1, "{calls:?}");
    scene.finish().await;
}
