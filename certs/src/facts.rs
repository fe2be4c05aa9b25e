//! What the Secrets and the webhook configuration say, as data for the plan.

/// Key of the serving chain in `lameduck-webhook-tls`.
pub(crate) const TLS_CERT: &str = "tls.crt";
/// Key of the serving key in `lameduck-webhook-tls`.
pub(crate) const TLS_KEY: &str = "tls.key";
