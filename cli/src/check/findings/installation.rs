//! What is wrong with the installation.

use jiff::{SignedDuration, Timestamp};
use lameduck_api::names::SYSTEM_NAMESPACE;
use lameduck_core::policy::Policy;

use super::{Finding, Reason};
use crate::check::facts::{Certificate, Component, Facts, Installation, Lease, Trial};
use crate::check::rights;
use crate::common::words::{count, since};

/// What brings back whatever is missing. An installation with additions of its own has another folder.
const APPLY: &str = "kubectl apply -k manifests/base (or your own kustomization of it)";
const CONTROLLER: &str = "lameduck-controller";
const WEBHOOK: &str = "lameduck-webhook";
/// Certificates are renewed 10 days before they end, so one with 7 days left was not.
const EXPIRES_SOON: SignedDuration = SignedDuration::from_hours(7 * 24);
/// A clock here and one there may differ, and a leader that is replaced is followed within its lease.
const LEASE_SLACK: SignedDuration = SignedDuration::from_secs(15);

pub(super) fn look(facts: &Facts, now: Timestamp, found: &mut Vec<Finding>) {
    let installation = &facts.installation;
    if is_absent(installation) {
        found.push(Finding::new(
            Reason::KindsMissing,
            "cluster",
            "Lameduck is not installed: the API server knows none of its kinds",
            APPLY,
        ));
        return;
    }
    kinds(installation, found);
    components(installation, found);
    hooks(installation, now, found);
    certificate(installation, now, found);
    trial(installation, found);
    pod_trial(facts, found);
    leader(installation, now, found);
    replicas(installation, found);
    missing_rights(installation, found);
    clb(installation, found);
}

fn is_absent(installation: &Installation) -> bool {
    let kinds = installation.missing_kinds.as_ref().is_ok_and(|missing| missing.len() > 1);
    kinds && installation.components.as_ref().map_or(true, Vec::is_empty)
}

fn deployment(name: &str) -> String {
    format!("deployment/{SYSTEM_NAMESPACE}/{name}")
}

fn kinds(installation: &Installation, found: &mut Vec<Finding>) {
    for kind in installation.missing_kinds.iter().flatten() {
        found.push(Finding::new(
            Reason::KindsMissing,
            format!("customresourcedefinition/{kind}.lameduck.dev"),
            format!("the API server does not know {kind}"),
            "kubectl apply -k manifests/crds",
        ));
    }
}

fn components(installation: &Installation, found: &mut Vec<Finding>) {
    let Ok(components) = &installation.components else { return };
    for (name, what_is_lost) in [
        (CONTROLLER, "pods that end are held for as long as they may be"),
        (WEBHOOK, "pods start unprotected, and changes to enrolled workloads are refused"),
    ] {
        let Some(component) = components.iter().find(|one| one.name == name) else {
            found.push(Finding::new(
                Reason::ComponentMissing,
                deployment(name),
                format!("there is no such Deployment: {what_is_lost}"),
                APPLY,
            ));
            continue;
        };
        let Component { wanted, ready, .. } = component;
        if *wanted == 0 {
            found.push(Finding::new(
                Reason::ComponentDown,
                deployment(name),
                format!("it is scaled to 0: {what_is_lost}"),
                format!("kubectl -n {SYSTEM_NAMESPACE} scale deployment {name} --replicas=2"),
            ));
        } else if *ready == 0 {
            found.push(Finding::new(
                Reason::ComponentDown,
                deployment(name),
                format!("none of {} is ready: {what_is_lost}", count_of(*wanted)),
                describe(name),
            ));
        } else if ready < wanted {
            found.push(Finding::new(
                Reason::ReplicasNotReady,
                deployment(name),
                format!("{ready} of {} are ready", count_of(*wanted)),
                describe(name),
            ));
        }
    }
}

fn count_of(replicas: i32) -> String {
    count(usize::try_from(replicas).unwrap_or(0), "replica")
}

fn describe(name: &str) -> String {
    format!("kubectl -n {SYSTEM_NAMESPACE} describe pods -l app.kubernetes.io/name={name}")
}

