//! The stand-ins of CLB and TKE on a real cluster: pods become targets, and the data plane follows.
//!
//! Runs where `cargo lab test` runs it, and says so where it does not.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test, its helpers too"
)]

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, Client};
use lameduck_lab::clb::model::LoadBalancer;
use lameduck_lab::clb::process::Admin;
use lameduck_lab::cluster::Cluster;
use lameduck_lab::lb::haproxy::Side;
use lameduck_lab::scenario::Stage;
use lameduck_lab::suite::LAB_VARIABLE;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const NAMESPACE: &str = "clb-stand-in";
/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// Two pods behind a listener of layer 4 and a rule of layer 7, which wait for the readiness gate.
fn objects() -> String {
    json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "web", "namespace": NAMESPACE, "annotations": {
                "service.cloud.tencent.com/direct-access": "true",
                "service.kubernetes.io/loadbalance-id": "lb-test",
            }},
            "spec": {"type": "LoadBalancer", "selector": {"app": "web"},
                     "ports": [{"port": 80, "targetPort": 8080}]},
        },
        {
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": {"name": "web", "namespace": NAMESPACE, "annotations": {
                "ingress.cloud.tencent.com/direct-access": "true",
                "kubernetes.io/ingress.qcloud-loadbalance-id": "lb-seven",
            }},
            "spec": {"rules": [{"host": "shop.example", "http": {"paths": [{
                "path": "/", "pathType": "Prefix",
                "backend": {"service": {"name": "web", "port": {"number": 80}}},
            }]}}]},
        },
        {
            "apiVersion": "apps/v1", "kind": "StatefulSet",
            "metadata": {"name": "web", "namespace": NAMESPACE},
            "spec": {
                "replicas": 2, "serviceName": "web", "podManagementPolicy": "Parallel",
                "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {
                        "readinessGates": [
                            {"conditionType": "cloud.tencent.com/load-balancer-backendgroup-ready"},
                        ],
                        "containers": [{
                            "name": "nginx", "image": "docker.io/lab/nginx:1",
                            "imagePullPolicy": "IfNotPresent",
                            "ports": [{"name": "http", "containerPort": 8080}],
                            "readinessProbe":
                                {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 1},
                        }],
                    },
                },
            },
        },
    ]})
    .to_string()
}

struct Bench {
    client: Client,
    admin: Admin,
    /// Of layer 4, of layer 7.
    sides: [Side; 2],
}

