//! Deployments and StatefulSets.

use lameduck_core::{
    inject::{Outcome, Plan, WorkloadKind, plan_workload, view::Workload},
    names::POLICY_LABEL,
    policy::{Deployments, Policy},
};
use proptest::{option, prelude::*, sample::select};
use serde_json::{Value, json};

use crate::{apply, in_shop};

fn plan(
    kind: WorkloadKind,
    new: &Value,
    old: Option<&Value>,
    policy: &Policy,
    namespace_policy: Option<&str>,
) -> Plan {
    let text = new.to_string();
    let old_text = old.map(Value::to_string);
    let new: Workload<'_> = serde_json::from_str(&text).unwrap();
    let old: Option<Workload<'_>> =
        old_text.as_deref().map(|old| serde_json::from_str(old).unwrap());
    in_shop(policy, namespace_policy, |context| {
        plan_workload(kind, &new, old.as_ref(), context).unwrap()
    })
}

fn any_workload(kind: WorkloadKind) -> impl Strategy<Value = Value> {
    let amount = || {
        select(vec![
            json!("25%"),
            json!(0),
            json!(1),
            json!(3),
            json!("0%"),
            json!("50%"),
            json!("100%"),
        ])
    };
    let rolling = option::of((amount(), amount())).prop_map(move |amounts| match (kind, amounts) {
        (WorkloadKind::Deployment, Some((unavailable, surge))) => json!({
            "type": "RollingUpdate",
            "rollingUpdate": {"maxUnavailable": unavailable, "maxSurge": surge},
        }),
        (WorkloadKind::Deployment, None) => json!({"type": "Recreate"}),
        (WorkloadKind::StatefulSet, Some(_)) => {
            json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}})
        }
        (WorkloadKind::StatefulSet, None) => json!({"type": "OnDelete"}),
    });
    let labels = || {
        option::of(select(vec![json!({"app": "a"}), json!({"app": "a", POLICY_LABEL: "default"})]))
    };
    (rolling, 0..20_i64, 0..30_i64, labels(), labels(), option::of(Just(json!({"a": "b"}))))
        .prop_map(move |(strategy, replicas, min_ready, labels, template_labels, annotations)| {
            let member = match kind {
                WorkloadKind::Deployment => "strategy",
                WorkloadKind::StatefulSet => "updateStrategy",
            };
            let mut workload = json!({
                "metadata": {"name": "a"},
                "spec": {
                    "replicas": replicas,
                    "minReadySeconds": min_ready,
                    "progressDeadlineSeconds": 40,
                    "template": {"metadata": {}, "spec": {}},
                },
            });
            workload["spec"][member] = strategy;
            for (target, value) in [
                ("/metadata", ("labels", labels)),
                ("/metadata", ("annotations", annotations)),
                ("/spec/template/metadata", ("labels", template_labels)),
            ] {
                if let (name, Some(value)) = value {
                    workload.pointer_mut(target).unwrap()[name] = value;
                }
            }
            workload
        })
}

fn any_kind() -> impl Strategy<Value = (WorkloadKind, Value)> {
    select(vec![WorkloadKind::Deployment, WorkloadKind::StatefulSet])
        .prop_flat_map(|kind| any_workload(kind).prop_map(move |workload| (kind, workload)))
}

fn any_policy() -> impl Strategy<Value = Policy> {
    (0..3_u32, 0..3_u32, 0..60_u32).prop_map(|(max_unavailable, max_surge, min_ready_seconds)| {
        Policy {
            deployments: Deployments { max_unavailable, max_surge, min_ready_seconds },
            ..Policy::default()
        }
    })
}

/// Without the members that stand for nothing: an empty object is as good as none.
fn tidy(mut workload: Value) -> Value {
    for parent in ["/metadata", "/spec/template/metadata"] {
        let parent = workload.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        for member in ["labels", "annotations"] {
            if parent.get(member).is_some_and(|value| value.as_object().unwrap().is_empty()) {
                parent.remove(member);
            }
        }
    }
    workload
}

