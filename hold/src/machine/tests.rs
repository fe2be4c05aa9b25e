use super::*;
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);

fn policy(until: Until, has_pre_stop: bool) -> Policy {
    let [max, unreachable, grace] = [900, 30, 20].map(Duration::from_secs);
    Policy { until, max, unreachable, grace, has_pre_stop }
}

/// Plays the outside world against a machine, with a clock of its own.
struct World {
    machine: Machine,
    now: Duration,
    /// What the controller says from now on; none: it does not answer.
    controller: Option<Verdict>,
    deadline: Option<Duration>,
    /// Connections that are open; none: they cannot be counted.
    open: Option<u64>,
    /// How long the user's preStop takes.
    pre_stop_takes: Duration,
    pre_stop_ends: Option<Duration>,
    asked: Option<(Duration, Poll)>,
    quiet: u32,
    polls: u32,
    samples: u32,
    pre_stops: u32,
}

impl World {
    fn new(policy: Policy) -> Self {
        Self {
            machine: Machine::new(policy),
            now: Duration::ZERO,
            controller: Some(Verdict::Holding),
            deadline: Some(policy.max),
            open: Some(1),
            pre_stop_takes: SECOND,
            pre_stop_ends: None,
            asked: None,
            quiet: 0,
            polls: 0,
            samples: 0,
            pre_stops: 0,
        }
    }

    /// One round of the main loop; the time then is that of the next thing to do.
    fn round(&mut self) -> Option<Outcome> {
        let next = self.machine.next(self.now);
        if next.finish.is_some() {
            return next.finish;
        }
        if let Some(limit) = next.start_pre_stop {
            self.pre_stops += 1;
            self.pre_stop_ends = Some(self.now + limit.min(self.pre_stop_takes));
        }
        if next.sample.is_some() {
            self.samples += 1;
            if self.machine.counts_anew(self.now) {
                self.quiet = 0;
            }
            let sample = self.open.map(|open| {
                self.quiet = if open == 0 { self.quiet + 1 } else { 0 };
                (Sample { seen: open, lasting: open }, self.quiet >= 3)
            });
            self.machine.on_sample(self.now, sample, Duration::from_millis(1));
            return None;
        }
        if let Some(poll) = next.poll {
            assert!(self.asked.is_none(), "two questions at once");
            self.polls += 1;
            self.asked = Some((self.now, poll));
        }
        // Answers come at any time, not only when the machine wakes.
        self.now += next.wake_in.min(Duration::from_millis(100));
        if self.pre_stop_ends.is_some_and(|end| end <= self.now) {
            self.pre_stop_ends = None;
            self.machine.on_pre_stop_end(self.now);
        }
        if let Some((since, poll)) = self.asked {
            match self.controller {
                None => {
                    self.asked = None;
                    self.machine.on_silence(self.now);
                }
                Some(verdict) if poll.known != Some(verdict) || self.now >= since + poll.wait => {
                    self.asked = None;
                    let deadline = self.deadline.map(|at| at.saturating_sub(self.now));
                    self.machine.on_answer(self.now, Answer { verdict, deadline });
                }
                Some(_) => {}
            }
        }
        None
    }

    /// Runs until the machine is done, or until `end`.
    fn run(&mut self, end: Duration) -> Option<Outcome> {
        while self.now < end {
            if let outcome @ Some(_) = self.round() {
                return outcome;
            }
        }
        None
    }
}

#[test]
fn waits_for_traffic_then_pre_stop_then_connections() {
    let mut world = World::new(policy(Until::ConnectionsClosed, true));
    assert_eq!(world.run(100 * SECOND), None);
    assert_eq!(world.pre_stops, 0, "the preStop waits until traffic is off");
    world.controller = Some(Verdict::TrafficOff);
    assert_eq!(world.run(200 * SECOND), None, "a connection is open");
    assert_eq!(world.pre_stops, 1);
    world.open = Some(0);
    assert_eq!(world.run(300 * SECOND), Some(Outcome::ConnectionsClosed));
    assert!(world.now < 201 * SECOND, "{:?}", world.now);

    let times = world.machine.times(world.now);
    assert!(times.traffic >= 100 * SECOND && times.pre_stop >= SECOND, "{times:?}");
    assert_eq!(world.now, times.traffic + times.pre_stop + times.connections);
}

