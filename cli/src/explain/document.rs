//! The answer of `explain`. Its fields stay: programs read them.

use jiff::Timestamp;
use serde::Serialize;

use crate::status::document::{Hold, Phase};

/// Version of the documents that commands print.
pub const API_VERSION: &str = "cli.lameduck.dev/v1";

/// Why an object is treated as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// `cli.lameduck.dev/v1`.
    pub api_version: &'static str,
    /// `Explanation`.
    pub kind: &'static str,
    /// `pod/shop-2`.
    pub object: String,
    /// Its namespace.
    pub namespace: String,
    /// Which policy applies, and why.
    pub enrolment: Enrolment,
    /// What was injected; none where nothing was.
    pub injected: Option<Injection>,
    /// What the webhook would do if the object were created now: `Unchanged`, `Patched`, `NotEnrolled`,
    /// `OptedOut`, `UnknownPolicy`, `Observed`, `PolicyOff`, or why it is skipped; `Unknown` where that could
    /// not be read.
    pub if_created_now: String,
    /// What the webhook would warn of: what it leaves alone, and why.
    pub warnings: Vec<String>,
    /// Services that send to it, and their load balancers.
    pub services: Vec<Sender>,
    /// Where its end stands; none where it is not being deleted.
    pub end: Option<End>,
    /// Of a workload: each pod that is not protected, or ends.
    pub pods: Vec<PodLine>,
    /// Of a StatefulSet: its upgrade, in a sentence.
    pub upgrade: Option<String>,
    /// What is decided.
    pub decision: String,
    /// What would change that.
    pub to_change_it: Vec<String>,
    /// What could not be read, and why.
    pub notes: Vec<String>,
}

/// Which policy applies, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Enrolment {
    /// The label's value, where there is one that counts.
    pub policy: Option<String>,
    /// Where it was found: `pod`, `template`, `statefulset`, `deployment`, `namespace`.
    pub found_on: Option<&'static str>,
    /// There is a policy of that name; none where there is no name, or policies could not be read.
    pub policy_exists: Option<bool>,
    /// The policy's mode.
    pub mode: Option<String>,
    /// What the policy says of ends, in a sentence.
    pub settings: Option<String>,
    /// All of that in a sentence.
    pub says: String,
    /// Everything that it depends on could be read.
    #[serde(skip)]
    pub is_known: bool,
}

/// What was injected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Injection {
    /// Each thing in a few words.
    pub what: Vec<String>,
    /// Version of the webhook that did it; none for a workload.
    pub version: Option<String>,
}

/// A Service that selects the pods, or an Ingress that leads to one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sender {
    /// The Service.
    pub service: String,
    /// The Ingress, where it is that one's load balancer.
    pub ingress: Option<String>,
    /// Its CLB, `lb-…`; none where TKE wrote none.
    pub load_balancer: Option<String>,
    /// The CLB's backends are the pods themselves.
    pub direct_access: bool,
}

/// Where the end of a pod stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct End {
    /// When it was deleted.
    pub deleted_at: Timestamp,
    /// When its holds end at the latest.
    pub hold_until: Timestamp,
    /// When its kubelet kills what still runs.
    pub killed_at: Timestamp,
    /// The finalizer keeps its object.
    pub has_finalizer: bool,
    /// What it waits for, as `status` says it.
    pub phase: Phase,
    /// Whether anything of it runs: `Running`, `Ended`, `NeverStarted`.
    pub containers: &'static str,
    /// `lameduck.dev/TrafficOff`: the last reads.
    pub traffic_off: Option<Said>,
    /// `lameduck.dev/Drained`.
    pub drained: Option<Said>,
    /// What its holds said last.
    pub holds: Vec<Hold>,
    /// Who let it go, and why.
    pub released: Option<String>,
}

/// A condition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Said {
    /// True, False, Unknown.
    pub status: String,
    /// CamelCase.
    pub reason: String,
    /// The evidence.
    pub message: String,
    /// Since when.
    pub since: Option<Timestamp>,
}

/// A pod of a workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodLine {
    /// Its name.
    pub name: String,
    /// `Protected`, `Ending`, or why it is not protected.
    pub state: String,
}
