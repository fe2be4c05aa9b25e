//! What is wrong, decided of facts alone.

pub mod installation;
pub mod namespaces;
#[cfg(test)]
pub(super) mod planted;
mod reason;
#[cfg(test)]
mod tests;
mod versions;

use jiff::Timestamp;
use serde::Serialize;

pub use reason::{Reason, Severity};

use super::facts::{Facts, Unseen};
use crate::common::failure::one_line;

/// Something that somebody should know, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is, in a word.
    pub reason: Reason,
    /// What it is about: `kind/namespace/name`, or `kind/name` where there is no namespace.
    pub object: String,
    /// What is wrong with it.
    pub message: String,
    /// What to do, in a line: a command where there is one.
    pub cure: String,
}

impl Finding {
    fn new(
        reason: Reason,
        object: impl Into<String>,
        message: impl Into<String>,
        cure: impl Into<String>,
    ) -> Self {
        let (message, cure) = (one_line(&message.into()), one_line(&cure.into()));
        Self { severity: reason.severity(), reason, object: object.into(), message, cure }
    }
}

/// All that is wrong at `now`, the worst first; of one severity what is alike stands together.
#[must_use]
pub fn findings(facts: &Facts, now: Timestamp) -> Vec<Finding> {
    let mut found = Vec::new();
    not_checked(facts, &mut found);
    installation::look(facts, now, &mut found);
    versions::look(facts, &mut found);
    namespaces::look(facts, now, &mut found);
    found.sort();
    found.dedup();
    found
}

/// What could not be looked at: nobody should take silence for health.
fn not_checked(facts: &Facts, found: &mut Vec<Finding>) {
    for why in facts.looks().1 {
        match why {
            // One finding says so, for all kinds.
            Unseen::NoSuchKind => {}
            Unseen::Because(why) => found.push(Finding::new(
                Reason::NotChecked,
                "cluster",
                format!("not looked at: {why}"),
                "ask for the right that is named, or let an admin run the check",
            )),
        }
    }
}
