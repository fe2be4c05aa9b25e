//! What `explain` says of objects that were recorded in the lab, in the middle of an upgrade behind a CLB: web-2
//! was deleted, its traffic is off, and ten connections to it are left.

#![allow(clippy::expect_used, reason = "a test ends where it cannot go on")]

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt as _;
use lameduck_api::state::ReplicaState;
use lameduck_api::{TerminationPolicy, Upgrade};
use lameduck_cli::common::screen::Layout;
use lameduck_cli::explain::facts::{Facts, Subject};
use lameduck_cli::explain::{document::Explanation, text, view};
use serde::de::DeserializeOwned;
use serde_json::Value;

struct Recorded(Vec<Value>);

impl Recorded {
    fn read() -> Self {
        let list: Value =
            serde_json::from_str(include_str!("recorded/upgrade.json")).expect("a list");
        Self(list["items"].as_array().cloned().expect("items"))
    }

    fn all<K: DeserializeOwned>(&self, kind: &str) -> Vec<K> {
        let of_kind = self.0.iter().filter(|object| object["kind"] == kind);
        of_kind.map(|object| serde_json::from_value(object.clone()).expect(kind)).collect()
    }

    fn facts(&self, subject: Subject) -> Facts {
        let policies: Vec<TerminationPolicy> = self.all("TerminationPolicy");
        let upgrades: Vec<Upgrade> = self.all("Upgrade");
        let services: Vec<Service> = self.all("Service");
        let states: Vec<ReplicaState> =
            serde_json::from_str(include_str!("recorded/replicas.json")).expect("states");
        Facts {
            subject,
            namespace: services[0].namespace().expect("a namespace"),
            // As the lab labels it.
            namespace_label: Some(Some(policies[1].name_any())),
            policies: Some(
                policies
                    .into_iter()
                    .map(|policy| (policy.name_any(), policy.spec.into()))
                    .collect::<BTreeMap<_, _>>(),
            ),
            unreadable_policies: BTreeMap::new(),
            services,
            ingresses: Vec::new(),
            upgrade: upgrades.into_iter().next().and_then(|upgrade| upgrade.status),
            leads: Some(states.iter().any(|state| state.leads)),
            holds: states.into_iter().flat_map(|state| state.holds).collect(),
            notes: Vec::new(),
        }
    }

    fn pod(&self, name: &str) -> Pod {
        let pods: Vec<Pod> = self.all("Pod");
        pods.into_iter().find(|pod| pod.name_any() == name).expect(name)
    }

    fn set(&self) -> Facts {
        let set: StatefulSet = self.all("StatefulSet").remove(0);
        self.facts(Subject::StatefulSet(Box::new(set), self.all("Pod")))
    }
}

fn now() -> Timestamp {
    "2026-11-22T17:35:33Z".parse().expect("a time")
}

/// A plain text as in a terminal of so many columns, or in a pipe.
fn shown(explanation: &Explanation, columns: Option<usize>) -> String {
    let text = text::text(explanation, Layout { columns, wide: false });
    anstream::adapter::strip_str(&text).to_string()
}

#[test]
fn a_pod_that_drains() {
    let recorded = Recorded::read();
    let facts = recorded.facts(Subject::Pod(Box::new(recorded.pod("web-2"))));
    let said = view::view(&facts, now());
    insta::assert_snapshot!("drains_80", shown(&said, Some(80)));
    let wide = text::text(&said, Layout { columns: None, wide: true });
    insta::assert_snapshot!("drains_wide", anstream::adapter::strip_str(&wide).to_string());
    insta::assert_snapshot!("drains_pipe", shown(&said, None));
    insta::assert_json_snapshot!("drains", said);
}

#[test]
fn a_pod_that_lives() {
    let recorded = Recorded::read();
    let facts = recorded.facts(Subject::Pod(Box::new(recorded.pod("web-0"))));
    insta::assert_snapshot!("lives_140", shown(&view::view(&facts, now()), Some(140)));
}

#[test]
fn a_set_and_its_pods() {
    let said = view::view(&Recorded::read().set(), now());
    insta::assert_snapshot!("set_80", shown(&said, Some(80)));
    insta::assert_json_snapshot!("set", said);
}

#[test]
fn who_is_not_enrolled_hears_how_to_be() {
    let facts = Facts { namespace_label: Some(None), ..Recorded::read().set() };
    let mut facts = facts;
    if let Subject::StatefulSet(set, pods) = &mut facts.subject {
        for pod in pods {
            pod.metadata.labels = None;
            pod.metadata.annotations = None;
        }
        set.metadata.labels = None;
        set.metadata.annotations = None;
    }
    let said = view::view(&facts, now());
    assert_eq!(said.if_created_now, "NotEnrolled");
    assert!(said.to_change_it[0].contains("kubectl label namespace"), "{said:?}");
}

#[test]
fn a_policy_that_is_gone_and_a_leader_that_is_not_there_are_said() {
    let recorded = Recorded::read();
    let pod = Subject::Pod(Box::new(recorded.pod("web-2")));
    let facts =
        Facts { policies: Some(BTreeMap::new()), leads: Some(false), ..recorded.facts(pod) };
    let said = view::view(&facts, now());
    assert_eq!(said.enrolment.policy_exists, Some(false));
    assert!(said.enrolment.says.ends_with("there is no such policy"), "{said:?}");
    assert!(said.to_change_it.iter().any(|line| line.contains("no controller leads")), "{said:?}");
}

#[test]
fn what_could_not_be_read_is_unknown_and_never_taken_for_missing() {
    let recorded = Recorded::read();
    let mut pod = recorded.pod("web-0");
    pod.metadata.annotations = None;
    let subject = Subject::Pod(Box::new(pod.clone()));
    let facts = Facts { policies: None, ..recorded.facts(subject) };
    let said = view::view(&facts, now());
    assert_eq!((said.enrolment.policy_exists, &*said.if_created_now), (None, "Unknown"));
    assert!(said.decision.contains("why cannot be told"), "{said:?}");

    pod.metadata.labels = None;
    let facts = Facts { namespace_label: None, ..recorded.facts(Subject::Pod(Box::new(pod))) };
    let said = view::view(&facts, now());
    assert!(said.enrolment.says.contains("could not be read"), "{said:?}");
    assert_eq!(said.if_created_now, "Unknown");

    let set = Facts { namespace_label: None, ..recorded.set() };
    let mut set = set;
    if let Subject::StatefulSet(set, _) = &mut set.subject {
        set.metadata.labels = None;
    }
    let said = view::view(&set, now());
    assert!(said.decision.starts_with("it cannot be told"), "{said:?}");
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    let recorded = Recorded::read();
    let facts = recorded.facts(Subject::Pod(Box::new(recorded.pod("web-2"))));
    let said = view::view(&facts, now());
    for columns in [60, 80, 140] {
        for line in shown(&said, Some(columns)).lines() {
            // One word may be longer than a line: an address of a listener.
            let words = line.trim_start().split(' ').count();
            assert!(line.chars().count() <= columns || words <= 2, "{columns}: {line}");
        }
    }
}
