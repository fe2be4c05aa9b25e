//! What can happen, and what must never.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::{Arc, Mutex};

use lameduck_core::policy::Policy;
use lameduck_core::upgrade::object::Phase;
use stateright::{Model, Property};

use crate::planner;
use crate::state::{
    Bits, Cluster, Faults, Half, Held, ORDINALS, Pod, STEPS, State, Status, Weight,
};

/// A safeguard that is taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sabotage {
    None,
    /// Deletes without the pod's UID and resourceVersion.
    BlindDelete,
    /// Writes weights without the Service's resourceVersion.
    BlindWeights,
    /// Writes the status without the Upgrade's resourceVersion.
    BlindStatus,
    /// Acts before the status is stored.
    ActFirst,
    /// Takes every weight as proven to be 0.
    NoProof,
    /// Takes reads from before the Service had the 0.
    OldProof,
    /// Deletes without a mark.
    NoMark,
    /// Reads the Upgrade before everything else, and not after it.
    UpgradeFirst,
    /// Reads the Upgrade after everything else, and not before it.
    UpgradeLast,
}

pub(crate) struct Config {
    pub(crate) replicas: usize,
    pub(crate) max: usize,
    pub(crate) clb: bool,
    /// A revision whose pods never get ready.
    pub(crate) bad: Option<u8>,
    /// Reads take their time.
    pub(crate) torn: bool,
    pub(crate) faults: Faults,
    pub(crate) sabotage: Sabotage,
    pub(crate) policy: Arc<Policy>,
}

impl Config {
    pub(crate) fn new(max: usize, clb: bool, faults: Faults) -> Self {
        let policy = Arc::new(planner::policy(max.try_into().unwrap()));
        let sabotage = Sabotage::None;
        Self { replicas: ORDINALS, max, clb, bad: None, torn: false, faults, sabotage, policy }
    }

    pub(crate) fn proven(&self, cluster: &Cluster, ordinal: usize) -> bool {
        let is_bound = cluster.pods[ordinal].is_some_and(|pod| pod.weight != Weight::Unbound);
        self.sabotage == Sabotage::NoProof || !is_bound || cluster.proof.has(ordinal)
    }
}

type Decision = (Cluster, Option<Status>);

pub(crate) struct Upgrade {
    pub(crate) config: Config,
    decided: Mutex<HashMap<Decision, Option<Held>>>,
    /// By hash, as the checker knows states too.
    settled: Mutex<HashMap<u64, bool>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// A controller reads half of it.
    Look(usize),
    /// A controller reads, and decides.
    Read(usize),
    /// What it decided, it does.
    Do(usize),
    /// It dies first.
    Die(usize),
    Kubelet(usize),
    Create(usize),
    Tke,
    ReadClb,
    Crash(usize),
    KubectlDelete(usize),
    Template(u8),
    Late,
    Pause,
}

impl Upgrade {
    pub(crate) fn new(config: Config) -> Self {
        Self { config, decided: Mutex::default(), settled: Mutex::default() }
    }

    fn decide(&self, cluster: &Cluster, status: Option<&Status>) -> Option<Held> {
        let key = (*cluster, status.cloned());
        if let Some(known) = self.decided.lock().unwrap().get(&key) {
            return known.clone();
        }
        let held = planner::decide(&self.config, cluster, status);
        self.decided.lock().unwrap().insert(key, held.clone());
        held
    }

