//! What each of them does: controllers, kubelets, the StatefulSet controller, TKE.

use crate::model::{Sabotage, Upgrade};
use crate::planner;
use crate::state::{Bits, Cluster, Half, Held, Pod, State, Status, Weight};

impl Upgrade {
    pub(crate) fn decide(&self, cluster: &Cluster, status: Option<&Status>) -> Option<Held> {
        let key = (*cluster, status.cloned());
        if let Some(known) = self.decided.lock().unwrap().get(&key) {
            return known.clone();
        }
        let held = planner::decide(&self.config, cluster, status);
        self.decided.lock().unwrap().insert(key, held.clone());
        held
    }

    pub(crate) fn look(&self, state: &State) -> Half {
        match self.config.sabotage {
            Sabotage::UpgradeFirst => Half::Upgrade { status: state.status.clone(), is_old: false },
            _ => Half::Cluster {
                cluster: Box::new(state.cluster),
                pods: Bits::default(),
                service: false,
            },
        }
    }

    /// What a controller decides now; what meets another version by now is nothing.
    pub(crate) fn read(&self, state: &State, by: usize) -> Option<Held> {
        match &state.held[by] {
            Some(Held::Half(Half::Cluster { cluster, pods, service })) => {
                let held = self.decide(cluster, state.status.as_ref())?;
                let is_old = match held {
                    Held::Weights(_) => *service,
                    Held::Mark(ordinal, _) | Held::Delete(ordinal) => {
                        pods.has(usize::from(ordinal))
                    }
                    Held::Write(_) | Held::Half(_) => false,
                };
                (!is_old).then_some(held)
            }
            Some(Held::Half(Half::Upgrade { status, is_old })) => {
                let held = self.decide(&state.cluster, status.as_ref())?;
                (!(matches!(held, Held::Write(_)) && *is_old)).then_some(held)
            }
            _ => self.decide(&state.cluster, state.status.as_ref()),
        }
    }

    /// A pod has another resourceVersion: what is held against the one before fails.
    pub(crate) fn pod_changed(&self, state: &mut State, ordinal: usize) {
        for slot in &mut state.held {
            match slot {
                Some(Held::Half(Half::Cluster { pods, .. })) => pods.set(ordinal, true),
                Some(Held::Mark(held, _)) if usize::from(*held) == ordinal => *slot = None,
                Some(Held::Delete(held))
                    if usize::from(*held) == ordinal
                        && self.config.sabotage != Sabotage::BlindDelete =>
                {
                    *slot = None;
                }
                _ => {}
            }
        }
    }

    pub(crate) fn act(&self, state: &mut State, by: usize) {
        match state.held[by].take() {
            Some(Held::Write(status)) => {
                state.status = Some(status);
                for slot in &mut state.held {
                    match slot {
                        Some(Held::Half(Half::Upgrade { is_old, .. })) => *is_old = true,
                        // It is read before and after everything else, and must be the same.
                        Some(Held::Half(Half::Cluster { .. }))
                            if self.config.sabotage != Sabotage::UpgradeLast =>
                        {
                            *slot = None;
                        }
                        Some(Held::Write(_)) if self.config.sabotage != Sabotage::BlindStatus => {
                            *slot = None;
                        }
                        _ => {}
                    }
                }
            }
            Some(Held::Weights(zeros)) => {
                state.cluster.zeros = zeros;
                if self.config.sabotage != Sabotage::OldProof {
                    // The adapter counts reads of the CLB from the Service's version on.
                    state.cluster.proof = Bits::default();
                }
                for slot in &mut state.held {
                    match slot {
                        Some(Held::Half(Half::Cluster { service, .. })) => *service = true,
                        Some(Held::Weights(_))
                            if self.config.sabotage != Sabotage::BlindWeights =>
                        {
                            *slot = None;
                        }
                        _ => {}
                    }
                }
            }
            Some(Held::Mark(ordinal, on)) => {
                let ordinal = usize::from(ordinal);
                if let Some(pod) = &mut state.cluster.pods[ordinal] {
                    pod.marked = on;
                    self.pod_changed(state, ordinal);
                }
            }
            Some(Held::Delete(ordinal)) => {
                let ordinal = usize::from(ordinal);
                if let Some(pod) = &mut state.cluster.pods[ordinal]
                    && !pod.ending
                {
                    state.unproven |= pod.serves() && pod.weight == Weight::Full;
                    pod.ending = true;
                    state.deleted.set(ordinal, true);
                    self.pod_changed(state, ordinal);
                }
            }
            Some(Held::Half(_)) | None => {}
        }
    }

