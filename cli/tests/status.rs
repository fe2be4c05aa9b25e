//! `status`: from recorded objects to what is printed.

#![allow(clippy::expect_used, clippy::panic, reason = "a test ends where it cannot go on")]

use anstream::adapter::strip_str;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::core::{Object, ObjectMeta};
use lameduck_api::state::HoldSeen;
use lameduck_cli::common::failure::{Exit, Failure};
use lameduck_cli::common::screen::Layout;
use lameduck_cli::status::changes::changes;
use lameduck_cli::status::document::{Phase, Status};
use lameduck_cli::status::end_facts::EndFacts;
use lameduck_cli::status::facts::{
    AnySpec, NamespaceFacts, PodFacts, PolicyFacts, UpgradeFacts, WorkloadFacts, WorkloadSpec,
    WorkloadStatus,
};
use lameduck_cli::status::text::{bar, frame, text};
use lameduck_cli::status::view::{Question, status};
use lameduck_cli::status::world::{Change, Said, Trouble, World, key};
use serde::de::DeserializeOwned;
use unicode_width::UnicodeWidthStr as _;

const NAMESPACE: &str = "upgrade-old-pods-e0cd0-lameduck";
const POLICY: &str = "lab-upgrade-old-pods-e0cd0";

fn recorded<T: DeserializeOwned>(name: &str) -> T {
    let path = format!("{}/tests/recorded/transcript-{name}.yaml", env!("CARGO_MANIFEST_DIR"));
    serde_saphyr::from_str(&std::fs::read_to_string(&path).expect(&path)).expect(&path)
}

fn pods() -> Vec<Pod> {
    #[derive(serde::Deserialize)]
    struct Items {
        items: Vec<Pod>,
    }
    recorded::<Items>("pods").items
}

fn now() -> Timestamp {
    "2026-11-22T14:34:00Z".parse().expect("a time")
}

fn ago(seconds: i64) -> Timestamp {
    now() - SignedDuration::from_secs(seconds)
}

/// Takes in objects as a list tells of them.
fn list<T>(
    world: &mut World,
    say: impl Fn(Result<Change<T>, Trouble>) -> Said,
    items: Vec<(ObjectMeta, T)>,
) {
    world.hear(say(Ok(Change::Began)));
    for (meta, item) in items {
        world.hear(say(Ok(Change::Put(key(&meta), item))));
    }
    world.hear(say(Ok(Change::Complete)));
}

fn named(name: &str) -> ObjectMeta {
    ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() }
}

fn put_pods(world: &mut World, pods: &[Pod]) {
    let facts = |pod: &Pod| (pod.metadata.clone(), PodFacts::new(&pod.metadata));
    list(world, Said::Pod, pods.iter().map(facts).collect());
    for pod in pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_some()) {
        let uid = pod.metadata.uid.clone().expect("a uid");
        world.ends.insert(uid, EndFacts::new(pod));
    }
}

/// The namespace, the policy, the StatefulSet, its pods, and its upgrade at that time of the recording.
fn world(upgrade: &str, pods: &[Pod]) -> World {
    let mut world = World::default();
    let label = Some(POLICY.to_owned());
    let namespace = (named(NAMESPACE), NamespaceFacts { label });
    list(&mut world, Said::Namespace, vec![namespace]);
    list(&mut world, Said::Policy, vec![(named(POLICY), PolicyFacts::default())]);
    list(&mut world, Said::Deployment, Vec::new());
    let set: Object<WorkloadSpec, WorkloadStatus> = recorded("set");
    list(&mut world, Said::StatefulSet, vec![(set.metadata.clone(), WorkloadFacts::new(&set))]);
    let upgrade: Object<AnySpec, UpgradeFacts> = recorded(&format!("upgrade.{upgrade}"));
    let upgrade = (upgrade.metadata.clone(), UpgradeFacts::new(upgrade));
    list(&mut world, Said::Upgrade, vec![upgrade]);
    put_pods(&mut world, pods);
    world
}

/// The recorded pods; one was deleted so many seconds ago, and what is said of its traffic since.
fn with_end(at: usize, seconds: i64, traffic: Option<(&str, &str, &str)>) -> Vec<Pod> {
    let mut pods = pods();
    end(&mut pods[at], seconds, traffic);
    pods
}

