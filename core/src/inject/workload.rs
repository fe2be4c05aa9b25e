//! The plan for a Deployment or a StatefulSet: floors for rollouts, `OnDelete`, and the way back.
//!
//! What the author asked for is remembered in an annotation, so that taking the label off restores
//! it. What the author asks for later, on top of what was changed, is the new wish and replaces the
//! remembered one.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Context, Outcome, Plan,
    patch::{Patch, escape},
    strategy,
    view::{Metadata, Template, Workload},
};
use crate::{
    names::{ANNOTATION_ORIGINAL_UPDATE_STRATEGY, POLICY_LABEL},
    policy::{Policy, StatefulSetStrategy},
};

/// Kinds of workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkloadKind {
    /// `apps/v1` Deployment.
    Deployment,
    /// `apps/v1` StatefulSet.
    StatefulSet,
}

impl WorkloadKind {
    /// The kind of this name.
    pub fn from_name(kind: &str) -> Option<Self> {
        match kind {
            "Deployment" => Some(Self::Deployment),
            "StatefulSet" => Some(Self::StatefulSet),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
        }
    }

    fn strategy_path(self) -> &'static str {
        match self {
            Self::Deployment => "/spec/strategy",
            Self::StatefulSet => "/spec/updateStrategy",
        }
    }

    fn strategy<'a>(self, workload: &'a Workload<'_>) -> Option<&'a Value> {
        match self {
            Self::Deployment => workload.spec.strategy.as_ref(),
            Self::StatefulSet => workload.spec.update_strategy.as_ref(),
        }
    }
}

/// The annotation's value: what the author asked for where it was changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Remembered {
    #[serde(skip_serializing_if = "Option::is_none")]
    strategy: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_ready_seconds: Option<i64>,
    /// The policy label was copied onto the pod template, with this value.
    #[serde(skip_serializing_if = "Option::is_none")]
    template_policy: Option<String>,
}

impl Remembered {
    fn of(workload: &Workload<'_>) -> Self {
        workload
            .metadata
            .annotations
            .as_ref()
            .and_then(|all| all.original_update_strategy.as_deref())
            .and_then(|value| serde_json::from_str(value).ok())
            .unwrap_or_default()
    }
}

impl Remembered {
    fn from(wish: &Fields, wanted: &Fields, template_policy: Option<String>) -> Self {
        Self {
            strategy: wish.strategy.clone().filter(|_| wish.strategy != wanted.strategy),
            min_ready_seconds: Some(wish.min_ready_seconds)
                .filter(|seconds| *seconds != wanted.min_ready_seconds),
            template_policy,
        }
    }
}

/// The update strategy that a StatefulSet's author asked for, where Lameduck put another one in its place;
/// `annotation` is the value of [`ANNOTATION_ORIGINAL_UPDATE_STRATEGY`].
#[must_use]
pub fn authors_strategy(annotation: Option<&str>) -> Option<Value> {
    serde_json::from_str::<Remembered>(annotation?).ok()?.strategy
}

/// The fields that Lameduck may change.
#[derive(Clone, Debug, PartialEq)]
struct Fields {
    strategy: Option<Value>,
    min_ready_seconds: i64,
}

impl Fields {
    fn of(kind: WorkloadKind, workload: &Workload<'_>) -> Self {
        Self {
            strategy: kind.strategy(workload).cloned(),
            min_ready_seconds: workload.spec.min_ready_seconds.unwrap_or(0),
        }
    }

    fn differs(&self, other: &Self) -> bool {
        self != other
    }
}

/// The policy label of the workload and of its pod template.
struct TemplateLabel<'a> {
    /// The workload's own.
    workloads: Option<&'a str>,
    /// The template's, as it stands there.
    current: Option<&'a str>,
    /// The template's, where the author put it there.
    authors: Option<&'a str>,
    /// The template's is a copy of the workload's that we made: it decides nothing.
    is_copy: bool,
}

impl<'a> TemplateLabel<'a> {
    fn of(workload: &'a Workload<'_>, template: &'a Template<'_>, remembered: &Remembered) -> Self {
        let current = template.metadata.as_ref().and_then(Metadata::policy);
        let is_copy = current.is_some() && remembered.template_policy.as_deref() == current;
        Self {
            workloads: workload.metadata.policy().filter(|label| !label.is_empty()),
            current,
            authors: current.filter(|label| !is_copy && !label.is_empty()),
            is_copy,
        }
    }

