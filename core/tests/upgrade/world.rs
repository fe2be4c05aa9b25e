//! A cluster in memory: a StatefulSet, its controller, kubelets, TKE with a CLB per Service, and the loop
//! around the planner. Time passes only in [`World::pass`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use lameduck_core::drain::EventText;
use lameduck_core::policy::Policy;
use lameduck_core::upgrade::census::Outcome;
use lameduck_core::upgrade::facts::{
    Backend, Balancers, Budget, Facts, Frontend, NotOurs, Pod, Service, Set, Upgrade, Zero,
};
use lameduck_core::upgrade::object::{Step, UpgradeStatus};
use lameduck_core::upgrade::weights::{Port, Protocol, weight_of_user, zeros};

pub(crate) const HTTP: Port = Port { protocol: Protocol::Tcp, port: 80 };
pub(crate) const SET: &str = "web";
const WEIGHT: u8 = 10;
/// Seconds between two looks of the world.
pub(crate) const STEP_SECONDS: i64 = 2;
/// Grace of a pod that is deleted.
const GRACE_SECONDS: i64 = 900;

pub(crate) struct Sim {
    pub(crate) pod: Pod,
    pub(crate) created: Timestamp,
    pub(crate) deleted: Option<Timestamp>,
    /// At the CLB of each Service; None where it is no backend.
    pub(crate) weights: BTreeMap<Box<str>, u8>,
    zero_reads: u32,
}

pub(crate) struct World {
    pub(crate) now: Timestamp,
    version: u64,
    uids: u64,
    pub(crate) set: Option<Set>,
    pub(crate) policy: Policy,
    pub(crate) not_ours: Option<NotOurs>,
    pub(crate) pods: BTreeMap<u32, Sim>,
    pub(crate) services: Vec<Service>,
    /// Backends of other sets, on every Service.
    pub(crate) others: Vec<Backend>,
    pub(crate) unknown: Option<Box<str>>,
    pub(crate) budget: Option<u32>,
    pub(crate) upgrade: Option<Upgrade>,
    /// Revisions whose pods never get ready.
    pub(crate) bad: BTreeSet<&'static str>,
    /// Revisions whose pods fail the CLB's health check.
    pub(crate) dead: BTreeSet<&'static str>,
    /// The CLB cannot be read.
    pub(crate) fails_to_read: bool,
    /// TKE carries annotations to the CLB.
    pub(crate) tke: bool,
    pub(crate) has_hold: bool,
    pub(crate) drain_seconds: i64,
    pub(crate) ready_seconds: i64,
    /// What a container that counts says of every pod; and where one was added.
    pub(crate) census: Outcome,
    pub(crate) counted: Vec<String>,
    pub(crate) log: Vec<String>,
    pub(crate) events: Vec<EventText>,
    /// Steps of claims, as they were stored.
    pub(crate) trail: Vec<(u32, Step)>,
}

impl World {
    /// All pods serve at revision `a`, behind one Service with a CLB.
    pub(crate) fn new(replicas: u32) -> Self {
        let mut world = Self::bare(replicas);
        world.add_service("front", None);
        world.settle();
        world
    }

    /// Without a Service.
    pub(crate) fn bare(replicas: u32) -> Self {
        let set = Set {
            version: "s1".into(),
            generation: (1, 1),
            replicas,
            start: 0,
            partition: 0,
            min_ready_seconds: 0,
            has_claims: true,
            update_revision: "a".into(),
            paused: false,
            original_replicas: None,
        };
        let mut world = Self {
            now: Timestamp::from_second(1_800_000_000).unwrap(),
            version: 1,
            uids: 0,
            set: Some(set),
            policy: Policy::default(),
            not_ours: None,
            pods: BTreeMap::new(),
            services: Vec::new(),
            others: Vec::new(),
            unknown: None,
            budget: None,
            upgrade: None,
            bad: BTreeSet::new(),
            dead: BTreeSet::new(),
            fails_to_read: false,
            tke: true,
            has_hold: true,
            drain_seconds: 20,
            ready_seconds: 4,
            census: Outcome::Closed("0 connections".to_owned()),
            counted: Vec::new(),
            log: Vec::new(),
            events: Vec::new(),
            trail: Vec::new(),
        };
        world.settle();
        world
    }

    pub(crate) fn add_service(&mut self, name: &str, weights: Option<&str>) {
        let version = self.stamp();
        self.services.push(Service {
            name: name.into(),
            version,
            load_balancer: Some(format!("lb-{name}").into()),
            weights: weights.map(Into::into),
            record: None,
            ports: vec![HTTP],
        });
    }

