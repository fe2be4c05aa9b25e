//! A healthy cluster, and the same with one planted fact per reason.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use lameduck_api::state::{ClbAccess, ReplicaState};
use lameduck_core::policy::Policy;
use lameduck_core::upgrade::object::Phase;

use super::{Finding, Reason, findings};
use crate::check::facts::{
    Certificate, Component, Ending, Facts, Hook, Installation, Lease, Namespace, Pod, Replica, Tke,
    Trial, Unseen, Upgrade, Workload,
};
use crate::check::rights;
use crate::common::policies::Policies;

/// Every moment here is around this one.
pub(in crate::check) fn now() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().expect("a timestamp")
}

pub(super) fn ago(seconds: i64) -> Timestamp {
    now().saturating_sub(SignedDuration::from_secs(seconds)).expect("in range")
}

fn component(name: &str) -> Component {
    let image = format!("docker.io/lameduck/{}:0.1.0", name.trim_start_matches("lameduck-"));
    Component { name: name.into(), image, wanted: 2, ready: 2 }
}

/// A cluster with two enrolled workloads, of which nothing is wrong.
pub(in crate::check) fn healthy() -> Facts {
    let replica = |pod: &str, leads| Replica {
        pod: pod.into(),
        state: Ok(ReplicaState {
            version: "0.1.0".into(),
            leads,
            reads_clb: true,
            ..ReplicaState::default()
        }),
    };
    let workload = |kind, name: &str| Workload {
        kind,
        namespace: "shop".into(),
        name: name.into(),
        enforced: Some("default".into()),
        replicas: 3,
        ..Workload::default()
    };
    let trusts_until = Some(ago(-300 * 86_400));
    Facts {
        client_version: "0.1.0".into(),
        installation: Installation {
            server: Ok((1, 33, "v1.33.2".into())),
            missing_kinds: Ok(vec![]),
            components: Ok(vec![component("lameduck-controller"), component("lameduck-webhook")]),
            hooks: Ok(Some(
                rights::hooks().into_iter().map(|name| Hook { name, trusts_until }).collect(),
            )),
            certificate: Ok(Some(Certificate::Until(ago(-20 * 86_400)))),
            trial: Ok(Trial::Changed),
            pod_trial: Ok(Trial::Changed),
            lease: Ok(Some(Lease {
                holder: "lameduck-controller-a_1".into(),
                renewed_at: Some(ago(1)),
                seconds: 15,
            })),
            replicas: Ok(vec![
                replica("lameduck-controller-a", true),
                replica("lameduck-controller-b", false),
            ]),
            missing_rights: Ok(BTreeMap::new()),
            clb: Ok(Some(ClbAccess {
                configured: true,
                call: Some("DescribeLBListeners".into()),
                error: None,
            })),
            tke: Ok(Tke {
                service_controller: Some("v2.11.4".into()),
                ingress_controller: Some("v2.9.0".into()),
            }),
        },
        policies: Ok(Policies {
            known: [("default".to_owned(), Policy::default())].into(),
            unreadable: BTreeMap::new(),
        }),
        is_whole_cluster: true,
        is_selection: false,
        namespaces: Ok(vec![
            Namespace { name: "shop".into(), policy: Some("default".into()) },
            Namespace { name: "lameduck-system".into(), policy: Some("none".into()) },
            Namespace { name: "other".into(), policy: None },
        ]),
        workloads: Ok(vec![workload("deployment", "web"), workload("statefulset", "db")]),
        pods: Ok(vec![pod("db-0")]),
        upgrades: Ok(vec![upgrade(Phase::Complete)]),
    }
}

pub(super) fn pod(name: &str) -> Pod {
    Pod {
        namespace: "shop".into(),
        name: name.into(),
        policy: Some("default".into()),
        owner: Some("statefulset/db".into()),
        ..Pod::default()
    }
}

/// A pod whose drain was over so many seconds ago.
pub(super) fn ended(seconds: i64) -> Pod {
    let ending = Ending {
        deleted_at: ago(600),
        runs: false,
        ended_at: Some(ago(seconds)),
        off_since: Some(ago(500)),
        give_up_seconds: Some(900),
    };
    Pod { ending: Some(ending), ..pod("db-1") }
}

pub(super) fn upgrade(phase: Phase) -> Upgrade {
    Upgrade {
        namespace: "shop".into(),
        name: "db".into(),
        phase: Some(phase),
        message: "why".into(),
        is_paused: phase == Phase::Paused,
        is_annotated: false,
    }
}

