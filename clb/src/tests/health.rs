//! DescribeTargetHealth: the published sample, each word of a state, and what cannot be read.

use serde_json::{Value, json};

use super::stub::{Stub, ok};
use crate::answers::describe_target_health;
use crate::{Failure, GapKind, Health, HealthState};

const SAMPLE: &str = include_str!("../../samples/describe-target-health.json");

fn read(load_balancers: &Value) -> Health {
    let body = json!({"Response": {"LoadBalancers": load_balancers, "RequestId": "r"}});
    describe_target_health(body.to_string().as_bytes()).unwrap()
}

/// An answer with one load balancer, one listener, one rule and this backend.
fn with_target(target: &Value) -> Value {
    json!([{"LoadBalancerId": "lb-1", "Listeners": [{"ListenerId": "lbl-1", "Protocol": "TCP",
        "Rules": [{"LocationId": "loc-1", "Domain": null, "Url": null, "Targets": [target]}]}]}])
}

#[test]
fn the_published_sample() {
    let read = describe_target_health(SAMPLE.as_bytes()).unwrap();
    assert_eq!(read.gaps, []);
    let [machine, pod] = &read.targets[..] else { panic!("{read:?}") };
    assert_eq!(
        (machine.load_balancer_id.as_str(), machine.listener_id.as_str()),
        ("lb-qc2iq5yc", "lbl-fs9naq76")
    );
    assert_eq!(machine.location_id.as_deref(), Some("loc-ewygg6i0"), "on layer 4, too");
    assert_eq!((machine.ip, machine.port), ("172.16.0.6".parse().unwrap(), 2020));
    assert_eq!(machine.state, HealthState::Dead);
    assert_eq!(pod.location_id.as_deref(), Some("loc-o9732aw0"));
    assert_eq!((pod.ip, pod.port), ("10.0.0.7".parse().unwrap(), 8080));
    assert_eq!(pod.state, HealthState::Alive);
}

#[test]
fn each_state() {
    for (members, healthy) in [
        (json!({"HealthStatus": true, "HealthStatusDetail": "Alive"}), Some(true)),
        (json!({"HealthStatus": true, "HealthStatusDetail": "ALIVE"}), Some(true)),
        (json!({"HealthStatusDetail": "Alive"}), Some(true)),
        (json!({"HealthStatus": false, "HealthStatusDetail": "Dead"}), Some(false)),
        (json!({"HealthStatus": true, "HealthStatusDetail": "Dead"}), Some(false)),
        (json!({"HealthStatus": false, "HealthStatusDetail": "Close"}), Some(true)),
        (json!({"HealthStatus": true, "HealthStatusDetail": "Close"}), Some(true)),
        (json!({"HealthStatus": false, "HealthStatusDetail": "Unknown"}), None),
        (json!({"HealthStatus": true, "HealthStatusDetail": "Unknown"}), None),
        // Answers from before HealthStatusDetail, and those with its first name.
        (json!({"HealthStatus": true}), Some(true)),
        (json!({"HealthStatus": false, "HealthStatusDetail": null}), Some(false)),
        (json!({"HealthStatus": true, "HealthStatusDetail": " "}), Some(true)),
        (json!({"HealthStatus": false, "HealthStatusDetial": "Close"}), Some(true)),
        (json!({"HealthStatusDetail": "Dead", "HealthStatusDetial": "Alive"}), Some(false)),
        // What nobody can read is no state.
        (json!({"HealthStatus": false, "HealthStatusDetail": "Alive"}), None),
        (json!({"HealthStatus": true, "HealthStatusDetail": "Paused"}), None),
        (json!({"HealthStatus": true, "HealthStatusDetail": 1}), None),
        (json!({"HealthStatus": "true"}), None),
        (json!({"HealthStatus": 1}), None),
        (json!({"HealthStatus": null, "HealthStatusDetail": null}), None),
        (json!({}), None),
    ] {
        let mut target = members.clone();
        target["IP"] = json!("10.0.0.7");
        target["Port"] = json!(8080);
        let read = read(&with_target(&target));
        assert_eq!(read.gaps, [], "{members}");
        let [target] = &read.targets[..] else { panic!("{members}: {read:?}") };
        assert_eq!(target.state.is_healthy(), healthy, "{members}: {:?}", target.state);
    }
}

