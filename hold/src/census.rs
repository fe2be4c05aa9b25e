//! Which connections keep a container alive. Pure.
//!
//! A connection counts once it lived through two samples, so that kubelet probes and health checks,
//! which last a millisecond, never hold a pod. The container is free when several samples running
//! found nothing that counts, and the last of them nothing at all.

use std::net::{IpAddr, SocketAddr};
use std::ops::ControlFlow;
use std::time::Duration;

/// Inbound ports of mesh sidecars that redirect the pod's traffic to themselves: Istio, Linkerd. The
/// client's connection then ends there, and the one to the application comes from the pod itself.
pub(crate) const MESH_INBOUND_PORTS: [u16; 2] = [15006, 4143];

/// How long a connection counts whose client has closed its sending side and which has nothing to
/// send: an answer may still be in the making, but applications that forget to close are common.
const HALF_CLOSED_PATIENCE: Duration = Duration::from_secs(30);

/// Samples in a row, without a connection that counts, after which the container is free.
const QUIET_SAMPLES: u32 = 3;

/// The same where every sample saw some new connection: whatever they are, they are short.
const QUIET_SAMPLES_WITH_PASSERS_BY: u32 = 10;

/// Identities that are kept between two samples. More connections than that all count: so many are no
/// probes. It is also where a sample stops that only has to tell whether any connection is left.
const MAX_REMEMBERED: usize = 512;

/// The TCP states that can hold a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Open both ways.
    Established,
    /// The client closed its sending side, the application has not closed yet.
    CloseWait,
    /// The application closed or ended; the kernel still delivers. FIN_WAIT1, CLOSING, LAST_ACK.
    Closing,
}

/// One TCP connection of the pod.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Connection {
    /// The same in every sample of the same connection, another one for every other connection.
    pub(crate) id: u64,
    /// The pod's end.
    pub(crate) local: SocketAddr,
    /// The other end.
    pub(crate) peer: SocketAddr,
    /// State.
    pub(crate) state: State,
    /// Sequence numbers that the peer has not acknowledged: bytes, and one for a FIN.
    pub(crate) unacknowledged: u32,
    /// Time since the last byte either way, where it is known.
    pub(crate) idle: Option<Duration>,
}

/// What counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rule {
    /// Connections that were silent for so long do not count.
    pub(crate) idle_limit: Option<Duration>,
    /// For how long the hold has been waiting for connections by now.
    pub(crate) waited: Duration,
}

/// Whether the connection is one for which the pod has to live on.
pub(crate) fn holds(connection: &Connection, rule: &Rule) -> bool {
    let Connection { local, peer, state, unacknowledged, idle, .. } = *connection;
    if is_own(local.ip(), peer.ip()) {
        return false;
    }
    let in_use = match state {
        State::Established => true,
        State::CloseWait => unacknowledged > 0 || rule.waited < HALF_CLOSED_PATIENCE,
        // The FIN itself takes one sequence number.
        State::Closing => unacknowledged > 1,
    };
    let idle = match (rule.idle_limit, idle) {
        (Some(limit), Some(idle)) => idle >= limit && unacknowledged == 0,
        _ => false,
    };
    in_use && !idle
}

/// The pod talking to itself: over loopback, or over its own address.
fn is_own(local: IpAddr, peer: IpAddr) -> bool {
    let peer = peer.to_canonical();
    peer.is_loopback() || peer == local.to_canonical()
}

/// How much of the connections a sample goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// All of them, so that their number is known.
    All,
    /// As many as it takes to know that the pod is held. The number is that of the sample before.
    Enough,
}

/// What one sample found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sample {
    /// Connections that hold the pod, if they last.
    pub(crate) seen: u64,
    /// Those of them that were there in the sample before, too.
    pub(crate) lasting: u64,
}

/// The samples of one hold.
#[derive(Debug)]
pub(crate) struct Census {
    /// Sorted, so that memory stays small and a look-up cheap.
    previous: Vec<u64>,
    current: Vec<u64>,
    extent: Extent,
    seen: u64,
    seen_before: u64,
    quiet: u32,
}

impl Default for Census {
    fn default() -> Self {
        Self {
            previous: Vec::new(),
            current: Vec::new(),
            extent: Extent::All,
            seen: 0,
            seen_before: 0,
            quiet: 0,
        }
    }
}

impl Census {
    /// Starts a sample.
    pub(crate) fn begin(&mut self, extent: Extent) {
        self.current.clear();
        self.extent = extent;
        self.seen = 0;
    }

