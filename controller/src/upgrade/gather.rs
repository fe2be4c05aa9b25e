//! Everything that a plan is made from, read anew.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use futures::future::{join_all, try_join};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1;
use kube::ResourceExt;
use lameduck_api::Upgrade;
use lameduck_core::names::{
    ANNOTATION_ORIGINAL_REPLICAS, ANNOTATION_ORIGINAL_UPDATE_STRATEGY, POLICY_LABEL,
};
use lameduck_core::policy::{Policy, Provider};
use lameduck_core::upgrade::census::Outcome;
use lameduck_core::upgrade::facts::{self, Balancers, Facts, NotOurs, Zero};
use lameduck_core::upgrade::ours::{Marks, ours};
use tokio::time::Instant;

use super::balancers::{Read, Seen, balancers};
use super::calls::{CallError, Calls};
use super::{Memory, Upgrader, convert};
use crate::clb::Api;
use crate::index::PodKey;

/// What was read of a StatefulSet.
pub(super) struct Gathered {
    pub(super) facts: Facts,
    /// The StatefulSet, for its UID.
    pub(super) set: Option<StatefulSet>,
    /// The `Upgrade`, for its version.
    pub(super) upgrade: Option<Upgrade>,
    /// Its pods, for what a container in them must be like.
    pub(super) pods: Vec<v1::Pod>,
}

/// The small look: enough to see that there is nothing to do.
pub(super) struct Glance {
    set: Option<StatefulSet>,
    upgrade: Option<Upgrade>,
}

impl Glance {
    pub(super) async fn read(calls: &Calls, name: &str) -> Result<Self, CallError> {
        let (set, upgrade) = try_join(calls.set(name), calls.upgrade(name)).await?;
        Ok(Self { set, upgrade })
    }

    /// Whether the StatefulSet's own count says that every pod has the revision, and no upgrade is open.
    pub(super) fn is_idle(&self) -> bool {
        let open = self
            .upgrade
            .as_ref()
            .and_then(|upgrade| upgrade.status.as_ref())
            .filter(|status| !status.phase.is_over());
        let Some(set) = &self.set else { return self.upgrade.is_none() };
        if set.metadata.deletion_timestamp.is_some() || open.is_some() {
            return false;
        }
        let Some(status) = &set.status else { return false };
        let replicas = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        let surged = set.annotations().contains_key(ANNOTATION_ORIGINAL_REPLICAS);
        status.observed_generation == set.metadata.generation
            && status.updated_replicas == Some(replicas)
            && !surged
    }
}

