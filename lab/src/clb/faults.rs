//! Faults on demand: what a read shows, and how a call fails. Pure: the time is an argument.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::model::LoadBalancer;

/// The most faults at a time.
pub(super) const FAULTS_MAX: usize = 100;

/// A fault, and when it is seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fault {
    /// Only with this load balancer; with all where none is named. A call that names no load balancer,
    /// as DescribeLBListeners, has only what a read shows.
    #[serde(default)]
    pub load_balancer_id: Option<String>,
    /// Only with this action; with all where none is named.
    #[serde(default)]
    pub action: Option<String>,
    /// How long from now; until it is taken away where nothing is said.
    #[serde(default)]
    pub seconds: Option<u64>,
    /// Only each so many-th call, from the first; each one where nothing is said.
    #[serde(default)]
    pub every: Option<u32>,
    /// What goes wrong.
    pub fault: Kind,
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    tag = "kind",
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum Kind {
    /// Reads show what was so many seconds ago.
    StaleReads {
        /// How old.
        age_seconds: u64,
    },
    /// Rows of weight 0 read this weight in every second period.
    FlappingWeight {
        /// The other weight.
        weight: u32,
        /// How long each reading lasts.
        period_millis: u64,
    },
    /// Listeners are left out: these, or the last one where none is named.
    PartialListeners {
        /// Which ones.
        #[serde(default)]
        listener_ids: Vec<String>,
    },
    /// Rows of these addresses are left out.
    MissingRows {
        /// Which ones.
        ips: Vec<IpAddr>,
    },
    /// Members of these names are `null`, wherever they are.
    NullMembers {
        /// Which ones.
        members: Vec<String>,
    },
    /// Every object has a member that no version of the API had so far.
    UnknownMembers,
    /// `Type` is in lower case, as in some samples.
    LowerCaseTypes,
    /// The answer comes late.
    Slow {
        /// So late.
        millis: u64,
    },
    /// The answer's JSON ends in the middle.
    TruncatedJson,
    /// An HTTP error instead of an answer.
    HttpStatus {
        /// 500 and the like.
        status: u16,
    },
    /// `RequestLimitExceeded`.
    Throttling,
    /// `AuthFailure.TokenFailure`.
    ExpiredToken,
    /// The service's clock is wrong by so much.
    ClockSkew {
        /// Ahead; behind where negative.
        seconds: i64,
    },
    /// Any other error of the API.
    ApiError {
        /// Its code.
        code: String,
        /// Its message.
        #[serde(default)]
        message: String,
    },
}

#[derive(Clone, Debug)]
struct Active {
    fault: Fault,
    since: Timestamp,
    calls: u32,
}

/// The faults that are set.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    active: Vec<Active>,
}

impl Faults {
    /// Sets these faults in place of all others.
    pub fn set(&mut self, faults: Vec<Fault>, now: Timestamp) {
        let active = |fault| Active { fault, since: now, calls: 0 };
        self.active = faults.into_iter().map(active).collect();
    }

    /// The faults of one call, which names these load balancers. The call is counted.
    pub fn of_call(&mut self, action: &str, ids: &[String], now: Timestamp) -> CallFaults {
        let mut found = Vec::new();
        for active in &mut self.active {
            let Fault { load_balancer_id, action: named, seconds, every, fault } = &active.fault;
            let over = seconds.is_some_and(|seconds| {
                let end = active.since.checked_add(Duration::from_secs(seconds));
                end.is_ok_and(|end| end <= now)
            });
            let is_view = fault.is_view();
            let on = load_balancer_id
                .as_ref()
                .is_none_or(|id| ids.contains(id) || (is_view && ids.is_empty()));
            if over || !on || named.as_ref().is_some_and(|named| named != action) {
                continue;
            }
            let turn = active.calls.is_multiple_of(every.unwrap_or(1).max(1));
            active.calls = active.calls.wrapping_add(1);
            if turn {
                found.push((load_balancer_id.clone(), fault.clone(), active.since));
            }
        }
        CallFaults { found, now }
    }
}

impl Kind {
    /// Whether it changes what is read of a load balancer, not the call.
    fn is_view(&self) -> bool {
        matches!(
            self,
            Self::StaleReads { .. }
                | Self::FlappingWeight { .. }
                | Self::PartialListeners { .. }
                | Self::MissingRows { .. }
        )
    }
}

/// The faults of one call.
#[derive(Clone, Debug)]
pub struct CallFaults {
    found: Vec<(Option<String>, Kind, Timestamp)>,
    now: Timestamp,
}

impl CallFaults {
    /// All of them.
    pub fn kinds(&self) -> impl Iterator<Item = &Kind> {
        self.found.iter().map(|(_, kind, _)| kind)
    }

