//! Random walks through weeks: leaders that are killed after any write, clocks that are off, Secrets
//! that are deleted or broken.

use jiff::SignedDuration;
use proptest::prelude::*;

use super::world::{World, set, settings};
use crate::facts::{
    CURRENT_CERT, CURRENT_KEY, NEXT_CERT, NEXT_KEY, PREVIOUS_CERTS, TLS_CERT, TLS_KEY,
};
use crate::plan::Reason;

/// What people and accidents do to the Secrets.
#[derive(Clone, Copy, Debug)]
enum Damage {
    None,
    CaDeleted,
    CaKeyBroken,
    CaCertBroken,
    NextBroken,
    NextKeyForeign,
    TimesBroken,
    TlsDeleted,
    TlsKeyBroken,
    TlsCertBroken,
}

impl Damage {
    const ALL: [Self; 10] = [
        Self::None,
        Self::CaDeleted,
        Self::CaKeyBroken,
        Self::CaCertBroken,
        Self::NextBroken,
        Self::NextKeyForeign,
        Self::TimesBroken,
        Self::TlsDeleted,
        Self::TlsKeyBroken,
        Self::TlsCertBroken,
    ];

    fn does(self, world: &mut World) {
        let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        match self {
            Self::None => {}
            Self::CaDeleted => world.ca = None,
            Self::CaKeyBroken => set(&mut world.ca, CURRENT_KEY, b"no key"),
            Self::CaCertBroken => set(&mut world.ca, CURRENT_CERT, broken),
            Self::NextBroken => set(&mut world.ca, NEXT_CERT, broken),
            Self::NextKeyForeign => {
                let current = world.ca.as_ref().and_then(|ca| ca.get(CURRENT_KEY)).cloned();
                set(&mut world.ca, NEXT_KEY, &current.map(|key| key.0).unwrap_or_default());
            }
            Self::TimesBroken => {
                set(&mut world.ca, "next-published-at", b"yesterday");
                set(&mut world.ca, "previous-since", b"\xff\xfe");
            }
            Self::TlsDeleted => world.tls = None,
            Self::TlsKeyBroken => set(&mut world.tls, TLS_KEY, b""),
            Self::TlsCertBroken => set(&mut world.tls, TLS_CERT, broken),
        }
        world.remember();
    }
}

#[derive(Clone, Debug)]
struct Round {
    /// Time without a leader.
    away_minutes: i64,
    /// The writes that the leader gets done before it is killed.
    writes: usize,
    /// How far its clock is off. Two leaders differ by less than `clock_skew`.
    skew_minutes: i64,
}

fn round() -> impl Strategy<Value = Round> {
    (1..12 * 60_i64, 1..4_usize, -20..20_i64).prop_map(|(away_minutes, writes, skew_minutes)| {
        Round { away_minutes, writes, skew_minutes }
    })
}

fn damage() -> impl Strategy<Value = Damage> {
    prop::sample::select(&Damage::ALL)
}

