//! Why an upgrade waits, in a word. The words never change their meaning.

/// The reason of an upgrade's status and of its conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// An ordinal is out of service and on its way.
    Replacing,
    /// The pod that is added for the upgrade does not serve yet, or is ending.
    Surging,
    /// Pods do not serve, so no other may be taken.
    PodsNotServing,
    /// A PodDisruptionBudget allows no disruption.
    BudgetExhausted,
    /// The pod is the last backend of a load balancer.
    LastBackend,
    /// A Service's own weights cannot be read.
    WeightsInvalid,
    /// A load balancer cannot be read.
    ClbUnknown,
    /// Somebody stopped it.
    Paused,
    /// A person has to say that it may go on.
    ApprovalNeeded,
    /// Nothing moved for too long.
    ProgressDeadlineExceeded,
    /// Somebody ended it.
    Aborted,
    /// Lameduck does not upgrade the StatefulSet any more.
    NotEnrolled,
    /// Every pod has the revision, and serves.
    Complete,
}

impl Reason {
    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Replacing => "Replacing",
            Self::Surging => "Surging",
            Self::PodsNotServing => "PodsNotServing",
            Self::BudgetExhausted => "BudgetExhausted",
            Self::LastBackend => "LastBackend",
            Self::WeightsInvalid => "WeightsInvalid",
            Self::ClbUnknown => "ClbUnknown",
            Self::Paused => "Paused",
            Self::ApprovalNeeded => "ApprovalNeeded",
            Self::ProgressDeadlineExceeded => "ProgressDeadlineExceeded",
            Self::Aborted => "Aborted",
            Self::NotEnrolled => "NotEnrolled",
            Self::Complete => "Complete",
        }
    }
}
