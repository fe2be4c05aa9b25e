//! `AdmissionReview` of `admission.k8s.io/v1`, as far as the webhook reads and writes it.

use lameduck_core::inject::view::Str;
use serde::{Deserialize, Serialize};

pub(crate) const API_VERSION: &str = "admission.k8s.io/v1";
pub(crate) const KIND: &str = "AdmissionReview";

/// A request whose object is decoded as `O`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Review<'a, O> {
    #[serde(borrow, default)]
    pub(crate) api_version: Str<'a>,
    #[serde(borrow, default)]
    pub(crate) kind: Str<'a>,
    pub(crate) request: Option<Request<'a, O>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Request<'a, O> {
    #[serde(borrow)]
    pub(crate) uid: Str<'a>,
    #[serde(borrow, default)]
    pub(crate) kind: Kind<'a>,
    #[serde(borrow)]
    pub(crate) sub_resource: Option<Str<'a>>,
    #[serde(borrow)]
    pub(crate) namespace: Option<Str<'a>>,
    #[serde(borrow, default)]
    pub(crate) operation: Str<'a>,
    pub(crate) object: Option<O>,
    pub(crate) old_object: Option<O>,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Kind<'a> {
    #[serde(borrow, default)]
    pub(crate) kind: Str<'a>,
}

/// The answer without its patch. Always allowed: this webhook changes and warns, it never refuses.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Answer<'a> {
    pub(crate) api_version: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) response: Response<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Response<'a> {
    pub(crate) uid: &'a str,
    pub(crate) allowed: bool,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(crate) warnings: &'a [String],
    /// None where nothing was done: the API server asks again after other webhooks, and complains of a word
    /// that it has already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) audit_annotations: Option<AuditAnnotations>,
}

#[derive(Serialize)]
pub(crate) struct AuditAnnotations {
    /// What came of the review: the same word as in the metrics.
    pub(crate) outcome: &'static str,
}
