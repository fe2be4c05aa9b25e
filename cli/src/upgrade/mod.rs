//! `upgrade pause|resume|approve|abort|retry`: what a person may ask of an upgrade.
//!
//! What makes no sense is refused with the reason ([`decide()`]), by what was read: where somebody changed the
//! objects since, they are read again.

pub mod decide;

use clap::{Args, Subcommand};
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::api::{Api, Patch, PatchParams};
use kube::{Error, Resource, ResourceExt as _};
use lameduck_api::Upgrade;
use lameduck_api::names::ANNOTATION_PAUSED;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::common::cluster::Cluster;
use crate::common::failure::{Failure, is_missing_kind};
use crate::common::screen::Screen;
use crate::common::target::{Kind, Target};
use decide::{Change, Seen, Verb, decide};

/// Arguments of `upgrade`.
#[derive(Args, Debug)]
#[command(after_help = "\
An upgrade has the name of its StatefulSet. docs/upgrades.md says what it does by itself.

Examples:
  kubectl lameduck upgrade pause shop               # takes no further pod out of service
  kubectl lameduck upgrade resume shop
  kubectl lameduck upgrade approve shop -n prod     # with mode PerBatch or Manual: the next batch
  kubectl lameduck upgrade abort statefulset/shop   # ends it; weights and replicas are put back
  kubectl lameduck upgrade retry shop               # after Stalled")]
pub struct UpgradeArgs {
    /// What to ask for.
    #[command(subcommand)]
    pub verb: VerbArgs,
}

/// What to ask for.
#[derive(Clone, Debug, Subcommand)]
pub enum VerbArgs {
    /// Take no further pod out of service; what is on its way comes back
    Pause(OneArgs),
    /// Let it go on
    Resume(OneArgs),
    /// Let the next batch start, where the policy's mode is PerBatch or Manual
    Approve(OneArgs),
    /// End it: weights and replicas are put back, and pods stay as they are
    Abort(OneArgs),
    /// Try again after Stalled or abort
    Retry(OneArgs),
}

/// Which one.
#[derive(Args, Clone, Debug)]
pub struct OneArgs {
    /// The StatefulSet: its name, or statefulset/NAME
    #[arg(value_name = "STATEFULSET", value_parser = name)]
    name: String,
}

impl VerbArgs {
    fn parts(self) -> (Verb, String) {
        match self {
            Self::Pause(one) => (Verb::Pause, one.name),
            Self::Resume(one) => (Verb::Resume, one.name),
            Self::Approve(one) => (Verb::Approve, one.name),
            Self::Abort(one) => (Verb::Abort, one.name),
            Self::Retry(one) => (Verb::Retry, one.name),
        }
    }
}

fn name(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("it has no name".to_owned());
    }
    if !text.contains('/') {
        return Ok(text.to_owned());
    }
    let target: Target = text.parse()?;
    if target.kind == Kind::StatefulSet {
        Ok(target.name)
    } else {
        Err(format!("{target} is not upgraded by Lameduck: StatefulSets are"))
    }
}

/// Times that a change is tried where others change the same objects meanwhile.
const TRIES: usize = 5;

/// Asks for what the arguments say.
///
/// # Errors
/// It makes no sense, the API server refuses, or cannot be asked.
pub async fn run(args: UpgradeArgs, cluster: &Cluster, screen: &Screen) -> Result<(), Failure> {
    let (verb, name) = args.verb.parts();
    let desk = Desk {
        upgrades: Api::namespaced(cluster.client.clone(), &cluster.namespace),
        sets: Api::namespaced(cluster.client.clone(), &cluster.namespace),
        namespace: &cluster.namespace,
        name: &name,
    };
    for _ in 0..TRIES {
        let seen = desk.read().await?;
        let change = decide(verb, &seen).map_err(|failure| failure.about(&desk.full_name()))?;
        if desk.carry_out(&change, &seen).await? {
            return screen.print(&format!("{}: {}\n", desk.full_name(), change.told));
        }
    }
    let others =
        format!("{} was changed by somebody else {TRIES} times meanwhile", desk.full_name());
    Err(Failure::refused(others).cure("try again"))
}

struct Desk<'a> {
    upgrades: Api<Upgrade>,
    sets: Api<StatefulSet>,
    namespace: &'a str,
    name: &'a str,
}

impl Desk<'_> {
    fn full_name(&self) -> String {
        format!("upgrade {}/{}", self.namespace, self.name)
    }

    async fn read(&self) -> Result<Seen, Failure> {
        let Self { namespace, name, .. } = self;
        let upgrade = self.upgrades.get(name).await.map_err(|error| self.none(&error))?;
        let set = self.sets.get_opt(name).await.map_err(|error| {
            Failure::of_call(&format!("statefulset {namespace}/{name} cannot be read"), &error)
        })?;
        let annotations = set.as_ref().map(kube::ResourceExt::annotations);
        let paused = annotations.and_then(|all| all.get(ANNOTATION_PAUSED));
        Ok(Seen {
            version: upgrade.resource_version().unwrap_or_default(),
            spec: upgrade.spec.asked,
            status: upgrade.status.unwrap_or_default(),
            set_is_paused: paused.is_some_and(|value| value == "true"),
        })
    }

    fn none(&self, error: &Error) -> Failure {
        match error {
            Error::Api(status) if status.code == 404 && !is_missing_kind(status) => {
                Failure::refused(format!("there is no {}", self.full_name())).cure(
                    "one is made when an enrolled StatefulSet gets another template: \
                     kubectl lameduck status shows which are",
                )
            }
            _ => Failure::of_call(&format!("{} cannot be read", self.full_name()), error),
        }
    }

    /// Whether it was done; not where somebody else was quicker.
    async fn carry_out(&self, change: &Change, seen: &Seen) -> Result<bool, Failure> {
        if let Some(spec) = &change.spec {
            // With the version that was decided from.
            let patch = json!({"metadata": {"resourceVersion": seen.version}, "spec": spec});
            if !self.patch(&self.upgrades, "upgrade", patch).await? {
                return Ok(false);
            }
        }
        if change.unpauses_set {
            let patch = json!({"metadata": {"annotations": {ANNOTATION_PAUSED: null}}});
            return self.patch(&self.sets, "statefulset", patch).await;
        }
        Ok(true)
    }

    async fn patch<K>(&self, api: &Api<K>, kind: &str, patch: Value) -> Result<bool, Failure>
    where
        K: Resource + Clone + DeserializeOwned + std::fmt::Debug,
    {
        let done = api.patch(self.name, &PatchParams::default(), &Patch::Merge(patch)).await;
        match done {
            Ok(_) => Ok(true),
            Err(Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => {
                let Self { namespace, name, .. } = self;
                let what = format!("{kind} {namespace}/{name} cannot be changed");
                Err(Failure::of_call(&what, &error))
            }
        }
    }
}
