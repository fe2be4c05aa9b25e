//! The plan for one pod that is being created.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{
    Context, Outcome, Plan,
    delivery::{self, Delivery, Mount},
    grace,
    patch::Patch,
    prestop::{self, HoldFacts, Keep, PreStop},
    probes,
    skip::{SkipFacts, skip},
    view::{Container, Pod},
};
use crate::{
    names::{
        ANNOTATION_INJECTED, ANNOTATION_ORIGINAL_GRACE, FINALIZER, HOLD_CONTAINER, HOLD_MOUNT_PATH,
        POLICY_LABEL,
    },
    policy::{FinalizerMode, Mode, Policy, Until},
};

/// The annotation's value: what was injected, by which version. A second review adds to the lists.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Injected {
    /// Version of the webhook.
    pub version: String,
    /// Name of the policy.
    pub policy: String,
    /// Containers with a hold.
    pub holds: BTreeSet<String>,
    /// Containers with a native sleep.
    pub sleeps: BTreeSet<String>,
    /// Containers with an injected readiness probe.
    pub probes: BTreeSet<String>,
}

impl Injected {
    /// Reads the value of [`ANNOTATION_INJECTED`]. None where it is none of ours.
    #[must_use]
    pub fn read(annotation: &str) -> Option<Self> {
        serde_json::from_str(annotation).ok()
    }
}

/// Whether a hold of ours keeps a pod alive until its connections have ended; `annotation` is the value of
/// [`ANNOTATION_INJECTED`]. A sleep does not look at connections.
#[must_use]
pub fn is_held(annotation: Option<&str>) -> bool {
    let injected = annotation.and_then(Injected::read);
    injected.is_some_and(|injected| !injected.holds.is_empty())
}

/// Plans the changes to a pod on CREATE.
///
/// It never fails: what cannot be changed is left as it is, and a warning says so.
pub fn plan_pod(pod: &Pod<'_>, context: &Context<'_>) -> Plan {
    let subject = format!("pod {}/{}", context.namespace, pod.metadata.display_name());
    let (name, policy) = match super::resolve(context, [pod.metadata.policy(), None], &subject) {
        Ok(found) => found,
        Err(plan) => return plan,
    };
    if let Some(skip) = skip(&SkipFacts::of(pod)) {
        // Silent where only a wider label enrols it: a namespace with Jobs in it is ordinary.
        let warnings = if pod.metadata.policy().is_some_and(|label| !label.is_empty()) {
            vec![format!("{subject} is not protected: {}", skip.message())]
        } else {
            Vec::new()
        };
        return Plan::new(Outcome::Skipped(skip), Vec::new(), warnings);
    }
    let mut draft = Draft::new(pod, policy, context);
    draft.containers();
    draft.delivery();
    draft.grace();
    draft.metadata(name);
    draft.into_plan(name, &subject)
}

/// The plan under construction.
struct Draft<'a> {
    pod: &'a Pod<'a>,
    policy: &'a Policy,
    context: &'a Context<'a>,
    delivery: Delivery,
    original_grace_seconds: i64,
    raised_grace_seconds: Option<i64>,
    /// A container has a hold, new or from before.
    is_held: bool,
    injected: Injected,
    patch: Patch,
    warnings: Vec<String>,
}

impl<'a> Draft<'a> {
    fn new(pod: &'a Pod<'a>, policy: &'a Policy, context: &'a Context<'a>) -> Self {
        Self {
            pod,
            policy,
            context,
            delivery: delivery::find(&pod.spec),
            original_grace_seconds: grace::original_seconds(pod),
            raised_grace_seconds: None,
            is_held: false,
            injected: Injected::default(),
            patch: Patch::default(),
            warnings: Vec::new(),
        }
    }

