//! Which StatefulSets are to be looked at: names only, nothing of the objects is kept.

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;

use futures::stream::{self, BoxStream, StreamExt};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Service;
use kube::core::PartialObjectMeta;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use lameduck_api::Upgrade;
use lameduck_core::names::{
    ANNOTATION_ORIGINAL_LB_RS_WEIGHT, ANNOTATION_ORIGINAL_REPLICAS,
    ANNOTATION_ORIGINAL_UPDATE_STRATEGY,
};
use lameduck_core::text::chain;
use lameduck_core::upgrade::weights::{Annotations, zeros};
use serde::de::DeserializeOwned;
use tracing::warn;

use crate::index::PodKey;

/// What a watch tells.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// Look at it.
    Look(PodKey),
    /// A Service has weights of ours for these sets; none: it has none any more.
    Weights(PodKey, Vec<PodKey>),
}

/// Everything that is worth a look, from the beginning on.
pub(super) fn news(client: &Client) -> BoxStream<'static, News> {
    let sets = each::<StatefulSet>(client).filter_map(async |(object, _)| {
        let annotations = object.annotations();
        let is_ours = annotations.contains_key(ANNOTATION_ORIGINAL_UPDATE_STRATEGY)
            || annotations.contains_key(ANNOTATION_ORIGINAL_REPLICAS);
        is_ours.then(|| News::Look(key(&object)))
    });
    let upgrades =
        each::<Upgrade>(client).filter_map(async |(object, _)| Some(News::Look(key(&object))));
    let services = each::<Service>(client).filter_map(async |(object, is_there)| {
        let record = object.annotations().get(ANNOTATION_ORIGINAL_LB_RS_WEIGHT);
        let record = record.filter(|_| is_there).map(String::as_str);
        let zeros = zeros(&Annotations { record, ..Annotations::default() }).unwrap_or_default();
        let key = key(&object);
        let sets = zeros.keys().map(|set| PodKey::new(&key.namespace, set)).collect();
        Some(News::Weights(key, sets))
    });
    stream::select(sets, stream::select(upgrades, services)).boxed()
}

/// Every object of a kind as it comes and goes; false: it is gone.
fn each<K>(client: &Client) -> BoxStream<'static, (PartialObjectMeta<K>, bool)>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let config = watcher::Config::default().page_size(500);
    watcher(Api::<PartialObjectMeta<K>>::all(client.clone()), config)
        .default_backoff()
        .filter_map(async |event| match event {
            Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) => {
                Some((object, true))
            }
            Ok(watcher::Event::Delete(object)) => Some((object, false)),
            Ok(watcher::Event::Init | watcher::Event::InitDone) => None,
            Err(error) => {
                warn!(
                    kind = &*K::kind(&()),
                    error = %chain(&error),
                    "A watch for upgrades failed; it is tried again."
                );
                None
            }
        })
        .boxed()
}

fn key<K>(object: &PartialObjectMeta<K>) -> PodKey
where
    K: Resource<DynamicType = ()>,
{
    let metadata = &object.metadata;
    PodKey::new(
        metadata.namespace.as_deref().unwrap_or_default(),
        metadata.name.as_deref().unwrap_or_default(),
    )
}

/// Which sets have weights of ours, on which Services.
#[derive(Debug, Default)]
pub(super) struct Weighted {
    by_service: HashMap<PodKey, Vec<PodKey>>,
}

impl Weighted {
    /// Takes in what a Service has now, and returns the sets that it is about or was.
    pub(super) fn set(&mut self, service: PodKey, sets: Vec<PodKey>) -> HashSet<PodKey> {
        let before = if sets.is_empty() {
            self.by_service.remove(&service)
        } else {
            self.by_service.insert(service, sets.clone())
        };
        before.into_iter().flatten().chain(sets).collect()
    }

    /// Whether a set has any.
    pub(super) fn has(&self, set: &PodKey) -> bool {
        self.by_service.values().flatten().any(|one| one == set)
    }
}
