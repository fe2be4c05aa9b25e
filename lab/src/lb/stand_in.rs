//! The stand-in for TKE's service controller: keeps a side's targets equal to a Service's pods.
//!
//! What it does is what TKE does for a Service with direct access to pods: ready → full weight;
//! terminating or not ready → weight 0; object gone → removed. Each change reaches the data plane a
//! lag after the API server knew, as it does there: the watch, the work queue, and the LB's own API.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Api, Client, ResourceExt};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use super::haproxy::Side;
use super::{FULL_WEIGHT, Target};

/// The lag that the scenarios run with: what TKE and a CLB take for a weight.
pub const DEFAULT_LAG: Duration = Duration::from_secs(3);
/// The most changes that may wait for their time: more than one per millisecond of the usual lag.
/// Beyond that a newer one takes the place of the last in line.
const QUEUE_LIMIT: usize = 4_096;
/// How often a change is tried that the data plane refused, 200 ms apart.
const TRIES: u32 = 25;

/// A stand-in at work on one Service. Dropping it ends it; the servers stay as they are.
#[derive(Debug)]
pub struct StandIn {
    task: JoinHandle<Result<()>>,
}

impl StandIn {
    /// Follows the pods that `service` of `namespace` selects, and lets `side` have them `lag` later.
    ///
    /// # Errors
    /// The Service cannot be read, has no selector, or has no numeric target port.
    pub async fn start(
        client: Client,
        side: Side,
        namespace: &str,
        service: &str,
        lag: Duration,
    ) -> Result<Self> {
        let service: Service = Api::namespaced(client.clone(), namespace)
            .get(service)
            .await
            .with_context(|| format!("the Service {namespace}/{service} cannot be read"))?;
        let spec = service.spec.unwrap_or_default();
        let selector = spec.selector.filter(|selector| !selector.is_empty());
        let selector = selector.context("the Service selects no pods")?;
        let port = spec.ports.unwrap_or_default().into_iter().next();
        let port = match port.context("the Service has no port")?.target_port {
            Some(IntOrString::Int(port)) => u16::try_from(port).context("the target port")?,
            other => anyhow::bail!("the Service's target port must be a number, and is {other:?}"),
        };
        let labels: Vec<String> =
            selector.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
        let config = watcher::Config::default().labels(&labels.join(","));
        let pods = Api::namespaced(client, namespace);
        let task = tokio::spawn(follow(pods, config, port, side, lag));
        Ok(Self { task })
    }

    /// Ends the stand-in.
    ///
    /// # Errors
    /// It had given up before, because the data plane refused a change again and again.
    pub async fn finish(mut self) -> Result<()> {
        self.task.abort();
        match (&mut self.task).await {
            Ok(result) => result,
            Err(ended) if ended.is_cancelled() => Ok(()),
            Err(ended) => Err(ended).context("the load balancer's controller died"),
        }
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The watch, the delay line, and the data plane at its end.
async fn follow(
    pods: Api<Pod>,
    config: watcher::Config,
    port: u16,
    side: Side,
    lag: Duration,
) -> Result<()> {
    let (store, writer) = reflector::store();
    let events = watcher(pods, config).default_backoff().reflect(writer);
    let mut events = pin!(events);
    let mut line: VecDeque<(Instant, Vec<Target>)> = VecDeque::new();
    let mut last: Option<Vec<Target>> = None;
    loop {
        let due = line.front().map(|(due, _)| *due);
        tokio::select! {
            event = events.next() => {
                let Some(event) = event else {
                    anyhow::bail!("the watch of the pods ended");
                };
                // Between the start and the end of a new list, the store is the old world.
                let whole = matches!(
                    event,
                    Ok(watcher::Event::Apply(_) | watcher::Event::Delete(_) | watcher::Event::InitDone)
                );
                if whole {
                    let now = desired(store.state().iter().map(AsRef::as_ref), port);
                    if last.as_ref() != Some(&now) {
                        line.truncate(QUEUE_LIMIT - 1);
                        line.push_back((Instant::now() + lag, now.clone()));
                        last = Some(now);
                    }
                }
            }
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                let mut targets = None;
                while line.front().is_some_and(|(due, _)| *due <= Instant::now()) {
                    targets = line.pop_front().map(|(_, targets)| targets);
                }
                if let Some(targets) = targets {
                    apply(&side, &targets).await?;
                }
            }
        }
    }
}

async fn apply(side: &Side, targets: &[Target]) -> Result<()> {
    let mut tries = 0;
    loop {
        match side.reconcile(targets).await {
            Ok(_) => return Ok(()),
            Err(error) if tries >= TRIES => return Err(error),
            Err(_) => tries += 1,
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// The targets that the Service's pods should be, by name.
#[must_use]
pub fn desired<'a>(pods: impl Iterator<Item = &'a Pod>, port: u16) -> Vec<Target> {
    let mut targets: Vec<Target> = pods.filter_map(|pod| target(pod, port)).collect();
    targets.sort();
    targets
}

/// The target that `pod` should be: none before it has an address.
fn target(pod: &Pod, port: u16) -> Option<Target> {
    let status = pod.status.as_ref()?;
    let address: IpAddr = status.pod_ip.as_ref()?.parse().ok()?;
    let ready = status
        .conditions
        .iter()
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let serves = ready && pod.metadata.deletion_timestamp.is_none();
    Some(Target {
        name: target_name(pod),
        address: SocketAddr::new(address, port),
        weight: if serves { FULL_WEIGHT } else { 0 },
    })
}

/// `NAME.UID8`: a StatefulSet's next pod has the same name, and is another target.
pub(crate) fn target_name(pod: &Pod) -> String {
    let uid: String = pod.uid().unwrap_or_default().chars().take(8).collect();
    format!("{}.{uid}", pod.name_any())
}

/// The pod's name in a target's name.
#[must_use]
pub fn pod_of(target: &str) -> &str {
    target.rsplit_once('.').map_or(target, |(pod, _)| pod)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;

    use super::{desired, pod_of};

    fn pod(name: &str, ip: Option<&str>, ready: bool, terminating: bool) -> Pod {
        let deleted = terminating.then_some("2026-01-01T00:00:00Z");
        serde_json::from_value(json!({
            "metadata": {"name": name, "uid": "0123456789abcdef", "deletionTimestamp": deleted},
            "status": {
                "podIP": ip,
                "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}],
            },
        }))
        .unwrap()
    }

    #[test]
    fn weights_follow_the_pods() {
        let pods = [
            pod("ready", Some("198.18.8.4"), true, false),
            pod("not-ready", Some("198.18.8.3"), false, false),
            pod("terminating-but-ready", Some("198.18.8.2"), true, true),
            pod("no-address-yet", None, false, false),
        ];
        let targets: Vec<(String, u32)> = desired(pods.iter(), 8080)
            .into_iter()
            .map(|target| (pod_of(&target.name).to_owned(), target.weight))
            .collect();
        let expected = [("not-ready", 0), ("ready", 10), ("terminating-but-ready", 0)]
            .map(|(name, weight)| (name.to_owned(), weight));
        assert_eq!(targets, expected);
    }
}
