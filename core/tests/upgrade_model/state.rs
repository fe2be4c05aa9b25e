//! The states of the model. Everything in them is small, so that there are few.

use lameduck_core::upgrade::object::{Phase, Step, UpgradeStatus};

/// Ordinals at most.
pub(crate) const ORDINALS: usize = 3;

/// Phases and steps by number: the real ones have no order or hash.
pub(crate) const PHASES: [Phase; 7] = [
    Phase::Pending,
    Phase::Progressing,
    Phase::Paused,
    Phase::WaitingForApproval,
    Phase::Stalled,
    Phase::Aborted,
    Phase::Complete,
];
pub(crate) const STEPS: [Step; 8] = [
    Step::WeightZero,
    Step::Counting,
    Step::Deleting,
    Step::Draining,
    Step::Replacing,
    Step::Starting,
    Step::Soaking,
    Step::Returning,
];

/// What the CLB has of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Weight {
    Unbound,
    Zero,
    Full,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Pod {
    pub(crate) revision: u8,
    /// Distinct from that of every pod of the ordinal that somebody still knows.
    pub(crate) uid: u8,
    pub(crate) ready: bool,
    pub(crate) ending: bool,
    pub(crate) marked: bool,
    pub(crate) weight: Weight,
}

impl Pod {
    pub(crate) fn serves(self) -> bool {
        self.ready && !self.ending
    }
}

/// A set of ordinals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Bits(pub(crate) u8);

impl Bits {
    pub(crate) fn has(self, ordinal: usize) -> bool {
        self.0 & (1 << ordinal) != 0
    }

    pub(crate) fn set(&mut self, ordinal: usize, on: bool) {
        self.0 = if on { self.0 | (1 << ordinal) } else { self.0 & !(1 << ordinal) };
    }
}

/// What is read besides the Upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Cluster {
    pub(crate) template: u8,
    pub(crate) paused: bool,
    pub(crate) pods: [Option<Pod>; ORDINALS],
    /// Our zeros on the Service.
    pub(crate) zeros: Bits,
    /// Ordinals that were read with weight 0, after the Service had it.
    pub(crate) proof: Bits,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Claim {
    pub(crate) ordinal: u8,
    pub(crate) uid: u8,
    pub(crate) step: u8,
    pub(crate) furthest: u8,
    /// Its message says that there is something to be put back: words, but they are stored first too.
    pub(crate) left: Option<u8>,
}

/// How the planner says that something is to be put back.
pub(crate) const PUT_BACK: [&str; 2] =
    ["gets its weight back on Service s", "is not deleted any more"];

/// What of an Upgrade's status decides anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Status {
    pub(crate) target: Option<u8>,
    pub(crate) phase: u8,
    pub(crate) claims: Vec<Claim>,
    pub(crate) withdrawn: Option<u8>,
    /// The deadline has passed since anything moved.
    pub(crate) late: bool,
    pub(crate) has_reason: bool,
}

impl Status {
    pub(crate) fn phase(&self) -> Phase {
        PHASES[usize::from(self.phase)]
    }

    pub(crate) fn of(status: &UpgradeStatus, now: jiff::Timestamp) -> Self {
        let small = |text: &str| text.get(1..).map_or(9, |text| text.parse::<u8>().unwrap());
        let claim = |claim: &lameduck_core::upgrade::object::Claim| Claim {
            ordinal: claim.ordinal.try_into().unwrap(),
            uid: small(&claim.uid),
            step: claim.step as u8,
            furthest: claim.furthest as u8,
            left: (0..)
                .zip(PUT_BACK)
                .find(|(_, words)| claim.message.contains(words))
                .map(|one| one.0),
        };
        let target = &status.target_revision;
        Self {
            target: (!target.is_empty()).then(|| small(target)),
            phase: status.phase as u8,
            claims: status.ordinals.iter().map(claim).collect(),
            withdrawn: status.withdrawn.as_ref().map(|one| one.ordinal.try_into().unwrap()),
            late: status.last_progress_at.is_some_and(|at| at != now),
            has_reason: !status.reason.is_empty(),
        }
    }
}

/// What a controller has decided, and not done yet: it may be slow, or dead.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Held {
    /// It has read half of the facts.
    Half(Half),
    Write(Status),
    Weights(Bits),
    Mark(u8, bool),
    Delete(u8),
}

/// Half of the facts, and what has changed since.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Half {
    /// Everything else; the Upgrade is still to be read, and must be what it was before.
    Cluster { cluster: Box<Cluster>, pods: Bits, service: bool },
    /// The Upgrade.
    Upgrade { status: Option<Status>, is_old: bool },
}

/// What may still go wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Faults {
    pub(crate) crashes: u8,
    pub(crate) deletions: u8,
    pub(crate) templates: u8,
    pub(crate) lates: u8,
    pub(crate) pauses: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) cluster: Cluster,
    pub(crate) status: Option<Status>,
    pub(crate) held: [Option<Held>; 2],
    pub(crate) faults: Faults,
    /// Ordinals that we deleted, and that do not serve again yet.
    pub(crate) deleted: Bits,
    /// We deleted a pod that had weight.
    pub(crate) unproven: bool,
}

impl State {
    /// Ordinals that do not serve by our hand.
    pub(crate) fn out(&self) -> usize {
        let is_out = |ordinal: &usize| {
            self.deleted.has(*ordinal)
                || self.cluster.pods[*ordinal]
                    .is_some_and(|pod| pod.serves() && pod.weight == Weight::Zero)
        };
        (0..ORDINALS).filter(is_out).count()
    }
}

/// One line: `1r0!0` is an ordinal with its revision, `!` marked, `~` ending, `?` not ready, and its weight.
impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "template r{}", self.cluster.template)?;
        for (ordinal, pod) in self.cluster.pods.iter().enumerate() {
            let Some(pod) = pod else {
                write!(f, " [{ordinal} -]")?;
                continue;
            };
            let marks = [(pod.marked, "!"), (pod.ending, "~"), (!pod.ready, "?")];
            let marks: String = marks.iter().filter(|(is, _)| *is).map(|(_, mark)| *mark).collect();
            write!(f, " [{ordinal} r{} u{} {marks}{:?}]", pod.revision, pod.uid, pod.weight)?;
        }
        write!(f, " zeros {:03b} proof {:03b}", self.cluster.zeros.0, self.cluster.proof.0)?;
        if let Some(status) = &self.status {
            write!(f, " {:?}{}", status.phase(), if status.late { " late" } else { "" })?;
            for claim in &status.claims {
                let step = STEPS[usize::from(claim.step)];
                write!(f, " {}u{} {step:?}", claim.ordinal, claim.uid)?;
            }
        }
        write!(f, " | {:?}", self.held)
    }
}
