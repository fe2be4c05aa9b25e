//! Tests of the reader, on an API that says what a test wants, in time that stands still.

use std::collections::BTreeMap;
use std::sync::Mutex;

use jiff::Timestamp;
use lameduck_clb::{BoundLoadBalancer, Failure, Gap, GapKind, Listener, Target, Weight};
use lameduck_core::drain::decide;
use lameduck_core::policy::{Policy, TrafficOff};
use serde_json::json;

use super::*;
use crate::index::Kind;
use crate::testing::{deleted, pod};

/// Weight per load balancer, None for one that does not answer; and which one a look-up finds.
#[derive(Default)]
struct World {
    weights: BTreeMap<String, Option<u8>>,
    found: Vec<String>,
    /// The region of those that a look-up finds.
    region: Option<String>,
    /// A part of each look-up's answer cannot be read.
    gap: bool,
    reads: Vec<String>,
    look_ups: Vec<usize>,
}

#[derive(Clone, Default)]
struct Fake(Arc<Mutex<World>>);

impl Fake {
    fn set(&self, id: &str, weight: Option<u8>) {
        self.0.lock().unwrap().weights.insert(id.to_owned(), weight);
    }

    /// How many addresses each look-up asked about.
    fn look_ups(&self) -> Vec<usize> {
        std::mem::take(&mut self.0.lock().unwrap().look_ups)
    }

    fn reads(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().reads)
    }
}

fn listeners(weight: u8) -> Listeners {
    let target = Target {
        backend_type: None,
        instance_id: None,
        eni_id: None,
        private_ips: vec!["10.0.0.7".parse().unwrap()],
        port: 8080,
        weight: Weight::Known(weight),
        registered_time: None,
    };
    let listener = Listener {
        listener_id: "lbl-1".into(),
        protocol: Some("TCP".into()),
        port: Some(80),
        end_port: None,
        targets: Some(vec![target]),
        rules: None,
    };
    Listeners { listeners: vec![listener], gaps: vec![] }
}

impl Api for Fake {
    async fn targets(&self, id: &str, region: Option<&str>) -> Result<Listeners, Error> {
        let mut world = self.0.lock().unwrap();
        world
            .reads
            .push(region.map_or_else(|| id.to_owned(), |region| format!("{id} in {region}")));
        world.weights.get(id).copied().flatten().map(listeners).ok_or_else(|| Error {
            action: "DescribeTargets",
            region: "ap-lab".into(),
            tries: 5,
            failure: Failure::NoAnswer { waited: Duration::from_secs(10) },
        })
    }

    async fn health(&self, _: &str, _: Option<&str>) -> Result<Health, Error> {
        panic!("the proof for a pod that ends is its weights")
    }

    async fn bindings(&self, backends: &[VpcAddress]) -> Result<Bindings, Error> {
        let mut world = self.0.lock().unwrap();
        world.look_ups.push(backends.len());
        let load_balancers = world.found.iter().map(|id| BoundLoadBalancer {
            load_balancer_id: id.clone(),
            vip: None,
            region: world.region.clone(),
            listeners: listeners(10),
        });
        let load_balancers = load_balancers.collect();
        let gap = Gap {
            kind: GapKind::Unreadable,
            detail: "LoadBalancers[0] has no id".into(),
            listener_id: None,
            location_id: None,
        };
        Ok(Bindings { load_balancers, gaps: Vec::from_iter(world.gap.then_some(gap)) })
    }
}

/// The wall clock of a world whose time stands still.
fn now() -> Timestamp {
    // Each test has a thread, and a time, of its own.
    thread_local! { static BEGAN: Instant = Instant::now(); }
    let since = BEGAN.with(Instant::elapsed);
    Timestamp::from_second(1_767_225_600).unwrap() + jiff::SignedDuration::try_from(since).unwrap()
}

/// Pods that end behind the Service `web` with the load balancer lb-1.
fn index(pods: usize, look_up: bool) -> SharedIndex {
    let index = SharedIndex::default();
    index.with(|index| {
        for kind in Kind::ALL {
            index.watch_synced(kind, Instant::now());
        }
        let service = json!({
            "metadata": { "namespace": "shop", "name": "web", "annotations": {
                "service.kubernetes.io/loadbalance-id": "lb-1",
                "service.cloud.tencent.com/direct-access": "true",
            } },
            "spec": { "type": "LoadBalancer", "selector": { "app": "web" } },
        });
        index.apply_service(&serde_json::from_value(service).unwrap());
        for number in 0..pods {
            let pod = deleted(pod(&format!("web-{number}")), now());
            index.apply_pod(serde_json::from_value(pod).unwrap());
        }
        index.read_clbs(look_up);
        let traffic_off = TrafficOff { settle_seconds: 0, ..TrafficOff::default() };
        index.apply_policy("default", Policy { traffic_off, ..Policy::default() });
    });
    index
}

