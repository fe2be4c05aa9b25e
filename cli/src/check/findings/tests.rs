//! One planted fact per reason; a healthy cluster has none.

use std::collections::BTreeSet;

use lameduck_core::policy::{Mode, Policy};
use lameduck_core::upgrade::object::Phase;

use super::planted::{ago, ended, healthy, now, planted, pod, upgrade, with};
use super::{Reason, Severity, findings};
use crate::check::facts::{Ending, Facts, Installation, Pod, Trial, Unseen, Upgrade};

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
            pod_trial: Err(unseen()),
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
    assert_eq!(found.len(), 17);
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
                all.known.insert("grpc".into(), Policy::default());
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
    // With one, the command resumes it, whatever it was stopped by.
    for phase in [Phase::Paused, Phase::Pending] {
        let stopped = Upgrade { is_paused: false, is_annotated: true, ..upgrade(phase) };
        let found = with(|facts| facts.upgrades = Ok(vec![stopped]));
        assert_eq!(found[0].cure, "kubectl lameduck upgrade resume db -n shop");
    }
}

#[test]
fn pods_that_do_not_reach_the_webhook_are_told_of_once_and_only_where_it_can_be_seen() {
    let told = |change: fn(&mut Facts)| {
        let found = with(|facts| {
            facts.installation.pod_trial = Ok(Trial::Unchanged);
            change(facts);
        });
        found.iter().map(|one| (one.reason, one.message.contains("about pods"))).collect::<Vec<_>>()
    };
    assert_eq!(told(|_| {}), [(Reason::WebhookNotCalled, true)]);
    let no_trial = told(|facts| facts.installation.trial = Err(Unseen::NoSuchKind));
    assert_eq!(no_trial, [(Reason::WebhookNotCalled, true)]);
    let away = told(|facts| facts.installation.trial = Ok(Trial::Uncalled("refused".into())));
    assert_eq!(away, [(Reason::WebhookUnreachable, false)]);
    let off = told(|facts| {
        let all = facts.policies.as_mut().expect("seen");
        all.known.insert("default".into(), Policy { mode: Mode::Off, ..Policy::default() });
    });
    assert_eq!(off, []);
    let quota = told(|facts| facts.installation.pod_trial = Err(Unseen::Because("quota".into())));
    assert_eq!(quota, [(Reason::NotChecked, false)]);
}
