//! The real planner, asked about a state of the model.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use lameduck_core::policy::Policy;
use lameduck_core::upgrade::facts::{
    Backend, Balancers, Facts, Frontend, Pod, Service, Set, Upgrade, Zero,
};
use lameduck_core::upgrade::object::{Claim, UpgradeStatus, Withdrawn};
use lameduck_core::upgrade::weights::{Annotations, Port, Protocol, Zeros, with_zeros, zeros};
use lameduck_core::upgrade::{Action, plan};

use crate::model::{Config, Sabotage};
use crate::state::{Bits, Cluster, Held, PHASES, PUT_BACK, STEPS, Status, Weight};

const HTTP: Port = Port { protocol: Protocol::Tcp, port: 80 };
const SET: &str = "w";

/// Time stands still; what is late is long ago.
fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn earlier(seconds: i64) -> Timestamp {
    now().checked_sub(SignedDuration::from_secs(seconds)).unwrap()
}

pub(crate) fn policy(max_unavailable: u32) -> Policy {
    let mut policy = Policy::default();
    policy.stateful_sets.upgrade.max_unavailable = max_unavailable;
    policy.stateful_sets.upgrade.soak_seconds = 0;
    policy
}

/// What a controller does that has read this; None where there is nothing to do.
pub(crate) fn decide(config: &Config, cluster: &Cluster, status: Option<&Status>) -> Option<Held> {
    let mut facts = facts(config, cluster, status);
    let mut skipped = None;
    // A status of which only words change is stored and read again; the model has no words.
    for _ in 0..4 {
        let plan = plan(&facts, now());
        let stored = facts.upgrade.as_ref().map(|upgrade| &upgrade.status);
        if plan.status.as_ref() == stored {
            let action = plan.action.map(|action| held(&action));
            if action.is_none() && skipped.is_some() {
                break;
            }
            let Some(Held::Mark(ordinal, true)) = action else { return action };
            if config.sabotage != Sabotage::NoMark {
                return action;
            }
            let mut pods = facts.pods.iter_mut();
            pods.find(|pod| pod.ordinal == u32::from(ordinal)).unwrap().marked = true;
            continue;
        }
        let planned = plan.status.unwrap();
        if facts.upgrade.is_none() {
            return Some(Held::Write(Status::default()));
        }
        let small = Status::of(&planned, now());
        let is_write = Some(&small) != status;
        facts.upgrade.as_mut().unwrap().status = planned;
        if is_write && config.sabotage == Sabotage::ActFirst {
            skipped.get_or_insert(small);
            continue;
        }
        if is_write {
            return Some(Held::Write(small));
        }
    }
    assert!(skipped.is_some(), "the same facts give ever new plans: {cluster:?} {status:?}");
    skipped.map(Held::Write)
}

fn held(action: &Action) -> Held {
    let ordinal = |pod: &str| pod[2..].parse::<u8>().unwrap();
    match action {
        Action::SetWeights { change, .. } => {
            let (weights, record) = (change.weights.as_deref(), change.record.as_deref());
            let ours = zeros(&Annotations { weights, record }).unwrap();
            let mut bits = Bits::default();
            for ordinal in ours.get(SET).into_iter().flatten() {
                bits.set(usize::try_from(*ordinal).unwrap(), true);
            }
            Held::Weights(bits)
        }
        Action::Mark { pod, on, .. } => Held::Mark(ordinal(pod), *on),
        Action::Delete { pod, .. } => Held::Delete(ordinal(pod)),
        Action::Count { .. } | Action::Scale { .. } => panic!("{action:?}"),
    }
}

