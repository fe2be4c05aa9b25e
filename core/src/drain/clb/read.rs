//! One read of a load balancer, as far as it is about one pod.

use std::collections::BTreeSet;
use std::fmt;

/// Where a backend stands: a listener, or a rule of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Id of the listener, `lbl-…`.
    pub listener: Box<str>,
    /// Id of the rule, `loc-…`, on layer 7.
    pub rule: Option<Box<str>>,
}

/// A backend that has the pod's address, as one read shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Where it stands.
    pub place: Place,
    /// What clients connect to, for messages: `TCP:80`, `HTTPS:443 shop.example/`.
    pub frontend: Box<str>,
    /// The backend's port.
    pub port: u16,
    /// 0 to 100; None where the answer has none that can be read.
    pub weight: Option<u8>,
    /// When it was bound. Tells a binding from a later one of the same address.
    pub registered: Option<Box<str>>,
}

/// A part of an answer that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Where; None where not even that is known.
    pub place: Option<Place>,
    /// The API gave no value, which may be its word for an empty list.
    pub may_be_empty: bool,
    /// What could not be read.
    pub detail: Box<str>,
}

/// What one read of a load balancer says about one pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadOf {
    /// It was answered.
    Rows {
        /// The rows with the pod's address.
        rows: Vec<Row>,
        /// What could not be read.
        gaps: Vec<Gap>,
        /// Places where no backend besides the pod has a weight above 0.
        alone: BTreeSet<Place>,
    },
    /// There is no such load balancer. The API's words.
    NotFound(Box<str>),
    /// It was not. Why.
    Failed(Box<str>),
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} -> :{}", self.place.listener, self.frontend, self.port)?;
        match self.weight {
            Some(0) => Ok(()),
            Some(weight) => write!(f, " weight {weight}"),
            None => f.write_str(" weight unknown"),
        }
    }
}

/// Rows shown in a message; the rest is counted.
const ROWS_SHOWN: usize = 4;

pub(super) fn listed<T: ToString>(rows: impl ExactSizeIterator<Item = T>) -> String {
    let more = rows.len().saturating_sub(ROWS_SHOWN);
    let shown: Vec<String> = rows.take(ROWS_SHOWN).map(|row| row.to_string()).collect();
    let shown = shown.join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}
