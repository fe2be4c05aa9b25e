//! What a scenario lost, and whether that proves anything.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Scenario;
use crate::load::FailureKind;

/// The least rate at which a run proves anything, in requests per second.
const LEAST_RATE: f64 = 500.0;

/// The least number of long connections, which all stand before anything is done.
const LEAST_LONG_CONNECTIONS: u64 = 50;

/// The result of one scenario: a JSON document.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Which one.
    pub scenario: Scenario,
    /// The unprotected run, then the protected one.
    pub runs: Vec<Run>,
    /// Whether it shows what it should.
    pub verdict: Verdict,
    /// Why, in a sentence.
    #[serde(skip)]
    pub why: String,
}

/// What a scenario shows.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Something was lost without Lameduck, and nothing with it.
    Pass,
    /// Anything else.
    Fail,
}

/// One side's run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Whether Lameduck protected it.
    pub protected: bool,
    /// Requests sent.
    pub requests: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Those by kind.
    pub failures: BTreeMap<FailureKind, u64>,
    /// Long connections that stood.
    pub long_connections: u64,
    /// Those that were cut before their end.
    pub long_connections_cut: u64,
    /// Kept-alive connections that the server ended between two requests. This load looks before it sends
    /// and loses nothing by it; a client that sends at that moment does.
    #[serde(skip)]
    pub idle_connections_closed: u64,
    /// The pods, by name.
    pub pods: Vec<PodReport>,
    /// Length of the run in seconds.
    #[serde(skip)]
    pub seconds: f64,
}

/// What became of the pods of one name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PodReport {
    /// The name; `unknown` collects requests that reached no pod that could be told.
    pub name: String,
    /// Requests that it answered.
    pub answered: u64,
    /// Requests that failed on the way to it.
    pub failed: u64,
    /// Long connections to it that were cut.
    pub long_connections_cut: u64,
    /// Each pod of that name which ended during the run.
    pub drains: Vec<Drain>,
}

/// The end of a pod.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Drain {
    /// Where it ran.
    pub node: String,
    /// Seconds from its deletion until its last container had ended; none if that was never seen.
    pub served_seconds: Option<f64>,
    /// Seconds from its deletion until its object was gone.
    pub gone_seconds: Option<f64>,
    /// The reason of its condition `lameduck.dev/Drained`.
    pub reason: Option<String>,
    /// The message of that condition.
    pub message: Option<String>,
}

impl Run {
    /// Requests that failed and long connections that were cut.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.failed + self.long_connections_cut
    }
}

impl Report {
    /// Judges `runs`.
    #[must_use]
    pub fn new(scenario: Scenario, runs: Vec<Run>) -> Self {
        let (verdict, why) = judge(scenario, &runs);
        Self { scenario, runs, verdict, why }
    }

    /// The run with or without Lameduck.
    #[must_use]
    pub fn run(&self, protected: bool) -> Option<&Run> {
        self.runs.iter().find(|run| run.protected == protected)
    }
}

