//! How the hold gets into the pod: an init container copies it to a small emptyDir, and every
//! container that is held mounts that read-only.
//!
//! This file is all there is to delivery, so that an image volume can take its place.

use serde::Serialize;
use serde_json::json;

use super::{
    patch::Patch,
    view::{Container, Pod, PodSpec, Resources},
};
use crate::names::{HOLD_CONTAINER, HOLD_MOUNT_PATH};

/// The hold's binary in its own image.
const IMAGE_BINARY_PATH: &str = "/lameduck-hold";
/// User of the init container where the pod names none: `nobody` of distroless images.
const USER: i64 = 65532;

/// What stands in the way of delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// Nothing: it has to be injected.
    Missing,
    /// It is there.
    Present,
    /// The author uses the name `lameduck` for something else.
    NameTaken,
}

/// Looks for the init container and the volume.
pub(super) fn find(spec: &PodSpec<'_>) -> Delivery {
    let init = spec.init_containers.as_deref().unwrap_or_default();
    let named = |container: &&Container<'_>| &*container.name == HOLD_CONTAINER;
    let volume =
        spec.volumes.iter().flatten().find(|volume| volume.name.as_deref() == Some(HOLD_CONTAINER));
    if spec.containers.iter().any(|container| named(&container)) {
        return Delivery::NameTaken;
    }
    match (init.iter().find(named), volume) {
        (None, None) => Delivery::Missing,
        (Some(container), Some(volume)) if installs(container) && volume.empty_dir.is_some() => {
            Delivery::Present
        }
        _ => Delivery::NameTaken,
    }
}

/// Whether an init container is the one that we inject.
fn installs(container: &Container<'_>) -> bool {
    container.command.as_deref().and_then(<[_]>::first).map(|program| &**program)
        == Some(IMAGE_BINARY_PATH)
        && is_mounted(container)
}

/// Whether a container has the hold's volume at its place.
pub(super) fn is_mounted(container: &Container<'_>) -> bool {
    container.volume_mounts.iter().flatten().any(|mount| {
        mount.name.as_deref() == Some(HOLD_CONTAINER)
            && mount.mount_path.as_deref() == Some(HOLD_MOUNT_PATH)
    })
}

/// Whether the author mounts something of his own at or below the hold's place.
pub(super) fn is_mount_path_taken(container: &Container<'_>) -> bool {
    container.volume_mounts.iter().flatten().any(|mount| {
        let path = mount.mount_path.as_deref().unwrap_or_default();
        let inside = path
            .strip_prefix(HOLD_MOUNT_PATH)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        inside && mount.name.as_deref() != Some(HOLD_CONTAINER)
    })
}

/// Adds the volume, and the init container as the first of the list: it then runs before a mesh
/// takes the network over, and its request never adds to that of a sidecar.
pub(super) fn add(patch: &mut Patch, pod: &Pod<'_>, image: &str) {
    let spec = &pod.spec;
    patch.append(
        "/spec/volumes",
        spec.volumes.is_some(),
        json!({"name": HOLD_CONTAINER, "emptyDir": {"sizeLimit": "8Mi"}}),
    );
    patch.prepend("/spec/initContainers", spec.init_containers.is_some(), init(spec, image));
}

/// A mount of the hold's volume at its place.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Mount {
    name: &'static str,
    mount_path: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    read_only: Option<bool>,
}

impl Mount {
    /// For a container that is held.
    pub(super) const READ_ONLY: Self = Self { read_only: Some(true), ..Self::WRITABLE };
    /// For the init container.
    const WRITABLE: Self =
        Self { name: HOLD_CONTAINER, mount_path: HOLD_MOUNT_PATH, read_only: None };
}

/// The init container.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Init<'a> {
    name: &'static str,
    image: &'a str,
    image_pull_policy: &'static str,
    command: [&'static str; 4],
    env: [Variable; 4],
    volume_mounts: [Mount; 1],
    security_context: SecurityContext,
    #[serde(skip_serializing_if = "Option::is_none")]
    resources: Option<&'a Resources<'a>>,
}

/// An environment variable with a field of the pod.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Variable {
    name: &'static str,
    value_from: ValueFrom,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ValueFrom {
    field_ref: FieldRef,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FieldRef {
    api_version: &'static str,
    field_path: &'static str,
}

/// What restricted Pod Security asks for.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SecurityContext {
    allow_privilege_escalation: bool,
    capabilities: Capabilities,
    read_only_root_filesystem: bool,
    run_as_non_root: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_as_user: Option<i64>,
    seccomp_profile: SeccompProfile,
}

#[derive(Serialize)]
struct Capabilities {
    drop: [&'static str; 1],
}

#[derive(Serialize)]
struct SeccompProfile {
    r#type: &'static str,
}

fn init<'a>(spec: &'a PodSpec<'_>, image: &'a str) -> Init<'a> {
    let field = |name, field_path| Variable {
        name,
        value_from: ValueFrom { field_ref: FieldRef { api_version: "v1", field_path } },
    };
    let pod_user = spec.security_context.as_ref().and_then(|context| context.run_as_user);
    Init {
        name: HOLD_CONTAINER,
        image,
        image_pull_policy: "IfNotPresent",
        command: [IMAGE_BINARY_PATH, "install", "--to", HOLD_MOUNT_PATH],
        env: [
            field("LAMEDUCK_POD_NAMESPACE", "metadata.namespace"),
            field("LAMEDUCK_POD_NAME", "metadata.name"),
            field("LAMEDUCK_POD_UID", "metadata.uid"),
            field("LAMEDUCK_POD_IP", "status.podIP"),
        ],
        volume_mounts: [Mount::WRITABLE],
        security_context: SecurityContext {
            allow_privilege_escalation: false,
            capabilities: Capabilities { drop: ["ALL"] },
            read_only_root_filesystem: true,
            run_as_non_root: true,
            run_as_user: pod_user.is_none_or(|user| user == 0).then_some(USER),
            seccomp_profile: SeccompProfile { r#type: "RuntimeDefault" },
        },
        resources: resources(spec),
    }
}

/// CPU and memory of the init container: those of the first regular container that has any.
///
/// That keeps the pod's QoS class. A pod without any stays BestEffort. In a Guaranteed pod every
/// container has requests equal to limits, so the copy has too. In a Burstable pod the container that
/// makes it Burstable is still there. The scheduler's request is the larger of an init container's
/// and the sum of the regular ones, so it does not grow. Where the pod has resources of its own,
/// those make the class.
fn resources<'a>(spec: &'a PodSpec<'_>) -> Option<&'a Resources<'a>> {
    let is_set = |resources: &Resources<'_>| {
        resources.requests.is_some_and(|amounts| !amounts.is_empty())
            || resources.limits.is_some_and(|amounts| !amounts.is_empty())
    };
    if spec.resources.as_ref().is_some_and(is_set) {
        return None;
    }
    spec.containers
        .iter()
        .filter_map(|container| container.resources.as_ref())
        .find(|resources| is_set(resources))
}
