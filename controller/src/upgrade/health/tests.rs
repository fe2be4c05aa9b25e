//! Which backend a row of health is about, and what a failed read of health leaves known.

use std::sync::Mutex;

use lameduck_clb::answers::{describe_target_health, describe_targets};
use lameduck_clb::{Bindings, Error, Failure, Listeners, VpcAddress};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::*;
use crate::leader::Leadership;
use crate::upgrade::balancers::{Reads, balancers};

fn targets() -> Listeners {
    let row =
        |ips: &[&str], port: u16| json!({"PrivateIpAddresses": ips, "Port": port, "Weight": 10});
    let answer = json!({"Response": {"Listeners": [
        {"ListenerId": "lbl-4", "Protocol": "TCP", "Port": 80, "Rules": null, "Targets": [
            row(&["10.0.0.7"], 8080), row(&["10.0.0.8"], 8080), row(&["10.0.0.9", "fd00::9"], 8080),
        ]},
        {"ListenerId": "lbl-7", "Protocol": "HTTP", "Port": 81, "Targets": null, "Rules": [
            {"LocationId": "loc-a", "Targets": [row(&["10.0.0.7"], 8080), row(&["10.0.0.7"], 9090)]},
            {"LocationId": "loc-b", "Targets": [row(&["10.0.0.7"], 8080)]},
            {"LocationId": null, "Targets": [row(&["10.0.0.7"], 8080)]},
        ]},
    ]}});
    describe_targets(answer.to_string().as_bytes()).unwrap()
}

/// Rows of listener, rule, address, port and detail.
fn health(rows: &[(&str, &str, &str, u16, &str)]) -> Health {
    let listener = |(listener, rule, ip, port, detail): &(&str, &str, &str, u16, &str)| {
        json!({"ListenerId": listener, "Rules": [{"LocationId": rule, "Domain": null, "Url": null,
            "Targets": [{"IP": ip, "Port": port, "HealthStatus": *detail == "Alive",
                "HealthStatusDetail": detail}]}]})
    };
    answer(&rows.iter().map(listener).collect())
}

fn answer(listeners: &Value) -> Health {
    let answer = json!({"Response": {"LoadBalancers": [
        {"LoadBalancerId": "lb-1", "Listeners": listeners}]}});
    describe_target_health(answer.to_string().as_bytes()).unwrap()
}

/// What `health` says of each backend of [`targets`], in their order.
fn said(load_balancer: &str, health: Option<&Health>) -> [Option<bool>; 7] {
    let (targets, by_place) = (targets(), ByPlace::of(load_balancer, health));
    let said: Vec<_> =
        targets.rows().map(|row| by_place.is_healthy(row.listener, row.rule, row.target)).collect();
    said.try_into().unwrap()
}

#[test]
fn a_row_is_about_the_backend_at_its_place() {
    const YES: Option<bool> = Some(true);
    const NO: Option<bool> = Some(false);
    for (what, rows, wanted) in [
        ("nothing", &[][..], [None; 7]),
        (
            "on layer 4 the rule does not matter",
            &[
                ("lbl-4", "loc-x", "10.0.0.7", 8080, "Alive"),
                ("lbl-4", "loc-y", "10.0.0.8", 8080, "Dead"),
            ],
            [YES, NO, None, None, None, None, None],
        ),
        (
            "on layer 7 it does, and one without an id is not known",
            &[
                ("lbl-7", "loc-a", "10.0.0.7", 8080, "Dead"),
                ("lbl-7", "loc-b", "10.0.0.7", 8080, "Alive"),
            ],
            [None, None, None, NO, None, YES, None],
        ),
        (
            "the port matters",
            &[
                ("lbl-7", "loc-a", "10.0.0.7", 9090, "Dead"),
                ("lbl-4", "loc-x", "10.0.0.7", 8081, "Dead"),
            ],
            [None, None, None, None, NO, None, None],
        ),
        (
            "a check that is off keeps nobody away; one that has not probed says nothing",
            &[
                ("lbl-4", "loc-x", "10.0.0.7", 8080, "Close"),
                ("lbl-4", "loc-x", "10.0.0.8", 8080, "Unknown"),
            ],
            [YES, None, None, None, None, None, None],
        ),
        (
            "one address is enough to be named by, and one that fails to fail",
            &[("lbl-4", "loc-x", "fd00::9", 8080, "Alive")],
            [None, None, YES, None, None, None, None],
        ),
        (
            "any that fails fails",
            &[
                ("lbl-4", "loc-x", "fd00::9", 8080, "Alive"),
                ("lbl-4", "loc-x", "10.0.0.9", 8080, "Dead"),
            ],
            [None, None, NO, None, None, None, None],
        ),
        (
            "any that is not known is not known",
            &[
                ("lbl-4", "loc-x", "fd00::9", 8080, "Alive"),
                ("lbl-4", "loc-x", "10.0.0.9", 8080, "Unknown"),
            ],
            [None; 7],
        ),
        ("another listener", &[("lbl-5", "loc-x", "10.0.0.7", 8080, "Dead")], [None; 7]),
    ] {
        assert_eq!(said("lb-1", Some(&health(rows))), wanted, "{what}");
        assert_eq!(said("lb-2", Some(&health(rows))), [None; 7], "another load balancer: {what}");
    }
    assert_eq!(said("lb-1", None), [None; 7], "nobody answered");
}

