//! The webhook's certificates: kept by whoever leads. What is decided stands in `lameduck-certs`.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use lameduck_certs::{Keeper, KeeperError};
use lameduck_core::text::chain;
use tokio::sync::SetOnce;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::leader::Leadership;
use crate::metrics::Metrics;

/// Time between two looks whether this replica leads.
const LEADS: Duration = Duration::from_secs(1);
/// Wait after an error.
const RETRY: Duration = Duration::from_secs(5);

/// Keeps the certificates while this replica leads, until `stop`.
///
/// They are what a new webhook's readiness waits for, so nothing is done until `policy_tried` is set:
/// an admin who enrols a workload as soon as the webhook is ready shall not hear that there is no policy.
pub async fn run(
    keeper: Keeper,
    leadership: Leadership,
    policy_tried: Arc<SetOnce<()>>,
    metrics: Metrics,
    stop: CancellationToken,
) {
    tokio::select! {
        () = stop.cancelled() => return,
        _ = policy_tried.wait() => {}
    }
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

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::Args;
    use crate::default_policy;
    use crate::testing::{FakeApi, Fault};

    #[tokio::test(start_paused = true)]
    async fn a_first_leader_tries_the_policy_before_the_certificates() {
        let api = FakeApi::default();
        // Not even a policy that is never answered keeps the webhook without certificates.
        api.faults(|call| call.uri.contains("terminationpolicies").then_some(Fault::Silent));
        let leadership = Leadership::default();
        leadership.hold_until(Duration::from_secs(3600));
        let (tried, stop) = (Arc::new(SetOnce::new()), CancellationToken::new());
        let settings = Args::parse_from(["lameduck-controller"]).certificates.settings("system");
        let keeper = Keeper::new(api.client(), settings).unwrap();
        let metrics = Metrics::new(leadership.clone());
        let certificates =
            run(keeper, leadership.clone(), Arc::clone(&tried), metrics, stop.clone());
        let policy = default_policy::run(api.client(), leadership, tried, stop.clone());
        let looked = async {
            while api.calls_len() < 2 {
                tokio::time::sleep(LEADS).await;
            }
            stop.cancel();
        };
        tokio::join!(certificates, policy, looked);
        let paths: Vec<String> = api.calls().into_iter().map(|call| call.uri).collect();
        assert!(paths[0].contains("terminationpolicies"), "{paths:?}");
        assert!(paths.iter().any(|path| path.contains("/secrets")), "{paths:?}");
    }
}
