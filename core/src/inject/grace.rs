//! The pod's termination grace: raised by the time that a hold may take, never lowered.

use super::view::Pod;

/// Seconds between the end of the longest hold and the kubelet's SIGKILL that are not the
/// application's: the kubelet's own steps, and a clock that differs from the controller's.
pub const MARGIN_SECONDS: u32 = 10;

/// The API's default for `terminationGracePeriodSeconds`, where an author gives none.
pub const GRACE_SECONDS_DEFAULT: u32 = 30;

/// The grace that the author asked for, in seconds.
///
/// A pod that was injected before carries it in the annotation. An annotation that claims more than
/// the pod has is not ours, and does not count.
pub(super) fn original_seconds(pod: &Pod<'_>) -> i64 {
    // Kubernetes reads a negative grace as 1.
    let current = match pod.spec.termination_grace_period_seconds {
        None => i64::from(GRACE_SECONDS_DEFAULT),
        Some(seconds) if seconds < 0 => 1,
        Some(seconds) => seconds,
    };
    pod.metadata
        .annotations
        .as_ref()
        .and_then(|all| all.original_grace.as_deref())
        .and_then(|seconds| seconds.parse::<i64>().ok())
        .filter(|original| (0..=current).contains(original))
        .unwrap_or(current)
}

/// The new grace where it has to be raised: room for `extra_seconds` before the application's own.
pub(super) fn raised_seconds(pod: &Pod<'_>, original: i64, extra_seconds: u32) -> Option<i64> {
    let wanted = original.saturating_add(i64::from(extra_seconds));
    let current = pod.spec.termination_grace_period_seconds;
    current.is_none_or(|current| current < wanted).then_some(wanted)
}
