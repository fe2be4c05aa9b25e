//! Where the right to call comes from: environment, mounted files, TKE pod identity, CVM role, in
//! this order.
//!
//! A source either does not apply (nothing of it is configured), and the next is asked; or it applies,
//! and then it is the one: where it fails, nobody else's identity is taken in its place.

mod chain;
mod cvm_role;
mod environment;
mod files;
mod pod_identity;
mod renewal;
#[cfg(test)]
mod tests;

use std::fmt;

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};

pub(crate) use chain::Chain;
pub use environment::Environment;

use crate::clock::Clock;
use crate::http::Http;
use crate::settings::{CredentialSettings, Limits};

/// One identity at Tencent Cloud. Says nothing secret when printed.
pub(crate) struct Credentials {
    pub(crate) secret_id: SecretString,
    pub(crate) secret_key: SecretString,
    /// Of temporary credentials.
    pub(crate) token: Option<SecretString>,
    /// End of temporary credentials.
    expires_at: Option<Timestamp>,
    source: CredentialSource,
}

impl Credentials {
    /// Checks that a header can carry what goes into headers.
    fn new(
        source: CredentialSource,
        secret_id: String,
        secret_key: String,
        token: Option<String>,
        expires_at: Option<Timestamp>,
    ) -> Result<Self, Problem> {
        let credentials = Self {
            secret_id: secret_id.into(),
            secret_key: secret_key.into(),
            token: token.map(SecretString::from),
            expires_at,
            source,
        };
        let fits = |text: &SecretString| {
            let text = text.expose_secret();
            !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
        };
        let named = [
            ("secret id", Some(&credentials.secret_id)),
            ("secret key", Some(&credentials.secret_key)),
            ("token", credentials.token.as_ref()),
        ];
        for (name, text) in named {
            if text.is_some_and(|text| !fits(text)) {
                return Err(Problem::broken(format!(
                    "the {name} is empty or holds characters that no credential has"
                )));
            }
        }
        Ok(credentials)
    }

    #[cfg(test)]
    pub(crate) fn for_tests(secret_id: &str, secret_key: &str, token: Option<&str>) -> Self {
        Self {
            secret_id: secret_id.into(),
            secret_key: secret_key.into(),
            token: token.map(SecretString::from),
            expires_at: None,
            source: CredentialSource::Environment,
        }
    }

    fn is_valid(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }

    fn is_same(&self, other: &Self) -> bool {
        self.all().eq(other.all())
    }

    fn all(&self) -> impl Iterator<Item = &str> {
        [&self.secret_id, &self.secret_key]
            .into_iter()
            .chain(&self.token)
            .map(ExposeSecret::expose_secret)
    }

    /// `text` without what is in here.
    pub(crate) fn strike_out(&self, text: &str) -> String {
        strike_out(text, self.all())
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("source", &self.source)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// `text` without any of `secrets`.
fn strike_out<'a>(text: &str, secrets: impl Iterator<Item = &'a str>) -> String {
    let mut text = text.to_owned();
    for secret in secrets.filter(|secret| !secret.is_empty()) {
        if text.contains(secret) {
            text = text.replace(secret, "[secret]");
        }
    }
    text
}

/// A place where credentials may come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CredentialSource {
    /// `TENCENTCLOUD_SECRET_ID`, `TENCENTCLOUD_SECRET_KEY` and `TENCENTCLOUD_TOKEN`.
    Environment,
    /// The files `secretId`, `secretKey` and `token` of a mounted Secret.
    Files,
    /// The pod's own identity: its ServiceAccount's token against a CAM role.
    PodIdentity,
    /// The CAM role of the node.
    CvmRole,
}

impl fmt::Display for CredentialSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Environment => "environment",
            Self::Files => "mounted files",
            Self::PodIdentity => "TKE pod identity",
            Self::CvmRole => "CVM role",
        })
    }
}

/// Why one source gives no credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Problem {
    /// Nothing of it is configured.
    NotApplicable(String),
    /// It is configured, and gave nothing.
    Failed {
        detail: String,
        /// Whether it may give some later, with nothing changed by a person.
        retry_helps: bool,
    },
}

impl Problem {
    /// Something that a person must mend.
    fn broken(detail: impl Into<String>) -> Self {
        Self::Failed { detail: detail.into(), retry_helps: false }
    }

    /// Something that may pass.
    fn passing(detail: impl Into<String>) -> Self {
        Self::Failed { detail: detail.into(), retry_helps: true }
    }

    fn text(&self) -> &str {
        match self {
            Self::NotApplicable(detail) | Self::Failed { detail, .. } => detail,
        }
    }
}

/// No source gives credentials. Prints each source with its reason, on one line.
#[derive(Clone, Debug)]
pub struct CredentialError {
    problems: Vec<(CredentialSource, Problem)>,
}

impl CredentialError {
    /// Whether there may be credentials later, with nothing changed by a person.
    #[must_use]
    pub fn retry_helps(&self) -> bool {
        self.problems
            .iter()
            .any(|(_, problem)| matches!(problem, Problem::Failed { retry_helps: true, .. }))
    }

    /// Each source with the reason why it gives no credentials, in the order of asking.
    pub fn reasons(&self) -> impl Iterator<Item = (CredentialSource, &str)> {
        self.problems.iter().map(|(source, problem)| (*source, problem.text()))
    }
}

impl fmt::Display for CredentialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no credentials")?;
        for (at, (source, problem)) in self.problems.iter().enumerate() {
            let join = if at == 0 { ": " } else { "; " };
            let state = match problem {
                Problem::NotApplicable(_) => "not used",
                Problem::Failed { .. } => "failed",
            };
            write!(f, "{join}{source} {state}: {}", problem.text())?;
        }
        Ok(())
    }
}

impl std::error::Error for CredentialError {}

/// What sources that ask over the network need.
#[derive(Clone)]
struct Remote {
    http: Http,
    clock: Clock,
    settings: CredentialSettings,
    limits: Limits,
}

/// A member that must be there, without what surrounds it in a file or variable.
fn trimmed(text: Option<String>) -> Option<String> {
    text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}
