//! Reports of holds that have ended: a condition, an event, metrics.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use lameduck_core::drain::{Condition, Outcome, Report, drained};
use lameduck_core::names::CONDITION_DRAINED;
use lameduck_core::text::chain;
use tracing::{info, warn};

use super::{Ask, Holds, Refusal};
use crate::events::Subject;
use crate::index::{Pod, PodKey};
use crate::metrics::Phase;

/// Tries to write the condition, and the time between two of them.
const TRIES: u32 = 3;
const TRY_PAUSE: Duration = Duration::from_millis(200);
/// Characters of a container's name that are shown. Kubernetes allows 63.
const CONTAINER_CHARS_MAX: usize = 63;

impl Holds {
    /// Takes a report and carries it out in the background: its container ends now.
    pub(super) fn take_report(
        &self,
        key: &PodKey,
        ask: &Ask,
        peer: IpAddr,
        body: &[u8],
    ) -> Result<(), Refusal> {
        let pod = self.own_pod(key, &ask.uid, peer)?;
        self.may_call(&ask.uid)?;
        let report: Report = serde_json::from_slice(body).map_err(|_| Refusal::BadReport)?;
        let container: String = ask
            .container
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || *c == '-')
            .take(CONTAINER_CHARS_MAX)
            .collect();
        info!(
            namespace = &*key.namespace,
            pod = &*key.name,
            uid = &*pod.uid,
            container,
            outcome = report.outcome.as_str(),
            connections_left = report.connections_left,
            "A hold ended."
        );
        self.metrics.drain_ended(report.outcome.as_str(), report.connections_left);
        if report.outcome != Outcome::NotTerminating {
            let phases = [
                (Phase::PreStop, report.pre_stop_millis),
                (Phase::Connections, report.connections_millis),
            ];
            for (phase, millis) in phases {
                self.metrics.drain_phase(phase, Duration::from_millis(millis));
            }
        }
        // A pod that is not terminating has nothing to be drained, whatever it says.
        let Some(deletion) = &pod.deletion else { return Ok(()) };
        let (condition, events) =
            drained(pod.drained.as_ref(), &container, &report, deletion, Timestamp::now());
        for event in events {
            self.events.send(Subject::Pod, key, &pod.uid, event);
        }
        if let Some(condition) = condition {
            let permit = self.reports.clone().try_acquire_owned().map_err(|_| Refusal::TooMany)?;
            let holds = self.clone();
            let key = key.clone();
            self.tasks.spawn(async move {
                holds.write_drained(&key, &pod, &condition).await;
                drop(permit);
            });
        }
        Ok(())
    }

    async fn write_drained(&self, key: &PodKey, pod: &Pod, condition: &Condition) {
        for left in (0..TRIES).rev() {
            let written =
                self.pods.write_condition(key, &pod.uid, None, CONDITION_DRAINED, condition).await;
            match written {
                Ok(pod) => {
                    self.index.with(|index| index.apply_known_pod(pod));
                    return;
                }
                // 404, 409, 422: it is gone, or another one of the same name.
                Err(error) if left == 0 || matches!(error.status(), Some(404 | 409 | 422)) => {
                    warn!(
                        namespace = &*key.namespace,
                        pod = &*key.name,
                        uid = &*pod.uid,
                        error = %chain(&error),
                        "Condition Drained could not be written; the report stands in events only."
                    );
                    return;
                }
                Err(_) => tokio::time::sleep(TRY_PAUSE).await,
            }
        }
    }
}
