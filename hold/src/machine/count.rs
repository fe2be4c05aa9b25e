//! The decisions of a count: facts in, the next step out. Pure; every time is since the count began.
//!
//! A count has no controller to ask: traffic was off before it was started. So it is over when the
//! connections are, or when there is no time left, or when nobody can tell.

use std::time::Duration;

use super::samples::Samples;
use crate::census::{Extent, Sample};

/// For how long samples may fail one after another before connections count as uncountable. What fails
/// for a moment only (a full receive buffer, a sample that a busy node made too slow) is tried again
/// some twenty times in it.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two lines that say how many connections there are.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);

/// How a count ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Nothing holds the pod any more.
    Over,
    /// There was no time left, and so many connections still hold the pod.
    Left(u64),
    /// Nobody can tell.
    Uncountable,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The count is over.
    Finish(End),
    /// Take a sample now and hand it in.
    Sample(Extent),
    /// Come back after so long.
    Sleep(Duration),
}

/// The state of one count.
#[derive(Debug)]
pub(crate) struct Count {
    max: Duration,
    samples: Samples,
    /// Since when every sample fails.
    failing_since: Option<Duration>,
    /// The look at all connections that is taken when the time is over.
    last_look: bool,
    /// The number that was told last, and when.
    told: Option<(Duration, u64)>,
}

impl Count {
    /// A count that begins now, at time zero, and takes `max` at most: longer only by the second that
    /// it takes to know that what was just found gone stays gone.
    pub(crate) fn new(max: Duration) -> Self {
        Self { max, samples: Samples::default(), failing_since: None, last_look: false, told: None }
    }

    /// What to do at `now`.
    pub(crate) fn next(&mut self, now: Duration) -> Step {
        if self.samples.is_over() {
            return Step::Finish(End::Over);
        }
        if self.failing_since.is_some_and(|since| now.saturating_sub(since) >= PATIENCE) {
            return Step::Finish(End::Uncountable);
        }
        let in_time = now < self.max;
        if !in_time && !self.last_look {
            self.last_look = true;
            return Step::Sample(Extent::All);
        }
        match self.samples.last() {
            // Unknown is neither closed nor a number.
            None if !in_time => return Step::Finish(End::Uncountable),
            Some(last) if !in_time && last.lasting > 0 => {
                return Step::Finish(End::Left(last.seen));
            }
            // A quiet sample: the census asks for ten of them at most, so this ends.
            _ => {}
        }
        if let Some(extent) = self.samples.due(now) {
            // What is left at the end is told in full.
            return Step::Sample(if in_time { extent } else { Extent::All });
        }
        let until_max = if in_time { self.max.saturating_sub(now) } else { Duration::MAX };
        let until_sample = self.samples.next_at().saturating_sub(now);
        Step::Sleep(until_sample.min(until_max).max(Duration::from_millis(1)))
    }

    /// Takes in a sample: what it found and whether by that nothing holds the pod any more, none where
    /// connections cannot be counted; and what it cost.
    pub(crate) fn on_sample(
        &mut self,
        now: Duration,
        sample: Option<(Sample, bool)>,
        cost: Duration,
    ) {
        self.samples.take_in(now, sample, cost, true);
        match sample {
            Some(_) => self.failing_since = None,
            None => {
                self.failing_since.get_or_insert(now);
            }
        }
    }