    /// Makes the template carry the workload's label, or takes the copy off again. Returns the copy
    /// that is then there. `may_change`: whether the template may be changed for it, which replaces
    /// the workload's pods.
    fn copy(&self, patch: &mut Patch, template: &Template<'_>, may_change: bool) -> Option<String> {
        const LABELS: &str = "/spec/template/metadata/labels";
        if self.authors.is_some() {
            return None;
        }
        if self.current == self.workloads || !may_change {
            return self.current.filter(|_| self.is_copy).map(str::to_owned);
        }
        match (self.workloads, &template.metadata) {
            (Some(label), Some(metadata)) => {
                let labels = [(POLICY_LABEL, label)];
                patch.set_members(LABELS, metadata.labels.is_some(), labels);
            }
            (Some(label), None) => {
                patch.set("/spec/template/metadata", json!({"labels": {POLICY_LABEL: label}}));
            }
            // An empty label of the author's own stays as it is.
            (None, _) if self.is_copy => {
                patch.remove(format!("{LABELS}/{}", escape(POLICY_LABEL)));
            }
            (None, _) => {}
        }
        self.workloads.map(str::to_owned)
    }
}

/// Plans the changes to a workload on CREATE (`old` is `None`) or UPDATE.
///
/// # Errors
/// Where the pod template cannot be read.
pub fn plan_workload(
    kind: WorkloadKind,
    new: &Workload<'_>,
    old: Option<&Workload<'_>>,
    context: &Context<'_>,
) -> Result<Plan, serde_json::Error> {
    let template: Template<'_> = serde_json::from_str(new.spec.template.get())?;
    if new.metadata.deletion_timestamp.is_some() {
        return Ok(Plan::nothing(Outcome::Unchanged));
    }
    let subject = format!("{} {}/{}", kind.name(), context.namespace, new.metadata.display_name());
    let remembered = Remembered::of(new);
    let label = TemplateLabel::of(new, &template, &remembered);
    let is_new_template = old.is_none_or(|old| old.spec.template.get() != new.spec.template.get());

    let mut patch = Patch::default();
    match super::resolve(context, [label.authors, label.workloads], &subject) {
        Ok((name, policy)) => {
            let is_enforced = policy.is_enforced();
            let copy = label.copy(&mut patch, &template, is_enforced || is_new_template);
            let (wish, wanted) = fields(kind, new, old, &remembered, Some(policy));
            let mut warnings = Vec::new();
            if is_new_template || wish.differs(&wanted) && remembered == Remembered::default() {
                warnings = advice(kind, &subject, name, new, &wish, &wanted);
            }
            if old.is_some() && copy.is_some() && !label.is_copy && is_enforced {
                warnings.push(format!(
                    "{subject}: its pod template gets the label {POLICY_LABEL}: a new revision, so its \
                     pods are replaced now"
                ));
            }
            if is_enforced {
                change(kind, &mut patch, new, &wanted);
                remember(&mut patch, new, &remembered, &Remembered::from(&wish, &wanted, copy))?;
                let outcome = if patch.is_empty() { Outcome::Unchanged } else { Outcome::Patched };
                return Ok(Plan::new(outcome, patch.into_operations(), warnings));
            }
            let copied = Remembered { template_policy: copy, ..remembered.clone() };
            remember(&mut patch, new, &remembered, &copied)?;
            if wish.differs(&wanted) {
                warnings.insert(
                    0,
                    format!(
                        "{subject} is not changed: policy {name} has mode Observe; Enforce would set \
                         {} to {} and minReadySeconds to {}",
                        kind.strategy_path(),
                        wanted.strategy.as_ref().map(Value::to_string).unwrap_or_default(),
                        wanted.min_ready_seconds,
                    ),
                );
            }
            Ok(Plan::new(Outcome::Observed, patch.into_operations(), warnings))
        }
        Err(plan) if matches!(plan.outcome, Outcome::NotEnrolled | Outcome::OptedOut) => {
            let copy = label.copy(&mut patch, &template, true);
            let (wish, wanted) = fields(kind, new, old, &remembered, None);
            change(kind, &mut patch, new, &wanted);
            remember(&mut patch, new, &remembered, &Remembered::from(&wish, &wanted, copy))?;
            let outcome =
                if remembered == Remembered::default() { plan.outcome } else { Outcome::Restored };
            Ok(Plan::new(outcome, patch.into_operations(), plan.warnings))
        }
        // No policy, or one that is switched off: nothing is enforced and nothing is put back. The
        // label still goes to the pods, because it is nearer to them than their namespace's.
        Err(plan) => {
            let copy = label.copy(&mut patch, &template, is_new_template);
            let copied = Remembered { template_policy: copy, ..remembered.clone() };
            remember(&mut patch, new, &remembered, &copied)?;
            Ok(Plan::new(plan.outcome, patch.into_operations(), plan.warnings))
        }
    }
}

/// The author's wish, and what the policy makes of it.
fn fields(
    kind: WorkloadKind,
    new: &Workload<'_>,
    old: Option<&Workload<'_>>,
    remembered: &Remembered,
    policy: Option<&Policy>,
) -> (Fields, Fields) {
    let enforce = |fields: &Fields| match policy {
        Some(policy) => enforced(kind, fields, new, policy),
        None => fields.clone(),
    };
    let before = old.map(|old| Fields::of(kind, old));
    let wish = wish(&Fields::of(kind, new), before.as_ref(), remembered, policy.is_some(), enforce);
    let wanted = enforce(&wish);
    (wish, wanted)
}