impl<A: Api> Upgrader<A> {
    /// Reads the rest, and puts it together.
    pub(super) async fn gather(
        &self,
        calls: &Calls,
        key: &PodKey,
        glance: Glance,
        memory: &mut Memory,
    ) -> Result<Gathered, CallError> {
        let Glance { set, upgrade } = glance;
        // One that is being deleted is gone: its pods end whatever anybody plans.
        let set = set.filter(|set| set.metadata.deletion_timestamp.is_none());
        let template = set.as_ref().and_then(|set| set.spec.as_ref()?.template.metadata.clone());
        let labels = template.and_then(|metadata| metadata.labels).unwrap_or_default();
        let selector = set.as_ref().and_then(|set| Some(&set.spec.as_ref()?.selector));
        let selector = selector.map(convert::selector);
        let pods = async {
            match &selector {
                Some(labels) => calls.pods(labels).await,
                None => Ok(Vec::new()),
            }
        };
        let (pods, (services, budgets)) =
            try_join(pods, try_join(calls.services(), calls.budgets())).await?;
        let listed = Instant::now();
        let now = (self.clock)();
        let (policy, partition) = match self.policy(key, set.as_ref(), &labels) {
            Ok((policy, partition)) => (Ok(policy), partition),
            Err(why) => (Err(why), 0),
        };
        let status = upgrade.as_ref().and_then(|upgrade| upgrade.status.as_ref());
        let uid = set.as_ref().and_then(ResourceExt::uid).unwrap_or_default();
        let policy_known = policy.as_deref().ok();
        let mut of_set = convert::pods(&key.name, &uid, &pods, policy_known, status, now);
        memory.refusals.retain(|uid, _| of_set.iter().any(|pod| pod.uid == *uid));
        for pod in &mut of_set {
            if let Some(why) = memory.refusals.get(&pod.uid) {
                pod.count = Some(Outcome::Cannot(why.clone()));
            }
        }
        let provider = policy_known.map(|policy| policy.traffic_off.provider).unwrap_or_default();
        let weights = self.api.is_some() && provider != Provider::EndpointSlice;
        let services_facts = convert::services(&services, &labels, weights);
        let mut unknown = None;
        if self.api.is_none() && provider == Provider::TencentCLB {
            unknown =
                Some("the policy asks for TencentCLB, and the controller has no access to CLB");
        }
        let mut found = Balancers::default();
        if let Some(api) = self.api.as_ref().filter(|_| weights && policy_known.is_some()) {
            let mut weighted: Vec<Arc<str>> =
                services_facts.iter().filter_map(|service| service.load_balancer.clone()).collect();
            weighted.sort_unstable();
            weighted.dedup();
            let leading = services.iter().filter(|service| convert::sends_to(service, &labels));
            let leading: Vec<String> = leading.map(ResourceExt::name_any).collect();
            let mut all = self.index.with(|index| index.ingress_clbs(&key.namespace, &leading));
            all.extend(weighted.iter().cloned());
            all.sort_unstable();
            all.dedup();
            let reads = all.into_iter().map(async |id| {
                let read = self.reads.read(api, &self.metrics, &id, &self.clock).await;
                (id, read)
            });
            let reads: Vec<(Arc<str>, Read)> = join_all(reads).await;
            let addresses = addresses(&pods);
            found = balancers(&reads, &addresses);
            let weighted: Vec<(Arc<str>, Read)> =
                reads.into_iter().filter(|(id, _)| weighted.contains(id)).collect();
            let confirm = policy_known.map_or(2, |policy| policy.traffic_off.confirm_reads);
            // After the reads: what they say is judged by the time that it is now.
            let now = (self.clock)();
            let seen = Seen {
                addresses: &addresses,
                reads: &weighted,
                services: &services_facts,
                listed,
                status,
            };
            memory.histories.judge(&mut of_set, &seen, confirm, now);
        } else {
            for pod in &mut of_set {
                pod.zero = match unknown {
                    Some(why) => Zero::Unproven(why.into()),
                    None => Zero::Proven("no CLB with weights stands in front of it".into()),
                };
            }
        }
        found.unknown = found.unknown.or_else(|| unknown.map(Into::into));
        let facts = Facts {
            name: (&*key.name).into(),
            set: set.as_ref().map(|set| convert::set(set, partition)),
            policy,
            pods: of_set,
            services: services_facts,
            balancers: found,
            budgets: convert::budgets(&budgets, &labels),
            upgrade: upgrade.as_ref().map(|upgrade| facts::Upgrade {
                spec: upgrade.spec.asked.clone(),
                status: upgrade.status.clone().unwrap_or_default(),
            }),
        };
        Ok(Gathered { facts, set, upgrade, pods })
    }

    fn policy(
        &self,
        key: &PodKey,
        set: Option<&StatefulSet>,
        template: &BTreeMap<String, String>,
    ) -> Result<(Arc<Policy>, u32), NotOurs> {
        let set = set.ok_or(NotOurs::Gone)?;
        let strategy = set.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref());
        self.index.with(|index| {
            let namespace = index.namespace(&key.namespace).and_then(|known| known.policy.clone());
            let marks = Marks {
                namespace: &key.namespace,
                labels: [
                    template.get(POLICY_LABEL).map(String::as_str),
                    set.labels().get(POLICY_LABEL).map(String::as_str),
                    namespace.as_deref(),
                ],
                strategy: strategy.and_then(|one| one.type_.as_deref()).unwrap_or_default(),
                original: set
                    .annotations()
                    .get(ANNOTATION_ORIGINAL_UPDATE_STRATEGY)
                    .map(String::as_str),
            };
            ours(&marks, |name| index.policy(name).cloned())
        })
    }
}

/// Addresses of pods, by UID. Those of their nodes are nobody's: TKE binds no such pod.
fn addresses(pods: &[v1::Pod]) -> HashMap<Box<str>, Vec<IpAddr>> {
    let of_pod = |pod: &v1::Pod| {
        let host = pod.spec.as_ref().and_then(|spec| spec.host_network).unwrap_or(false);
        // What has ended has given its address away.
        let status = pod.status.as_ref().filter(|_| !host)?;
        if matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
            return None;
        }
        let ips = status.pod_ips.iter().flatten().filter_map(|ip| ip.ip.parse().ok());
        Some((pod.uid()?.as_str().into(), ips.collect()))
    };
    pods.iter().filter_map(of_pod).collect()
}
