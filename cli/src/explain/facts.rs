//! What an explanation is made from, as it was read. Plain data.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::networking::v1::Ingress;
use lameduck_api::state::HoldSeen;
use lameduck_core::policy::Policy;
use lameduck_core::upgrade::object::UpgradeStatus;

/// The object that is explained.
#[derive(Clone, Debug)]
pub enum Subject {
    /// A pod.
    Pod(Box<Pod>),
    /// A StatefulSet and its pods.
    StatefulSet(Box<StatefulSet>, Vec<Pod>),
    /// A Deployment and its pods.
    Deployment(Box<Deployment>, Vec<Pod>),
}

/// Everything that was read.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The object.
    pub subject: Subject,
    /// Its namespace.
    pub namespace: String,
    /// The policy label of that namespace; none where it could not be read.
    pub namespace_label: Option<Option<String>>,
    /// Every policy by name; none where they could not be read.
    pub policies: Option<BTreeMap<String, Policy>>,
    /// Policies that this version cannot read, and why.
    pub unreadable_policies: BTreeMap<String, String>,
    /// The Services of its namespace.
    pub services: Vec<Service>,
    /// The Ingresses of its namespace.
    pub ingresses: Vec<Ingress>,
    /// The upgrade of the StatefulSet that it is, or belongs to.
    pub upgrade: Option<UpgradeStatus>,
    /// The holds that controllers know of.
    pub holds: Vec<HoldSeen>,
    /// A controller leads; none where that cannot be asked.
    pub leads: Option<bool>,
    /// What could not be read, and why.
    pub notes: Vec<String>,
}