fn unlabelled(mut workload: Value) -> Value {
    if let Some(labels) = workload.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove(POLICY_LABEL);
    }
    workload
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn twice_is_once_on_create_and_on_update((kind, workload) in any_kind(), policy in any_policy()) {
        let first = plan(kind, &workload, None, &policy, Some("default"));
        let patched = apply(&workload, &first);
        for old in [None, Some(&workload), Some(&patched)] {
            let second = plan(kind, &patched, old, &policy, Some("default"));
            prop_assert_eq!(&second.operations, &[]);
            prop_assert!(second.outcome == Outcome::Unchanged);
        }
    }

    #[test]
    fn a_patched_deployment_is_valid_and_as_strict_as_the_floors(
        workload in any_workload(WorkloadKind::Deployment), policy in any_policy()
    ) {
        let patched =
            apply(&workload, &plan(WorkloadKind::Deployment, &workload, None, &policy, Some("default")));
        let spec = &patched["spec"];
        let progress = spec["progressDeadlineSeconds"].as_i64().unwrap();
        prop_assert!(spec["minReadySeconds"].as_i64().unwrap() < progress);
        prop_assert!(spec["minReadySeconds"].as_i64() >= workload["spec"]["minReadySeconds"].as_i64());
        if spec["strategy"]["type"] == "RollingUpdate" {
            let update = &spec["strategy"]["rollingUpdate"];
            let is_zero = |value: &Value| *value == json!(0) || *value == json!("0%");
            prop_assert!(!(is_zero(&update["maxUnavailable"]) && is_zero(&update["maxSurge"])));
            if policy.deployments.max_unavailable == 0 {
                prop_assert!(is_zero(&update["maxUnavailable"]));
            }
        } else {
            prop_assert_eq!(&spec["strategy"], &workload["spec"]["strategy"]);
        }
    }

    #[test]
    fn taking_the_label_off_restores_everything(
        (kind, workload) in any_kind(), policy in any_policy()
    ) {
        let mut labelled = workload.clone();
        labelled["metadata"]["labels"][POLICY_LABEL] = json!("default");
        let enrolled = apply(&labelled, &plan(kind, &labelled, None, &policy, None));
        let off = unlabelled(enrolled.clone());
        let left = plan(kind, &off, Some(&enrolled), &policy, None);
        // A template that the author labelled himself stays enrolled.
        let authors = "/spec/template/metadata/labels/lameduck.dev~1policy";
        if workload.pointer(authors).is_some() {
            prop_assert_eq!(&left.operations, &[]);
        } else {
            let restored = apply(&off, &left);
            prop_assert_eq!(tidy(restored), tidy(unlabelled(workload)));
        }
    }

    #[test]
    fn a_later_wish_of_the_author_is_what_comes_back(
        (kind, workload) in any_kind(), policy in any_policy(), min_ready in 0..30_i64
    ) {
        let mut labelled = unlabelled(workload);
        let template = labelled["spec"]["template"]["metadata"].as_object_mut().unwrap();
        template.remove("labels");
        labelled["metadata"]["labels"][POLICY_LABEL] = json!("default");
        let enrolled = apply(&labelled, &plan(kind, &labelled, None, &policy, None));
        let mut changed = enrolled.clone();
        changed["spec"]["minReadySeconds"] = json!(min_ready);
        prop_assume!(changed != enrolled);
        let changed = apply(&changed, &plan(kind, &changed, Some(&enrolled), &policy, None));
        let off = unlabelled(changed.clone());
        let restored = apply(&off, &plan(kind, &off, Some(&changed), &policy, None));
        let member = if kind == WorkloadKind::Deployment { "strategy" } else { "updateStrategy" };
        prop_assert_eq!(&restored["spec"][member], &labelled["spec"][member]);
        // Where the new wish is what the floors had made of the old one, nothing tells them apart.
        let is_floor = enrolled["spec"]["minReadySeconds"] == changed["spec"]["minReadySeconds"];
        if !is_floor {
            prop_assert_eq!(&restored["spec"]["minReadySeconds"], &json!(min_ready));
        }
    }
}

#[test]
fn a_policy_that_is_missing_or_off_changes_no_running_workload() {
    let workload = json!({
        "metadata": {"name": "a", "labels": {POLICY_LABEL: "gone"}},
        "spec": {
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}},
            "template": {"metadata": {"labels": {"app": "a"}}},
        },
    });
    let kind = WorkloadKind::Deployment;
    let created = plan(kind, &workload, None, &Policy::default(), Some("default"));
    assert_eq!(created.outcome, Outcome::UnknownPolicy);
    let patched = apply(&workload, &created);
    // The pods name the missing policy too, and are not taken for the namespace's.
    assert_eq!(patched["spec"]["template"]["metadata"]["labels"][POLICY_LABEL], "gone");
    assert_eq!(patched["spec"]["strategy"], workload["spec"]["strategy"]);
    // On an update that leaves the template alone, a copy would replace every pod.
    let updated = plan(kind, &workload, Some(&workload), &Policy::default(), Some("default"));
    assert_eq!(updated.operations, []);
}
