//! What was seen of the installation and of its namespaces: plain data, so that findings need no cluster.

use jiff::Timestamp;
use lameduck_api::state::{ClbAccess, ReplicaState};
use lameduck_core::upgrade::object::Phase;
use std::collections::BTreeMap;

use crate::common::policies::Policies;

/// Why something was not seen. What is not seen is never taken for empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unseen {
    /// The cluster has no such kind.
    NoSuchKind,
    /// It could not be looked at, and why: most often a right that is missing.
    Because(String),
}

/// What a look brought.
pub type Look<T> = Result<T, Unseen>;

/// All that is looked at.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The version of this command.
    pub client_version: String,
    /// What is there once in a cluster.
    pub installation: Installation,
    /// Policies by name.
    pub policies: Look<Policies>,
    /// Every namespace of the cluster was looked at.
    pub is_whole_cluster: bool,
    /// Objects were left out by a selector.
    pub is_selection: bool,
    /// The namespaces that were looked at.
    pub namespaces: Look<Vec<Namespace>>,
    /// Deployments and StatefulSets in them.
    pub workloads: Look<Vec<Workload>>,
    /// Pods in them.
    pub pods: Look<Vec<Pod>>,
    /// Upgrades in them, and StatefulSets whose next one is stopped.
    pub upgrades: Look<Vec<Upgrade>>,
}

/// What is there once in a cluster.
#[derive(Clone, Debug)]
pub struct Installation {
    /// Major and minor version of the API server, and its whole name.
    pub server: Look<(u32, u32, String)>,
    /// Names (plural) of Lameduck's kinds that the API server does not serve.
    pub missing_kinds: Look<Vec<String>>,
    /// The two Deployments; a missing one is not in it.
    pub components: Look<Vec<Component>>,
    /// The hooks of the webhook configuration; none where there is no configuration.
    pub hooks: Look<Option<Vec<Hook>>>,
    /// The certificate that the webhook serves; none where there is none.
    pub certificate: Look<Option<Certificate>>,
    /// What became of a StatefulSet that was created on trial.
    pub trial: Look<Trial>,
    /// What became of a pod that was created on trial.
    pub pod_trial: Look<Trial>,
    /// The Lease; none where there is none.
    pub lease: Look<Option<Lease>>,
    /// The replicas of the controller.
    pub replicas: Look<Vec<Replica>>,
    /// What the accounts of the installation may not do and should, by account.
    pub missing_rights: Look<BTreeMap<String, Vec<String>>>,
    /// What the leader says of the CLB API; none where no controller reads it.
    pub clb: Look<Option<ClbAccess>>,
    /// Versions of TKE's controllers, where this is TKE.
    pub tke: Look<Tke>,
}

/// One of Lameduck's Deployments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// Its name.
    pub name: String,
    /// Image of its container.
    pub image: String,
    /// Replicas that are wanted.
    pub wanted: i32,
    /// Replicas that are ready.
    pub ready: i32,
}

/// One entry of the webhook configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Its name.
    pub name: String,
    /// When the last of the CAs in its `caBundle` ends; none where there is none that can be read.
    pub trusts_until: Option<Timestamp>,
}

/// The certificate that the webhook serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// It is good until then.
    Until(Timestamp),
    /// It cannot be read, and why.
    Unreadable(String),
}

/// What became of an object that was created on trial (`dryRun`), enrolled by a label of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trial {
    /// The webhook changed it.
    Changed,
    /// It was taken, and no webhook had changed it.
    Unchanged,
    /// The API server could not ask the webhook, and says why.
    Uncalled(String),
}

/// The controllers' Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Who leads; empty where nobody does.
    pub holder: String,
    /// When it said so last.
    pub renewed_at: Option<Timestamp>,
    /// For how long that is good.
    pub seconds: i64,
}

/// A replica of the controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// Its pod.
    pub pod: String,
    /// What it says, or why it could not be asked.
    pub state: Result<ReplicaState, String>,
}

/// TKE's controllers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tke {
    /// Version of the service-controller, where there is one.
    pub service_controller: Option<String>,
    /// Version of the ingress-controller, where there is one.
    pub ingress_controller: Option<String>,
}

/// A namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// Value of its policy label.
    pub policy: Option<String>,
}

/// A Deployment or a StatefulSet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    /// `deployment` or `statefulset`.
    pub kind: &'static str,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Value of its own policy label.
    pub policy: Option<String>,
    /// Value of the policy label of its pod template.
    pub template_policy: Option<String>,
    /// The policy that applies, where it exists and is not off.
    pub enforced: Option<String>,
    /// Pods that its author wants.
    pub replicas: i64,
    /// It ends every pod before it starts a new one.
    pub recreates: bool,
    /// Its pods have their nodes' addresses.
    pub host_network: bool,
    /// Containers that have neither a readiness probe nor a port that one could be made for.
    pub unprobed: Vec<String>,
    /// What the webhook would warn of about its pods.
    pub warnings: Vec<String>,
}

/// A pod, where there is something about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Value of its policy label.
    pub policy: Option<String>,
    /// What controls it, as kubectl writes it.
    pub owner: Option<String>,
    /// Enrolled, and without protection that it could have.
    pub is_unprotected: bool,
    /// It is being deleted, and Lameduck's finalizer is on it.
    pub ending: Option<Ending>,
}

/// A pod that is being deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// When it was deleted.
    pub deleted_at: Timestamp,
    /// Something in it still runs.
    pub runs: bool,
    /// When the last of its containers ended; none where none ever ran.
    pub ended_at: Option<Timestamp>,
    /// Since when `lameduck.dev/TrafficOff` is True.
    pub off_since: Option<Timestamp>,
    /// After so many seconds the finalizer goes in any case; none where its policy cannot be read.
    pub give_up_seconds: Option<u32>,
}

/// An upgrade.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade {
    /// Its namespace.
    pub namespace: String,
    /// Its name, which is the StatefulSet's.
    pub name: String,
    /// Where it is; none where the StatefulSet has none yet.
    pub phase: Option<Phase>,
    /// Why, in a sentence.
    pub message: String,
    /// `spec.paused` is true.
    pub is_paused: bool,
    /// The StatefulSet is annotated with `lameduck.dev/paused`.
    pub is_annotated: bool,
}

impl Facts {
    /// How many of the looks could be taken, and why each of the others could not.
    #[must_use]
    pub fn looks(&self) -> (usize, Vec<&Unseen>) {
        fn unseen<T>(look: &Look<T>) -> Option<&Unseen> {
            look.as_ref().err()
        }
        let Installation {
            server,
            missing_kinds,
            components,
            hooks,
            certificate,
            trial,
            pod_trial,
            lease,
            replicas,
            missing_rights,
            clb,
            tke,
        } = &self.installation;
        let looks = [
            unseen(server),
            unseen(missing_kinds),
            unseen(components),
            unseen(hooks),
            unseen(certificate),
            unseen(trial),
            unseen(pod_trial),
            unseen(lease),
            unseen(replicas),
            unseen(missing_rights),
            unseen(clb),
            unseen(tke),
            unseen(&self.policies),
            unseen(&self.namespaces),
            unseen(&self.workloads),
            unseen(&self.pods),
            unseen(&self.upgrades),
        ];
        let missed: Vec<&Unseen> = looks.iter().copied().flatten().collect();
        (looks.len() - missed.len(), missed)
    }
}
