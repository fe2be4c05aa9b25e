//! The watches, the lag, and the writes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Service as KubeService};
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::runtime::reflector::Store;
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::desired::{Desired, PoolKey, READINESS_GATE, Row, SyncError, desired, waits_for_gate};
use super::sync::{is_bound, next_write};
use crate::clb::service::Service;
use crate::lb::stand_in::target_name;

/// How often the controllers look: small against every lag.
const TICK: Duration = Duration::from_millis(100);
/// The most changes of a load balancer that may wait for their time: a minute's lag of them. Beyond
/// that a newer one takes the place of the last in line.
const QUEUE_LIMIT: usize = 1_024;

type Pools = BTreeMap<PoolKey, Option<Vec<Row>>>;

/// What the controllers know of one load balancer.
#[derive(Debug, Default)]
struct Line {
    /// What is on its way, and when it arrives.
    waiting: VecDeque<(Instant, Pools)>,
    /// What was put into the line last.
    last: Pools,
    /// What arrived last.
    arrived: Pools,
    /// Whether that is not written to its end.
    behind: bool,
    /// When to look for what others have written.
    next_sync: Option<Instant>,
}

/// Follows the cluster behind `client`. Never ends.
pub(in crate::clb) async fn run(client: Client, service: Arc<Service>) {
    let pods = watch::<Pod>(&client);
    let services = watch::<KubeService>(&client);
    let ingresses = watch::<Ingress>(&client);
    // Their errors say only that the watches are gone, which live as long as the process.
    pods.wait_until_ready().await.ok();
    services.wait_until_ready().await.ok();
    ingresses.wait_until_ready().await.ok();
    let reporter = Reporter { controller: "service-controller".to_owned(), instance: None };
    let recorder = Recorder::new(client.clone(), reporter);
    let mut told = Vec::new();
    let mut lines = BTreeMap::<String, Line>::new();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let all = all(&pods);
        let now = desired(&self::all(&services), &self::all(&ingresses), &all);
        let opened = turn(&service, &mut lines, &now, &all);
        for pod in opened {
            if let Err(error) = open_gate(&client, &pod).await {
                eprintln!("the readiness gate of {} cannot be opened: {error}", pod.name_any());
            }
        }
        for error in now.errors.iter().filter(|error| !told.contains(*error)) {
            if let Err(failure) = recorder.publish(&warning(error), &error.object).await {
                eprintln!("an Event on {:?} cannot be made: {failure}", error.object.name);
            }
        }
        told = now.errors;
    }
}

fn watch<K>(client: &Client) -> Store<K>
where
    K: Resource<DynamicType = ()> + reflector::Lookup<DynamicType = ()> + Clone + Debug,
    K: DeserializeOwned + Send + Sync + 'static,
{
    let (store, writer) = reflector::store();
    let events = watcher(Api::<K>::all(client.clone()), watcher::Config::default())
        .default_backoff()
        .reflect(writer);
    tokio::spawn(async move {
        let mut events = std::pin::pin!(events);
        // An error is followed by another try.
        while events.next().await.is_some() {}
    });
    store
}

fn all<K>(store: &Store<K>) -> Vec<K>
where
    K: reflector::Lookup<DynamicType = ()> + Clone + 'static,
{
    store.state().iter().map(|object| K::clone(object)).collect()
}

/// One look: lets what is due arrive, and writes what is to be written. Returns the pods whose gate
/// is to be opened.
fn turn(
    service: &Service,
    lines: &mut BTreeMap<String, Line>,
    now: &Desired,
    pods: &[Pod],
) -> Vec<Pod> {
    let time = Instant::now();
    let mut world = service.lock();
    world.tke_errors.clone_from(&now.errors);
    let ids: BTreeSet<String> = now
        .pools
        .keys()
        .map(|key| key.load_balancer.clone())
        .chain(lines.keys().cloned())
        .collect();
    for id in ids {
        if world.state.get(&id).is_none() {
            lines.remove(&id);
            continue;
        }
        let line = lines.entry(id.clone()).or_default();
        line.see(&id, now, time + world.tke.lag(&id));
        line.arrive(time);
        let sync = Duration::from_millis(world.tke.sync_millis);
        if world.state.is_busy(&id) || !line.must_look(time, sync) {
            continue;
        }
        let write = world.state.get(&id).and_then(|found| next_write(found, &line.arrived));
        line.behind = write.is_some();
        if let Some(write) = write {
            let at = Timestamp::now();
            let request_id = world.request_id(at);
            if let Err(error) = world.state.begin(write, true, &request_id, at) {
                eprintln!("TKE's write on {id} is refused: {}: {}", error.code, error.message);
            }
        }
    }
    let opened = pods
        .iter()
        .filter(|pod| waits_for_gate(pod))
        .filter(|pod| {
            let name = target_name(pod);
            let mut rows = now.pools.iter().flat_map(|(key, rows)| {
                let rows = rows.iter().flatten().filter(|row| row.name == name);
                rows.map(move |row| (key, row))
            });
            let bound = |(key, row): (&PoolKey, &Row)| {
                // A load balancer that is not the stand-in's binds nobody.
                world.state.get(&key.load_balancer).is_some_and(|found| is_bound(found, key, row))
            };
            rows.next().is_some_and(bound) && rows.all(bound)
        })
        .cloned()
        .collect();
    drop(world);
    service.wake();
    opened
}

