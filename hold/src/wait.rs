//! `wait`: carries out what the machine decides.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use crate::args::{Until, Wait};
use crate::census::Extent;
use crate::controller::{self, Controller};
use crate::dns::Resolver;
use crate::identity::Identity;
use crate::log::Log;
use crate::machine::{Answer, Machine, Outcome, Policy, Poll};
use crate::prestop::{self, End};
use crate::sampler::Sampler;
use crate::sigterm;

/// News from the threads.
enum Event {
    Answer { answer: Answer, message: String, from: Option<SocketAddr> },
    Silence(String),
    PreStopEnd(End),
}

/// At most one answer and one end of a preStop are ever under way.
const EVENTS: usize = 4;
/// Threads touch little of their stack, and the kernel gives only what is touched.
const STACK_BYTES: usize = 128 * 1024;

/// Holds until the container may get its SIGTERM. The exit code is that of the user's own preStop, if
/// that failed: the kubelet then says so, as it would have without a hold.
pub(crate) fn run(wait: Wait) -> ExitCode {
    let hold = Hold::new(wait);
    let started =
        format!("holding until {:?}, at most {} s", hold.wait.until, hold.wait.max.as_secs());
    hold.log.line(&started);
    hold.run()
}

struct Hold {
    wait: Wait,
    began: Instant,
    log: Log,
    resolver: Resolver,
    /// None where the identity is not known: no controller can then be asked.
    controller: Option<Controller>,
    identity: Result<Identity, String>,
    sampler: Sampler,
    /// The last that a controller said, or why none said anything.
    said: String,
    from: Option<SocketAddr>,
    exit: u8,
}