/// How the API answers about health.
#[derive(Clone, Copy)]
enum Mood {
    Dead,
    Denied,
    Silent,
}

#[derive(Clone)]
struct Fake {
    mood: Mood,
    calls: Arc<Mutex<Vec<&'static str>>>,
}

impl Api for Fake {
    async fn targets(&self, _: &str, _: Option<&str>) -> Result<Listeners, Error> {
        self.calls.lock().unwrap().push("targets");
        sleep(Duration::from_millis(100)).await;
        Ok(targets())
    }

    async fn health(&self, _: &str, _: Option<&str>) -> Result<Health, Error> {
        self.calls.lock().unwrap().push("health");
        sleep(Duration::from_millis(100)).await;
        match self.mood {
            Mood::Dead => Ok(health(&[("lbl-4", "loc-x", "10.0.0.7", 8080, "Dead")])),
            Mood::Silent => std::future::pending().await,
            Mood::Denied => Err(Error {
                action: "DescribeTargetHealth",
                region: "ap-lab".into(),
                tries: 1,
                failure: Failure::Unexpected { detail: "no".into() },
            }),
        }
    }

    async fn bindings(&self, _: &[VpcAddress]) -> Result<Bindings, Error> {
        Ok(Bindings::default())
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_read_of_health_leaves_the_weights_known() {
    for (mood, healthy, took_seconds, calls) in [
        (Mood::Dead, Some(false), 0, ["health", "targets"].as_slice()),
        (Mood::Denied, None, 0, &["health", "targets"]),
        // The weights are read again: they are five seconds old. The health is not waited for again.
        (Mood::Silent, None, 5, &["health", "targets", "targets"]),
    ] {
        let api = Fake { mood, calls: Arc::default() };
        let (reads, id) = (Reads::default(), Arc::from("lb-1"));
        let metrics = Metrics::new(Leadership::default());
        let clock: crate::engine::Clock = Arc::new(jiff::Timestamp::now);
        let began = Instant::now();
        let read = reads.read(&api, &metrics, &id, &clock).await;
        // Both at once, and no longer than weights can wait.
        assert_eq!(began.elapsed().as_secs(), took_seconds);
        let found = balancers(&[(Arc::clone(&id), read)], &HashMap::new());
        assert_eq!(found.unknown, None);
        let first = &found.frontends[0].backends[0];
        assert_eq!((first.weight, first.healthy), (Some(10), healthy));

        let again =
            futures::future::join_all((0..9).map(|_| reads.read(&api, &metrics, &id, &clock)));
        again.await;
        assert_eq!(began.elapsed().as_secs(), took_seconds);
        let mut seen = api.calls.lock().unwrap().clone();
        seen.sort_unstable();
        assert_eq!(seen, calls, "at most once a second");
    }
}
