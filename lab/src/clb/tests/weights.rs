//! Weights that are set at once, and the calls around that moment.

use std::time::Duration;

use serde_json::json;

use super::Bench;
use crate::clb::admin::TargetWeight;

#[tokio::test]
async fn weights_are_set_at_one_moment_and_calls_after_it_read_them() {
    let bench = Bench::new().await;
    let weight = |last: u8| TargetWeight {
        load_balancer_id: "lb-a".into(),
        ip: [10, 0, 0, last].into(),
        weight: 0,
    };
    let reads = async {
        let mut seen = Vec::new();
        for _ in 0..40 {
            let answer = bench.call("DescribeTargets", json!({"LoadBalancerId": "lb-a"})).await;
            let listeners = answer["Listeners"].as_array().unwrap();
            seen.push([
                listeners[0]["Targets"][0]["Weight"].clone(),
                listeners[1]["Rules"][0]["Targets"][0]["Weight"].clone(),
            ]);
        }
        seen
    };
    let set = async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        bench.service.weigh(&[weight(7), weight(8)])
    };
    let (seen, at) = tokio::join!(reads, set);
    let calls = bench.admin().calls().await.unwrap();
    for (call, weights) in calls.iter().zip(seen) {
        let expected = if call.at > at { json!([0, 0]) } else { json!([10, 10]) };
        assert_eq!(json!(weights), expected, "a call at {} and weights of {at}", call.at);
    }
    assert!(calls.is_sorted_by_key(|call| call.at));
}
