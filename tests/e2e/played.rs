//! What scenarios and safeguards play. The first test that wants something played has everything played that
//! the tests of this run want of the same provider, on one stage, as `cargo lab demo` does it: the pods of one
//! start while others are under load. The other tests read what came of theirs.
//!
//! Each test is still one of its own, and judges its own reports alone.

mod filter;

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Error, Result, anyhow};
use lameduck_lab::scenario::{
    Overrides, Part, Provider, Report, Run, Scenario, Sides, Stage, Verdict, play_all,
};
use serde_json::Value;
use tokio::runtime;

use crate::bench::Bench;
use crate::{safeguards, scenarios, tke};
use filter::Filter;

/// Something that a test wants played.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// The test, as libtest names it.
    pub(crate) test: &'static str,
    pub(crate) part: Part,
}

impl Wanted {
    /// Both sides of `scenario`.
    pub(crate) fn whole(test: &'static str, scenario: Scenario) -> Self {
        Self { test, part: Part { scenario, overrides: Overrides::default() } }
    }

    /// The protected side alone, with a JSON merge patch onto its policy.
    pub(crate) fn protected(test: &'static str, scenario: Scenario, policy_patch: Value) -> Self {
        let overrides = Overrides {
            policy_patch: Some(policy_patch),
            sides: Sides::Protected,
            ..Overrides::default()
        };
        Self { test, part: Part { scenario, overrides } }
    }

    fn provider(&self) -> Provider {
        self.part.scenario.provider()
    }
}

/// The name by which libtest knows a test of this module.
macro_rules! name_of {
    ($test:ident) => {{
        // No name without a test.
        let _: fn() -> anyhow::Result<()> = $test;
        crate::played::libtest_name(concat!(module_path!(), "::", stringify!($test)))
    }};
}
pub(crate) use name_of;

/// A test for each scenario, and `wanted`, which says what they want played.
macro_rules! scenario_tests {
    ($($name:ident: $scenario:ident,)*) => {
        /// What the tests of this module want played.
        pub(crate) fn wanted() -> Vec<crate::played::Wanted> {
            use lameduck_lab::scenario::Scenario;
            use crate::played::{Wanted, name_of};
            vec![$(Wanted::whole(name_of!($name), Scenario::$scenario)),*]
        }

        $(#[test]
        fn $name() -> anyhow::Result<()> {
            crate::played::passes(crate::played::name_of!($name))
        })*
    };
}
pub(crate) use scenario_tests;

/// libtest leaves the crate's own name away.
pub(crate) fn libtest_name(path: &'static str) -> &'static str {
    path.split_once("::").map_or(path, |(_, name)| name)
}

/// Everything that tests may want.
fn wanted() -> Vec<Wanted> {
    let all = [
        scenarios::wanted(),
        safeguards::wanted(),
        tke::scenarios::wanted(),
        tke::courses::wanted(),
        tke::safeguards::wanted(),
    ];
    all.concat()
}

/// What came of something that was wanted, or why nothing did.
type Outcome = Result<Report, String>;
/// What was played, by test. Whoever plays holds it, and the others wait: each wait within a play has its own
/// limit.
static PLAYED: Mutex<BTreeMap<&str, Vec<Outcome>>> = Mutex::new(BTreeMap::new());

/// Plays what `test` wants, if nobody has, and says whether something was lost without Lameduck and nothing
/// with it.
pub(crate) fn passes(test: &'static str) -> Result<()> {
    for Report { scenario, runs, verdict, why } in reports(test)? {
        assert_eq!(verdict, Verdict::Pass, "{}: {why}\n{runs:#?}", scenario.name());
    }
    Ok(())
}

/// Plays what `test` wants, if nobody has, and returns the protected runs, in the order in which they are
/// wanted.
pub(crate) fn protected_runs<const N: usize>(test: &'static str) -> Result<[Run; N]> {
    let runs = reports(test)?.into_iter().flat_map(|report| report.runs);
    let runs: Vec<Run> = runs.filter(|run| run.protected).collect();
    runs.try_into().map_err(|runs: Vec<Run>| {
        anyhow!("{test} looks at {N} runs of the protected side, and {} were played", runs.len())
    })
}

fn reports(test: &'static str) -> Result<Vec<Report>> {
    let mut played = PLAYED.lock().unwrap_or_else(PoisonError::into_inner);
    if !played.contains_key(test) {
        let batch = batch(test, wanted(), &Filter::of_this_run(), |test| played.contains_key(test));
        let tests: Vec<&'static str> = batch.iter().map(|wanted| wanted.test).collect();
        let (outcomes, cleared) = play(batch);
        for (test, outcome) in tests.into_iter().zip(outcomes) {
            tell(test, &outcome);
            played.entry(test).or_default().push(outcome);
        }
        // For this test alone: what the others have played stands.
        cleared.context("what the scenarios have made cannot be cleared away")?;
    }
    let outcomes = played.get(test).with_context(|| format!("{test} has nothing played"))?;
    outcomes.iter().cloned().collect::<Result<_, String>>().map_err(Error::msg)
}

/// What is played together where `test` comes first: its own, and what other tests of this run want of the
/// same provider and do not have yet.
fn batch(
    test: &str,
    wanted: Vec<Wanted>,
    filter: &Filter,
    has: impl Fn(&str) -> bool,
) -> Vec<Wanted> {
    let own = wanted.iter().find(|one| one.test == test).map(Wanted::provider);
    let is_due = |one: &Wanted| one.test == test || (filter.runs(one.test) && !has(one.test));
    wanted.into_iter().filter(|one| Some(one.provider()) == own && is_due(one)).collect()
}

/// Plays `batch` on a thread with a runtime of its own, so that no test's end takes anything along, and a panic
/// is an error of all. Returns an outcome for each, and whether everything was cleared away.
fn play(batch: Vec<Wanted>) -> (Vec<Outcome>, Result<()>) {
    let count = batch.len();
    let parts: Vec<Part> = batch.into_iter().map(|wanted| wanted.part).collect();
    let thread = std::thread::spawn(move || -> Result<_> {
        let runtime = runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.context("no async runtime")?.block_on(play_on_a_stage(&parts))
    });
    let played = thread.join().unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(anyhow!("playing the scenarios panicked: {}", text.unwrap_or("without a message")))
    });
    match played {
        Ok((results, cleared)) => {
            let outcome = |result: Result<Report>| result.map_err(|error| format!("{error:#}"));
            (results.into_iter().map(outcome).collect(), cleared)
        }
        Err(error) => (vec![Err(format!("nothing was played: {error:#}")); count], Ok(())),
    }
}

