//! Load balancers that are read.

use std::collections::BTreeSet;

use lameduck_core::drain::clb::{Place, ReadOf, Row};

use super::*;
use crate::testing::Call;

#[tokio::test(start_paused = true)]
async fn tke_is_reminded_once_and_a_refusal_of_that_holds_up_nothing() {
    let scene = Scene::new();
    let forbidden = |call: &Call| call.body["metadata"]["annotations"].is_object();
    scene.api.faults(move |call| forbidden(call).then_some(Fault::Status(403)));
    let read = |weight: u8, second: i64| {
        let row = Row {
            place: Place { listener: "lbl-1".into(), rule: None },
            frontend: "TCP:80".into(),
            port: 8080,
            weight: Some(weight),
            registered: None,
        };
        let rows = ReadOf::Rows { rows: vec![row], gaps: vec![], alone: BTreeSet::new() };
        let at = scene.start + SignedDuration::from_secs(second);
        let pods = [PodKey::new("shop", "web-0")];
        scene.index.with(|index| index.clb_read(&"lb-1".into(), &pods, at, |_| rows.clone()));
    };
    scene.index.with(|index| {
        index.read_clbs(false);
        let annotations = json!({
            "service.kubernetes.io/loadbalance-id": "lb-1",
            "service.cloud.tencent.com/direct-access": "true",
        });
        let (mut service, _) = service(json!([]));
        service["metadata"]["annotations"] = annotations;
        service["spec"]["type"] = json!("LoadBalancer");
        index.apply_service(&parse(&service));
    });
    scene.put(scene.deleted("web-0"));
    read(10, 1);
    sleep(Duration::from_secs(14)).await;
    assert_eq!(
        scene.api.short_calls(),
        ["PATCH web-0/status False Settling", "PATCH web-0/status False ClbWeightNotZero"]
    );
    sleep(Duration::from_secs(5)).await;
    let calls = scene.api.calls();
    let [nudge] = calls.as_slice() else { panic!("{calls:?}") };
    assert_eq!(nudge.body["metadata"]["uid"], "uid-web-0");
    let weight = &nudge.body["metadata"]["annotations"]["service.cloud.tencent.com/custom-weight"];
    assert_eq!(weight, "0");
    read(0, 20);
    read(0, 21);
    sleep(Duration::from_secs(2)).await;
    let calls = scene.api.short_calls();
    assert_eq!(calls.last().unwrap(), "PATCH web-0/status True ClbWeightZero", "{calls:?}");
    scene.finish().await;
}
