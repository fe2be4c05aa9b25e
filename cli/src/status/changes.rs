//! What is different between two documents, a line each. Pure.

use std::collections::BTreeMap;

use super::document::{Ending, Out, Phase, Status, Upgrade, Workload};
use super::text::{printable, traffic_words};
use crate::common::words::{clock, count};

/// A line for each change, in the order of the document. A first document is all change.
#[must_use]
pub fn changes(before: &Status, after: &Status) -> Vec<String> {
    let mut lines = Vec::new();
    pairs(&before.workloads, &after.workloads, workload_key, |key, pair| {
        lines.extend(workload(&key.join("/"), pair));
    });
    pairs(
        &before.upgrades,
        &after.upgrades,
        |one| [&one.namespace, &one.stateful_set],
        |key, pair| {
            upgrade(&key.join("/"), pair, &mut lines);
        },
    );
    pairs(
        &before.ending,
        &after.ending,
        |one| [&one.namespace, &one.pod, &one.uid],
        |key, pair| {
            let [namespace, pod, _] = key;
            ending(&format!("{namespace}/{pod}"), pair, &mut lines);
        },
    );
    for note in after.notes.iter().filter(|note| !before.notes.contains(note)) {
        let cure = note.cure.as_ref().map(|cure| format!(" ({cure})")).unwrap_or_default();
        lines.push(format!("note: {}{cure}", note.message));
    }
    for note in before.notes.iter().filter(|note| !after.notes.contains(note)) {
        lines.push(format!("no longer: {}", note.message));
    }
    lines.iter().map(|line| printable(line)).collect()
}

type Pair<'a, T> = (Option<&'a T>, Option<&'a T>);

fn pairs<'a, T, const N: usize>(
    before: &'a [T],
    after: &'a [T],
    key: impl Fn(&'a T) -> [&'a String; N],
    mut look: impl FnMut([&'a str; N], Pair<'a, T>),
) {
    let key = |one| key(one).map(String::as_str);
    let mut all: BTreeMap<[&str; N], Pair<'a, T>> = BTreeMap::new();
    for one in before {
        all.entry(key(one)).or_default().0 = Some(one);
    }
    for one in after {
        all.entry(key(one)).or_default().1 = Some(one);
    }
    all.into_iter().for_each(|(key, pair)| look(key, pair));
}

fn workload_key(one: &Workload) -> [&String; 3] {
    [&one.namespace, &one.kind, &one.name]
}

fn workload(name: &str, pair: Pair<'_, Workload>) -> Option<String> {
    let words = |one: &Workload| {
        let policy = one.policy.as_deref().unwrap_or("none");
        let ready = match (one.ready, one.desired) {
            (Some(ready), Some(desired)) => format!(", {ready}/{desired} ready"),
            _ => String::new(),
        };
        format!("policy {policy}{ready}, {}/{} protected", one.protected, one.pods)
    };
    match pair {
        (None, Some(now)) => Some(format!("{name} {}", words(now))),
        (Some(_), None) => Some(format!("{name} is not enrolled any more, or is gone")),
        (Some(before), Some(now)) => {
            (words(before) != words(now)).then(|| format!("{name} {}", words(now)))
        }
        (None, None) => None,
    }
}

fn upgrade(name: &str, pair: Pair<'_, Upgrade>, lines: &mut Vec<String>) {
    let words = |one: &Upgrade| {
        format!("{} ({}), {} of {} updated", one.phase, one.reason, one.updated, one.total)
    };
    let (before, Some(now)) = pair else {
        lines.push(format!("{name} its Upgrade is gone"));
        return;
    };
    let claim = |out: &Out, one: &Upgrade| {
        one.out.iter().any(|other| (other.ordinal, &other.step) == (out.ordinal, &out.step))
    };
    let namespace = &now.namespace;
    for out in &now.out {
        if !before.is_some_and(|before| claim(out, before)) {
            let Out { pod, step, message, .. } = out;
            lines.push(format!("{namespace}/{pod} upgrade {step}: {message}"));
        }
    }
    for out in before.into_iter().flat_map(|before| &before.out) {
        if !now.out.iter().any(|other| other.ordinal == out.ordinal) {
            lines.push(format!("{namespace}/{} is out of service no more", out.pod));
        }
    }
    if before.map(words) != Some(words(now)) {
        // An ordinal's own line says the rest.
        let why = if now.out.is_empty() { format!(": {}", now.message) } else { String::new() };
        lines.push(format!("{name} upgrade {}{why}", words(now)));
    }
}

fn ending(name: &str, pair: Pair<'_, Ending>, lines: &mut Vec<String>) {
    let (before, now) = match pair {
        (before, Some(now)) => (before, now),
        (Some(_), None) => {
            lines.push(format!("{name} is gone"));
            return;
        }
        (None, None) => return,
    };
    if before.is_none() {
        let by = now.deadline.map(|at| format!(", goes by {}", clock(at))).unwrap_or_default();
        lines.push(format!("{name} is ending{by}"));
    }
    let traffic = |pod: &Ending| pod.traffic.as_ref().map(|_| traffic_words(pod, true));
    let left = now.connections.map(|number| {
        let number = usize::try_from(number).unwrap_or(usize::MAX);
        format!("{} left", count(number, "connection"))
    });
    let is_other_traffic = traffic(now).is_some() && before.and_then(traffic) != traffic(now);
    let is_other_count =
        left.is_some() && before.and_then(|pod| pod.connections) != now.connections;
    let mut parts = Vec::new();
    if is_other_traffic {
        parts.extend(traffic(now).map(|words| format!("traffic {words}")));
    }
    if is_other_traffic || is_other_count {
        parts.extend(left);
    }
    if !parts.is_empty() {
        lines.push(format!("{name} {}", parts.join(", ")));
    }
    let is_other_phase = before.map(|pod| pod.phase) != Some(now.phase);
    if is_other_phase && matches!(now.phase, Phase::Stopping | Phase::Ended | Phase::NotHeld) {
        lines.push(format!("{name} {:?}: {}", now.phase, now.message));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::screen::Layout;
    use crate::status::document::Note;
    use crate::status::text::frame;

    #[test]
    fn what_objects_say_is_no_command_to_a_terminal() {
        let evil = || "a\x1b]0;b\x07\r\nc\u{9b}2J".to_owned();
        let now = Status {
            namespace: Some(evil()),
            workload: Some(evil()),
            ending: vec![Ending {
                pod: evil(),
                phase: Phase::NotHeld,
                message: evil(),
                ..Ending::default()
            }],
            upgrades: vec![Upgrade { message: evil(), phase: evil(), ..Upgrade::default() }],
            workloads: vec![Workload { name: evil(), ..Workload::default() }],
            notes: vec![Note { message: evil(), cure: Some(evil()) }],
            ..Status::default()
        };
        let lines = changes(&Status::default(), &now);
        assert_eq!(lines.len(), 5, "{lines:?}");
        assert!(lines.iter().all(|line| !line.contains(char::is_control)), "{lines:?}");
        let headline = frame(&now, Layout::default(), 20).swap_remove(0);
        let headline = anstream::adapter::strip_str(&headline).to_string();
        assert!(headline.contains("namespace a ]0;b   c 2J"), "{headline:?}");
    }
}