async fn play_on_a_stage(parts: &[Part]) -> Result<(Vec<Result<Report>>, Result<()>)> {
    let provider = parts.first().context("nothing is wanted")?.scenario.provider();
    let bench = Bench::take_with(provider).await?;
    let stage = Stage::open(&bench.cluster).await?;
    let results = play_all(&stage, parts, &bench.progress).await;
    let cleared = stage.clean_up(&bench.progress).await;
    Ok((results, cleared))
}

/// A line in the log, whatever the test will say: what else a play says is kept with the test that came first.
fn tell(test: &str, outcome: &Outcome) {
    let text = format!("{test}: {}\n", line(outcome));
    // Not by `eprint!`, which libtest keeps for itself. A line that cannot be written has nobody to read it.
    std::io::stderr().write_all(text.as_bytes()).ok();
}

fn line(outcome: &Outcome) -> String {
    match outcome {
        Ok(report) => {
            let of = |run: &Run| {
                let side = if run.protected { "with Lameduck" } else { "without" };
                let Run { failed, long_connections_cut: cut, seconds, .. } = run;
                format!("{side} {failed} failed and {cut} cut in {seconds:.0} s")
            };
            let runs: Vec<String> = report.runs.iter().map(of).collect();
            format!("{}: {}: {}", report.scenario.name(), runs.join(", "), report.why)
        }
        Err(error) => error.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Filter, batch, wanted};

    fn played_with(arguments: &[&str], test: &str, had: &[&str]) -> Vec<&'static str> {
        let filter = Filter::new(arguments.iter().map(ToString::to_string));
        let batch = batch(test, wanted(), &filter, |test| had.contains(&test));
        batch.into_iter().map(|wanted| wanted.test).collect()
    }

    #[test]
    fn one_that_is_asked_for_by_name_is_played_alone() {
        let delete = ["scenarios::delete"];
        assert_eq!(played_with(&delete, "scenarios::delete", &[]), delete);
        assert_eq!(played_with(&["--exact", delete[0]], delete[0], &[]), delete);
        // Both of its runs.
        let wait = "safeguards::without_the_wait_for_traffic_off_a_delete_loses";
        assert_eq!(played_with(&[wait], wait, &[]), [wait, wait]);
    }

    #[test]
    fn without_a_filter_everything_of_a_provider_is_played_at_once() {
        let guessed = played_with(&[], "safeguards::without_the_hold_a_delete_loses", &[]);
        let read = played_with(&[], "tke::scenarios::clb_lag", &[]);
        assert_eq!(guessed.len() + read.len(), wanted().len());
        assert!(!guessed.iter().any(|test| test.starts_with("tke::")), "{guessed:?}");
        assert!(read.iter().all(|test| test.starts_with("tke::")), "{read:?}");
    }

    #[test]
    fn what_was_played_is_not_played_again() {
        let had = ["scenarios::delete", "scenarios::drain"];
        // One that the filter was wrong about, so that it was not played with the others.
        let batch = played_with(&["scenarios::d"], "scenarios::rollout", &had);
        assert_eq!(batch, ["scenarios::rollout"]);
        assert!(played_with(&[], "no::such_test", &[]).is_empty());
    }
}
