//! What was asked of the API, so that a test can count it.

use std::collections::VecDeque;

use jiff::Timestamp;
use serde::Serialize;

/// The most calls that are remembered: an hour of 20 per second. The oldest are forgotten first.
const CALLS_MAX: usize = 72_000;

/// One call.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
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
