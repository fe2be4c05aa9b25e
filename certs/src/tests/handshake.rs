//! Real TLS across a whole rotation: rustls as the webhook with its resolver, rustls as API servers
//! with every caBundle that one of them may still hold. Time is virtual, handshakes are real.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use rustls_pki_types::{ServerName, UnixTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::world::{World, set, settings};
use crate::facts::{Data, TLS_CERT, TLS_KEY};
use crate::plan::Reason;
use crate::resolver::{PairError, ReloadingResolver, server_config};
use crate::x509::Anchor;

#[derive(Debug)]
struct At(Timestamp);

impl TimeProvider for At {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.0.as_second()).ok()?;
        Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds)))
    }
}

/// One handshake, and a byte each way through it.
async fn handshake(
    acceptor: &TlsAcceptor,
    bundle: &[u8],
    name: &str,
    now: Timestamp,
    version: &'static SupportedProtocolVersion,
) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    for anchor in Anchor::read_all(bundle) {
        roots.add(anchor.der).map_err(|error| error.to_string())?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = ClientConfig::builder_with_details(provider, Arc::new(At(now)))
        .with_protocol_versions(&[version])
        .expect("the version is supported")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).expect("a server name");
    let (near, far) = tokio::io::duplex(16 * 1024);
    let server = async {
        let mut stream = acceptor.accept(far).await?;
        let mut byte = [0];
        stream.read_exact(&mut byte).await?;
        stream.write_all(&byte).await?;
        stream.shutdown().await
    };
    let client = async {
        let mut stream = TlsConnector::from(Arc::new(client)).connect(name, near).await?;
        stream.write_all(b"?").await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        assert_eq!(answer, b"?");
        Ok::<_, std::io::Error>(())
    };
    let (_, client) = tokio::join!(server, client);
    client.map_err(|error| error.to_string())
}

/// A webhook replica that has loaded `pair`.
fn replica(pair: &Data, now: Timestamp) -> (Arc<ReloadingResolver>, TlsAcceptor) {
    let resolver = ReloadingResolver::new();
    resolver.offer(&pair[TLS_CERT].0, &pair[TLS_KEY].0, now).expect("the pair is good");
    let config = server_config(Arc::clone(&resolver)).expect("the provider knows TLS");
    (resolver, TlsAcceptor::from(Arc::new(config)))
}

/// Every API server with every replica, however late they follow. Returns how many handshakes.
async fn everybody_calls(world: &World) -> usize {
    let mut count = 0;
    for pair in world.served_pairs(world.settings.overlap) {
        let (_, acceptor) = replica(pair, world.now);
        for bundle in world.held_bundles(world.settings.settle) {
            for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
                let name = &world.settings.server_names[0];
                let outcome = handshake(&acceptor, bundle, name, world.now, version).await;
                assert_eq!(outcome, Ok(()), "at {}: {:?}", world.now, world.plan());
                count += 1;
            }
        }
    }
    count
}

#[tokio::test]
async fn no_handshake_fails_across_two_rotations() {
    let mut world = World::installed(settings());
    let (resolver, acceptor) = replica(world.tls.as_ref().expect("a pair"), world.now);
    let mut handshakes = 0;
    let mut promoted = 0;
    for _ in 0..45 * 8 {
        world.advance(SignedDuration::from_hours(3));
        handshakes += everybody_calls(&world).await;
        while let Some(reason) = world.step(SignedDuration::ZERO) {
            promoted += usize::from(reason == Reason::NextCaPromoted);
            handshakes += everybody_calls(&world).await;
        }
        // One replica lives through all of it, and follows at once.
        let pair = world.tls.as_ref().expect("a pair");
        resolver.offer(&pair[TLS_CERT].0, &pair[TLS_KEY].0, world.now).expect("the pair is good");
        let bundle = world.held_bundles(SignedDuration::ZERO)[0];
        let name = &world.settings.server_names[0];
        let outcome = handshake(&acceptor, bundle, name, world.now, &rustls::version::TLS13).await;
        assert_eq!(outcome, Ok(()));
    }
    assert_eq!(promoted, 2);
    assert!(handshakes > 700, "only {handshakes} handshakes");
    // Every six days a renewal, unless a rotation came first.
    let loads = resolver.serving().loads;
    assert!((7..=10).contains(&loads), "{loads} certificates in 45 days");
}

