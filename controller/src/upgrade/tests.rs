//! Objects as a cluster has them, in the middle and at the end of an upgrade, and what the planner gets of them.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use lameduck_core::names::ANNOTATION_ORIGINAL_UPDATE_STRATEGY;
use lameduck_core::upgrade::weights::zeros;
use serde_json::json;

use super::convert;
use super::watch::Weighted;
use crate::index::PodKey;

fn pod() -> Pod {
    serde_json::from_str(include_str!("recorded/pod.json")).unwrap()
}

fn set() -> StatefulSet {
    serde_json::from_str(include_str!("recorded/stateful-set.json")).unwrap()
}

fn service() -> Service {
    serde_json::from_str(include_str!("recorded/service.json")).unwrap()
}

#[test]
fn a_set_and_its_pod_are_what_the_cluster_says() {
    let (set, now) = (set(), Timestamp::now());
    let uid = set.metadata.uid.clone().unwrap();
    let found = convert::pods("web", &uid, &[pod()], None, None, now);
    let [pod] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((pod.ordinal, &*pod.name, pod.deleted_until), (2, "web-2", None));
    assert!(pod.ready_since.is_some_and(|since| since < now) && pod.runs && pod.has_hold);
    assert_eq!((&*pod.next_counter, pod.marked), ("lameduck-count-1", false));
    let facts = convert::set(&set, 0);
    assert_eq!(facts.update_revision, pod.revision);
    assert_eq!((facts.replicas, facts.start, facts.has_claims), (3, 0, false));
    assert_eq!(facts.generation, (2, 2));
    assert!(convert::pods("web", "another set's", &[self::pod()], None, None, now).is_empty());
}

#[test]
fn a_pod_that_is_not_ready_or_ended_serves_nobody() {
    let now = Timestamp::now();
    let uid = set().metadata.uid.unwrap();
    let ready = |change: &dyn Fn(&mut Pod)| {
        let mut pod = pod();
        change(&mut pod);
        convert::pods("web", &uid, &[pod], None, None, now)[0].ready_since
    };
    assert!(ready(&|_| {}).is_some());
    let phase = |pod: &mut Pod| pod.status.as_mut().unwrap().phase = Some("Failed".to_owned());
    assert_eq!(ready(&phase), None);
    let unready = |pod: &mut Pod| {
        for one in pod.status.as_mut().unwrap().conditions.iter_mut().flatten() {
            if one.type_ == "Ready" {
                one.status = "False".to_owned();
            }
        }
    };
    assert_eq!(ready(&unready), None);
}

#[test]
fn a_service_carries_the_set_where_its_clb_sends_to_the_pods_themselves() {
    let labels = pod().metadata.labels.unwrap();
    let found = convert::services(&[service()], &labels, true);
    let [carrier] = found.as_slice() else { panic!("{found:?}") };
    assert!(carrier.load_balancer.is_some());
    assert_eq!(carrier.ports.len(), 1);
    assert_eq!(zeros(&carrier.annotations()).unwrap().len(), 1);
    // With a record of ours it matters also where no weight is set any more.
    let left = convert::services(&[service()], &labels, false);
    assert!(left.len() == 1 && left[0].load_balancer.is_none());
    for (key, value) in [
        ("service.cloud.tencent.com/direct-access", Some("false")),
        ("service.kubernetes.io/loadbalance-id", None),
        ("service.cloud.tencent.com/target-groups", Some("tg")),
    ] {
        let mut other = service();
        let annotations = other.metadata.annotations.as_mut().unwrap();
        annotations.remove("lameduck.dev/original-lb-rs-weight");
        match value {
            Some(value) => drop(annotations.insert(key.to_owned(), value.to_owned())),
            None => drop(annotations.remove(key)),
        }
        assert!(convert::services(&[other], &labels, true).is_empty(), "{key}");
    }
}

#[test]
fn the_author_asked_for_a_rolling_update() {
    let set = set();
    let original = set.metadata.annotations.unwrap()[ANNOTATION_ORIGINAL_UPDATE_STRATEGY].clone();
    let strategy = lameduck_core::inject::authors_strategy(Some(&original)).unwrap();
    assert_eq!(strategy["type"], json!("RollingUpdate"));
}

#[test]
fn a_selector_is_what_the_api_takes() {
    let one = |operator: &str, values: &[&str]| LabelSelectorRequirement {
        key: "tier".to_owned(),
        operator: operator.to_owned(),
        values: Some(values.iter().map(|value| (*value).to_owned()).collect()),
    };
    let selector = LabelSelector {
        match_labels: Some([("app".to_owned(), "web".to_owned())].into()),
        match_expressions: Some(vec![
            one("In", &["a", "b"]),
            one("NotIn", &["c"]),
            one("Exists", &[]),
            one("DoesNotExist", &[]),
        ]),
    };
    let text = convert::selector(&selector);
    assert_eq!(text, "app=web,tier in (a,b),tier notin (c),tier,!tier");
}

#[test]
fn a_set_is_told_when_its_weights_come_and_when_they_go() {
    let (service, set) = (PodKey::new("shop", "web"), PodKey::new("shop", "shop"));
    let mut weighted = Weighted::default();
    assert_eq!(weighted.set(service.clone(), vec![set.clone()]).len(), 1);
    assert!(weighted.has(&set));
    assert_eq!(weighted.set(service, Vec::new()).into_iter().next(), Some(set.clone()));
    assert!(!weighted.has(&set));
}
