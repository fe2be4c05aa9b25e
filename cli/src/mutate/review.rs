//! One object -> what the webhook answers, and what comes of it. Pure.

use lameduck_core::inject::view::{Pod, Workload};
use lameduck_core::inject::{
    Context, Outcome, Plan, Settings, WorkloadKind, plan_pod, plan_workload,
};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use super::defaults;
use super::documents::without_place;
use super::policies::World;
use super::template::templated;

/// What comes of an object and of its pods.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reviewed {
    /// The file that it is in; `-` is standard input.
    pub file: String,
    /// The document in that file, from 1.
    pub document: usize,
    /// `apiVersion` of the object.
    pub api_version: String,
    /// `kind` of the object.
    pub kind: String,
    /// The namespace that it was reviewed for; none for kinds that are not looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name, or the start of its name.
    pub name: String,
    /// The object itself.
    #[serde(flatten)]
    pub change: Change,
    /// A pod of its template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<Change>,
}

/// What comes of one review.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// Why; none where the webhook is not asked about the kind.
    #[serde(serialize_with = "word")]
    pub outcome: Option<Outcome>,
    /// The JSON patch of the answer.
    pub operations: Vec<Value>,
    /// What `kubectl` would print.
    pub warnings: Vec<String>,
    /// The object as it is written.
    #[serde(skip)]
    pub original: Value,
    /// The object with the patch.
    pub patched: Value,
}

impl Change {
    /// The stable word.
    #[must_use]
    pub fn word(&self) -> &'static str {
        self.outcome.map_or("NotReviewed", Outcome::as_str)
    }

    fn none(object: &Value) -> Self {
        Self {
            outcome: None,
            operations: Vec::new(),
            warnings: Vec::new(),
            original: object.clone(),
            patched: object.clone(),
        }
    }

    fn of(plan: Plan, object: &Value) -> Result<Self, String> {
        let Plan { operations, warnings, outcome } = plan;
        let mut patched = object.clone();
        // Text in between: the values of operations are JSON that has been written already.
        let unfit = |error: &dyn std::fmt::Display| format!("the patch does not fit: {error}");
        let text = serde_json::to_string(&operations).map_err(|error| unfit(&error))?;
        let operations: Vec<Value> = serde_json::from_str(&text).map_err(|error| unfit(&error))?;
        let patch: json_patch::Patch =
            serde_json::from_str(&text).map_err(|error| unfit(&error))?;
        json_patch::patch(&mut patched, &patch).map_err(|error| unfit(&error))?;
        Ok(Self { outcome: Some(outcome), operations, warnings, original: object.clone(), patched })
    }
}

fn word<S: Serializer>(outcome: &Option<Outcome>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(outcome.map_or("NotReviewed", Outcome::as_str))
}

impl Reviewed {
    /// Whether something would be changed.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        let pods = self.pod.as_ref().is_some_and(|pod| !pod.operations.is_empty());
        pods || !self.change.operations.is_empty()
    }

    /// `deployment/web`.
    #[must_use]
    pub fn subject(&self) -> String {
        format!("{}/{}", self.kind.to_ascii_lowercase(), self.name)
    }
}

/// Reviews an object as the webhook does on its creation. `file` and `document` say where it is from.
///
/// # Errors
/// The object cannot be read: the field's path, and why.
pub fn review(
    (file, document): (&str, usize),
    object: &Value,
    world: &World,
    settings: &Settings,
) -> Result<Reviewed, String> {
    let word = |value: &Value| value.as_str().filter(|word| !word.is_empty()).map(str::to_owned);
    let metadata = &object["metadata"];
    let (version, kind) = (word(&object["apiVersion"]), word(&object["kind"]));
    let (version, kind) = (version.unwrap_or_default(), kind.unwrap_or_default());
    let name = word(&metadata["name"]).or_else(|| word(&metadata["generateName"]));
    let namespace = word(&metadata["namespace"]).unwrap_or_else(|| world.namespace.clone());
    let context = Context {
        namespace: &namespace,
        namespace_policy: world.label(&namespace),
        policies: &world.policies,
        settings,
    };
    let workload = WorkloadKind::from_name(&kind).filter(|_| version == "apps/v1");
    let change = match workload {
        Some(workload) => workload_change(workload, object, &context)?,
        None if version == "v1" && kind == "Pod" => pod_change(object, object, &context)?,
        None => Change::none(object),
    };
    let made = templated(&version, &kind);
    let pod = made.as_ref().and_then(|made| made.pod(&change.patched, &namespace));
    let pod = match (&made, pod) {
        (Some(made), Some(pod)) => Some(
            pod_change(&pod, &made.owned(&pod), &context)
                .map_err(|message| format!("pod template: {message}"))?,
        ),
        _ => None,
    };
    let is_looked_at = change.outcome.is_some() || pod.is_some();
    Ok(Reviewed {
        file: file.to_owned(),
        document,
        api_version: version,
        kind,
        namespace: Some(namespace).filter(|_| is_looked_at),
        name: name.unwrap_or_else(|| "(no name)".to_owned()),
        change,
        pod,
    })
}

fn workload_change(
    kind: WorkloadKind,
    object: &Value,
    context: &Context<'_>,
) -> Result<Change, String> {
    let mut defaulted = object.clone();
    match kind {
        WorkloadKind::Deployment => defaults::deployment(&mut defaulted),
        WorkloadKind::StatefulSet => defaults::stateful_set(&mut defaulted),
    }
    let text = defaulted.to_string();
    let plan = plan_workload(kind, &read::<Workload<'_>>(&text)?, None, context)
        .map_err(|error| format!("spec.template: {}", without_place(&error.to_string())))?;
    Change::of(plan, object)
}

/// `owned` is what the API server gets, `object` what is shown and patched.
fn pod_change(object: &Value, owned: &Value, context: &Context<'_>) -> Result<Change, String> {
    let mut defaulted = owned.clone();
    defaults::pod(&mut defaulted);
    let text = defaulted.to_string();
    Change::of(plan_pod(&read::<Pod<'_>>(&text)?, context), object)
}

/// The view of an object, as the webhook reads it.
fn read<'a, O: Deserialize<'a>>(text: &'a str) -> Result<O, String> {
    serde_json::from_str(text).or_else(|_| {
        // A second pass looks for the field.
        let mut from = serde_json::Deserializer::from_str(text);
        serde_path_to_error::deserialize::<_, O>(&mut from).map_err(|error| {
            let path = error.path().to_string();
            let inner = error.into_inner().to_string();
            // A place in the text that was made for the review.
            let inner = without_place(&inner);
            if path == "." { inner.to_owned() } else { format!("{path}: {inner}") }
        })
    })
}
