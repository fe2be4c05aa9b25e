//! What is too old, or does not belong together.

use lameduck_api::names::{CUSTOM_WEIGHT_INGRESS, CUSTOM_WEIGHT_SERVICE, SYSTEM_NAMESPACE};

use super::{Finding, Reason};
use crate::check::facts::{Facts, Installation};

/// The lowest minor version of Kubernetes 1 that is promised.
const SERVER_MINOR_LEAST: u32 = 33;

pub(super) fn look(facts: &Facts, found: &mut Vec<Finding>) {
    server(&facts.installation, found);
    versions(facts, found);
    tke(&facts.installation, found);
}

fn server(installation: &Installation, found: &mut Vec<Finding>) {
    if let Ok((major, minor, name)) = &installation.server
        && (*major, *minor) < (1, SERVER_MINOR_LEAST)
    {
        found.push(Finding::new(
            Reason::ServerTooOld,
            "cluster",
            format!("the API server is {name}; Lameduck promises to run on 1.{SERVER_MINOR_LEAST} and newer"),
            format!("upgrade the cluster to 1.{SERVER_MINOR_LEAST} or newer"),
        ));
    }
}

/// The tag of an image, where it is a version: `0.1.0` of `docker.io/lameduck/webhook:0.1.0`.
fn tag(image: &str) -> Option<&str> {
    let (_, tag) = image.split('@').next()?.rsplit_once(':')?;
    let version = tag.strip_prefix('v').unwrap_or(tag);
    (!version.contains('/') && numbers(version).is_some()).then_some(version)
}

/// Major, minor and patch.
fn numbers(version: &str) -> Option<(u32, u32, u32)> {
    let version = version.strip_prefix('v').unwrap_or(version);
    let core = version.split(['-', '+']).next()?;
    let mut parts = core.split('.').map(str::parse::<u32>);
    let mut next = || parts.next()?.ok();
    Some((next()?, next()?, next()?))
}

fn versions(facts: &Facts, found: &mut Vec<Finding>) {
    // What a replica says of itself counts more than the tag of its image.
    let said = facts.installation.replicas.iter().flatten().filter_map(|replica| {
        let version = &replica.state.as_ref().ok()?.version;
        (!version.is_empty()).then(|| (format!("pod {}", replica.pod), version.clone()))
    });
    let tagged = facts.installation.components.iter().flatten().filter_map(|component| {
        Some((format!("deployment {}", component.name), tag(&component.image)?.to_owned()))
    });
    let all: Vec<(String, String)> = tagged.chain(said).collect();
    let Some((_, first)) = all.first() else { return };
    if all.iter().any(|(_, version)| version != first) {
        let list: Vec<String> =
            all.iter().map(|(who, version)| format!("{who} {version}")).collect();
        found.push(Finding::new(
            Reason::VersionsDiffer,
            format!("namespace/{SYSTEM_NAMESPACE}"),
            format!("parts of Lameduck have different versions: {}", list.join(", ")),
            "apply the manifests of one version, and wait for the rollout",
        ));
    } else if *first != facts.client_version {
        found.push(Finding::new(
            Reason::ClientVersionDiffers,
            format!("namespace/{SYSTEM_NAMESPACE}"),
            format!("this command is {}, the installation is {first}", facts.client_version),
            format!("use kubectl-lameduck {first}"),
        ));
    }
}

fn tke(installation: &Installation, found: &mut Vec<Finding>) {
    const CONFIG: &str = "configmap/kube-system/tke-service-controller-config";
    const INGRESS_CONFIG: &str = "configmap/kube-system/tke-ingress-controller-config";
    let Ok(tke) = &installation.tke else { return };
    // Only who reads load balancers knows of whom to remind.
    let reminds = matches!(&installation.clb, Ok(Some(access)) if access.configured);
    let older = |version: &Option<String>, least: (u32, u32, u32)| {
        let version = version.as_deref()?;
        numbers(version).filter(|version| *version < least).map(|_| version.to_owned())
    };
    if let Some(version) = older(&tke.service_controller, (2, 2, 0)) {
        found.push(Finding::new(
            Reason::TkeTooOld,
            CONFIG,
            format!(
                "TKE's service-controller is {version}: before v2.2.0 it does not take the weight of a pod \
                 that ends to 0 by itself"
            ),
            "upgrade the service-controller in TKE's console to v2.4.0 or newer",
        ));
    } else if let Some(version) = older(&tke.service_controller, (2, 4, 0)).filter(|_| reminds) {
        found.push(Finding::new(
            Reason::TkeIgnoresReminders,
            CONFIG,
            format!(
                "TKE's service-controller is {version}: before v2.4.0 it does not obey \
                 {CUSTOM_WEIGHT_SERVICE}, by which Lameduck reminds it of a pod that ends"
            ),
            "upgrade the service-controller in TKE's console to v2.4.0 or newer",
        ));
    }
    if let Some(version) = older(&tke.ingress_controller, (2, 6, 0)).filter(|_| reminds) {
        found.push(Finding::new(
            Reason::TkeIgnoresReminders,
            INGRESS_CONFIG,
            format!(
                "TKE's ingress-controller is {version}: before v2.6.0 it does not obey \
                 {CUSTOM_WEIGHT_INGRESS}, by which Lameduck reminds it of a pod that ends"
            ),
            "upgrade the ingress-controller in TKE's console to v2.6.0 or newer",
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_tags() {
        for (image, version) in [
            ("docker.io/lameduck/webhook:0.1.0", Some("0.1.0")),
            ("registry:5000/lameduck/webhook:v1.2.3-rc.1", Some("1.2.3-rc.1")),
            ("registry:5000/lameduck/webhook", None),
            ("webhook:latest", None),
            ("webhook:0.1.0@sha256:abc", Some("0.1.0")),
            ("webhook", None),
        ] {
            assert_eq!(tag(image), version, "{image}");
        }
        assert!(numbers("v2.11.4") > numbers("v2.4.0"));
        assert_eq!(numbers("2.4"), None);
    }
}