    /// TKE carries the annotation and the pods' readiness to the CLB.
    pub(crate) fn tke(&self, cluster: &mut Cluster) {
        for (ordinal, pod) in cluster.pods.iter_mut().enumerate() {
            let Some(pod) = pod else { continue };
            pod.weight = match (pod.serves(), cluster.zeros.has(ordinal)) {
                (false, _) => Weight::Unbound,
                (true, true) => Weight::Zero,
                (true, false) => Weight::Full,
            };
        }
    }

    pub(crate) fn read_clb(&self, cluster: &mut Cluster) {
        for (ordinal, pod) in cluster.pods.iter().enumerate() {
            let is_zero = pod.is_some_and(|pod| pod.weight == Weight::Zero);
            let counts = cluster.zeros.has(ordinal) || self.config.sabotage == Sabotage::OldProof;
            cluster.proof.set(ordinal, is_zero && counts);
        }
    }

    pub(crate) fn kubelet(&self, state: &mut State, ordinal: usize) {
        let Some(pod) = &mut state.cluster.pods[ordinal] else { return };
        if pod.ending {
            state.cluster.pods[ordinal] = None;
            state.cluster.proof.set(ordinal, false);
        } else if !pod.ready && Some(pod.revision) != self.config.bad {
            pod.ready = true;
        } else {
            return;
        }
        self.pod_changed(state, ordinal);
    }

    pub(crate) fn create(&self, state: &mut State, ordinal: usize) {
        let known = |status: &Status, uid: u8| {
            let mut claims = status.claims.iter();
            claims.any(|claim| usize::from(claim.ordinal) == ordinal && claim.uid == uid)
        };
        let held = |held: &Held, uid: u8| match held {
            Held::Write(status) | Held::Half(Half::Upgrade { status: Some(status), .. }) => {
                known(status, uid)
            }
            Held::Half(Half::Cluster { cluster, .. }) => {
                cluster.pods[ordinal].is_some_and(|pod| pod.uid == uid)
            }
            _ => false,
        };
        let is_free = |uid: &u8| {
            !state.status.as_ref().is_some_and(|status| known(status, *uid))
                && !state.held.iter().flatten().any(|one| held(one, *uid))
        };
        let uid = (0..=9).find(is_free).unwrap();
        let revision = state.cluster.template;
        state.cluster.pods[ordinal] = Some(Pod {
            revision,
            uid,
            ready: false,
            ending: false,
            marked: false,
            weight: Weight::Unbound,
        });
    }

    pub(crate) fn late(state: &mut State) {
        if let Some(status) = &mut state.status {
            status.late = true;
        }
        for slot in state.held.iter_mut().flatten() {
            match slot {
                Held::Write(status) => status.late = true,
                Held::Half(Half::Upgrade { status: Some(status), .. }) => status.late = true,
                _ => {}
            }
        }
    }

    /// What both sides of a step have in common, so that there are fewer states.
    pub(crate) fn tidy(&self, state: &mut State) {
        for ordinal in 0..self.config.replicas {
            let is_back = state.cluster.pods[ordinal].is_some_and(|pod| {
                pod.serves() && (!self.config.clb || pod.weight == Weight::Full)
            });
            if is_back {
                state.deleted.set(ordinal, false);
            }
        }
        // The two controllers are alike.
        if state.held[0].is_none() {
            state.held.swap(0, 1);
        }
        if let [Some(Held::Weights(_) | Held::Mark(..) | Held::Delete(_)), Some(Held::Write(_))] =
            &state.held
        {
            state.held.swap(0, 1);
        }
    }
}