fn facts(config: &Config, cluster: &Cluster, status: Option<&Status>) -> Facts {
    let revision: Box<str> = format!("r{}", cluster.template).into();
    let set = Set {
        version: "1".into(),
        generation: (1, 1),
        replicas: config.replicas.try_into().unwrap(),
        start: 0,
        partition: 0,
        min_ready_seconds: 0,
        has_claims: true,
        update_revision: revision,
        paused: cluster.paused,
        original_replicas: None,
    };
    let there = || {
        let pods = cluster.pods.iter().enumerate();
        pods.filter_map(|(ordinal, pod)| Some((ordinal, (*pod)?)))
    };
    let uid = |ordinal: usize, uid: u8| -> Box<str> { format!("{ordinal}{uid}").into() };
    let pods = there().map(|(ordinal, pod)| Pod {
        ordinal: ordinal.try_into().unwrap(),
        name: format!("{SET}-{ordinal}").into(),
        uid: uid(ordinal, pod.uid),
        version: "1".into(),
        revision: format!("r{}", pod.revision).into(),
        deleted_until: pod.ending.then_some(Timestamp::MAX),
        ready_since: pod.ready.then(|| earlier(5000)),
        runs: pod.ready,
        trouble: None,
        has_hold: true,
        marked: pod.marked,
        zero: match (config.proven(cluster, ordinal), pod.weight) {
            (true, _) => Zero::Proven("0".into()),
            (false, Weight::Full) => Zero::Takes("not 0".into()),
            (false, _) => Zero::Unproven("not read yet".into()),
        },
        count: None,
        next_counter: "lameduck-count-1".into(),
    });
    let backends = there().filter(|(_, pod)| pod.weight != Weight::Unbound);
    let backends = backends.map(|(ordinal, pod)| Backend {
        pod: Some(uid(ordinal, pod.uid)),
        weight: Some(if pod.weight == Weight::Full { 10 } else { 0 }),
        healthy: None,
    });
    let frontend = Frontend {
        load_balancer: "lb".into(),
        place: lameduck_core::drain::clb::Place { listener: "l".into(), rule: None },
        name: "TCP:80".into(),
        port: Some(HTTP),
        backends: backends.collect(),
    };
    let has_backend = config.clb && !frontend.backends.is_empty();
    Facts {
        name: SET.into(),
        set: Some(set),
        policy: Ok(Arc::clone(&config.policy)),
        pods: pods.collect(),
        services: config.clb.then(|| service(cluster.zeros)).into_iter().collect(),
        balancers: Balancers {
            frontends: has_backend.then_some(frontend).into_iter().collect(),
            unknown: None,
        },
        budgets: Vec::new(),
        upgrade: status.map(|status| Upgrade { status: full(status), ..Upgrade::default() }),
    }
}

fn service(bits: Bits) -> Service {
    let mut ordinals = Zeros::new();
    let ours = (0..8u32).filter(|ordinal| bits.has(usize::try_from(*ordinal).unwrap()));
    ordinals.insert(SET.into(), ours.collect());
    let change = with_zeros(&Annotations::default(), &[HTTP], &ordinals).unwrap();
    let (weights, record) = change.map_or((None, None), |change| (change.weights, change.record));
    Service {
        name: "s".into(),
        version: "1".into(),
        load_balancer: Some("lb".into()),
        weights: weights.map(Into::into),
        record: record.map(Into::into),
        ports: vec![HTTP],
    }
}

/// A status with words and times in it.
fn full(status: &Status) -> UpgradeStatus {
    let claim = |claim: &crate::state::Claim| Claim {
        ordinal: claim.ordinal.into(),
        pod: format!("{SET}-{}", claim.ordinal),
        uid: if claim.uid == 9 { String::new() } else { format!("{}{}", claim.ordinal, claim.uid) },
        step: STEPS[usize::from(claim.step)],
        furthest: STEPS[usize::from(claim.furthest)],
        since: now(),
        blind: false,
        counter: None,
        message: claim.left.map_or("", |left| PUT_BACK[usize::from(left)]).to_owned(),
    };
    let withdrawn = |ordinal: u8| Withdrawn { ordinal: ordinal.into(), message: String::new() };
    UpgradeStatus {
        phase: PHASES[usize::from(status.phase)],
        target_revision: status.target.map(|target| format!("r{target}")).unwrap_or_default(),
        ordinals: status.claims.iter().map(claim).collect(),
        withdrawn: status.withdrawn.map(withdrawn),
        reason: if status.has_reason { "Said".to_owned() } else { String::new() },
        last_progress_at: Some(if status.late { earlier(10_000) } else { now() }),
        ..UpgradeStatus::default()
    }
}
