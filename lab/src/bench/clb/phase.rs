//! One phase: pods and load balancers are made, all pods are deleted at once, and weights go to zero.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service as KubernetesService;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use kube::api::{Api, ListParams, PostParams};
use serde_json::json;
use tokio::time::{sleep, timeout};

use super::drains::{Seen, Watch};
use super::{Options, reads};
use crate::bench::hollow::{HollowNode, HollowPod, PATIENCE, object};
use crate::clb::admin::TargetWeight;
use crate::clb::calls::Call;
use crate::clb::model::{Health, LoadBalancer, Target};
use crate::clb::process::Admin;
use crate::clb::service::Service;
use crate::progress::Progress;

/// The label by which a load balancer's Service selects its pods.
const BEHIND: &str = "behind";
/// Weight of a row that takes traffic: TKE's own.
const WEIGHT: u32 = 10;
/// From the last deletion until reads are counted for who gets how many: pods settle, and each address is
/// looked up once.
const BEGIN: Duration = Duration::from_secs(10);

/// What all phases share.
pub(super) struct Stage {
    pub(super) client: Client,
    pub(super) node: HollowNode,
    pub(super) service: Arc<Service>,
    pub(super) admin: Admin,
    pub(super) options: Options,
}

/// What is particular to one.
pub(super) struct Phase {
    /// Where its pods are.
    pub(super) namespace: &'static str,
    /// Number of its first pod.
    pub(super) first: usize,
    pub(super) load_balancers: usize,
    /// How long weights stay after the last deletion.
    pub(super) hold: Duration,
}

/// What was measured.
pub(super) struct Measured {
    /// What the API was asked from the first deletion on.
    pub(super) calls: Vec<Call>,
    pub(super) load_balancers: Vec<String>,
    /// While all pods drained and no weight changed.
    pub(super) steady: Range<Timestamp>,
    pub(super) drains: Vec<Drain>,
}

/// One drain that has ended.
pub(super) struct Drain {
    /// When its row got weight 0.
    zero: Timestamp,
    /// When its load balancer was read for the second time after that.
    second_read: Option<Timestamp>,
    seen: Seen,
}

impl Drain {
    /// From the second read to the condition; None where there was none before it.
    pub(super) fn after_second_read(&self) -> Option<Duration> {
        let read = self.second_read.filter(|read| *read <= self.seen.off)?;
        Some(reads::length(&(read..self.seen.off)))
    }

    /// From the weight to the condition.
    pub(super) fn after_zero(&self) -> Duration {
        reads::length(&(self.zero..self.seen.off))
    }

    /// From the container's end to the finalizer's.
    pub(super) fn release(&self) -> Duration {
        reads::length(&(self.seen.ended..self.seen.released))
    }
}

/// A pod, and the load balancer in front of it.
struct Behind {
    pod: HollowPod,
    load_balancer: String,
}