#[test]
fn each_policy_ends_in_its_own_way() {
    for (until, open, expected) in [
        (Until::ConnectionsClosed, 0, Some(Outcome::ConnectionsClosed)),
        (Until::ConnectionsClosed, 1, None),
        (Until::ConnectionsIdle, 0, Some(Outcome::ConnectionsIdle)),
        (Until::ConnectionsIdle, 1, None),
        (Until::TrafficOff, 1, Some(Outcome::TrafficOff)),
    ] {
        let mut world = World::new(policy(until, false));
        world.controller = Some(Verdict::TrafficOff);
        world.open = Some(open);
        assert_eq!(world.run(60 * SECOND), expected, "{until:?} {open}");
    }
}

#[test]
fn a_restarted_container_is_not_held_but_its_pre_stop_runs() {
    let mut world = World::new(policy(Until::ConnectionsClosed, true));
    world.controller = Some(Verdict::NotTerminating);
    assert_eq!(world.run(60 * SECOND), Some(Outcome::NotTerminating));
    assert_eq!(world.pre_stops, 1);
    assert!(world.now < 2 * world.pre_stop_takes, "{:?}", world.now);
}

#[test]
fn a_deletion_is_not_taken_back_by_a_replica_that_lags_behind() {
    let mut world = World::new(policy(Until::ConnectionsClosed, false));
    assert_eq!(world.run(30 * SECOND), None);
    world.controller = Some(Verdict::NotTerminating);
    assert_eq!(world.run(60 * SECOND), None);
}

#[test]
fn traffic_stays_off_whatever_a_lagging_replica_says() {
    let mut world = World::new(policy(Until::ConnectionsClosed, false));
    world.controller = Some(Verdict::TrafficOff);
    assert_eq!(world.run(5 * SECOND), None);
    world.controller = Some(Verdict::Holding);
    world.open = Some(0);
    assert_eq!(world.run(20 * SECOND), Some(Outcome::ConnectionsClosed));
}

#[test]
fn the_deadline_ends_every_phase_but_not_the_pre_stop() {
    for (controller, open) in
        [(Some(Verdict::Holding), Some(1)), (Some(Verdict::TrafficOff), Some(1)), (None, Some(1))]
    {
        for has_pre_stop in [false, true] {
            let mut world = World::new(policy(Until::ConnectionsClosed, has_pre_stop));
            (world.controller, world.open) = (controller, open);
            world.deadline = Some(50 * SECOND);
            let expected = if controller.is_some() { 50 } else { 900 };
            assert_eq!(world.run(1000 * SECOND), Some(Outcome::DeadlineExceeded));
            let late = world.now.saturating_sub(Duration::from_secs(expected));
            assert!(late <= 2 * SECOND, "{controller:?} {late:?}");
            assert_eq!(world.pre_stops, u32::from(has_pre_stop));
        }
    }
}

#[test]
fn a_deadline_once_heard_is_never_shortened() {
    let answer = |seconds: u64| Answer {
        verdict: Verdict::Holding,
        deadline: Some(Duration::from_secs(seconds)),
    };
    let mut machine = Machine::new(policy(Until::ConnectionsClosed, false));
    machine.on_answer(SECOND, answer(600));
    // Somebody forced the pod, and this controller has seen nothing else.
    machine.on_answer(2 * SECOND, answer(0));
    assert_eq!(machine.next(3 * SECOND).finish, None);
    assert!(machine.next(602 * SECOND).finish.is_some());
}

#[test]
fn a_person_ends_every_phase_but_not_the_pre_stop() {
    for before in [Some(Verdict::Holding), Some(Verdict::TrafficOff), None] {
        for has_pre_stop in [false, true] {
            let mut world = World::new(policy(Until::ConnectionsClosed, has_pre_stop));
            (world.controller, world.open) = (before, Some(1));
            world.deadline = Some(600 * SECOND);
            assert_eq!(world.run(50 * SECOND), None);
            world.controller = Some(Verdict::Released);
            assert_eq!(world.run(80 * SECOND), Some(Outcome::Released));
            assert_eq!(world.pre_stops, u32::from(has_pre_stop));
        }
    }
}

