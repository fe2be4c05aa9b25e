//! Which steps are taken, in which order, for which reason.

use jiff::SignedDuration;

use super::world::{World, set, settings};
use crate::facts::{
    CURRENT_CERT, CURRENT_KEY, Data, NEXT_CERT, NEXT_KEY, PREVIOUS_CERTS, TLS_CA, TLS_CERT, TLS_KEY,
};
use crate::plan::Reason;
use crate::settings::Settings;

/// Everything that happens in the next `days`, an hour at a time, in order, with the hour.
fn diary(world: &mut World, days: i64) -> Vec<(i64, Reason)> {
    let mut diary = Vec::new();
    for hour in 1..=days * 24 {
        world.advance(SignedDuration::from_hours(1));
        diary.extend(world.settle_down().into_iter().map(|reason| (hour, reason)));
    }
    diary
}

fn secret(world: &World) -> &Data {
    world.ca.as_ref().expect("there is a CA")
}

/// An installation without the waits for clocks, so that the hours below are easy to follow.
fn world() -> World {
    let mut world = World::new(Settings { clock_skew: SignedDuration::ZERO, ..settings() });
    assert_eq!(
        world.settle_down(),
        [Reason::FirstCa, Reason::CaBundleOutdated, Reason::ServingCertificateMissing]
    );
    world
}

#[test]
fn a_first_installation_comes_to_rest_and_a_second_look_does_nothing() {
    let mut world = world();
    assert_eq!(world.settle_down(), []);
    assert_eq!(world.plan().reason, Reason::UpToDate);
    let tls = world.tls.as_ref().expect("there is a serving certificate");
    assert_eq!(tls[TLS_CA], secret(&world)[CURRENT_CERT]);
    let bundles = world.bundles.as_ref().expect("there is a configuration");
    assert!(bundles.iter().all(|bundle| *bundle == secret(&world)[CURRENT_CERT].0));
}

#[test]
fn the_serving_certificate_is_renewed_after_two_thirds_of_its_life() {
    let mut world = world();
    let ca = world.ca.clone();
    assert_eq!(diary(&mut world, 7), [(6 * 24, Reason::ServingCertificateRenewalDue)]);
    assert_eq!(world.ca, ca, "a renewal does not touch the CA");
}

#[test]
fn a_rotation_takes_its_steps_in_order() {
    let mut world = world();
    let first_ca = secret(&world)[CURRENT_CERT].clone();
    let renewed: Vec<_> = diary(&mut world, 19);
    assert!(renewed.iter().all(|(_, r)| *r == Reason::ServingCertificateRenewalDue));

    // Day 20 is two thirds of 30.
    let due = 24;
    assert_eq!(
        diary(&mut world, 3),
        [
            (due, Reason::CaRenewalDue),
            (due, Reason::CaBundleOutdated),
            (due, Reason::NextCaPublished),
            (due + 2, Reason::ServingCertificateMoves),
            (due + 2, Reason::NextCaPromoted),
            (due + 26, Reason::PreviousCaRemoved),
            (due + 26, Reason::CaBundleOutdated),
        ]
    );
    let ca = secret(&world);
    assert_ne!(ca[CURRENT_CERT], first_ca);
    for key in [NEXT_CERT, NEXT_KEY, PREVIOUS_CERTS] {
        assert!(!ca.contains_key(key), "{key} is left over");
    }
}

#[test]
fn a_rotation_waits_while_there_is_no_configuration_and_certificates_go_on() {
    let mut world = world();
    let bundles = world.bundles.take();
    assert_eq!(world.plan().reason, Reason::WebhookConfigurationMissing);
    let reasons: Vec<_> = diary(&mut world, 29).into_iter().map(|(_, reason)| reason).collect();
    assert!(reasons.contains(&Reason::CaRenewalDue));
    assert!(!reasons.contains(&Reason::ServingCertificateMoves), "nobody trusts the next CA yet");
    world.bundles = bundles;
    assert_eq!(world.settle_down()[..2], [Reason::CaBundleOutdated, Reason::NextCaPublished]);
}

#[test]
fn a_bundle_that_loses_the_next_ca_gets_its_time_to_settle_again() {
    let mut world = world();
    let before = world.bundles.clone();
    diary(&mut world, 20);
    assert_eq!(world.plan().reason, Reason::Settling);
    world.advance(SignedDuration::from_mins(119));
    world.bundles = before;
    assert_eq!(
        world.settle_down(),
        [Reason::NextCaUnpublished, Reason::CaBundleOutdated, Reason::NextCaPublished]
    );
    world.advance(SignedDuration::from_mins(2));
    assert_eq!(world.plan().reason, Reason::Settling);
}