fn end(pod: &mut Pod, seconds: i64, traffic: Option<(&str, &str, &str)>) {
    let grace = pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds);
    let grace = grace.expect("a grace");
    pod.metadata.deletion_grace_period_seconds = Some(grace);
    let at = ago(seconds) + SignedDuration::from_secs(grace);
    pod.metadata.deletion_timestamp = Some(Time(at));
    if let Some((status, reason, message)) = traffic {
        condition(pod, "lameduck.dev/TrafficOff", status, reason, message);
    }
}

fn condition(pod: &mut Pod, type_: &str, status: &str, reason: &str, message: &str) {
    let condition = PodCondition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_transition_time: Some(Time(ago(5))),
        ..PodCondition::default()
    };
    let status = pod.status.as_mut().expect("a status");
    status.conditions.get_or_insert_default().push(condition);
}

const ON: Option<(&str, &str, &str)> = Some((
    "False",
    "ClbWeightNotZero",
    "CLB lb-upgrade-old-pods-e0cd0-lameduck-0 still sends to it: lbl-lb-upgrade-old-pods-e0cd0-lameduck-0-tcp-80 TCP:80 -> :8080 weight 10",
));
const OFF: Option<(&str, &str, &str)> = Some((
    "True",
    "ClbWeightZero",
    "CLB lb-upgrade-old-pods-e0cd0-lameduck-0: weight 0 on lbl-lb-upgrade-old-pods-e0cd0-lameduck-0-tcp-80 TCP:80 -> :8080",
));

fn hold(pod: &Pod, container: &str, connections: Option<u64>, seconds: i64) -> HoldSeen {
    HoldSeen {
        namespace: NAMESPACE.to_owned(),
        pod: pod.metadata.name.clone().expect("a name"),
        uid: pod.metadata.uid.clone().expect("a uid"),
        container: container.to_owned(),
        phase: "WaitingForConnections".to_owned(),
        connections,
        at: ago(seconds),
    }
}

fn in_namespace() -> Question {
    Question { namespace: Some(NAMESPACE.to_owned()), ..Question::default() }
}

/// An upgrade, two pods that end, and one that is not protected.
fn busy() -> World {
    let mut pods = with_end(2, 12, ON);
    end(&mut pods[1], 200, OFF);
    if let Some(annotations) = &mut pods[0].metadata.annotations {
        annotations.remove("lameduck.dev/injected");
    }
    let mut world = world("1795357957", &pods);
    world.holds.seen = vec![
        hold(&pods[1], "nginx", Some(7), 20),
        // Another replica heard it later.
        hold(&pods[1], "nginx", Some(3), 2),
        hold(&pods[1], "sidecar", Some(1), 3),
    ];
    world
}

fn plain(text: &str) -> String {
    strip_str(text).to_string()
}

fn at(columns: usize) -> Layout {
    Layout { columns: Some(columns), wide: false }
}

#[test]
fn tables_fit_their_terminal() {
    for (question, name) in [(in_namespace(), "one"), (Question::default(), "all")] {
        let status = status(&busy(), &question, now());
        for columns in [60, 80, 140] {
            let shown = plain(&text(&status, at(columns)));
            assert!(shown.lines().all(|line| line.width() <= columns), "{shown}");
            insta::assert_snapshot!(format!("table-{name}-{columns}"), shown);
        }
        insta::assert_snapshot!(
            format!("table-{name}-pipe"),
            plain(&text(&status, Layout::default()))
        );
    }
}

#[test]
fn wide_has_more_columns() {
    let status = status(&busy(), &in_namespace(), now());
    let layout = Layout { columns: None, wide: true };
    insta::assert_snapshot!("wide", plain(&text(&status, layout)));
}

#[test]
fn documents_keep_their_fields() {
    let status = status(&busy(), &in_namespace(), now());
    insta::assert_snapshot!("json", serde_json::to_string_pretty(&status).expect("JSON"));
    insta::assert_snapshot!("yaml", serde_saphyr::to_string(&status).expect("YAML"));
}

#[test]
fn a_frame_fits_the_terminal() {
    let status = status(&busy(), &in_namespace(), now());
    for columns in [60, 80, 140] {
        let lines = frame(&status, at(columns), 40);
        assert!(lines.iter().all(|line| plain(line).width() <= columns));
        insta::assert_snapshot!(format!("frame-{columns}"), plain(&lines.join("\n")));
    }
    let coloured = frame(&status, at(80), 40).join("\n").replace('\x1b', "^");
    insta::assert_snapshot!("frame-80-coloured", coloured);
    let short = frame(&status, at(80), 6);
    assert_eq!(short.len(), 6);
    insta::assert_snapshot!("frame-80-six-rows", plain(&short.join("\n")));
}

