//! What an admin may choose about certificates, and which choices cannot work.

use jiff::SignedDuration;
use lameduck_api::names::SYSTEM_NAMESPACE;

/// Secret with the CA's certificate and key. Only the controller reads it.
pub const CA_SECRET: &str = "lameduck-ca";
/// Secret with the webhook's serving certificate and key (type `kubernetes.io/tls`).
pub const WEBHOOK_TLS_SECRET: &str = "lameduck-webhook-tls";
/// The configuration whose `caBundle`s are kept.
pub const WEBHOOK_CONFIGURATION: &str = "lameduck";
/// The Service by whose name the API server calls the webhook.
pub const WEBHOOK_SERVICE: &str = "lameduck-webhook";

/// Lifetimes, waits and names. `Settings::default()` fits every cluster; [`Settings::check`] says
/// what is wrong with another choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Namespace of both Secrets.
    pub namespace: String,
    /// Names (or IP addresses) that the serving certificate is valid for. The API server verifies
    /// the first one, `SERVICE.NAMESPACE.svc`.
    pub server_names: Vec<String>,
    /// How long a CA is valid. It is replaced after two thirds of it.
    pub ca_life: SignedDuration,
    /// How long a serving certificate is valid. It is replaced after two thirds of it.
    pub leaf_life: SignedDuration,
    /// How far two clocks of the cluster may differ. `notBefore` lies so far in the past, and the
    /// waits below are longer by it: they are begun by one leader and may be ended by another.
    pub clock_skew: SignedDuration,
    /// How long a new CA stands in every `caBundle` before the first certificate of it is served:
    /// the time that every API server replica has to see the change.
    pub settle: SignedDuration,
    /// How long the old CA stays in every `caBundle` after the last certificate of it was replaced:
    /// the time that every webhook replica has to load the new one.
    pub overlap: SignedDuration,
}

impl Default for Settings {
    fn default() -> Self {
        Self::for_namespace(SYSTEM_NAMESPACE)
    }
}

/// A choice that cannot work, with the bound that it breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// No name to issue a certificate for.
    #[error("a serving certificate needs at least one server name")]
    NoServerName,
    /// A negative wait or a life of no length.
    #[error("{0} must not be negative, and a lifetime must be longer than zero")]
    Negative(&'static str),
    /// The last third of the serving certificate's life is all the time that a renewal has.
    #[error(
        "leaf_life must be at least three times settle plus overlap plus twice clock_skew, \
         or a certificate could end before its successor is trusted"
    )]
    LeafTooShort,
    /// The last third of the CA's life must carry a whole rotation.
    #[error(
        "ca_life must be at least three times leaf_life, \
         or a CA could end before the certificates of its successor are served"
    )]
    CaTooShort,
}

impl Settings {
    /// The default settings for an installation in `namespace`.
    #[must_use]
    pub fn for_namespace(namespace: &str) -> Self {
        let service = format!("{WEBHOOK_SERVICE}.{namespace}");
        Self {
            namespace: namespace.to_owned(),
            server_names: vec![
                format!("{service}.svc"),
                service.clone(),
                format!("{service}.svc.cluster.local"),
                WEBHOOK_SERVICE.to_owned(),
            ],
            ca_life: SignedDuration::from_hours(365 * 24),
            leaf_life: SignedDuration::from_hours(30 * 24),
            clock_skew: SignedDuration::from_hours(1),
            settle: SignedDuration::from_mins(5),
            overlap: SignedDuration::from_hours(24),
        }
    }

    /// Says whether every rotation of these settings has the time that it needs.
    ///
    /// # Errors
    /// The first bound that is broken.
    pub fn check(&self) -> Result<(), SettingsError> {
        if self.server_names.is_empty() {
            return Err(SettingsError::NoServerName);
        }
        for (name, value) in
            [("clock_skew", self.clock_skew), ("settle", self.settle), ("overlap", self.overlap)]
        {
            if value.is_negative() {
                return Err(SettingsError::Negative(name));
            }
        }
        for (name, value) in [("ca_life", self.ca_life), ("leaf_life", self.leaf_life)] {
            if !value.is_positive() {
                return Err(SettingsError::Negative(name));
            }
        }
        let wait = self.settle.saturating_add(self.overlap).saturating_add(self.clock_skew * 2);
        if self.leaf_life / 3 < wait {
            return Err(SettingsError::LeafTooShort);
        }
        if self.ca_life / 3 < self.leaf_life {
            return Err(SettingsError::CaTooShort);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_can_rotate() {
        assert_eq!(Settings::default().check(), Ok(()));
    }

    #[test]
    fn a_life_without_time_for_a_rotation_is_refused() {
        let default = Settings::default();
        let leaf = Settings { leaf_life: SignedDuration::from_hours(48), ..default.clone() };
        assert_eq!(leaf.check(), Err(SettingsError::LeafTooShort));
        let ca = Settings { ca_life: SignedDuration::from_hours(60 * 24), ..default.clone() };
        assert_eq!(ca.check(), Err(SettingsError::CaTooShort));
        let negative = Settings { settle: SignedDuration::from_secs(-1), ..default.clone() };
        assert_eq!(negative.check(), Err(SettingsError::Negative("settle")));
        let nameless = Settings { server_names: Vec::new(), ..default };
        assert_eq!(nameless.check(), Err(SettingsError::NoServerName));
    }
}
