//! The policy `default`, made where there is none: one `kubectl apply` cannot create a CRD and an
//! object of it, so the manifests leave it to the first leader. An existing one is never touched.

use std::time::Duration;

use kube::api::PostParams;
use kube::{Api, Client, Error};
use lameduck_api::{TerminationPolicy, TerminationPolicySpec};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::leader::Leadership;
use crate::text::chain;

/// Its name.
pub const DEFAULT_POLICY: &str = "default";
/// Time between two looks whether this replica leads, and between two tries.
const RETRY: Duration = Duration::from_secs(2);
/// The longest that one call may take.
const CALL_MAX: Duration = Duration::from_secs(5);

/// Makes the policy as soon as this replica leads. Done once per process: who deletes the policy
/// while the controller runs has meant it.
pub async fn run(client: Client, leadership: Leadership, stop: CancellationToken) {
    let policies: Api<TerminationPolicy> = Api::all(client);
    let policy = TerminationPolicy::new(DEFAULT_POLICY, TerminationPolicySpec::default());
    loop {
        if leadership.is_held() {
            match timeout(CALL_MAX, policies.create(&PostParams::default(), &policy)).await {
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
