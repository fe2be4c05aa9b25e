//! Reasons of events. A reason never changes its meaning: scripts and alerts match on it.

/// Weight of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// As planned.
    Normal,
    /// Somebody should know.
    Warning,
}

/// Why an event was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventReason {
    /// The pod was deleted, and still gets new traffic.
    WaitingForTraffic,
    /// Every endpoint is not ready; what follows endpoints with a lag gets its time.
    TrafficSettling,
    /// Traffic is off.
    TrafficOff,
    /// It cannot be said whether traffic is off.
    TrafficUnknown,
    /// TKE was reminded of the pod's weight.
    WeightNudged,
    /// The pod was the last backend of a load balancer with a weight.
    LastBackend,
    /// A Service or Ingress names a CLB that does not exist.
    ClbNotFound,
    /// The finalizer was taken off: the pod has ended and traffic is off.
    Released,
    /// The finalizer was taken off though traffic was not proven off.
    GaveUp,
    /// A person let the pod go, whatever it waited for.
    LetGo,
    /// A hold ended with nothing left to lose.
    Drained,
    /// A hold ended at its deadline with connections left.
    DeadlineExceeded,
    /// A hold ended by itself, because no controller could be asked.
    ControllerUnreachable,
    /// A hold ended, and the application will not: it has no handler for SIGTERM.
    SigtermIgnored,
    /// The pod is in scope and runs without protection.
    Unprotected,
    /// The pod lost the label by which it is found, and got it back.
    LabelRestored,
    /// The pod's label names a policy that does not exist.
    UnknownPolicy,
    /// A StatefulSet has a new revision, and its pods are carried to it.
    UpgradeStarted,
    /// A pod is taken out of service for the upgrade.
    OrdinalTaken,
    /// It is deleted, because it may.
    OrdinalDeleted,
    /// It is deleted though its connections were not seen to end.
    OrdinalDeletedBlind,
    /// An ordinal is back in service.
    OrdinalBack,
    /// An ordinal could not be taken out in time, and was given back as it was.
    OrdinalWithdrawn,
    /// Somebody stopped the upgrade.
    UpgradePaused,
    /// A person has to say that the upgrade may go on.
    ApprovalNeeded,
    /// The upgrade cannot go on by itself.
    UpgradeStalled,
    /// The upgrade was ended; weights and replicas are put back.
    UpgradeAborted,
    /// Every pod has the revision, and serves.
    UpgradeComplete,
    /// Somebody else changed the replicas during an upgrade: theirs stay.
    ReplicasChanged,
    /// The API server refuses a step of the upgrade.
    UpgradeRefused,
    /// Somebody edited the weights of a Service so that ours cannot be told from theirs: they stay.
    WeightsLeftAlone,
}

impl EventReason {
    /// The word on the event.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WaitingForTraffic => "WaitingForTraffic",
            Self::TrafficSettling => "TrafficSettling",
            Self::TrafficOff => "TrafficOff",
            Self::TrafficUnknown => "TrafficUnknown",
            Self::WeightNudged => "WeightNudged",
            Self::LastBackend => "LastBackend",
            Self::ClbNotFound => "ClbNotFound",
            Self::Released => "Released",
            Self::GaveUp => "GaveUp",
            Self::LetGo => "LetGo",
            Self::Drained => "Drained",
            Self::DeadlineExceeded => "DeadlineExceeded",
            Self::ControllerUnreachable => "ControllerUnreachable",
            Self::SigtermIgnored => "SigtermIgnored",
            Self::Unprotected => "Unprotected",
            Self::LabelRestored => "LabelRestored",
            Self::UnknownPolicy => "UnknownPolicy",
            Self::UpgradeStarted => "UpgradeStarted",
            Self::OrdinalTaken => "OrdinalTaken",
            Self::OrdinalDeleted => "OrdinalDeleted",
            Self::OrdinalDeletedBlind => "OrdinalDeletedBlind",
            Self::OrdinalBack => "OrdinalBack",
            Self::OrdinalWithdrawn => "OrdinalWithdrawn",
            Self::UpgradePaused => "UpgradePaused",
            Self::ApprovalNeeded => "ApprovalNeeded",
            Self::UpgradeStalled => "UpgradeStalled",
            Self::UpgradeAborted => "UpgradeAborted",
            Self::UpgradeComplete => "UpgradeComplete",
            Self::ReplicasChanged => "ReplicasChanged",
            Self::UpgradeRefused => "UpgradeRefused",
            Self::WeightsLeftAlone => "WeightsLeftAlone",
        }
    }

    /// Its weight.
    #[must_use]
    pub const fn kind(self) -> EventKind {
        match self {
            Self::WaitingForTraffic
            | Self::TrafficSettling
            | Self::TrafficOff
            | Self::WeightNudged
            | Self::Released
            | Self::Drained
            | Self::UpgradeStarted
            | Self::OrdinalTaken
            | Self::OrdinalDeleted
            | Self::OrdinalBack
            | Self::UpgradePaused
            | Self::ApprovalNeeded
            | Self::UpgradeAborted
            | Self::UpgradeComplete => EventKind::Normal,
            Self::TrafficUnknown
            | Self::LastBackend
            | Self::ClbNotFound
            | Self::GaveUp
            | Self::LetGo
            | Self::DeadlineExceeded
            | Self::ControllerUnreachable
            | Self::SigtermIgnored
            | Self::Unprotected
            | Self::LabelRestored
            | Self::UnknownPolicy
            | Self::OrdinalWithdrawn
            | Self::OrdinalDeletedBlind
            | Self::UpgradeStalled
            | Self::ReplicasChanged
            | Self::UpgradeRefused
            | Self::WeightsLeftAlone => EventKind::Warning,
        }
    }
}

/// An event about a pod or a StatefulSet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventText {
    /// Why.
    pub reason: EventReason,
    /// What happened to this object, and what comes next. At most 1 KiB, which the API accepts.
    pub note: String,
}

impl EventText {
    /// An event whose note fits into the API's limit of 1024 bytes.
    #[must_use]
    pub fn new(reason: EventReason, mut note: String) -> Self {
        const NOTE_BYTES_MAX: usize = 1024;
        if note.len() > NOTE_BYTES_MAX {
            let cut = (0..=NOTE_BYTES_MAX - 3).rev().find(|at| note.is_char_boundary(*at));
            note.truncate(cut.unwrap_or(0));
            note.push_str("...");
        }
        Self { reason, note }
    }
}