impl Bench {
    /// Waits until listener, rule and both sides of the data plane have the target with this weight; or
    /// do not have it.
    async fn wait_for(&self, what: &str, ip: &str, weight: Option<u32>) {
        let end = Instant::now() + PATIENCE;
        let expected: Vec<u32> = weight.into_iter().collect();
        loop {
            let rows = self.admin.weights(ip).await.unwrap();
            let mut seen = vec![rows];
            for side in &self.sides {
                let servers = side.servers().await.unwrap();
                let ours = servers
                    .iter()
                    .filter(|server| server.address.ip().to_string() == ip && !server.maintenance);
                seen.push(ours.map(|server| server.weight).collect());
            }
            if seen[0] == expected.repeat(2) && seen[1..].iter().all(|one| *one == expected) {
                return;
            }
            assert!(Instant::now() < end, "{what}: {seen:?} and not {expected:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Sets or takes away the pod's own weight.
    async fn weigh(&self, pod: &str, weight: Option<&str>) {
        let annotations = json!({
            "service.cloud.tencent.com/custom-weight": weight,
            "ingress.cloud.tencent.com/custom-weight": weight,
        });
        let patch = Patch::Merge(json!({"metadata": {"annotations": annotations}}));
        self.pods().patch(pod, &PatchParams::default(), &patch).await.unwrap();
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// The address of the pod, once it is ready.
    async fn ready(&self, name: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let pod = self.pods().get_opt(name).await.unwrap();
            let status = pod.and_then(|pod| pod.status).unwrap_or_default();
            let mut conditions = status.conditions.iter().flatten();
            if conditions.any(|one| one.type_ == "Ready" && one.status == "True") {
                return status.pod_ip.unwrap();
            }
            assert!(Instant::now() < end, "{name} is not ready: {status:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// A connection that is kept.
struct Kept(TcpStream);

impl Kept {
    async fn open(side: &Side) -> Self {
        Self(TcpStream::connect(side.address()).await.unwrap())
    }

    /// The name of the pod that answers.
    async fn ask(&mut self) -> String {
        self.0.write_all(b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&answer);
            if let Some((_, body)) = text.split_once("\r\n\r\n")
                && let Some((line, _)) = body.split_once('\n')
            {
                return line.trim().to_owned();
            }
            let count = self.0.read_buf(&mut answer).await.unwrap();
            assert!(count > 0, "the connection was cut");
        }
    }

    /// One that goes to `pod`.
    async fn to(side: &Side, pod: &str) -> Self {
        for _ in 0..100 {
            let mut kept = Self::open(side).await;
            if kept.ask().await == pod {
                return kept;
            }
        }
        panic!("no connection in a hundred goes to {pod}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_become_targets_and_haproxy_follows() {
    if std::env::var_os(LAB_VARIABLE).is_none() {
        eprintln!("skipped: `cargo lab test` runs this test");
        return;
    }
    let cluster = Cluster::attach().await.unwrap().expect("the lab is up");
    let stage = Stage::open(&cluster).await.unwrap();
    let stand_in = stage.start_clb().await.unwrap();
    let admin = stand_in.admin();
    let sides = [stage.side().unwrap(), stage.layer_7_side().unwrap()];
    let made = [
        LoadBalancer::new("lb-test").tcp(80, Some(sides[0].number())),
        LoadBalancer::new("lb-seven").http(80, &[("shop.example", "/", Some(sides[1].number()))]),
    ];
    admin.set("load-balancers", &made).await.unwrap();
    let tke = json!({"lagMillis": 500, "loadBalancers": {"lb-seven": 1500}, "syncMillis": 1000});
    admin.set("tke", &tke).await.unwrap();
    cluster.apply(None, &objects()).await.unwrap();
    let bench = Bench { client: cluster.client().await.unwrap(), admin, sides };

    // Ready at all: the gate was opened, because both are bound.
    let ip = bench.ready("web-0").await;
    let other = bench.ready("web-1").await;
    bench.wait_for("bound", &ip, Some(10)).await;
    bench.wait_for("bound", &other, Some(10)).await;

    let [layer_4, layer_7] = &bench.sides;
    let mut connection = Kept::to(layer_4, "web-0").await;
    let mut requests = Kept::to(layer_7, "web-0").await;
    bench.weigh("web-0", Some("0")).await;
    bench.wait_for("custom-weight", &ip, Some(0)).await;
    for _ in 0..10 {
        assert_eq!(connection.ask().await, "web-0", "layer 4: the connection stays");
        assert_eq!(requests.ask().await, "web-1", "layer 7: the next request goes elsewhere");
        for side in &bench.sides {
            assert_eq!(Kept::open(side).await.ask().await, "web-1", "nothing new comes");
        }
    }
    bench.weigh("web-0", None).await;
    bench.wait_for("without custom-weight", &ip, Some(10)).await;
    Kept::to(layer_4, "web-0").await;

    let at_once = DeleteParams::default().grace_period(0);
    bench.pods().delete("web-0", &at_once).await.unwrap();
    bench.wait_for("gone", &ip, None).await;
    let next = bench.ready("web-0").await;
    bench.wait_for("its successor", &next, Some(10)).await;

    let mut delete = cluster.kubectl(["delete", "namespace", NAMESPACE, "--timeout=90s"]);
    assert!(delete.status().await.unwrap().success());
}