/// Sets the fields that are not yet as they are wanted.
fn change(kind: WorkloadKind, patch: &mut Patch, new: &Workload<'_>, wanted: &Fields) {
    let current = Fields::of(kind, new);
    if wanted.strategy != current.strategy {
        match &wanted.strategy {
            Some(strategy) => patch.set(kind.strategy_path(), strategy),
            None => patch.remove(kind.strategy_path()),
        }
    }
    if wanted.min_ready_seconds != current.min_ready_seconds {
        patch.set("/spec/minReadySeconds", wanted.min_ready_seconds);
    }
}

/// Brings the annotation up to date.
fn remember(
    patch: &mut Patch,
    new: &Workload<'_>,
    before: &Remembered,
    now: &Remembered,
) -> Result<(), serde_json::Error> {
    let annotations = new.metadata.annotations.as_ref();
    let is_there = annotations.is_some_and(|all| all.original_update_strategy.is_some());
    if *now == Remembered::default() {
        if is_there {
            let member = escape(ANNOTATION_ORIGINAL_UPDATE_STRATEGY);
            patch.remove(format!("/metadata/annotations/{member}"));
        }
    } else if now != before {
        patch.set_members(
            "/metadata/annotations",
            annotations.is_some(),
            [(ANNOTATION_ORIGINAL_UPDATE_STRATEGY, serde_json::to_string(now)?)],
        );
    }
    Ok(())
}

/// What the author asks for: the remembered value as long as nobody but Lameduck changed the field,
/// else the field as it comes in.
fn wish(
    current: &Fields,
    before: Option<&Fields>,
    remembered: &Remembered,
    is_enrolled: bool,
    enforce: impl Fn(&Fields) -> Fields,
) -> Fields {
    let authors = Fields {
        strategy: remembered.strategy.clone().or_else(|| current.strategy.clone()),
        min_ready_seconds: remembered.min_ready_seconds.unwrap_or(current.min_ready_seconds),
    };
    let ours = enforce(&authors);
    // A workload that is created with our annotation is a copy of a live one.
    let is_copy = !is_enrolled && before.is_none();
    let same_strategy = is_copy
        || current.strategy == ours.strategy
        || before.is_some_and(|before| before.strategy == current.strategy);
    let same_seconds = is_copy
        || current.min_ready_seconds == ours.min_ready_seconds
        || before.is_some_and(|before| before.min_ready_seconds == current.min_ready_seconds);
    Fields {
        strategy: if same_strategy { authors.strategy } else { current.strategy.clone() },
        min_ready_seconds: if same_seconds {
            authors.min_ready_seconds
        } else {
            current.min_ready_seconds
        },
    }
}

/// What the policy makes of the author's wish.
fn enforced(kind: WorkloadKind, wish: &Fields, new: &Workload<'_>, policy: &Policy) -> Fields {
    match kind {
        WorkloadKind::Deployment => {
            if strategy::is_recreate(wish.strategy.as_ref()) {
                return wish.clone();
            }
            let floors = &policy.deployments;
            // The API refuses minReadySeconds that reach progressDeadlineSeconds.
            let most = new.spec.progress_deadline_seconds.map_or(i64::MAX, |seconds| seconds - 1);
            let least = i64::from(floors.min_ready_seconds).min(most);
            let replicas = new.spec.replicas.unwrap_or(1);
            Fields {
                strategy: Some(strategy::rolling(wish.strategy.as_ref(), replicas, floors)),
                min_ready_seconds: wish.min_ready_seconds.max(least),
            }
        }
        WorkloadKind::StatefulSet => match policy.stateful_sets.update_strategy {
            StatefulSetStrategy::Unchanged => wish.clone(),
            StatefulSetStrategy::OnDelete => Fields {
                strategy: Some(strategy::on_delete()),
                min_ready_seconds: wish.min_ready_seconds,
            },
        },
    }
}

/// What the author should know about a workload that can still lose requests or that behaves in a
/// new way.
fn advice(
    kind: WorkloadKind,
    subject: &str,
    policy_name: &str,
    new: &Workload<'_>,
    wish: &Fields,
    wanted: &Fields,
) -> Vec<String> {
    let mut warnings = Vec::new();
    if kind == WorkloadKind::StatefulSet && wish.strategy != wanted.strategy {
        warnings.push(format!(
            "{subject}: updateStrategy is OnDelete by policy {policy_name}: Lameduck replaces the pods one \
             after the other, see kubectl get upgrades; kubectl rollout status does not know OnDelete"
        ));
    }
    if kind == WorkloadKind::Deployment && strategy::is_recreate(wish.strategy.as_ref()) {
        warnings.push(format!(
            "{subject}: strategy Recreate ends every pod before a new one starts: requests in between \
             are lost; use RollingUpdate"
        ));
    }
    if new.spec.replicas.unwrap_or(1) == 1 {
        warnings.push(format!(
            "{subject}: with replicas 1 nobody takes new requests while its pod is evicted and \
             replaced; use 2 or more"
        ));
    }
    warnings
}
