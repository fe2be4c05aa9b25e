//! Calls to the API server about pods and what sends to them, each bounded in time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use kube::api::{GetParams, ListParams, Patch, PatchParams};
use kube::core::Request;
use kube::{Client, Error};
use lameduck_core::drain::Condition;
use lameduck_core::names::FINALIZER;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::index::PodKey;
use crate::slim::{self, List};

/// The longest that one call may take.
const CALL_MAX: Duration = Duration::from_secs(5);
/// Objects per page.
const PAGE_OBJECTS: u32 = 100;
/// EndpointSlices per page: a full one has 40 KB.
const PAGE_SLICES: u32 = 25;
/// Name of the field manager of our patches.
const MANAGER: &str = "lameduck-controller";

/// Why a call did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The API server refused, or could not be reached.
    #[error("the request to the API server failed")]
    Request(#[from] Error),
    /// The request cannot be built.
    #[error("the request cannot be built")]
    Build(#[from] kube::core::request::Error),
    /// No answer in time.
    #[error("no answer from the API server within {CALL_MAX:?}")]
    Silent,
    /// The confirming read says that the pod still gets traffic.
    #[error("a fresh read says that {0} still lists the pod as ready")]
    StillSending(String),
    /// The fresh read says that other Services select the pod than was known.
    #[error("a fresh read says that Service {0} selects the pod, which was not known yet")]
    NewService(String),
    /// A read that several pods shared did not succeed.
    #[error(transparent)]
    Shared(Arc<CallError>),
    /// This replica stopped leading before the write.
    #[error("this replica does not lead any more")]
    NotLeading,
}

impl CallError {
    /// The HTTP status of a refusal.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Request(Error::Api(status)) => Some(status.code),
            Self::Shared(shared) => shared.status(),
            _ => None,
        }
    }

    /// Somebody else changed the pod: the next event of the watch brings what a new try needs.
    #[must_use]
    pub fn is_outdated(&self) -> bool {
        matches!(self.status(), Some(409 | 422))
            || matches!(self, Self::StillSending(_) | Self::NewService(_))
    }

    /// A stable word for metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Request(Error::Api(status)) => match status.code {
                403 => "forbidden",
                404 => "gone",
                409 | 422 => "conflict",
                429 => "throttled",
                _ => "refused",
            },
            Self::Request(_) => "unreachable",
            Self::Build(_) => "invalid",
            Self::Silent => "silent",
            Self::StillSending(_) | Self::NewService(_) => "not_confirmed",
            Self::Shared(shared) => shared.label(),
            Self::NotLeading => "not_leading",
        }
    }
}

/// Calls about pods.
#[derive(Clone)]
pub struct Pods {
    client: Client,
}

impl Pods {
    /// Calls through `client`.
    #[must_use]
    pub const fn new(client: Client) -> Self {
        Self { client }
    }

    /// The pod as it is now, from the API server's storage.
    ///
    /// # Errors
    /// Where there is no answer; `Ok(None)` where there is no such pod.
    pub async fn get(&self, key: &PodKey) -> Result<Option<slim::Pod>, CallError> {
        let get = path(&key.namespace, "pods").get(&key.name, &GetParams::default())?;
        match self.call(get).await {
            Err(error) if error.status() == Some(404) => Ok(None),
            other => other.map(Some),
        }
    }

    /// Writes a condition. With `version`, only where nobody changed the pod since.
    ///
    /// # Errors
    /// 409 where the pod has changed (with `version`), 422 where it is another one, 404 where it is gone.
    pub async fn write_condition(
        &self,
        key: &PodKey,
        uid: &str,
        version: Option<&str>,
        type_: &str,
        condition: &Condition,
    ) -> Result<slim::Pod, CallError> {
        let mut metadata = BTreeMap::from([("uid", uid)]);
        metadata.extend(version.map(|version| ("resourceVersion", version)));
        let body = json!({
            "metadata": metadata,
            "status": { "conditions": [{
                "type": type_,
                "status": condition.status.as_str(),
                "reason": &*condition.reason,
                "message": &*condition.message,
                "lastTransitionTime": whole_seconds(condition.since),
            }]},
        });
        let patch = Patch::Strategic(body);
        let request = path(&key.namespace, "pods").patch_subresource(
            "status",
            &key.name,
            &params(),
            &patch,
        )?;
        self.call(request).await
    }

    /// Writes a label.
    ///
    /// # Errors
    /// 404 where the pod is gone, 422 where it is another one.
    pub async fn write_label(
        &self,
        key: &PodKey,
        uid: &str,
        label: &str,
        value: &str,
    ) -> Result<(), CallError> {
        let labels = BTreeMap::from([(label, value)]);
        self.write_metadata(key, json!({ "uid": uid, "labels": labels })).await
    }

