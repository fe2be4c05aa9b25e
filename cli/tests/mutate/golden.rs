//! What people and programs read.

use std::io::Write as _;
use std::process::{Command, Stdio};

use insta::{assert_json_snapshot, assert_snapshot};
use lameduck_cli::common::screen::Layout;
use lameduck_cli::mutate::{patched, text};

use crate::mutate;

const SHOP: &str = "\
# A namespace, its policy, and what is in it.
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {lameduck.dev/policy: short}}
---
apiVersion: lameduck.dev/v1alpha1
kind: TerminationPolicy
metadata: {name: short}
spec: {hold: {maxSeconds: 60}, finalizer: Never}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: shop}
spec:
  replicas: 3
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      containers:
      - name: db
        image: db:1
        ports: [{containerPort: 5432}]
        readinessProbe: {tcpSocket: {port: 5432}}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec: {selector: {app: db}, ports: [{port: 5432}]}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly, namespace: shop}
spec:
  schedule: 0 0 * * *
  jobTemplate:
    spec:
      template:
        spec: {restartPolicy: Never, containers: [{name: once, image: db:1}]}
---
apiVersion: v1
kind: Pod
metadata: {name: free, namespace: elsewhere}
spec: {containers: [{name: a, image: a:1}]}
---
apiVersion: v1
kind: Pod
metadata: {name: lost, namespace: elsewhere, labels: {lameduck.dev/policy: defualt}}
spec: {containers: [{name: a, image: a:1}]}
";

fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

#[test]
fn diffs_for_people() {
    let document = mutate("shop.yaml", SHOP, &[]);
    assert_snapshot!("diff", plain(&text(&document, Layout::default())));
    let wide = Layout { wide: true, ..Layout::default() };
    let wide = plain(&text(&document, wide));
    assert!(wide.contains("service/db: NotReviewed"), "{wide}");
    assert!(wide.contains("cronjob/nightly: NotReviewed"), "{wide}");
}

#[test]
fn documents_for_programs() {
    let document = mutate("shop.yaml", SHOP, &[]);
    assert_json_snapshot!("document", document);
}

#[test]
fn manifests_for_kubectl() {
    let document = mutate("shop.yaml", SHOP, &[]);
    let text = patched(&document).expect("manifests");
    let count = SHOP.matches("---\n").count();
    assert_eq!(text.matches("\n---\n").count(), count);
    // What was patched stays as it is: the webhook may come after us.
    let again = mutate("again.yaml", text, &[]);
    assert_eq!(again.problems, []);
    for (first, second) in document.objects.iter().zip(&again.objects) {
        assert_eq!(first.change.patched, second.change.patched);
        assert_eq!(second.change.operations, [] as [serde_json::Value; 0], "{}", second.subject());
    }
}

/// Exit code and the two outputs of the program itself.
fn run(flags: &[&str], input: &[u8]) -> (i32, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_kubectl-lameduck"))
        .args([&["mutate", "-f", "-"], flags].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kubectl-lameduck");
    child.stdin.take().expect("a pipe").write_all(input).expect("its input");
    let output = child.wait_with_output().expect("its end");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

#[test]
fn what_makes_no_sense_is_named_and_the_rest_is_done() {
    let pod =
        "apiVersion: v1\nkind: Pod\nmetadata: {name: good}\nspec: {containers: [{name: a}]}\n";
    let cases: [(&str, &[u8]); 16] = [
        ("nothing", b""),
        ("only comments", b"# nothing\n---\n---\n# more\n"),
        ("not YAML", b"kind: [Pod\nmetadata:\n"),
        ("no kind", b"apiVersion: v1\nmetadata: {name: a}\n"),
        ("no version", b"kind: Pod\n"),
        ("a kind that is a number", b"apiVersion: v1\nkind: 5\n"),
        ("a scalar", b"hello\n"),
        ("a list", b"[1, 2]\n"),
        ("tabs", b"apiVersion: v1\nkind: Pod\nspec:\n\tcontainers: []\n"),
        ("bytes", b"\x7fELF\x02\x01\x01\x00\xff\xfe"),
        ("half of a JSON", b"{\"apiVersion\": \"v1\",\n \"kind\":"),
        ("twice the same key", b"apiVersion: v1\nkind: Pod\nkind: Pod\n"),
        ("no spec", b"apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n"),
        (
            "a field of another kind",
            b"apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a, resources: {limits: {cpu: 1}}, ports: [{containerPort: http}]}]}\n",
        ),
        ("a template without a spec", b"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {template: 5}\n"),
        (
            "a policy out of bounds",
            b"apiVersion: lameduck.dev/v1alpha1\nkind: TerminationPolicy\nmetadata: {name: p}\nspec: {hold: {maxSeconds: 0}}\n",
        ),
    ];
    let mut said = String::new();
    for (name, input) in cases {
        let (code, _, stderr) = run(&[], input);
        assert_eq!(code, 2, "{name}: {stderr}");
        said.push_str(&format!("# {name}\n{stderr}"));
        // The document after it is reviewed all the same, where there is a way to find it.
        let more = [input, b"\n---\n", pod.as_bytes()].concat();
        let (_, stdout, _) = run(&["--policy", "default"], &more);
        assert!(stdout.contains("pod/good: Patched") || name == "bytes", "{name}: {stdout}");
    }
    assert_snapshot!("senseless", said);
}

#[test]
fn exit_codes_say_whether_something_changes() {
    assert_eq!(run(&[], SHOP.as_bytes()).0, 0);
    assert_eq!(run(&["--exit-code"], SHOP.as_bytes()).0, 1);
    let service = b"apiVersion: v1\nkind: Service\nmetadata: {name: a}\n";
    let (code, stdout, _) = run(&["--exit-code"], service);
    assert_eq!(code, 0);
    assert!(stdout.contains("Nothing in the input"), "{stdout}");
    assert_eq!(run(&["--patched", "-o", "json"], service).0, 2);
}
