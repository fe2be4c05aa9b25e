//! A cluster in virtual time: the two Secrets, the hooks' caBundles, and what API servers and
//! webhook replicas that follow them with a lag may still hold.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::carry_out::{Write, carry_out};
use crate::facts::{Data, Facts, TLS_CERT, TLS_KEY};
use crate::plan::{Plan, Reason, plan};
use crate::resolver::ReloadingResolver;
use crate::settings::Settings;
use crate::x509::{Anchor, verify};

/// Two hooks, as a configuration has several.
const HOOKS: usize = 2;

/// Short lives, so that a walk of some weeks sees several rotations.
pub(super) fn settings() -> Settings {
    let settings = Settings {
        ca_life: SignedDuration::from_hours(30 * 24),
        leaf_life: SignedDuration::from_hours(9 * 24),
        settle: SignedDuration::from_hours(2),
        overlap: SignedDuration::from_hours(24),
        ..Settings::default()
    };
    assert_eq!(settings.check(), Ok(()));
    settings
}

/// A version of something, and since when it is the stored one.
#[derive(Clone)]
struct Version<T> {
    since: Timestamp,
    value: T,
}

#[derive(Clone)]
pub(super) struct World {
    pub(super) settings: Settings,
    pub(super) now: Timestamp,
    pub(super) ca: Option<Data>,
    pub(super) tls: Option<Data>,
    /// `None`: no webhook configuration.
    pub(super) bundles: Option<Vec<Vec<u8>>>,
    past_bundles: Vec<Version<Vec<Vec<u8>>>>,
    /// Serving pairs that a replica would take into use; broken ones it does not.
    past_tls: Vec<Version<Data>>,
}

impl World {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            now: "2026-01-01T00:00:00Z".parse().expect("a time"),
            ca: None,
            tls: None,
            bundles: Some(vec![Vec::new(); HOOKS]),
            past_bundles: Vec::new(),
            past_tls: Vec::new(),
        }
    }

    /// A world after its first installation, of which every follower has heard.
    pub(super) fn installed(settings: Settings) -> Self {
        let mut world = Self::new(settings);
        world.settle_down();
        world.advance(world.settings.settle + SignedDuration::from_secs(1));
        world
    }

    pub(super) fn facts(&self) -> Facts {
        Facts::read(self.ca.as_ref(), self.tls.as_ref(), self.bundles.clone(), &self.settings)
    }

    pub(super) fn plan(&self) -> Plan {
        plan(self.now, &self.facts(), &self.settings)
    }

    /// One step of a leader whose clock is off by `skew`; `None` where nothing is to be done.
    pub(super) fn step(&mut self, skew: SignedDuration) -> Option<Reason> {
        let leaders_now = self.now + skew;
        let facts = self.facts();
        let Plan { step, reason, .. } = plan(leaders_now, &facts, &self.settings);
        let ca = self.ca.clone().unwrap_or_default();
        match carry_out(leaders_now, &step?, &ca, &facts, &self.settings).expect("it is issued") {
            Write::Ca(data) => self.ca = Some(data),
            Write::Tls(data) => self.tls = Some(data),
            Write::Bundles(pem) => {
                if let Some(bundles) = &mut self.bundles {
                    bundles.fill(pem);
                }
            }
        }
        self.remember();
        Some(reason)
    }

    /// Every step that is due now, by a leader that lives on.
    pub(super) fn settle_down(&mut self) -> Vec<Reason> {
        let mut reasons = Vec::new();
        while let Some(reason) = self.step(SignedDuration::ZERO) {
            reasons.push(reason);
            assert!(reasons.len() <= 12, "it does not come to rest: {reasons:?}");
        }
        reasons
    }

    pub(super) fn advance(&mut self, by: SignedDuration) {
        self.now += by;
    }

    /// Notes what is stored now as what followers may hold from now on.
    pub(super) fn remember(&mut self) {
        if let Some(bundles) = &self.bundles
            && self.past_bundles.last().is_none_or(|last| last.value != *bundles)
        {
            self.past_bundles.push(Version { since: self.now, value: bundles.clone() });
        }
        if let Some(tls) = &self.tls
            && self.past_tls.last().is_none_or(|last| last.value != *tls)
            && let (Some(cert), Some(key)) = (tls.get(TLS_CERT), tls.get(TLS_KEY))
            && ReloadingResolver::default().offer(&cert.0, &key.0, self.now).is_ok()
        {
            self.past_tls.push(Version { since: self.now, value: tls.clone() });
        }
    }

    /// Everybody has followed; what was before is of no interest any more.
    pub(super) fn forget_the_past(&mut self) {
        self.past_bundles.clear();
        self.past_tls.clear();
        self.remember();
    }

    /// The caBundles that an API server holds which follows within `settle`.
    pub(super) fn held_bundles(&self, lag: SignedDuration) -> Vec<&[u8]> {
        held(&self.past_bundles, self.now, lag).flatten().map(Vec::as_slice).collect()
    }

    /// The pairs that a webhook replica serves which follows within `overlap`.
    pub(super) fn served_pairs(&self, lag: SignedDuration) -> Vec<&Data> {
        held(&self.past_tls, self.now, lag).collect()
    }

    /// Every pair of an API server and a replica, both with the longest lag that is allowed for.
    pub(super) fn check_handshakes(&self) -> Result<(), String> {
        self.check(self.settings.settle, self.settings.overlap)
    }

    /// The same where everybody has followed.
    pub(super) fn check_handshakes_now(&self) -> Result<(), String> {
        self.check(SignedDuration::ZERO, SignedDuration::ZERO)
    }

    fn check(&self, settle: SignedDuration, overlap: SignedDuration) -> Result<(), String> {
        for bundle in self.held_bundles(settle) {
            let anchors = Anchor::read_all(bundle);
            let anchors: Vec<_> = anchors.iter().map(|anchor| &anchor.der).collect();
            for pair in self.served_pairs(overlap) {
                let chain = [CertificateDer::from_pem_slice(&pair[TLS_CERT].0).expect("PEM")];
                verify(&chain, &anchors, &self.settings.server_names[0], self.now).map_err(
                    |error| format!("at {}: {error:?}; next: {:?}", self.now, self.plan()),
                )?;
            }
        }
        Ok(())
    }
}

/// The versions that were the stored one at some time of the last `lag`.
fn held<T>(
    versions: &[Version<T>],
    now: Timestamp,
    lag: SignedDuration,
) -> impl Iterator<Item = &T> {
    let ends = versions.iter().skip(1).map(|next| next.since).chain([Timestamp::MAX]);
    let oldest = now - lag;
    versions
        .iter()
        .zip(ends)
        .filter(move |(_, end)| oldest < *end)
        .map(|(version, _)| &version.value)
}

/// Sets one key of a Secret's data.
pub(super) fn set(data: &mut Option<Data>, key: &str, value: &[u8]) {
    data.get_or_insert_default().insert(key.to_owned(), ByteString(value.to_vec()));
}