#[test]
fn what_is_broken_is_replaced_with_its_reason() {
    use Reason::{CaBundleOutdated, CaUnusable, NextCaPublished, ServingCertificateUnusable};
    // The served certificate is good: a CA that cannot sign is replaced by a whole rotation.
    let gentle = vec![CaUnusable, CaBundleOutdated, NextCaPublished];
    // Without a certificate in the Secret the one that is published is kept as a previous one.
    let lost = [vec![Reason::PublishedCaKept], gentle.clone()].concat();
    let leaf = vec![ServingCertificateUnusable];
    type Break = fn(&mut World);
    let cases: [(&str, Break, Vec<Reason>, &str); 9] = [
        ("no CA Secret", |w| w.ca = None, lost.clone(), "not in its Secret"),
        (
            "CA key gone",
            |w| drop(w.ca.as_mut().unwrap().remove(CURRENT_KEY)),
            gentle.clone(),
            "key",
        ),
        (
            "CA key no PEM",
            |w| set(&mut w.ca, CURRENT_KEY, b"x"),
            gentle.clone(),
            "key cannot be read",
        ),
        (
            "CA cert no PEM",
            |w| set(&mut w.ca, CURRENT_CERT, b"x"),
            lost.clone(),
            "not in its Secret",
        ),
        (
            "a serving certificate as CA",
            |w| {
                let (cert, key) = (
                    w.tls.as_ref().unwrap()[TLS_CERT].0.clone(),
                    w.tls.as_ref().unwrap()[TLS_KEY].0.clone(),
                );
                set(&mut w.ca, CURRENT_CERT, &cert);
                set(&mut w.ca, CURRENT_KEY, &key);
            },
            lost,
            "not in its Secret",
        ),
        (
            "no serving Secret",
            |w| w.tls = None,
            vec![Reason::ServingCertificateMissing],
            "there is none",
        ),
        (
            "serving key empty",
            |w| set(&mut w.tls, TLS_KEY, b""),
            leaf.clone(),
            "tls.key cannot be read",
        ),
        (
            "serving key of another",
            |w| {
                let foreign = World::installed(settings()).tls.unwrap()[TLS_KEY].0.clone();
                set(&mut w.tls, TLS_KEY, &foreign);
            },
            leaf.clone(),
            "does not belong",
        ),
        ("foreign pair", |w| w.tls = World::installed(settings()).tls, leaf, "not of a CA of ours"),
    ];
    for (name, damage, expected, why) in cases {
        let mut world = world();
        damage(&mut world);
        let message = world.plan().message;
        assert!(message.contains(why), "{name}: {message}");
        assert_eq!(world.settle_down(), expected, "{name}");
        diary(&mut world, 2);
        assert_eq!(world.check_handshakes_now(), Ok(()), "{name}");
        assert_eq!(world.plan().reason, Reason::UpToDate, "{name}");
    }
}

#[test]
fn another_name_and_a_clock_that_was_wrong_are_noticed() {
    let mut world = world();
    world.settings.server_names.push("10.0.0.1".to_owned());
    assert!(world.plan().message.contains("not valid for 10.0.0.1"));
    assert_eq!(world.settle_down(), [Reason::ServingCertificateUnusable]);

    // Installed by a clock that is a year ahead; then it is set right.
    world.advance(SignedDuration::from_hours(-365 * 24));
    let reasons = world.settle_down();
    assert!(reasons.contains(&Reason::CaUnusable), "{reasons:?}");
    assert!(reasons.contains(&Reason::ServingCertificateUnusable), "{reasons:?}");
    world.forget_the_past();
    assert_eq!(world.check_handshakes_now(), Ok(()));
}

#[test]
fn after_a_year_without_a_controller_everything_is_made_anew() {
    let mut world = world();
    world.advance(SignedDuration::from_hours(365 * 24));
    let reasons = world.settle_down();
    assert_eq!(
        reasons,
        [Reason::CaUnusable, Reason::CaBundleOutdated, Reason::ServingCertificateUnusable]
    );
    assert_eq!(world.check_handshakes_now(), Ok(()));
}