fn play(world: &mut World, round: &Round) -> Result<Vec<Reason>, String> {
    world.advance(SignedDuration::from_mins(round.away_minutes));
    world.check_handshakes()?;
    let mut reasons = Vec::new();
    for _ in 0..round.writes {
        let Some(reason) = world.step(SignedDuration::from_mins(round.skew_minutes)) else { break };
        reasons.push(reason);
        world.check_handshakes()?;
    }
    Ok(reasons)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, max_shrink_iters: 40, ..ProptestConfig::default() })]

    /// Ten weeks and three rotations: no handshake fails, whoever dies when.
    #[test]
    fn no_handshake_fails_across_rotations(rounds in prop::collection::vec(round(), 280)) {
        let mut world = World::installed(settings());
        let mut promoted = 0;
        for round in &rounds {
            let reasons = play(&mut world, round).map_err(TestCaseError::fail)?;
            promoted += reasons.iter().filter(|reason| **reason == Reason::NextCaPromoted).count();
        }
        prop_assert!(promoted >= 2, "the walk saw only {promoted} rotations");
    }

    /// One accident at any point of a rotation, with a lagging cluster: still no handshake fails,
    /// and everything comes to rest again.
    #[test]
    fn no_handshake_fails_after_one_accident(
        before in prop::collection::vec(round(), 0..120),
        damage in damage(),
        after in prop::collection::vec(round(), 20),
    ) {
        let mut world = World::installed(settings());
        for round in &before {
            play(&mut world, round).map_err(TestCaseError::fail)?;
        }
        damage.does(&mut world);
        for round in &after {
            play(&mut world, round)
                .map_err(|error| TestCaseError::fail(format!("after {damage:?}: {error}")))?;
        }
        world.settle_down();
    }

    /// Any content at all, everywhere: no panic, and a cluster that works in the end.
    #[test]
    fn any_content_is_mended(
        contents in prop::collection::vec((0..8_usize, prop::collection::vec(any::<u8>(), 0..40)), 1..6),
        damages in prop::collection::vec(damage(), 0..4),
    ) {
        let mut world = World::installed(settings());
        let keys = [CURRENT_CERT, CURRENT_KEY, NEXT_CERT, NEXT_KEY, PREVIOUS_CERTS, TLS_CERT, TLS_KEY];
        for damage in damages {
            damage.does(&mut world);
        }
        for (index, content) in &contents {
            match keys.get(*index) {
                Some(key @ (&TLS_CERT | &TLS_KEY)) => set(&mut world.tls, key, content),
                Some(key) => set(&mut world.ca, key, content),
                None => world.bundles = Some(vec![content.clone(); 3]),
            }
        }
        world.settle_down();
        world.advance(world.settings.settle + world.settings.clock_skew);
        world.settle_down();
        world.advance(world.settings.overlap + world.settings.clock_skew);
        world.settle_down();
        prop_assert_eq!(world.check_handshakes_now(), Ok(()));
    }
}

/// Every accident, after every single write of a rotation, with followers that lag: no handshake fails.
#[test]
fn no_handshake_fails_after_any_accident_within_a_rotation() {
    let mut world = World::installed(settings());
    // Two thirds of the CA's life, less a renewal or two.
    for _ in 0..19 * 4 {
        world.advance(SignedDuration::from_hours(6));
        world.settle_down();
    }
    let mut stages = 0;
    let mut seen = Vec::new();
    while !seen.contains(&Reason::PreviousCaRemoved) {
        world.advance(SignedDuration::from_mins(30));
        while let Some(reason) = world.step(SignedDuration::ZERO) {
            seen.push(reason);
            stages += 1;
            for damage in Damage::ALL {
                let mut world = world.clone();
                damage.does(&mut world);
                for hours in [0, 0, 0, 0, 1, 1, 1, 1, 1, 6, 6, 6, 6, 6, 12, 12] {
                    world.advance(SignedDuration::from_hours(hours));
                    let before = world.check_handshakes();
                    assert_eq!(before, Ok(()), "{damage:?} after {seen:?}");
                    world.settle_down();
                    assert_eq!(world.check_handshakes(), Ok(()), "{damage:?} after {seen:?}");
                }
            }
        }
    }
    assert!(stages >= 6, "{seen:?}");
}

/// The walks can fail: without a wait, a follower with a lag refuses the handshake.
#[test]
fn a_rotation_without_its_waits_fails_handshakes() {
    for (settle, overlap) in [(0, 24), (2, 0)] {
        let honest = settings();
        let mut world = World::installed(honest.clone());
        world.settings.settle = SignedDuration::from_hours(settle);
        world.settings.overlap = SignedDuration::from_hours(overlap);
        world.settings.clock_skew = SignedDuration::ZERO;
        let mut failed = false;
        for _ in 0..30 * 24 {
            world.advance(SignedDuration::from_hours(1));
            while world.step(SignedDuration::ZERO).is_some() {
                let hasty = std::mem::replace(&mut world.settings, honest.clone());
                failed |= world.check_handshakes().is_err();
                world.settings = hasty;
            }
        }
        assert!(failed, "settle {settle} h and overlap {overlap} h must not be enough");
    }
}