#[test]
fn bars_are_as_full_as_what_they_show() {
    for (done, whole, shown) in
        [(0, 3, "░░░░░░"), (1, 3, "██░░░░"), (3, 3, "██████"), (9, 3, "██████"), (0, 0, "░░░░░░")]
    {
        assert_eq!(bar(done, whole, 6), shown, "{done} of {whole}");
    }
}

#[test]
fn what_a_pod_waits_for() {
    let running = |traffic| with_end(2, 30, traffic);
    let with = |change: fn(&mut Pod)| {
        let mut pods = running(OFF);
        change(&mut pods[2]);
        pods
    };
    let drained = |pod: &mut Pod| {
        let said = "container nginx: 1.0 s for traffic, 0.0 s for its own preStop, 4.0 s for connections; no connection is left";
        condition(pod, "lameduck.dev/Drained", "True", "ConnectionsClosed", said);
    };
    let ended = |pod: &mut Pod| {
        pod.status.as_mut().expect("a status").phase = Some("Succeeded".to_owned());
    };
    let not_held = |pod: &mut Pod| {
        let annotations = pod.metadata.annotations.as_mut().expect("annotations");
        annotations.remove("lameduck.dev/injected");
    };
    // Deleted 30 s ago with a grace of 940 s: the hold has 900 of them.
    let table = [
        (running(None), Phase::WaitingForTraffic, Some(870), "its endpoints are being looked at"),
        (running(ON), Phase::WaitingForTraffic, Some(870), "still sends to it"),
        (
            running(OFF),
            Phase::WaitingForConnections,
            Some(870),
            "it ends when its connections have",
        ),
        (with(drained), Phase::Stopping, Some(910), "4.0 s for connections"),
        (with(ended), Phase::Ended, None, "its containers have ended"),
        (with(not_held), Phase::NotHeld, Some(910), "nothing holds it"),
    ];
    for (pods, phase, deadline, message) in table {
        let status = status(&world("1795357957", &pods), &in_namespace(), now());
        let [pod] = status.ending.as_slice() else { panic!("{phase:?}: {:?}", status.ending) };
        assert_eq!((pod.phase, pod.deadline_in_seconds), (phase, deadline), "{}", pod.message);
        assert!(pod.message.contains(message), "{phase:?}: {}", pod.message);
        assert_eq!(pod.since_seconds, Some(30));
    }
}

#[test]
fn a_pod_that_was_not_read_is_unknown_and_nothing_is_made_up() {
    let mut world = world("1795357957", &with_end(2, 30, OFF));
    world.ends.clear();
    let status = status(&world, &in_namespace(), now());
    let pod = &status.ending[0];
    assert_eq!((pod.phase, pod.connections, &pod.traffic), (Phase::Unknown, None, &None));
}

#[test]
fn connections_are_those_that_each_hold_said_last() {
    let status = status(&busy(), &in_namespace(), now());
    let shown: Vec<_> = status.ending.iter().map(|pod| (&*pod.pod, pod.connections)).collect();
    assert_eq!(shown, [("web-1", Some(4)), ("web-2", None)]);
}

#[test]
fn a_second_deletion_does_not_move_the_deadline() {
    let mut pods = with_end(2, 30, OFF);
    let mut world = world("1795357957", &pods);
    let deadline = |world: &World| status(world, &in_namespace(), now()).ending[0].killed_at;
    let first = deadline(&world);
    pods[2].metadata.deletion_grace_period_seconds = Some(0);
    pods[2].metadata.deletion_timestamp = Some(Time(now()));
    put_pods(&mut world, &pods);
    assert_eq!(deadline(&world), first);
}

#[test]
fn what_a_list_does_not_name_any_more_is_gone() {
    let mut world = world("1795357957", &pods());
    put_pods(&mut world, &pods()[..1]);
    assert_eq!(world.pods.iter().count(), 1);
}

