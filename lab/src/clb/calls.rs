//! What was asked of the API, so that a test can count it.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The most calls that are remembered: an hour of 20 per second. The oldest are forgotten first.
const CALLS_MAX: usize = 72_000;

/// One call.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Call {
    /// When it came.
    pub at: Timestamp,
    /// Its `X-TC-Action`.
    pub action: String,
    /// The load balancers that it named.
    pub load_balancer_ids: Vec<String>,
    /// Who sent it.
    pub secret_id: String,
    /// The error's code; empty for an answer.
    pub code: String,
}

/// The calls so far.
#[derive(Clone, Debug, Default)]
pub struct Calls(VecDeque<Call>);

impl Calls {
    pub(super) fn push(&mut self, call: Call) {
        if self.0.len() >= CALLS_MAX {
            self.0.pop_front();
        }
        self.0.push_back(call);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn all(&self) -> Vec<&Call> {
        self.0.iter().collect()
    }
}

/// The most calls of `action` in any second, of calls in the order in which they came.
#[must_use]
pub fn busiest_second(calls: &[Call], action: &str) -> usize {
    let mut window = VecDeque::new();
    let mut most = 0;
    for call in calls.iter().filter(|call| call.action == action) {
        let start = call.at.checked_sub(Duration::from_secs(1)).unwrap_or(Timestamp::UNIX_EPOCH);
        while window.front().is_some_and(|at| *at <= start) {
            window.pop_front();
        }
        window.push_back(call.at);
        most = most.max(window.len());
    }
    most
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::{Call, busiest_second};

    #[test]
    fn the_busiest_second_is_any_second() {
        let call = |action: &str, millis: i64| Call {
            at: Timestamp::from_millisecond(millis).unwrap(),
            action: action.into(),
            load_balancer_ids: vec![],
            secret_id: String::new(),
            code: String::new(),
        };
        let calls = [
            call("a", 0),
            call("a", 900),
            call("b", 950),
            call("a", 1_000),
            call("a", 1_899),
            call("a", 5_000),
        ];
        assert_eq!(busiest_second(&calls, "a"), 3, "900, 1000 and 1899");
        assert_eq!(busiest_second(&calls, "b"), 1);
        assert_eq!(busiest_second(&calls, "c"), 0);
    }
}
