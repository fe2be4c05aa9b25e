//! Bad input: what it gets, that it is counted, and that the connection lives on.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::recorded::created;
use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
};
use http_body_util::BodyExt;
use lameduck_core::{inject::Settings, policy::Policy};
use lameduck_webhook::{
    admission::Hook,
    index::Index,
    metrics::Metrics,
    router::{MAX_BODY_BYTES, Reviewer, router},
    server::Server,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

const PODS: &str = "/v1/mutate/pods";
const WORKLOADS: &str = "/v1/mutate/workloads";

fn webhook() -> (Router, Arc<Metrics>) {
    let index = Index::default();
    index.reset(
        BTreeMap::from([
            ("default".to_owned(), Policy::default()),
            ("gentle".to_owned(), Policy::default()),
        ]),
        [("shop".to_owned(), Some("default".to_owned())), ("other".to_owned(), None)],
    );
    let metrics = Arc::new(Metrics::new());
    let settings = Settings { hold_image: "hold".to_owned(), version: "0".to_owned() };
    (router(Reviewer::new(index, settings, Arc::clone(&metrics))), metrics)
}

async fn post(
    router: &Router,
    path: &str,
    content_type: &str,
    body: Vec<u8>,
) -> (StatusCode, String) {
    let request = Request::post(path).header("content-type", content_type).body(Body::from(body));
    let response = router.clone().oneshot(request.unwrap()).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

async fn review(router: &Router, path: &str, body: &Value) -> Value {
    let body = serde_json::to_vec(body).unwrap();
    let (status, body) = post(router, path, "application/json", body).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(answer["response"]["allowed"], true);
    answer["response"].clone()
}

#[tokio::test]
async fn what_is_no_review_gets_a_status_and_is_counted() {
    let (router, metrics) = webhook();
    let rows: [(&str, Vec<u8>, u16); 9] = [
        ("application/json", b"hello".to_vec(), 400),
        ("application/json", b"".to_vec(), 400),
        ("application/json", b"{}".to_vec(), 400),
        ("application/json", b"[]".to_vec(), 400),
        ("application/json", br#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1"}"#.to_vec(), 400),
        (
            "application/json",
            br#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1beta1","request":{"uid":"1"}}"#.to_vec(),
            400,
        ),
        ("application/json", vec![b'['; 100_000], 400),
        ("text/plain", serde_json::to_vec(&created("Pod", "plain")).unwrap(), 415),
        ("application/json", vec![b' '; MAX_BODY_BYTES + 1], 413),
    ];
    for (content_type, body, expected) in rows {
        let before = metrics.rejected_count(expected);
        let start = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
        for path in [PODS, WORKLOADS] {
            let (status, message) = post(&router, path, content_type, body.clone()).await;
            assert_eq!(status.as_u16(), expected, "{start}: {message}");
            assert!(!message.trim().is_empty());
        }
        assert_eq!(metrics.rejected_count(expected), before + 2);
    }
}

#[tokio::test]
async fn an_object_that_cannot_be_understood_is_allowed_and_the_warning_names_the_field() {
    let (router, metrics) = webhook();
    let rows: [(&str, &str, &str, Value, &str); 6] = [
        (PODS, "Pod", "/spec/containers/0/ports", json!("8080"), "object.spec.containers[0].ports"),
        (
            PODS,
            "Pod",
            "/spec/terminationGracePeriodSeconds",
            json!("30"),
            "object.spec.terminationGracePeriodSeconds",
        ),
        (PODS, "Pod", "/metadata/labels", json!("a"), "object.metadata.labels"),
        (PODS, "Pod", "/spec", json!(7), "object.spec"),
        (WORKLOADS, "Deployment", "/spec/replicas", json!("3"), "object.spec.replicas"),
        (WORKLOADS, "Deployment", "/spec/template", json!([1]), "object.spec.template"),
    ];
    for (path, kind, pointer, value, field) in rows {
        let mut body = created(kind, "plain");
        *body["request"]["object"].pointer_mut(pointer).unwrap() = value;
        let response = review(&router, path, &body).await;
        assert_eq!(response["patch"], Value::Null);
        assert_eq!(response["uid"], body["request"]["uid"]);
        let warning = response["warnings"][0].as_str().unwrap();
        assert!(warning.contains(field), "{warning}");
        assert!(warning.chars().count() <= 256, "{warning}");
    }
    assert_eq!(metrics.reviewed_count(Hook::Pods, "Unreadable"), 4);
    assert_eq!(metrics.reviewed_count(Hook::Workloads, "Unreadable"), 2);
}

#[tokio::test]
async fn null_and_unknown_members_are_harmless() {
    let (router, _) = webhook();
    let mut body = created("Pod", "plain");
    let plain = review(&router, PODS, &body).await;
    let pod = &mut body["request"]["object"];
    pod["spec"]["newMember"] = json!({"deep": [1, 2, {"er": null}]});
    pod["metadata"]["annotations"] = Value::Null;
    pod["metadata"]["finalizers"] = Value::Null;
    pod["spec"]["initContainers"] = Value::Null;
    pod["spec"]["containers"][0]["lifecycle"] = Value::Null;
    pod["spec"]["containers"][0]["readinessProbe"] = Value::Null;
    assert_eq!(review(&router, PODS, &body).await["patch"], plain["patch"]);
}

#[tokio::test]
async fn a_label_that_names_no_policy_is_told_with_the_policies_that_exist() {
    let (router, _) = webhook();
    let mut body = created("Pod", "plain");
    body["request"]["object"]["metadata"]["labels"]["lameduck.dev/policy"] = json!("defualt");
    let response = review(&router, PODS, &body).await;
    assert_eq!(response["patch"], Value::Null);
    assert_eq!(
        response["warnings"],
        json!(["pod shop/plain-5475798bb7- is not protected: label lameduck.dev/policy=defualt names no \
                TerminationPolicy; existing: default, gentle"
            .replace("plain-5475798bb7-", body["request"]["object"]["metadata"]["generateName"].as_str().unwrap())])
    );
}

#[tokio::test]
async fn who_is_not_enrolled_is_left_alone() {
    let (router, metrics) = webhook();
    let mut body = created("Pod", "plain");
    body["request"]["namespace"] = json!("other");
    assert_eq!(review(&router, PODS, &body).await["patch"], Value::Null);
    assert_eq!(metrics.reviewed_count(Hook::Pods, "NotEnrolled"), 1);
    body["request"]["namespace"] = json!("never-seen");
    let response = review(&router, PODS, &body).await;
    assert!(response["warnings"][0].as_str().unwrap().contains("never-seen"));
    assert_eq!(metrics.reviewed_count(Hook::Pods, "UnknownNamespace"), 1);
    // A hook that is configured for the wrong kind says so.
    let response = review(&router, WORKLOADS, &created("Pod", "plain")).await;
    assert!(response["warnings"][0].as_str().unwrap().contains("Pod"));
}

/// Sends one request over a raw connection, and reads the status of its answer.
async fn exchange(stream: &mut TcpStream, content_type: &str, body: &[u8]) -> u16 {
    let head = format!(
        "POST {PODS} HTTP/1.1\r\nhost: a\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut answer = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&answer);
        if let Some((head, rest)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if rest.len() >= length.unwrap().parse::<usize>().unwrap() {
                return head.split(' ').nth(1).unwrap().parse().unwrap();
            }
        }
        let mut buffer = [0; 4096];
        let bytes = stream.read(&mut buffer).await.unwrap();
        assert!(
            bytes > 0,
            "the connection was closed after {:?}",
            String::from_utf8_lossy(&answer)
        );
        answer.extend_from_slice(&buffer[..bytes]);
    }
}

#[tokio::test]
async fn the_connection_lives_on_after_bad_input_and_ends_with_the_server() {
    let (router, metrics) = webhook();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let server =
        Server { tls: None, router, max_connections: 1, metrics: Some(Arc::clone(&metrics)) };
    let running = tokio::spawn(server.run(listener, stop.clone(), Duration::from_secs(5)));

    let mut stream = TcpStream::connect(address).await.unwrap();
    let good = serde_json::to_vec(&created("Pod", "plain")).unwrap();
    let json = "application/json";
    assert_eq!(exchange(&mut stream, json, &good).await, 200);
    assert_eq!(exchange(&mut stream, json, b"{").await, 400);
    assert_eq!(exchange(&mut stream, "text/plain", &good).await, 415);
    assert_eq!(exchange(&mut stream, json, &vec![b' '; MAX_BODY_BYTES + 1]).await, 413);
    assert_eq!(exchange(&mut stream, json, &good).await, 200);
    assert_eq!(metrics.connections.get(), 1);

    // One connection is the cap of this server: the next one is closed without an answer.
    let mut refused = TcpStream::connect(address).await.unwrap();
    assert_eq!(refused.read(&mut [0; 1]).await.unwrap_or(0), 0);
    assert_eq!(metrics.connections_refused.get(), 1);

    // A stop ends the idle connection, and then the server.
    stop.cancel();
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
    running.await.unwrap();
    assert_eq!(metrics.connections.get(), 0);
}
