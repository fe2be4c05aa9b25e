//! Calls to the API server about one StatefulSet, each bounded in time. Everything is read from storage and
//! not from a cache: what is decided from it may end a pod.

use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Error, Resource};
use lameduck_api::{Upgrade, UpgradeSpec};
use lameduck_core::names::{
    ANNOTATION_ORIGINAL_LB_RS_WEIGHT, ANNOTATION_ORIGINAL_REPLICAS, ANNOTATION_UPGRADE_DELETES,
    LB_RS_WEIGHT,
};
use lameduck_core::upgrade::object::UpgradeStatus;
use lameduck_core::upgrade::weights::Change;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::timeout;

/// The longest that one call may take.
const CALL_MAX: Duration = Duration::from_secs(10);
/// Objects per page.
const PAGE_OBJECTS: u32 = 200;
/// Pages that are read at most: far more pods or Services than a namespace takes.
const PAGES_MAX: usize = 100;
/// Name of the field manager of our patches.
const MANAGER: &str = "lameduck-controller";

/// Why a call did not do what it should.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// The API server refused, or could not be reached.
    #[error("{what}: the request to the API server failed")]
    Request {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: Box<Error>,
    },
    /// No answer in time.
    #[error("{what}: no answer from the API server within {CALL_MAX:?}")]
    Silent {
        /// What was tried.
        what: String,
    },
    /// A pod's connections cannot be told from those of its node.
    #[error(
        "pod {pod} has its node's network and no ports, so its connections cannot be told apart"
    )]
    Uncountable {
        /// The pod.
        pod: Box<str>,
    },
    /// A list did not end.
    #[error("{what}: more than {PAGES_MAX} pages of {PAGE_OBJECTS}")]
    TooMany {
        /// What was tried.
        what: String,
    },
}

impl CallError {
    /// Somebody else was faster: what is read next shows who.
    pub(super) fn is_outdated(&self) -> bool {
        self.status() == Some(409)
    }

    /// It will be refused again, whoever asks.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::Uncountable { .. }) || matches!(self.status(), Some(400 | 403 | 422))
    }

    /// A stable word for metrics.
    pub(super) fn label(&self) -> &'static str {
        match (self, self.status()) {
            (Self::Silent { .. }, _) => "silent",
            (_, Some(403)) => "forbidden",
            (_, Some(404)) => "gone",
            (_, Some(409)) => "conflict",
            (_, Some(429)) => "throttled",
            (_, Some(_)) | (Self::TooMany { .. } | Self::Uncountable { .. }, None) => "refused",
            (Self::Request { .. }, None) => "unreachable",
        }
    }

    fn status(&self) -> Option<u16> {
        match self {
            Self::Request { source, .. } => match &**source {
                Error::Api(status) => Some(status.code),
                _ => None,
            },
            Self::Silent { .. } | Self::TooMany { .. } | Self::Uncountable { .. } => None,
        }
    }
}

async fn bounded<T>(
    what: impl Fn() -> String,
    call: impl Future<Output = Result<T, Error>>,
) -> Result<T, CallError> {
    match timeout(CALL_MAX, call).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(source)) => Err(CallError::Request { what: what(), source: Box::new(source) }),
        Err(_) => Err(CallError::Silent { what: what() }),
    }
}

/// Calls within one namespace.
pub(super) struct Calls {
    client: Client,
    namespace: String,
}

impl Calls {
    pub(super) fn new(client: Client, namespace: &str) -> Self {
        Self { client, namespace: namespace.to_owned() }
    }

    fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn what<K: Resource<DynamicType = ()>>(&self, verb: &str, name: &str) -> String {
        format!("{verb} {} {}/{name}", K::kind(&()), self.namespace)
    }

    async fn get<K>(&self, name: &str) -> Result<Option<K>, CallError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned,
    {
        bounded(|| self.what::<K>("reading", name), self.api::<K>().get_opt(name)).await
    }

