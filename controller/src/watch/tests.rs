//! Tests of a watch against scripted answers: paging, resumption, 410, and what is left out.

use std::collections::VecDeque;

use serde_json::json;
use tokio::time::sleep;

use super::*;
use crate::index::PodKey;
use crate::leader::Leadership;
use crate::testing::{FakeApi, Fault, pod};

/// A watch of pods that gets these answers, in this order, and then none.
struct Scene {
    api: FakeApi,
    index: SharedIndex,
    _watch: tokio_util::task::AbortOnDropHandle<()>,
}

impl Scene {
    fn new(answers: Vec<Fault>) -> Self {
        let api = FakeApi::default();
        let mut answers = VecDeque::from(answers);
        api.faults(move |_| Some(answers.pop_front().unwrap_or(Fault::Silent)));
        let index = SharedIndex::default();
        let watch = run::<crate::slim::Pod>(
            api.client(),
            index.clone(),
            Metrics::new(Leadership::default()),
            CancellationToken::new(),
        );
        let watch = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(watch));
        Self { api, index, _watch: watch }
    }

    fn pods(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.index.with(|index| index.pods().map(|(key, _)| key.name.to_string()).collect());
        names.sort();
        names
    }

    fn stale(&self) -> Option<&'static str> {
        self.index.with(|index| index.health(Kind::Pods).stale(Instant::now()))
    }

    /// What was asked for, without what every request has.
    fn asked(&self) -> Vec<String> {
        self.api
            .calls()
            .iter()
            .map(|call| {
                let query = call.uri.split('?').nth(1).unwrap_or_default();
                let wanted = ["watch=", "resourceVersion=", "continue="];
                query
                    .split('&')
                    .filter(|pair| wanted.iter().any(|name| pair.starts_with(name)))
                    .collect::<Vec<_>>()
                    .join("&")
            })
            .collect()
    }
}

fn list(names: &[&str], version: &str, token: &str) -> Fault {
    let items: Vec<_> = names.iter().map(|name| pod(name)).collect();
    let metadata = json!({ "resourceVersion": version, "continue": token });
    Fault::Text(json!({ "metadata": metadata, "items": items }).to_string())
}

fn event(type_: &str, object: serde_json::Value) -> String {
    json!({ "type": type_, "object": object }).to_string() + "\n"
}

fn versioned(name: &str, version: &str) -> serde_json::Value {
    let mut pod = pod(name);
    pod["metadata"]["resourceVersion"] = json!(version);
    pod
}

/// A pod's last word: whoever goes for good has no finalizer any more.
fn gone(name: &str, version: &str) -> serde_json::Value {
    let mut pod = versioned(name, version);
    pod["metadata"]["finalizers"] = json!([]);
    pod
}

#[tokio::test(start_paused = true)]
async fn pages_then_events_then_on_from_the_last_version() {
    let bookmark = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "resourceVersion": "9" },
    });
    let scene = Scene::new(vec![
        list(&["a"], "3", "more"),
        list(&["b"], "4", ""),
        Fault::Text(
            event("ADDED", versioned("c", "7"))
                + &event("DELETED", gone("a", "8"))
                + &event("BOOKMARK", bookmark),
        ),
    ]);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(scene.pods(), ["b", "c"]);
    assert_eq!(scene.stale(), None);
    assert_eq!(
        scene.asked(),
        ["", "continue=more", "watch=true&resourceVersion=4", "watch=true&resourceVersion=9"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_version_that_is_gone_is_listed_anew_without_forgetting_before() {
    let gone = json!({ "kind": "Status", "status": "Failure", "code": 410, "reason": "Expired",
        "message": "too old resource version" });
    let scene = Scene::new(vec![
        list(&["a", "b"], "4", ""),
        Fault::Text(event("ERROR", gone)),
        Fault::Status(500),
        list(&["b"], "90", ""),
    ]);
    sleep(Duration::from_millis(300)).await;
    // The first new list failed: what was known stands, and is not relied on.
    assert_eq!(scene.pods(), ["a", "b"]);
    assert_eq!(scene.stale(), Some("is broken and being resumed"));
    sleep(Duration::from_secs(5)).await;
    assert_eq!(scene.pods(), ["b"]);
    assert_eq!(scene.stale(), None);
    assert_eq!(scene.asked().last().unwrap(), "watch=true&resourceVersion=90");
}

#[tokio::test(start_paused = true)]
async fn a_refused_version_is_listed_anew_too() {
    let scene =
        Scene::new(vec![list(&["a"], "4", ""), Fault::Status(410), list(&["a", "b"], "50", "")]);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(scene.pods(), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_says_nothing_is_broken_and_tried_again() {
    let scene = Scene::new(vec![list(&["a"], "4", "")]);
    sleep(WATCH_SILENCE_MAX - Duration::from_secs(1)).await;
    assert_eq!(scene.stale(), None);
    sleep(Duration::from_secs(3)).await;
    assert!(scene.stale().is_some());
    assert_eq!(scene.asked(), ["", "watch=true&resourceVersion=4", "watch=true&resourceVersion=4"]);
}

#[tokio::test(start_paused = true)]
async fn an_object_that_cannot_be_read_leaves_the_others_alone() {
    let mut bad = pod("bad");
    bad["metadata"]["finalizers"] = json!("not a list");
    let items = json!([bad, pod("good")]);
    let list = json!({ "metadata": { "resourceVersion": "4" }, "items": items });
    let scene = Scene::new(vec![
        Fault::Text(list.to_string()),
        Fault::Text(event("ADDED", bad) + &event("ADDED", versioned("better", "6"))),
    ]);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(scene.pods(), ["better", "good"]);
    assert!(scene.index.with(|index| index.pod(&PodKey::new("shop", "bad")).is_none()));
    assert_eq!(scene.asked().last().unwrap(), "watch=true&resourceVersion=6");
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_lost_the_label_is_not_gone() {
    let scene = Scene::new(vec![
        list(&["a", "b"], "4", ""),
        Fault::Text(event("DELETED", gone("a", "5")) + &event("DELETED", versioned("b", "6"))),
    ]);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(scene.pods(), Vec::<String>::new());
    let lost = scene.index.with(|index| index.unlabelled(9));
    let [(key, lost)] = lost.as_slice() else { panic!("{lost:?}") };
    assert_eq!((&*key.name, &*lost.uid, &*lost.policy), ("b", "uid-b", "default"));
    // Its return into the watch ends the matter.
    scene.index.with(|index| index.apply_pod(serde_json::from_value(pod("b")).unwrap()));
    assert_eq!(scene.index.with(|index| index.unlabelled(9)), []);
}

#[tokio::test(start_paused = true)]
async fn empty_answers_are_not_asked_for_without_pause() {
    let mut answers = vec![list(&["a"], "4", "")];
    answers.extend((0..1000).map(|_| Fault::Text(String::new())));
    let scene = Scene::new(answers);
    sleep(Duration::from_secs(10)).await;
    let asked = scene.asked().len();
    assert!((10..=60).contains(&asked), "{asked} requests in ten seconds");
}
