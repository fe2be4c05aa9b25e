//! The pod that a workload's controller makes of its template.

use serde_json::{Map, Value, json};

/// A kind with a pod template.
pub(super) struct Templated {
    /// Where the template is.
    pub(super) template: &'static str,
    /// The kind that owns the pods.
    owner: &'static str,
}

/// How the pods of this kind are made; none for a kind that makes none.
pub(super) fn templated(version: &str, kind: &str) -> Option<Templated> {
    const TEMPLATE: &str = "/spec/template";
    let (template, owner) = match (version, kind) {
        ("apps/v1", "Deployment" | "ReplicaSet") => (TEMPLATE, "ReplicaSet"),
        ("apps/v1", "StatefulSet") => (TEMPLATE, "StatefulSet"),
        ("apps/v1", "DaemonSet") => (TEMPLATE, "DaemonSet"),
        ("batch/v1", "Job") => (TEMPLATE, "Job"),
        ("batch/v1", "CronJob") => ("/spec/jobTemplate/spec/template", "Job"),
        _ => return None,
    };
    Some(Templated { template, owner })
}

impl Templated {
    /// A pod of `workload`, as far as it is known before there is one; none where it has no template.
    pub(super) fn pod(&self, workload: &Value, namespace: &str) -> Option<Value> {
        let template = workload.pointer(self.template)?;
        let mut metadata = Map::new();
        for member in ["labels", "annotations", "finalizers"] {
            if let Some(value) = template["metadata"].get(member).filter(|value| !value.is_null()) {
                metadata.insert(member.to_owned(), value.clone());
            }
        }
        metadata.insert("namespace".to_owned(), namespace.into());
        let mut spec = template.get("spec")?.clone();
        let name = workload["metadata"]["name"].as_str().unwrap_or_default();
        if self.owner == "StatefulSet" {
            let first =
                workload.pointer("/spec/ordinals/start").and_then(Value::as_i64).unwrap_or(0);
            let pod = format!("{name}-{first}");
            claims(&mut spec, &workload["spec"]["volumeClaimTemplates"], &pod);
            metadata.insert("name".to_owned(), pod.into());
        } else if !name.is_empty() {
            metadata.insert("generateName".to_owned(), format!("{name}-").into());
        }
        Some(json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}))
    }

    /// The same pod as the API server gets it: with its owner, which decides about pods of Jobs.
    pub(super) fn owned(&self, pod: &Value) -> Value {
        let mut pod = pod.clone();
        pod["metadata"]["ownerReferences"] = json!([{"kind": self.owner, "controller": true}]);
        pod
    }
}

/// The volumes that a StatefulSet adds, in place of those with the same names.
fn claims(spec: &mut Value, templates: &Value, pod: &str) {
    let names = templates.as_array().into_iter().flatten();
    let names: Vec<&str> =
        names.filter_map(|template| template["metadata"]["name"].as_str()).collect();
    let Some(spec) = spec.as_object_mut().filter(|_| !names.is_empty()) else { return };
    let mut volumes = match spec.remove("volumes") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(volumes)) => volumes,
        // Not a list: said when the pod is read.
        Some(other) => {
            spec.insert("volumes".to_owned(), other);
            return;
        }
    };
    volumes.retain(|volume| !volume["name"].as_str().is_some_and(|name| names.contains(&name)));
    let claimed = names.iter().map(|name| {
        json!({"name": name, "persistentVolumeClaim": {"claimName": format!("{name}-{pod}")}})
    });
    let volumes: Vec<Value> = claimed.chain(volumes).collect();
    spec.insert("volumes".to_owned(), Value::Array(volumes));
}