pub(super) fn with(change: impl FnOnce(&mut Facts)) -> Vec<Finding> {
    let mut facts = healthy();
    change(&mut facts);
    findings(&facts, now())
}

fn with_workload(change: impl FnOnce(&mut Workload)) -> Vec<Finding> {
    with(|facts| {
        if let Ok(all) = &mut facts.workloads {
            change(&mut all[0]);
        }
    })
}

/// Every reason, planted alone where it can stand alone.
pub(in crate::check) fn planted() -> Vec<(Reason, &'static str, Vec<Finding>)> {
    let installation =
        |change: &dyn Fn(&mut Installation)| with(|facts| change(&mut facts.installation));
    vec![
        (
            Reason::KindsMissing,
            "customresourcedefinition/upgrades.lameduck.dev",
            with(|facts| {
                facts.installation.missing_kinds = Ok(vec!["upgrades".into()]);
                facts.upgrades = Err(Unseen::NoSuchKind);
            }),
        ),
        (
            Reason::ComponentMissing,
            "deployment/lameduck-system/lameduck-webhook",
            installation(&|all| all.components = Ok(vec![component("lameduck-controller")])),
        ),
        (
            Reason::ComponentDown,
            "deployment/lameduck-system/lameduck-webhook",
            installation(&|all| {
                let down = Component { ready: 0, ..component("lameduck-webhook") };
                all.components = Ok(vec![component("lameduck-controller"), down]);
            }),
        ),
        (
            Reason::ReplicasNotReady,
            "deployment/lameduck-system/lameduck-webhook",
            installation(&|all| {
                let half = Component { ready: 1, ..component("lameduck-webhook") };
                all.components = Ok(vec![component("lameduck-controller"), half]);
            }),
        ),
        (
            Reason::HooksMissing,
            "mutatingwebhookconfiguration/lameduck",
            installation(&|all| all.hooks = Ok(None)),
        ),
        (
            Reason::CaBundleUnusable,
            "mutatingwebhookconfiguration/lameduck",
            installation(&|all| {
                if let Ok(Some(hooks)) = &mut all.hooks {
                    hooks[0].trusts_until = None;
                    hooks[1].trusts_until = Some(ago(1));
                }
            }),
        ),
        (
            Reason::WebhookUnreachable,
            "service/lameduck-system/lameduck-webhook",
            installation(&|all| all.trial = Ok(Trial::Uncalled("connection\nrefused".into()))),
        ),
        (
            Reason::WebhookNotCalled,
            "mutatingwebhookconfiguration/lameduck",
            installation(&|all| all.trial = Ok(Trial::Unchanged)),
        ),
        (
            Reason::CertificateUnusable,
            "secret/lameduck-system/lameduck-webhook-tls",
            installation(&|all| all.certificate = Ok(None)),
        ),
        (
            Reason::CertificateExpired,
            "secret/lameduck-system/lameduck-webhook-tls",
            installation(&|all| all.certificate = Ok(Some(Certificate::Until(ago(3600))))),
        ),
        (
            Reason::CertificateExpiring,
            "secret/lameduck-system/lameduck-webhook-tls",
            installation(&|all| all.certificate = Ok(Some(Certificate::Until(ago(-6 * 86_400))))),
        ),
        (
            Reason::NoLeader,
            "lease/lameduck-system/lameduck-controller",
            installation(&|all| {
                if let Ok(Some(lease)) = &mut all.lease {
                    lease.renewed_at = Some(ago(31));
                }
            }),
        ),
        (
            Reason::WatchNotReady,
            "pod/lameduck-system/lameduck-controller-b",
            installation(&|all| {
                if let Ok(replicas) = &mut all.replicas
                    && let Ok(state) = &mut replicas[1].state
                {
                    state.unready_watches = vec!["pods: is broken since 12 s".into()];
                }
            }),
        ),
        (
            Reason::ControllerNotAsked,
            "pod/lameduck-system/lameduck-controller-b",
            installation(&|all| {
                if let Ok(replicas) = &mut all.replicas {
                    replicas[1].state = Err("you may not get pods/proxy".into());
                }
            }),
        ),
        (
            Reason::RightsMissing,
            "serviceaccount/lameduck-system/lameduck-controller",
            installation(&|all| {
                let rights = rights::rights(false).iter().map(ToString::to_string).collect();
                all.missing_rights = Ok([("lameduck-controller".to_owned(), rights)].into());
            }),
        ),
        (
            Reason::ClbAccessFailed,
            "deployment/lameduck-system/lameduck-controller",
            installation(&|all| {
                if let Ok(Some(clb)) = &mut all.clb {
                    clb.error = Some("AuthFailure.SecretIdNotFound: no such key".into());
                }
            }),
        ),
        (
            Reason::TkeTooOld,
            "configmap/kube-system/tke-service-controller-config",
            installation(&|all| {
                if let Ok(tke) = &mut all.tke {
                    tke.service_controller = Some("v2.1.9".into());
                }
            }),
        ),
        (
            Reason::TkeIgnoresReminders,
            "configmap/kube-system/tke-ingress-controller-config",
            installation(&|all| {
                if let Ok(tke) = &mut all.tke {
                    tke.ingress_controller = Some("v2.5.3".into());
                }
            }),
        ),
        (
            Reason::ServerTooOld,
            "cluster",
            installation(&|all| all.server = Ok((1, 32, "v1.32.9".into()))),
        ),
        (
            Reason::VersionsDiffer,
            "namespace/lameduck-system",
            installation(&|all| {
                if let Ok(components) = &mut all.components {
                    components[1].image = "docker.io/lameduck/webhook:0.2.0".into();
                }
            }),
        ),
        (
            Reason::ClientVersionDiffers,
            "namespace/lameduck-system",
            with(|facts| facts.client_version = "0.2.0".into()),
        ),
        (
            Reason::NotChecked,
            "cluster",
            installation(&|all| {
                all.certificate = Err(Unseen::Because("you may not get secrets".into()));
            }),
        ),
        (
            Reason::UnknownPolicy,
            "namespace/shop",
            with(|facts| {
                if let Ok(all) = &mut facts.namespaces {
                    all[0].policy = Some("defualt".into());
                }
                // Its pods and workloads are as their namespace, which is told once.
                if let Ok(all) = &mut facts.pods {
                    all[0].policy = Some("defualt".into());
                }
            }),
        ),
        (
            Reason::PolicyUnused,
            "terminationpolicy/grpc",
            with(|facts| {
                if let Ok(all) = &mut facts.policies {
                    all.known.insert("grpc".into(), Policy::default());
                }
            }),
        ),
        (
            Reason::PolicyUnreadable,
            "terminationpolicy/newer",
            with(|facts| {
                let all = facts.policies.as_mut().expect("seen");
                all.unreadable.insert("newer".into(), "spec.hold.jitter: unknown field".into());
                // Neither unknown nor unused: it exists, and somebody names it.
                facts.pods.as_mut().expect("seen")[0].policy = Some("newer".into());
            }),
        ),
        (
            Reason::SingleReplica,
            "deployment/shop/web",
            with_workload(|workload| workload.replicas = 1),
        ),
        (
            Reason::RecreateStrategy,
            "deployment/shop/web",
            with_workload(|workload| workload.recreates = true),
        ),
        (
            Reason::HostNetwork,
            "deployment/shop/web",
            with_workload(|workload| workload.host_network = true),
        ),
        (
            Reason::NoReadinessProbe,
            "deployment/shop/web",
            with_workload(|workload| workload.unprobed = vec!["app".into()]),
        ),
        (
            Reason::LimitedProtection,
            "deployment/shop/web",
            with_workload(|workload| workload.warnings = vec!["no hold".into()]),
        ),
        (
            Reason::UnprotectedPod,
            "pod/shop/db-1",
            with(|facts| {
                let bare = Pod { is_unprotected: true, ..pod("db-1") };
                facts.pods.as_mut().expect("seen").push(bare);
            }),
        ),
        (
            Reason::OrphanFinalizer,
            "pod/shop/db-1",
            with(|facts| facts.pods.as_mut().expect("seen").push(ended(61))),
        ),
        (
            Reason::UpgradePaused,
            "upgrade/shop/db",
            with(|facts| facts.upgrades = Ok(vec![upgrade(Phase::Paused)])),
        ),
        (
            Reason::UpgradeStalled,
            "upgrade/shop/db",
            with(|facts| facts.upgrades = Ok(vec![upgrade(Phase::Stalled)])),
        ),
        (
            Reason::ApprovalNeeded,
            "upgrade/shop/db",
            with(|facts| facts.upgrades = Ok(vec![upgrade(Phase::WaitingForApproval)])),
        ),
    ]
}
