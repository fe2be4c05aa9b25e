//! Each call: what it sends, and what it makes of the answer.

use serde_json::{Value, json};

use super::stub::{Seen, Stub, ok};
use crate::{
    Backend, Failure, Location, Selection, TargetWeight, TaskId, TaskState, VpcAddress, Weight,
    WeightChange,
};

#[tokio::test(start_paused = true)]
async fn reverse_lookup() {
    let stub = Stub::script(vec![ok(json!({"LoadBalancers": [
        {"LoadBalancerId": "lb-1", "Vip": "10.0.0.1", "Region": "ap-guangzhou", "Listeners": [
            {"ListenerId": "lbl-1", "Protocol": "TCP", "Port": 81, "EndPort": 0, "Rules": null,
             "Targets": [{"Type": "eni", "PrivateIp": "10.0.0.2", "Port": 1201, "VpcId": 1111, "Weight": 10}]}]},
        {"LoadBalancerId": "lb-2", "Listeners": null},
        null]}))]);
    let backend =
        VpcAddress { vpc_id: "vpc-1".to_owned(), private_ip: "10.0.0.2".parse().unwrap() };
    let client = stub.client(|_| {});
    let bindings = client.describe_lb_listeners(std::slice::from_ref(&backend)).await.unwrap();
    assert_eq!(
        stub.seen()[0].body,
        json!({"Backends": [{"VpcId": "vpc-1", "PrivateIp": "10.0.0.2"}]})
    );
    let [bound] = &bindings.load_balancers[..] else { panic!("{bindings:?}") };
    assert_eq!(bound.load_balancer_id, "lb-1");
    assert_eq!(bound.region.as_deref(), Some("ap-guangzhou"));
    let row = bound.listeners.rows_of(backend.private_ip, 1201).next().unwrap();
    assert_eq!(row.target.weight, Weight::Known(10));
    assert_eq!(row.target.backend_type.as_deref(), Some("ENI"));
    assert_eq!(bindings.gaps.len(), 2, "two that may send to it as well: {:?}", bindings.gaps);

    let nothing = Stub::script(vec![ok(json!({"LoadBalancers": null}))]);
    let error = nothing.client(|_| {}).describe_lb_listeners(&[backend]).await.unwrap_err();
    assert!(matches!(error.failure, Failure::Unexpected { .. }), "{error}");
}

/// A region with so many load balancers.
fn region(total: usize) -> impl Fn(&Seen, usize) -> crate::tests::stub::Reply {
    move |seen, _| {
        let number = |name: &str| usize::try_from(seen.body[name].as_u64().unwrap()).unwrap();
        let (offset, limit) = (number("Offset"), number("Limit"));
        let set: Vec<Value> = (offset..total.min(offset + limit)).map(load_balancer).collect();
        ok(json!({"TotalCount": total, "LoadBalancerSet": set}))
    }
}

fn load_balancer(number: usize) -> Value {
    json!({"LoadBalancerId": format!("lb-{number}"), "LoadBalancerName": null, "Forward": 1,
        "LoadBalancerType": "open", "LoadBalancerVips": ["203.0.113.10"], "Status": 1,
        "VpcId": "vpc-1", "NumericalVpcId": 1111, "SomethingNew": {},
        "Tags": [{"TagKey": "tke-createdBy-flag", "TagValue": "yes"}, null, {"TagKey": "empty"}],
        "TargetRegionInfo": {"Region": "ap-guangzhou"}, "AttributeFlags": ["DeleteProtect", null]})
}

#[tokio::test(start_paused = true)]
async fn all_pages() {
    for (total, pages) in [(0, 1), (1, 1), (100, 1), (101, 2), (250, 3)] {
        let stub = Stub::new(region(total));
        let found = stub.client(|_| {}).describe_load_balancers(Selection::Vpc("vpc-1")).await;
        assert_eq!(found.unwrap().len(), total);
        assert_eq!(stub.count("DescribeLoadBalancers"), pages);
        assert!(stub.seen().iter().all(|seen| seen.body["VpcId"] == "vpc-1"));
    }
    let stub = Stub::new(region(1));
    let found = stub.client(|_| {}).describe_load_balancers(Selection::All).await.unwrap();
    assert_eq!(stub.seen()[0].body, json!({"Offset": 0, "Limit": 100}));
    let it = &found[0];
    assert_eq!(it.tag("tke-createdBy-flag"), Some("yes"));
    assert_eq!((it.tag("empty"), it.tag("none")), (Some(""), None));
    assert_eq!((it.is_classic, it.is_normal), (Some(false), Some(true)));
    assert_eq!(it.load_balancer_type.as_deref(), Some("OPEN"));
    assert_eq!(it.numerical_vpc_id, Some(1111));
    assert_eq!(it.attribute_flags, ["DeleteProtect"]);
}

