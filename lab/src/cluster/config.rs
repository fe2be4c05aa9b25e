//! The daemons' configuration: plain functions that give texts and arguments.

use std::path::Path;

use serde_json::{Value, json};

use super::plan::{self, CLUSTER_CIDR, DNS_SERVICE, NODE_A, Node, SERVICE_CIDR};
use super::run_directory::RunDirectory;

/// Where etcd listens for the API server, inside the first node.
const ETCD: &str = "http://127.0.0.1:2379";

/// etcd's arguments. The data is as short-lived as the lab, so it is never synced.
pub(super) fn etcd(run: &RunDirectory) -> Vec<String> {
    vec![
        format!("--data-dir={}", run.etcd().display()),
        format!("--listen-client-urls={ETCD}"),
        format!("--advertise-client-urls={ETCD}"),
        "--listen-peer-urls=http://127.0.0.1:2380".into(),
        "--unsafe-no-fsync=true".into(),
    ]
}

/// The API server's arguments. Everything that a scenario could notice is left at its default.
pub(super) fn api_server(run: &RunDirectory) -> Vec<String> {
    let pki = |file: &str| run.pki(file).display().to_string();
    vec![
        format!("--etcd-servers={ETCD}"),
        format!("--advertise-address={}", NODE_A.address),
        format!("--secure-port={}", plan::API_PORT),
        format!("--tls-cert-file={}", pki("apiserver.crt")),
        format!("--tls-private-key-file={}", pki("apiserver.key")),
        format!("--client-ca-file={}", pki("ca.crt")),
        format!("--kubelet-client-certificate={}", pki("admin.crt")),
        format!("--kubelet-client-key={}", pki("admin.key")),
        format!("--kubelet-certificate-authority={}", pki("ca.crt")),
        "--kubelet-preferred-address-types=InternalIP".into(),
        "--service-account-issuer=https://kubernetes.default.svc".into(),
        format!("--service-account-key-file={}", pki("service-accounts.pub")),
        format!("--service-account-signing-key-file={}", pki("service-accounts.key")),
        format!("--service-cluster-ip-range={SERVICE_CIDR}"),
        "--authorization-mode=Node,RBAC".into(),
        "--allow-privileged".into(),
        "--enable-admission-plugins=NodeRestriction".into(),
    ]
}

/// The controller manager's arguments.
pub(super) fn controller_manager(run: &RunDirectory) -> Vec<String> {
    let pki = |file: &str| run.pki(file).display().to_string();
    let mut arguments = own_kubeconfig(run, "controller-manager");
    arguments.extend([
        format!("--service-account-private-key-file={}", pki("service-accounts.key")),
        format!("--root-ca-file={}", pki("ca.crt")),
        format!("--cluster-signing-cert-file={}", pki("ca.crt")),
        format!("--cluster-signing-key-file={}", pki("ca.key")),
        "--use-service-account-credentials".into(),
    ]);
    arguments
}

/// The scheduler's arguments.
pub(super) fn scheduler(run: &RunDirectory) -> Vec<String> {
    own_kubeconfig(run, "scheduler")
}

fn own_kubeconfig(run: &RunDirectory, user: &str) -> Vec<String> {
    let path = run.pki(&format!("{user}.kubeconfig"));
    let mut arguments: Vec<String> =
        ["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"]
            .iter()
            .map(|flag| format!("--{flag}={}", path.display()))
            .collect();
    // There is one of each: an election would cost seconds and prove nothing.
    arguments.push("--leader-elect=false".into());
    arguments
}

/// A kubeconfig for `user`, as JSON, which is YAML too. It names its files, so it is good on this machine only.
pub(super) fn kubeconfig(run: &RunDirectory, server: &str, user: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "lab", "cluster": {"server": server, "certificate-authority": run.pki("ca.crt")}}],
        "users": [{"name": user, "user": {
            "client-certificate": run.pki(&format!("{user}.crt")),
            "client-key": run.pki(&format!("{user}.key")),
        }}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": user}}],
        "current-context": "lab",
    })
}

/// The pod network of `node`: one bridge, whose hosts reach each other by plain routes.
pub(super) fn pod_network(run: &RunDirectory, node: &Node) -> Value {
    json!({"cniVersion": "0.4.0", "name": "lab", "plugins": [
        {
            "type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
            "ipam": {
                "type": "host-local", "ranges": [[{"subnet": node.pods}]], "routes": [{"dst": "0.0.0.0/0"}],
                "dataDir": run.node(node).join("addresses"),
            },
        },
        {"type": "loopback"},
    ]})
}

/// containerd's configuration for `node`.
pub(super) fn containerd(
    run: &RunDirectory,
    node: &Node,
    plugins: &Path,
    pause_image: &str,
) -> String {
    let directory = run.node(node);
    let directory = directory.display();
    format!(
        r#"version = 2
root = "{directory}/containerd/root"
state = "{directory}/containerd/state"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing"]
[grpc]
  address = "{socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{directory}/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause_image}"
  # Inside a container there is often no right to lower an OOM score.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "{directory}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
"#,
        socket = run.containerd_socket(node.name).display(),
        plugins = plugins.display(),
    )
}

/// The kubelet's configuration for `node`.
///
/// Pods get no cgroup of their own and no limits, because a lab must run in a
/// container whose cgroups it cannot shape; disk is never a reason to evict.
pub(super) fn kubelet(run: &RunDirectory, node: &Node) -> Value {
    let pki = |file: String| run.pki(&file);
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": format!("unix://{}", run.containerd_socket(node.name).display()),
        "cgroupDriver": "cgroupfs",
        "cgroupsPerQOS": false,
        "enforceNodeAllocatable": [],
        "failSwapOn": false,
        "failCgroupV1": false,
        "evictionHard": {},
        "localStorageCapacityIsolation": false,
        "makeIPTablesUtilChains": false,
        "clusterDNS": [DNS_SERVICE],
        "clusterDomain": "cluster.local",
        "resolvConf": "",
        "authentication": {"x509": {"clientCAFile": run.pki("ca.crt")}, "anonymous": {"enabled": false}},
        "tlsCertFile": pki(format!("{}.crt", node.name)),
        "tlsPrivateKeyFile": pki(format!("{}.key", node.name)),
        // Images are imported, not pulled: one that is cleared away is gone.
        "imageMinimumGCAge": "9999h",
        "imageGCHighThresholdPercent": 100,
        "maxPods": 250,
        "podLogsDir": run.node(node).join("pod-logs"),
        "volumePluginDir": run.node(node).join("volume-plugins"),
    })
}

/// The kubelet's arguments for `node`.
pub(super) fn kubelet_arguments(run: &RunDirectory, node: &Node) -> Vec<String> {
    let directory = run.node(node);
    vec![
        format!("--config={}", directory.join("kubelet.json").display()),
        format!("--kubeconfig={}", run.pki(&format!("{}.kubeconfig", node.name)).display()),
        format!("--hostname-override={}", node.name),
        format!("--node-ip={}", node.address),
        format!("--root-dir={}", directory.join("kubelet").display()),
    ]
}

/// kube-proxy's configuration for `node`. It leaves the machine's connection tracking table as it is.
pub(super) fn proxy(run: &RunDirectory, node: &Node) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": run.pki("proxy.kubeconfig")},
        "mode": "nftables",
        "clusterCIDR": CLUSTER_CIDR,
        "hostnameOverride": node.name,
        "conntrack": {"maxPerCore": 0, "min": 0},
        "metricsBindAddress": "127.0.0.1:10249",
    })
}
