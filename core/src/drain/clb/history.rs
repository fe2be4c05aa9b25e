//! What the reads of one load balancer say about one pod.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::discriminant;

use jiff::{SignedDuration, Timestamp};

use super::read::{Gap, Place, ReadOf, Row, listed};
use crate::time::{clock, later};

/// One row, as it is remembered: place, port.
type Slot = (Place, u16);

/// What is remembered of a row.
#[derive(Clone, Debug, Default)]
struct Seen {
    frontend: Box<str>,
    /// When it was bound first.
    registered: Option<Box<str>>,
    /// As it was read last, where it could be.
    weight: Option<u8>,
    /// Since when it is listed no more.
    gone_since: Option<Timestamp>,
}

/// The last read that was whole enough to say something.
#[derive(Clone, Debug)]
struct Read {
    at: Timestamp,
    rows: Vec<Row>,
    alone: BTreeSet<Place>,
    /// Reads in a row that were equal to this one, and when the first was. None after a failure: nobody
    /// knows what was in between.
    equal: Option<(u32, Timestamp)>,
}

/// What the newest read was, where it said nothing of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Without {
    Failure(Box<str>),
    NotFound { since: Timestamp, last: Timestamp, why: Box<str> },
}

/// Everything that the reads of one load balancer have said about one pod.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Rows that were seen.
    seen: BTreeMap<Slot, Seen>,
    last: Option<Read>,
    without: Option<Without>,
}

/// Time between the first and the last of the reads that agree, at least: two reads at one moment are one.
const AGREE_OVER: SignedDuration = SignedDuration::from_secs(1);
/// Time between two reads that agree, at most: nobody knows what was in between. As long as a round takes
/// through two thousand load balancers.
const AGREE_WITHIN: SignedDuration = SignedDuration::from_secs(120);
/// How long a row that was not read with weight 0 must be gone before that is believed.
const VANISHED_SECONDS: u32 = 30;
/// A read that is older than this says nothing about now: one round through five hundred load balancers.
const FRESH: SignedDuration = SignedDuration::from_secs(30);

/// What a history says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Says {
    /// Every row of the pod has weight 0, or is gone after it was seen, in enough reads.
    Off(String),
    /// A row takes new connections.
    On(String),
    /// Off so far, not often enough yet; since when.
    Confirming(String, Timestamp),
    /// Whole reads in a row, and never a row of the pod; since when.
    NotBound(Timestamp),
    /// A row is listed no more that was not read with weight 0 before; until when that is not believed, and
    /// which.
    Vanished(Timestamp, String),
    /// The API knows no such load balancer; since when, and its words.
    NotFound(Timestamp, String),
    /// Nobody can say.
    Unknown(String),
}

impl History {
    /// Takes in one read. Returns whether it says anything else than the one before.
    pub fn take(&mut self, at: Timestamp, read: ReadOf) -> bool {
        // Not its words: a failure has a new request id each time.
        let without_before = self.without.as_ref().map(discriminant);
        let other_rows = match read {
            ReadOf::Rows { rows, gaps, alone } => self.answered(at, rows, &gaps, alone),
            ReadOf::NotFound(why) => {
                self.not_found(at, why);
                false
            }
            ReadOf::Failed(why) => {
                self.failed(why);
                false
            }
        };
        other_rows || without_before != self.without.as_ref().map(discriminant)
    }

    /// Returns whether there are other rows than before.
    fn answered(
        &mut self,
        at: Timestamp,
        mut rows: Vec<Row>,
        gaps: &[Gap],
        alone: BTreeSet<Place>,
    ) -> bool {
        rows.sort_by(|a, b| (&a.place, a.port).cmp(&(&b.place, b.port)));
        // A row that takes traffic is a fact, however much else is missing.
        let takes = rows.iter().any(|row| row.weight.is_some_and(|weight| weight > 0));
        if !takes && let Some(why) = self.hidden(&rows, gaps) {
            self.failed(why.into());
            return false;
        }
        for row in &rows {
            let seen = self.seen.entry((row.place.clone(), row.port)).or_default();
            seen.frontend.clone_from(&row.frontend);
            // The first binding is the pod's.
            if seen.registered.is_none() {
                seen.registered.clone_from(&row.registered);
            }
            // Unreadable weights were sorted out above, but for a read that has a row that takes traffic.
            seen.weight = row.weight.or(seen.weight);
        }
        for ((place, port), seen) in &mut self.seen {
            let is_listed = rows.iter().any(|row| row.place == *place && row.port == *port);
            seen.gone_since = if is_listed { None } else { seen.gone_since.or(Some(at)) };
        }
        self.without = None;
        let soon = |last: &&Read| last.at <= at && at.duration_since(last.at) <= AGREE_WITHIN;
        let same = self.last.as_ref().filter(|last| last.rows == rows);
        let other_rows = same.is_none();
        let equal = match same.filter(soon).and_then(|last| last.equal) {
            Some((count, first)) => (count.saturating_add(1), first),
            None => (1, at),
        };
        self.last = Some(Read { at, rows, alone, equal: Some(equal) });
        other_rows
    }