impl Stage {
    /// Plays one phase to its end.
    pub(super) async fn play(&self, phase: &Phase, progress: &Progress) -> Result<Measured> {
        let Options { pods, groups, pause, .. } = self.options;
        let behind: Vec<Behind> = (0..pods)
            .map(|number| {
                let load_balancer = phase.load_balancer(number * phase.load_balancers / pods);
                let labels = vec![(BEHIND, load_balancer.clone())];
                let pod = HollowPod::new(phase.first + number, phase.namespace.to_owned(), labels)?;
                Ok(Behind { pod, load_balancer })
            })
            .collect::<Result<_>>()?;
        self.make_load_balancers(phase, &behind).await?;
        let made: Vec<HollowPod> = behind.iter().map(|one| one.pod.clone()).collect();
        self.node.create(&made, progress).await?;
        self.published(phase, pods).await?;

        let many = phase.load_balancers;
        let mut step = progress.step(format!("measuring {pods} drains, CLBs: {many}"));
        let watch = Watch::begin(self.client.clone(), phase.namespace).await?;
        let during = phase.hold + pause * u32::try_from(groups)?;
        let seen = tokio::spawn(watch.follow(self.node.clone(), made.clone(), during));
        self.admin.delete("calls").await?;
        step.message("all are deleted");
        self.node.delete(&made).await?;
        let begin = Timestamp::now() + BEGIN;
        step.message(format!("weights stay for {} s", phase.hold.as_secs()));
        sleep(phase.hold).await;
        let mut zero = Vec::new();
        for (number, group) in behind.chunks(pods.div_ceil(groups.max(1))).enumerate() {
            step.message(format!("group {} of {groups} gets weight 0", number + 1));
            let weight = |one: &Behind| TargetWeight {
                load_balancer_id: one.load_balancer.clone(),
                ip: one.pod.address.into(),
                weight: 0,
            };
            let at = self.service.weigh(&group.iter().map(weight).collect::<Vec<_>>());
            zero.extend(std::iter::repeat_n(at, group.len()));
            sleep(pause).await;
        }
        step.message("every drain ends");
        let seen = seen.await.context("the watch ended without a word")??;
        let calls = self.admin.calls().await?;
        let reads = reads::of(&calls);
        let drains = behind.iter().zip(&zero).filter_map(|(one, zero)| {
            Some(Drain {
                zero: *zero,
                second_read: reads::second_after(&reads, &one.load_balancer, *zero),
                seen: *seen.get(&one.pod.name)?,
            })
        });
        let drains = drains.collect();
        let steady = begin..zero.first().copied().context("no group")?;
        step.done("");
        let load_balancers = (0..many).map(|number| phase.load_balancer(number)).collect();
        Ok(Measured { calls, load_balancers, steady, drains })
    }

    /// Makes the namespace, and for each load balancer a Service that names it.
    async fn make_load_balancers(&self, phase: &Phase, behind: &[Behind]) -> Result<()> {
        let enrolled = json!({ "lameduck.dev/policy": "default" });
        self.node.namespace(phase.namespace, enrolled).await?;
        let services: Api<KubernetesService> =
            Api::namespaced(self.client.clone(), phase.namespace);
        let registered = Timestamp::now();
        let mut all = Vec::new();
        for number in 0..phase.load_balancers {
            let id = phase.load_balancer(number);
            let service = object(json!({
                "metadata": { "name": id, "annotations": {
                    "service.kubernetes.io/loadbalance-id": id,
                    "service.cloud.tencent.com/direct-access": "true",
                } },
                "spec": {
                    "type": "LoadBalancer", "selector": { BEHIND: id },
                    "ports": [{ "port": 80, "targetPort": 8080 }],
                },
            }))?;
            services.create(&PostParams::default(), &service).await.context("no Service")?;
            let mut made = LoadBalancer::new(&id).tcp(80, None);
            let rows = behind.iter().filter(|one| one.load_balancer == id).map(|one| Target {
                ip: one.pod.address.into(),
                port: 8080,
                weight: WEIGHT,
                registered,
                health: Health::Alive,
                name: None,
            });
            if let Some(listener) = made.listeners.first_mut() {
                listener.targets.extend(rows);
            }
            all.push(made);
        }
        self.admin.set("load-balancers", &all).await
    }

    /// Waits until EndpointSlices list so many ready pods.
    async fn published(&self, phase: &Phase, pods: usize) -> Result<()> {
        let slices: Api<EndpointSlice> = Api::namespaced(self.client.clone(), phase.namespace);
        let published = async {
            loop {
                let list = slices.list(&ListParams::default()).await?;
                let endpoints = list.iter().flat_map(|slice| &slice.endpoints);
                let ready = endpoints.filter(|endpoint| {
                    endpoint.conditions.as_ref().is_some_and(|it| it.ready == Some(true))
                });
                if ready.count() >= pods {
                    return Ok::<_, kube::Error>(());
                }
                sleep(Duration::from_millis(500)).await;
            }
        };
        timeout(PATIENCE, published).await.context("EndpointSlices do not list the pods")??;
        Ok(())
    }
}

impl Phase {
    /// Id of a load balancer, which is its Service's name too.
    fn load_balancer(&self, number: usize) -> String {
        format!("lb-{}{number:03}", self.namespace)
    }
}
