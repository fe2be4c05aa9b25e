//! The loop around the planner: what the adapter does, with its preconditions.

use lameduck_core::upgrade::facts::Upgrade;
use lameduck_core::upgrade::object::Step;
use lameduck_core::upgrade::weights::zeros;
use lameduck_core::upgrade::{Action, events, plan};

use crate::world::{SET, STEP_SECONDS, World};

impl World {
    /// One round of the controller. False: there was nothing to do.
    pub(crate) fn control(&mut self) -> bool {
        let facts = self.facts();
        let plan = plan(&facts, self.now);
        let stored = self.upgrade.as_ref().map(|upgrade| upgrade.status.clone());
        if plan.status != stored {
            assert_eq!(plan.action, None, "an action before its status");
            match (&mut self.upgrade, plan.status) {
                (Some(upgrade), Some(status)) => {
                    self.events
                        .extend(events(&upgrade.status, &status).into_iter().map(|told| told.text));
                    for claim in &status.ordinals {
                        let step = (claim.ordinal, claim.step);
                        let before = upgrade.status.claim(claim.ordinal).map(|claim| claim.step);
                        if before != Some(claim.step) {
                            self.trail.push(step);
                        }
                    }
                    upgrade.status = status;
                }
                (none @ None, Some(_)) => *none = Some(Upgrade::default()),
                (_, None) => panic!("a status is taken away"),
            }
            return true;
        }
        let Some(action) = plan.action else { return false };
        assert!(plan.active, "{action:?} without another look");
        self.carry_out(action);
        true
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::SetWeights { service, version, change } => {
                let stamp = self.stamp();
                let service = self.services.iter_mut().find(|one| one.name == service).unwrap();
                assert_eq!(service.version, version);
                let (weights, record) =
                    (change.weights.map(Into::into), change.record.map(Into::into));
                assert!(
                    service.weights != weights || service.record != record,
                    "a change of nothing"
                );
                (service.weights, service.record) = (weights, record);
                service.version = stamp;
                let zeros = zeros(&service.annotations()).unwrap();
                let zeros: Vec<String> =
                    zeros.get(SET).into_iter().flatten().map(u32::to_string).collect();
                self.log.push(format!("zero [{}]", zeros.join(" ")));
            }
            Action::Count { pod, uid, .. } => {
                let census = self.census.clone();
                let sim = self.pods.values_mut().find(|sim| sim.pod.uid == uid).unwrap();
                sim.pod.count = Some(census);
                self.counted.push(pod.to_string());
                self.log.push(format!("count {pod}"));
            }
            Action::Mark { pod, uid, version, on } => {
                let stamp = self.stamp();
                let sim = self.pods.values_mut().find(|sim| sim.pod.uid == uid).unwrap();
                assert_eq!(sim.pod.version, version);
                assert_ne!(sim.pod.marked, on);
                sim.pod.marked = on;
                sim.pod.version = stamp;
                if !on {
                    self.log.push(format!("unmark {pod}"));
                }
            }
            Action::Delete { pod, uid, version } => {
                let sim = self.pods.values().find(|sim| sim.pod.uid == uid).unwrap();
                assert_eq!(sim.pod.version, version);
                assert!(sim.pod.marked, "{pod} is deleted without a mark");
                if sim.pod.ready_since.is_some() {
                    assert!(sim.weights.values().all(|weight| *weight == 0), "{pod} has weight");
                }
                self.log.push(format!("delete {pod}"));
                self.kubectl_delete(
                    self.pods
                        .iter()
                        .find(|(_, sim)| sim.pod.uid == uid)
                        .map(|(ordinal, _)| *ordinal)
                        .unwrap(),
                );
            }
            Action::Scale { version, replicas, original } => {
                let set = self.set();
                assert_eq!(set.version.is_empty(), version.is_empty());
                if let Some(replicas) = replicas {
                    set.replicas = replicas;
                } else {
                    // Only an annotation: no new generation.
                    set.generation.0 -= 1;
                }
                set.original_replicas = original;
                self.log.push(match (replicas, original) {
                    (Some(replicas), _) => format!("scale {replicas}"),
                    (None, _) => "forget replicas".to_owned(),
                });
            }
        }
    }

    /// The controller for as long as it has something to do. No status comes back.
    pub(crate) fn think(&mut self) {
        let mut seen = Vec::new();
        for _ in 0..60 {
            let before = self.upgrade.clone();
            if !self.control() {
                return;
            }
            if self.upgrade != before {
                assert!(!seen.contains(&before), "it flickers: {before:?}");
                seen.push(before);
            }
        }
        panic!("it never rests: {:?} {:?}", self.status(), self.log);
    }

    /// Controller and world for so many seconds.
    pub(crate) fn run(&mut self, seconds: i64) {
        for _ in 0..seconds / STEP_SECONDS {
            self.think();
            self.pass();
        }
        self.think();
    }

    /// Until a claim is stored at a step.
    pub(crate) fn run_to(&mut self, ordinal: u32, step: Step) {
        for _ in 0..1000 {
            for _ in 0..50 {
                let claim = self.upgrade.as_ref().and_then(|one| one.status.claim(ordinal));
                if claim.is_some_and(|claim| claim.step == step) {
                    return;
                }
                if !self.control() {
                    break;
                }
            }
            self.pass();
        }
        panic!("{ordinal} never gets to {step:?}: {:?}", self.status());
    }
}
