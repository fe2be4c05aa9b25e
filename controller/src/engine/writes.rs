//! The writes of a drain: the condition that lets a hold go on, the finalizer's end, and a reminder of TKE.

use std::sync::Arc;
use std::time::Duration;

use governor::DefaultDirectRateLimiter;
use jiff::Timestamp;
use lameduck_core::drain::{Condition, EventText, RemoveReason};
use lameduck_core::names::{CONDITION_TRAFFIC_OFF, CUSTOM_WEIGHT_INGRESS, CUSTOM_WEIGHT_SERVICE};
use lameduck_core::text::chain;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::Engine;
use crate::events::Subject;
use crate::index::{Pod, PodKey};
use crate::metrics::Phase;
use crate::pods::CallError;

/// What is to be written for one pod, and what was known when that was decided.
pub(super) struct Job {
    pub(super) key: PodKey,
    pub(super) pod: Pod,
    /// Services that are known to have to do with the pod, `namespace/name`.
    pub(super) known_services: Vec<Arc<str>>,
    pub(super) write: Write,
}

/// One write.
pub(super) enum Write {
    /// The `TrafficOff` condition.
    Condition { condition: Condition, events: Vec<EventText>, turns_off: bool },
    /// The finalizer's end.
    Finalizer { at: usize, reason: RemoveReason, event: Option<EventText> },
    /// The annotations that remind TKE of the pod's weight.
    Nudge(EventText),
}

impl Engine {
    /// Carries one write out, where this replica still leads by then.
    pub(super) async fn carry_out(
        self,
        job: Job,
        limit: Arc<DefaultDirectRateLimiter>,
    ) -> Result<(), CallError> {
        limit.until_ready().await;
        let began = Instant::now();
        let call = match &job.write {
            Write::Condition { .. } => "traffic_off_condition",
            Write::Finalizer { .. } => "finalizer",
            Write::Nudge(_) => "custom_weight",
        };
        let Job { key, pod, known_services, write } = job;
        let result = match write {
            Write::Condition { condition, events, turns_off } => {
                self.write_condition(&key, &pod, &known_services, condition, events, turns_off)
                    .await
            }
            Write::Finalizer { at, reason, event } => {
                self.remove_finalizer(&key, &pod, at, reason, event).await
            }
            Write::Nudge(event) => self.nudge(&key, &pod, event).await,
        };
        let label = result.as_ref().map_or_else(CallError::label, |()| "ok");
        self.metrics.call(call, label, began.elapsed());
        if let Err(error) = &result {
            if error.is_outdated() {
                // Ordinary: the kubelet writes the same pod at the same time.
                debug!(
                    namespace = &*key.namespace,
                    pod = &*key.name,
                    uid = &*pod.uid,
                    call,
                    error = %chain(error),
                    "A write was decided from an older state; the pod is looked at again."
                );
                return result;
            }
            warn!(
                namespace = &*key.namespace,
                pod = &*key.name,
                uid = &*pod.uid,
                call,
                error = %chain(error),
                "A write did not succeed; the pod is looked at again."
            );
        }
        result
    }

    async fn write_condition(
        &self,
        key: &PodKey,
        pod: &Pod,
        known_services: &[Arc<str>],
        condition: Condition,
        events: Vec<EventText>,
        turns_off: bool,
    ) -> Result<(), CallError> {
        if turns_off {
            // The application gets its SIGTERM after this: the cache alone is not enough.
            self.confirm.off(key, pod, known_services).await?;
        }
        if !self.leadership.is_held() {
            return Err(CallError::NotLeading);
        }
        let version = Some(&*pod.version);
        let written =
            self.pods.write_condition(key, &pod.uid, version, CONDITION_TRAFFIC_OFF, &condition);
        let written = match written.await {
            Ok(written) => written,
            // The object is gone, and with it everything there was to say about it.
            Err(error) if error.status() == Some(404) => {
                self.index.with(|index| index.pod_gone(key, &pod.uid));
                return Ok(());
            }
            Err(error) if matches!(error.status(), Some(409 | 422)) => {
                // It has changed, or is another one: see what is there.
                self.read_again(key, &pod.uid).await?;
                return Err(error);
            }
            Err(error) => return Err(error),
        };
        self.index.with(|index| index.apply_known_pod(written));
        info!(
            namespace = &*key.namespace,
            pod = &*key.name,
            uid = &*pod.uid,
            status = condition.status.as_str(),
            reason = &*condition.reason,
            message = &*condition.message,
            "Condition TrafficOff written."
        );
        if turns_off && let Some(deletion) = &pod.deletion {
            self.metrics.drain_phase(Phase::Traffic, self.since(deletion.requested_at));
        }
        for event in events {
            self.events.send(Subject::Pod, key, &pod.uid, event);
        }
        Ok(())
    }

    /// Tried once: nothing waits for it, and its failure must not hold up the next look.
    async fn nudge(&self, key: &PodKey, pod: &Pod, event: EventText) -> Result<(), CallError> {
        if !self.leadership.is_held() {
            return Err(CallError::NotLeading);
        }
        self.index.with(|index| index.clb_nudged(key, &pod.uid));
        let weights = [(CUSTOM_WEIGHT_SERVICE, "0"), (CUSTOM_WEIGHT_INGRESS, "0")];
        match self.pods.write_annotations(key, &pod.uid, &weights).await {
            Ok(()) => self.events.send(Subject::Pod, key, &pod.uid, event),
            Err(error) => warn!(
                namespace = &*key.namespace,
                pod = &*key.name,
                uid = &*pod.uid,
                error = %chain(&error),
                "TKE could not be reminded of a pod's weight."
            ),
        }
        Ok(())
    }

    async fn remove_finalizer(
        &self,
        key: &PodKey,
        pod: &Pod,
        at: usize,
        reason: RemoveReason,
        event: Option<EventText>,
    ) -> Result<(), CallError> {
        if !self.leadership.is_held() {
            return Err(CallError::NotLeading);
        }
        match self.pods.remove_finalizer(key, &pod.uid, at).await {
            Ok(()) => self.index.with(|index| index.finalizer_removed(key, &pod.uid)),
            Err(error) if error.status() == Some(404) => {
                self.index.with(|index| index.pod_gone(key, &pod.uid));
            }
            Err(error) if matches!(error.status(), Some(409 | 422)) => {
                // Another finalizer came or went, or the pod is another one: see what is there.
                self.read_again(key, &pod.uid).await?;
                return Err(error);
            }
            Err(error) => return Err(error),
        }
        info!(
            namespace = &*key.namespace,
            pod = &*key.name,
            uid = &*pod.uid,
            reason = reason.as_str(),
            "Finalizer taken off."
        );
        self.metrics.released(reason.as_str());
        if let Some(deletion) = &pod.deletion {
            self.metrics.drain_phase(Phase::Total, self.since(deletion.requested_at));
        }
        if let Some(event) = event {
            self.events.send(Subject::Pod, key, &pod.uid, event);
        }
        Ok(())
    }

    /// Brings the index up to what the API server has of a pod.
    async fn read_again(&self, key: &PodKey, uid: &str) -> Result<(), CallError> {
        let found = self.pods.get(key).await?;
        self.index.with(|index| match found {
            Some(pod) if pod.metadata.uid == uid => index.apply_known_pod(pod),
            // Gone, or another one of the same name: the watch brings that one.
            _ => index.pod_gone(key, uid),
        });
        Ok(())
    }

    /// Time since then; zero where the clocks disagree.
    fn since(&self, at: Timestamp) -> Duration {
        Duration::try_from((self.clock)().duration_since(at)).unwrap_or_default()
    }
}
