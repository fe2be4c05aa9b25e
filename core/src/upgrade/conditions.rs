//! An upgrade's conditions, from its phase.

use jiff::Timestamp;

use super::object::{Condition, Phase, UpgradeStatus};

/// Progressing, Stalled and Complete, with the time of their last change.
pub(super) fn conditions(status: &UpgradeStatus, now: Timestamp) -> Vec<Condition> {
    let phase = status.phase;
    let moves = matches!(phase, Phase::Pending | Phase::Progressing);
    let all = [
        ("Progressing", moves),
        ("Stalled", phase == Phase::Stalled),
        ("Complete", phase == Phase::Complete),
    ];
    all.into_iter()
        .map(|(type_, is)| {
            let word = if is { "True" } else { "False" };
            let before = status.conditions.iter().find(|one| one.type_ == type_);
            let since = before.filter(|one| one.status == word);
            Condition {
                type_: type_.to_owned(),
                status: word.to_owned(),
                reason: status.reason.clone(),
                message: status.message.clone(),
                last_transition_time: since.map_or(now, |one| one.last_transition_time),
            }
        })
        .collect()
}