fn hooks(installation: &Installation, now: Timestamp, found: &mut Vec<Finding>) {
    const OBJECT: &str = "mutatingwebhookconfiguration/lameduck";
    let hooks = match &installation.hooks {
        Ok(Some(hooks)) => hooks,
        Ok(None) => {
            found.push(Finding::new(
                Reason::HooksMissing,
                OBJECT,
                "there is no such object: the API server asks nobody, and pods start unprotected",
                APPLY,
            ));
            return;
        }
        Err(_) => return,
    };
    let missing: Vec<String> = rights::hooks()
        .into_iter()
        .filter(|name| hooks.iter().all(|hook| hook.name != *name))
        .collect();
    if !missing.is_empty() {
        found.push(Finding::new(
            Reason::HooksMissing,
            OBJECT,
            format!("entries are missing: {}", missing.join(", ")),
            APPLY,
        ));
    }
    let without: Vec<&str> = hooks
        .iter()
        .filter(|hook| hook.trusts_until.is_none_or(|until| until <= now))
        .map(|hook| hook.name.as_str())
        .collect();
    if !without.is_empty() {
        found.push(Finding::new(
            Reason::CaBundleUnusable,
            OBJECT,
            if without.len() == hooks.len() {
                "no entry has a valid certificate authority in its caBundle".to_owned()
            } else {
                format!("no valid certificate authority in the caBundle of {}", without.join(", "))
            },
            "the controller that leads writes it: look at NoLeader and RightsMissing, and at its log",
        ));
    }
}

fn certificate(installation: &Installation, now: Timestamp, found: &mut Vec<Finding>) {
    let object = format!("secret/{SYSTEM_NAMESPACE}/{}", rights::WEBHOOK_TLS_SECRET);
    let renewed = format!(
        "the controller that leads renews it: kubectl -n {SYSTEM_NAMESPACE} logs -l \
         app.kubernetes.io/name={CONTROLLER} --prefix"
    );
    let (reason, message) = match &installation.certificate {
        Ok(Some(Certificate::Until(until))) if *until <= now => (
            Reason::CertificateExpired,
            format!("the webhook's certificate expired {} ago, at {until}", since(*until, now)),
        ),
        Ok(Some(Certificate::Until(until))) if until.duration_since(now) < EXPIRES_SOON => (
            Reason::CertificateExpiring,
            format!(
                "the webhook's certificate expires in {}, at {until}; it should have been renewed",
                since(now, *until)
            ),
        ),
        Ok(Some(Certificate::Unreadable(why))) => (
            Reason::CertificateUnusable,
            format!("the webhook's certificate cannot be read: {why}"),
        ),
        Ok(None) => (Reason::CertificateUnusable, "the webhook has no certificate".to_owned()),
        Ok(Some(Certificate::Until(_))) | Err(_) => return,
    };
    found.push(Finding::new(reason, object, message, renewed));
}

fn trial(installation: &Installation, found: &mut Vec<Finding>) {
    let object = format!("service/{SYSTEM_NAMESPACE}/{WEBHOOK}");
    match &installation.trial {
        Ok(Trial::Changed) | Err(_) => {}
        Ok(Trial::Unchanged) => found.push(Finding::new(
            Reason::WebhookNotCalled,
            "mutatingwebhookconfiguration/lameduck",
            "a StatefulSet that was created on trial (dry run) with a policy label was not changed: the API \
             server does not ask the webhook",
            APPLY,
        )),
        Ok(Trial::Uncalled(why)) => {
            let cure = if why.contains("x509") || why.contains("certificate") {
                "the certificate is not trusted: look at CertificateExpired and CaBundleUnusable".to_owned()
            } else {
                describe(WEBHOOK)
            };
            found.push(Finding::new(
                Reason::WebhookUnreachable,
                object,
                format!("the API server cannot call it: {why}"),
                cure,
            ));
        }
    }
}

/// Where workloads reach the webhook and pods do not. Only a policy that asks for something leaves a trace on
/// a pod, and where the webhook is away at all, one finding says so.
fn pod_trial(facts: &Facts, found: &mut Vec<Finding>) {
    let Installation { trial, pod_trial, .. } = &facts.installation;
    let default = facts.policies.as_ref().ok().and_then(|all| all.known.get("default"));
    let leaves_a_trace = default.is_some_and(Policy::is_enforced);
    let is_told = matches!(trial, Ok(Trial::Unchanged | Trial::Uncalled(_)));
    if leaves_a_trace && !is_told && matches!(pod_trial, Ok(Trial::Unchanged)) {
        found.push(Finding::new(
            Reason::WebhookNotCalled,
            "mutatingwebhookconfiguration/lameduck",
            "a pod that was created on trial (dry run) with a policy label was not changed: the API server \
             does not ask the webhook about pods, or had no answer and went on, so new pods are unprotected",
            APPLY,
        ));
    }
}