    /// Adds a connection to the sample. Breaks where the sample needs no more.
    pub(crate) fn add(&mut self, connection: &Connection, rule: &Rule) -> ControlFlow<()> {
        if !holds(connection, rule) {
            return ControlFlow::Continue(());
        }
        self.seen += 1;
        if self.current.len() < MAX_REMEMBERED {
            self.current.push(connection.id);
        } else if self.extent == Extent::Enough {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    /// Ends a sample that was read to its end, or until it broke.
    pub(crate) fn end(&mut self) -> Sample {
        self.current.sort_unstable();
        let known =
            self.current.iter().filter(|id| self.previous.binary_search(id).is_ok()).count();
        let not_remembered = self.seen.saturating_sub(self.current.len() as u64);
        if self.extent == Extent::Enough && not_remembered > 0 {
            self.seen = self.seen.max(self.seen_before);
        }
        self.seen_before = self.seen;
        let sample = Sample { seen: self.seen, lasting: known as u64 + not_remembered };
        std::mem::swap(&mut self.previous, &mut self.current);
        self.quiet = if sample.lasting == 0 { self.quiet.saturating_add(1) } else { 0 };
        sample
    }

    /// Ends a sample without a look at all connections, because one of those that held the pod before
    /// still does.
    pub(crate) fn end_unchanged(&mut self) -> Sample {
        self.quiet = 0;
        Sample { seen: self.seen_before.max(1), lasting: 1 }
    }

    /// Forgets how many quiet samples there were: from now on they count anew.
    pub(crate) fn restart(&mut self) {
        self.quiet = 0;
    }

    /// Whether nothing holds the pod any more, after `last`.
    pub(crate) fn is_over(&self, last: Sample) -> bool {
        let needed = if last.seen == 0 { QUIET_SAMPLES } else { QUIET_SAMPLES_WITH_PASSERS_BY };
        self.quiet >= needed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Rule = Rule { idle_limit: None, waited: Duration::ZERO };

    fn connection(id: u64) -> Connection {
        Connection {
            id,
            local: SocketAddr::from(([10, 0, 0, 1], 8080)),
            peer: SocketAddr::from(([10, 0, 0, 2], 40_000)),
            state: State::Established,
            unacknowledged: 0,
            idle: None,
        }
    }

    fn from(peer: &str) -> Connection {
        Connection { peer: peer.parse().expect("an address"), ..connection(1) }
    }

    #[test]
    fn the_pods_own_connections_never_hold_it() {
        for peer in ["127.0.0.1:1", "127.0.0.6:1", "[::1]:1", "[::ffff:127.0.0.1]:1", "10.0.0.1:1"]
        {
            assert!(!holds(&from(peer), &RULE), "{peer}");
        }
        for peer in ["10.0.0.2:1", "[::ffff:10.0.0.2]:1", "[fd00::2]:1"] {
            assert!(holds(&from(peer), &RULE), "{peer}");
        }
    }

    #[test]
    fn half_closed_connections_hold_while_data_is_under_way() {
        let with = |state, unacknowledged| Connection { state, unacknowledged, ..connection(1) };
        let late = Rule { waited: HALF_CLOSED_PATIENCE, ..RULE };
        assert!(holds(&with(State::CloseWait, 5), &late));
        assert!(!holds(&with(State::CloseWait, 0), &late));
        assert!(holds(&with(State::CloseWait, 0), &RULE), "an answer may be in the making");
        assert!(holds(&with(State::Closing, 2), &late));
        assert!(!holds(&with(State::Closing, 1), &late), "only the FIN is left");
    }

    #[test]
    fn idle_connections_do_not_hold_where_the_policy_says_so() {
        let with = |idle, unacknowledged| Connection {
            idle: Some(Duration::from_secs(idle)),
            unacknowledged,
            ..connection(1)
        };
        let rule = Rule { idle_limit: Some(Duration::from_secs(60)), ..RULE };
        assert!(holds(&with(59, 0), &rule));
        assert!(!holds(&with(60, 0), &rule));
        assert!(holds(&with(60, 1), &rule), "bytes on their way are no silence");
        assert!(holds(&with(600, 0), &RULE));
        assert!(holds(&connection(1), &rule), "unknown is not idle");
    }

    fn sample(census: &mut Census, ids: &[u64]) -> (Sample, bool) {
        census.begin(Extent::All);
        for id in ids {
            assert!(census.add(&connection(*id), &RULE).is_continue());
        }
        let sample = census.end();
        (sample, census.is_over(sample))
    }

    #[test]
    fn over_after_quiet_samples_and_an_empty_last_one() {
        let mut census = Census::default();
        assert_eq!(sample(&mut census, &[7]), (Sample { seen: 1, lasting: 0 }, false));
        assert_eq!(sample(&mut census, &[9, 7]), (Sample { seen: 2, lasting: 1 }, false));
        for _ in 1..QUIET_SAMPLES {
            assert!(!sample(&mut census, &[]).1);
        }
        // A newcomer in the last sample may be a client: it is looked at once more.
        assert_eq!(sample(&mut census, &[3]), (Sample { seen: 1, lasting: 0 }, false));
        assert!(sample(&mut census, &[]).1);
    }

    #[test]
    fn passers_by_delay_the_end_but_not_for_ever() {
        let mut census = Census::default();
        let over =
            (0..QUIET_SAMPLES_WITH_PASSERS_BY as u64).position(|id| sample(&mut census, &[id]).1);
        assert_eq!(over, Some(QUIET_SAMPLES_WITH_PASSERS_BY as usize - 1));
    }

    #[test]
    fn more_than_can_be_remembered_all_count() {
        let mut census = Census::default();
        let ids: Vec<u64> = (0..MAX_REMEMBERED as u64 + 10).collect();
        assert_eq!(sample(&mut census, &ids).0.lasting, 10);
        assert_eq!(sample(&mut census, &ids).0.lasting, ids.len() as u64);

        // One that only has to tell whether any is left stops early, and keeps the number.
        census.begin(Extent::Enough);
        let taken = ids.iter().take_while(|id| census.add(&connection(**id), &RULE).is_continue());
        assert_eq!(taken.count(), MAX_REMEMBERED);
        let sample = census.end();
        assert!(sample.lasting > 0 && !census.is_over(sample));
        assert_eq!(sample.seen, ids.len() as u64);
    }
}
