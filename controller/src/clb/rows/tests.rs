//! From the bytes of an answer to what a verdict is made of: the published sample, and each fault of it.

use lameduck_clb::answers::describe_targets;

use super::*;

const SAMPLE: &str = include_str!("../../../../clb/samples/describe-targets.json");

/// The machine of the sample, behind a rule and behind a listener.
const MACHINE: &str = "172.16.0.12";
const POD: &str = "10.0.0.7";

fn at(listener: &str, rule: Option<&str>) -> Place {
    Place { listener: listener.into(), rule: rule.map(Into::into) }
}

fn layer_7() -> Place {
    at("lbl-4fo6k8na", Some("loc-o9732aw0"))
}

fn layer_4() -> Place {
    at("lbl-4ue2rpl2", None)
}

type Parts = (Vec<Row>, Vec<Gap>, BTreeSet<Place>);

/// What `answer` says about `address`.
fn read(answer: &str, address: &str) -> Parts {
    let listeners = describe_targets(answer.as_bytes()).unwrap();
    match of(&listeners, &[address.parse().unwrap()]) {
        ReadOf::Rows { rows, gaps, alone } => (rows, gaps, alone),
        other => panic!("{other:?}"),
    }
}

/// The sample with a part replaced, which must be in it.
fn with(from: &str, to: &str) -> String {
    assert!(SAMPLE.contains(from), "{from}");
    SAMPLE.replace(from, to)
}

fn weights((rows, ..): &Parts) -> Vec<Option<u8>> {
    rows.iter().map(|row| row.weight).collect()
}

#[test]
fn the_published_sample() {
    let (rows, gaps, alone) = read(SAMPLE, MACHINE);
    let row = |place, frontend: &str, port, weight, registered: &str| Row {
        place,
        frontend: frontend.into(),
        port,
        weight: Some(weight),
        registered: Some(registered.into()),
    };
    let wanted = [
        row(layer_7(), "HTTP:80 www.123.com/query", 555, 10, "2019-07-12 16:22:02"),
        row(layer_4(), "TCP:888", 666, 40, "2019-07-12 16:22:54"),
    ];
    assert_eq!((rows, gaps), (wanted.to_vec(), vec![]));
    assert_eq!(alone, [layer_7()].into(), "on layer 4 the pod takes connections, too");

    let (rows, gaps, alone) = read(SAMPLE, POD);
    let wanted = row(layer_4(), "TCP:888", 8080, 7, "2026-03-01 10:00:00");
    assert_eq!((rows, gaps, alone), (vec![wanted], vec![], BTreeSet::new()));

    let (rows, gaps, alone) = read(SAMPLE, "10.0.0.8");
    assert_eq!((rows, gaps, alone), (vec![], vec![], BTreeSet::new()));
}

#[test]
fn the_others_at_weight_0_leave_the_pod_alone() {
    assert_eq!(read(&with(r#""Weight":40"#, r#""Weight":0"#), POD).2, [layer_4()].into());
    for unknown in [r#""Weight":null"#, r#""Weight":"0""#, r#""Other":40"#] {
        let read = read(&with(r#""Weight":40"#, unknown), POD);
        assert!(read.2.is_empty(), "{unknown}: it may take connections");
    }
}

#[test]
fn a_weight_that_cannot_be_read_is_none() {
    for unknown in [r#""Weight":null"#, r#""Weight":"0""#, r#""Weight":-1"#, r#""Weight":101"#] {
        assert_eq!(weights(&read(&with(r#""Weight":7"#, unknown), POD)), [None], "{unknown}");
    }
    assert_eq!(weights(&read(&with(r#""Weight":7,"#, ""), POD)), [None], "missing");
    assert_eq!(weights(&read(&with(r#""Weight":10,"#, ""), MACHINE)), [None, Some(40)], "layer 7");
    assert_eq!(weights(&read(&with(r#""Weight":7"#, r#""Weight":0"#), POD)), [Some(0)]);
}

#[test]
fn what_cannot_be_read_is_a_gap_where_it_is() {
    let before = "\"Rules\":null,\n  \"Targets\":[";
    for (from, to, place, may_be_empty) in [
        // Null where the listener's kind has a list; the layer's other list says nothing.
        (before, "\"Rules\":null,\"Targets\":null,\"Were\":[", layer_4(), true),
        ("FunctionTargets\":[],\n   \"Targets\":[", "Targets\":null,\"Were\":[", layer_7(), true),
        (before, "\"Rules\":null,\"Targets\":{},\"Were\":[", layer_4(), false),
        (before, "\"Rules\":{},\"Targets\":[", layer_4(), false),
        ("10.0.0.7", "10.0.0.", layer_4(), false),
        (r#""Port":8080,"#, "", layer_4(), false),
        (r#""Port":555,"#, "", layer_7(), false),
    ] {
        let (_, gaps, _) = read(&with(from, to), POD);
        let [gap] = &gaps[..] else { panic!("{to}: {gaps:?}") };
        assert_eq!((gap.place.as_ref(), gap.may_be_empty), (Some(&place), may_be_empty), "{to}");
    }
    let (rows, gaps, _) = read(&with("\"ListenerId\":\"lbl-4ue2rpl2\",", ""), POD);
    assert!(rows.is_empty());
    assert_eq!(gaps.iter().map(|gap| &gap.place).collect::<Vec<_>>(), [&None], "it may be any");
}

#[test]
fn case_and_new_members_say_nothing() {
    let whole = read(SAMPLE, POD);
    for (from, to) in [
        (r#""Type":"ENI""#, r#""Type":"eni""#),
        (r#""Protocol":"TCP""#, r#""Protocol":"tcp""#),
        (r#""Type":"ENI""#, r#""Type":"SOMETHING_NEW","Weights":[0],"Zone":{"Weight":0}"#),
        ("\"Rules\":null,\n", "\"TargetGroup\":{\"Targets\":[{\"Weight\":0}]},\n"),
    ] {
        assert_eq!(read(&with(from, to), POD), whole, "{to}");
    }
}

#[test]
fn a_part_of_an_answer_is_an_error() {
    for end in 0..SAMPLE.trim_end().len() {
        assert!(describe_targets(&SAMPLE.as_bytes()[..end]).is_err(), "the first {end} bytes");
    }
    for none in [r#"{"Response":{}}"#, r#"{"Response":{"Listeners":null}}"#, "null"] {
        assert!(describe_targets(none.as_bytes()).is_err(), "{none}");
    }
}
