//! What the reads of one load balancer say about one pod.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::{SignedDuration, Timestamp};

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
    },
    /// It was not. Why.
    Failed(Box<str>),
}

/// One row, as it is remembered: place, port.
type Slot = (Place, u16);

/// The last read that was whole enough to say something.
#[derive(Clone, Debug)]
struct Read {
    at: Timestamp,
    rows: Vec<Row>,
}

/// Everything that the reads of one load balancer have said about one pod.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Rows that were seen, with when they were bound.
    seen: BTreeMap<Slot, Option<Box<str>>>,
    last: Option<Read>,
    /// Reads in a row that were equal to the last: how many, and when the first was.
    equal: Option<(u32, Timestamp)>,
    /// Why the newest read said nothing, where it did not.
    failure: Option<Box<str>>,
    /// Since when somebody reads.
    since: Option<Timestamp>,
}

/// Time between the first and the last of the reads that agree, at least: two reads at one moment are one.
const AGREE_OVER: SignedDuration = SignedDuration::from_secs(1);
/// A read that is older than this says nothing about now: twice the slowest poll.
pub(super) const FRESH: SignedDuration = SignedDuration::from_secs(10);

/// What a history says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Says {
    /// Every row of the pod has weight 0, or is gone after it was seen, in enough reads.
    Off(String),
    /// A row takes new connections.
    On(String),
    /// Off so far, not often enough yet.
    Confirming(String),
    /// Whole reads, and never a row of the pod; since when.
    NotBound(Timestamp),
    /// Nobody can say.
    Unknown(String),
}

impl History {
    /// Takes in one read. Returns whether it says anything else than the one before.
    pub fn take(&mut self, at: Timestamp, read: ReadOf) -> bool {
        let before = (self.last.as_ref().map(|last| last.rows.clone()), self.failure.clone());
        match read {
            ReadOf::Rows { rows, gaps } => self.read(at, rows, &gaps),
            ReadOf::Failed(why) => self.failed(at, why),
        }
        before != (self.last.as_ref().map(|last| last.rows.clone()), self.failure.clone())
    }

    /// A read that was answered.
    pub fn read(&mut self, at: Timestamp, mut rows: Vec<Row>, gaps: &[Gap]) {
        self.since.get_or_insert(at);
        rows.sort_by(|a, b| (&a.place, a.port).cmp(&(&b.place, b.port)));
        // A row that takes traffic is a fact, however much else is missing.
        let takes = rows.iter().any(|row| row.weight.is_some_and(|weight| weight > 0));
        if !takes && let Some(why) = self.hidden(&rows, gaps) {
            self.failed(at, why);
            return;
        }
        for row in &rows {
            let seen = self.seen.entry((row.place.clone(), row.port)).or_default();
            // The first binding is the pod's.
            if seen.is_none() {
                seen.clone_from(&row.registered);
            }
        }
        self.failure = None;
        let same = self.last.as_ref().is_some_and(|last| last.rows == rows);
        self.equal = match self.equal {
            Some((count, first)) if same && first <= at => Some((count.saturating_add(1), first)),
            _ => Some((1, at)),
        };
        self.last = Some(Read { at, rows });
    }

    /// A read that failed.
    pub fn failed(&mut self, at: Timestamp, why: impl Into<Box<str>>) {
        self.since.get_or_insert(at);
        self.failure = Some(why.into());
        // Agreement starts anew: nobody knows what was in between.
        self.equal = None;
    }

    /// Why a read may hide a row that matters.
    fn hidden(&self, rows: &[Row], gaps: &[Gap]) -> Option<String> {
        if let Some(row) = rows.iter().find(|row| row.weight.is_none()) {
            return Some(format!("the weight of {row} could not be read"));
        }
        let was_seen_at = |place: &Option<Place>| match place {
            None => !self.seen.is_empty(),
            Some(place) => self.seen.keys().any(|(seen, _)| {
                seen.listener == place.listener && (place.rule.is_none() || seen.rule == place.rule)
            }),
        };
        gaps.iter()
            .find(|gap| !gap.may_be_empty || was_seen_at(&gap.place))
            .map(|gap| format!("a part of the answer could not be read: {}", gap.detail))
    }

    /// What the reads say at `now`. With `ended`, nothing of the pod runs any more: its address may have
    /// been given to another pod, which shows as a later binding.
    pub(super) fn says(&self, id: &str, ended: bool, confirm: u32, now: Timestamp) -> Says {
        let Some(last) = &self.last else {
            let why = self.failure.as_deref().unwrap_or("it has not been read yet");
            return Says::Unknown(format!("CLB {id}: {why}"));
        };
        let own: Vec<&Row> = last.rows.iter().filter(|row| !ended || self.is_own(row)).collect();
        let taking: Vec<&&Row> = own.iter().filter(|row| row.weight != Some(0)).collect();
        if !taking.is_empty() && self.failure.is_none() {
            return Says::On(format!(
                "CLB {id} still sends to it: {}",
                listed(taking.into_iter().copied())
            ));
        }
        if let Some(why) = &self.failure {
            return Says::Unknown(format!("CLB {id}: {why}"));
        }
        if now.duration_since(last.at) > FRESH {
            return Says::Unknown(format!(
                "CLB {id} was read last {} s ago",
                now.duration_since(last.at).as_secs()
            ));
        }
        if self.seen.is_empty() {
            return Says::NotBound(self.since.unwrap_or(last.at));
        }
        let present: BTreeSet<(&Place, u16)> =
            own.iter().map(|row| (&row.place, row.port)).collect();
        let gone =
            self.seen.keys().filter(|(place, port)| !present.contains(&(place, *port))).count();
        let mut evidence = format!("CLB {id}:");
        if !own.is_empty() {
            evidence.push_str(&format!(" weight 0 on {}", listed(own.iter().copied())));
        }
        if gone > 0 {
            let and = if own.is_empty() { "" } else { "," };
            evidence.push_str(&format!("{and} {gone} unbound"));
        }
        let agreed = self.equal.is_some_and(|(count, first)| {
            count >= confirm && last.at.duration_since(first) >= AGREE_OVER
        });
        if agreed { Says::Off(evidence) } else { Says::Confirming(evidence) }
    }

    fn is_own(&self, row: &Row) -> bool {
        match self.seen.get(&(row.place.clone(), row.port)) {
            Some(Some(first)) => {
                row.registered.as_ref().is_none_or(|registered| registered == first)
            }
            _ => true,
        }
    }
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

fn listed<'a>(rows: impl ExactSizeIterator<Item = &'a Row>) -> String {
    let more = rows.len().saturating_sub(ROWS_SHOWN);
    let shown: Vec<String> = rows.take(ROWS_SHOWN).map(ToString::to_string).collect();
    let shown = shown.join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}
