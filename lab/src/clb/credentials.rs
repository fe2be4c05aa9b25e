//! The secrets that the service knows: permanent ones, and temporary ones with a token and an end.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::error::ApiError;

/// The account of secrets that name none.
const DEFAULT_ACCOUNT: &str = "100000000001";
/// The longest that a temporary secret may be asked for.
pub const TEMPORARY_SECONDS_MAX: u32 = 43_200;
/// The most secrets that are known: a client that asks for temporary ones in a loop makes no more.
const SECRETS_MAX: usize = 10_000;

/// One secret.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Secret {
    /// `AKID…`.
    pub id: String,
    /// What requests are signed with.
    pub key: String,
    /// A temporary secret's token, which goes with every request.
    #[serde(default)]
    pub token: Option<String>,
    /// When it stops to be valid.
    #[serde(default)]
    pub expires: Option<Timestamp>,
    /// The actions that it may do; all where none are named.
    #[serde(default)]
    pub actions: Option<Vec<String>>,
    /// The account that its requests count for.
    #[serde(default = "default_account")]
    pub account: String,
}

fn default_account() -> String {
    DEFAULT_ACCOUNT.to_owned()
}

impl Secret {
    /// One that may do everything for ever.
    #[must_use]
    pub fn permanent(id: &str, key: &str) -> Self {
        Self {
            id: id.to_owned(),
            key: key.to_owned(),
            token: None,
            expires: None,
            actions: None,
            account: default_account(),
        }
    }
}

/// Who sent a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Caller {
    /// The secret's id.
    pub id: String,
    /// The account, for which requests are counted.
    pub account: String,
    actions: Option<Vec<String>>,
}

impl Caller {
    /// The caller of an action that needs no signature.
    #[must_use]
    pub fn anonymous() -> Self {
        Self { id: String::new(), account: default_account(), actions: None }
    }

    /// Whether the caller may do `action`.
    ///
    /// # Errors
    /// `UnauthorizedOperation`.
    pub fn may(&self, action: &str) -> Result<(), ApiError> {
        let allowed = self.actions.as_ref().is_none_or(|list| list.iter().any(|one| one == action));
        if allowed {
            return Ok(());
        }
        let message = format!("{} is not authorized to perform clb:{action}.", self.id);
        Err(ApiError::new("UnauthorizedOperation", message))
    }
}

/// All secrets, by id.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The longest that a temporary secret is valid.
    pub temporary_seconds: u32,
    secrets: BTreeMap<String, Secret>,
}

impl Default for Credentials {
    fn default() -> Self {
        Self { temporary_seconds: TEMPORARY_SECONDS_MAX, secrets: BTreeMap::new() }
    }
}

impl Credentials {
    /// Makes or replaces a secret. Beyond 10,000 the first by id is forgotten.
    pub fn add(&mut self, secret: Secret) {
        self.secrets.insert(secret.id.clone(), secret);
        if self.secrets.len() > SECRETS_MAX {
            self.secrets.pop_first();
        }
    }

    /// Makes a temporary secret that is valid for `seconds`, or less where [`Self::temporary_seconds`]
    /// says so. `fresh` is text that was never given before.
    pub fn mint(&mut self, fresh: &str, seconds: u32, now: Timestamp) -> Secret {
        let seconds = seconds.min(self.temporary_seconds);
        let end = now.saturating_add(SignedDuration::from_secs(seconds.into())).unwrap_or(now);
        let secret = Secret {
            token: Some(format!("token{fresh}")),
            expires: Some(end),
            ..Secret::permanent(&format!("AKID{fresh}"), &format!("key{fresh}"))
        };
        self.add(secret.clone());
        secret
    }

    /// Forgets all secrets.
    pub fn clear(&mut self) {
        self.secrets.clear();
    }

    /// The caller and the key of the secret `id`, where `token` belongs to it and it is still valid.
    pub(super) fn find(
        &self,
        id: &str,
        token: Option<&str>,
        now: Timestamp,
    ) -> Result<(Caller, &str), ApiError> {
        let secret = self.secrets.get(id).ok_or_else(|| {
            ApiError::new("AuthFailure.SecretIdNotFound", "The SecretId is not found.")
        })?;
        // A permanent secret has no token, and one that is sent along is wrong as well.
        if secret.token.as_deref() != token || secret.expires.is_some_and(|end| end <= now) {
            return Err(token_failure());
        }
        let Secret { id, account, actions, key, .. } = secret;
        let caller = Caller { id: id.clone(), account: account.clone(), actions: actions.clone() };
        Ok((caller, key))
    }
}

/// `AuthFailure.TokenFailure`.
pub(super) fn token_failure() -> ApiError {
    ApiError::new("AuthFailure.TokenFailure", "The token is invalid or has expired.")
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::{Credentials, Secret};

    #[test]
    fn tokens_belong_to_their_secret_and_end() {
        let now = Timestamp::from_second(1_000).unwrap();
        let end = Timestamp::from_second(1_100).unwrap();
        let temporary = Secret {
            token: Some("t".into()),
            expires: Some(end),
            ..Secret::permanent("AKIDtemp", "k")
        };
        let mut credentials = Credentials::default();
        credentials.add(temporary);
        credentials.add(Secret::permanent("AKIDperm", "k"));
        let code = |id, token, now| {
            credentials.find(id, token, now).err().map_or("accepted".to_owned(), |error| error.code)
        };
        assert_eq!(code("AKIDtemp", Some("t"), now), "accepted");
        assert_eq!(code("AKIDtemp", Some("t"), end), "AuthFailure.TokenFailure");
        assert_eq!(code("AKIDtemp", Some("u"), now), "AuthFailure.TokenFailure");
        assert_eq!(code("AKIDtemp", None, now), "AuthFailure.TokenFailure");
        assert_eq!(code("AKIDperm", None, now), "accepted");
        assert_eq!(code("AKIDother", None, now), "AuthFailure.SecretIdNotFound");
    }

    #[test]
    fn a_secret_may_do_what_it_names() {
        let mut credentials = Credentials::default();
        let actions = Some(vec!["DescribeTargets".to_owned()]);
        credentials.add(Secret { actions, ..Secret::permanent("AKID", "k") });
        let (caller, _) = credentials.find("AKID", None, Timestamp::UNIX_EPOCH).unwrap();
        assert!(caller.may("DescribeTargets").is_ok());
        assert_eq!(caller.may("ModifyTargetWeight").unwrap_err().code, "UnauthorizedOperation");
    }
}
