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
use lameduck_lab::clb::process::{Admin, ClbStandIn};
use lameduck_lab::cluster::Cluster;
use lameduck_lab::lb::configuration::Sides;
use lameduck_lab::lb::haproxy::{HaProxy, Side};
use lameduck_lab::suite::LAB_VARIABLE;
use serde_json::json;

const NAMESPACE: &str = "clb-stand-in";
/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// Two pods behind one port of a load balancer, which wait for the readiness gate.
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
    side: Side,
}

impl Bench {
    /// The weights of API and data plane, which must come to be these.
    async fn wait_for(&self, what: &str, ip: &str, expected: &[u32]) {
        let end = Instant::now() + PATIENCE;
        loop {
            let weights = self.admin.weights(ip).await.unwrap();
            let servers = self.side.servers().await.unwrap();
            let forwarded: Vec<u32> = servers
                .iter()
                .filter(|server| server.address.ip().to_string() == ip && !server.maintenance)
                .map(|server| server.weight)
                .collect();
            if weights == expected && forwarded == expected {
                return;
            }
            assert!(Instant::now() < end, "{what}: {weights:?} with {servers:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
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

#[tokio::test(flavor = "multi_thread")]
async fn pods_become_targets_and_haproxy_follows() {
    if std::env::var_os(LAB_VARIABLE).is_none() {
        eprintln!("skipped: `cargo lab test` runs this test");
        return;
    }
    let cluster = Cluster::attach().await.unwrap().expect("the lab is up");
    let balancer = HaProxy::start(
        |arguments| cluster.enter("haproxy", arguments),
        &cluster.run_directory().join("clb-test"),
        cluster.lb_address().into(),
        Sides { layer_4: 1, layer_7: 1 },
    )
    .await
    .unwrap();
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_lab"));
    let stand_in = ClbStandIn::start(&cluster, program, balancer.socket()).await.unwrap();
    let admin = stand_in.admin();
    let side = balancer.side(0).unwrap();
    let listener = json!({"id": "lbl-1", "protocol": "TCP", "port": 80, "side": side.number()});
    let made = json!([{"id": "lb-test", "listeners": [listener]}]);
    admin.set("load-balancers", &made).await.unwrap();
    admin.set("tke", &json!({"lagMillis": 500, "syncMillis": 1000})).await.unwrap();
    cluster.apply(None, &objects()).await.unwrap();
    let bench = Bench { client: cluster.client().await.unwrap(), admin, side };

    // Ready at all: the gate was opened, because both are bound.
    let ip = bench.ready("web-0").await;
    bench.ready("web-1").await;
    bench.wait_for("bound", &ip, &[10]).await;

    let annotation = |value: Option<&str>| {
        let key = "service.cloud.tencent.com/custom-weight";
        Patch::Merge(json!({"metadata": {"annotations": {key: value}}}))
    };
    let parameters = PatchParams::default();
    bench.pods().patch("web-0", &parameters, &annotation(Some("0"))).await.unwrap();
    bench.wait_for("custom-weight", &ip, &[0]).await;
    bench.pods().patch("web-0", &parameters, &annotation(None)).await.unwrap();
    bench.wait_for("without custom-weight", &ip, &[10]).await;

    let ended = DeleteParams::default().grace_period(0);
    bench.pods().delete("web-0", &ended).await.unwrap();
    bench.wait_for("gone", &ip, &[]).await;
    let next = bench.ready("web-0").await;
    bench.wait_for("its successor", &next, &[10]).await;

    let mut delete = cluster.kubectl(["delete", "namespace", NAMESPACE, "--wait=false"]);
    assert!(delete.status().await.unwrap().success());
}
