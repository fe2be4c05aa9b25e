//! Whatever the input is, there is an answer.

use lameduck_cli::common::screen::Layout;
use lameduck_cli::mutate::{Input, patched, reviewed, text};
use proptest::prelude::*;

use crate::{args, mutate};

const MANIFESTS: [&str; 5] = [
    include_str!("../../../tests/corpus/manifests/deployment-prestop.yaml"),
    include_str!("../../../tests/corpus/manifests/deployment-sidecars.yaml"),
    include_str!("../../../tests/corpus/manifests/statefulset-claims.yaml"),
    include_str!("../../../tests/corpus/statefulset-create-claims.json"),
    "apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: Pod, spec: {containers: [{name: a}]}}]\n",
];

fn survives(bytes: Vec<u8>) {
    let input = Input { file: "-".to_owned(), bytes: Ok(bytes) };
    // Where there is no object there is a failure, which is an answer too.
    if let Ok(document) = reviewed(vec![input], &args(&["--policy", "default"]), None) {
        let _shown = text(&document, Layout { wide: true, ..Layout::default() });
        patched(&document).expect("YAML");
    }
}

#[test]
fn cut_off_anywhere() {
    for manifest in MANIFESTS {
        for length in (0..manifest.len()).step_by(7) {
            survives(manifest.as_bytes()[..length].to_vec());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn garbled(
        which in 0..MANIFESTS.len(),
        places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = MANIFESTS[which].as_bytes().to_vec();
        for (place, byte) in places {
            let at = place.index(bytes.len());
            bytes[at] = byte;
        }
        survives(bytes);
    }

    #[test]
    fn any_text(text in "\\PC{0,80}") {
        survives(text.into_bytes());
    }
}

/// Values of other kinds than the fields have, everywhere.
#[test]
fn wrong_kinds_everywhere() {
    let review: serde_json::Value = serde_json::from_str(MANIFESTS[3]).expect("a review");
    let object = &review["request"]["object"];
    let mut pointers = Vec::new();
    walk(object, String::new(), &mut pointers);
    for pointer in pointers {
        for wrong in [
            serde_json::json!(null),
            serde_json::json!(-1),
            serde_json::json!("x"),
            serde_json::json!([{}]),
            serde_json::json!({"a": 1}),
        ] {
            let mut object = object.clone();
            *object.pointer_mut(&pointer).expect("a member") = wrong;
            survives(object.to_string().into_bytes());
        }
    }
}

fn walk(value: &serde_json::Value, at: String, pointers: &mut Vec<String>) {
    let escaped = |name: &str| name.replace('~', "~0").replace('/', "~1");
    match value {
        serde_json::Value::Object(members) => {
            members
                .iter()
                .for_each(|(name, value)| walk(value, format!("{at}/{}", escaped(name)), pointers));
        }
        serde_json::Value::Array(values) => {
            values
                .iter()
                .enumerate()
                .for_each(|(i, value)| walk(value, format!("{at}/{i}"), pointers));
        }
        _ => {}
    }
    pointers.push(at);
}

#[test]
fn a_document_of_a_mebibyte() {
    let data = "x".repeat(1 << 20);
    let document = mutate(
        "big.yaml",
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: big}}\ndata:\n  text: |\n    {data}\n  line: {data}\n"
        ),
        &[],
    );
    assert_eq!(document.problems, []);
    assert_eq!(document.objects.len(), 1);
}

#[test]
fn terminal_codes_of_a_manifest_do_not_reach_the_terminal() {
    let input = "apiVersion: v1\nkind: Pod\nmetadata: {name: \"a\\e]0;b\\ac\\nd\", labels: {lameduck.dev/policy: default}}\n\
                 spec: {hostNetwork: true, containers: [{name: \"x\\ey\", image: \"i\\e[2J\"}]}\n";
    let document = mutate("a\u{1b}[2J.yaml", input, &["--policy", "default"]);
    let shown = anstream::adapter::strip_str(&text(&document, Layout::default())).to_string();
    let raw = text(&document, Layout::default());
    assert!(raw.contains("]0;b"), "{raw}");
    assert!(!raw.contains("\u{1b}]") && !raw.contains("\u{1b}[2J"), "{raw:?}");
    assert!(!shown.contains(|c: char| c.is_control() && c != '\n'), "{shown:?}");
    // Programs get what is there.
    assert!(document.objects[0].name.contains('\u{1b}'));
}
