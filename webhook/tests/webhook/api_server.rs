//! A real API server takes every pod that we patch: it validates them, applies Pod Security, and says
//! which QoS class they have.
//!
//! Runs where `cargo lab test` has a cluster up, and says so where it has not. Nothing is created: the
//! requests are dry runs. The webhook need not be installed, its decision is made here.

use std::{collections::BTreeMap, time::Duration};

use crate::recorded::corpus;
use data_encoding::BASE64;
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::{
    Api, Client,
    api::{ApiResource, DeleteParams, DynamicObject, PostParams},
};
use lameduck_core::{
    inject::Settings,
    names::POLICY_LABEL,
    policy::{Hold, Policy, Until},
};
use lameduck_webhook::{
    admission::{Hook, review},
    index::Index,
};
use serde_json::{Value, json};

/// Set by `cargo lab test`.
const LAB: &str = "LAMEDUCK_LAB";

/// The pod as the webhook makes it, and what came of the review.
fn patched(body: &Value, policy: &Policy) -> (Value, &'static str) {
    let index = Index::default();
    let policies = BTreeMap::from([("default".to_owned(), policy.clone())]);
    index.reset(policies, [("shop".to_owned(), Some("default".to_owned()))]);
    let settings = Settings { hold_image: "hold:1".to_owned(), version: "1".to_owned() };
    let mut body = body.clone();
    body["request"]["namespace"] = json!("shop");
    let bytes = serde_json::to_vec(&body).unwrap();
    let reviewed = review(Hook::Pods, &bytes, &index.read(), &settings).unwrap();
    let answer: Value = serde_json::from_slice(&reviewed.body).unwrap();
    let mut pod = body["request"]["object"].take();
    if let Some(patch) = answer["response"]["patch"].as_str() {
        let patch = BASE64.decode(patch.as_bytes()).unwrap();
        let patch: json_patch::Patch = serde_json::from_slice(&patch).unwrap();
        json_patch::patch(&mut pod, &patch).unwrap();
    }
    (pod, reviewed.outcome)
}

/// Gives the author's pod what restricted Pod Security asks for, as far as that is a matter of settings.
fn restricted(body: &mut Value) {
    let spec = &mut body["request"]["object"]["spec"];
    let user = spec["securityContext"]["runAsUser"].take();
    spec["securityContext"] =
        json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}});
    if user.as_i64().is_some_and(|user| user != 0) {
        spec["securityContext"]["runAsUser"] = user;
    }
    for list in ["containers", "initContainers"] {
        for container in spec[list].as_array_mut().into_iter().flatten() {
            container["securityContext"] = json!({
                "allowPrivilegeEscalation": false,
                "capabilities": {"drop": ["ALL"]},
            });
        }
    }
}

/// A namespace for dry runs, gone at the end.
struct Scratch {
    client: Client,
    name: String,
}

impl Scratch {
    async fn new(client: &Client, level: &str) -> Self {
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let namespace = json!({"metadata": {
            "generateName": "admission-",
            "labels": {"pod-security.kubernetes.io/enforce": level, POLICY_LABEL: "none"},
        }});
        let namespace = serde_json::from_value(namespace).unwrap();
        let created = namespaces.create(&PostParams::default(), &namespace).await.unwrap();
        let scratch = Self { client: client.clone(), name: created.metadata.name.unwrap() };
        // Pods are refused until their namespace has a service account.
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &scratch.name);
        for _ in 0..300 {
            if accounts.get_opt("default").await.unwrap().is_some() {
                return scratch;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("namespace {} got no service account within 30 s", scratch.name);
    }

    /// The QoS class of the pod, or why it is refused.
    async fn dry_run(&self, pod: &Value) -> Result<String, String> {
        let mut pod = pod.clone();
        let metadata = pod["metadata"].as_object_mut().unwrap();
        for member in ["managedFields", "uid", "resourceVersion", "creationTimestamp"] {
            metadata.remove(member);
        }
        metadata.insert("namespace".to_owned(), json!(self.name));
        pod["apiVersion"] = json!("v1");
        pod["kind"] = json!("Pod");
        let kind = ApiResource::erase::<k8s_openapi::api::core::v1::Pod>(&());
        let pods: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &self.name, &kind);
        let pod = serde_json::from_value(pod).unwrap();
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        match pods.create(&dry_run, &pod).await {
            Ok(pod) => Ok(pod.data["status"]["qosClass"].as_str().unwrap().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn delete(self) {
        let namespaces: Api<Namespace> = Api::all(self.client);
        namespaces.delete(&self.name, &DeleteParams::default()).await.unwrap();
    }
}

#[tokio::test]
async fn every_patched_pod_is_accepted_and_keeps_its_qos_class() {
    if std::env::var_os(LAB).is_none() {
        eprintln!("not run: {LAB} names no cluster; `cargo lab test` has one");
        return;
    }
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let client = Client::try_default().await.unwrap();
    let open = Scratch::new(&client, "privileged").await;
    let strict = Scratch::new(&client, "restricted").await;
    let until = |until| Policy { hold: Hold { until, ..Hold::default() }, ..Policy::default() };
    let policies = [until(Until::ConnectionsClosed), until(Until::Off)];
    let mut accepted_when_strict = 0;
    for (name, body) in corpus() {
        if body["request"]["kind"]["kind"] != "Pod" {
            continue;
        }
        let mut compliant = body.clone();
        restricted(&mut compliant);
        for (scratch, body) in [(&open, &body), (&strict, &compliant)] {
            let before = scratch.dry_run(&body["request"]["object"]).await;
            for policy in &policies {
                let (pod, outcome) = patched(body, policy);
                let after = scratch.dry_run(&pod).await;
                // A pod that the API refuses anyway may be refused for a reason more.
                if before.is_ok() {
                    assert_eq!(after, before, "{name} in {}, {outcome}", scratch.name);
                }
                if outcome == "Patched" && scratch.name == strict.name && after.is_ok() {
                    accepted_when_strict += 1;
                }
            }
        }
    }
    open.delete().await;
    strict.delete().await;
    assert!(
        accepted_when_strict >= 10,
        "only {accepted_when_strict} under restricted Pod Security"
    );
}
