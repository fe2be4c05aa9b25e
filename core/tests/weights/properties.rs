//! Properties over every annotation that a user may write.

use lameduck_core::upgrade::weights::{Annotations, Zeros, weight_of_user, with_zeros, zeros};
use proptest::{collection, option, prelude::*, sample};
use serde_json::{Value, json};

use crate::reader::{ORDINALS, assert_merged, listings, parse, weights};
use crate::user::{PORTS, SETS, any_annotation, any_ports, any_text, any_zeros};
use crate::{HTTP, Service, ordinals};

/// What somebody does to the annotation while ours is in it.
#[derive(Clone, Debug)]
enum Edit {
    DefaultWeight(u8),
    Stranger,
    /// Takes an ordinal out of all lists of the first set at the port, and gives it a weight of its own.
    List((&'static str, u16), &'static str, u32, u8),
    RemoveGroup((&'static str, u16)),
}

impl Edit {
    fn apply(&self, text: &str) -> String {
        let mut value = parse(text);
        let is = |group: &Value, (proto, port): (&str, u16)| {
            group["key"]["proto"].as_str().unwrap().eq_ignore_ascii_case(proto)
                && group["key"]["port"] == port
        };
        match *self {
            Self::DefaultWeight(weight) => value["defaultWeight"] = weight.into(),
            Self::Stranger => value["x-edited"] = "yes".into(),
            Self::List(port, set, ordinal, weight) => {
                let groups = array(&mut value, "groups");
                let at = groups.iter().position(|group| is(group, port)).unwrap_or_else(|| {
                    groups.push(json!({"key": {"proto": port.0, "port": port.1}}));
                    groups.len() - 1
                });
                let sets = array(&mut groups[at], "statefulSets");
                for of in sets.iter_mut().filter(|of| of["name"] == set) {
                    for entry in array(of, "weights") {
                        array(entry, "podIndexes").retain(|of| *of != ordinal);
                    }
                }
                let entry = json!({"weight": weight, "podIndexes": [ordinal]});
                sets.push(json!({"name": set, "weights": [entry]}));
            }
            Self::RemoveGroup(port) => array(&mut value, "groups").retain(|group| !is(group, port)),
        }
        value.to_string()
    }
}

fn array<'a>(value: &'a mut Value, name: &str) -> &'a mut Vec<Value> {
    let members = value.as_object_mut().unwrap();
    members.entry(name).or_insert_with(|| json!([])).as_array_mut().unwrap()
}

/// An ordinal of ours is never listed at 0: that is ours, and is taken back.
fn any_edit() -> impl Strategy<Value = Edit> {
    let port = || sample::select(PORTS.to_vec());
    prop_oneof![
        (0..=100_u8).prop_map(Edit::DefaultWeight),
        Just(Edit::Stranger),
        (port(), sample::select(SETS.to_vec()), 0..ORDINALS, 1..=100_u8)
            .prop_map(|(port, set, ordinal, weight)| Edit::List(port, set, ordinal, weight)),
        port().prop_map(Edit::RemoveGroup),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_was_set_is_taken_back_byte_for_byte(
        user in any_annotation(), ports in any_ports(), zeros in any_zeros(),
    ) {
        let mut service = Service::new(user.as_deref());
        service.zero(&ports, &zeros);
        assert_merged(user.as_deref(), service.weights.as_deref().unwrap(), &ports, &zeros);
        service.give_back();
        prop_assert_eq!(service.weights, user);
    }

    #[test]
    fn steps_end_where_the_last_alone_would(
        user in any_annotation(),
        steps in collection::vec((any_ports(), option::weighted(0.8, any_zeros())), 1..6),
    ) {
        let mut service = Service::new(user.as_deref());
        for (ports, zeros) in steps {
            let zeros = zeros.unwrap_or_default();
            service.zero(&ports, &zeros);
            let mut alone = Service::new(user.as_deref());
            alone.zero(&ports, &zeros);
            prop_assert_eq!(&service, &alone);
        }
        service.give_back();
        prop_assert_eq!(service.weights, user);
    }

    #[test]
    fn an_edit_meanwhile_stays_and_ours_go(
        user in any_annotation(), ports in any_ports(), zeros in any_zeros(), more in any_zeros(),
        edits in collection::vec(any_edit(), 1..4),
    ) {
        let edit = |text: &str| edits.iter().fold(text.to_owned(), |text, edit| edit.apply(&text));
        let mut service = Service::new(user.as_deref());
        service.zero(&ports, &zeros);
        service.weights = service.weights.as_deref().map(edit);

        let expected = edit(user.as_deref().unwrap_or(r#"{"defaultWeight":10}"#));
        let mut given_back = service.clone();
        given_back.give_back();
        let own = given_back.weights;
        match own.as_deref() {
            Some(own) => prop_assert_eq!(weights(Some(own)), weights(Some(&expected)), "{}", own),
            // Nothing was left but the default that a CLB has anyway.
            None => prop_assert_eq!(weights(Some(&expected)), weights(Some(r#"{"defaultWeight":10}"#))),
        }
        for port in &ports {
            let of = ((port.protocol.as_str(), port.port), SETS[0], 1);
            let weight = weight_of_user(&service.now(), SETS[0], 1, *port).unwrap();
            prop_assert_eq!(weight.map(u64::from), weights(own.as_deref())[&of]);
        }

        // Zeros go on over the edit, and come off it again.
        service.zero(&ports, &more);
        assert_merged(own.as_deref(), service.weights.as_deref().unwrap(), &ports, &more);
        service.give_back();
        prop_assert_eq!(service.weights, own);
    }

    #[test]
    fn a_text_put_in_the_place_of_ours_stays_byte_for_byte_where_it_has_none_of_ours(
        user in any_annotation(), ports in any_ports(), zeros in any_zeros(), other in any_text(),
    ) {
        let mut service = Service::new(user.as_deref());
        service.zero(&ports, &zeros);
        // Zeros of ours that it has cannot be told from those that we wrote.
        let value = parse(&other);
        let has_ours = PORTS.iter().any(|port| zeros.iter().any(|(set, ordinals)| {
            ordinals.iter().any(|&of| listings(&value, *port, set, of).contains(&0))
        }));
        service.weights = Some(other.clone());
        service.give_back();
        if !has_ours {
            prop_assert_eq!(service.weights, Some(other));
        }
    }

    #[test]
    fn an_annotation_removed_meanwhile_stays_removed(
        user in any_annotation(), ports in any_ports(), zeros in any_zeros(), more in any_zeros(),
    ) {
        let mut service = Service::new(user.as_deref());
        service.zero(&ports, &zeros);
        service.weights = None;
        let mut given_back = service.clone();
        given_back.give_back();
        prop_assert_eq!(given_back.weights, None);

        service.zero(&ports, &more);
        assert_merged(None, service.weights.as_deref().unwrap(), &ports, &more);
        service.give_back();
        prop_assert_eq!(service.weights, None);
    }

    #[test]
    fn giving_back_never_fails_whatever_stands_there(
        weights in option::of(any_mess()), record in option::of(any_mess()), ports in any_ports(),
    ) {
        let now = Annotations { weights: weights.as_deref(), record: record.as_deref() };
        let given_back = with_zeros(&now, &ports, &Zeros::new()).unwrap();
        prop_assert_eq!(given_back.is_some(), record.is_some());
        if let Some(change) = given_back {
            prop_assert_eq!(change.record, None);
            if change.left_alone.is_some() {
                prop_assert_eq!(change.weights, weights.clone());
            }
        }
        // No panic, and what is refused for one is refused for the other.
        let zeroed = with_zeros(&now, &ports, &ordinals("nginx", &[1]));
        prop_assert!(zeroed.is_ok() || weight_of_user(&now, "nginx", 1, HTTP).is_err());
        prop_assert!(record.is_some() || zeros(&now).is_ok());
    }
}

/// Texts that are nearly right, and texts that are not.
fn any_mess() -> impl Strategy<Value = String> {
    let record = (any_annotation(), any_zeros(), any_ports()).prop_map(|(user, zeros, ports)| {
        let mut service = Service::new(user.as_deref());
        service.zero(&ports, &zeros);
        service.record.unwrap()
    });
    let nearly = (prop_oneof![any_text(), record], any::<sample::Index>(), "[0-9{}\\[\\]\":,a é]?");
    prop_oneof![
        ".{0,40}",
        nearly.prop_map(|(text, at, with)| {
            let at = at.index(text.len() + 1);
            let Some((head, tail)) = text.split_at_checked(at) else { return text };
            let mut tail = tail.chars();
            tail.next();
            format!("{head}{with}{}", tail.as_str())
        }),
    ]
}