    fn of<'a>(&'a self, id: &'a str) -> impl Iterator<Item = (&'a Kind, Timestamp)> {
        self.found
            .iter()
            .filter(move |(named, ..)| named.as_ref().is_none_or(|named| named == id))
            .map(|(_, kind, since)| (kind, *since))
    }

    /// How old what is read of the load balancer `id` is.
    #[must_use]
    pub fn age(&self, id: &str) -> Duration {
        let ages = self.of(id).map(|(kind, _)| match kind {
            Kind::StaleReads { age_seconds } => Duration::from_secs(*age_seconds),
            _ => Duration::ZERO,
        });
        ages.max().unwrap_or_default()
    }

    /// `seen` as the call shows it.
    #[must_use]
    pub fn view(&self, mut seen: LoadBalancer) -> LoadBalancer {
        let id = seen.id.clone();
        for (kind, since) in self.of(&id) {
            match kind {
                Kind::FlappingWeight { weight, period_millis } => {
                    let past = self.now.as_millisecond() - since.as_millisecond();
                    let period = i64::try_from(*period_millis).unwrap_or(i64::MAX).max(1);
                    if (past / period) % 2 == 1 {
                        for target in seen.targets_mut().filter(|target| target.weight == 0) {
                            target.weight = *weight;
                        }
                    }
                }
                Kind::PartialListeners { listener_ids } if listener_ids.is_empty() => {
                    seen.listeners.pop();
                }
                Kind::PartialListeners { listener_ids } => {
                    seen.listeners.retain(|listener| !listener_ids.contains(&listener.id));
                }
                Kind::MissingRows { ips } => {
                    for listener in &mut seen.listeners {
                        listener.targets.retain(|target| !ips.contains(&target.ip));
                        for rule in &mut listener.rules {
                            rule.targets.retain(|target| !ips.contains(&target.ip));
                        }
                    }
                }
                _ => {}
            }
        }
        seen
    }

    /// `answer` as it is sent.
    #[must_use]
    pub fn spoil(&self, mut answer: Value) -> Value {
        for kind in self.kinds() {
            spoil(&mut answer, kind);
        }
        answer
    }
}

fn spoil(value: &mut Value, kind: &Kind) {
    match value {
        Value::Array(all) => all.iter_mut().for_each(|one| spoil(one, kind)),
        Value::Object(members) => {
            members.values_mut().for_each(|one| spoil(one, kind));
            match kind {
                Kind::NullMembers { members: names } => {
                    for (_, member) in members.iter_mut().filter(|(name, _)| names.contains(name)) {
                        *member = Value::Null;
                    }
                }
                Kind::UnknownMembers => {
                    members.insert("AddedLater".to_owned(), serde_json::json!({"Since": [2030]}));
                }
                Kind::LowerCaseTypes => {
                    if let Some(Value::String(text)) = members.get_mut("Type") {
                        text.make_ascii_lowercase();
                    }
                }
                _ => {}
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;
    use serde_json::json;

    use super::{Fault, Faults};
    use crate::clb::model::LoadBalancer;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(millis).unwrap()
    }

    fn set(faults: serde_json::Value) -> Faults {
        let faults: Vec<Fault> = serde_json::from_value(faults).unwrap();
        let mut set = Faults::default();
        set.set(faults, at(0));
        set
    }

    #[test]
    fn weights_flap_with_the_time() {
        let seen: LoadBalancer = serde_json::from_value(json!({"id": "lb-a", "listeners": [
            {"id": "lbl-1", "protocol": "TCP", "port": 80, "targets": [
                {"ip": "10.0.0.7", "port": 80, "weight": 0, "registered": "2026-01-01T00:00:00Z"},
                {"ip": "10.0.0.8", "port": 80, "weight": 5, "registered": "2026-01-01T00:00:00Z"},
            ]},
        ]}))
        .unwrap();
        let mut faults = set(json!([
            {"fault": {"kind": "flappingWeight", "weight": 10, "periodMillis": 1000}},
        ]));
        let mut weights = |millis: i64| -> Vec<u32> {
            let call = faults.of_call("DescribeTargets", &["lb-a".into()], at(millis));
            let targets = call.view(seen.clone()).listeners.remove(0).targets;
            targets.iter().map(|target| target.weight).collect()
        };
        assert_eq!([weights(0), weights(1_000), weights(2_500)], [[0, 5], [10, 5], [0, 5]]);
    }

    #[test]
    fn what_a_read_shows_is_of_one_load_balancer_also_where_the_call_names_none() {
        let mut faults = set(json!([
            {"loadBalancerId": "lb-a", "seconds": 60, "fault": {"kind": "staleReads", "ageSeconds": 9}},
            {"loadBalancerId": "lb-a", "fault": {"kind": "throttling"}},
        ]));
        let call = faults.of_call("DescribeLBListeners", &[], at(0));
        assert_eq!(call.kinds().count(), 1, "the call itself is well");
        assert_eq!((call.age("lb-a"), call.age("lb-b")), (Duration::from_secs(9), Duration::ZERO));
        let call = faults.of_call("DescribeTargets", &["lb-a".into()], at(60_000));
        assert_eq!(call.age("lb-a"), Duration::ZERO, "it is over");
    }
}
