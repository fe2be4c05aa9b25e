//! One planted fact per reason; a healthy cluster has none.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use lameduck_api::state::{ClbAccess, ReplicaState};
use lameduck_core::policy::Policy;
use lameduck_core::upgrade::object::Phase;

use super::{Finding, Reason, Severity, findings};
use crate::check::facts::{
    Certificate, Component, Ending, Facts, Hook, Installation, Lease, Namespace, Pod, Replica, Tke,
    Trial, Unseen, Upgrade, Workload,
};
use crate::check::rights;

/// Every moment here is around this one.
pub(in crate::check) fn now() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().expect("a timestamp")
}

fn ago(seconds: i64) -> Timestamp {
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
        policies: Ok([("default".to_owned(), Policy::default())].into()),
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

fn pod(name: &str) -> Pod {
    Pod {
        namespace: "shop".into(),
        name: name.into(),
        policy: Some("default".into()),
        owner: Some("statefulset/db".into()),
        ..Pod::default()
    }
}

/// A pod whose drain was over so many seconds ago.
fn ended(seconds: i64) -> Pod {
    let ending = Ending {
        deleted_at: ago(600),
        runs: false,
        ended_at: Some(ago(seconds)),
        off_since: Some(ago(500)),
        give_up_seconds: 900,
    };
    Pod { ending: Some(ending), ..pod("db-1") }
}

fn upgrade(phase: Phase) -> Upgrade {
    Upgrade {
        namespace: "shop".into(),
        name: "db".into(),
        phase: Some(phase),
        message: "why".into(),
        is_paused: phase == Phase::Paused,
        is_annotated: false,
    }
}

fn with(change: impl FnOnce(&mut Facts)) -> Vec<Finding> {
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
                    all.insert("grpc".into(), Policy::default());
                }
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

#[test]
fn a_healthy_cluster_has_no_findings() {
    assert_eq!(findings(&healthy(), now()), []);
}

#[test]
fn every_reason_is_found_where_its_fact_is_planted_and_alone() {
    let mut seen = BTreeSet::new();
    for (reason, object, found) in planted() {
        let told: Vec<_> = found.iter().map(|one| (one.reason, one.object.as_str())).collect();
        assert_eq!(told, [(reason, object)]);
        let finding = &found[0];
        assert_eq!(finding.severity, reason.severity());
        assert!(!finding.cure.is_empty() && !finding.message.contains('\n'), "{finding:?}");
        seen.insert(reason);
    }
    let all: BTreeSet<Reason> = Reason::ALL.into_iter().collect();
    assert_eq!(seen, all);
}

#[test]
fn every_reason_is_documented() {
    let page = include_str!("../../../../docs/check.md");
    for reason in Reason::ALL {
        let row = format!("| `{}` | {} |", reason.word(), reason.severity().as_str());
        assert!(page.contains(&row), "docs/check.md lacks the row {row}");
    }
}

#[test]
fn a_cluster_without_lameduck_is_told_in_a_line() {
    let found = with(|facts| {
        facts.installation.missing_kinds =
            Ok(vec!["terminationpolicies".into(), "upgrades".into()]);
        facts.installation.components = Ok(vec![]);
        facts.installation.hooks = Ok(None);
        facts.installation.lease = Ok(None);
        facts.policies = Err(Unseen::NoSuchKind);
        facts.upgrades = Err(Unseen::NoSuchKind);
    });
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].reason, Reason::KindsMissing);
    assert!(found[0].message.contains("not installed"));
}

#[test]
fn what_could_not_be_seen_is_said_and_never_taken_for_wrong() {
    let number = std::cell::Cell::new(0);
    let unseen = || {
        number.set(number.get() + 1);
        Unseen::Because(format!("forbidden, {}", number.get()))
    };
    let found = with(|facts| {
        facts.installation = Installation {
            server: Err(unseen()),
            missing_kinds: Err(unseen()),
            components: Err(unseen()),
            hooks: Err(unseen()),
            certificate: Err(unseen()),
            trial: Err(unseen()),
            lease: Err(unseen()),
            replicas: Err(unseen()),
            missing_rights: Err(unseen()),
            clb: Err(unseen()),
            tke: Err(unseen()),
        };
        facts.policies = Err(unseen());
        facts.namespaces = Err(unseen());
        facts.workloads = Err(unseen());
        facts.pods = Err(unseen());
        facts.upgrades = Err(unseen());
    });
    assert_eq!(found.len(), 16);
    assert!(found.iter().all(|finding| finding.reason == Reason::NotChecked));
    assert!(found.iter().all(|finding| finding.severity == Severity::Info));
}

