//! Reviews recorded from a real API server, and the answers that they get.
//!
//! Each file of `tests/corpus/` is one request body. Its answer is compared with a snapshot, applied,
//! and reviewed again: the second review has to change nothing.

use std::collections::BTreeMap;

use crate::recorded::{corpus, created};

use data_encoding::BASE64;
use lameduck_core::{
    inject::Settings,
    names::FINALIZER,
    policy::{Hold, Mode, Policy, Until},
};
use lameduck_webhook::{
    admission::{Hook, Reviewed, review},
    index::Index,
};
use serde_json::{Value, json};

fn settings() -> Settings {
    Settings { hold_image: "docker.io/lameduck/hold:0.1.0".to_owned(), version: "0.1.0".to_owned() }
}

/// An index in which every namespace of the corpus is enrolled with `default`.
fn index(policy: Policy) -> Index {
    let index = Index::default();
    let namespaces = corpus().into_iter().map(|(_, body)| {
        (body["request"]["namespace"].as_str().unwrap().to_owned(), Some("default".to_owned()))
    });
    let namespaces = namespaces.chain([("shop".to_owned(), Some("default".to_owned()))]);
    index.reset(BTreeMap::from([("default".to_owned(), policy)]), namespaces.collect::<Vec<_>>());
    index
}

fn hook(body: &Value) -> Hook {
    if body["request"]["kind"]["kind"] == "Pod" { Hook::Pods } else { Hook::Workloads }
}

/// The answer, and its patch as JSON (`null` without one).
fn answer(body: &Value, index: &Index) -> (Reviewed, Value, Value) {
    let bytes = serde_json::to_vec(body).unwrap();
    let reviewed = review(hook(body), &bytes, &index.read(), &settings()).unwrap();
    let answer: Value = serde_json::from_slice(&reviewed.body).unwrap();
    let response = answer["response"].clone();
    assert_eq!(answer["apiVersion"], "admission.k8s.io/v1");
    assert_eq!(answer["kind"], "AdmissionReview");
    assert_eq!(response["uid"], body["request"]["uid"]);
    assert_eq!(response["allowed"], true);
    let patch = match response["patch"].as_str() {
        None => {
            assert!(response["patchType"].is_null());
            Value::Null
        }
        Some(patch) => {
            assert_eq!(response["patchType"], "JSONPatch");
            serde_json::from_slice(&BASE64.decode(patch.as_bytes()).unwrap()).unwrap()
        }
    };
    (reviewed, response, patch)
}

fn apply(body: &Value, patch: &Value) -> Value {
    let mut body = body.clone();
    if !patch.is_null() {
        let patch: json_patch::Patch = serde_json::from_value(patch.clone()).unwrap();
        json_patch::patch(&mut body["request"]["object"], &patch).unwrap();
    }
    body
}

#[test]
fn recorded_reviews_get_these_answers() {
    let index = index(Policy::default());
    for (name, body) in corpus() {
        let (reviewed, response, patch) = answer(&body, &index);
        insta::with_settings!({ snapshot_suffix => name, omit_expression => true }, {
            insta::assert_yaml_snapshot!("answer", json!({
                "outcome": reviewed.outcome,
                "warnings": response["warnings"],
                "patch": patch,
            }));
        });
    }
}

#[test]
fn a_second_review_changes_nothing() {
    let until = |until| Policy { hold: Hold { until, ..Hold::default() }, ..Policy::default() };
    for policy in [until(Until::ConnectionsClosed), until(Until::TrafficOff), until(Until::Off)] {
        let index = index(policy);
        for (name, body) in corpus() {
            let (first, _, patch) = answer(&body, &index);
            let patched = apply(&body, &patch);
            let (second, _, again) = answer(&patched, &index);
            assert_eq!(again, Value::Null, "{name}: {}", first.outcome);
            if first.outcome == "Patched" {
                assert_eq!(second.outcome, "Unchanged", "{name}");
            }
            let finalizers = patched["request"]["object"]["metadata"]["finalizers"].as_array();
            let ours = finalizers.into_iter().flatten().filter(|name| **name == FINALIZER);
            assert!(ours.count() <= 1, "{name}");
        }
    }
}

#[test]
fn a_container_that_another_webhook_adds_is_the_only_one_that_changes() {
    let index = index(Policy::default());
    let body = created("Pod", "plain");
    let (_, _, patch) = answer(&body, &index);
    let mut meshed = apply(&body, &patch);
    let containers = meshed["request"]["object"]["spec"]["containers"].as_array_mut().unwrap();
    let mut proxy = containers[0].clone();
    proxy["name"] = json!("proxy");
    proxy["lifecycle"] = json!({"preStop": {"exec": {"command": ["/drain"]}}});
    proxy["volumeMounts"] = json!([]);
    containers.push(proxy);
    let (reviewed, _, patch) = answer(&meshed, &index);
    assert_eq!(reviewed.outcome, "Patched");
    let paths: Vec<&str> = patch
        .as_array()
        .unwrap()
        .iter()
        .map(|operation| operation["path"].as_str().unwrap())
        .collect();
    assert_eq!(
        paths,
        [
            "/spec/containers/1/volumeMounts/-",
            "/spec/containers/1/lifecycle/preStop",
            "/metadata/annotations/lameduck.dev~1injected",
        ]
    );
    let injected = patch[2]["value"].as_str().unwrap();
    assert!(injected.contains(r#""holds":["proxy","web"]"#), "{injected}");
    assert!(injected.contains(r#""probes":["web"]"#), "{injected}");
}

#[test]
fn observe_says_what_it_would_do_and_off_is_silent() {
    for (mode, outcome) in [(Mode::Observe, "Observed"), (Mode::Off, "PolicyOff")] {
        let index = index(Policy { mode, ..Policy::default() });
        for (name, body) in corpus() {
            let (_, _, patch) = answer(&body, &index);
            // A workload's own label still goes to its pods: it is nearer than their namespace's.
            for operation in patch.as_array().into_iter().flatten() {
                let path = operation["path"].as_str().unwrap();
                let is_label = path == "/spec/template/metadata/labels/lameduck.dev~1policy";
                assert!(is_label || path.contains("original-update-strategy"), "{name}: {path}");
            }
        }
        for kind in ["Pod", "Deployment"] {
            let (reviewed, response, _) = answer(&created(kind, "plain"), &index);
            assert_eq!(reviewed.outcome, outcome, "{kind}");
            let warning = response["warnings"][0].as_str().unwrap_or_default();
            assert_eq!(warning.contains("would"), mode == Mode::Observe, "{kind}: {warning}");
        }
    }
}
