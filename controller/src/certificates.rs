//! The webhook's certificates: kept by whoever leads. What is decided stands in `lameduck-certs`.

use std::time::Duration;

use jiff::Timestamp;
use lameduck_certs::{Keeper, KeeperError};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::leader::Leadership;
use crate::metrics::Metrics;
use crate::text::chain;

/// Time between two looks whether this replica leads.
const LEADS: Duration = Duration::from_secs(1);
/// Wait after an error.
const RETRY: Duration = Duration::from_secs(5);

/// Keeps the certificates while this replica leads, until `stop`.
pub async fn run(
    keeper: Keeper,
    leadership: Leadership,
    metrics: Metrics,
    stop: CancellationToken,
) {
    loop {
        let wait = if leadership.is_held() {
            match keeper.keep(Timestamp::now(), || leadership.is_held()).await {
                // The keeper has logged what it did.
                Ok(kept) => {
                    metrics.certificates(
                        kept.ca_not_after.map(Timestamp::as_second),
                        kept.serving_not_after.map(Timestamp::as_second),
                    );
                    kept.next_look_after
                }
                Err(KeeperError::NotLeader) => LEADS,
                Err(error) => {
                    metrics.certificate_error();
                    warn!(error = %chain(&error), "The webhook's certificates cannot be kept.");
                    RETRY
                }
            }
        } else {
            LEADS
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}