    /// Hooks, mounts and readiness probes of the regular containers.
    fn containers(&mut self) {
        let tcp_ports = tcp_ports(self.pod);
        let facts = HoldFacts {
            hold: &self.policy.hold,
            original_grace_seconds: self.original_grace_seconds,
            tcp_ports: &tcp_ports,
            host_network: self.pod.spec.host_network.unwrap_or(false),
        };
        let wants_hold = self.policy.hold.until != Until::Off;
        if wants_hold && self.delivery == Delivery::NameTaken {
            self.warn(format!(
                "no hold: the name {HOLD_CONTAINER} is taken by a container or volume of the pod's \
                 own; preStop sleeps instead"
            ));
        } else if wants_hold && facts.is_node_wide() {
            self.warn(
                "hostNetwork without containerPorts: the hold ends when traffic is off and does not \
                 wait for connections; list the ports"
                    .to_owned(),
            );
        }
        let containers: &'a [Container<'a>] = &self.pod.spec.containers;
        for (index, container) in containers.iter().enumerate() {
            self.container(&format!("/spec/containers/{index}"), container, &facts);
        }
    }

    fn container(&mut self, path: &str, container: &Container<'_>, facts: &HoldFacts<'_>) {
        let name = &*container.name;
        let is_taken = delivery::is_mount_path_taken(container);
        let deliverable = self.delivery != Delivery::NameTaken && !is_taken;
        let decision = prestop::decide(container, facts, deliverable);
        match &decision {
            PreStop::Hold(_) => {
                self.is_held = true;
                self.injected.holds.insert(name.to_owned());
                if !delivery::is_mounted(container) {
                    self.patch.append(
                        &format!("{path}/volumeMounts"),
                        container.volume_mounts.is_some(),
                        Mount::READ_ONLY,
                    );
                }
            }
            PreStop::Present => {
                self.is_held = true;
                self.injected.holds.insert(name.to_owned());
            }
            PreStop::Sleep(_) => {
                if is_taken {
                    self.warn(format!(
                        "container {name} has a mount of its own at {HOLD_MOUNT_PATH}: \
                         preStop sleeps instead of a hold"
                    ));
                }
                self.injected.sleeps.insert(name.to_owned());
            }
            PreStop::Keep(keep) => {
                if let Some(warning) = kept(name, *keep) {
                    self.warn(warning);
                }
            }
            PreStop::Nothing => {}
        }
        if let Some(hook) = prestop::hook(&decision) {
            let lifecycle = format!("{path}/lifecycle");
            self.patch.set_members(&lifecycle, container.lifecycle.is_some(), [("preStop", hook)]);
        }
        if let Some(probe) = probes::readiness(container, &self.policy.readiness_probe) {
            self.injected.probes.insert(name.to_owned());
            self.patch.set(format!("{path}/readinessProbe"), probe);
        }
    }

    fn delivery(&mut self) {
        if !self.injected.holds.is_empty() && self.delivery == Delivery::Missing {
            delivery::add(&mut self.patch, self.pod, &self.context.settings.hold_image);
        }
    }

    fn grace(&mut self) {
        let hold = &self.policy.hold;
        let for_holds =
            if self.is_held { hold.max_seconds.saturating_add(grace::MARGIN_SECONDS) } else { 0 };
        let for_sleeps = if self.injected.sleeps.is_empty() { 0 } else { hold.sleep_seconds };
        // One pod may have both: the API refuses a sleep that is longer than the grace.
        let extra_seconds = for_holds.max(for_sleeps);
        let original = self.original_grace_seconds;
        if extra_seconds > 0 {
            self.raised_grace_seconds = grace::raised_seconds(self.pod, original, extra_seconds);
        }
        if let Some(seconds) = self.raised_grace_seconds {
            self.patch.set("/spec/terminationGracePeriodSeconds", seconds);
        }
        let was_raised = self
            .pod
            .metadata
            .annotations
            .as_ref()
            .is_some_and(|annotations| annotations.original_grace.is_some());
        if self.raised_grace_seconds.is_none() && !was_raised {
            return;
        }
        let init = self.pod.spec.init_containers.as_deref().unwrap_or_default();
        for (list, containers) in
            [("containers", &*self.pod.spec.containers), ("initContainers", init)]
        {
            // The injected init container is put before the author's.
            let shift = usize::from(
                list == "initContainers"
                    && self.delivery == Delivery::Missing
                    && !self.injected.holds.is_empty(),
            );
            for (index, container) in containers.iter().enumerate() {
                let path = format!("/spec/{list}/{}", index + shift);
                probes::keep_kill_grace(&mut self.patch, &path, container, original);
            }
        }
    }

    fn metadata(&mut self, policy_name: &str) {
        let metadata = &self.pod.metadata;
        if metadata.policy() != Some(policy_name) {
            self.patch.set_members(
                "/metadata/labels",
                metadata.labels.is_some(),
                [(POLICY_LABEL, policy_name)],
            );
        }
        let mut finalizers = metadata.finalizers.iter().flatten();
        if self.policy.finalizer == FinalizerMode::Always
            && !finalizers.any(|finalizer| &**finalizer == FINALIZER)
        {
            self.patch.append("/metadata/finalizers", metadata.finalizers.is_some(), FINALIZER);
        }
        let before = metadata
            .annotations
            .as_ref()
            .and_then(|annotations| annotations.injected.as_deref())
            .and_then(Injected::read);
        let mut members: Vec<(&'static str, String)> = Vec::new();
        // Written once, and again only with a change: another version of the webhook that reviews the
        // pod a second time has nothing to say.
        if before.is_none() || !self.patch.is_empty() {
            let mut injected = before.unwrap_or_default();
            injected.version.clone_from(&self.context.settings.version);
            policy_name.clone_into(&mut injected.policy);
            injected.holds.append(&mut self.injected.holds);
            injected.sleeps.append(&mut self.injected.sleeps);
            injected.probes.append(&mut self.injected.probes);
            // Strings and lists of strings always serialize.
            if let Ok(value) = serde_json::to_string(&injected) {
                members.push((ANNOTATION_INJECTED, value));
            }
            self.injected = injected;
        }
        if self.raised_grace_seconds.is_some() {
            let original = self.original_grace_seconds.to_string();
            members.push((ANNOTATION_ORIGINAL_GRACE, original));
        }
        self.patch.set_members("/metadata/annotations", metadata.annotations.is_some(), members);
    }

    fn into_plan(self, policy_name: &str, subject: &str) -> Plan {
        if self.patch.is_empty() {
            return Plan::nothing(Outcome::Unchanged);
        }
        let mut warnings: Vec<String> =
            self.warnings.iter().map(|warning| format!("{subject}: {warning}")).collect();
        if self.policy.mode == Mode::Observe {
            let list = |names: &BTreeSet<String>| {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                if names.is_empty() { "none".to_owned() } else { names.join(",") }
            };
            warnings.insert(
                0,
                format!(
                    "{subject} is not protected: policy {policy_name} has mode Observe; Enforce \
                     would inject holds: {}; sleeps: {}; readiness probes: {}; finalizer: {:?}",
                    list(&self.injected.holds),
                    list(&self.injected.sleeps),
                    list(&self.injected.probes),
                    self.policy.finalizer,
                ),
            );
            return Plan::new(Outcome::Observed, Vec::new(), warnings);
        }
        Plan::new(Outcome::Patched, self.patch.into_operations(), warnings)
    }

    fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }
}

fn kept(container: &str, keep: Keep) -> Option<String> {
    let why = match keep {
        // The policy asks for it: nobody needs to be told.
        Keep::NoHoldWanted => return None,
        Keep::Https => "calls HTTPS, which the hold does not speak",
        Keep::UnknownPort => "calls a port that the container does not list",
        Keep::NoDelivery => "is there already, and a sleep cannot be put beside it",
    };
    Some(format!("container {container} has no hold: its own preStop {why}, and is kept"))
}

/// The TCP ports of every container that runs as long as the pod: all of them are held for, because a
/// connection may end in a proxy that sits in another container.
fn tcp_ports(pod: &Pod<'_>) -> Vec<u16> {
    let sidecars = pod.spec.init_containers.iter().flatten().filter(|init| init.is_sidecar());
    let ports: BTreeSet<u16> =
        pod.spec.containers.iter().chain(sidecars).flat_map(Container::tcp_ports).collect();
    ports.into_iter().collect()
}
