//! Source: environment variables.

use std::fmt;
use std::sync::Arc;

use super::{CredentialSource, Credentials, Problem, trimmed};

const ID: &str = "TENCENTCLOUD_SECRET_ID";
const KEY: &str = "TENCENTCLOUD_SECRET_KEY";
const TOKEN: &str = "TENCENTCLOUD_TOKEN";

type Lookup = dyn Fn(&str) -> Option<String> + Send + Sync;

/// The environment variables that credentials are looked up in. Says nothing when printed.
#[derive(Clone)]
pub struct Environment(Arc<Lookup>);

impl Environment {
    /// This process's environment.
    #[must_use]
    pub fn of_process() -> Self {
        Self::of(|name| std::env::var(name).ok())
    }

    /// Whatever `lookup` says.
    #[must_use]
    pub fn of(lookup: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(lookup))
    }

    /// A variable's value; `None` where it is not set, or blank.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        trimmed((self.0)(name))
    }

    pub(super) fn credentials(&self) -> Result<Credentials, Problem> {
        match (self.get(ID), self.get(KEY)) {
            (Some(id), Some(key)) => Credentials::new(
                CredentialSource::Environment,
                id,
                key,
                self.get(TOKEN),
                // Whoever sets a token keeps it fresh; the API says when it has ended.
                None,
            ),
            (Some(_), None) => Err(Problem::broken(format!("{ID} is set, but not {KEY}"))),
            (None, Some(_)) => Err(Problem::broken(format!("{KEY} is set, but not {ID}"))),
            (None, None) => Err(Problem::NotApplicable(format!("{ID} and {KEY} are not set"))),
        }
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Environment")
    }
}