#[test]
fn a_hanging_pre_stop_gets_the_grace_and_no_more() {
    let mut world = World::new(policy(Until::ConnectionsClosed, true));
    world.controller = Some(Verdict::TrafficOff);
    world.pre_stop_takes = Duration::MAX;
    world.open = Some(0);
    assert_eq!(world.run(60 * SECOND), Some(Outcome::ConnectionsClosed));
    let pre_stop = world.machine.times(world.now).pre_stop;
    assert!(pre_stop >= 20 * SECOND && pre_stop < 22 * SECOND, "{pre_stop:?}");
}

#[test]
fn the_controller_cannot_stretch_the_hold_beyond_its_maximum() {
    let mut world = World::new(policy(Until::ConnectionsClosed, false));
    world.deadline = Some(10_000 * SECOND);
    assert_eq!(world.run(5000 * SECOND), Some(Outcome::DeadlineExceeded));
    assert!(world.now <= 901 * SECOND);
}

#[test]
fn without_a_controller_it_holds_its_least_time_and_until_connections_closed() {
    let mut world = World::new(policy(Until::ConnectionsClosed, true));
    world.controller = None;
    assert_eq!(world.run(29 * SECOND), None);
    assert_eq!(world.pre_stops, 0);
    assert_eq!(world.run(100 * SECOND), None, "a connection is open");
    world.open = Some(0);
    assert_eq!(world.run(200 * SECOND), Some(Outcome::Unreachable));

    let mut world = World::new(policy(Until::TrafficOff, false));
    world.controller = None;
    assert_eq!(world.run(100 * SECOND), Some(Outcome::Unreachable));
    assert!(world.now >= 30 * SECOND);
}

#[test]
fn a_controller_that_comes_back_is_listened_to() {
    let mut world = World::new(policy(Until::ConnectionsClosed, true));
    world.controller = None;
    assert_eq!(world.run(40 * SECOND), None);
    // It took traffic for off on its own, and was wrong.
    world.controller = Some(Verdict::Holding);
    assert_eq!(world.run(50 * SECOND), None);
    world.open = Some(0);
    assert_eq!(world.run(200 * SECOND), None, "traffic is on");
    world.controller = Some(Verdict::TrafficOff);
    assert_eq!(world.run(300 * SECOND), Some(Outcome::ConnectionsClosed));
    assert_eq!(world.pre_stops, 1, "the preStop does not run twice");
}

#[test]
fn a_short_outage_changes_nothing() {
    let mut world = World::new(policy(Until::ConnectionsClosed, false));
    world.open = Some(0);
    for _ in 0..5 {
        world.controller = None;
        assert_eq!(world.run(world.now + 20 * SECOND), None);
        world.controller = Some(Verdict::Holding);
        assert_eq!(world.run(world.now + 10 * SECOND), None);
    }
}

#[test]
fn connections_that_cannot_be_counted_hold_for_a_while_and_not_for_ever() {
    for (controller, expected) in
        [(Some(Verdict::TrafficOff), Outcome::TrafficOff), (None, Outcome::Unreachable)]
    {
        let mut world = World::new(policy(Until::ConnectionsClosed, false));
        (world.controller, world.open) = (controller, None);
        assert_eq!(world.run(100 * SECOND), Some(expected));
        assert!(world.now >= 30 * SECOND && world.now < 70 * SECOND, "{:?}", world.now);
    }
}

#[test]
fn without_grace_no_pre_stop_runs() {
    let no_grace = Policy { grace: Duration::ZERO, ..policy(Until::TrafficOff, true) };
    let mut world = World::new(no_grace);
    world.controller = Some(Verdict::TrafficOff);
    assert_eq!(world.run(10 * SECOND), Some(Outcome::TrafficOff));
    assert_eq!(world.pre_stops, 0);
}

