//! The `Upgrade` of a StatefulSet, as any client reads it: not through our own type.

use std::fmt::{Display, Formatter};

use anyhow::{Context, Result};
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use kube::{Client, ResourceExt};
use serde_json::Value;

/// The phase of an upgrade that is over.
pub(crate) const COMPLETE: &str = "Complete";
/// The phase of one that a person has stopped.
pub(super) const PAUSED: &str = "Paused";
/// The phase of one that cannot go on by itself.
pub(super) const STALLED: &str = "Stalled";

/// What an `Upgrade` says of itself.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Upgrade {
    pub(crate) phase: String,
    pub(crate) target_revision: String,
    updated: u64,
    total: u64,
    reason: String,
    message: String,
}

impl Upgrade {
    /// Reads the one of the StatefulSet `name`; none where there is none, or its kind is not known.
    ///
    /// # Errors
    /// The API server does not answer.
    pub(crate) async fn read(client: &Client, namespace: &str, name: &str) -> Result<Option<Self>> {
        let kind = GroupVersionKind::gvk("lameduck.dev", "v1alpha1", "Upgrade");
        let resource = ApiResource::from_gvk_with_plural(&kind, "upgrades");
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
        let found = match api.get(name).await {
            Ok(object) => Some(object).filter(|one| one.metadata.deletion_timestamp.is_none()),
            // Also where Lameduck is not installed.
            Err(kube::Error::Api(status)) if status.code == 404 => None,
            Err(error) => {
                let what = format!("the Upgrade {namespace}/{name} cannot be read");
                return Err(error).context(what);
            }
        };
        Ok(found.map(|object| {
            let own = object.name_any();
            let status = object.data.get("status").cloned().unwrap_or_default();
            Self::of(&status).unwrap_or_else(|| Self {
                message: format!("the Upgrade {own} has no phase yet"),
                ..Self::default()
            })
        }))
    }

    /// From its status; none without a phase.
    fn of(status: &Value) -> Option<Self> {
        let text = |key: &str| status[key].as_str().unwrap_or_default().to_owned();
        let number = |key: &str| status[key].as_u64().unwrap_or_default();
        Some(Self {
            phase: status["phase"].as_str()?.to_owned(),
            target_revision: text("targetRevision"),
            updated: number("updated"),
            total: number("total"),
            reason: text("reason"),
            message: text("message"),
        })
    }

    pub(super) fn is_paused(&self) -> bool {
        self.phase == PAUSED
    }

    pub(super) fn is_stalled(&self) -> bool {
        self.phase == STALLED
    }
}

impl Display for Upgrade {
    /// For a person who waits for it.
    fn fmt(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        let Self { phase, updated, total, reason, message, .. } = self;
        if phase.is_empty() {
            return write!(formatter, "{message}");
        }
        write!(formatter, "{phase}, {updated} of {total}")?;
        match (reason.is_empty(), message.is_empty()) {
            (_, false) => write!(formatter, ": {message}"),
            (false, true) => write!(formatter, ": {reason}"),
            (true, true) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Upgrade;

    #[test]
    fn an_upgrade_says_how_far_it_is_and_what_it_waits_for() {
        let status = json!({
            "phase": "Progressing",
            "targetRevision": "web-2",
            "total": 3,
            "updated": 1,
            "reason": "Draining",
            "message": "web-1 has 4 connections",
        });
        let upgrade = Upgrade::of(&status).unwrap();
        assert_eq!(upgrade.target_revision, "web-2");
        assert_eq!(upgrade.to_string(), "Progressing, 1 of 3: web-1 has 4 connections");
        let short = Upgrade::of(&json!({"phase": "Pending", "reason": "Seen"})).unwrap();
        assert_eq!(short.to_string(), "Pending, 0 of 0: Seen");
        assert_eq!(Upgrade::of(&json!({})), None);
    }
}