    fn look(&self, state: &State) -> Half {
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
    fn read(&self, state: &State, by: usize) -> Option<Held> {
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
    fn pod_changed(&self, state: &mut State, ordinal: usize) {
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

    fn act(&self, state: &mut State, by: usize) {
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
    fn tke(&self, cluster: &mut Cluster) {
        for (ordinal, pod) in cluster.pods.iter_mut().enumerate() {
            let Some(pod) = pod else { continue };
            pod.weight = match (pod.serves(), cluster.zeros.has(ordinal)) {
                (false, _) => Weight::Unbound,
                (true, true) => Weight::Zero,
                (true, false) => Weight::Full,
            };
        }
    }

    fn read_clb(&self, cluster: &mut Cluster) {
        for (ordinal, pod) in cluster.pods.iter().enumerate() {
            let is_zero = pod.is_some_and(|pod| pod.weight == Weight::Zero);
            let counts = cluster.zeros.has(ordinal) || self.config.sabotage == Sabotage::OldProof;
            cluster.proof.set(ordinal, is_zero && counts);
        }
    }

    fn kubelet(&self, state: &mut State, ordinal: usize) {
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

    fn create(&self, state: &mut State, ordinal: usize) {
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

    fn late(state: &mut State) {
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
    fn tidy(&self, state: &mut State) {
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

    /// What happens next if nothing goes wrong any more and everybody does what there is to do: controllers
    /// first, then kubelets and the StatefulSet controller, then TKE. False: nothing.
    fn go_on(&self, state: &mut State) -> bool {
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
    fn settles(&self, state: &State) -> bool {
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

    fn is_good_end(&self, state: &State) -> bool {
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

impl Model for Upgrade {
    type State = State;
    type Action = Act;

    fn init_states(&self) -> Vec<State> {
        let weight = if self.config.clb { Weight::Full } else { Weight::Unbound };
        let pod = Pod { revision: 0, uid: 0, ready: true, ending: false, marked: false, weight };
        let mut pods = [None; ORDINALS];
        pods[..self.config.replicas].fill(Some(pod));
        let (zeros, proof) = (Bits::default(), Bits::default());
        vec![State {
            cluster: Cluster { template: 1, paused: false, pods, zeros, proof },
            status: None,
            held: [None, None],
            faults: self.config.faults,
            deleted: Bits::default(),
            unproven: false,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Act>) {
        let cluster = &state.cluster;
        for by in 0..2 {
            match &state.held[by] {
                // One idle controller is like the other.
                None if by == 1 && state.held[0].is_none() => {}
                None if self.config.torn => actions.push(Act::Look(by)),
                None => actions.push(Act::Read(by)),
                Some(Held::Half(_)) => actions.extend([Act::Read(by), Act::Die(by)]),
                Some(_) => actions.extend([Act::Do(by), Act::Die(by)]),
            }
        }
        for ordinal in 0..self.config.replicas {
            let Some(pod) = cluster.pods[ordinal] else {
                actions.push(Act::Create(ordinal));
                continue;
            };
            if pod.ending || !pod.ready {
                actions.push(Act::Kubelet(ordinal));
            }
            if pod.serves() && state.faults.crashes > 0 {
                actions.push(Act::Crash(ordinal));
            }
            if !pod.ending && state.faults.deletions > 0 {
                actions.push(Act::KubectlDelete(ordinal));
            }
        }
        if self.config.clb {
            actions.extend([Act::Tke, Act::ReadClb]);
        }
        if state.faults.templates > 0 {
            let others = (0..=2).filter(|template| *template != cluster.template);
            actions.extend(others.map(Act::Template));
        }
        if state.faults.lates > 0 && state.status.as_ref().is_some_and(|status| !status.late) {
            actions.push(Act::Late);
        }
        if state.faults.pauses > 0 {
            actions.push(Act::Pause);
        }
    }

    fn next_state(&self, before: &State, action: Act) -> Option<State> {
        let mut state = before.clone();
        match action {
            Act::Look(by) => state.held[by] = Some(Held::Half(self.look(before))),
            Act::Read(by) => state.held[by] = self.read(before, by),
            Act::Do(by) => self.act(&mut state, by),
            Act::Die(by) => state.held[by] = None,
            Act::Kubelet(ordinal) => self.kubelet(&mut state, ordinal),
            Act::Create(ordinal) => self.create(&mut state, ordinal),
            Act::Tke => self.tke(&mut state.cluster),
            Act::ReadClb => self.read_clb(&mut state.cluster),
            Act::Crash(ordinal) => {
                state.cluster.pods[ordinal].as_mut()?.ready = false;
                state.faults.crashes -= 1;
                self.pod_changed(&mut state, ordinal);
            }
            Act::KubectlDelete(ordinal) => {
                state.cluster.pods[ordinal].as_mut()?.ending = true;
                state.faults.deletions -= 1;
                self.pod_changed(&mut state, ordinal);
            }
            Act::Template(template) => {
                state.cluster.template = template;
                state.faults.templates -= 1;
            }
            Act::Late => {
                Self::late(&mut state);
                state.faults.lates -= 1;
            }
            Act::Pause => {
                state.cluster.paused = !state.cluster.paused;
                state.faults.pauses -= 1;
            }
        }
        self.tidy(&mut state);
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(OUT, |model: &Self, state: &State| state.out() <= model.config.max),
            Property::always(UNPROVEN, |_: &Self, state: &State| !state.unproven),
            Property::always(LAST, |model: &Self, state: &State| {
                !model.config.clb || state.out() < model.config.replicas
            }),
            Property::always(SETTLES, |model: &Self, state: &State| model.settles(state)),
        ]
    }
}

pub(crate) const OUT: &str = "no more than maxUnavailable are out by our hand";
pub(crate) const UNPROVEN: &str = "nothing with weight is deleted";
pub(crate) const LAST: &str = "somebody takes connections";
pub(crate) const SETTLES: &str = "it ends Complete or Stalled, and clean";