#[test]
fn an_older_or_a_newer_cluster_is_read_all_the_same() {
    let upgrade = r#"{"metadata":{"name":"web"},"spec":{"later":1},"status":{"phase":"Musing","ordinals":[{"ordinal":1}]}}"#;
    let upgrade: Object<AnySpec, UpgradeFacts> = serde_json::from_str(upgrade).expect("an Upgrade");
    let facts = UpgradeFacts::new(upgrade);
    assert_eq!((facts.phase.as_str(), facts.total, facts.ordinals.len()), ("Musing", 0, 1));
    let policy =
        r#"{"metadata":{"name":"x"},"spec":{"mode":"Dream","hold":{"maxSeconds":7,"later":1}}}"#;
    let facts = PolicyFacts::new(&serde_json::from_str(policy).expect("a policy"));
    assert_eq!(facts.policy.hold.max_seconds, 7);
    let set = r#"{"metadata":{"name":"x"},"spec":{}}"#;
    let facts = WorkloadFacts::new(&serde_json::from_str(set).expect("a workload"));
    assert_eq!((facts.desired, facts.ready), (1, 0));
}

#[test]
fn nothing_to_see_says_what_is_missing() {
    let failed = |message: &str, is_missing| {
        let failure = Failure::new(Exit::Refused, message).cure("ask for the right that is named");
        Trouble { failure, is_missing }
    };
    let mut nothing = World::default();
    list(&mut nothing, Said::Namespace, vec![(named("shop"), NamespaceFacts::default())]);
    let mut missing = nothing.clone();
    missing.hear(Said::Policy(Err(failed("404 page not found", true))));
    missing.hear(Said::Upgrade(Err(failed("404 page not found", true))));
    let mut forbidden = nothing.clone();
    let said = "upgrades cannot be listed: upgrades is forbidden: User cannot list resource";
    forbidden.hear(Said::Upgrade(Err(failed(said, false))));
    let mut away = nothing.clone();
    away.away = Some((ago(70), "connection refused".to_owned()));
    let shop = Question { namespace: Some("shop".to_owned()), ..Question::default() };
    let hsop = Question { namespace: Some("hsop".to_owned()), ..Question::default() };
    let selected = Question { selects: true, ..shop.clone() };
    let table = [
        ("nothing", &nothing, &shop),
        ("nothing-anywhere", &nothing, &Question::default()),
        ("nothing-selected", &nothing, &selected),
        ("no-namespace", &nothing, &hsop),
        ("not-installed", &missing, &shop),
        ("forbidden", &forbidden, &shop),
        ("away", &away, &shop),
    ];
    for (name, world, question) in table {
        let shown = text(&status(world, question, now()), at(80));
        insta::assert_snapshot!(format!("note-{name}"), plain(&shown));
    }
}

#[test]
fn a_workload_that_is_named_and_not_enrolled_says_so() {
    let mut world = world("1795358012", &[]);
    list(&mut world, Said::Namespace, vec![(named(NAMESPACE), NamespaceFacts::default())]);
    let target = Some("statefulset/web".to_owned());
    let status = status(&world, &Question { target, ..in_namespace() }, now());
    assert_eq!(status.workloads.len(), 1);
    assert_eq!(status.notes[0].message, "statefulset/web is not enrolled");
}

#[test]
fn changes_are_told_once() {
    let at_time = |world: &World| status(world, &in_namespace(), now());
    let mut pods = pods();
    let begin = at_time(&world("1795357940", &pods));
    let mut story = vec![(Status::default(), begin.clone())];
    let mut then = |after: Status| {
        let before = story.last().map(|(_, before)| before.clone()).unwrap_or_default();
        story.push((before, after));
    };
    end(&mut pods[2], 1, None);
    then(at_time(&world("1795357957", &pods)));
    condition(&mut pods[2], "lameduck.dev/TrafficOff", "True", "ClbWeightZero", "weight 0");
    let mut held = world("1795357957", &pods);
    held.holds.seen = vec![hold(&pods[2], "nginx", Some(3), 1)];
    then(at_time(&held));
    held.holds.seen = vec![hold(&pods[2], "nginx", Some(1), 1)];
    then(at_time(&held));
    pods.remove(2);
    then(at_time(&world("1795358003", &pods)));
    held.away = Some((now(), "connection refused".to_owned()));
    then(at_time(&world("1795358012", &pods)));
    let lines: Vec<String> = story
        .iter()
        .map(|(before, after)| format!("{}\n", changes(before, after).join("\n")))
        .collect();
    insta::assert_snapshot!("changes", lines.join("--\n"));
    assert!(changes(&begin, &begin).is_empty());
    let later = status(&world("1795357940", &self::pods()), &in_namespace(), ago(-60));
    assert_eq!(later.still(), begin.still(), "time alone is no change");
}