    /// Writes annotations.
    ///
    /// # Errors
    /// 404 where the pod is gone, 422 where it is another one.
    pub async fn write_annotations(
        &self,
        key: &PodKey,
        uid: &str,
        annotations: &[(&str, &str)],
    ) -> Result<(), CallError> {
        let annotations: BTreeMap<_, _> = annotations.iter().copied().collect();
        self.write_metadata(key, json!({ "uid": uid, "annotations": annotations })).await
    }

    async fn write_metadata(&self, key: &PodKey, metadata: Value) -> Result<(), CallError> {
        let patch = Patch::Merge(json!({ "metadata": metadata }));
        let request = path(&key.namespace, "pods").patch(&key.name, &params(), &patch)?;
        self.call::<slim::Pod>(request).await.map(drop)
    }

    /// Takes our finalizer off, where it stands at position `at` of the pod with this UID.
    ///
    /// # Errors
    /// 422 where the pod is another one or its finalizers have moved; 404 where it is gone.
    pub async fn remove_finalizer(
        &self,
        key: &PodKey,
        uid: &str,
        at: usize,
    ) -> Result<(), CallError> {
        let position = format!("/metadata/finalizers/{at}");
        let body = json!([
            { "op": "test", "path": "/metadata/uid", "value": uid },
            { "op": "test", "path": position, "value": FINALIZER },
            { "op": "remove", "path": position },
        ]);
        // The operations are written out above: they parse.
        let patch: json_patch::Patch = serde_json::from_value(body).map_err(Error::SerdeError)?;
        let patch = Patch::Json::<()>(patch);
        let request = path(&key.namespace, "pods").patch(&key.name, &params(), &patch)?;
        self.call::<slim::Pod>(request).await.map(drop)
    }

    /// The Services of a namespace, from storage.
    ///
    /// # Errors
    /// No answer.
    pub async fn services(&self, namespace: &str) -> Result<Vec<slim::Service>, CallError> {
        let mut services = Vec::new();
        let request = path(namespace, "services");
        self.pages(&request, PAGE_OBJECTS, None, |service| services.push(service)).await?;
        Ok(services)
    }

    /// Hands the EndpointSlices of a namespace that a label selector matches to `see`, from storage.
    ///
    /// # Errors
    /// No answer, for any page.
    pub async fn slices(
        &self,
        namespace: &str,
        selector: Option<String>,
        see: impl FnMut(slim::EndpointSlice),
    ) -> Result<(), CallError> {
        let path = format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices");
        self.pages(&Request::new(path), PAGE_SLICES, selector, see).await
    }

    /// Hands every pod of a namespace, or of all of them, that a label selector matches to `see`, page by
    /// page.
    ///
    /// # Errors
    /// Where a page could not be read; what was seen before was right at its time.
    pub async fn each(
        &self,
        namespace: Option<&str>,
        selector: &str,
        see: impl FnMut(slim::Pod),
    ) -> Result<(), CallError> {
        let request = match namespace {
            Some(namespace) => path(namespace, "pods"),
            None => Request::new("/api/v1/pods"),
        };
        self.pages(&request, PAGE_OBJECTS, Some(selector.to_owned()), see).await
    }

    async fn pages<T: DeserializeOwned>(
        &self,
        request: &Request,
        page_objects: u32,
        selector: Option<String>,
        mut see: impl FnMut(T),
    ) -> Result<(), CallError> {
        let mut params = ListParams {
            label_selector: selector,
            limit: Some(page_objects),
            ..ListParams::default()
        };
        loop {
            let page: List<T> = self.call(request.list(&params)?).await?;
            page.items.unwrap_or_default().into_iter().for_each(&mut see);
            if page.metadata.continue_.is_empty() {
                return Ok(());
            }
            params.continue_token = Some(page.metadata.continue_);
        }
    }

    async fn call<T: DeserializeOwned>(
        &self,
        request: axum::http::Request<Vec<u8>>,
    ) -> Result<T, CallError> {
        let answer = timeout(CALL_MAX, self.client.request::<T>(request));
        Ok(answer.await.map_err(|_| CallError::Silent)??)
    }
}

fn path(namespace: &str, plural: &str) -> Request {
    Request::new(format!("/api/v1/namespaces/{namespace}/{plural}"))
}

fn params() -> PatchParams {
    PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() }
}

/// RFC 3339 without a fraction, which is what `metav1.Time` keeps.
fn whole_seconds(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
