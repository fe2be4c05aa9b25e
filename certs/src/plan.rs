//! What to do next about the certificates: facts and the time in, one step and its reason out.
//!
//! One step at a time, each of them one write, so that a controller that dies between any two lines
//! leaves a state from which the next one goes on. The order that keeps every handshake working:
//!
//! ```text
//! due -> next CA made -> next CA in every caBundle -> settle -> serving certificate of the next CA
//!     -> next becomes current, current becomes previous -> overlap -> previous leaves every caBundle
//! ```

use jiff::{SignedDuration, Timestamp};

use crate::facts::{Ca, Facts, Slot};
use crate::settings::Settings;
use crate::x509::Anchor;

/// Most CA certificates that are kept for trust alone. Two rotations that overlap leave two; the
/// rest is room for rotations that were forced by hand.
const MAX_PREVIOUS: usize = 4;

/// Why a step is taken, or why none is. The names are stable: they are Event reasons too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// There is no CA at all.
    FirstCa,
    /// The CA that should sign cannot: its certificate or key is gone, broken or ended.
    CaUnusable,
    /// Two thirds of the CA's life are over.
    CaRenewalDue,
    /// The CA that should follow is broken or ended, and is dropped.
    NextCaUnusable,
    /// Every `caBundle` has the next CA: its time to settle begins.
    NextCaPublished,
    /// The next CA has left a `caBundle`: its time to settle has to begin again.
    NextCaUnpublished,
    /// The serving certificate is of the next CA, which now signs.
    NextCaPromoted,
    /// A `caBundle` is not what it should be.
    CaBundleOutdated,
    /// There is no serving certificate.
    ServingCertificateMissing,
    /// The serving certificate is broken, ended, foreign, or not valid for a wanted name.
    ServingCertificateUnusable,
    /// Two thirds of the serving certificate's life are over.
    ServingCertificateRenewalDue,
    /// The next CA is trusted everywhere: the serving certificate moves to it.
    ServingCertificateMoves,
    /// A CA was lost from its Secret, but is published: it stays trusted for the overlap.
    PublishedCaKept,
    /// A CA that no longer signs begins its overlap.
    PreviousCaRetired,
    /// The overlap of the CAs that no longer sign is over, or they have ended.
    PreviousCaRemoved,
    /// Nothing to do: waiting for a renewal that is not due, or for an overlap.
    UpToDate,
    /// Nothing to do yet: API servers get time to see the next CA.
    Settling,
    /// There is no webhook configuration to publish the CA in.
    WebhookConfigurationMissing,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The variants' names are the stable words.
        std::fmt::Debug::fmt(self, f)
    }
}

/// Who signs a serving certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signer {
    Current,
    Next,
}

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A new CA, as the next one, or as the current one where nothing that is served can suffer.
    IssueCa { role: Signer, previous: Vec<Anchor> },
    /// The next CA becomes the current one.
    Promote { previous: Vec<Anchor> },
    /// The next CA goes.
    DropNext { previous: Vec<Anchor> },
    /// Remember since when every `caBundle` has the next CA, or that not every one has.
    SetPublished(Option<Timestamp>),
    /// The CAs that are kept for trust alone, and since when.
    SetPrevious { previous: Vec<Anchor>, since: Timestamp },
    /// A new serving certificate.
    IssueLeaf(Signer),
    /// Every `caBundle` becomes exactly this.
    Publish(Vec<Anchor>),
}

/// The next step, or when to look again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// `None`: nothing to do now.
    pub(crate) step: Option<Step>,
    pub(crate) reason: Reason,
    /// For a person: what, why, and what comes next.
    pub(crate) message: String,
    /// The first moment at which the answer can be another one, all else unchanged.
    pub(crate) due_at: Timestamp,
}