    async fn list<K>(&self, labels: Option<&str>) -> Result<Vec<K>, CallError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned,
    {
        let what = || self.what::<K>("listing", labels.unwrap_or("*"));
        let mut params = ListParams::default().limit(PAGE_OBJECTS);
        params.label_selector = labels.map(str::to_owned);
        let mut all = Vec::new();
        for _ in 0..PAGES_MAX {
            let page = bounded(what, self.api::<K>().list(&params)).await?;
            all.extend(page.items);
            params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                return Ok(all);
            }
        }
        Err(CallError::TooMany { what: what() })
    }

    pub(super) async fn set(&self, name: &str) -> Result<Option<StatefulSet>, CallError> {
        self.get(name).await
    }

    pub(super) async fn upgrade(&self, name: &str) -> Result<Option<Upgrade>, CallError> {
        self.get(name).await
    }

    pub(super) async fn pods(&self, labels: &str) -> Result<Vec<Pod>, CallError> {
        self.list(Some(labels)).await
    }

    pub(super) async fn services(&self) -> Result<Vec<Service>, CallError> {
        self.list(None).await
    }

    pub(super) async fn budgets(&self) -> Result<Vec<PodDisruptionBudget>, CallError> {
        self.list(None).await
    }

    /// Makes the `Upgrade` of a StatefulSet. It goes with its set.
    pub(super) async fn create_upgrade(&self, name: &str, set_uid: &str) -> Result<(), CallError> {
        let mut upgrade = Upgrade::new(name, UpgradeSpec::default());
        upgrade.metadata.owner_references = Some(vec![OwnerReference {
            api_version: "apps/v1".to_owned(),
            kind: "StatefulSet".to_owned(),
            name: name.to_owned(),
            uid: set_uid.to_owned(),
            ..OwnerReference::default()
        }]);
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..Default::default() };
        let create = || self.what::<Upgrade>("making", name);
        bounded(create, self.api::<Upgrade>().create(&params, &upgrade)).await.map(drop)
    }

    /// Stores a status, if the object is still the one that was read.
    pub(super) async fn store_status(
        &self,
        read: &Upgrade,
        status: UpgradeStatus,
    ) -> Result<(), CallError> {
        let mut upgrade = read.clone();
        upgrade.status = Some(status);
        upgrade.metadata.managed_fields = None;
        let name = upgrade.metadata.name.clone().unwrap_or_default();
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..Default::default() };
        let what = || self.what::<Upgrade>("storing the status of", &name);
        bounded(what, self.api::<Upgrade>().replace_status(&name, &params, &upgrade))
            .await
            .map(drop)
    }

    /// Writes the annotations with weights of a Service, if it is still at this version.
    pub(super) async fn set_weights(
        &self,
        service: &str,
        version: &str,
        change: &Change,
    ) -> Result<(), CallError> {
        let annotations = json!({
            LB_RS_WEIGHT: change.weights,
            ANNOTATION_ORIGINAL_LB_RS_WEIGHT: change.record,
        });
        let patch = json!({"metadata": {"resourceVersion": version, "annotations": annotations}});
        let what = || self.what::<Service>("setting weights on", service);
        self.merge::<Service>(service, patch, what).await
    }

    /// Sets replicas and the annotation about them, if the set is still at this version.
    pub(super) async fn scale(
        &self,
        set: &str,
        version: &str,
        replicas: Option<u32>,
        original: Option<u32>,
    ) -> Result<(), CallError> {
        let original = original.map(|replicas| replicas.to_string());
        let mut patch = json!({"metadata": {
            "resourceVersion": version,
            "annotations": {ANNOTATION_ORIGINAL_REPLICAS: original},
        }});
        if let Some(replicas) = replicas {
            patch["spec"] = json!({"replicas": replicas});
        }
        let what = || self.what::<StatefulSet>("scaling", set);
        self.merge::<StatefulSet>(set, patch, what).await
    }

    async fn merge<K>(
        &self,
        name: &str,
        patch: Value,
        what: impl Fn() -> String,
    ) -> Result<(), CallError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned,
    {
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..Default::default() };
        bounded(what, self.api::<K>().patch(name, &params, &Patch::Merge(patch))).await.map(drop)
    }

    /// Writes or takes off the mark of exactly this pod, if it is still at this version.
    pub(super) async fn mark_pod(
        &self,
        pod: &str,
        uid: &str,
        version: &str,
        on: bool,
    ) -> Result<(), CallError> {
        let patch = json!({"metadata": {
            "uid": uid,
            "resourceVersion": version,
            "annotations": {ANNOTATION_UPGRADE_DELETES: on.then_some("true")},
        }});
        self.merge::<Pod>(pod, patch, || self.what::<Pod>("marking", pod)).await
    }

    /// Adds an ephemeral container to exactly this pod.
    pub(super) async fn add_container(
        &self,
        pod: &str,
        uid: &str,
        container: &Value,
    ) -> Result<(), CallError> {
        let patch = Patch::Strategic(json!({
            "metadata": {"uid": uid},
            "spec": {"ephemeralContainers": [container]},
        }));
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..Default::default() };
        let what = || self.what::<Pod>("adding a container to", pod);
        let pods = self.api::<Pod>();
        let added = pods.patch_subresource("ephemeralcontainers", pod, &params, &patch);
        bounded(what, added).await.map(drop)
    }

    /// Deletes exactly this pod, if it is still at this version.
    pub(super) async fn delete_pod(
        &self,
        pod: &str,
        uid: &str,
        version: &str,
    ) -> Result<(), CallError> {
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: Some(uid.to_owned()),
                resource_version: Some(version.to_owned()),
            }),
            ..DeleteParams::default()
        };
        let what = || self.what::<Pod>("deleting", pod);
        bounded(what, self.api::<Pod>().delete(pod, &params)).await.map(drop)
    }
}