fn start(index: &SharedIndex, api: &Fake, look_up: bool) -> CancellationToken {
    start_led(index, api, look_up, Duration::from_secs(1_000_000))
}

/// As [`start`], by a leader for so long.
fn start_led(index: &SharedIndex, api: &Fake, look_up: bool, leads: Duration) -> CancellationToken {
    let leadership = Leadership::default();
    leadership.hold_until(leads);
    let reader = Reader {
        index: index.clone(),
        api: api.clone(),
        vpc_id: look_up.then(|| "vpc-1".to_owned()),
        metrics: Metrics::new(leadership.clone()),
        leadership,
        clock: Arc::new(now),
    };
    let stop = CancellationToken::new();
    tokio::spawn(reader.run(stop.clone()));
    stop
}

/// Reason of the verdict on the first pod.
fn says(index: &SharedIndex) -> String {
    index.with(|index| {
        let key = PodKey::new("shop", "web-0");
        let (pod, endpoints) = index.facts(&key, Instant::now()).unwrap();
        let traffic = decide(&pod, &endpoints, now()).traffic;
        format!("{}: {}", traffic.reason().as_str(), traffic.message())
    })
}

#[tokio::test(start_paused = true)]
async fn a_load_balancer_is_read_once_for_all_pods_and_less_often_while_nothing_changes() {
    let (index, api) = (index(50, false), Fake::default());
    api.set("lb-1", Some(10));
    let stop = start(&index, &api, false);
    sleep(Duration::from_secs(60)).await;
    let reads = api.reads().len();
    assert!((12..=20).contains(&reads), "{reads} reads in 60 s for 50 pods");
    assert!(says(&index).starts_with("ClbWeightNotZero: CLB lb-1 still sends"), "{}", says(&index));
    // What has been read goes with the pod.
    index.with(|index| {
        for number in 0..50 {
            index.delete_pod(&PodKey::new("shop", &format!("web-{number}")));
        }
    });
    sleep(Duration::from_secs(10)).await;
    api.reads();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(api.reads(), Vec::<String>::new(), "nothing drains");
    stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_delays_no_other_and_says_why() {
    let (index, api) = (index(1, true), Fake::default());
    api.set("lb-1", Some(10));
    api.set("lb-2", None);
    api.0.lock().unwrap().found = vec!["lb-2".into()];
    let stop = start(&index, &api, true);
    sleep(Duration::from_secs(30)).await;
    let reads = api.reads();
    let of = |id: &str| reads.iter().filter(|read| *read == id).count();
    assert!(of("lb-1") >= 6 && of("lb-2") >= 6, "{reads:?}");
    assert_eq!(api.0.lock().unwrap().look_ups, [1], "once per drain");
    assert!(says(&index).starts_with("ClbWeightNotZero: CLB lb-1"), "{}", says(&index));
    api.set("lb-1", Some(0));
    sleep(Duration::from_secs(12)).await;
    let why = "ClbUnknown: CLB lb-2: DescribeTargets in ap-lab failed after 5 tries: no answer";
    assert!(says(&index).starts_with(why), "{}", says(&index));
    stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn a_service_in_node_port_mode_and_a_policy_of_endpoint_slices_are_not_read() {
    let (index, api) = (index(1, false), Fake::default());
    index.with(|index| {
        let service = json!({
            "metadata": { "namespace": "shop", "name": "web", "annotations": {
                "service.kubernetes.io/loadbalance-id": "lb-1",
            } },
            "spec": { "type": "LoadBalancer", "selector": { "app": "web" } },
        });
        index.apply_service(&serde_json::from_value(service).unwrap());
    });
    let stop = start(&index, &api, false);
    sleep(Duration::from_secs(20)).await;
    assert_eq!(api.reads(), Vec::<String>::new());
    let why = "Service shop/web sends through ports of nodes";
    assert!(says(&index).contains(why), "{}", says(&index));
    stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_never_had_an_address_is_behind_no_load_balancer() {
    let (index, api) = (index(0, true), Fake::default());
    let mut pending = deleted(pod("web-0"), now());
    pending["status"]["podIPs"] = json!([]);
    index.with(|index| index.apply_pod(serde_json::from_value(pending).unwrap()));
    let stop = start(&index, &api, true);
    sleep(Duration::from_secs(4)).await;
    assert_eq!(api.reads(), Vec::<String>::new());
    assert_eq!(api.look_ups(), Vec::<usize>::new());
    assert!(says(&index).starts_with("EndpointsNotReady"), "{}", says(&index));
    stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn what_was_read_of_a_pod_is_not_its_successors() {
    let (index, api) = (index(1, false), Fake::default());
    api.set("lb-1", Some(0));
    let stop = start(&index, &api, false);
    sleep(Duration::from_secs(4)).await;
    assert!(says(&index).starts_with("ClbWeightZero"), "{}", says(&index));
    stop.cancel();
    sleep(Duration::from_secs(1)).await;
    let mut successor = deleted(pod("web-0"), now());
    successor["metadata"]["uid"] = json!("another");
    index.with(|index| index.apply_pod(serde_json::from_value(successor).unwrap()));
    assert!(
        says(&index).starts_with("ClbUnknown: CLB lb-1: it has not been read"),
        "{}",
        says(&index)
    );
}

#[tokio::test(start_paused = true)]
async fn a_pod_with_its_nodes_addresses_is_not_read() {
    let (index, api) = (index(0, true), Fake::default());
    api.set("lb-1", Some(10));
    let mut on_host = deleted(pod("web-0"), now());
    on_host["spec"]["hostNetwork"] = json!(true);
    index.with(|index| index.apply_pod(serde_json::from_value(on_host).unwrap()));
    let stop = start(&index, &api, true);
    sleep(Duration::from_secs(4)).await;
    assert_eq!((api.reads(), api.look_ups()), (vec![], vec![]));
    assert!(says(&index).starts_with("EndpointsNotReady"), "{}", says(&index));
    stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn who_does_not_lead_any_more_forgets_what_was_read() {
    let (index, api) = (index(1, false), Fake::default());
    api.set("lb-1", Some(0));
    let stop = start_led(&index, &api, false, Duration::from_secs(10));
    sleep(Duration::from_secs(4)).await;
    assert!(says(&index).starts_with("ClbWeightZero"), "{}", says(&index));
    sleep(Duration::from_secs(8)).await;
    assert!(says(&index).contains("it has not been read yet"), "{}", says(&index));
    api.reads();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(api.reads(), Vec::<String>::new());
    stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn look_ups_that_cannot_be_read_are_tried_again_with_pauses_and_others_first() {
    let (index, api) = (index(50, true), Fake::default());
    api.set("lb-1", Some(10));
    api.0.lock().unwrap().gap = true;
    let stop = start(&index, &api, true);
    sleep(Duration::from_secs(31)).await;
    let look_ups = api.look_ups();
    assert!(look_ups.len() <= 7, "{look_ups:?}");
    assert_eq!(look_ups[..4], [20, 20, 10, 5], "each was tried once before any is tried again");
    api.0.lock().unwrap().gap = false;
    sleep(Duration::from_secs(30)).await;
    assert_eq!(api.look_ups().iter().sum::<usize>(), 50, "each once more, and then no more");
    stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn a_load_balancer_of_another_region_is_read_there() {
    let (index, api) = (index(1, true), Fake::default());
    api.set("lb-1", Some(0));
    api.set("lb-2", Some(10));
    api.0.lock().unwrap().found = vec!["lb-2".into()];
    api.0.lock().unwrap().region = Some("ap-beijing".into());
    let stop = start(&index, &api, true);
    sleep(Duration::from_secs(4)).await;
    let reads = api.reads();
    assert!(reads.contains(&"lb-1".to_owned()), "{reads:?}");
    assert!(reads.contains(&"lb-2 in ap-beijing".to_owned()), "{reads:?}");
    assert!(!reads.contains(&"lb-2".to_owned()), "{reads:?}");
    assert!(says(&index).starts_with("ClbWeightNotZero: CLB lb-2"), "{}", says(&index));
    stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn load_balancers_of_ingresses_are_read_too() {
    let (index, api) = (index(1, false), Fake::default());
    api.set("lb-1", Some(0));
    api.set("lb-7", Some(10));
    let ingress = |service: &str, id: &str| {
        let ingress = json!({
            "metadata": { "namespace": "shop", "name": "edge", "annotations": {
                "kubernetes.io/ingress.qcloud-loadbalance-id": id,
                "ingress.cloud.tencent.com/direct-access": "true",
            } },
            "spec": { "rules": [{ "http": { "paths": [
                { "backend": { "service": { "name": service, "port": { "number": 80 } } } },
            ] } }] },
        });
        index.with(|index| index.apply_ingress(&serde_json::from_value(ingress).unwrap()));
    };
    ingress("other", "lb-9");
    let stop = start(&index, &api, false);
    sleep(Duration::from_secs(4)).await;
    assert!(says(&index).starts_with("ClbWeightZero"), "{}", says(&index));
    ingress("web", "lb-7");
    sleep(Duration::from_secs(2)).await;
    assert!(says(&index).starts_with("ClbWeightNotZero: CLB lb-7"), "{}", says(&index));
    assert!(!api.reads().contains(&"lb-9".to_owned()));
    stop.cancel();
}