#[tokio::test(start_paused = true)]
async fn ids_are_asked_twenty_at_a_time_and_each_once() {
    let stub = Stub::new(|seen, _| {
        let ids = seen.body["LoadBalancerIds"].as_array().unwrap();
        let known = ids.iter().filter(|id| *id != "lb-404");
        let set: Vec<_> = known.map(|id| json!({"LoadBalancerId": id})).collect();
        ok(json!({"TotalCount": set.len(), "LoadBalancerSet": set}))
    });
    let mut ids: Vec<_> = (0..44).map(|number| format!("lb-{number}")).collect();
    ids.extend(["lb-404".to_owned(), "lb-1".to_owned()]);
    let client = stub.client(|_| {});
    let found = client.describe_load_balancers(Selection::Ids(&ids)).await.unwrap();
    assert_eq!(found.len(), 44);
    let asked: Vec<_> = stub
        .seen()
        .iter()
        .map(|seen| seen.body["LoadBalancerIds"].as_array().unwrap().len())
        .collect();
    assert_eq!(asked, [20, 20, 5]);
    assert_eq!(client.describe_load_balancers(Selection::Ids(&[])).await.unwrap(), []);
    assert_eq!(stub.seen().len(), 3, "nothing is asked for nothing");
}

#[tokio::test(start_paused = true)]
async fn a_part_of_the_pages_is_no_answer() {
    // One came twice, since another was made while the pages were read.
    let moved = Stub::new(|seen, before| {
        let from = usize::try_from(seen.body["Offset"].as_u64().unwrap()).unwrap();
        let set: Vec<_> = (from - before..from - before + [100, 50][before]).collect();
        ok(
            json!({"TotalCount": 150, "LoadBalancerSet": set.into_iter().map(load_balancer).collect::<Vec<_>>()}),
        )
    });
    let found = moved.client(|_| {}).describe_load_balancers(Selection::All).await.unwrap();
    assert_eq!(found.len(), 149);

    for answer in [
        json!({"TotalCount": 3, "LoadBalancerSet": []}),
        json!({"TotalCount": 3, "LoadBalancerSet": null}),
        json!({"TotalCount": null, "LoadBalancerSet": []}),
        json!({"TotalCount": 1, "LoadBalancerSet": [{"LoadBalancerId": null}]}),
        json!({}),
    ] {
        let stub = Stub::script(vec![ok(answer.clone())]);
        let error = stub.client(|_| {}).describe_load_balancers(Selection::All).await.unwrap_err();
        assert!(matches!(error.failure, Failure::Unexpected { .. }), "{answer}: {error}");
        assert_eq!(stub.seen().len(), 1, "{answer}");
    }
    let none = Stub::script(vec![ok(json!({"TotalCount": 0, "LoadBalancerSet": null}))]);
    assert_eq!(none.client(|_| {}).describe_load_balancers(Selection::All).await.unwrap(), []);

    let endless = Stub::new(|_, before| {
        ok(json!({"TotalCount": 1_000_000, "LoadBalancerSet": [load_balancer(before)]}))
    });
    let error = endless.client(|_| {}).describe_load_balancers(Selection::All).await.unwrap_err();
    assert!(error.to_string().contains("more than can be read"), "{error}");
    assert_eq!(endless.seen().len(), 100);
}

#[tokio::test(start_paused = true)]
async fn a_task_is_done_only_when_it_says_so() {
    let task = TaskId("55c85074-3e7f-4c6d-864f-673660d4f8de".to_owned());
    let ask = async |response: Value| {
        let stub = Stub::script(vec![ok(response)]);
        let status = stub.client(|_| {}).describe_task_status(&task).await;
        assert_eq!(stub.seen()[0].body, json!({"TaskId": task.0}));
        status
    };
    let done = ask(json!({"Status": 0, "LoadBalancerIds": ["lb-6efswuxa"]})).await.unwrap();
    assert_eq!((done.state, done.load_balancer_ids.len()), (TaskState::Succeeded, 1));
    let failed = ask(json!({"Status": 1, "Message": "no\nway", "LoadBalancerIds": null})).await;
    let failed = failed.unwrap();
    assert_eq!((failed.state, failed.message.as_deref()), (TaskState::Failed, Some("no way")));
    assert_eq!(ask(json!({"Status": 2})).await.unwrap().state, TaskState::Running);
    for unknown in
        [json!({}), json!({"Status": null}), json!({"Status": 3}), json!({"Status": "0"})]
    {
        let error = ask(unknown).await.unwrap_err();
        assert!(matches!(error.failure, Failure::Unexpected { .. }), "{error}");
    }
}

