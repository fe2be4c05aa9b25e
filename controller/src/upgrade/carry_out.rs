//! Carries out one action of a plan.

use k8s_openapi::api::core::v1;
use kube::ResourceExt;
use lameduck_core::drain::{EventReason, EventText};
use lameduck_core::policy::Policy;
use lameduck_core::upgrade::Action;
use lameduck_core::upgrade::census::{self, CensusFacts};

use super::calls::{CallError, Calls};
use super::gather::Gathered;

/// Does it, and says what somebody should know of it.
pub(super) async fn carry_out(
    calls: &Calls,
    gathered: &Gathered,
    action: &Action,
    hold_image: &str,
) -> Result<Option<EventText>, CallError> {
    match action {
        Action::SetWeights { service, version, change } => {
            calls.set_weights(service, version, change).await?;
            Ok(change.left_alone.as_ref().map(|why| {
                EventText::new(
                    EventReason::WeightsLeftAlone,
                    format!("the weights of Service {service} stay as somebody left them: {why}"),
                )
            }))
        }
        Action::Scale { version, replicas, original } => {
            calls.scale(&gathered.facts.name, version, *replicas, *original).await?;
            Ok(None)
        }
        Action::Delete { pod, uid, version } => {
            calls.delete_pod(pod, uid, version).await?;
            Ok(None)
        }
        Action::Mark { pod, uid, version, on } => {
            calls.mark_pod(pod, uid, version, *on).await?;
            Ok(None)
        }
        Action::Count { pod, uid, name } => {
            let found = gathered.pods.iter().find(|one| one.uid().as_deref() == Some(uid));
            let policy = gathered.facts.policy.as_ref().ok();
            let container = found
                .zip(policy)
                .and_then(|(pod, policy)| container(pod, policy, name, hold_image));
            let container = container.ok_or_else(|| CallError::Uncountable { pod: pod.clone() })?;
            calls.add_container(pod, uid, &container).await?;
            Ok(None)
        }
    }
}

/// The container that counts the connections of `pod`; none where there is nothing to count.
fn container(pod: &v1::Pod, policy: &Policy, name: &str, image: &str) -> Option<serde_json::Value> {
    let spec = pod.spec.as_ref()?;
    let tcp = |port: &v1::ContainerPort| {
        let is_tcp = port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP");
        u16::try_from(port.container_port).ok().filter(|_| is_tcp)
    };
    let ports: Vec<u16> =
        spec.containers.iter().flat_map(|one| one.ports.iter().flatten()).filter_map(tcp).collect();
    census::container(&CensusFacts {
        image,
        name,
        until: policy.hold.until,
        max_seconds: policy.hold.max_seconds,
        idle_seconds: policy.hold.idle_seconds,
        ports: &ports,
        pod_user: spec.security_context.as_ref().and_then(|context| context.run_as_user),
        host_network: spec.host_network.unwrap_or(false),
    })
}
