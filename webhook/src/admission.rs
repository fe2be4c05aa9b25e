//! One review: from the request's bytes to the answer's bytes, without IO.

use std::panic::{AssertUnwindSafe, catch_unwind};

use data_encoding::BASE64;
use lameduck_core::{
    inject::{
        Context, Operation, Outcome, Plan, Settings, WorkloadKind, plan_pod, plan_workload,
        shorten,
        view::{Pod, Workload},
    },
    names::POLICY_LABEL,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    index::Snapshot,
    wire::{API_VERSION, Answer, AuditAnnotations, KIND, Request, Response, Review},
};

/// The two hooks, by their paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hook {
    /// `/v1/mutate/pods`
    Pods,
    /// `/v1/mutate/workloads`
    Workloads,
}

impl Hook {
    /// The word in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pods => "pods",
            Self::Workloads => "workloads",
        }
    }

    fn takes(self, kind: &str) -> bool {
        match self {
            Self::Pods => kind == "Pod",
            Self::Workloads => WorkloadKind::from_name(kind).is_some(),
        }
    }
}

/// A finished review.
#[derive(Clone, Debug, PartialEq)]
pub struct Reviewed {
    /// The answer's body.
    pub body: Vec<u8>,
    /// What came of it: a stable CamelCase word.
    pub outcome: &'static str,
    /// Operations in the patch.
    pub operations: usize,
    /// Set where the object could not be understood: the message for the log.
    pub problem: Option<String>,
}

/// The body is not an `AdmissionReview` of v1. The message says what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotAReview(pub String);

/// What a decision comes to, before it is written down.
struct Decision {
    operations: Vec<Operation>,
    warnings: Vec<String>,
    outcome: &'static str,
    problem: Option<String>,
}

impl Decision {
    fn nothing(outcome: &'static str) -> Self {
        Self { operations: Vec::new(), warnings: Vec::new(), outcome, problem: None }
    }

    fn problem(outcome: &'static str, message: String) -> Self {
        let warning = format!("lameduck did not change this object: {message}");
        Self {
            operations: Vec::new(),
            warnings: vec![shorten(&warning)],
            outcome,
            problem: Some(message),
        }
    }
}

impl From<Plan> for Decision {
    fn from(plan: Plan) -> Self {
        Self {
            operations: plan.operations,
            warnings: plan.warnings,
            outcome: plan.outcome.as_str(),
            problem: None,
        }
    }
}

/// Reviews one request.
///
/// # Errors
/// Where the body is not an `AdmissionReview` of v1. Everything else is answered: an object that
/// cannot be understood is allowed, with a warning that names the field.
pub fn review(
    hook: Hook,
    body: &[u8],
    snapshot: &Snapshot,
    settings: &Settings,
) -> Result<Reviewed, NotAReview> {
    match hook {
        Hook::Pods => typed::<Pod<'_>>(hook, body, |request| pod(request, snapshot, settings)),
        Hook::Workloads => {
            typed::<Workload<'_>>(hook, body, |request| workload(request, snapshot, settings))
        }
    }
}

fn typed<'a, O: Deserialize<'a>>(
    hook: Hook,
    body: &'a [u8],
    decide: impl FnOnce(&Request<'a, O>) -> Decision,
) -> Result<Reviewed, NotAReview> {
    // Checked as a whole, which is quicker than string by string.
    let body = str::from_utf8(body)
        .map_err(|error| NotAReview(format!("the body is not an AdmissionReview: {error}")))?;
    // One pass over the text where all is well, a second one that looks for the reason where not.
    match serde_json::from_str::<Review<'a, O>>(body) {
        Ok(review) => {
            let request = check(review)?;
            // A fault in a decision must not cost the cluster its pods: allowed, counted, logged.
            let decision =
                catch_unwind(AssertUnwindSafe(|| decide(&request))).unwrap_or_else(|_| {
                    Decision::problem(
                        "Panicked",
                        "a fault in the webhook; please report it".to_owned(),
                    )
                });
            answer(&request.uid, &decision)
        }
        Err(error) => {
            let review = serde_json::from_str::<Review<'a, &'a RawValue>>(body)
                .map_err(|_| NotAReview(format!("the body is not an AdmissionReview: {error}")))?;
            let request = check(review)?;
            if !hook.takes(&request.kind.kind) {
                return answer(&request.uid, &misdirected(hook, &request.kind.kind));
            }
            let field = [("object", request.object), ("oldObject", request.old_object)]
                .into_iter()
                .find_map(|(member, raw)| unreadable_field::<O>(member, raw?));
            let message = field.unwrap_or_else(|| format!("cannot read the request: {error}"));
            answer(&request.uid, &Decision::problem("Unreadable", message))
        }
    }
}

