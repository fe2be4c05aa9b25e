//! Asks the API server. The same lists and watches serve a status that is printed once and one that is
//! followed: once, each ends when its list is whole.

use std::fmt::Debug;
use std::time::Duration;

use futures::future::ready;
use futures::stream::{self, BoxStream, SelectAll};
use futures::{Stream, StreamExt as _};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, ApiResource, ListParams};
use kube::core::{Object, Selector};
use kube::runtime::utils::{Backoff, WatchStreamExt as _};
use kube::runtime::watcher::{self, Config, Event, watcher};
use kube::{Client, Error, Resource, ResourceExt};
use lameduck_api::{TerminationPolicy, Upgrade};

use super::facts::{
    AnySpec, NamespaceFacts, Nothing, Owner, PodFacts, PolicyFacts, PolicySpec, UpgradeFacts,
    WorkloadFacts, WorkloadSpec, WorkloadStatus, owner,
};
use super::world::{Change, Said, Trouble, World, key};
use crate::common::failure::{Exit, Failure, is_missing_kind};
use crate::common::light::Light;
use crate::common::target::{Kind, Target};

/// Objects in one answer: kubectl's own, some 1 MB of metadata.
const PAGE: u32 = 500;
/// Namespaces whose pods are listed one by one; with more there would be more requests than answers of use.
const NAMESPACES_MAX: u32 = 64;
/// Lists of pods at the same time.
const LISTS_AT_ONCE: usize = 4;
/// The longest pause between two tries while the cluster does not answer.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// What is to be read.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    /// The namespace; none for all.
    pub(super) namespace: Option<String>,
    /// A workload or a pod.
    pub(super) target: Option<Target>,
    /// Labels.
    pub(super) selector: Option<String>,
    /// The longest that one request may take, in seconds.
    pub(super) request_seconds: u64,
}

/// What is heard.
pub(super) type Ear = SelectAll<BoxStream<'static, Said>>;

type Workload = Object<WorkloadSpec, WorkloadStatus>;

/// Begins to read. `follows` goes on after the lists.
///
/// # Errors
/// What is named does not exist, or cannot be read.
pub(super) async fn listen(
    client: &Client,
    scope: &Scope,
    world: &mut World,
    follows: bool,
) -> Result<Ear, Failure> {
    let narrow = Narrow::new(client, scope).await?;
    let config = config(scope, follows);
    let labelled = with_labels(config.clone(), scope.selector.as_deref());
    let namespace = scope.namespace.as_deref();
    let mut ear = SelectAll::new();

    let namespaces: Api<Light<Namespace>> = Api::all(client.clone());
    let one = namespace.map(|name| format!("metadata.name={name}"));
    let heard = watcher(namespaces, with_fields(config.clone(), one.as_deref()));
    let new = |object: Light<Namespace>| NamespaceFacts::new(&object.metadata);
    ear.push(follow(heard, "namespaces", new, Said::Namespace, follows));

    let policies: Api<Object<PolicySpec, Nothing>> =
        Api::all_with(client.clone(), &ApiResource::erase::<TerminationPolicy>(&()));
    let new = |object| PolicyFacts::new(&object);
    let heard = watcher(policies, config.clone());
    ear.push(follow(heard, "terminationpolicies", new, Said::Policy, follows));

    let filter = with_labels(labelled.clone(), narrow.pod_labels.as_deref());
    let filter = with_fields(filter, narrow.pod_fields.as_deref());
    let parts = if namespace.is_none() && !follows { few_namespaces(client).await } else { None };
    ear.push(match parts {
        Some(names) => pods_by_namespace(client.clone(), names, filter),
        None => pods(client, namespace, filter, Said::Pod, follows),
    });

    let new = |object: Workload| WorkloadFacts::new(&object);
    if let Some(fields) = narrow.fields_of("deployment") {
        let api = dynamic(client, namespace, &ApiResource::erase::<Deployment>(&()));
        let heard = watcher(api, with_fields(labelled.clone(), fields.as_deref()));
        ear.push(follow(heard, "deployments", new, Said::Deployment, follows));
    } else {
        world.deployments.complete = true;
    }
    if let Some(fields) = narrow.fields_of("statefulset") {
        let api = dynamic(client, namespace, &ApiResource::erase::<StatefulSet>(&()));
        let heard = watcher(api, with_fields(labelled, fields.as_deref()));
        ear.push(follow(heard, "statefulsets", new, Said::StatefulSet, follows));
        let api: Api<Object<AnySpec, UpgradeFacts>> =
            dynamic(client, namespace, &ApiResource::erase::<Upgrade>(&()));
        let heard = watcher(api, with_fields(config, fields.as_deref()));
        ear.push(follow(heard, "upgrades", UpgradeFacts::new, Said::Upgrade, follows));
    } else {
        (world.stateful_sets.complete, world.upgrades.complete) = (true, true);
    }
    Ok(ear)
}

