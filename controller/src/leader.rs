//! Leadership by a Lease. [`Leadership::is_held`] is asked at each write and answers from a deadline, so
//! a process that hangs, sleeps or loses its API server stops leading by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Api, PostParams};
use kube::{Client, Error};
use lameduck_core::lease::{self, Memory, Record, Settings, Step};
use lameduck_core::text::chain;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// The longest that one call may take: shorter than the time between retry and deadline, so that a
/// leader has three tries before it must let go.
const CALL_MAX: Duration = Duration::from_secs(3);

/// Whether this process leads.
#[derive(Clone, Debug)]
pub struct Leadership {
    started: Instant,
    /// Milliseconds since `started`; 0 while not leading.
    valid_until_millis: Arc<AtomicU64>,
    gained: Arc<Notify>,
}

impl Default for Leadership {
    fn default() -> Self {
        Self { started: Instant::now(), valid_until_millis: Arc::default(), gained: Arc::default() }
    }
}

impl Leadership {
    /// Whether this process leads *now*. Ask before each write, do not keep the answer.
    #[must_use]
    pub fn is_held(&self) -> bool {
        let now = u64::try_from(self.now().as_millis()).unwrap_or(u64::MAX);
        now < self.valid_until_millis.load(Ordering::Acquire)
    }

    /// Waits until leadership was gained.
    pub async fn gained(&self) {
        self.gained.notified().await;
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    pub(crate) fn hold_until(&self, until: Duration) {
        let was_held = self.is_held();
        let millis = u64::try_from(until.as_millis()).unwrap_or(u64::MAX);
        self.valid_until_millis.store(millis, Ordering::Release);
        if !was_held && self.is_held() {
            info!("This replica leads now.");
            self.gained.notify_one();
        }
    }

    pub(crate) fn let_go(&self) {
        self.valid_until_millis.store(0, Ordering::Release);
    }
}

/// Runs for the Lease `name` in `namespace` as `me`, until `stop`; then gives it back.
pub async fn run(
    client: Client,
    namespace: String,
    name: String,
    me: String,
    leadership: Leadership,
    stop: CancellationToken,
) {
    let settings = Settings::default();
    let runner =
        Runner { api: Api::namespaced(client, &namespace), name, me, leadership, settings };
    let mut memory = Memory::default();
    loop {
        let was_held = runner.leadership.is_held();
        let step = runner.step(&mut memory).await;
        if let Err(error) = step {
            warn!(error = %chain(&error), "The Lease could not be read or written; trying again.");
        }
        if was_held && !runner.leadership.is_held() {
            warn!("This replica does not lead any more.");
        }
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(runner.settings.retry) => {}
        }
    }
    runner.release().await;
}

