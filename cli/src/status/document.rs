//! What `status` prints with `-o json` and `-o yaml`. Fields are added, and never change their meaning;
//! docs/status.md lists them.

use jiff::Timestamp;
use serde::Serialize;

/// The version of the document.
pub const API_VERSION: &str = "cli.lameduck.dev/v1";

/// What Lameduck does now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// `cli.lameduck.dev/v1`.
    pub api_version: &'static str,
    /// `Status`.
    pub kind: &'static str,
    /// When it was so, by this machine's clock. Every `…Seconds` counts from or to here.
    pub time: Timestamp,
    /// The namespace that was looked at; null for all.
    pub namespace: Option<String>,
    /// The workload that was asked for, as `statefulset/shop`; null for all.
    pub workload: Option<String>,
    /// Workloads that are enrolled, or that have pods that are.
    pub workloads: Vec<Workload>,
    /// Enrolled pods that end now.
    pub ending: Vec<Ending>,
    /// Upgrades, those that are over too.
    pub upgrades: Vec<Upgrade>,
    /// What somebody should know.
    pub notes: Vec<Note>,
}

/// A workload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Workload {
    /// Its namespace.
    pub namespace: String,
    /// `statefulset`, `deployment`, `pod` for one that nobody made, or another kind in small letters.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The policy that its labels name; null where they opt out, or name none.
    pub policy: Option<String>,
    /// The policy's mode, `Enforce`, `Observe` or `Off`; null where there is no such policy.
    pub mode: Option<String>,
    /// Pods that it is to have; null where it is no Deployment and no StatefulSet.
    pub desired: Option<u32>,
    /// Pods of it that are ready; null as `desired`.
    pub ready: Option<u32>,
    /// Enrolled pods that do not end.
    pub pods: u32,
    /// Of them, pods that are protected.
    pub protected: u32,
    /// Why the others are not.
    pub unprotected: Vec<Unprotected>,
    /// Pods of it that end.
    pub ending: u32,
    /// Its upgrade's phase; null where it has none.
    pub upgrade: Option<String>,
}

/// Pods that are enrolled and run without protection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Unprotected {
    /// A word of the metric `lameduck_unprotected_pods`. More pods may have it here: labels of workloads and
    /// their templates count too, the metric sees those of pods and namespaces only.
    pub reason: String,
    /// Pods.
    pub pods: u32,
    /// What to do about it.
    pub cure: String,
}

/// What a pod that ends waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum Phase {
    /// The pod has not been read.
    #[default]
    Unknown,
    /// Traffic may still come.
    WaitingForTraffic,
    /// Traffic is off, and connections are left, or nobody has said yet that none is.
    WaitingForConnections,
    /// The hold is over, or a person let the pod go; the application ends by itself.
    Stopping,
    /// Nothing of it runs, or ever ran; the object is still there.
    Ended,
    /// No hold keeps it: its grace runs.
    NotHeld,
}

/// A pod that ends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ending {
    /// Its namespace.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// Its UID.
    pub uid: String,
    /// Its workload, as `statefulset/shop`.
    pub workload: String,
    /// Its node; null where the pod has not been read, or has none.
    pub node: Option<String>,
    /// Its policy.
    pub policy: Option<String>,
    /// What it waits for.
    pub phase: Phase,
    /// When it was deleted.
    pub since: Option<Timestamp>,
    /// Seconds since then.
    pub since_seconds: Option<i64>,
    /// Where its traffic stands; null where nobody has said.
    pub traffic: Option<Traffic>,
    /// Connections that its holds count; null where nobody knows.
    pub connections: Option<u64>,
    /// Its holds.
    pub holds: Vec<Hold>,
    /// When it goes on without having what it waits for: SIGTERM while it is held, SIGKILL afterwards.
    pub deadline: Option<Timestamp>,
    /// Seconds until then; 0 where that is over.
    pub deadline_in_seconds: Option<i64>,
    /// When its kubelet kills what still runs.
    pub killed_at: Option<Timestamp>,
    /// Why it is where it is.
    pub message: String,
}

/// Where a pod's traffic stands: its condition `lameduck.dev/TrafficOff`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Traffic {
    /// It is off; null where nobody can say.
    pub off: Option<bool>,
    /// The condition's reason.
    pub reason: String,
    /// The evidence.
    pub message: String,
    /// Since when.
    pub since: Option<Timestamp>,
}

/// A hold, as the controller heard it last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Hold {
    /// The container that it holds.
    pub container: String,
    /// `WaitingForTraffic`, `PreStop` or `WaitingForConnections`: the hold's own word.
    pub phase: String,
    /// Connections that are left; null where it does not count them yet.
    pub connections: Option<u64>,
    /// When it said so.
    pub at: Timestamp,
}

/// An upgrade.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Upgrade {
    /// Its namespace.
    pub namespace: String,
    /// The StatefulSet.
    pub stateful_set: String,
    /// Where it is: `Pending`, `Progressing`, `Paused`, `WaitingForApproval`, `Stalled`, `Aborted` or
    /// `Complete`.
    pub phase: String,
    /// Why it waits, in a word.
    pub reason: String,
    /// The same in a sentence.
    pub message: String,
    /// Pods that have the new revision and serve.
    pub updated: u32,
    /// Pods that are to have it.
    pub total: u32,
    /// The revision.
    pub target_revision: String,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it was complete.
    pub completed_at: Option<Timestamp>,
    /// Ordinals that are out of service.
    pub out: Vec<Out>,
}

impl Upgrade {
    /// Whether it is of no interest any more.
    #[must_use]
    pub fn is_past(&self, now: Timestamp) -> bool {
        /// For so long one that is complete is shown.
        const SHOWN_SECONDS: i64 = 600;
        let is_over = ["Complete", "Aborted"].contains(&self.phase.as_str());
        let ago = |at: Timestamp| now.duration_since(at).as_secs();
        is_over && self.completed_at.is_none_or(|at| ago(at) > SHOWN_SECONDS)
    }
}

/// An ordinal that is out of service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Out {
    /// The ordinal.
    pub ordinal: u32,
    /// Its pod.
    pub pod: String,
    /// Where it is: see docs/upgrades.md.
    pub step: String,
    /// Since when.
    pub since: Option<Timestamp>,
    /// Seconds since then.
    pub since_seconds: Option<i64>,
    /// What it waits for.
    pub message: String,
}

/// What somebody should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Note {
    /// The sentence.
    pub message: String,
    /// What to do about it; null where nothing is to be done.
    pub cure: Option<String>,
}

impl Status {
    /// The same without what changes with the clock alone.
    #[must_use]
    pub fn still(&self) -> Self {
        let mut still = Self { time: Timestamp::UNIX_EPOCH, ..self.clone() };
        for pod in &mut still.ending {
            (pod.since_seconds, pod.deadline_in_seconds) = (None, None);
        }
        for out in still.upgrades.iter_mut().flat_map(|upgrade| &mut upgrade.out) {
            out.since_seconds = None;
        }
        still
    }
}