    /// Time passes without the upgrade's controller.
    pub(crate) fn settle(&mut self) {
        for _ in 0..20 {
            self.pass();
        }
    }

    pub(crate) fn set(&mut self) -> &mut Set {
        let version = self.stamp();
        let set = self.set.as_mut().unwrap();
        set.version = version;
        set.generation.0 += 1;
        set
    }

    pub(crate) fn apply(&mut self, revision: &str) {
        self.set().update_revision = revision.into();
        self.observe();
    }

    pub(crate) fn observe(&mut self) {
        let set = self.set.as_mut().unwrap();
        set.generation.1 = set.generation.0;
    }

    pub(crate) fn spec(&mut self) -> &mut lameduck_core::upgrade::object::UpgradeSpec {
        &mut self.upgrade.as_mut().unwrap().spec
    }

    pub(crate) fn status(&self) -> &UpgradeStatus {
        &self.upgrade.as_ref().unwrap().status
    }

    pub(crate) fn pod(&mut self, ordinal: u32) -> &mut Sim {
        let version = self.stamp();
        let sim = self.pods.get_mut(&ordinal).unwrap();
        sim.pod.version = version;
        sim
    }

    /// `kubectl delete pod`.
    pub(crate) fn kubectl_delete(&mut self, ordinal: u32) {
        let now = self.now;
        let until = now.checked_add(SignedDuration::from_secs(GRACE_SECONDS)).unwrap();
        let sim = self.pod(ordinal);
        sim.deleted = Some(now);
        sim.pod.deleted_until = Some(until);
    }

    pub(crate) fn stamp(&mut self) -> Box<str> {
        self.version += 1;
        format!("v{}", self.version).into()
    }

    /// Revisions by ordinal, the lowest first; `-` where none serves.
    pub(crate) fn revisions(&self) -> String {
        let set = self.set.as_ref().unwrap();
        let mut ordinals: Vec<u32> = set.ordinals().collect();
        ordinals.reverse();
        let serves = |sim: &&Sim| sim.pod.ready_since.is_some() && sim.pod.deleted_until.is_none();
        let revision = |ordinal: &u32| {
            self.pods.get(ordinal).filter(serves).map_or("-", |sim| &*sim.pod.revision)
        };
        ordinals.iter().map(revision).collect()
    }

    /// Our zeros on a Service.
    pub(crate) fn zeros(&self, service: usize) -> Vec<u32> {
        let zeros = zeros(&self.services[service].annotations()).unwrap();
        zeros.get(SET).into_iter().flatten().copied().collect()
    }

    /// Nothing of the upgrade is left on any object.
    pub(crate) fn assert_clean(&self) {
        for service in &self.services {
            assert_eq!(service.record, None, "{}", service.name);
        }
        for sim in self.pods.values() {
            assert!(!sim.pod.marked, "{} is marked", sim.pod.name);
        }
        if let Some(set) = &self.set {
            assert_eq!(set.original_replicas, None);
        }
        if let Some(upgrade) = &self.upgrade {
            assert_eq!(upgrade.status.ordinals, []);
        }
    }

    /// A pod as it is read: a count is of the claim that began it.
    fn seen(&self, sim: &Sim) -> Pod {
        let status = self.upgrade.as_ref().map(|upgrade| &upgrade.status);
        let claim = status.and_then(|status| status.claim(sim.pod.ordinal));
        let counts = claim.is_some_and(|claim| claim.counter.is_some());
        Pod { count: sim.pod.count.clone().filter(|_| counts), ..sim.pod.clone() }
    }

    pub(crate) fn facts(&self) -> Facts {
        let frontends = self.services.iter().filter_map(|service| {
            let ours = self.pods.values().filter_map(|sim| {
                let weight = *sim.weights.get(&service.name)?;
                let pod = Some(sim.pod.uid.clone());
                let healthy = Some(!self.dead.contains(&*sim.pod.revision));
                Some(Backend { pod, weight: Some(weight), healthy })
            });
            let load_balancer: Arc<str> = service.load_balancer.clone()?;
            Some(Frontend {
                place: lameduck_core::drain::clb::Place { listener: "lbl-1".into(), rule: None },
                load_balancer,
                name: "TCP:80".into(),
                port: Some(HTTP),
                backends: ours.chain(self.others.clone()).collect(),
            })
        });
        let frontends = frontends.filter(|frontend| !frontend.backends.is_empty()).collect();
        Facts {
            name: SET.into(),
            set: self.set.clone(),
            policy: match self.not_ours {
                Some(why) => Err(why),
                None => Ok(Arc::new(self.policy.clone())),
            },
            pods: self.pods.values().map(|sim| self.seen(sim)).collect(),
            services: self.services.clone(),
            balancers: Balancers { frontends, unknown: self.unknown.clone() },
            budgets: self
                .budget
                .map(|allowed| Budget { name: "web".into(), allowed })
                .into_iter()
                .collect(),
            upgrade: self.upgrade.clone(),
        }
    }

