//! Pods that are enrolled and still left alone, and why.

use super::view::Pod;

/// Why an enrolled pod is not injected. The words are stable: metric labels and Event reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// The pod belongs to a Job: it ends by itself, and holding it would hold the Job.
    JobOwned,
    /// The pod ends by itself.
    RestartPolicy,
    /// The API's picture of a static pod: the kubelet ends the real one whatever the API says.
    StaticPod,
    /// There is no hold for Windows.
    Windows,
    /// The pod is being deleted already.
    Terminating,
}

impl Skip {
    /// The stable CamelCase word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::JobOwned => "JobOwned",
            Self::RestartPolicy => "RestartPolicy",
            Self::StaticPod => "StaticPod",
            Self::Windows => "Windows",
            Self::Terminating => "Terminating",
        }
    }

    /// The reason as the end of a sentence "not protected: …".
    pub fn message(self) -> &'static str {
        match self {
            Self::JobOwned => "pods of a Job end by themselves",
            Self::RestartPolicy => "only pods with restartPolicy Always serve until they are ended",
            Self::StaticPod => "static pods are ended by their node, not through the API",
            Self::Windows => "there is no hold for Windows",
            Self::Terminating => "it is being deleted already",
        }
    }
}

/// What the decision reads: the webhook takes it from the review, the controller from its watch.
#[derive(Clone, Copy, Debug, Default)]
pub struct SkipFacts<'a> {
    /// An owner's kind is `Job`.
    pub job_owned: bool,
    /// `spec.restartPolicy`; missing or empty means `Always`.
    pub restart_policy: Option<&'a str>,
    /// The annotation `kubernetes.io/config.mirror` is set.
    pub mirror: bool,
    /// `spec.os.name`.
    pub os: Option<&'a str>,
    /// `spec.nodeSelector["kubernetes.io/os"]`.
    pub node_selector_os: Option<&'a str>,
    /// `metadata.deletionTimestamp` is set.
    pub terminating: bool,
}

impl<'a> SkipFacts<'a> {
    /// The facts of a pod under review.
    pub fn of(pod: &'a Pod<'_>) -> Self {
        let metadata = &pod.metadata;
        let owners = metadata.owner_references.as_deref().unwrap_or_default();
        Self {
            job_owned: owners.iter().any(|owner| owner.kind.as_deref() == Some("Job")),
            restart_policy: pod.spec.restart_policy.as_deref(),
            mirror: metadata.annotations.as_ref().is_some_and(|all| all.mirror.is_some()),
            os: pod.spec.os.as_ref().and_then(|os| os.name.as_deref()),
            node_selector_os: pod.spec.node_selector.as_ref().and_then(|all| all.os.as_deref()),
            terminating: metadata.deletion_timestamp.is_some(),
        }
    }
}

/// Why an enrolled pod is left alone; `None` where it is injected.
pub fn skip(facts: &SkipFacts<'_>) -> Option<Skip> {
    if facts.terminating {
        Some(Skip::Terminating)
    } else if facts.mirror {
        Some(Skip::StaticPod)
    } else if facts.job_owned {
        Some(Skip::JobOwned)
    } else if facts.restart_policy.is_some_and(|policy| !policy.is_empty() && policy != "Always") {
        Some(Skip::RestartPolicy)
    } else if facts.os.is_some_and(|os| os == "windows")
        || facts.node_selector_os.is_some_and(|os| os == "windows")
    {
        Some(Skip::Windows)
    } else {
        None
    }
}