fn check<O>(review: Review<'_, O>) -> Result<Request<'_, O>, NotAReview> {
    if &*review.kind != KIND || &*review.api_version != API_VERSION {
        return Err(NotAReview(format!(
            "expected {KIND} of {API_VERSION}, got {:.64?} of {:.64?}",
            &*review.kind, &*review.api_version
        )));
    }
    review
        .request
        .filter(|request| !request.uid.is_empty())
        .ok_or_else(|| NotAReview("the AdmissionReview has no request with a uid".to_owned()))
}

/// Where and why an object cannot be read: `object.spec.containers[0].ports: invalid type: …`.
fn unreadable_field<'a, O: Deserialize<'a>>(member: &str, raw: &'a RawValue) -> Option<String> {
    let mut deserializer = serde_json::Deserializer::from_str(raw.get());
    let error = serde_path_to_error::deserialize::<_, O>(&mut deserializer).err()?;
    let path = error.path().to_string();
    let inner = error.into_inner();
    Some(if path == "." {
        format!("cannot read {member}: {inner}")
    } else {
        format!("cannot read {member}.{path}: {inner}")
    })
}

fn pod(request: &Request<'_, Pod<'_>>, snapshot: &Snapshot, settings: &Settings) -> Decision {
    if &*request.operation != "CREATE" || has_sub_resource(request) {
        return Decision::nothing(UNCHANGED);
    }
    let Some(pod) = &request.object else { return missing_object() };
    let namespace = request.namespace.as_deref().unwrap_or_default();
    if pod.metadata.policy().is_none() && !snapshot.knows_namespace(namespace) {
        return unknown_namespace(namespace);
    }
    plan_pod(pod, &context(namespace, snapshot, settings)).into()
}

fn workload(
    request: &Request<'_, Workload<'_>>,
    snapshot: &Snapshot,
    settings: &Settings,
) -> Decision {
    if !matches!(&*request.operation, "CREATE" | "UPDATE") || has_sub_resource(request) {
        return Decision::nothing(UNCHANGED);
    }
    let Some(kind) = WorkloadKind::from_name(&request.kind.kind) else {
        return Decision::nothing(UNCHANGED);
    };
    let Some(new) = &request.object else { return missing_object() };
    let namespace = request.namespace.as_deref().unwrap_or_default();
    if new.metadata.policy().is_none() && !snapshot.knows_namespace(namespace) {
        return unknown_namespace(namespace);
    }
    let context = context(namespace, snapshot, settings);
    match plan_workload(kind, new, request.old_object.as_ref(), &context) {
        Ok(plan) => plan.into(),
        Err(error) => {
            let message = format!("cannot read object.spec.template: {error}");
            Decision::problem("Unreadable", message)
        }
    }
}

fn context<'a>(namespace: &'a str, snapshot: &'a Snapshot, settings: &'a Settings) -> Context<'a> {
    Context {
        namespace,
        namespace_policy: snapshot.namespace_policy(namespace),
        policies: &snapshot.policies,
        settings,
    }
}

fn has_sub_resource<O>(request: &Request<'_, O>) -> bool {
    request.sub_resource.as_deref().is_some_and(|name| !name.is_empty())
}

fn misdirected(hook: Hook, kind: &str) -> Decision {
    let message = format!(
        "the MutatingWebhookConfiguration sends kind {kind:.64} to the hook for {}",
        hook.as_str()
    );
    Decision::problem("Misdirected", message)
}

fn missing_object() -> Decision {
    Decision::problem("Unreadable", "the request has no object".to_owned())
}

/// The API server saw the namespace's label a moment before our watch did. Nothing waits here, so
/// the object goes through as it is and the controller reports it.
fn unknown_namespace(namespace: &str) -> Decision {
    Decision::problem(
        "UnknownNamespace",
        format!(
            "the webhook has not seen namespace {namespace:.64} yet, so {POLICY_LABEL} of the \
             namespace could not be read; create the object again"
        ),
    )
}

/// The word of a review that found everything as it should be.
const UNCHANGED: &str = Outcome::Unchanged.as_str();
/// An ordinary answer fits, so that it is written without growing.
const ANSWER_BYTES: usize = 4 << 10;

fn answer(uid: &str, decision: &Decision) -> Result<Reviewed, NotAReview> {
    // Strings and JSON values always serialize; an error here would be a fault of ours.
    let write = |error: serde_json::Error| NotAReview(format!("cannot write the answer: {error}"));
    let answer = Answer {
        api_version: API_VERSION,
        kind: KIND,
        response: Response {
            uid,
            allowed: true,
            warnings: &decision.warnings,
            audit_annotations: (decision.outcome != UNCHANGED)
                .then_some(AuditAnnotations { outcome: decision.outcome }),
        },
    };
    let mut body = Vec::with_capacity(ANSWER_BYTES);
    serde_json::to_writer(&mut body, &answer).map_err(write)?;
    if !decision.operations.is_empty() {
        let mut patch = Vec::with_capacity(ANSWER_BYTES);
        serde_json::to_writer(&mut patch, &decision.operations).map_err(write)?;
        append_patch(&mut body, &patch);
    }
    Ok(Reviewed {
        body,
        outcome: decision.outcome,
        operations: decision.operations.len(),
        problem: decision.problem.clone(),
    })
}

/// Puts the patch into the response, which is the last object of an answer that is written already.
///
/// Base64 needs no escapes: written as a JSON string like any other it would be looked through byte by
/// byte, which costs as much as the whole rest of the answer.
fn append_patch(body: &mut Vec<u8>, patch: &[u8]) {
    const END: &[u8] = b"}}";
    debug_assert!(body.ends_with(END), "the response is the last member of the answer");
    body.truncate(body.len().saturating_sub(END.len()));
    body.extend_from_slice(br#","patchType":"JSONPatch","patch":""#);
    let start = body.len();
    body.resize(start + BASE64.encode_len(patch.len()), b'=');
    if let Some(place) = body.get_mut(start..) {
        BASE64.encode_mut(patch, place);
    }
    body.push(b'"');
    body.extend_from_slice(END);
}
