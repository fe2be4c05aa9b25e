//! What was read of health checks, held against the JSON that it was read from.

use std::net::IpAddr;

use lameduck_clb::{Health, HealthState, TargetHealth};
use serde_json::Value;

use crate::invariants::{Gaps, line, no_list, one_line, port};

/// Holds `read` against the load balancers of the answer.
///
/// # Panics
/// Where it does not hold.
pub(crate) fn check(values: &[Value], read: &Health) {
    let mut found = read.targets.iter();
    let mut gaps = Gaps::default();
    for value in values {
        let Some(id) = line(&value["LoadBalancerId"]) else {
            gaps.unreadable += 1;
            continue;
        };
        for value in items(value, "Listeners", &mut gaps) {
            let Some(listener) = line(&value["ListenerId"]) else {
                gaps.unreadable += 1;
                continue;
            };
            for rule in items(value, "Rules", &mut gaps) {
                if !rule.is_object() {
                    gaps.unreadable += 1;
                    continue;
                }
                for target in items(rule, "Targets", &mut gaps) {
                    let Some(address) = address(target) else {
                        gaps.unreadable += 1;
                        continue;
                    };
                    let row = found.next();
                    assert!(row.is_some(), "a backend is lost: {target}");
                    let Some(row) = row else { continue };
                    assert_eq!((&row.load_balancer_id, &row.listener_id), (&id, &listener));
                    assert_eq!(row.location_id, line(&rule["LocationId"]));
                    assert_eq!((row.ip, u64::from(row.port)), address);
                    state(target, row);
                }
            }
        }
    }
    assert!(found.next().is_none(), "a backend that is not in the answer");
    assert_eq!(Gaps::of(&read.gaps), gaps, "each part that could not be read is told, once");
}

/// The items of a list, or the gap that it is.
fn items<'a>(of: &'a Value, name: &str, gaps: &mut Gaps) -> &'a [Value] {
    let value = of.get(name).unwrap_or(&Value::Null);
    *gaps += no_list(value.is_null(), &[value]);
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A state is only what the answer says: nobody is healthy by a word that does not stand there.
fn state(target: &Value, row: &TargetHealth) {
    let says = |word: &str| {
        let names = ["HealthStatusDetail", "HealthStatusDetial"];
        let mut words = names.iter().filter_map(|name| line(&target[name]));
        words.any(|found| found.eq_ignore_ascii_case(word))
    };
    let status = target["HealthStatus"].as_bool();
    match &row.state {
        HealthState::Alive => assert!(
            status == Some(true) || (says("Alive") && status.is_none()),
            "alive from nowhere: {target}"
        ),
        HealthState::Dead => {
            assert!(says("Dead") || status == Some(false), "dead from nowhere: {target}");
        }
        HealthState::Close => assert!(says("Close"), "no check, from nowhere: {target}"),
        HealthState::Unknown(why) => one_line(why),
    }
    let is_plain = target["HealthStatusDetial"].is_null();
    for (word, status, healthy) in
        [("Alive", true, true), ("Dead", false, false), ("Close", true, true)]
    {
        if is_plain && says(word) && target["HealthStatus"] == status {
            assert_eq!(row.state.is_healthy(), Some(healthy), "what is said is lost: {target}");
        }
    }
}

fn address(value: &Value) -> Option<(IpAddr, u64)> {
    let ip = value["IP"].as_str()?.trim().parse().ok()?;
    Some((ip, port(&value["Port"])?))
}

#[cfg(test)]
mod tests {
    use lameduck_clb::answers;

    use super::*;

    /// What a reader with a fault would make of the sample.
    fn read_wrong(harm: impl FnOnce(&mut Health)) {
        let sample: &str = crate::SAMPLES[3];
        let values: Value = serde_json::from_str(sample).unwrap();
        let values = values["Response"]["LoadBalancers"].as_array().unwrap();
        let mut read = answers::describe_target_health(sample.as_bytes()).unwrap();
        check(values, &read);
        harm(&mut read);
        check(values, &read);
    }

    #[test]
    #[should_panic(expected = "alive from nowhere")]
    fn alive_from_nowhere() {
        read_wrong(|read| read.targets[0].state = HealthState::Alive);
    }

    #[test]
    #[should_panic(expected = "what is said is lost")]
    fn a_lost_state() {
        read_wrong(|read| read.targets[0].state = HealthState::Unknown(String::new()));
    }

    #[test]
    #[should_panic(expected = "a backend is lost")]
    fn a_lost_backend() {
        read_wrong(|read| drop(read.targets.pop()));
    }
}
