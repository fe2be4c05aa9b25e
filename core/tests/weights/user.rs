//! Annotations that a user may write: any that can be understood, in any order and spacing.

use std::collections::{BTreeMap, BTreeSet};

use lameduck_core::upgrade::weights::{Port, Zeros};
use proptest::{collection, option, prelude::*, sample};

use crate::{HTTP, HTTPS, QUIC};

/// Ports of groups; a Service has no `HTTP`, an annotation may.
pub(crate) const PORTS: [(&str, u16); 4] = [("TCP", 80), ("TCP", 443), ("UDP", 80), ("HTTP", 80)];
pub(crate) const SETS: [&str; 3] = ["nginx", "envoy", "redis"];

/// Tokens of JSON; the spaces come between them.
type Tokens = Vec<String>;

fn joined(parts: Vec<Tokens>, open: &str, close: &str) -> Tokens {
    let mut tokens = vec![open.to_owned()];
    for (at, part) in parts.into_iter().enumerate() {
        if at > 0 {
            tokens.push(",".to_owned());
        }
        tokens.extend(part);
    }
    tokens.push(close.to_owned());
    tokens
}

fn one(token: impl ToString) -> Tokens {
    vec![token.to_string()]
}

/// An object of these members and up to two that nobody knows, in any order.
fn object(
    members: Vec<(&'static str, BoxedStrategy<Option<Tokens>>)>,
) -> impl Strategy<Value = Tokens> {
    let value = prop_oneof![
        6 => Just(vec![]),
        1 => sample::select(vec!["1.50", "null", "\"\\u00e9\\/\"", "{\"groups\": 1}", "[ 1,2 ]", "123456789012345678901"])
            .prop_map(|value| vec![value]),
        1 => Just(vec!["{}", "true"]),
    ];
    let (names, values): (Vec<_>, Vec<_>) = members.into_iter().unzip();
    (values, value)
        .prop_map(move |(values, strangers)| {
            let known = names.iter().zip(values).filter_map(|(name, value)| {
                value.map(|value| [one(format!("{name:?}")), one(":"), value].concat())
            });
            let strangers = strangers.into_iter().enumerate();
            let strangers = strangers
                .map(|(at, value)| vec![format!("\"x-{at}\""), ":".to_owned(), value.to_owned()]);
            known.chain(strangers).collect::<Vec<_>>()
        })
        .prop_shuffle()
        .prop_map(|members| joined(members, "{", "}"))
}

fn array(elements: impl Strategy<Value = Vec<Tokens>>) -> impl Strategy<Value = Tokens> {
    elements.prop_map(|elements| joined(elements, "[", "]"))
}

fn always(tokens: impl Strategy<Value = Tokens> + 'static) -> BoxedStrategy<Option<Tokens>> {
    tokens.prop_map(Some).boxed()
}

fn mostly(tokens: impl Strategy<Value = Tokens> + 'static) -> BoxedStrategy<Option<Tokens>> {
    option::weighted(0.9, tokens).boxed()
}

fn any_weight() -> impl Strategy<Value = Tokens> {
    sample::select(vec![0, 0, 1, 10, 50, 100]).prop_map(one)
}

fn any_entry() -> impl Strategy<Value = Tokens> {
    let ordinals = collection::vec((0_u32..6).prop_map(one), 0..5);
    object(vec![("weight", always(any_weight())), ("podIndexes", mostly(array(ordinals)))])
}

fn any_set() -> impl Strategy<Value = Tokens> {
    let name = sample::select(SETS.to_vec()).prop_map(|name| one(format!("{name:?}")));
    let entries = collection::vec(any_entry(), 0..4);
    object(vec![("name", always(name)), ("weights", mostly(array(entries)))])
}

fn any_group((proto, port): (&'static str, u16)) -> impl Strategy<Value = Tokens> {
    let proto = any::<bool>().prop_map(move |lower| {
        one(format!("{:?}", if lower { proto.to_lowercase() } else { proto.to_owned() }))
    });
    let key = object(vec![("proto", always(proto)), ("port", always(Just(one(port))))]);
    let sets = collection::vec(any_set(), 0..4);
    object(vec![("key", always(key)), ("statefulSets", mostly(array(sets)))])
}

/// Any text that a user may have written.
pub(crate) fn any_text() -> impl Strategy<Value = String> {
    let groups = sample::subsequence(PORTS.to_vec(), 0..=4)
        .prop_flat_map(|ports| ports.into_iter().map(any_group).collect::<Vec<_>>())
        .prop_shuffle();
    let document =
        object(vec![("defaultWeight", mostly(any_weight())), ("groups", mostly(array(groups)))]);
    let spaces = sample::select(vec!["", "", " ", "\n  ", "\t", "\r\n"]);
    (document, collection::vec(spaces, 1..8)).prop_map(|(tokens, spaces)| {
        let spaced = tokens.iter().zip(spaces.iter().cycle());
        spaced.flat_map(|(token, space)| [space, token.as_str()]).collect::<String>() + spaces[0]
    })
}

/// Any annotation that a user may have, or none.
pub(crate) fn any_annotation() -> impl Strategy<Value = Option<String>> {
    option::weighted(0.9, any_text())
}

/// Ports of a Service: one at least.
pub(crate) fn any_ports() -> impl Strategy<Value = Vec<Port>> {
    sample::subsequence(vec![HTTP, HTTPS, QUIC], 1..=3).prop_shuffle()
}

/// Ordinals to zero: one at least.
pub(crate) fn any_zeros() -> impl Strategy<Value = Zeros> {
    let ordinals = collection::btree_set(0_u32..6, 1..4);
    collection::btree_map(sample::select(SETS.to_vec()), ordinals, 1..3).prop_map(
        |zeros: BTreeMap<&str, BTreeSet<u32>>| {
            zeros.into_iter().map(|(set, ordinals)| (set.into(), ordinals)).collect()
        },
    )
}
