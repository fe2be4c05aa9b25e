//! Many plays on one stage: beside each other where they do not touch, and one after the other else.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use futures::future::{join, join_all};

use super::play::Play;
use super::report::Report;
use super::stage::Stage;
use super::{Overrides, Scenario, Sides};
use crate::progress::Progress;

/// Sides that are loaded at the same time. Four take about half of two cores; with six the load itself falls
/// behind its rate.
const SIDES_AT_ONCE: usize = 4;

/// The order, and which scenarios are played beside each other.
const STORY: [&[Scenario]; 9] = [
    // First, while there are no pods of others on the node.
    &[Scenario::Drain],
    &[Scenario::ControllerDown],
    &[Scenario::Delete, Scenario::Rollout],
    &[Scenario::Long, Scenario::ScaleIn],
    &[Scenario::Force, Scenario::SlowStart],
    &[Scenario::Lag, Scenario::TwoClbs],
    &[Scenario::L7],
    &[Scenario::ClbFaults],
    &[
        Scenario::Upgrade,
        Scenario::UpgradeSurge,
        Scenario::UpgradeRollback,
        Scenario::UpgradePaused,
        Scenario::UpgradeBadImage,
        Scenario::UpgradeOldPods,
    ],
];

/// A scenario that is to be played, and what is changed in it.
#[derive(Clone, Debug)]
pub struct Part {
    /// Which one.
    pub scenario: Scenario,
    /// The changes.
    pub overrides: Overrides,
}

impl Part {
    fn sides(&self) -> usize {
        match self.overrides.sides {
            Sides::Both => 2,
            Sides::Plain | Sides::Protected => 1,
        }
    }

    /// How many sides' worth of the machine it takes. Those of an upgrade are under load for minutes on fewer
    /// pods, while others come and go: two whole ones at once answered late on two cores.
    fn room(&self) -> usize {
        if self.scenario.is_upgrade() { self.sides() * 2 } else { self.sides() }
    }
}

/// Plays all `parts` on `stage`, in waves; the next wave's pods start while one is played. Lameduck must be
/// installed with what all of them need ([`Scenario::provider`]).
///
/// The results stand in the order of `parts`. A part that cannot be played to its end is an error in its own
/// place and stops no other. Losses are no errors, they are in the reports. What was made is left to
/// [`Stage::clean_up`].
pub async fn play_all(
    stage: &Stage<'_>,
    parts: &[Part],
    progress: &Progress,
) -> Vec<Result<Report>> {
    let mut results = BTreeMap::new();
    let mut waves = waves(parts).into_iter();
    let mut next = prepare(stage, waves.next().unwrap_or_default(), progress).await;
    while !next.is_empty() {
        let wave = waves.next().unwrap_or_default();
        let alone = |part: &Part| part.scenario == Scenario::Drain || part.scenario.is_upgrade();
        let undisturbed = next.iter().any(|(_, part, _)| alone(part));
        let plays = perform(stage, next);
        let played;
        // The next wave's pods start while this one's end, unless a drain would take them along, or an upgrade
        // needs the machine.
        (played, next) = if undisturbed {
            let played = plays.await;
            (played, prepare(stage, wave, progress).await)
        } else {
            join(plays, prepare(stage, wave, progress)).await
        };
        results.extend(played);
    }
    results.into_values().collect()
}

/// Parts with their place among all.
type Wave<'p> = Vec<(usize, &'p Part)>;
/// The same, with their pods.
type Prepared<'a, 'p> = Vec<(usize, &'p Part, Result<Play<'a>>)>;

/// What is played at the same time. Within a wave the parts do not touch each other.
fn waves(parts: &[Part]) -> Vec<Wave<'_>> {
    let mut waves = Vec::new();
    let of = |group: &'static [Scenario], whole: bool| {
        let all = parts.iter().enumerate();
        all.filter(move |(_, part)| group.contains(&part.scenario) && (part.sides() == 2) == whole)
    };
    for group in STORY {
        let first = waves.len();
        of(group, true).for_each(|part| put(&mut waves, first, part));
    }
    // A single side goes wherever there is room.
    for group in STORY {
        of(group, false).for_each(|part| put(&mut waves, 0, part));
    }
    waves
}

