//! Where everything leads to if nothing goes wrong any more.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use lameduck_core::upgrade::object::Phase;

use crate::model::Upgrade;
use crate::state::{Bits, Faults, Held, STEPS, State, Status, Weight};

impl Upgrade {
    /// What happens next if nothing goes wrong any more and everybody does what there is to do: controllers
    /// first, then kubelets and the StatefulSet controller, then TKE. False: nothing.
    pub(crate) fn go_on(&self, state: &mut State) -> bool {
        if let Some(by) = (0..2).find(|by| state.held[*by].is_some()) {
            match state.held[by] {
                Some(Held::Half(_)) => state.held[by] = self.read(state, by),
                _ => self.act(state, by),
            }
            self.tidy(state);
            return true;
        }
        if let Some(held) = self.read(state, 0) {
            state.held[0] = Some(held);
            return true;
        }
        let before = state.cluster;
        for ordinal in 0..self.config.replicas {
            match state.cluster.pods[ordinal] {
                None => self.create(state, ordinal),
                Some(_) => self.kubelet(state, ordinal),
            }
        }
        if self.config.clb {
            self.tke(&mut state.cluster);
            self.read_clb(&mut state.cluster);
        }
        state.cluster != before
    }

    /// Whether everything comes to a good end if nothing more goes wrong.
    pub(crate) fn settles(&self, state: &State) -> bool {
        let hash = BuildHasherDefault::<DefaultHasher>::default();
        let mut now = state.clone();
        now.faults = Faults::default();
        let mut path: Vec<u64> = Vec::new();
        let verdict = loop {
            (now.unproven, now.deleted) = (false, Bits::default());
            let key = hash.hash_one(&now);
            if let Some(known) = self.settled.lock().unwrap().get(&key) {
                break *known;
            }
            if path.contains(&key) {
                break false;
            }
            path.push(key);
            if !self.go_on(&mut now) {
                if self.is_good_end(&now) {
                    break true;
                }
                Self::late(&mut now);
            }
        };
        self.settled.lock().unwrap().extend(path.into_iter().map(|key| (key, verdict)));
        verdict
    }

    pub(crate) fn is_good_end(&self, state: &State) -> bool {
        let cluster = &state.cluster;
        // There never was anything to do, or all was put back before the object was made.
        let none = Status { phase: 6, target: Some(cluster.template), ..Status::default() };
        let status = state.status.as_ref().unwrap_or(&none);
        let mut claims = status.claims.iter();
        let is_touched = claims.all(|claim| !STEPS[usize::from(claim.step)].is_untouched());
        let is_claimed = |ordinal: usize| {
            status.claims.iter().any(|claim| usize::from(claim.ordinal) == ordinal)
        };
        let mut ordinals = 0..self.config.replicas;
        let is_clean = ordinals.all(|ordinal| {
            let is_marked = cluster.pods[ordinal].is_some_and(|pod| pod.marked);
            is_claimed(ordinal) || !(is_marked || cluster.zeros.has(ordinal))
        });
        let all = cluster.pods.iter().take(self.config.replicas);
        let is_done = all.flatten().filter(|pod| {
            pod.serves()
                && pod.revision == cluster.template
                && (!self.config.clb || pod.weight == Weight::Full)
        });
        let is_done = is_done.count() == self.config.replicas && status.claims.is_empty();
        let is_end = match status.phase() {
            Phase::Complete => is_done,
            Phase::Stalled => status.has_reason,
            Phase::Paused => cluster.paused,
            _ => false,
        };
        is_end && is_clean && is_touched && status.target == Some(cluster.template)
    }
}