impl Hold {
    fn new(wait: Wait) -> Self {
        let resolver = Resolver::from_system();
        let idle = wait.until == Until::ConnectionsIdle;
        let identity = own_folder()
            .and_then(|folder| Identity::read(&folder).map_err(|error| error.to_string()));
        let controller = identity.as_ref().ok().map(|identity| {
            Controller::new(
                wait.controllers.clone(),
                identity.clone(),
                wait.container.clone(),
                resolver.clone(),
            )
        });
        Self {
            began: Instant::now(),
            log: Log::open(),
            sampler: Sampler::new(&wait.ports, idle.then_some(wait.idle)),
            said: identity.as_ref().err().cloned().unwrap_or_default(),
            from: None,
            exit: 0,
            wait,
            resolver,
            controller,
            identity,
        }
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn run(mut self) -> ExitCode {
        let mut machine = Machine::new(Policy {
            until: self.wait.until,
            max: self.wait.max,
            unreachable: self.wait.unreachable,
            grace: self.wait.grace,
            has_pre_stop: self.wait.pre_stop.is_some(),
        });
        let (events, news) = sync_channel(EVENTS);
        let polls = self.start_poller(&events);
        let outcome = loop {
            let now = self.now();
            let next = machine.next(now);
            if let Some(outcome) = next.finish {
                break outcome;
            }
            if let Some(limit) = next.start_pre_stop {
                self.start_pre_stop(limit, &events);
            }
            if let Some(extent) = next.sample {
                self.sample(&mut machine, now, extent);
                continue;
            }
            if let Some(poll) = next.poll {
                let sent = polls.as_ref().is_some_and(|polls| polls.try_send(poll).is_ok());
                if !sent {
                    machine.on_silence(now);
                    continue;
                }
            }
            self.take_in(&mut machine, &news, next.wake_in);
        };
        self.end(&machine, outcome)
    }

    fn take_in(&mut self, machine: &mut Machine, news: &Receiver<Event>, wake_in: Duration) {
        let event = match news.recv_timeout(wake_in) {
            Ok(event) => event,
            Err(RecvTimeoutError::Timeout) => return,
            // Cannot be, as we hold a sender; if it were, this must not spin.
            Err(RecvTimeoutError::Disconnected) => return std::thread::sleep(wake_in),
        };
        let now = self.now();
        match event {
            Event::Answer { answer, message, from } => {
                self.said = message;
                self.from = from;
                machine.on_answer(now, answer);
            }
            Event::Silence(reason) => {
                self.said = reason;
                machine.on_silence(now);
            }
            Event::PreStopEnd(end) => {
                if let End::Failure(reason, code) = end {
                    // Not `eprintln`, which panics where the kubelet that listened is gone.
                    writeln!(std::io::stderr(), "lameduck-hold: {reason}").ok();
                    self.log.line(&reason);
                    self.exit = code;
                }
                machine.on_pre_stop_end(now);
            }
        }
    }

    /// A thread that asks the controllers, one question at a time.
    fn start_poller(&mut self, events: &SyncSender<Event>) -> Option<SyncSender<Poll>> {
        let mut controller = self.controller.clone()?;
        let events = events.clone();
        let (polls, questions) = sync_channel::<Poll>(1);
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(move || {
            for poll in questions {
                let event = match controller.ask(&poll) {
                    Ok((answer, message)) => {
                        Event::Answer { answer, message, from: controller.last_good() }
                    }
                    Err(error) => Event::Silence(error.to_string()),
                };
                if events.send(event).is_err() {
                    return;
                }
            }
        });
        match thread {
            Ok(_) => Some(polls),
            Err(error) => {
                self.said = format!("no thread to ask the controller: {error}");
                None
            }
        }
    }

    fn start_pre_stop(&mut self, limit: Duration, events: &SyncSender<Event>) {
        let Some(pre_stop) = self.wait.pre_stop.clone() else { return };
        self.log.line(&format!("running the container's own preStop, at most {limit:?}"));
        let identity = self.identity.as_ref().ok().cloned();
        let (resolver, sender) = (self.resolver.clone(), events.clone());
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(move || {
            let end = prestop::run(&pre_stop, identity.as_ref(), &resolver, limit);
            // The hold itself has ended if nobody listens.
            sender.send(Event::PreStopEnd(end)).ok();
        });
        if let Err(error) = thread {
            let end = End::Failure(format!("no thread to run the preStop: {error}"), 1);
            events.try_send(Event::PreStopEnd(end)).ok();
        }
    }

    fn sample(&mut self, machine: &mut Machine, now: Duration, extent: Extent) {
        if machine.counts_anew(now) {
            self.sampler.restart();
        }
        let (found, cost) = self.sampler.take(machine.waited_for_connections(now), extent);
        machine.on_sample(self.now(), found, cost);
    }

    fn end(&self, machine: &Machine, outcome: Outcome) -> ExitCode {
        let times = machine.times(self.now());
        let name = controller::outcome_name(outcome);
        let uncountable = self.sampler.uncountable().unwrap_or_default();
        let message = match (self.said.as_str(), uncountable) {
            (said, "") => said.to_owned(),
            ("", uncountable) => uncountable.to_owned(),
            (said, uncountable) => format!("{said}; {uncountable}"),
        };
        self.log.line(&format!(
            "over: {name} after {} ms for traffic, {} ms for preStop, {} ms for connections, \
             {} connections left. {message}",
            times.traffic.as_millis(),
            times.pre_stop.as_millis(),
            times.connections.as_millis(),
            times.connections_left,
        ));
        // A pod that is only restarting a container is killed by other rules.
        let sigterm_ignored = outcome != Outcome::NotTerminating && sigterm::is_ignored();
        if sigterm_ignored {
            self.log.line("process 1 has no handler for SIGTERM: it lives until it is killed");
        }
        if let (Some(controller), Some(address)) = (&self.controller, self.from)
            && let Err(error) =
                controller.report(address, outcome, &times, sigterm_ignored, &message)
        {
            self.log.line(&format!("the controller did not take the report: {error}"));
        }
        ExitCode::from(self.exit)
    }
}

/// The folder that `install` filled: where this binary is.
fn own_folder() -> Result<PathBuf, String> {
    let binary = std::env::current_exe().map_err(|error| format!("no own binary: {error}"))?;
    binary.parent().map(PathBuf::from).ok_or_else(|| "the binary is in no folder".to_owned())
}
