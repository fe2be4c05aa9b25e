//! Where manifests come from.

use std::fs;
use std::path::{Path, PathBuf};

use lameduck_cli::common::failure::Exit;
use lameduck_cli::mutate::{documents, inputs};

#[test]
fn folders_give_their_manifests_sorted() {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("files-{}", std::process::id()));
    let below = root.join("a-folder");
    fs::create_dir_all(&below).expect("a folder");
    for name in ["c.json", "b.yml", "a.yaml", "README.md", "a-folder/z.yaml"] {
        fs::write(root.join(name), name).expect(name);
    }
    let names = |named: &[PathBuf], recursive| {
        let inputs = inputs(named, recursive).expect("manifests");
        let file = |file: &str| Path::new(file).strip_prefix(&root).expect("below").to_owned();
        inputs.iter().map(|input| file(&input.file).display().to_string()).collect::<Vec<_>>()
    };
    let all = std::slice::from_ref(&root);
    assert_eq!(names(all, false), ["a.yaml", "b.yml", "c.json"]);
    assert_eq!(names(all, true), ["a-folder/z.yaml", "a.yaml", "b.yml", "c.json"]);
    // In the order in which they are named, whatever they are called.
    let named = [root.join("c.json"), root.join("README.md")];
    assert_eq!(names(&named, false), ["c.json", "README.md"]);
    fs::remove_file(below.join("z.yaml")).expect("z.yaml");
    assert_eq!(inputs(&[below], true).expect_err("nothing in it").exit, Exit::Usage);
    let missing = inputs(&[root.join("missing.yaml")], false).expect("an input");
    assert!(missing[0].bytes.is_err());
    fs::remove_dir_all(root).expect("the folder");
}

#[test]
fn documents_are_found_where_kubectl_finds_them() {
    let pod = "apiVersion: v1\nkind: Pod\n";
    for (text, count, last) in [
        (format!("{pod}---\n{pod}"), 2, 2),
        (format!("---\n{pod}---\n---\n# nothing\n---\n{pod}...\n"), 2, 2),
        (format!("%YAML 1.1\n---\n{pod}"), 1, 1),
        (format!("\u{feff}{pod}"), 1, 1),
        (pod.replace('\n', "\r\n") + "---\r\n" + &pod.replace('\n', "\r\n"), 2, 2),
        (format!("{pod}metadata:\n  annotations:\n    a: |\n      ---\n      b\n"), 1, 1),
        (
            "{\"apiVersion\":\"v1\",\"kind\":\"Pod\"} {\"apiVersion\":\"v1\",\"kind\":\"Pod\"}"
                .into(),
            2,
            2,
        ),
        ("{apiVersion: v1, kind: PodList, items: [{}, {}, {}]}".into(), 3, 1),
    ] {
        let (found, problems) = documents("a.yaml", text.as_bytes());
        assert_eq!(problems, [], "{text}");
        assert_eq!(found.len(), count, "{text}");
        assert_eq!(found[count - 1].document, last, "{text}");
        assert!(found.iter().all(|found| found.object["kind"] == "Pod"), "{text}");
    }
}