/// Whether `runs` show that something is lost without Lameduck and nothing with it, and why not.
fn judge(scenario: Scenario, runs: &[Run]) -> (Verdict, String) {
    let side = |protected: bool| runs.iter().find(|run| run.protected == protected);
    let (Some(plain), Some(protected)) = (side(false), side(true)) else {
        return (Verdict::Fail, "only one side was played".to_owned());
    };
    for run in [plain, protected] {
        let name = if run.protected { "protected" } else { "unprotected" };
        #[expect(clippy::cast_precision_loss, reason = "some thousand requests")]
        let rate = run.requests as f64 / run.seconds.max(0.001);
        if rate < LEAST_RATE {
            let why =
                format!("the {name} side's load reached only {rate:.0} requests/s of {LEAST_RATE}");
            return (Verdict::Fail, why);
        }
        if run.long_connections < LEAST_LONG_CONNECTIONS {
            let found = run.long_connections;
            let why =
                format!("the {name} side had {found} long connections of {LEAST_LONG_CONNECTIONS}");
            return (Verdict::Fail, why);
        }
    }
    if protected.lost() > 0 {
        let why = format!(
            "with Lameduck {} requests failed and {} long connections were cut",
            protected.failed, protected.long_connections_cut
        );
        return (Verdict::Fail, why);
    }
    if protected.idle_connections_closed > 0 {
        let closed = protected.idle_connections_closed;
        let why =
            format!("with Lameduck {closed} kept-alive connections were closed under a client");
        return (Verdict::Fail, why);
    }
    if protected.pods.iter().all(|pod| pod.drains.is_empty()) {
        return (Verdict::Fail, "no pod of the protected side ended".to_owned());
    }
    if plain.lost() == 0 {
        return (
            Verdict::Fail,
            "nothing was lost without Lameduck: this proves nothing".to_owned(),
        );
    }
    if scenario == Scenario::Long && plain.long_connections_cut == 0 {
        let why = "no long connection was cut without Lameduck: this proves nothing";
        return (Verdict::Fail, why.to_owned());
    }
    (Verdict::Pass, "lost without Lameduck, and nothing with it".to_owned())
}

#[cfg(test)]
mod tests {
    use super::{Drain, PodReport, Report, Run, Verdict};
    use crate::scenario::Scenario;

    fn run(protected: bool, failed: u64, cut: u64) -> Run {
        let pod = PodReport { drains: vec![Drain::default()], ..PodReport::default() };
        Run {
            protected,
            requests: 6_000,
            failed,
            long_connections: 50,
            long_connections_cut: cut,
            pods: vec![pod],
            seconds: 10.0,
            ..Run::default()
        }
    }

    fn verdict(scenario: Scenario, runs: &[Run]) -> (Verdict, String) {
        let report = Report::new(scenario, runs.to_vec());
        (report.verdict, report.why)
    }

    #[test]
    fn only_a_loss_against_none_passes() {
        let pass = |runs: &[Run]| verdict(Scenario::Delete, runs).0 == Verdict::Pass;
        assert!(pass(&[run(false, 1, 0), run(true, 0, 0)]));
        assert!(pass(&[run(false, 0, 1), run(true, 0, 0)]));
        assert!(!pass(&[run(false, 0, 0), run(true, 0, 0)]), "nothing lost proves nothing");
        assert!(!pass(&[run(false, 9, 9), run(true, 1, 0)]));
        assert!(!pass(&[run(false, 9, 9), run(true, 0, 1)]));
        assert!(!pass(&[run(false, 9, 9)]), "one side alone is no comparison");
        assert!(!pass(&[]));
    }

    #[test]
    fn a_run_that_did_not_do_its_work_proves_nothing() {
        let slow = Run { requests: 100, ..run(true, 0, 0) };
        let short = Run { long_connections: 0, ..run(true, 0, 0) };
        let endless = Run { pods: vec![PodReport::default()], ..run(true, 0, 0) };
        for odd in [slow, short, endless] {
            let (verdict, why) = verdict(Scenario::Delete, &[run(false, 1, 1), odd]);
            assert_eq!(verdict, Verdict::Fail, "{why}");
        }
    }

    #[test]
    fn the_long_scenario_is_about_long_connections() {
        let runs = [run(false, 9, 0), run(true, 0, 0)];
        assert_eq!(verdict(Scenario::Long, &runs).0, Verdict::Fail);
        assert_eq!(verdict(Scenario::Rollout, &runs).0, Verdict::Pass);
    }

    #[test]
    fn the_document_has_the_fields_that_scripts_read() {
        let report = Report::new(Scenario::ScaleIn, vec![run(false, 3, 2), run(true, 0, 0)]);
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["scenario"], "scale-in");
        assert_eq!(json["verdict"], "pass");
        let keys: Vec<&String> = json["runs"][0].as_object().unwrap().keys().collect();
        let expected = [
            "failed",
            "failures",
            "long_connections",
            "long_connections_cut",
            "pods",
            "protected",
            "requests",
        ];
        assert_eq!(keys, expected);
    }
}