#[tokio::test]
async fn a_foreign_ca_and_a_foreign_name_are_refused() {
    let world = World::installed(settings());
    let foreign = World::installed(settings());
    let (_, acceptor) = replica(world.tls.as_ref().expect("a pair"), world.now);
    let own = world.held_bundles(SignedDuration::ZERO)[0];
    let other = foreign.held_bundles(SignedDuration::ZERO)[0];
    let version = &rustls::version::TLS13;
    let name = &world.settings.server_names[0];
    assert_eq!(handshake(&acceptor, own, name, world.now, version).await, Ok(()));
    let refused = handshake(&acceptor, other, name, world.now, version).await.unwrap_err();
    assert!(refused.contains("UnknownIssuer"), "{refused}");
    let refused =
        handshake(&acceptor, own, "kubernetes.default.svc", world.now, version).await.unwrap_err();
    assert!(refused.contains("not valid for name"), "{refused}");
}

#[tokio::test]
async fn the_last_good_pair_is_served_whatever_happens_to_the_secret() {
    let world = World::installed(settings());
    let other = World::installed(settings());
    let now = world.now;
    let good = world.tls.clone().expect("a pair");
    let (resolver, acceptor) = replica(&good, now);
    let (cert, key) = (&good[TLS_CERT].0, &good[TLS_KEY].0);
    let foreign_key = &other.tls.as_ref().expect("a pair")[TLS_KEY].0;

    let late = now + SignedDuration::from_hours(9 * 24);
    type Want = fn(&PairError) -> bool;
    let bad: [(&[u8], &[u8], Timestamp, Want); 6] = [
        (b"", key, now, |e| matches!(e, PairError::Missing(TLS_CERT))),
        (cert, b"", now, |e| matches!(e, PairError::Missing(TLS_KEY))),
        (b"no PEM", key, now, |e| matches!(e, PairError::Missing(TLS_CERT))),
        (cert, b"no PEM", now, |e| matches!(e, PairError::Key(_))),
        (cert, foreign_key, now, |e| matches!(e, PairError::Mismatch(_))),
        (cert, key, late, |e| matches!(e, PairError::Expired(_))),
    ];
    for (cert, key, now, want) in bad {
        let error = resolver.offer(cert, key, now).unwrap_err();
        assert!(want(&error), "{error:?}");
        assert_eq!(resolver.serving().problem, Some(error.to_string()));
    }
    resolver.gone();
    let serving = resolver.serving();
    assert_eq!(serving.loads, 1);
    assert!(serving.problem.is_some_and(|problem| problem.contains("does not exist")));
    assert!(resolver.is_ready(now));
    assert!(!resolver.is_ready(late), "an ended certificate is not ready");

    let bundle = world.held_bundles(SignedDuration::ZERO)[0];
    let name = &world.settings.server_names[0];
    let outcome = handshake(&acceptor, bundle, name, now, &rustls::version::TLS13).await;
    assert_eq!(outcome, Ok(()));

    // The same pair again is no new load, and the problem is gone.
    assert_eq!(resolver.offer(cert, key, now).ok(), Some(false));
    assert_eq!(resolver.serving().problem, None);
}

#[tokio::test]
async fn without_a_pair_a_handshake_fails_and_says_so() {
    let mut world = World::installed(settings());
    let resolver = ReloadingResolver::new();
    assert!(!resolver.is_ready(world.now));
    let config = server_config(resolver).expect("the provider knows TLS");
    set(&mut world.tls, TLS_KEY, b"");
    let bundle = world.held_bundles(SignedDuration::ZERO)[0];
    let name = &world.settings.server_names[0];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let outcome = handshake(&acceptor, bundle, name, world.now, &rustls::version::TLS13).await;
    assert!(outcome.is_err());
}