impl Line {
    /// Puts what the objects ask for into the line, where that is new.
    fn see(&mut self, id: &str, now: &Desired, due: Instant) {
        let asked = now.pools.iter().filter(|(key, _)| key.load_balancer == id);
        let mut pools: Pools = asked.map(|(key, rows)| (key.clone(), rows.clone())).collect();
        // The listeners of an object that has gone lose their targets.
        for key in self.last.keys() {
            pools.entry(key.clone()).or_insert_with(|| Some(Vec::new()));
        }
        if pools == self.last {
            return;
        }
        self.waiting.truncate(QUEUE_LIMIT - 1);
        // A shorter lag does not let a change overtake an older one.
        let due = self.waiting.back().map_or(due, |(before, _)| due.max(*before));
        self.waiting.push_back((due, pools.clone()));
        self.last = pools;
    }

    fn arrive(&mut self, time: Instant) {
        while let Some((_, pools)) = self.waiting.pop_front_if(|(due, _)| *due <= time) {
            self.arrived = pools;
            self.behind = true;
        }
    }

    /// Whether the load balancer is to be compared with what arrived.
    fn must_look(&mut self, time: Instant, sync: Duration) -> bool {
        let due = self.next_sync.is_none_or(|next| next <= time);
        if due {
            self.next_sync = Some(time + sync);
        }
        due || self.behind
    }
}

fn warning(error: &SyncError) -> Event {
    Event {
        type_: EventType::Warning,
        reason: "SyncFailed".to_owned(),
        note: Some(format!("{}; nothing of it is synced", error.message)),
        action: "Sync".to_owned(),
        secondary: None,
    }
}

async fn open_gate(client: &Client, pod: &Pod) -> kube::Result<()> {
    let api: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
    let condition = json!({
        "type": READINESS_GATE,
        "status": "True",
        "reason": "LoadBalancerNetworkGroupReady",
        "message": format!("Marking condition \"{READINESS_GATE}\" to True."),
        "lastTransitionTime": Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    });
    let patch = Patch::Strategic(json!({
        "metadata": {"uid": pod.uid()},
        "status": {"conditions": [condition]},
    }));
    match api.patch_status(&pod.name_any(), &PatchParams::default(), &patch).await {
        Ok(_) => Ok(()),
        // Gone, or another pod has its name.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{Desired, Line, PoolKey, Row};
    use crate::clb::model::Protocol;

    fn asked(load_balancer: &str, weight: u32) -> Desired {
        let protocol = Protocol::Tcp;
        let key = PoolKey { load_balancer: load_balancer.into(), protocol, port: 80, rule: None };
        let row = Row { ip: [10, 0, 0, 7].into(), port: 80, weight, name: "web-0.1".into() };
        Desired { pools: [(key, Some(vec![row]))].into(), errors: vec![] }
    }

    fn weights(line: &Line) -> Vec<u32> {
        line.arrived.values().flatten().flatten().map(|row| row.weight).collect()
    }

    #[test]
    fn changes_arrive_late_and_in_order() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut line = Line::default();
        line.see("lb-a", &asked("lb-a", 10), at(3));
        line.see("lb-a", &asked("lb-a", 10), at(4));
        assert_eq!(line.waiting.len(), 1, "what is in the line already is not put there again");
        line.see("lb-a", &asked("lb-a", 0), at(60));
        line.see("lb-a", &asked("lb-a", 5), at(7));
        line.arrive(at(2));
        assert!(weights(&line).is_empty());
        line.arrive(at(3));
        assert_eq!(weights(&line), [10]);
        line.arrive(at(59));
        assert_eq!(weights(&line), [10], "a shorter lag does not overtake");
        line.arrive(at(60));
        assert_eq!(weights(&line), [5]);
    }

    #[test]
    fn a_service_that_is_gone_leaves_listeners_without_targets() {
        let now = Instant::now();
        let mut line = Line::default();
        line.see("lb-a", &asked("lb-a", 10), now);
        line.see("lb-a", &asked("lb-b", 10), now);
        line.arrive(now);
        assert_eq!(line.arrived.len(), 1, "another load balancer's listeners are not there");
        assert!(line.arrived.values().all(|rows| rows.as_ref().is_some_and(Vec::is_empty)));
    }

    #[test]
    fn others_writes_are_looked_for_once_a_period() {
        let start = Instant::now();
        let sync = Duration::from_secs(10);
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut line = Line::default();
        assert!(line.must_look(at(0), sync));
        assert!(!line.must_look(at(9), sync));
        assert!(line.must_look(at(10), sync));
        line.behind = true;
        assert!(line.must_look(at(11), sync), "what is not written to its end is gone on with");
    }
}