#[test]
fn what_cannot_be_read_is_a_gap() {
    use GapKind::{NoValue, Unreadable};
    let listener = |listener: Value| json!([{"LoadBalancerId": "lb-1", "Listeners": [listener]}]);
    for (load_balancers, kind, at) in [
        (json!([null]), Unreadable, (None, None)),
        (json!([{"Listeners": []}]), Unreadable, (None, None)),
        (json!([{"LoadBalancerId": "lb-1"}]), NoValue, (None, None)),
        (json!([{"LoadBalancerId": "lb-1", "Listeners": {}}]), Unreadable, (None, None)),
        (listener(json!(1)), Unreadable, (None, None)),
        (listener(json!({"Rules": []})), Unreadable, (None, None)),
        (listener(json!({"ListenerId": "l", "Rules": null})), NoValue, (Some("l"), None)),
        (listener(json!({"ListenerId": "l", "Rules": 0})), Unreadable, (Some("l"), None)),
        (listener(json!({"ListenerId": "l", "Rules": [0]})), Unreadable, (Some("l"), None)),
        (
            listener(json!({"ListenerId": "l", "Rules": [{"LocationId": "r"}]})),
            NoValue,
            (Some("l"), Some("r")),
        ),
        (with_target(&json!(null)), Unreadable, (Some("lbl-1"), Some("loc-1"))),
        (
            with_target(&json!({"Port": 1, "HealthStatus": true})),
            Unreadable,
            (Some("lbl-1"), Some("loc-1")),
        ),
        (
            with_target(&json!({"IP": "10.0.0.", "Port": 1, "HealthStatus": true})),
            Unreadable,
            (Some("lbl-1"), Some("loc-1")),
        ),
        (
            with_target(&json!({"IP": "10.0.0.7", "Port": 70000, "HealthStatus": true})),
            Unreadable,
            (Some("lbl-1"), Some("loc-1")),
        ),
    ] {
        let read = read(&load_balancers);
        assert_eq!(read.targets, [], "{load_balancers}");
        let [gap] = &read.gaps[..] else { panic!("{load_balancers}: {read:?}") };
        let found = (gap.listener_id.as_deref(), gap.location_id.as_deref());
        assert_eq!((gap.kind, found), (kind, at), "{load_balancers}: {gap}");
    }
    assert_eq!(read(&json!([])), Health::default());
}

#[test]
fn a_part_of_an_answer_is_an_error() {
    for end in 0..SAMPLE.trim_end().len() {
        assert!(describe_target_health(&SAMPLE.as_bytes()[..end]).is_err(), "{end} bytes");
    }
    for none in [r#"{"Response":{}}"#, r#"{"Response":{"LoadBalancers":null}}"#, "null"] {
        assert!(describe_target_health(none.as_bytes()).is_err(), "{none}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_sent() {
    let stub = Stub::script(vec![ok(json!({"LoadBalancers": []}))]);
    let client = stub.client(|_| {});
    let read = client.describe_target_health(&["lb-1", "lb-2"]).await.unwrap();
    assert_eq!(read, Health::default());
    assert_eq!(stub.seen()[0].body, json!({"LoadBalancerIds": ["lb-1", "lb-2"]}));
    assert_eq!(stub.count("DescribeTargetHealth"), 1);
    client.describe_target_health(&["lb-1"; 30]).await.unwrap();
    for ids in [&[][..], &["lb-1"; 31], &["lb-1", ""]] {
        let error = client.describe_target_health(ids).await.unwrap_err();
        assert!(matches!(error.failure, Failure::Invalid(_)), "{error}");
        assert!(error.to_string().starts_with("DescribeTargetHealth in ap-guangzhou"), "{error}");
    }
    assert_eq!(stub.seen().len(), 2, "what the API would refuse is not sent");
}