/// Puts `part` into the first wave from `first` on that has room for it, or into a new one.
fn put<'p>(waves: &mut Vec<Wave<'p>>, first: usize, part: (usize, &'p Part)) {
    let alone = |part: &Part| part.scenario.runs_alone();
    let fits = |wave: &Wave<'p>| {
        let taken: usize = wave.iter().map(|(_, other)| other.room()).sum();
        let none_alone = !alone(part.1) && !wave.iter().any(|(_, other)| alone(other));
        none_alone && taken + part.1.room() <= SIDES_AT_ONCE
    };
    match waves.iter_mut().skip(first).find(|wave| fits(wave)) {
        Some(wave) => wave.push(part),
        None => waves.push(vec![part]),
    }
}

async fn prepare<'a, 'p>(
    stage: &'a Stage<'a>,
    wave: Wave<'p>,
    progress: &Progress,
) -> Prepared<'a, 'p> {
    let each = wave.into_iter().map(async |(place, part)| {
        let play = Play::prepare(stage, part.scenario, &part.overrides, progress).await;
        (place, part, play)
    });
    join_all(each).await
}

async fn perform<'a>(stage: &'a Stage<'a>, wave: Prepared<'a, '_>) -> Vec<(usize, Result<Report>)> {
    let each = wave.into_iter().map(async |(place, part, play)| {
        let report = perform_one(stage, play).await;
        (place, report.with_context(|| part.scenario.name()))
    });
    join_all(each).await
}

async fn perform_one<'a>(stage: &'a Stage<'a>, play: Result<Play<'a>>) -> Result<Report> {
    let play = play?;
    let namespaces = play.namespaces();
    let report = play.perform().await;
    // So that the pods of all waves do not add up. They are not waited for: `Stage::clean_up` does that, for
    // all at once.
    let ended = stage.end_workloads(&namespaces).await;
    report.and_then(|report| ended.map(|()| report))
}

#[cfg(test)]
mod tests {
    use super::{Part, SIDES_AT_ONCE, waves};
    use crate::scenario::{Overrides, Provider, Scenario, Sides};

    fn part(scenario: Scenario, sides: Sides) -> Part {
        Part { scenario, overrides: Overrides { sides, ..Overrides::default() } }
    }

    fn planned(parts: &[Part]) -> Vec<Vec<Scenario>> {
        let waves = waves(parts);
        let mut places: Vec<usize> = waves.iter().flatten().map(|(place, _)| *place).collect();
        places.sort_unstable();
        assert!(places.into_iter().eq(0..parts.len()), "each part has its place once");
        for wave in &waves {
            assert!(wave.iter().map(|(_, part)| part.room()).sum::<usize>() <= SIDES_AT_ONCE);
            assert!(wave.len() == 1 || !wave.iter().any(|(_, part)| part.scenario.runs_alone()));
        }
        let of = |wave: Vec<(usize, &Part)>| wave.iter().map(|(_, part)| part.scenario).collect();
        waves.into_iter().map(of).collect()
    }

    #[test]
    fn the_story_has_every_scenario_once_and_those_of_a_wave_ask_the_same_provider() {
        let waves = planned(&Scenario::ALL.map(|scenario| part(scenario, Sides::Both)));
        let mut all: Vec<Scenario> = waves.concat();
        all.sort();
        assert_eq!(all, Scenario::ALL);
        assert_eq!(waves[0], [Scenario::Drain]);
        for wave in waves {
            assert!(wave.iter().all(|scenario| scenario.provider() == wave[0].provider()));
        }
    }

    #[test]
    fn single_sides_take_what_room_there_is() {
        let of_clb = Scenario::ALL.into_iter().filter(|one| one.provider() == Provider::TencentClb);
        let mut parts: Vec<Part> = of_clb.map(|scenario| part(scenario, Sides::Both)).collect();
        let without = planned(&parts).len();
        parts.insert(0, part(Scenario::Lag, Sides::Protected));
        let waves = planned(&parts);
        assert_eq!(waves.len(), without);
        assert!(waves.contains(&vec![Scenario::L7, Scenario::Lag]), "{waves:?}");
        let halves = [Scenario::Delete; 5].map(|scenario| part(scenario, Sides::Protected));
        assert_eq!(planned(&halves).iter().map(Vec::len).collect::<Vec<_>>(), [4, 1]);
    }

    #[test]
    fn the_same_twice_and_those_that_are_far_apart_in_the_story() {
        let parts = [Scenario::Long, Scenario::Drain, Scenario::Long, Scenario::Long];
        let waves = planned(&parts.map(|scenario| part(scenario, Sides::Both)));
        assert_eq!(waves, [vec![Scenario::Drain], vec![Scenario::Long; 2], vec![Scenario::Long]]);
    }
}