/// Decides the next step at `now`.
pub(crate) fn plan(now: Timestamp, facts: &Facts, settings: &Settings) -> Plan {
    let act =
        |step, reason, message: String| Plan { step: Some(step), reason, message, due_at: now };
    let current_problem = problem(&facts.current, now);
    let has_next = !matches!(facts.next, Slot::Missing);

    if let Some(previous) = lost_but_published(facts, now) {
        let step = Step::SetPrevious { previous, since: now };
        let message = "a CA that API servers trust is not in its Secret any more; \
                       it stays trusted for the overlap, for what may hang on it";
        return act(step, Reason::PublishedCaKept, message.to_owned());
    }
    if has_next && let Some(why) = problem(&facts.next, now) {
        // Its certificate may be the one that the served certificate hangs on.
        let previous = retire(facts, now, facts.next.present());
        let message = format!("the next CA is dropped, and a new one will be made: {why}");
        return act(Step::DropNext { previous }, Reason::NextCaUnusable, message);
    }
    if let Some(why) = &current_problem
        && !has_next
    {
        return issue_ca(now, facts, why);
    }

    let trusted = trusted(facts, now);
    if let Some(bundles) = &facts.bundles
        && bundles.iter().any(|bundle| !same_set(bundle, &trusted))
    {
        let next = facts.next.present().map(|ca| &ca.anchor);
        let lost = next.is_some_and(|next| bundles.iter().any(|bundle| !bundle.contains(next)));
        if lost && facts.next_published_at.is_some() {
            let message = "the next CA is not in every caBundle any more: \
                           it is published again, and gets its time to settle again";
            return act(Step::SetPublished(None), Reason::NextCaUnpublished, message.to_owned());
        }
        let message = format!(
            "the caBundle of every hook becomes {} CA certificate(s): \
             at least one hook had another content",
            trusted.len()
        );
        return act(Step::Publish(trusted), Reason::CaBundleOutdated, message);
    }

    let leaf = match usable_leaf(facts, now, &trusted) {
        Ok(leaf) => leaf,
        Err((reason, why)) => {
            let signer = if current_problem.is_none() { Signer::Current } else { Signer::Next };
            let message = format!("a new serving certificate is issued: {why}");
            return act(Step::IssueLeaf(signer), reason, message);
        }
    };
    let next = facts.next.present().map(|ca| &ca.anchor);
    if next.is_some() && leaf.issuer.as_ref() == next {
        let previous = retire(facts, now, facts.current.present());
        let message = "the serving certificate is of the next CA, which becomes the current one; \
                       the old one stays trusted for the overlap";
        return act(Step::Promote { previous }, Reason::NextCaPromoted, message.to_owned());
    }

    let mut due_at = leaf.validity.renew_at();
    if let Some(plan) = look_at_previous(now, facts, settings, leaf.issuer.as_ref(), &mut due_at) {
        return plan;
    }
    if has_next {
        return look_at_next(now, facts, settings, due_at);
    }
    if due_at <= now {
        let message = format!(
            "a new serving certificate is issued: two thirds of the life of the one that ends at {} are over",
            leaf.validity.not_after
        );
        return act(
            Step::IssueLeaf(Signer::Current),
            Reason::ServingCertificateRenewalDue,
            message,
        );
    }
    if let Some(current) = facts.current.present() {
        let renew_at = current.anchor.validity.renew_at();
        if renew_at <= now {
            let step = Step::IssueCa { role: Signer::Next, previous: facts.previous.clone() };
            let message = format!(
                "a new CA is made: two thirds of the life of the one that ends at {} are over",
                current.anchor.validity.not_after
            );
            return act(step, Reason::CaRenewalDue, message);
        }
        due_at = due_at.min(renew_at);
    }
    let (reason, message) = if facts.bundles.is_none() {
        (
            Reason::WebhookConfigurationMissing,
            "certificates are good, but there is no webhook configuration to publish the CA in; \
             looking again soon"
                .to_owned(),
        )
    } else {
        (Reason::UpToDate, format!("nothing to do before {due_at}"))
    };
    Plan { step: None, reason, message, due_at }
}

