//! The certificates between the API server and the webhook: issued by the controller into Secrets,
//! rotated before they end, published as `caBundle`, reloaded by the webhook without a restart.
//!
//! ```text
//! Keeper (controller's leader)                          ReloadingResolver (each webhook replica)
//!   Secret lameduck-ca            current, next, previous CA
//!   Secret lameduck-webhook-tls   serving certificate  ->  watched through the API
//!   MutatingWebhookConfiguration lameduck: caBundle    ->  what API servers verify by
//! ```
//!
//! The webhook:
//! ```no_run
//! # async fn run(client: kube::Client) -> Result<(), rustls::Error> {
//! let resolver = lameduck_certs::ReloadingResolver::new();
//! tokio::spawn(resolver.clone().follow(client, "lameduck-system"));
//! let tls = lameduck_certs::server_config(resolver.clone())?; // a rustls::ServerConfig
//! let ready = resolver.is_ready(jiff::Timestamp::now()); // for /readyz
//! # Ok(()) }
//! ```

mod facts;
mod resolver;
mod settings;
mod x509;

pub use resolver::{PairError, ReloadingResolver, Serving, server_config};
pub use settings::{
    CA_SECRET, Settings, SettingsError, WEBHOOK_CONFIGURATION, WEBHOOK_SERVICE, WEBHOOK_TLS_SECRET,
};