/// The names of all namespaces, where they are so few that one list of pods for each is worth it.
async fn few_namespaces(client: &Client) -> Option<Vec<String>> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let list = namespaces.list_metadata(&ListParams::default().limit(NAMESPACES_MAX)).await.ok()?;
    let is_whole = list.metadata.continue_.is_none_or(|token| token.is_empty());
    is_whole.then(|| list.items.iter().map(ResourceExt::name_any).collect())
}

/// The pods of all namespaces, some at a time: the pages of one list come one after the other, and while one is
/// read here the API server could make the next.
fn pods_by_namespace(
    client: Client,
    names: Vec<String>,
    config: Config,
) -> BoxStream<'static, Said> {
    let of_one = move |name: String| {
        let parts = pods(&client, Some(&name), config.clone(), |change| change, false);
        // Each list begins and ends; together they do so once.
        parts.filter(|change| ready(!matches!(change, Ok(Change::Began | Change::Complete))))
    };
    let parts = stream::iter(names).map(of_one).flatten_unordered(LISTS_AT_ONCE);
    let whole = stream::iter([Ok(Change::Began)]).chain(parts);
    whole.chain(stream::iter([Ok(Change::Complete)])).map(Said::Pod).boxed()
}

fn pods<S: Send + 'static>(
    client: &Client,
    namespace: Option<&str>,
    config: Config,
    say: impl Fn(Result<Change<PodFacts>, Trouble>) -> S + Send + 'static,
    follows: bool,
) -> BoxStream<'static, S> {
    let pods: Api<Light<Pod>> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let new = |object: Light<Pod>| PodFacts::new(&object.metadata);
    follow(watcher(pods, config), "pods", new, say, follows)
}

/// Listens until everything that is read has been read once.
///
/// # Errors
/// Something cannot be read without which there is no status.
pub(super) async fn whole(ear: &mut Ear, world: &mut World) -> Result<(), Failure> {
    while !world.is_whole() {
        let Some(said) = ear.next().await else { break };
        if let Some(trouble) = said.trouble()
            && (said.is_needed() || trouble.failure.exit == Exit::Unreachable)
        {
            return Err(trouble.failure.clone());
        }
        world.hear(said);
    }
    Ok(())
}

fn dynamic<K>(client: &Client, namespace: Option<&str>, kind: &ApiResource) -> Api<K>
where
    K: Resource<DynamicType = ApiResource, Scope = kube::core::DynamicResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, kind),
        None => Api::all_with(client.clone(), kind),
    }
}

fn config(scope: &Scope, follows: bool) -> Config {
    let config = Config::default().page_size(PAGE);
    if !follows {
        return config;
    }
    // The client gives up a connection on which nothing comes for as long as a request may take: the API
    // server is to end a silent watch before. 290 is the most that it takes.
    let seconds = (scope.request_seconds * 3 / 4).clamp(1, 290);
    config.timeout(u32::try_from(seconds).unwrap_or(290))
}

fn with_labels(config: Config, labels: Option<&str>) -> Config {
    let Some(labels) = labels else { return config };
    let all = config.label_selector.iter().map(String::as_str).chain([labels]);
    let all = all.collect::<Vec<_>>().join(",");
    config.labels(&all)
}

fn with_fields(config: Config, fields: Option<&str>) -> Config {
    match fields {
        Some(fields) => config.fields(fields),
        None => config,
    }
}