fn change(location: Location, backends: usize) -> WeightChange {
    let target = |_| TargetWeight {
        backend: Backend::EniIp("10.202.0.96".parse().unwrap()),
        port: 80,
        weight: 30,
    };
    WeightChange {
        listener_id: "lbl-1".to_owned(),
        location,
        targets: (0..backends).map(target).collect(),
    }
}

#[tokio::test(start_paused = true)]
async fn writes() {
    let stub = Stub::script(vec![ok(json!({"RequestId": "85c7b3e8"}))]);
    let client = stub.client(|_| {});
    let layer4 = change(Location::Listener, 1);
    let task = client.modify_target_weight("lb-1", &layer4).await.unwrap();
    assert_eq!(task, TaskId("85c7b3e8".to_owned()));
    let mut layer7 = change(Location::Rule("loc-1".to_owned()), 1);
    layer7.targets[0].backend = Backend::Instance("ins-1".to_owned());
    let path = Location::Path { domain: "a.example".to_owned(), url: "/".to_owned() };
    let changes = [layer7, change(path, 1)];
    client.batch_modify_target_weight("lb-1", &changes).await.unwrap();
    let eni = json!({"EniIp": "10.202.0.96", "Port": 80, "Weight": 30});
    let bodies: Vec<_> = stub.seen().into_iter().map(|seen| seen.body).collect();
    assert_eq!(
        bodies,
        [
            json!({"LoadBalancerId": "lb-1", "ListenerId": "lbl-1", "Targets": [eni]}),
            json!({"LoadBalancerId": "lb-1", "ModifyList": [
                {"ListenerId": "lbl-1", "LocationId": "loc-1",
                 "Targets": [{"InstanceId": "ins-1", "Port": 80, "Weight": 30}]},
                {"ListenerId": "lbl-1", "Domain": "a.example", "Url": "/", "Targets": [eni]}]}),
        ]
    );

    let lost = Stub::script(vec![ok(json!({"RequestId": null}))]);
    let error = lost.client(|_| {}).modify_target_weight("lb-1", &layer4).await.unwrap_err();
    assert!(error.to_string().contains("cannot be followed"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn what_the_api_would_refuse_is_not_sent() {
    let stub = Stub::script(vec![ok(json!({}))]);
    let client = stub.client(|_| {});
    let of = |backends| change(Location::Listener, backends);
    let mut heavy = of(1);
    heavy.targets[0].weight = 101;
    let mut nameless = of(1);
    nameless.listener_id.clear();
    let ids = vec!["lbl-1".to_owned(); 21];
    let errors = [
        client.modify_target_weight("lb-1", &heavy).await.unwrap_err(),
        client.modify_target_weight("lb-1", &nameless).await.unwrap_err(),
        client.modify_target_weight("lb-1", &of(0)).await.unwrap_err(),
        client.modify_target_weight("", &of(1)).await.unwrap_err(),
        client.batch_modify_target_weight("lb-1", &[]).await.unwrap_err(),
        client.batch_modify_target_weight("lb-1", &[of(51)]).await.unwrap_err(),
        client.batch_modify_target_weight("lb-1", &vec![of(1); 101]).await.unwrap_err(),
        client.batch_modify_target_weight("lb-1", &vec![of(50); 11]).await.unwrap_err(),
        client.describe_targets("", &[]).await.unwrap_err(),
        client.describe_targets("lb-1", &ids).await.unwrap_err(),
        client.describe_lb_listeners(&[]).await.unwrap_err(),
        client.describe_task_status(&TaskId(String::new())).await.unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error.failure, Failure::Invalid(_)), "{error}");
        assert!(!error.retry_helps() && error.tries == 0, "{error}");
    }
    assert_eq!(stub.seen().len(), 0);
}
