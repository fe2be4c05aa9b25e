//! The replicas of the controller, asked through the API server's proxy to pods.

use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, GetParams, ListParams};
use kube::core::Request;
use kube::{Client, Error, ResourceExt as _};
use lameduck_api::names::SYSTEM_NAMESPACE;
use lameduck_api::state::{ADMIN_PORT, ReplicaState, STATE_PATH};
use serde::de::DeserializeOwned;

use super::failure::{Exit, Failure};

/// Label of the controller's pods, as `manifests/base` has it.
const LABEL: &str = "app.kubernetes.io/name=lameduck-controller";
/// Replicas that are asked: there are two, and four while they are replaced.
const REPLICAS_MAX: u32 = 10;

/// One replica, and what it said.
#[derive(Debug)]
pub struct Replica {
    /// Its pod.
    pub pod: Pod,
    /// What it says of itself, or why it could not be asked.
    pub state: Result<ReplicaState, Failure>,
}

/// Every replica of the controller.
///
/// # Errors
/// The pods of the installation cannot be listed.
pub async fn replicas(client: &Client) -> Result<Vec<Replica>, Error> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), SYSTEM_NAMESPACE);
    let params = ListParams::default().labels(LABEL).limit(REPLICAS_MAX);
    let pods = pods.list(&params).await?.items;
    let asked = stream::iter(pods).map(async |pod| {
        let state = ask(client, &pod.name_any(), STATE_PATH).await;
        Replica { pod, state }
    });
    Ok(asked.buffered(usize::try_from(REPLICAS_MAX).unwrap_or(1)).collect().await)
}

/// What a controller's pod answers at `path`.
///
/// # Errors
/// It cannot be asked, or its answer cannot be read.
pub async fn ask<T: DeserializeOwned>(
    client: &Client,
    pod: &str,
    path: &str,
) -> Result<T, Failure> {
    let what = || format!("the controller {pod} cannot be asked");
    let (folder, last) = path.rsplit_once('/').unwrap_or(("", path));
    let proxy = format!("/api/v1/namespaces/{SYSTEM_NAMESPACE}/pods/{pod}:{ADMIN_PORT}/proxy");
    let request = Request::new(format!("{proxy}{folder}"))
        .get(last, &GetParams::default())
        .map_err(|error| Failure::new(Exit::Refused, format!("{}: {error}", what())))?;
    client.request(request).await.map_err(|error| match &error {
        Error::Api(status) if status.code == 404 => {
            Failure::refused(format!("{}: it does not know {path}, so it is an older one", what()))
        }
        _ => Failure::of_call(&what(), &error),
    })
}
