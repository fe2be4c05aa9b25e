//! What `mutate` says offline is what the API server stores.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use kube::Api;
use kube::api::{ApiResource, DynamicObject, PostParams};
use kube::core::GroupVersionKind;
use lameduck_api::names::{ANNOTATION_INJECTED, POLICY_LABEL};
use lameduck_lab::images::product::cli_of_tests;
use serde_json::{Value, json};

use crate::bench::Bench;

/// Policies that make different plans of the same manifest.
fn specs() -> [(&'static str, Value); 3] {
    [
        ("mutate-plain", json!({})),
        (
            "mutate-other",
            json!({
                "hold": {"until": "ConnectionsIdle", "maxSeconds": 120},
                "deployments": {"maxUnavailable": 1, "maxSurge": 2, "minReadySeconds": 5},
                "statefulSets": {"updateStrategy": "Unchanged"},
            }),
        ),
        ("mutate-sleeps", json!({"hold": {"until": "Off", "sleepSeconds": 20}})),
    ]
}

/// For every manifest: what is stored of the original in an enrolled namespace equals what is stored of
/// `mutate`'s object in one that is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_mutate_says_is_what_the_api_server_stores() -> Result<()> {
    let bench = Bench::take().await?;
    let program = cli_of_tests(&bench.progress).await?;
    let folder = std::env::temp_dir().join("lameduck-mutate");
    std::fs::create_dir_all(&folder)?;
    let plain = bench.namespace("mutate-free", json!({})).await?;
    for (policy, spec) in specs() {
        let enrolled = bench.enrolled(policy, spec.clone()).await?;
        let definition = json!({
            "apiVersion": "lameduck.dev/v1alpha1",
            "kind": "TerminationPolicy",
            "metadata": {"name": policy},
            "spec": spec,
        });
        let (mut compared, mut changed, mut injected) = (0, 0, 0);
        for (name, original) in manifests(&bench).await? {
            let input = folder.join("input.json");
            let items = [definition.clone(), original.clone()];
            let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
            std::fs::write(&input, list.to_string())?;
            let said = mutate(&program, &input, &["--policy", policy, "-n", &enrolled])?;
            let said = said["objects"]
                .as_array()
                .and_then(|objects| objects.last())
                .with_context(|| format!("{name}: nothing was said"))?;
            let patched = &said["patched"];
            // The original and what was said of it take the same way, but for who changes it.
            let wanted = stored(&bench, &enrolled, &original).await;
            let came = stored(&bench, &plain, &without_label(patched)).await;
            match (wanted, came) {
                (Ok(wanted), Ok(came)) => {
                    assert_eq!(
                        label(&wanted),
                        label(patched),
                        "{name} under {policy}: another label"
                    );
                    let wanted = own(without_label(&wanted));
                    let came = own(without_label(&came));
                    assert_eq!(wanted, came, "{name} under {policy}");
                    compared += 1;
                    changed += usize::from(said["operations"] != json!([]));
                    let annotations = &came["metadata"]["annotations"];
                    injected += usize::from(annotations[ANNOTATION_INJECTED].is_string());
                }
                // An author's fault is refused on both sides; a patch must not make one.
                (Err(wanted), Err(_)) => {
                    bench.progress.line(format!("{name} is refused: {wanted:#}"));
                }
                (wanted, came) => {
                    panic!("{name} under {policy}: one is refused: {wanted:?}\n{came:?}")
                }
            }
        }
        ensure!(compared >= 60, "only {compared} objects were compared under {policy}");
        ensure!(changed >= 40, "only {changed} objects were changed under {policy}");
        ensure!(injected >= 25, "only {injected} pods were injected under {policy}");
        bench.gone(&enrolled).await?;
    }
    bench.gone(&plain).await
}

/// Runs `mutate`; its document.
fn mutate(program: &Path, file: &Path, flags: &[&str]) -> Result<Value> {
    let output = Command::new(program)
        .args(["mutate", "-o", "json", "-f"])
        .arg(file)
        .args(flags)
        // Offline: nothing of a cluster is at hand.
        .env("KUBECONFIG", "/nonexistent")
        .output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "mutate -f {}: {errors}", file.display());
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// What the API server would store.
async fn stored(bench: &Bench, namespace: &str, object: &Value) -> Result<Value> {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let version = word(&object["apiVersion"]);
    let (group, version) = version.split_once('/').unwrap_or(("", &version));
    let kind = GroupVersionKind::gvk(group, version, &word(&object["kind"]));
    let resource = ApiResource::from_gvk(&kind);
    let api: Api<DynamicObject> = Api::namespaced_with(bench.client.clone(), namespace, &resource);
    let mut object = object.clone();
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("namespace");
    }
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let stored = api.create(&dry_run, &serde_json::from_value(object)?).await?;
    Ok(serde_json::to_value(stored)?)
}

