//! Why somebody should look. A reason never changes its meaning: scripts match on it.

use serde::{Serialize, Serializer};

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Something does not work.
    Error,
    /// It works, and requests may be lost.
    Warning,
    /// Somebody may want to know.
    Info,
}

impl Severity {
    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

/// What a finding is about. They stand in docs/check.md, each with its cure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Lameduck is not installed in the cluster, or not all of it.
    KindsMissing,
    /// A Deployment of Lameduck is missing.
    ComponentMissing,
    /// No replica of a Deployment of Lameduck is ready.
    ComponentDown,
    /// The webhook configuration, or an entry of it, is missing.
    HooksMissing,
    /// The API server has no certificate authority to trust the webhook by.
    CaBundleUnusable,
    /// The API server cannot call the webhook.
    WebhookUnreachable,
    /// The API server does not call the webhook.
    WebhookNotCalled,
    /// The webhook has no certificate, or one that cannot be read.
    CertificateUnusable,
    /// The webhook's certificate has expired.
    CertificateExpired,
    /// No controller leads.
    NoLeader,
    /// An account of Lameduck lacks rights.
    RightsMissing,
    /// The CLB API cannot be read.
    ClbAccessFailed,
    /// TKE's service-controller does not set the weight of a pod that ends.
    TkeTooOld,
    /// A label names no policy.
    UnknownPolicy,
    /// A pod has ended, and Lameduck's finalizer is still on it.
    OrphanFinalizer,
    /// Some replicas of a Deployment of Lameduck are not ready.
    ReplicasNotReady,
    /// The webhook's certificate expires soon, though it should have been renewed.
    CertificateExpiring,
    /// A controller does not hear of what happens.
    WatchNotReady,
    /// The API server is older than what Lameduck promises to run on.
    ServerTooOld,
    /// Parts of Lameduck have different versions.
    VersionsDiffer,
    /// TKE's controllers do not obey a reminder.
    TkeIgnoresReminders,
    /// A policy has fields that this command does not know.
    PolicyUnreadable,
    /// An enrolled pod runs without protection.
    UnprotectedPod,
    /// An enrolled workload has one pod.
    SingleReplica,
    /// An enrolled workload ends every pod before it starts a new one.
    RecreateStrategy,
    /// Pods of an enrolled workload have their nodes' addresses.
    HostNetwork,
    /// A container counts as ready when its process starts.
    NoReadinessProbe,
    /// A container cannot be held as the policy wants it.
    LimitedProtection,
    /// Somebody stopped an upgrade.
    UpgradePaused,
    /// An upgrade cannot go on by itself.
    UpgradeStalled,
    /// An upgrade waits for a person.
    ApprovalNeeded,
    /// Nothing names a policy.
    PolicyUnused,
    /// This command has another version than the installation.
    ClientVersionDiffers,
    /// A replica of the controller could not be asked.
    ControllerNotAsked,
    /// Something could not be looked at.
    NotChecked,
}

impl Reason {
    /// Every one.
    pub const ALL: [Self; 35] = [
        Self::KindsMissing,
        Self::ComponentMissing,
        Self::ComponentDown,
        Self::HooksMissing,
        Self::CaBundleUnusable,
        Self::WebhookUnreachable,
        Self::WebhookNotCalled,
        Self::CertificateUnusable,
        Self::CertificateExpired,
        Self::NoLeader,
        Self::RightsMissing,
        Self::ClbAccessFailed,
        Self::TkeTooOld,
        Self::UnknownPolicy,
        Self::OrphanFinalizer,
        Self::ReplicasNotReady,
        Self::CertificateExpiring,
        Self::WatchNotReady,
        Self::ServerTooOld,
        Self::VersionsDiffer,
        Self::TkeIgnoresReminders,
        Self::PolicyUnreadable,
        Self::UnprotectedPod,
        Self::SingleReplica,
        Self::RecreateStrategy,
        Self::HostNetwork,
        Self::NoReadinessProbe,
        Self::LimitedProtection,
        Self::UpgradePaused,
        Self::UpgradeStalled,
        Self::ApprovalNeeded,
        Self::PolicyUnused,
        Self::ClientVersionDiffers,
        Self::ControllerNotAsked,
        Self::NotChecked,
    ];

    /// The word.
    #[must_use]
    pub fn word(self) -> String {
        // The variants' names are the stable words.
        format!("{self:?}")
    }

    /// How bad that is.
    #[must_use]
    pub const fn severity(self) -> Severity {
        match self {
            Self::KindsMissing
            | Self::ComponentMissing
            | Self::ComponentDown
            | Self::HooksMissing
            | Self::CaBundleUnusable
            | Self::WebhookUnreachable
            | Self::WebhookNotCalled
            | Self::CertificateUnusable
            | Self::CertificateExpired
            | Self::NoLeader
            | Self::RightsMissing
            | Self::ClbAccessFailed
            | Self::TkeTooOld
            | Self::UnknownPolicy
            | Self::OrphanFinalizer => Severity::Error,
            Self::ReplicasNotReady
            | Self::CertificateExpiring
            | Self::WatchNotReady
            | Self::ServerTooOld
            | Self::VersionsDiffer
            | Self::TkeIgnoresReminders
            | Self::PolicyUnreadable
            | Self::UnprotectedPod
            | Self::SingleReplica
            | Self::RecreateStrategy
            | Self::HostNetwork
            | Self::NoReadinessProbe
            | Self::LimitedProtection
            | Self::UpgradePaused
            | Self::UpgradeStalled => Severity::Warning,
            Self::ApprovalNeeded
            | Self::PolicyUnused
            | Self::ClientVersionDiffers
            | Self::ControllerNotAsked
            | Self::NotChecked => Severity::Info,
        }
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.word())
    }
}