/// Why nobody leads; none where somebody does.
pub(in crate::check) fn no_leader(lease: Option<&Lease>, now: Timestamp) -> Option<String> {
    let Some(lease) = lease else { return Some("there is no Lease: nobody ever led".to_owned()) };
    if lease.holder.is_empty() {
        return Some("its holder gave it back, and nobody took it".to_owned());
    }
    let Some(renewed_at) = lease.renewed_at else {
        return Some(format!("{} holds it and never renewed it", lease.holder));
    };
    let silent = now.duration_since(renewed_at);
    (silent > SignedDuration::from_secs(lease.seconds).saturating_add(LEASE_SLACK)).then(|| {
        format!("{} holds it, and has been silent for {}", lease.holder, since(renewed_at, now))
    })
}

fn leader(installation: &Installation, now: Timestamp, found: &mut Vec<Finding>) {
    let Ok(lease) = &installation.lease else { return };
    if let Some(why) = no_leader(lease.as_ref(), now) {
        found.push(Finding::new(
            Reason::NoLeader,
            format!("lease/{SYSTEM_NAMESPACE}/{CONTROLLER}"),
            format!(
                "no controller leads: {why}. No pod that ends is let go, and no upgrade goes on"
            ),
            describe(CONTROLLER),
        ));
    }
}

fn replicas(installation: &Installation, found: &mut Vec<Finding>) {
    for replica in installation.replicas.iter().flatten() {
        let object = format!("pod/{SYSTEM_NAMESPACE}/{}", replica.pod);
        match &replica.state {
            Ok(state) if state.unready_watches.is_empty() => {}
            Ok(state) => found.push(Finding::new(
                Reason::WatchNotReady,
                object,
                format!("it does not hear of what happens: {}", state.unready_watches.join("; ")),
                format!("kubectl -n {SYSTEM_NAMESPACE} logs {}", replica.pod),
            )),
            Err(why) => found.push(Finding::new(
                Reason::ControllerNotAsked,
                object,
                why.clone(),
                "asking needs the right to get pods/proxy, and a controller of the same version",
            )),
        }
    }
}

fn missing_rights(installation: &Installation, found: &mut Vec<Finding>) {
    /// Rights that a line names; a binding that is gone takes forty away.
    const NAMED_MAX: usize = 6;
    for (account, rights) in installation.missing_rights.iter().flatten() {
        if rights.is_empty() {
            continue;
        }
        let more = match rights.len().saturating_sub(NAMED_MAX) {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        let named = rights.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
        found.push(Finding::new(
            Reason::RightsMissing,
            format!("serviceaccount/{SYSTEM_NAMESPACE}/{account}"),
            format!("it may not {named}{more}"),
            APPLY,
        ));
    }
}

fn clb(installation: &Installation, found: &mut Vec<Finding>) {
    let Ok(Some(access)) = &installation.clb else { return };
    let Some(error) = &access.error else { return };
    // Most errors name the call themselves.
    let call = access.call.as_deref().filter(|call| !error.contains(call));
    let call = call.map(|call| format!("{call}: ")).unwrap_or_default();
    // Codes of Tencent Cloud's API (document 214/30667), as the API's client passes them on.
    let cure = if error.contains("UnauthorizedOperation") {
        "attach manifests/components/tencent-clb/cam-policy.json to the identity: docs/tencent-clb.md"
    } else if error.contains("AuthFailure") {
        "put a valid key into the Secret lameduck-clb-credentials of lameduck-system: docs/tencent-clb.md"
    } else if error.contains("redential") {
        "give the controller credentials, in one of the three ways of docs/tencent-clb.md"
    } else if error.contains("Region") || error.contains("Vpc") || error.contains("VPC") {
        "correct region and vpcId in the ConfigMap lameduck-clb of lameduck-system: docs/tencent-clb.md"
    } else {
        "docs/tencent-clb.md, \"Troubleshooting by reason\""
    };
    found.push(Finding::new(
        Reason::ClbAccessFailed,
        deployment(CONTROLLER),
        format!(
            "load balancers cannot be read, so no pod behind one is let go in time: {call}{error}"
        ),
        cure,
    ));
}