/// Every object of the corpus by a name for messages: those that people wrote, pods of their templates, and
/// those that the API server sent to the webhook.
async fn manifests(bench: &Bench) -> Result<Vec<(String, Value)>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = BTreeMap::new();
    for folder in ["../manifests/examples", "corpus/manifests", "manifests"] {
        for entry in std::fs::read_dir(here.join(folder))? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "yaml") {
                continue;
            }
            // kubectl's own way from YAML to JSON.
            let file = path.to_string_lossy();
            let flags =
                ["create", "--dry-run=client", "--validate=false", "-o", "json", "-f", &file];
            let text = bench.kubectl(&flags).await?;
            for object in serde_json::Deserializer::from_str(&text).into_iter::<Value>() {
                let object = object?;
                let items = object["items"].as_array().cloned().unwrap_or_else(|| vec![object]);
                items.into_iter().for_each(|object| add(&mut found, &file, object));
            }
        }
    }
    for entry in std::fs::read_dir(here.join("corpus"))? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let review: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
        let request = &review["request"];
        let mut object = request["object"].clone();
        let of_job = object["metadata"]["ownerReferences"][0]["kind"] == "Job";
        // Owners would be looked for; what they decide is compared with the webhook's own answers.
        if request["operation"] != "CREATE" || of_job {
            continue;
        }
        strip(&mut object);
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("ownerReferences");
            metadata.insert("name".to_owned(), json!("recorded"));
        }
        found.insert(path.display().to_string(), object);
    }
    Ok(found.into_iter().collect())
}

/// Adds an object that the webhook looks at, and a pod of its template.
fn add(found: &mut BTreeMap<String, Value>, file: &str, mut object: Value) {
    let kind = object["kind"].as_str().unwrap_or_default().to_owned();
    if !["Pod", "Deployment", "StatefulSet", "DaemonSet"].contains(&&*kind) {
        return;
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("namespace");
    }
    let name = format!("{file}: {kind}/{}", object["metadata"]["name"]);
    if let Some(template) = object.pointer("/spec/template") {
        let mut metadata = template["metadata"].clone();
        metadata["name"] = json!("of-a-template");
        let spec = &template["spec"];
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec});
        found.insert(format!("{name}, its pod"), pod);
    }
    found.insert(name, object);
}

fn label(object: &Value) -> &Value {
    &object["metadata"]["labels"][POLICY_LABEL]
}

/// Without what enrols it: the webhook is not asked, so that it cannot put right what `mutate` left out.
fn without_label(object: &Value) -> Value {
    let mut object = object.clone();
    let metadata = object["metadata"].as_object_mut();
    if let Some(metadata) = metadata {
        let labels = metadata.get_mut("labels").and_then(Value::as_object_mut);
        let is_empty = labels.is_some_and(|labels| {
            labels.remove(POLICY_LABEL);
            labels.is_empty()
        });
        if is_empty {
            metadata.remove("labels");
        }
    }
    object
}

/// Takes off the metadata that the API server gives each object anew.
fn strip(object: &mut Value) {
    let Some(metadata) = object["metadata"].as_object_mut() else { return };
    for member in
        ["managedFields", "namespace", "uid", "creationTimestamp", "resourceVersion", "generation"]
    {
        metadata.remove(member);
    }
}

/// Without what the API server gives each object anew.
fn own(mut object: Value) -> Value {
    if let Some(object) = object.as_object_mut() {
        object.remove("status");
    }
    strip(&mut object);
    // The token's volume has a name of its own in each pod.
    let is_token = |value: &Value| {
        value["name"].as_str().is_some_and(|name| name.starts_with("kube-api-access-"))
    };
    let mut prune = |pointer: String| {
        if let Some(list) = object.pointer_mut(&pointer).and_then(Value::as_array_mut) {
            list.retain(|value| !is_token(value));
        }
    };
    prune("/spec/volumes".to_owned());
    // More containers than any manifest has.
    for at in 0..16 {
        for list in ["containers", "initContainers"] {
            prune(format!("/spec/{list}/{at}/volumeMounts"));
        }
    }
    object
}
