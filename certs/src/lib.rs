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
//! The controller, while it leads:
//! ```no_run
//! # async fn look(client: kube::Client) -> Result<(), Box<dyn std::error::Error>> {
//! # let lease_is_ours = || true;
//! let keeper = lameduck_certs::Keeper::new(client, lameduck_certs::Settings::default())?;
//! let kept = keeper.keep(jiff::Timestamp::now(), lease_is_ours).await?; // on an error: try again
//! for done in &kept.done {
//!     println!("{}: {}", done.reason, done.message); // the keeper has logged it too
//! }
//! tokio::time::sleep(kept.next_look_after).await; // then look again
//! # Ok(()) }
//! ```
//!
//! The webhook:
//! ```no_run
//! # async fn run(client: kube::Client) -> Result<(), rustls::Error> {
//! let resolver = lameduck_certs::ReloadingResolver::new();
//! tokio::spawn(resolver.clone().follow(client, "lameduck-system".to_owned()));
//! let tls = lameduck_certs::server_config(resolver.clone())?; // a rustls::ServerConfig
//! let ready = resolver.is_ready(jiff::Timestamp::now()); // for /readyz
//! # Ok(()) }
//! ```
//!
//! What is decided when stands in `plan`; `facts` reads the Secrets, `carry_out` makes new content.

mod args;
mod carry_out;
mod facts;
mod issue;
mod keeper;
mod plan;
mod resolver;
mod settings;
#[cfg(test)]
mod tests;
mod x509;

pub use args::CertificateArgs;
pub use carry_out::IssueError;
pub use keeper::{Done, Keeper, KeeperError, Kept};
pub use plan::Reason;
pub use resolver::{PairError, ReloadingResolver, Serving, server_config};
pub use settings::{
    CA_SECRET, Settings, SettingsError, WEBHOOK_CONFIGURATION, WEBHOOK_SERVICE, WEBHOOK_TLS_SECRET,
};
