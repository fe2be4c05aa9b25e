//! A lab ends without leaving anything, however it ends.
//!
//! Needs root and the lab's programs, so these tests run where `cargo lab test`
//! runs them, and say so where it does not.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test, its helpers too"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use lameduck_lab::cluster::plan::host_interface;
use lameduck_lab::cluster::run_directory::RunDirectory;
use lameduck_lab::suite::LAB_VARIABLE;

/// One lab at a time: two would only be slower.
static TURN: Mutex<()> = Mutex::new(());

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A run directory of the test's own, and the `lab` program on it.
struct Bench {
    run: RunDirectory,
    _turn: MutexGuard<'static, ()>,
}

impl Bench {
    /// None where the tests do not run under `cargo lab test`.
    fn new(name: &str) -> Option<Self> {
        if std::env::var_os(LAB_VARIABLE).is_none() {
            eprintln!("skipped: `cargo lab test` runs this test");
            return None;
        }
        let turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let path = std::env::temp_dir().join(format!("lameduck-{name}-{}", std::process::id()));
        Some(Self { run: RunDirectory::new(path), _turn: turn })
    }

    fn lab(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
        command.args(arguments).env("LAMEDUCK_RUN", self.run.path());
        command
    }

    fn up(&self) -> Traces {
        let output = self.lab(&["up", "--without-product"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Traces::of(&self.run)
    }

    /// Starts `up`, and returns when it is half done.
    fn half_up(&self) -> (Child, Traces) {
        let child = self.lab(&["up", "--without-product"]).stderr(Stdio::null()).spawn().unwrap();
        wait_until("containerd of the second node listens", || {
            self.run.path().join("node-b/containerd.sock").exists()
        });
        (child, Traces::of(&self.run))
    }

    fn down(&self) {
        assert!(self.lab(&["down"]).status().unwrap().success());
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.down();
        fs::remove_dir_all(self.run.path()).unwrap();
    }
}

/// By what the parts of one lab are known, so that another lab on the same
/// machine is not taken for it.
#[derive(Debug)]
struct Traces {
    supervisor: u64,
    namespaces: BTreeSet<PathBuf>,
    interface: String,
    interface_index: String,
    containers: BTreeSet<String>,
}

impl Traces {
    fn of(run: &RunDirectory) -> Self {
        let text = fs::read(run.path().join("supervisor.json")).unwrap();
        let supervisor: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let supervisor = supervisor["pid"].as_u64().unwrap();
        let namespaces =
            ["pid", "mnt"].map(|kind| namespace(&supervisor.to_string(), kind).unwrap());
        let interface = host_interface(run.status().unwrap().unwrap().slot.unwrap());
        let containers = ["node-a", "node-b"].iter().flat_map(|node| {
            let tasks = "containerd/state/io.containerd.runtime.v2.task/k8s.io";
            fs::read_dir(run.path().join(node).join(tasks)).into_iter().flatten().flatten()
        });
        Self {
            supervisor,
            namespaces: namespaces.into(),
            interface_index: index(&interface).unwrap(),
            interface,
            containers: containers.map(|entry| entry.file_name().into_string().unwrap()).collect(),
        }
    }

    /// What is still there of the lab. Empty is what a test wants to see.
    fn left(&self, run: &RunDirectory) -> Vec<String> {
        let mut left = Vec::new();
        for process in fs::read_dir("/proc").unwrap().flatten() {
            let pid = process.file_name().into_string().unwrap();
            for kind in ["pid", "mnt"] {
                // Not every entry of /proc is a process, and a process may end meanwhile.
                if namespace(&pid, kind).is_some_and(|found| self.namespaces.contains(&found)) {
                    let arguments = fs::read_to_string(process.path().join("cmdline"));
                    left.push(format!("process {pid} ({kind}): {arguments:?}"));
                }
            }
        }
        if index(&self.interface).is_some_and(|index| index == self.interface_index) {
            left.push(format!("interface {}", self.interface));
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let run_path = run.path().to_str().unwrap();
        left.extend(mounts.lines().filter(|line| line.contains(run_path)).map(str::to_owned));
        for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
            let groups = hierarchy.path().join("k8s.io");
            left.extend(
                self.containers
                    .iter()
                    .map(|id| groups.join(id))
                    .filter(|group| group.exists())
                    .map(|group| group.display().to_string()),
            );
        }
        let state = fs::read_dir(run.path()).into_iter().flatten().flatten();
        let kept = ["lock", "log"];
        left.extend(
            state
                .map(|entry| entry.file_name().into_string().unwrap())
                .filter(|name| !kept.contains(&name.as_str())),
        );
        left
    }

    fn assert_gone(&self, run: &RunDirectory) {
        assert_eq!(self.left(run), Vec::<String>::new());
    }
}

fn namespace(pid: &str, kind: &str) -> Option<PathBuf> {
    fs::read_link(Path::new("/proc").join(pid).join("ns").join(kind)).ok()
}

fn index(interface: &str) -> Option<String> {
    fs::read_to_string(format!("/sys/class/net/{interface}/ifindex")).ok()
}

fn wait_until(what: &str, mut happened: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !happened() {
        assert!(begin.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn kill(signal: &str, pid: u64) {
    assert!(Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success());
}

#[test]
fn a_lab_stays_until_down_and_a_second_up_takes_it_as_it_is() {
    let Some(bench) = Bench::new("stays") else { return };
    let first = bench.up();
    assert!(!first.containers.is_empty(), "the cluster's DNS must run in containers");
    assert!(!first.left(&bench.run).is_empty(), "this test must see a lab that runs");
    let second = bench.up();
    assert_eq!(first.supervisor, second.supervisor);
    bench.down();
    second.assert_gone(&bench.run);
    bench.down();
}

#[test]
fn a_lab_whose_first_process_is_killed_is_cleared_away_by_the_next_up() {
    let Some(bench) = Bench::new("killed") else { return };
    let first = bench.up();
    kill("-KILL", first.supervisor);
    let second = bench.up();
    assert_ne!(first.supervisor, second.supervisor);
    bench.down();
    for traces in [first, second] {
        traces.assert_gone(&bench.run);
    }
}

#[test]
fn a_killed_owner_leaves_nothing() {
    let Some(bench) = Bench::new("owner") else { return };
    // Until it is up whole, a lab belongs to the process that brings it up.
    let (mut owner, traces) = bench.half_up();
    owner.kill().unwrap();
    owner.wait().unwrap();
    // Nobody calls `down`: the lab notices by itself.
    wait_until("the lab is gone", || traces.left(&bench.run).is_empty());
}

#[test]
fn an_interrupted_up_leaves_nothing_and_says_so_by_its_exit_code() {
    let Some(bench) = Bench::new("interrupted") else { return };
    let (mut owner, traces) = bench.half_up();
    kill("-INT", u64::from(owner.id()));
    assert_eq!(owner.wait().unwrap().code(), Some(130));
    traces.assert_gone(&bench.run);
}