/// A new CA where there is none that can sign. While the served certificate is good it comes in as
/// the next CA, with all the waits of a rotation; else at once.
fn issue_ca(now: Timestamp, facts: &Facts, why: &str) -> Plan {
    let previous = retire(facts, now, facts.current.present());
    let served = usable_leaf(facts, now, &previous).is_ok();
    let role = if served { Signer::Next } else { Signer::Current };
    let first = matches!(facts.current, Slot::Missing) && previous.is_empty();
    let (reason, message) = if first {
        (Reason::FirstCa, "a CA is made: there is none".to_owned())
    } else {
        (Reason::CaUnusable, format!("a new CA is made: the current one cannot sign: {why}"))
    };
    Plan { step: Some(Step::IssueCa { role, previous }), reason, message, due_at: now }
}

/// The overlap of those CAs that no longer sign.
fn look_at_previous(
    now: Timestamp,
    facts: &Facts,
    settings: &Settings,
    leaf_issuer: Option<&Anchor>,
    due_at: &mut Timestamp,
) -> Option<Plan> {
    if facts.previous.is_empty() {
        return None;
    }
    let set = |previous, since, reason, message: &str| {
        let step = Step::SetPrevious { previous, since };
        Some(Plan { step: Some(step), reason, message: message.to_owned(), due_at: now })
    };
    // A time from the future was written by a clock that went wrong: the overlap begins again.
    let since = facts.previous_since.filter(|since| *since <= later(now, settings.clock_skew));
    let Some(since) = since else {
        let message = "a CA that no longer signs stays trusted for the overlap, which begins now";
        return set(facts.previous.clone(), now, Reason::PreviousCaRetired, message);
    };
    let mut rest = facts.previous.clone();
    rest.retain(|anchor| !anchor.has_ended(now));
    let over_at = later(since, settings.overlap.saturating_add(settings.clock_skew));
    if over_at <= now {
        rest.retain(|anchor| Some(anchor) == leaf_issuer);
    } else {
        *due_at = (*due_at).min(over_at);
    }
    if rest.len() == facts.previous.len() {
        return None;
    }
    let message = "a CA that no longer signs leaves every caBundle: \
                   it has ended, or its overlap is over";
    set(rest, since, Reason::PreviousCaRemoved, message)
}

/// The way of the next CA into every `caBundle`, and of the serving certificate to it.
fn look_at_next(now: Timestamp, facts: &Facts, settings: &Settings, due_at: Timestamp) -> Plan {
    if facts.bundles.is_none() {
        let message = "the next CA waits: there is no webhook configuration to publish it in";
        let reason = Reason::WebhookConfigurationMissing;
        return Plan { step: None, reason, message: message.to_owned(), due_at };
    }
    let published = facts.next_published_at.filter(|at| *at <= later(now, settings.clock_skew));
    let Some(published) = published else {
        return Plan {
            step: Some(Step::SetPublished(Some(now))),
            reason: Reason::NextCaPublished,
            message: format!(
                "every caBundle has the next CA; its certificate is served in {:#}",
                settings.settle.saturating_add(settings.clock_skew)
            ),
            due_at: now,
        };
    };
    let settled_at = later(published, settings.settle.saturating_add(settings.clock_skew));
    if settled_at <= now {
        return Plan {
            step: Some(Step::IssueLeaf(Signer::Next)),
            reason: Reason::ServingCertificateMoves,
            message: "a new serving certificate is issued by the next CA, \
                      which every API server had time to see"
                .to_owned(),
            due_at: now,
        };
    }
    Plan {
        step: None,
        reason: Reason::Settling,
        message: format!("the next CA is published; its certificate is served from {settled_at}"),
        due_at: due_at.min(settled_at).max(now),
    }
}