#[derive(Debug, thiserror::Error)]
enum LeaseError {
    #[error("the request to the API server failed")]
    Request(#[from] Error),
    #[error("no answer within {CALL_MAX:?}")]
    Silent,
}

struct Runner {
    api: Api<Lease>,
    name: String,
    me: String,
    leadership: Leadership,
    settings: Settings,
}

impl Runner {
    async fn step(&self, memory: &mut Memory) -> Result<(), LeaseError> {
        let found = bounded(self.api.get_opt(&self.name)).await?;
        let record = found.as_ref().map(|lease| self.record(lease));
        // Before the write: somebody else may count from there.
        let began = self.leadership.now();
        let wrote = match lease::evaluate(memory, record.as_ref(), &self.me, began) {
            Step::Wait => {
                self.leadership.let_go();
                return Ok(());
            }
            Step::Create => {
                let lease = self.lease(None, 0, None);
                bounded(self.api.create(&PostParams::default(), &lease)).await
            }
            Step::Write { version, transitions, renewal } => {
                let acquired = found
                    .and_then(|lease| lease.spec)
                    .filter(|_| renewal)
                    .and_then(|spec| spec.acquire_time);
                let lease = self.lease(Some(version), transitions, acquired);
                bounded(self.api.replace(&self.name, &PostParams::default(), &lease)).await
            }
        };
        match wrote {
            Ok(_) => {
                self.leadership.hold_until(lease::valid_until(began, &self.settings));
                Ok(())
            }
            // Somebody was faster; the next look shows who.
            Err(LeaseError::Request(Error::Api(status))) if status.code == 409 => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Gives the Lease back, so that another replica need not wait for it to run out.
    async fn release(&self) {
        if !self.leadership.is_held() {
            return;
        }
        self.leadership.let_go();
        let released = async {
            let Some(found) = bounded(self.api.get_opt(&self.name)).await? else { return Ok(()) };
            let record = self.record(&found);
            if record.holder != self.me {
                return Ok(());
            }
            let mut lease = self.lease(Some(record.version), record.transitions, None);
            if let Some(spec) = &mut lease.spec {
                spec.holder_identity = Some(String::new());
                spec.lease_duration_seconds = Some(1);
            }
            bounded(self.api.replace(&self.name, &PostParams::default(), &lease)).await.map(drop)
        };
        match released.await {
            Ok(()) => info!("The Lease was given back."),
            Err(error) => warn!(
                error = %chain(&error as &LeaseError),
                "The Lease could not be given back; it runs out by itself."
            ),
        }
    }

    fn record(&self, lease: &Lease) -> Record {
        let spec = lease.spec.clone().unwrap_or_default();
        let seconds = spec.lease_duration_seconds.and_then(|s| u64::try_from(s).ok());
        Record {
            version: lease.metadata.resource_version.clone().unwrap_or_default(),
            holder: spec.holder_identity.unwrap_or_default(),
            lease: seconds.filter(|s| *s > 0).map_or(self.settings.lease, Duration::from_secs),
            transitions: spec.lease_transitions.unwrap_or(0),
        }
    }

    fn lease(
        &self,
        version: Option<String>,
        transitions: i32,
        acquired: Option<MicroTime>,
    ) -> Lease {
        let now = MicroTime(jiff::Timestamp::now());
        Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                resource_version: version,
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.me.clone()),
                lease_duration_seconds: i32::try_from(self.settings.lease.as_secs()).ok(),
                acquire_time: Some(acquired.unwrap_or_else(|| now.clone())),
                renew_time: Some(now),
                lease_transitions: Some(transitions),
                ..LeaseSpec::default()
            }),
        }
    }
}

async fn bounded<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, LeaseError> {
    timeout(CALL_MAX, call).await.map_err(|_| LeaseError::Silent)?.map_err(LeaseError::Request)
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;
    use crate::testing::{FakeApi, Silence};

    struct Replica {
        leadership: Leadership,
        silence: Silence,
        stop: CancellationToken,
        task: tokio::task::JoinHandle<()>,
    }

    fn replica(api: &FakeApi, me: &str) -> Replica {
        let (client, silence) = api.fragile_client();
        let leadership = Leadership::default();
        let stop = CancellationToken::new();
        let task = tokio::spawn(run(
            client,
            "lameduck-system".into(),
            "lameduck-controller".into(),
            me.into(),
            leadership.clone(),
            stop.clone(),
        ));
        Replica { leadership, silence, stop, task }
    }

    /// Lets seconds pass, and looks at each tenth of one that there are never two.
    async fn pass(seconds: u32, replicas: [&Replica; 2]) -> [bool; 2] {
        for _ in 0..seconds * 10 {
            sleep(Duration::from_millis(100)).await;
            let held = replicas.map(|replica| replica.leadership.is_held());
            assert_ne!(held, [true, true], "two leaders");
        }
        replicas.map(|replica| replica.leadership.is_held())
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_is_cut_off_lets_go_before_another_takes_over() {
        let api = FakeApi::default();
        let one = replica(&api, "one");
        sleep(Duration::from_millis(50)).await;
        let two = replica(&api, "two");
        let both = [&one, &two];
        assert_eq!(pass(60, both).await, [true, false], "it is renewed");
        one.silence.store(true, Ordering::Relaxed);
        assert_eq!(pass(12, both).await, [false, false], "it stops believing in itself");
        assert_eq!(pass(10, both).await, [false, true]);
        one.silence.store(false, Ordering::Relaxed);
        assert_eq!(pass(60, both).await, [false, true], "who is back does not take it away");
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_ends_hands_over_at_once() {
        let api = FakeApi::default();
        let one = replica(&api, "one");
        sleep(Duration::from_millis(50)).await;
        let two = replica(&api, "two");
        assert_eq!(pass(5, [&one, &two]).await, [true, false]);
        one.stop.cancel();
        assert_eq!(pass(3, [&one, &two]).await, [false, true]);
        one.task.await.unwrap();
    }
}
