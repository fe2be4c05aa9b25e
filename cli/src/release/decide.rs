//! Whether Lameduck holds a pod, and what it waits for. Pure.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use lameduck_api::names::{ANNOTATION_INJECTED, CONDITION_DRAINED, CONDITION_TRAFFIC_OFF};

use crate::common::failure::Failure;
use crate::common::finalizer::has_finalizer;

/// A pod that Lameduck holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// What it waits for, in a sentence.
    pub waits_for: String,
}

/// What Lameduck holds the pod for.
///
/// # Errors
/// Nothing of Lameduck's holds it.
pub fn held(pod: &Pod) -> Result<Held, Failure> {
    let name = format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any());
    let is_ours =
        has_finalizer(&pod.metadata) || pod.annotations().contains_key(ANNOTATION_INJECTED);
    if !is_ours {
        let message = format!(
            "pod {name} is not held by Lameduck: it has neither its hold nor its finalizer"
        );
        return Err(Failure::refused(message).cure("kubectl describe pod says what else keeps it"));
    }
    if pod.metadata.deletion_timestamp.is_none() {
        return Err(Failure::refused(format!(
            "pod {name} is not being deleted, so nothing holds it"
        ))
        .cure("delete it first: it then drains, and can be released while it does"));
    }
    let of = |type_: &str| {
        let conditions = pod.status.as_ref()?.conditions.as_ref()?;
        let found = conditions.iter().find(|condition| condition.type_ == type_)?;
        Some((found.status.as_str(), found.message.clone().unwrap_or_default()))
    };
    let waits_for = match (of(CONDITION_TRAFFIC_OFF), of(CONDITION_DRAINED)) {
        (Some(("True", _)), Some(("True", _))) => {
            "its traffic is off and its connections have ended; its containers end now".to_owned()
        }
        (Some(("True", traffic)), _) => {
            format!("its traffic is off ({traffic}), and connections to it are left")
        }
        (Some((_, why)), _) => format!("its traffic is not proven off: {why}"),
        (None, _) => "nothing is known of its traffic yet".to_owned(),
    };
    Ok(Held { waits_for })
}