/// Why this CA cannot sign at `now`; `None` where it can.
fn problem(slot: &Slot<Ca>, now: Timestamp) -> Option<String> {
    match slot {
        Slot::Missing => Some("there is none".to_owned()),
        Slot::Broken(why) => Some(why.clone()),
        Slot::Present(ca) => {
            let validity = ca.anchor.validity;
            if validity.not_after <= now {
                Some(format!("it ended at {}", validity.not_after))
            } else if now < validity.not_before {
                Some(format!("it is not valid before {}", validity.not_before))
            } else {
                ca.key.as_ref().err().cloned()
            }
        }
    }
}

/// The serving certificate, where it is one that an API server with `trusted` accepts.
fn usable_leaf<'a>(
    facts: &'a Facts,
    now: Timestamp,
    trusted: &[Anchor],
) -> Result<&'a crate::facts::Leaf, (Reason, String)> {
    let unusable = |why| Err((Reason::ServingCertificateUnusable, why));
    let leaf = match &facts.leaf {
        Slot::Missing => {
            return Err((Reason::ServingCertificateMissing, "there is none".to_owned()));
        }
        Slot::Broken(why) => return unusable(why.clone()),
        Slot::Present(leaf) => leaf,
    };
    let validity = leaf.validity;
    if validity.not_after <= now {
        return unusable(format!("the present one ended at {}", validity.not_after));
    }
    if now < validity.not_before {
        return unusable(format!("the present one is not valid before {}", validity.not_before));
    }
    if !leaf.issuer.as_ref().is_some_and(|issuer| trusted.contains(issuer)) {
        return unusable("the present one is not of a CA of ours".to_owned());
    }
    if let Some(name) = &leaf.missing_name {
        return unusable(format!("the present one is not valid for {name}"));
    }
    Ok(leaf)
}

/// What every `caBundle` has to hold.
fn trusted(facts: &Facts, now: Timestamp) -> Vec<Anchor> {
    let mut trusted: Vec<Anchor> = Vec::new();
    let signing = [&facts.current, &facts.next].into_iter().filter_map(Slot::present);
    for anchor in signing.map(|ca| &ca.anchor).chain(&facts.previous) {
        if !anchor.has_ended(now) && !trusted.contains(anchor) {
            trusted.push(anchor.clone());
        }
    }
    trusted
}

/// The previous CAs with those that the Secret has lost but that API servers still trust; `None`
/// where nothing is lost. Replicas may serve what hangs on one of them.
fn lost_but_published(facts: &Facts, now: Timestamp) -> Option<Vec<Anchor>> {
    let damaged = facts.current.present().is_none() || matches!(facts.next, Slot::Broken(_));
    if !damaged {
        return None;
    }
    let known = trusted(facts, now);
    let mut previous = retire(facts, now, None);
    for anchor in facts.bundles.iter().flatten().flatten() {
        if !known.contains(anchor) {
            keep(&mut previous, anchor, now);
        }
    }
    (previous.len() > facts.previous.iter().filter(|anchor| !anchor.has_ended(now)).count())
        .then_some(previous)
}

/// The previous CAs, with one more.
fn retire(facts: &Facts, now: Timestamp, ca: Option<&Ca>) -> Vec<Anchor> {
    let mut previous = Vec::new();
    for anchor in ca.map(|ca| &ca.anchor).into_iter().chain(&facts.previous) {
        keep(&mut previous, anchor, now);
    }
    previous
}

fn keep(previous: &mut Vec<Anchor>, anchor: &Anchor, now: Timestamp) {
    if previous.len() < MAX_PREVIOUS && !anchor.has_ended(now) && !previous.contains(anchor) {
        previous.push(anchor.clone());
    }
}

fn same_set(one: &[Anchor], other: &[Anchor]) -> bool {
    one.len() == other.len() && other.iter().all(|anchor| one.contains(anchor))
}

fn later(time: Timestamp, wait: SignedDuration) -> Timestamp {
    // Only a time at the end of the calendar overflows, and nothing is later than that.
    time.saturating_add(wait).unwrap_or(Timestamp::MAX)
}
