//! The webhook's own snapshots of its answers to recorded reviews are what `mutate` has to come to.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::mutate;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The webhook's answer to the recorded review of this name.
fn answer(name: &str) -> Option<Value> {
    let folder = root().join("webhook/tests/webhook/snapshots");
    let text =
        fs::read_to_string(folder.join(format!("webhook__corpus__answer@{name}.snap"))).ok()?;
    let (_, yaml) = text.strip_prefix("---\n")?.split_once("\n---\n")?;
    Some(serde_saphyr::from_str(yaml).expect("a snapshot"))
}

fn files(folder: &str, extension: &str) -> Vec<(String, String)> {
    let mut files: Vec<(String, String)> = fs::read_dir(root().join(folder))
        .expect(folder)
        .map(|entry| entry.expect(folder).path())
        .filter(|path| path.extension().is_some_and(|is| is == extension))
        .map(|path| {
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            (name, fs::read_to_string(path).expect("a file"))
        })
        .collect();
    files.sort();
    files
}

fn operations(value: &Value) -> Value {
    if value.is_null() { json!([]) } else { value.clone() }
}

/// What the API server's webhook gets, `mutate` gets: the same operations, warnings and outcome.
#[test]
fn recorded_reviews_come_to_what_the_webhook_answers() {
    let mut compared = 0;
    for (name, text) in files("tests/corpus", "json") {
        let review: Value = serde_json::from_str(&text).expect("a review");
        let request = &review["request"];
        // Offline there is no object from before.
        if request["operation"] != "CREATE" {
            continue;
        }
        let mut object = request["object"].clone();
        for member in ["apiVersion", "kind"] {
            assert!(object[member].is_string(), "{name}");
        }
        object["metadata"]["namespace"] = request["namespace"].clone();
        let document = mutate(&name, object.to_string(), &["--policy", "default"]);
        assert_eq!(document.problems, [], "{name}");
        let change = &document.objects[0].change;
        let answer = answer(&name).expect(&name);
        assert_eq!(answer["outcome"], change.word(), "{name}");
        assert_eq!(operations(&answer["patch"]), json!(change.operations), "{name}");
        assert_eq!(operations(&answer["warnings"]), json!(change.warnings), "{name}");
        compared += 1;
    }
    assert!(compared >= 25, "only {compared} reviews were compared");
}

/// Each operation on a member or on an element of its own, so that it does not matter whether a list or an
/// object is there already: the API server adds the token's volume, and kubectl an annotation.
fn elements(operations: &Value) -> Vec<Value> {
    let mut elements: Vec<Value> = Vec::new();
    for operation in operations.as_array().into_iter().flatten() {
        let path = operation["path"].as_str().expect("a path");
        let value = &operation["value"];
        let last = path.rsplit('/').next().unwrap_or_default();
        match (last, value) {
            ("annotations" | "labels", Value::Object(members)) => {
                elements.extend(members.iter().map(|(name, value)| {
                    let name = name.replace('~', "~0").replace('/', "~1");
                    json!({"op": "add", "path": format!("{path}/{name}"), "value": value})
                }));
            }
            ("volumes" | "volumeMounts" | "finalizers", Value::Array(values)) => {
                elements.extend(values.iter().map(
                    |value| json!({"op": "add", "path": format!("{path}/-"), "value": value}),
                ));
            }
            ("initContainers", Value::Array(values)) => {
                elements.extend(values.iter().map(
                    |value| json!({"op": "add", "path": format!("{path}/0"), "value": value}),
                ));
            }
            _ => elements.push(operation.clone()),
        }
    }
    elements
}

/// The manifest comes to what the webhook answered when the API server had filled in its defaults, and when
/// the controllers had made pods of it.
#[test]
fn manifests_come_to_what_was_answered_for_what_the_api_server_made_of_them() {
    let mut compared = 0;
    for (name, text) in files("tests/corpus/manifests", "yaml") {
        let document = mutate(&name, text, &["--policy", "default"]);
        assert_eq!(document.problems, [], "{name}");
        let reviewed = document
            .objects
            .iter()
            .find(|reviewed| reviewed.namespace.is_some())
            .expect("an object that is looked at");
        let kind = reviewed.kind.to_lowercase();
        let rest = name.split_once('-').map(|(_, rest)| rest);
        let own = if kind == "pod" {
            // Of pod-resources.yaml and its like.
            format!("pod-create-{}", rest.unwrap_or(&name))
        } else {
            format!("{kind}-create-{}", rest.unwrap_or(&name))
        };
        for (recorded, change) in
            [(own, Some(&reviewed.change)), (format!("pod-create-{name}"), reviewed.pod.as_ref())]
        {
            let (Some(answer), Some(change)) = (answer(&recorded), change) else { continue };
            // Recorded without a webhook: these pods' templates have no copy of the workload's label.
            if recorded.starts_with("pod-") && copies_a_label(&reviewed.change.operations) {
                continue;
            }
            assert_eq!(answer["outcome"], change.word(), "{recorded}");
            assert_eq!(
                elements(&answer["patch"]),
                elements(&json!(change.operations)),
                "{recorded}"
            );
            compared += 1;
        }
    }
    assert!(compared >= 22, "only {compared} answers were compared");
}

fn copies_a_label(operations: &[Value]) -> bool {
    operations.iter().any(|operation| {
        operation["path"].as_str().is_some_and(|path| path.starts_with("/spec/template/"))
    })
}