    /// The number of connections, where it is to be told now: it changed, and none was told just before.
    pub(crate) fn news(&mut self, now: Duration) -> Option<u64> {
        let seen = self.samples.last()?.seen;
        if let Some((at, told)) = self.told
            && (told == seen || now.saturating_sub(at) < PROGRESS_EVERY)
        {
            return None;
        }
        self.told = Some((now, seen));
        Some(seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn open(count: u64) -> Option<(Sample, bool)> {
        Some((Sample { seen: count, lasting: count }, false))
    }

    fn quiet(over: bool) -> Option<(Sample, bool)> {
        Some((Sample { seen: 0, lasting: 0 }, over))
    }

    /// Plays a count against a world that gives this sample at this time. Ends with its time, its end
    /// and the extent of its last sample.
    fn play(
        max: Duration,
        mut world: impl FnMut(Duration) -> Option<(Sample, bool)>,
    ) -> (Duration, End, Extent) {
        let (mut count, mut now) = (Count::new(max), Duration::ZERO);
        let mut extent = Extent::Enough;
        for _ in 0..100_000 {
            match count.next(now) {
                Step::Finish(end) => return (now, end, extent),
                Step::Sleep(pause) => now += pause,
                Step::Sample(taken) => {
                    extent = taken;
                    count.on_sample(now, world(now), Duration::from_millis(1));
                }
            }
        }
        panic!("the count does not end");
    }

    /// Three quiet samples from `at` on, as the census wants them.
    fn closes_at(at: Duration) -> impl FnMut(Duration) -> Option<(Sample, bool)> {
        let mut quiets = 0;
        move |now| {
            if now < at {
                return open(2);
            }
            quiets += 1;
            quiet(quiets >= 3)
        }
    }

    #[test]
    fn over_within_a_second_of_the_last_close() {
        for at in [Duration::ZERO, 10 * SECOND, 599 * SECOND] {
            let (now, end, _) = play(600 * SECOND, closes_at(at));
            assert_eq!(end, End::Over);
            assert!(now >= at && now - at < SECOND, "{now:?}");
        }
    }

    #[test]
    fn what_is_left_at_the_end_is_told_in_full() {
        let left = play(20 * SECOND, |_| open(2));
        assert_eq!(left, (20 * SECOND, End::Left(2), Extent::All));
        // With no time at all there are still two looks, as no connection lasts in the first one.
        let mut looks = 0;
        let (_, end, extent) = play(Duration::ZERO, |_| {
            looks += 1;
            Some((Sample { seen: 3, lasting: if looks == 1 { 0 } else { 3 } }, false))
        });
        assert_eq!((end, extent, looks), (End::Left(3), Extent::All, 2));
    }

    #[test]
    fn connections_that_close_at_the_deadline_have_closed() {
        for max in [Duration::ZERO, 7 * SECOND] {
            let (now, end, _) = play(max, closes_at(max));
            assert_eq!(end, End::Over);
            assert!(now < max + SECOND, "{now:?}");
        }
    }

    #[test]
    fn unknown_is_never_closed() {
        let (now, end, _) = play(600 * SECOND, |_| None);
        assert_eq!((now, end), (PATIENCE, End::Uncountable));
        assert_eq!(play(SECOND, |_| None).1, End::Uncountable);
        assert_eq!(
            play(20 * SECOND, |now| open(1).filter(|_| now < 19 * SECOND)).1,
            End::Uncountable
        );

        // What fails for a moment does not end the count.
        let mut closing = closes_at(30 * SECOND);
        let flaky = |now: Duration| if now.as_secs() % 10 < 8 { None } else { closing(now) };
        assert_eq!(play(600 * SECOND, flaky).1, End::Over);
    }

    #[test]
    fn numbers_are_told_when_they_change_and_not_too_often() {
        let mut count = Count::new(600 * SECOND);
        assert_eq!(count.news(Duration::ZERO), None);
        let mut told = |second: u32, seen| {
            let now = SECOND * second;
            count.on_sample(now, seen, Duration::ZERO);
            count.news(now)
        };
        let table = [
            (0, open(5), Some(5)),
            (5, open(4), None),
            (9, open(3), None),
            (10, open(3), Some(3)),
            (30, open(3), None),
            (31, open(2), Some(2)),
            (50, None, None),
            (51, quiet(false), Some(0)),
        ];
        for (second, seen, expected) in table {
            assert_eq!(told(second, seen), expected, "at {second} s");
        }
    }
}
