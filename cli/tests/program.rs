//! The program itself, without a cluster: exit codes, and one clear line.

#![allow(clippy::expect_used, reason = "a test ends where it cannot go on")]

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-lameduck"));
    command
        .args(arguments)
        .stdin(Stdio::null())
        .env("KUBECONFIG", "/nonexistent")
        .env_remove("HOME");
    command
}

fn run(arguments: &[&str]) -> Output {
    program(arguments).output().expect("it runs")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn without_a_cluster_it_says_so_in_a_line() {
    let reading: [&[&str]; 5] = [
        &["status"],
        &["explain", "pod/a"],
        &["check"],
        &["upgrade", "pause", "a"],
        &["release", "pod/a", "--reason", "b", "--yes"],
    ];
    for arguments in reading {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(3), "{arguments:?}: {}", said(&output));
        assert!(said(&output).starts_with("error: no cluster to ask: "), "{}", said(&output));
        assert!(said(&output).lines().count() <= 2, "{}", said(&output));
    }
}

#[test]
fn what_makes_no_sense_is_exit_code_2() {
    let senseless: [&[&str]; 8] = [
        &[],
        &["stauts"],
        &["explain", "shop-0"],
        &["explain", "node/a"],
        &["upgrade", "pause", "pod/a"],
        &["upgrade", "pause", ""],
        &["release", "pod/a"],
        &["release", "pod/a", "--reason", " "],
    ];
    for arguments in senseless {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", said(&output));
    }
}

#[test]
fn help_and_version_are_no_errors() {
    for arguments in [["--help"], ["--version"]] {
        let output = run(&arguments);
        assert_eq!(output.status.code(), Some(0));
        assert!(!output.stdout.is_empty());
    }
}

/// A disk that is full, or a pipe that nobody reads, is no reason for a backtrace.
#[test]
fn where_nobody_can_hear_it_the_exit_code_is_left() {
    let full = || Stdio::from(File::options().write(true).open("/dev/full").expect("/dev/full"));
    let status = program(&["status"]).stderr(full()).status().expect("it runs");
    assert_eq!(status.code(), Some(3));
    let status = program(&["mutate", "-f", "/nonexistent"]).stderr(full()).status();
    assert_eq!(status.expect("it runs").code(), Some(2));
    let status = program(&["completion", "bash"]).stdout(full()).status().expect("it runs");
    assert_eq!(status.code(), Some(1));
}

/// What is shown of a kubeconfig that cannot be read has none of its keys.
#[test]
fn a_broken_kubeconfig_is_not_shown() {
    let file: PathBuf =
        std::env::temp_dir().join(format!("lameduck-kubeconfig-{}", std::process::id()));
    fs::write(
        &file,
        "apiVersion: v1\nkind: Config\nusers:\n- name: a\n  user:\n    token: SECRET\n    b: [\n",
    )
    .expect("a file");
    let path = file.to_string_lossy().into_owned();
    for output in [
        run(&["status", "--kubeconfig", &path]),
        program(&["status"]).env("KUBECONFIG", &path).output().expect("it runs"),
    ] {
        assert_eq!(output.status.code(), Some(3));
        assert!(!said(&output).contains("SECRET"), "{}", said(&output));
    }
    fs::remove_file(&file).expect("it goes");
}