    /// Kubelets, the StatefulSet controller and TKE.
    pub(crate) fn pass(&mut self) {
        self.now = self.now.checked_add(SignedDuration::from_secs(STEP_SECONDS)).unwrap();
        let (now, drain) = (self.now, self.drain_seconds);
        let past = |at: Timestamp, seconds: i64| now.duration_since(at).as_secs() >= seconds;
        self.pods.retain(|_, sim| !sim.deleted.is_some_and(|at| past(at, drain)));
        if let Some(set) = self.set.clone() {
            self.observe();
            let beyond = self
                .pods
                .iter()
                .filter(|(ordinal, sim)| !set.has(**ordinal) && sim.deleted.is_none());
            for ordinal in beyond.map(|(ordinal, _)| *ordinal).collect::<Vec<_>>() {
                self.kubectl_delete(ordinal);
            }
            for ordinal in set.ordinals().collect::<Vec<_>>() {
                if !self.pods.contains_key(&ordinal) {
                    self.create(ordinal, &set.update_revision);
                }
            }
        }
        for ordinal in self.pods.keys().copied().collect::<Vec<_>>() {
            let sim = &self.pods[&ordinal];
            let is_bad = self.bad.contains(&*sim.pod.revision);
            let is_due = past(sim.created, self.ready_seconds) && sim.deleted.is_none();
            if sim.pod.ready_since.is_none() && !is_bad && sim.pod.trouble.is_none() && is_due {
                let sim = self.pod(ordinal);
                (sim.pod.ready_since, sim.pod.runs) = (Some(now), true);
            }
        }
        self.balance();
    }

    fn create(&mut self, ordinal: u32, revision: &str) {
        self.uids += 1;
        let pod = Pod {
            ordinal,
            name: format!("{SET}-{ordinal}").into(),
            uid: format!("u{}", self.uids).into(),
            version: self.stamp(),
            revision: revision.into(),
            deleted_until: None,
            ready_since: None,
            runs: false,
            trouble: None,
            has_hold: self.has_hold,
            marked: false,
            next_counter: "lameduck-count-1".into(),
            zero: Zero::Unproven("not read yet".into()),
            count: None,
        };
        let (created, deleted) = (self.now, None);
        self.pods.insert(
            ordinal,
            Sim { pod, created, deleted, weights: BTreeMap::new(), zero_reads: 0 },
        );
    }

    /// TKE and two reads that agree.
    fn balance(&mut self) {
        for (ordinal, sim) in &mut self.pods {
            let pod = &mut sim.pod;
            for service in self.services.iter().filter(|one| one.load_balancer.is_some()) {
                if pod.ready_since.is_none() || pod.deleted_until.is_some() {
                    sim.weights.remove(&service.name);
                } else if self.tke {
                    let annotations = service.annotations();
                    let ours = zeros(&annotations).unwrap_or_default();
                    let is_zero = ours.get(SET).is_some_and(|set| set.contains(ordinal));
                    let users = weight_of_user(&annotations, SET, *ordinal, HTTP);
                    let weight = if is_zero { 0 } else { users.ok().flatten().unwrap_or(WEIGHT) };
                    sim.weights.insert(service.name.clone(), weight);
                }
            }
            if self.fails_to_read {
                sim.zero_reads = 0;
                pod.zero = Zero::Unproven("the CLB cannot be read".into());
                continue;
            }
            let is_zero = sim.weights.values().all(|weight| *weight == 0);
            sim.zero_reads = if is_zero { sim.zero_reads + 1 } else { 0 };
            pod.zero = match sim.zero_reads {
                2.. => Zero::Proven(format!("{} has weight 0 everywhere", pod.name).into()),
                1 => Zero::Unproven("to be read again".into()),
                _ => Zero::Takes(format!("{} has weight", pod.name).into()),
            };
        }
    }
}