#[test]
fn a_finalizer_is_orphaned_when_its_drain_is_over_for_a_while() {
    let ending = |change: &dyn Fn(&mut Ending), leaderless: bool| {
        let mut pod = ended(61);
        change(pod.ending.as_mut().expect("ends"));
        let found = with(|facts| {
            if leaderless {
                facts.installation.lease = Ok(None);
            }
            facts.pods = Ok(vec![pod]);
        });
        found.iter().any(|finding| finding.reason == Reason::OrphanFinalizer)
    };
    assert!(ending(&|_| {}, false));
    // The controller gets its time, and a pod that still runs or gets traffic is not over.
    assert!(!ending(&|one| one.ended_at = Some(ago(30)), false));
    assert!(!ending(&|one| one.off_since = Some(ago(30)), false));
    assert!(!ending(&|one| one.runs = true, false));
    assert!(!ending(&|one| one.off_since = None, false));
    // Past giveUpSeconds it goes in any case.
    assert!(ending(
        &|one| {
            one.off_since = None;
            one.deleted_at = ago(970);
        },
        false
    ));
    // Nobody is there to take it off.
    assert!(ending(
        &|one| {
            one.off_since = None;
            one.ended_at = None;
        },
        true
    ));
    assert!(!ending(&|one| one.runs = true, true));
}

#[test]
fn a_policy_is_unused_only_where_everything_was_seen() {
    for hide in [
        (|facts: &mut Facts| facts.is_whole_cluster = false) as fn(&mut Facts),
        |facts| facts.is_selection = true,
        |facts| facts.pods = Err(Unseen::NoSuchKind),
    ] {
        let found = with(|facts| {
            if let Ok(all) = &mut facts.policies {
                all.insert("grpc".into(), Policy::default());
            }
            hide(facts);
        });
        assert_eq!(found, []);
    }
}

#[test]
fn a_label_is_told_where_it_was_written() {
    let found = with(|facts| {
        if let Ok(all) = &mut facts.workloads {
            all[0].policy = Some("grpc".into());
            // The copy that the webhook makes.
            all[0].template_policy = Some("grpc".into());
        }
        let pods = ["web-1", "web-2"].map(|name| Pod { policy: Some("grpc".into()), ..pod(name) });
        facts.pods = Ok(pods.to_vec());
    });
    let objects: Vec<&str> = found.iter().map(|finding| finding.object.as_str()).collect();
    assert_eq!(objects, ["deployment/shop/web"]);
    assert!(found[0].message.ends_with("existing: default"), "{}", found[0].message);
}

#[test]
fn errors_come_first_and_what_is_alike_stands_together() {
    let found = with(|facts| {
        facts.client_version = "0.2.0".into();
        facts.installation.lease = Ok(None);
        if let Ok(all) = &mut facts.workloads {
            all[0].replicas = 1;
            all[0].recreates = true;
            all[1].replicas = 1;
        }
    });
    let told: Vec<_> = found.iter().map(|one| (one.reason.word(), one.object.as_str())).collect();
    assert_eq!(
        told.iter().map(|(reason, object)| format!("{reason} {object}")).collect::<Vec<_>>(),
        [
            "NoLeader lease/lameduck-system/lameduck-controller",
            "SingleReplica deployment/shop/web",
            "SingleReplica statefulset/shop/db",
            "RecreateStrategy deployment/shop/web",
            "ClientVersionDiffers namespace/lameduck-system",
        ]
    );
}

#[test]
fn a_stopped_set_without_an_upgrade_is_told_of() {
    let found = with(|facts| {
        facts.upgrades = Ok(vec![Upgrade {
            phase: None,
            is_paused: false,
            is_annotated: true,
            ..upgrade(Phase::Pending)
        }]);
    });
    assert_eq!(found[0].object, "statefulset/shop/db");
    assert!(found[0].cure.contains("lameduck.dev/paused-"), "{}", found[0].cure);
}