    fn failed(&mut self, why: Box<str>) {
        self.without = Some(Without::Failure(why));
        self.disagree();
    }

    fn not_found(&mut self, at: Timestamp, why: Box<str>) {
        let since = match &self.without {
            Some(Without::NotFound { since, .. }) => *since,
            _ => at,
        };
        self.without = Some(Without::NotFound { since, last: at, why });
        self.disagree();
    }

    /// Agreement starts anew.
    fn disagree(&mut self) {
        if let Some(last) = &mut self.last {
            last.equal = None;
        }
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
        match (&self.without, &self.last) {
            (Some(Without::NotFound { last, .. }), _) if is_old(*last, now) => not_read(id, *last),
            (Some(Without::NotFound { since, why, .. }), _) => {
                Says::NotFound(*since, why.to_string())
            }
            (Some(Without::Failure(why)), _) => Says::Unknown(format!("CLB {id}: {why}")),
            (None, None) => Says::Unknown(format!("CLB {id}: it has not been read yet")),
            (None, Some(last)) => self.rows_say(last, id, ended, confirm, now),
        }
    }

    fn rows_say(&self, last: &Read, id: &str, ended: bool, confirm: u32, now: Timestamp) -> Says {
        let own: Vec<&Row> = last.rows.iter().filter(|row| !ended || self.is_own(row)).collect();
        let taking: Vec<&Row> = own.iter().copied().filter(|row| row.weight != Some(0)).collect();
        if !taking.is_empty() {
            return Says::On(format!("CLB {id} still sends to it: {}", listed(taking.into_iter())));
        }
        if is_old(last.at, now) {
            return not_read(id, last.at);
        }
        if self.seen.is_empty() {
            return Says::NotBound(last.equal.map_or(last.at, |(_, first)| first));
        }
        if let Some((since, row)) = self.vanished()
            && now < later(since, VANISHED_SECONDS)
        {
            let believed = clock(later(since, VANISHED_SECONDS));
            let why = format!("CLB {id} lists {row} no more; that is believed from {believed} on");
            return Says::Vanished(later(since, VANISHED_SECONDS), why);
        }
        let present: BTreeSet<(&Place, u16)> =
            own.iter().map(|row| (&row.place, row.port)).collect();
        let gone =
            self.seen.keys().filter(|(place, port)| !present.contains(&(place, *port))).count();
        let mut evidence = format!("CLB {id}:");
        if !own.is_empty() {
            evidence.push_str(&format!(" weight 0 on {}", listed(own.into_iter())));
        }
        if gone > 0 {
            let and = if evidence.ends_with(':') { "" } else { "," };
            evidence.push_str(&format!("{and} {gone} unbound"));
        }
        let agreed = last.equal.is_some_and(|(count, first)| {
            count >= confirm && last.at.duration_since(first) >= AGREE_OVER
        });
        if agreed {
            Says::Off(evidence)
        } else {
            let since = last.equal.map_or(last.at, |(_, first)| first);
            Says::Confirming(format!("{evidence}; to be read again"), since)
        }
    }

    /// The row that vanished last of those that were never read with weight 0. TKE sets a weight to 0 for
    /// as long as the pod is there, so an answer that leaves a row out may rather be a partial one.
    fn vanished(&self) -> Option<(Timestamp, String)> {
        let gone = self.seen.iter().filter(|(_, seen)| seen.weight != Some(0));
        let gone = gone.filter_map(|(slot, seen)| Some((seen.gone_since?, slot, seen)));
        let (since, (place, port), seen) = gone.max_by_key(|(since, ..)| *since)?;
        let weight = seen.weight.map_or_else(|| "unknown".to_owned(), |weight| weight.to_string());
        let frontend = &seen.frontend;
        Some((since, format!("{} {frontend} -> :{port} weight {weight}", place.listener)))
    }

    /// What clients connect to where no other backend takes their connections, of places that the pod was
    /// seen at; None where each has another one.
    pub(super) fn alone(&self) -> Option<String> {
        let alone = &self.last.as_ref()?.alone;
        let at = |((place, _), seen): (&Slot, &Seen)| {
            alone.contains(place).then(|| format!("{} {}", place.listener, seen.frontend))
        };
        let mut frontends: Vec<String> = self.seen.iter().filter_map(at).collect();
        frontends.dedup();
        (!frontends.is_empty()).then(|| listed(frontends.into_iter()))
    }

    fn is_own(&self, row: &Row) -> bool {
        let seen = self.seen.get(&(row.place.clone(), row.port));
        let Some(first) = seen.and_then(|seen| seen.registered.as_ref()) else { return true };
        row.registered.as_ref().is_none_or(|registered| registered == first)
    }
}

/// Also where the clock went back.
fn is_old(at: Timestamp, now: Timestamp) -> bool {
    now.duration_since(at).abs() > FRESH
}

fn not_read(id: &str, since: Timestamp) -> Says {
    Says::Unknown(format!("CLB {id} has not been read since {}", clock(since)))
}
