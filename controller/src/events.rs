//! Events on pods and StatefulSets: a bounded queue and one sender. An event that does not fit is dropped and counted;
//! a drain never waits for one.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Error};
use lameduck_core::drain::{EventKind, EventText};
use lameduck_core::text::chain;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::index::PodKey;
use crate::metrics::Metrics;

/// Events that may wait: four per pod of a roll-out of 500.
const QUEUE_EVENTS: usize = 2048;
/// Events per second to the API server. More than pods end in a cluster at the official envelope.
const EVENTS_PER_SECOND: NonZeroU32 = NonZeroU32::new(25).unwrap();
/// The longest that one event may take.
const SEND_MAX: Duration = Duration::from_secs(5);
/// Tries to send an event, and the time between two of them.
const TRIES: u32 = 3;
const TRY_PAUSE: Duration = Duration::from_secs(1);
/// Time to send what is queued when the process ends.
const FLUSH_MAX: Duration = Duration::from_secs(3);

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A pod, and its end.
    Pod,
    /// A StatefulSet, and its upgrade.
    StatefulSet,
}

impl Subject {
    const fn kind(self) -> (&'static str, &'static str) {
        match self {
            Self::Pod => ("v1", "Pod"),
            Self::StatefulSet => ("apps/v1", "StatefulSet"),
        }
    }

    const fn action(self) -> &'static str {
        match self {
            Self::Pod => "Drain",
            Self::StatefulSet => "Upgrade",
        }
    }
}

/// An event on its way.
#[derive(Debug)]
struct Queued {
    subject: Subject,
    key: PodKey,
    uid: Box<str>,
    /// Another pod that it is about.
    pod: Option<String>,
    text: EventText,
}

/// Where events are put.
#[derive(Clone, Debug)]
pub struct Events {
    queue: mpsc::Sender<Queued>,
    metrics: Metrics,
}

impl Events {
    /// Queues an event.
    pub fn send(&self, subject: Subject, key: &PodKey, uid: &str, text: EventText) {
        self.send_about(subject, key, uid, None, text);
    }

    /// Queues an event that is about a pod besides its subject.
    pub fn send_about(
        &self,
        subject: Subject,
        key: &PodKey,
        uid: &str,
        pod: Option<String>,
        text: EventText,
    ) {
        let queued = Queued { subject, key: key.clone(), uid: uid.into(), pod, text };
        if self.queue.try_send(queued).is_err() {
            self.metrics.event_dropped();
        }
    }
}

/// The queue and the future that sends from it until `stop`.
pub fn start(
    client: Client,
    metrics: Metrics,
    instance: String,
    stop: CancellationToken,
) -> (Events, impl Future<Output = ()> + Send) {
    let (queue, queued) = mpsc::channel(QUEUE_EVENTS);
    let reporter =
        Reporter { controller: "lameduck.dev/controller".into(), instance: Some(instance) };
    let recorder = Recorder::new(client, reporter);
    let sender = run(recorder, queued, metrics.clone(), stop);
    (Events { queue, metrics }, sender)
}

async fn run(
    recorder: Recorder,
    mut queued: mpsc::Receiver<Queued>,
    metrics: Metrics,
    stop: CancellationToken,
) {
    let limit = RateLimiter::direct(Quota::per_second(EVENTS_PER_SECOND));
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            next = queued.recv() => match next {
                Some(event) => send(&recorder, &limit, &metrics, event).await,
                None => return,
            },
        }
    }
    queued.close();
    let flush = async {
        while let Some(event) = queued.recv().await {
            send(&recorder, &limit, &metrics, event).await;
        }
    };
    if timeout(FLUSH_MAX, flush).await.is_err() {
        warn!("Not every queued event could be sent before the end.");
    }
}

async fn send(
    recorder: &Recorder,
    limit: &DefaultDirectRateLimiter,
    metrics: &Metrics,
    event: Queued,
) {
    limit.until_ready().await;
    let Queued { subject, key, uid, pod, text } = event;
    let (api_version, kind) = subject.kind();
    let reference = ObjectReference {
        api_version: Some(api_version.into()),
        kind: Some(kind.into()),
        namespace: Some(key.namespace.to_string()),
        name: Some(key.name.to_string()),
        uid: Some(uid.to_string()),
        ..ObjectReference::default()
    };
    let type_ = match text.reason.kind() {
        EventKind::Normal => EventType::Normal,
        EventKind::Warning => EventType::Warning,
    };
    let event = Event {
        type_,
        reason: text.reason.as_str().into(),
        note: Some(text.note),
        action: subject.action().into(),
        secondary: pod.map(|pod| ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Pod".into()),
            namespace: Some(key.namespace.to_string()),
            name: Some(pod),
            ..ObjectReference::default()
        }),
    };
    let mut tries = 1;
    let error = loop {
        let sent = timeout(SEND_MAX, recorder.publish(&event, &reference)).await;
        let error = match sent {
            Ok(Ok(())) => return,
            Ok(Err(Error::Api(status))) if is_namespace_ending(status.code, &status.message) => {
                // Expected wherever a namespace is deleted, for each of its pods.
                metrics.event_dropped();
                debug!(
                    namespace = &*key.namespace,
                    pod = &*key.name,
                    uid = &*uid,
                    reason = event.reason,
                    "The namespace is being deleted and takes no event any more."
                );
                return;
            }
            // Refused: it would be again.
            Ok(Err(Error::Api(status))) if status.code < 500 && status.code != 429 => {
                break status.message;
            }
            Ok(Err(error)) => chain(&error),
            Err(_) => format!("no answer within {SEND_MAX:?}"),
        };
        if tries == TRIES {
            break error;
        }
        tries += 1;
        sleep(TRY_PAUSE).await;
    };
    metrics.event_dropped();
    warn!(
        namespace = &*key.namespace,
        pod = &*key.name,
        uid = &*uid,
        reason = event.reason,
        error,
        "An event could not be sent and is dropped."
    );
}

/// Whether an event was refused because its namespace is being deleted.
fn is_namespace_ending(code: u16, message: &str) -> bool {
    code == 403 && message.contains("because it is being terminated")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_that_ends_is_told_from_a_missing_right() {
        let ending = "events.events.k8s.io \"web-0.18\" is forbidden: unable to create new content in \
                      namespace shop because it is being terminated";
        let denied =
            "events.events.k8s.io is forbidden: User \"x\" cannot create resource \"events\"";
        assert!(is_namespace_ending(403, ending));
        assert!(!is_namespace_ending(403, denied));
        assert!(!is_namespace_ending(409, ending));
    }
}
