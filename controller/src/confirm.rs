//! The fresh read before a pod is called off: its application gets SIGTERM after that word, so the
//! watches' word alone is not enough.
//!
//! Pods of the same Services share a read, since a roll-out ends many at once: whoever asks while a read
//! is on its way shares the *next* one, so that no answer is older than its question.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use lameduck_core::drain::entries_off;

use crate::index::{FreshSlices, Pod, PodKey};
use crate::pods::{CallError, Pods};
use crate::slim;

/// What a read is about: a namespace, and Services in it, sorted.
type Scope = (Arc<str>, Vec<Box<str>>);

/// Confirms that traffic is off.
#[derive(Clone)]
pub struct Confirm {
    pods: Pods,
    scopes: Arc<Mutex<HashMap<Scope, Arc<Turn>>>>,
}

/// The reads of one scope, one after the other.
#[derive(Default)]
struct Turn {
    running: tokio::sync::Mutex<()>,
    next: Mutex<Arc<Batch>>,
}

/// One read, and what it found.
#[derive(Default)]
struct Batch(OnceLock<Result<Fresh, Arc<CallError>>>);

/// What a read found.
struct Fresh {
    services: Vec<slim::Service>,
    slices: FreshSlices,
}

impl Confirm {
    /// Confirms through `pods`.
    #[must_use]
    pub fn new(pods: Pods) -> Self {
        Self { pods, scopes: Arc::default() }
    }

    /// Reads the pod's Services and EndpointSlices from storage, and says whether they agree that
    /// nothing sends to it any more. `known` are the Services that the watches know to have to do with
    /// it, `namespace/name`.
    ///
    /// # Errors
    /// [`CallError::StillSending`], [`CallError::NewService`], or no answer.
    pub async fn off(&self, key: &PodKey, pod: &Pod, known: &[Arc<str>]) -> Result<(), CallError> {
        let mut names: Vec<Box<str>> = known
            .iter()
            .filter_map(|name| name.split_once('/'))
            .map(|(_, name)| name.into())
            .collect();
        names.sort_unstable();
        let scope = (Arc::clone(&key.namespace), names);
        let turn = Arc::clone(lock(&self.scopes).entry(scope.clone()).or_default());
        let batch = Arc::clone(&lock(&turn.next));
        {
            let _running = turn.running.lock().await;
            if batch.0.get().is_none() {
                // From here on, whoever asks gets the next read.
                *lock(&turn.next) = Arc::default();
                let read = self.read(&scope).await.map_err(Arc::new);
                // Only the holder of `running` sets it, and it was not set.
                let _first = batch.0.set(read).is_ok();
            }
        }
        self.forget(&scope, turn);
        match batch.0.get() {
            Some(Ok(fresh)) => fresh.off(key, pod, &scope.1),
            Some(Err(error)) => Err(CallError::Shared(Arc::clone(error))),
            None => Err(CallError::Silent),
        }
    }

    async fn read(&self, (namespace, names): &Scope) -> Result<Fresh, CallError> {
        let services = self.pods.services(namespace).await?;
        // A slice need not have a Service: where one of the names is none, or there is none, the whole
        // namespace is read.
        let is_service = |name: &str| services.iter().any(|service| service.metadata.name == name);
        let selector = (!names.is_empty() && names.iter().all(|name| is_service(name)))
            .then(|| format!("kubernetes.io/service-name in ({})", names.join(",")));
        let mut slices = FreshSlices::default();
        self.pods.slices(namespace, selector, |slice| slices.add(&slice)).await?;
        Ok(Fresh { services, slices })
    }

    /// Forgets a scope that nobody asks about any more.
    fn forget(&self, scope: &Scope, turn: Arc<Turn>) {
        let mut scopes = lock(&self.scopes);
        drop(turn);
        if scopes.get(scope).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            scopes.remove(scope);
        }
    }
}

impl Fresh {
    fn off(&self, key: &PodKey, pod: &Pod, known: &[Box<str>]) -> Result<(), CallError> {
        let new = self.services.iter().find(|service| {
            let is_known = known.iter().any(|name| **name == *service.metadata.name);
            !is_known && selects(service, pod)
        });
        if let Some(service) = new {
            let name = format!("{}/{}", key.namespace, service.metadata.name);
            return Err(CallError::NewService(name));
        }
        let entries = self.slices.about(key, pod);
        entries_off(&entries).map_err(|service| CallError::StillSending(service.to_owned()))
    }
}

fn selects(service: &slim::Service, pod: &Pod) -> bool {
    let selector: Vec<_> = service
        .spec
        .selector
        .iter()
        .map(|(key, value)| (key.as_str().into(), value.as_str().into()))
        .collect();
    service.spec.type_ != "ExternalName" && pod.matches(&selector)
}

/// None of these is held across a wait, and each write leaves them whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::index::SharedIndex;
    use crate::testing::{FakeApi, pod};

    fn known_pod(name: &str) -> (PodKey, Pod) {
        let index = SharedIndex::default();
        let key = PodKey::new("shop", name);
        let pod = serde_json::from_value(pod(name)).unwrap();
        index.with(|index| index.apply_pod(pod));
        let pod = index.with(|index| index.pod(&key).cloned()).unwrap();
        (key, pod)
    }

    fn slice(ready: bool) -> serde_json::Value {
        json!({
            "metadata": {
                "namespace": "shop", "name": "web-1",
                "labels": { "kubernetes.io/service-name": "web" },
            },
            "endpoints": [{
                "addresses": ["10.0.0.7"], "conditions": { "ready": ready },
                "targetRef": { "kind": "Pod", "name": "web-0" },
            }],
        })
    }

    #[tokio::test(start_paused = true)]
    async fn many_pods_share_reads_and_no_answer_is_older_than_its_question() {
        let api = FakeApi::default();
        let service = json!({ "metadata": { "namespace": "shop", "name": "web" },
            "spec": { "selector": { "app": "web" } } });
        api.put_slices(vec![service.clone()], vec![slice(false)]);
        let confirm = Confirm::new(Pods::new(api.client()));
        let known: Arc<[Arc<str>]> = Arc::new(["shop/web".into()]);
        let ask = || {
            let (confirm, known) = (confirm.clone(), Arc::clone(&known));
            tokio::spawn(async move {
                let (key, pod) = known_pod("web-0");
                confirm.off(&key, &pod, &known).await
            })
        };
        // One read has been made; the slice gets ready again, and many more ask.
        let first = ask();
        while api.calls_len() < 2 {
            tokio::task::yield_now().await;
        }
        api.put_slices(vec![service], vec![slice(true)]);
        let later: Vec<_> = (0..50).map(|_| ask()).collect();
        assert!(first.await.unwrap().is_ok());
        for answer in later {
            let error = answer.await.unwrap().unwrap_err();
            assert!(matches!(error, CallError::StillSending(_)), "{error}");
        }
        let reads = api.calls().len() / 2;
        assert_eq!(
            reads, 3,
            "the first, that of the next who asks, and one for all who came during it"
        );
        assert!(lock(&confirm.scopes).is_empty());
    }
}
