//! The policy `default`, made where there is none: one `kubectl apply` cannot create a CRD and an
//! object of it, so the manifests leave it to the first leader. An existing one is never touched.

use std::sync::Arc;
use std::time::Duration;

use kube::api::PostParams;
use kube::{Api, Client, Error};
use lameduck_api::{TerminationPolicy, TerminationPolicySpec};
use lameduck_core::text::chain;
use tokio::sync::SetOnce;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::leader::Leadership;

/// Its name.
pub const DEFAULT_POLICY: &str = "default";
/// Time between two looks whether this replica leads, and between two tries.
const RETRY: Duration = Duration::from_secs(1);
/// The longest that one call may take.
const CALL_MAX: Duration = Duration::from_secs(5);

/// Makes the policy as soon as this replica leads. Done once per process: who deletes the policy
/// while the controller runs has meant it.
///
/// `tried` is set after the first try of a leader, whatever came of it.
pub async fn run(
    client: Client,
    leadership: Leadership,
    tried: Arc<SetOnce<()>>,
    stop: CancellationToken,
) {
    let policies: Api<TerminationPolicy> = Api::all(client);
    let policy = TerminationPolicy::new(DEFAULT_POLICY, TerminationPolicySpec::default());
    loop {
        if leadership.is_held() {
            let made = timeout(CALL_MAX, policies.create(&PostParams::default(), &policy)).await;
            // An error says that it was set before.
            tried.set(()).ok();
            match made {
                Ok(Ok(_)) => {
                    info!(policy = DEFAULT_POLICY, "The policy was missing and has been made.");
                    return;
                }
                Ok(Err(Error::Api(status))) if status.code == 409 => return,
                Ok(Err(error)) => warn!(
                    policy = DEFAULT_POLICY,
                    error = %chain(&error),
                    "The policy cannot be made; trying again. Is the CustomResourceDefinition installed?"
                ),
                Err(_) => warn!(
                    policy = DEFAULT_POLICY,
                    "The policy cannot be made: the API server does not answer; trying again."
                ),
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(RETRY) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FakeApi, Fault};

    #[tokio::test(start_paused = true)]
    async fn only_a_leader_makes_it_and_until_it_is_there() {
        let api = FakeApi::default();
        let mut answers = [404, 500, 409].into_iter();
        api.faults(move |_| answers.next().map(Fault::Status));
        let (leadership, tried) = (Leadership::default(), Arc::new(SetOnce::new()));
        let stop = CancellationToken::new();
        let task = tokio::spawn(run(api.client(), leadership.clone(), Arc::clone(&tried), stop));
        tokio::time::sleep(RETRY * 5).await;
        assert!(!tried.initialized());
        assert_eq!(api.calls_len(), 0);

        leadership.hold_until(Duration::from_secs(3600));
        tried.wait().await;
        assert_eq!(api.calls_len(), 1, "told after a try that failed");
        task.await.unwrap();
        let path = "/apis/lameduck.dev/v1alpha1/terminationpolicies";
        let calls = api.calls();
        assert!(calls.iter().all(|call| call.uri.starts_with(path)), "{calls:?}");
        assert_eq!(calls.len(), 3);
    }
}
