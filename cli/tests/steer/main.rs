//! `upgrade` and `release` word by word: what they ask of the API server, what they say, and how they exit.
//!
//! The objects were recorded in the lab while the end-to-end tests steered an upgrade by hand and held a pod; so
//! were the server's refusals.

#![allow(clippy::expect_used, clippy::panic, reason = "a test ends where it cannot go on")]

mod api;

use std::fmt::Write as _;
use std::process::{Command, Stdio};

use api::{Controller, Server, World, recorded};

/// Runs the program against such a world; what it asked for, what it said, and its exit code.
fn run(world: World, arguments: &[&str]) -> String {
    let server = Server::new(world);
    let output = Command::new(env!("CARGO_BIN_EXE_kubectl-lameduck"))
        .args(arguments)
        .arg("--kubeconfig")
        .arg(server.kubeconfig())
        .stdin(Stdio::null())
        .env_remove("HOME")
        .output()
        .expect("it runs");
    let mut told = format!("$ kubectl lameduck {}\n", arguments.join(" "));
    for write in server.writes() {
        writeln!(told, "{write}").expect("a string");
    }
    for (name, bytes) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
        let text = String::from_utf8_lossy(bytes);
        for line in text.lines() {
            writeln!(told, "{name}: {line}").expect("a string");
        }
    }
    let code = output.status.code().expect("it was not killed");
    writeln!(told, "exit code {code}").expect("a string");
    told
}

/// An upgrade as it was recorded, with its StatefulSet.
fn upgrade(verb: &str, phase: &str, more: impl FnOnce(&mut World)) -> String {
    let name = format!("upgrade-{phase}");
    let object = recorded(&name);
    let text = |field: &str| object["metadata"][field].as_str().expect("metadata");
    let mut world = World::of(&[&name, &format!("set-{phase}")]);
    more(&mut world);
    run(world, &["upgrade", verb, text("name"), "-n", text("namespace")])
}

#[test]
fn every_verb_in_every_phase() {
    for phase in ["waiting", "progressing", "paused", "aborted", "stalled", "complete"] {
        let told = ["pause", "resume", "approve", "abort", "retry"]
            .map(|verb| upgrade(verb, phase, |_| ()));
        insta::assert_snapshot!(format!("upgrade-{phase}"), told.join("\n"));
    }
}

/// What is asked for is decided again from what somebody else has made of it meanwhile, and not for ever.
#[test]
fn an_upgrade_that_others_change_or_nobody_may() {
    let refused =
        |refusals: Vec<_>| upgrade("pause", "progressing", |world| world.refusals = refusals);
    let told = [
        refused(vec![recorded("conflict")]),
        refused(vec![recorded("conflict"); 5]),
        refused(vec![recorded("forbidden")]),
        run(World::default(), &["upgrade", "pause", "web", "-n", "shop"]),
    ];
    insta::assert_snapshot!(told.join("\n"));
}

fn release(pod: &str, more: impl FnOnce(&mut World), flags: &[&str]) -> String {
    let object = recorded(pod);
    let text = |field: &str| object["metadata"][field].as_str().expect("metadata");
    let (name, namespace) = (format!("pod/{}", text("name")), text("namespace"));
    let mut world = World::of(&[pod]);
    more(&mut world);
    let usual = ["release", &name, "-n", namespace, "--reason", "client hangs, INC-4711"];
    run(world, &[&usual, flags].concat())
}

#[test]
fn a_held_pod_with_a_controller_and_without() {
    let with = |controller| {
        release(
            "pod-held",
            |world| world.controller = controller,
            &["--yes", "--controller-timeout", "1"],
        )
    };
    let told = [Controller::LetsGo, Controller::Ends, Controller::Away].map(with);
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn a_pod_that_is_not_to_be_released() {
    let told = [
        release("pod-held", |_| (), &[]),
        release("pod-living", |_| (), &["--yes"]),
        release("pod-other", |_| (), &["--yes"]),
        release("pod-held", |world| world.refusals = vec![recorded("forbidden-pod")], &["--yes"]),
        run(World::default(), &["release", "pod/lost", "-n", "shop", "--reason", "a", "--yes"]),
    ];
    insta::assert_snapshot!(told.join("\n"));
}