/// What of a list and its watch is kept: the large object is dropped at once.
fn follow<K, T, E, S>(
    events: E,
    what: &'static str,
    new: impl Fn(K) -> T + Send + 'static,
    say: impl Fn(Result<Change<T>, Trouble>) -> S + Send + 'static,
    follows: bool,
) -> BoxStream<'static, S>
where
    S: 'static,
    E: Stream<Item = watcher::Result<Event<K>>> + Send + 'static,
    K: Resource + Debug + 'static,
    T: 'static,
{
    let changes = events.backoff(Pause::default()).map(move |event| {
        let put = |object: K| Change::Put(key(object.meta()), new(object));
        match event {
            Ok(Event::Init) => Ok(Change::Began),
            Ok(Event::InitApply(object) | Event::Apply(object)) => Ok(put(object)),
            Ok(Event::Delete(object)) => Ok(Change::Gone(key(object.meta()))),
            Ok(Event::InitDone) => Ok(Change::Complete),
            Err(error) => Err(trouble(what, error)),
        }
    });
    let once = stream::unfold((changes.boxed(), false), move |(mut changes, is_over)| async move {
        // Not asked once more: that would begin to watch.
        if is_over {
            return None;
        }
        let change = changes.next().await?;
        let is_over = !follows && matches!(change, Ok(Change::Complete) | Err(_));
        Some((change, (changes, is_over)))
    });
    once.map(say).boxed()
}

fn trouble(what: &str, error: watcher::Error) -> Trouble {
    let (verb, error) = match error {
        watcher::Error::InitialListFailed(error) => ("listed", error),
        watcher::Error::WatchStartFailed(error) | watcher::Error::WatchFailed(error) => {
            ("watched", error)
        }
        watcher::Error::WatchError(status) => ("watched", Error::Api(status)),
        watcher::Error::NoResourceVersion => {
            let failure =
                Failure::refused(format!("{what} cannot be watched: they have no version"));
            return Trouble { failure, is_missing: false };
        }
    };
    let is_missing = matches!(&error, Error::Api(status) if is_missing_kind(status));
    Trouble { failure: Failure::of_call(&format!("{what} cannot be {verb}"), &error), is_missing }
}

/// Pauses between tries: twice as long each time.
#[derive(Debug, Default)]
struct Pause {
    tries: u32,
}

impl Iterator for Pause {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = Duration::from_millis(500).saturating_mul(2_u32.saturating_pow(self.tries));
        self.tries = self.tries.saturating_add(1);
        Some(pause.min(PAUSE_MAX))
    }
}

impl Backoff for Pause {
    fn reset(&mut self) {
        self.tries = 0;
    }
}

/// What a workload that is named leaves to be read.
#[derive(Debug, Default)]
struct Narrow {
    pod_labels: Option<String>,
    pod_fields: Option<String>,
    owner: Option<Owner>,
}

impl Narrow {
    async fn new(client: &Client, scope: &Scope) -> Result<Self, Failure> {
        let (Some(target), Some(namespace)) = (&scope.target, &scope.namespace) else {
            return Ok(Self::default());
        };
        let what = format!("{target} in namespace {namespace}");
        let failed = |error: Error| match &error {
            Error::Api(status) if status.code == 404 => {
                Failure::refused(format!("there is no {what}"))
            }
            _ => Failure::of_call(&format!("{what} cannot be read"), &error),
        };
        let named = Some(format!("metadata.name={}", target.name));
        if target.kind == Kind::Pod {
            let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
            let pod = pods.get_metadata(&target.name).await.map_err(failed)?;
            let owner = Some(owner(&pod.metadata));
            return Ok(Self { pod_labels: None, pod_fields: named, owner });
        }
        let resource = match target.kind {
            Kind::Deployment => ApiResource::erase::<Deployment>(&()),
            Kind::StatefulSet | Kind::Pod => ApiResource::erase::<StatefulSet>(&()),
        };
        let api: Api<Workload> = dynamic(client, Some(namespace), &resource);
        let workload = api.get(&target.name).await.map_err(failed)?;
        let selector = Selector::try_from(workload.spec.selector).unwrap_or_default();
        let labels = (!selector.selects_all()).then(|| selector.to_string());
        let owner = Owner { kind: target.kind.as_str().to_owned(), name: target.name.clone() };
        Ok(Self { pod_labels: labels, pod_fields: None, owner: Some(owner) })
    }

    /// The fields of the objects of a kind that are read; none where none of the kind is.
    #[expect(clippy::option_option, reason = "none of the kind, or all of it without a selector")]
    fn fields_of(&self, kind: &str) -> Option<Option<String>> {
        let Some(owner) = &self.owner else { return Some(None) };
        (owner.kind == kind).then(|| Some(format!("metadata.name={}", owner.name)))
    }
}