#[test]
fn costly_samples_are_taken_rarely_and_still_often_enough() {
    let cost = Duration::from_millis(6);
    let mut machine = Machine::new(policy(Until::ConnectionsClosed, false));
    assert!(machine.next(Duration::ZERO).sample.is_some());
    machine.on_answer(Duration::ZERO, Answer { verdict: Verdict::TrafficOff, deadline: None });
    assert!(machine.next(SECOND).sample.is_some(), "the phase changed");
    machine.on_sample(SECOND, Some((Sample { seen: 9, lasting: 9 }, false)), cost);
    let pause = cost * samples::REST;
    assert_eq!(pause.clamp(samples::BUSY_MIN, samples::BUSY_MAX), samples::BUSY_MAX);
    assert!(machine.next(SECOND + samples::BUSY_MAX - Duration::from_millis(1)).sample.is_none());
    assert!(machine.next(SECOND + samples::BUSY_MAX).sample.is_some());
}

/// What happens to the world at some time.
#[derive(Clone, Copy, Debug)]
enum Change {
    Controller(Option<Verdict>),
    Open(Option<u64>),
}

fn changes() -> impl Strategy<Value = Vec<(u64, Change)>> {
    let verdict = prop_oneof![
        Just(None),
        Just(Some(Verdict::Holding)),
        Just(Some(Verdict::TrafficOff)),
        Just(Some(Verdict::NotTerminating)),
    ];
    let open = prop_oneof![Just(None), Just(Some(0)), Just(Some(3))];
    let change = prop_oneof![verdict.prop_map(Change::Controller), open.prop_map(Change::Open)];
    proptest::collection::vec((1..60_000u64, change), 0..12)
}

proptest! {
    #[test]
    fn whatever_happens_it_ends_in_time_and_for_a_reason(
        changes in changes(),
        until in prop_oneof![
            Just(Until::ConnectionsClosed), Just(Until::ConnectionsIdle), Just(Until::TrafficOff),
        ],
        has_pre_stop in any::<bool>(),
        deadline in proptest::option::of(1..400u64),
    ) {
        let policy = Policy { max: 300 * SECOND, ..policy(until, has_pre_stop) };
        let mut world = World::new(policy);
        world.deadline = deadline.map(Duration::from_secs);
        let mut told = vec![world.controller];
        let mut outcome = None;
        for (millis, change) in changes {
            outcome = world.run(world.now + Duration::from_millis(millis));
            if outcome.is_some() { break; }
            match change {
                Change::Controller(verdict) => { world.controller = verdict; told.push(verdict); }
                Change::Open(open) => world.open = open,
            }
        }
        let outcome = outcome.or_else(|| world.run(400 * SECOND)).expect("an end");
        let latest = policy.max + policy.grace + 2 * SECOND;
        prop_assert!(world.now <= latest, "{:?}", world.now);
        // The user's preStop runs once, whatever the outcome.
        prop_assert_eq!(world.pre_stops, u32::from(has_pre_stop));
        // Nothing ends a hold early but a controller's word, or its lasting silence.
        match outcome {
            Outcome::ConnectionsClosed | Outcome::ConnectionsIdle | Outcome::TrafficOff => {
                prop_assert!(told.contains(&Some(Verdict::TrafficOff)));
            }
            Outcome::NotTerminating => {
                prop_assert!(told.contains(&Some(Verdict::NotTerminating)));
            }
            Outcome::Unreachable => {
                prop_assert!(told.contains(&None) && world.now >= policy.unreachable);
            }
            Outcome::Released => prop_assert!(told.contains(&Some(Verdict::Released))),
            Outcome::DeadlineExceeded => {
                let least = deadline.map_or(policy.max, Duration::from_secs).min(policy.max);
                prop_assert!(world.now + 3 * SECOND >= least, "{:?}", world.now);
            }
        }
        // Neither controllers nor the kernel are asked in a tight loop.
        let seconds = world.now.as_secs() as u32 + 1;
        prop_assert!(world.polls <= 6 * seconds, "{} polls", world.polls);
        prop_assert!(world.samples <= 12 * seconds, "{} samples", world.samples);
    }
}
