//! How often, and after which wait, a request is sent again: full jitter, a bounded count, and one
//! deadline over all of it.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::debug;

use crate::error::{Failure, RefusalKind};

/// Longest wait between two tries.
const BACKOFF_MAX: Duration = Duration::from_secs(8);

/// Bounds of one call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) tries_max: u32,
    pub(crate) deadline: Instant,
}

/// Calls `attempt` until it succeeds, fails for good, or the bounds are reached. With an error comes
/// the number of tries.
pub(crate) async fn run<T, F: Future<Output = Result<T, Failure>>>(
    what: &'static str,
    bounds: Bounds,
    mut attempt: impl FnMut() -> F,
) -> Result<T, (Failure, u32)> {
    let mut tries = 0;
    let mut before = None;
    loop {
        let failure = match (attempt().await, before) {
            (Ok(value), _) => return Ok(value),
            // What the server said is worth more than that there is no turn to ask it again.
            (Err(Failure::Queue { .. }), Some(failure)) => return Err((failure, tries)),
            (Err(failure), _) => failure,
        };
        tries += 1;
        let wait = wait(&failure, tries - 1);
        if !failure.sends_again()
            || tries >= bounds.tries_max
            || Instant::now() + wait >= bounds.deadline
        {
            return Err((failure, tries));
        }
        let wait_millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        debug!(action = what, tries, wait_millis, %failure, "Trying again.");
        sleep(wait).await;
        before = Some(failure);
    }
}

/// Full jitter: anything from nothing to the exponential bound, so that many callers that failed at
/// once do not come back at once.
fn wait(failure: &Failure, failed_before: u32) -> Duration {
    let bound = base(failure).saturating_mul(2_u32.saturating_pow(failed_before)).min(BACKOFF_MAX);
    bound.mul_f64(fastrand::f64())
}

/// The bound of the first wait. What other clients of this API do: 500 ms while a load balancer is
/// busy, 1 s after a throttled request.
fn base(failure: &Failure) -> Duration {
    match failure {
        Failure::Refused(refusal) if refusal.kind == RefusalKind::Throttled => {
            Duration::from_secs(1)
        }
        Failure::Refused(_) => Duration::from_millis(500),
        _ => Duration::from_millis(200),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn waits_are_bounded(failed_before in any::<u32>(), status in any::<u16>()) {
            let failure = Failure::Http { status, detail: String::new() };
            let wait = wait(&failure, failed_before);
            prop_assert!(wait <= BACKOFF_MAX);
            prop_assert!(failed_before > 0 || wait <= Duration::from_millis(200));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_ends_the_tries() {
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut tries_made = 0;
        let bounds = Bounds { tries_max: u32::MAX, deadline };
        let result: Result<(), _> = run("Test", bounds, || {
            tries_made += 1;
            std::future::ready(Err(Failure::Garbled { detail: String::new() }))
        })
        .await;
        assert_eq!(result.unwrap_err().1, tries_made);
        assert!(Instant::now() < deadline);
    }
}
