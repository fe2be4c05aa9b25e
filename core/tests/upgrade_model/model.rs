//! What can happen, and what must never.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use lameduck_core::policy::Policy;
use stateright::{Model, Property};

use crate::planner;
use crate::state::{Bits, Cluster, Faults, Held, ORDINALS, Pod, State, Status, Weight};

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
    pub(crate) decided: Mutex<HashMap<Decision, Option<Held>>>,
    /// By hash, as the checker knows states too.
    pub(crate) settled: Mutex<HashMap<u64, bool>>,
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
