//! The `Upgrade` object: what a person may ask of an upgrade, and what it says of itself.
//!
//! One per StatefulSet, of the same name. The status is more than a report: an ordinal is taken out of
//! service only after it stands there as claimed, so a controller that dies, or two that believe to lead,
//! go on with the same ordinals.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a person may ask of an upgrade. Lameduck makes the object, and writes none of this.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct UpgradeSpec {
    /// Takes no further pod out of service. What is on its way comes back.
    pub paused: bool,
    /// With mode PerBatch: batches after which a person said to go on; with Manual: 1 starts. Counted from
    /// the beginning of the object; what stands here when a new revision comes is spent.
    #[schemars(range(min = 0))]
    pub approved_batches: u32,
    /// The revision whose upgrade is to end: weights and replicas are put back, and no further pod is
    /// replaced. Another revision is not affected.
    pub abort_revision: Option<String>,
    /// Raise it to try again after Stalled.
    #[schemars(range(min = 0))]
    pub retries: u32,
}

/// Where an upgrade is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// Seen, and nothing done yet.
    #[default]
    Pending,
    /// It goes on by itself.
    Progressing,
    /// Somebody stopped it.
    Paused,
    /// The policy wants a person to say that it may go on.
    WaitingForApproval,
    /// It cannot go on by itself. The reason says why.
    Stalled,
    /// Somebody ended it, or the StatefulSet is not enrolled any more.
    Aborted,
    /// Every pod has the revision, and serves.
    Complete,
}

impl Phase {
    /// Whether nothing of it is left to do, or to be waited for.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Complete | Self::Aborted)
    }

    /// The word, as it stands in the status and in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Progressing => "Progressing",
            Self::Paused => "Paused",
            Self::WaitingForApproval => "WaitingForApproval",
            Self::Stalled => "Stalled",
            Self::Aborted => "Aborted",
            Self::Complete => "Complete",
        }
    }
}

/// Where a claimed ordinal is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum Step {
    /// Its weight goes to 0, and is read until that is proven.
    WeightZero,
    /// Its connections are counted, because nothing in it holds it.
    Counting,
    /// It is deleted now.
    Deleting,
    /// It was deleted, and its hold waits for its connections.
    Draining,
    /// The StatefulSet controller makes the new one.
    Replacing,
    /// The new one is not ready yet.
    Starting,
    /// The new one is ready, and has to stay so for a while.
    Soaking,
    /// It gets its weight back, and is read until it serves.
    Returning,
}

impl Step {
    /// Whether the ordinal's weight is to be 0 in this step.
    #[must_use]
    pub const fn is_out(self) -> bool {
        !matches!(self, Self::Returning)
    }

    /// Whether its pod has not been deleted yet: it can be put back as it was.
    #[must_use]
    pub const fn is_untouched(self) -> bool {
        matches!(self, Self::WeightZero | Self::Counting | Self::Deleting)
    }
}

/// An ordinal that is out of service for the upgrade.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    /// The ordinal.
    pub ordinal: u32,
    /// Name of the pod.
    pub pod: String,
    /// UID of the pod that is replaced.
    pub uid: String,
    /// Where it is.
    pub step: Step,
    /// The furthest that it was: a pod that gets ready and unready again makes no progress.
    pub furthest: Step,
    /// Since when it is where it is.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub since: Timestamp,
    /// It is deleted though its connections were not seen to end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub blind: bool,
    /// The ephemeral container that counts its connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counter: Option<String>,
    /// What it waits for.
    #[serde(default)]
    pub message: String,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// When.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub at: Timestamp,
    /// The ordinal that it is about.
    pub ordinal: u32,
    /// The step that began; none where the ordinal was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<Step>,
    /// What was seen before.
    #[serde(default)]
    pub message: String,
}

/// A condition, as everywhere in Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Progressing, Stalled, Complete.
    #[serde(rename = "type")]
    pub type_: String,
    /// True or False.
    pub status: String,
    /// CamelCase.
    pub reason: String,
    /// For a person.
    pub message: String,
    /// Since when it has this status.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub last_transition_time: Timestamp,
}

/// An ordinal that was given back because it could not be taken out in time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Withdrawn {
    /// The ordinal.
    pub ordinal: u32,
    /// What it had been waiting for.
    pub message: String,
}

/// What an upgrade says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct UpgradeStatus {
    /// Where it is.
    pub phase: Phase,
    /// The StatefulSet's `status.updateRevision` that it leads to.
    pub target_revision: String,
    /// Pods that are to have it.
    pub total: u32,
    /// Pods that have it and serve.
    pub updated: u32,
    /// Why it waits, in a word.
    pub reason: String,
    /// The same in a sentence.
    pub message: String,
    /// Ordinals that are out of service for it.
    pub ordinals: Vec<Claim>,
    /// What happened last, oldest first.
    pub history: Vec<Entry>,
    /// Progressing, Stalled, Complete.
    pub conditions: Vec<Condition>,
    /// When this revision was first seen.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub started_at: Option<Timestamp>,
    /// When it was complete.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
    /// When anything moved last.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub last_progress_at: Option<Timestamp>,
    /// `spec.approvedBatches` when this revision came: what was approved before does not count.
    pub approved_before: u32,
    /// Pods that this revision had when it came.
    pub updated_before: u32,
    /// `spec.retries` that were heard.
    pub retries_seen: u32,
    /// `spec.approvedBatches` that were heard.
    pub approvals_seen: u32,
    /// The ordinal that could not be taken out in time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub withdrawn: Option<Withdrawn>,
    /// Somebody else changed the replicas during this revision's upgrade: no pod is added for it any more.
    pub surge_given_up: bool,
    /// How often somebody set the replicas back to what they were: an applied manifest does.
    pub surges_taken_back: u32,
    /// `metadata.generation` of the StatefulSet when that was seen last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub surge_taken_back_in: Option<i64>,
}

/// Entries that are kept: some six steps for each of the last sixteen ordinals.
const ENTRIES_MAX: usize = 100;

impl UpgradeStatus {
    /// Adds to the history; the oldest entry makes room.
    pub fn record(&mut self, entry: Entry) {
        self.history.push(entry);
        let surplus = self.history.len().saturating_sub(ENTRIES_MAX);
        self.history.drain(..surplus);
    }

    /// The claim of an ordinal.
    #[must_use]
    pub fn claim(&self, ordinal: u32) -> Option<&Claim> {
        self.ordinals.iter().find(|claim| claim.ordinal == ordinal)
    }
}
