//! Single cases, as texts.

use lameduck_core::upgrade::weights::{Change, Invalid, Zeros, weight_of_user, with_zeros, zeros};

use crate::{HTTP, HTTPS, QUIC, Service, ordinals};

fn merged(user: Option<&str>, zeros: &Zeros) -> String {
    let mut service = Service::new(user);
    service.zero(&[HTTP], zeros);
    service.weights.unwrap()
}

#[test]
fn the_merged_text() {
    let group =
        |sets: &str| format!(r#"[{{"key":{{"proto":"TCP","port":80}},"statefulSets":{sets}}}]"#);
    let ours = r#"{"weight":0,"podIndexes":[1]}"#;
    let ours_alone = group(&format!(r#"[{{"name":"nginx","weights":[{ours}]}}]"#));
    let cases = [
        (None, format!(r#"{{"defaultWeight":10,"groups":{ours_alone}}}"#)),
        (Some(r#"{"defaultWeight":20}"#), format!(r#"{{"defaultWeight":20,"groups":{ours_alone}}}"#)),
        // No default of the user: none of ours.
        (Some("{}"), format!(r#"{{"groups":{ours_alone}}}"#)),
        // Order and unknown members stay, and numbers as they were written.
        (
            Some(r#"{"z":1e400,"groups":[],"a":1.0}"#),
            format!(r#"{{"z":1e400,"groups":{ours_alone},"a":1.0}}"#),
        ),
        // Out of their list; the list that is empty by that goes, the one that was empty stays.
        (
            Some(
                r#"{"groups":[{"key":{"proto":"TCP","port":80},"statefulSets":[{"weights":[{"weight":5,"podIndexes":[0,1,2]},{"podIndexes":[1],"weight":6},{"weight":7,"podIndexes":[]},{"weight":8,"why":"","podIndexes":[1]}],"name":"nginx"}]}]}"#,
            ),
            format!(
                r#"{{"groups":{}}}"#,
                group(&format!(
                    r#"[{{"weights":[{{"weight":5,"podIndexes":[0,2]}},{{"weight":7,"podIndexes":[]}},{{"weight":8,"why":"","podIndexes":[]}},{ours}],"name":"nginx"}}]"#
                ))
            ),
        ),
        // Of two sets of one name into the last, and out of both: what is read last counts.
        (
            Some(
                r#"{"groups":[{"key":{"proto":"TCP","port":80},"statefulSets":[{"name":"nginx","weights":[{"weight":5,"podIndexes":[1]}]},{"name":"nginx","weights":[{"weight":6,"podIndexes":[1,2]}]}]}]}"#,
            ),
            format!(
                r#"{{"groups":{}}}"#,
                group(&format!(
                    r#"[{{"name":"nginx","weights":[]}},{{"name":"nginx","weights":[{{"weight":6,"podIndexes":[2]}},{ours}]}}]"#
                ))
            ),
        ),
        // Theirs already: not a byte changes.
        (
            Some(
                "{\"groups\":[{\"key\":{\"proto\":\"tcp\",\"port\":80}, \"statefulSets\":[{\"name\":\"nginx\",\"weights\":[{\"weight\":0,\"podIndexes\":[0,1]}]}]}]}\n",
            ),
            "{\"groups\":[{\"key\":{\"proto\":\"tcp\",\"port\":80}, \"statefulSets\":[{\"name\":\"nginx\",\"weights\":[{\"weight\":0,\"podIndexes\":[0,1]}]}]}]}\n"
                .to_owned(),
        ),
    ];
    for (user, expected) in cases {
        assert_eq!(merged(user, &ordinals("nginx", &[1])), expected);
    }
}

#[test]
fn the_record() {
    let mut service = Service::new(Some("{ }"));
    service.zero(&[QUIC], &ordinals("nginx", &[0, 2]));
    assert_eq!(
        service.record.unwrap(),
        r#"{"original":"{ }","zeros":{"nginx":[0,2]},"written":"{\"groups\":[{\"key\":{\"proto\":\"UDP\",\"port\":80},\"statefulSets\":[{\"name\":\"nginx\",\"weights\":[{\"weight\":0,\"podIndexes\":[0,2]}]}]}]}"}"#
    );
}

#[test]
fn a_port_that_the_service_gets_later_gets_its_group() {
    let mut service = Service::new(None);
    service.zero(&[HTTP], &ordinals("nginx", &[1]));
    let before = service.weights.clone();
    service.zero(&[HTTP, HTTPS], &ordinals("nginx", &[1]));
    assert_ne!(service.weights, before);
    service.give_back();
    assert_eq!(service.weights, None);
}

#[test]
fn an_entry_of_ours_gives_its_place_back_where_the_text_was_edited() {
    let user = |default: u8, weights: &str| {
        format!(
            r#"{{"defaultWeight":{default},"groups":[{{"key":{{"proto":"TCP","port":80}},"statefulSets":[{{"name":"nginx","weights":[{weights}]}}]}}]}}"#
        )
    };
    let cases = [
        // The pod would stay at 0 by the default, were its entry lost.
        (r#"{"weight":10,"podIndexes":[0,1,2]}"#, r#"{"weight":10,"podIndexes":[0,1,2]}"#),
        (r#"{"weight":10,"podIndexes":[2,1,0]}"#, r#"{"weight":10,"podIndexes":[2,0,1]}"#),
        (
            r#"{"weight":10,"podIndexes":[1]},{"weight":3,"podIndexes":[0]}"#,
            r#"{"weight":3,"podIndexes":[0]},{"weight":10,"podIndexes":[1]}"#,
        ),
        // It was at 0 before us.
        (r#"{"weight":0,"podIndexes":[1,1]}"#, r#"{"weight":0,"podIndexes":[1]}"#),
    ];
    for (before, after) in cases {
        let mut service = Service::new(Some(&user(10, before)));
        service.zero(&[HTTP], &ordinals("nginx", &[1]));
        let edited =
            service.weights.unwrap().replace(r#""defaultWeight":10"#, r#""defaultWeight":0"#);
        service.weights = Some(edited);
        service.give_back();
        assert_eq!(service.weights.unwrap(), user(0, after));
    }
}

#[test]
fn what_we_brought_goes_with_ours_where_the_text_was_edited() {
    let cases = [
        (None, r#"{"defaultWeight":10,"#, " {\"defaultWeight\":10,", None),
        (None, r#"{"defaultWeight":10,"#, "{", None),
        (None, r#"{"defaultWeight":10,"#, r#"{"defaultWeight":9,"#, Some(r#"{"defaultWeight":9}"#)),
        (None, r#"{"defaultWeight":10,"#, r#"{"x":1,"#, Some(r#"{"x":1}"#)),
        (Some("{ }"), "{", " {", Some("{}")),
        (Some(r#"{"groups":[]}"#), "{", " {", Some(r#"{"groups":[]}"#)),
        // Containers that were empty before us stay as they were.
        (
            Some(r#"{"groups":[{"key":{"proto":"TCP","port":80}}]}"#),
            "{",
            " {",
            Some(r#"{"groups":[{"key":{"proto":"TCP","port":80}}]}"#),
        ),
        (
            Some(r#"{"groups":[{"key":{"proto":"TCP","port":80},"statefulSets":[]}]}"#),
            "{",
            " {",
            Some(r#"{"groups":[{"key":{"proto":"TCP","port":80},"statefulSets":[]}]}"#),
        ),
        (
            Some(
                r#"{"groups":[{"key":{"proto":"TCP","port":80},"statefulSets":[{"name":"nginx"}]}]}"#,
            ),
            "{",
            " {",
            Some(
                r#"{"groups":[{"key":{"proto":"TCP","port":80},"statefulSets":[{"name":"nginx"}]}]}"#,
            ),
        ),
        (
            Some(
                r#"{"groups":[{"key":{"proto":"TCP","port":80},"statefulSets":[{"weights":[],"name":"nginx"}]}]}"#,
            ),
            "{",
            " {",
            Some(
                r#"{"groups":[{"key":{"proto":"TCP","port":80},"statefulSets":[{"weights":[],"name":"nginx"}]}]}"#,
            ),
        ),
        // The editor listed ours at another weight beside our 0: that counts, not what was before.
        (
            Some(
                r#"{"groups":[{"key":{"proto":"TCP","port":80},"statefulSets":[{"name":"nginx","weights":[{"weight":5,"podIndexes":[1]}]}]}]}"#,
            ),
            r#""weights":["#,
            r#""weights":[{"weight":30,"podIndexes":[1]},"#,
            Some(
                r#"{"groups":[{"key":{"proto":"TCP","port":80},"statefulSets":[{"name":"nginx","weights":[{"weight":30,"podIndexes":[1]}]}]}]}"#,
            ),
        ),
        // A container that the editor put something into.
        (
            None,
            r#""port":80}"#,
            r#""port":80,"x":1}"#,
            Some(r#"{"defaultWeight":10,"groups":[{"key":{"proto":"TCP","port":80,"x":1}}]}"#),
        ),
        (
            None,
            r#""podIndexes":[1]"#,
            r#""podIndexes":[1,4]"#,
            Some(
                r#"{"defaultWeight":10,"groups":[{"key":{"proto":"TCP","port":80},"statefulSets":[{"name":"nginx","weights":[{"weight":0,"podIndexes":[4]}]}]}]}"#,
            ),
        ),
    ];
    for (user, from, to, expected) in cases {
        let mut service = Service::new(user);
        service.zero(&[HTTP], &ordinals("nginx", &[1]));
        service.weights = service.weights.map(|text| text.replacen(from, to, 1));
        service.give_back();
        assert_eq!(service.weights.as_deref(), expected, "{user:?} {from} {to}");
    }
}

#[test]
fn what_cannot_be_understood_is_refused_and_says_where() {
    let key = r#""key":{"proto":"TCP","port":80}"#;
    let set = |set: &str| format!(r#"{{"groups":[{{{key},"statefulSets":[{set}]}}]}}"#);
    let entry = |entry: &str| set(&format!(r#"{{"name":"nginx","weights":[{entry}]}}"#));
    let cases = [
        (String::new(), "EOF while parsing"),
        ("nonsense".into(), "no JSON object: expected ident at line 1 column 2"),
        ("{} {}".into(), "trailing characters at line 1 column 4"),
        ("[]".into(), "expected an object"),
        (
            r#"{"defaultWeight":101}"#.into(),
            "at .defaultWeight: must be a whole number from 0 to 100",
        ),
        (r#"{"defaultWeight":"10"}"#.into(), ".defaultWeight: must be a whole number"),
        (r#"{"defaultWeight":1,"defaultWeight":2}"#.into(), ".defaultWeight: stands there twice"),
        (r#"{"defaultweight":1}"#.into(), ".defaultweight: must be spelled `defaultWeight`"),
        (r#"{"groups":null}"#.into(), ".groups: must be an array"),
        (r#"{"groups":{}}"#.into(), ".groups: must be an array"),
        (r#"{"groups":[1]}"#.into(), ".groups[0]: must be an object"),
        (r#"{"groups":[{}]}"#.into(), ".groups[0].key: is missing"),
        (r#"{"groups":[{"key":[]}]}"#.into(), ".groups[0].key: must be an object"),
        (r#"{"groups":[{"key":{"port":1}}]}"#.into(), ".groups[0].key.proto: is missing"),
        (r#"{"groups":[{"key":{"proto":6,"port":1}}]}"#.into(), ".key.proto: must be a string"),
        (r#"{"groups":[{"key":{"proto":"TCP"}}]}"#.into(), ".groups[0].key.port: is missing"),
        (
            r#"{"groups":[{"key":{"proto":"TCP","port":65536}}]}"#.into(),
            ".key.port: must be 0 to 65535",
        ),
        (
            format!(r#"{{"groups":[{{{key}}},{{"key":{{"proto":"tcp","port":80}}}}]}}"#),
            ".groups[1].key: TCP 80 has a group already",
        ),
        (set("1"), ".groups[0].statefulSets[0]: must be an object"),
        (set("{}"), ".statefulSets[0].name: is missing"),
        (
            set(r#"{"name":"a"},{"name":"b","weights":1}"#),
            ".statefulSets[1].weights: must be an array",
        ),
        (entry("{}"), ".weights[0].weight: is missing"),
        (entry(r#"{"weight":-1}"#), ".weights[0].weight: must be a whole number from 0 to 100"),
        (entry(r#"{"weight":1.5}"#), ".weights[0].weight: must be a whole number from 0 to 100"),
        (entry(r#"{"weight":1,"podIndexes":3}"#), ".weights[0].podIndexes: must be an array"),
        (
            entry(r#"{"weight":1,"podIndexes":[0,"1"]}"#),
            ".weights[0].podIndexes[1]: must be an ordinal",
        ),
    ];
    let wanted = ordinals("nginx", &[1]);
    let mut good = Service::new(None);
    good.zero(&[HTTP], &wanted);
    for (text, message) in cases {
        let service = Service::new(Some(&text));
        let refused = with_zeros(&service.now(), &[HTTP], &wanted).unwrap_err();
        assert!(refused.to_string().contains(message), "{text}: {refused}");
        assert_eq!(weight_of_user(&service.now(), "nginx", 1, HTTP), Err(refused.clone()));
        assert_eq!(with_zeros(&service.now(), &[HTTP], &Zeros::new()), Ok(None));

        // The same over ours: theirs wins, and the record goes.
        let edited = Service { weights: Some(text.clone()), record: good.record.clone() };
        assert_eq!(with_zeros(&edited.now(), &[HTTP], &wanted), Err(refused.clone()));
        let left = Change { weights: Some(text), record: None, left_alone: Some(refused) };
        assert_eq!(with_zeros(&edited.now(), &[HTTP], &Zeros::new()), Ok(Some(left)));
        assert_eq!(zeros(&edited.now()).as_ref(), Ok(&wanted));
    }
}

#[test]
fn a_record_that_cannot_be_read_stops_everything_but_giving_back() {
    let wanted = ordinals("nginx", &[1]);
    let mut good = Service::new(Some("{}"));
    good.zero(&[HTTP], &wanted);
    let record = good.record.clone().unwrap();
    let long = format!("{record}{}", " ".repeat(256 * 1024));
    // Without its `original` it would remove what the user had.
    let cases = [
        "",
        "{}",
        "[]",
        &record.replace(r#""original":"{}","#, ""),
        &record.replace("[1]", "[-1]"),
        &long,
    ];
    for record in cases {
        let service = Service { weights: good.weights.clone(), record: Some(record.to_owned()) };
        let why = zeros(&service.now()).unwrap_err();
        assert!(matches!(why, Invalid::Record(_)), "{why}");
        assert_eq!(with_zeros(&service.now(), &[HTTP], &wanted), Err(why.clone()));
        assert_eq!(weight_of_user(&service.now(), "nginx", 1, HTTP), Err(why.clone()));
        let left = Change { weights: good.weights.clone(), record: None, left_alone: Some(why) };
        assert_eq!(with_zeros(&service.now(), &[HTTP], &Zeros::new()), Ok(Some(left)));
    }
}

#[test]
fn nothing_is_written_that_kubernetes_would_refuse() {
    let wanted = ordinals("nginx", &[1]);
    let zeroed =
        |text: &str, ports: &[_]| with_zeros(&Service::new(Some(text)).now(), ports, &wanted);
    let long = format!("{{}}{}", " ".repeat(256 * 1024 - 1));
    assert_eq!(zeroed(&long, &[HTTP]), Err(Invalid::TooLong { bytes: long.len() }));
    let room = format!(r#"{{"x":"{}"}}"#, "x".repeat(100 * 1024));
    assert!(matches!(zeroed(&room, &[HTTP]), Err(Invalid::NoRoom { .. })));
    let fits = format!(r#"{{"x":"{}"}}"#, "x".repeat(80 * 1024));
    assert!(zeroed(&fits, &[HTTP]).unwrap().is_some());
    assert_eq!(zeroed("{}", &[]), Err(Invalid::NoPorts));
}

#[test]
fn a_set_without_ordinals_is_nothing_wanted() {
    let service = Service::new(None);
    assert_eq!(with_zeros(&service.now(), &[HTTP], &ordinals("nginx", &[])), Ok(None));
}
