//! Source: TKE pod identity. The pod's ServiceAccount token is exchanged for temporary credentials of
//! a CAM role, at STS. The token is the proof: the request itself is not signed.

use std::path::Path;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper::header::HeaderValue;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::files::read_small;
use super::{CredentialSource, Credentials, Problem, Remote, strike_out};
use crate::envelope;
use crate::error::Failure;
use crate::retry::{self, Bounds};
use crate::sign::{Call, unsigned};
use crate::text::one_line;

const ACTION: &str = "AssumeRoleWithWebIdentity";
const VERSION: &str = "2018-08-13";
/// How long the credentials live. What Tencent's own client asks for; 43200 is the most.
const DURATION_SECONDS: u32 = 7200;
/// Shown in the account's audit log.
const SESSION_NAME: &str = "lameduck";

const REGION: &str = "TKE_REGION";
const PROVIDER: &str = "TKE_PROVIDER_ID";
const TOKEN_FILE: &str = "TKE_WEB_IDENTITY_TOKEN_FILE";
const ROLE: &str = "TKE_ROLE_ARN";

/// The credentials of the pod's role.
///
/// # Errors
/// [`Problem::NotApplicable`] where the pod has no identity.
pub(super) async fn credentials(remote: &Remote) -> Result<Credentials, Problem> {
    let [region, provider, token_file, role] = variables(remote)?;
    // Each time: the kubelet replaces it long before it ends.
    let token = read_small(Path::new(&token_file))
        .await
        .map_err(|error| Problem::passing(format!("cannot read {token_file}: {error}")))?;
    let token = token.trim();
    if token.is_empty() {
        return Err(Problem::passing(format!("{token_file} is empty")));
    }
    let body = json!({
        "ProviderId": provider,
        "WebIdentityToken": token,
        "RoleArn": role,
        "RoleSessionName": SESSION_NAME,
        "DurationSeconds": DURATION_SECONDS,
    });
    let body = Bytes::from(body.to_string());
    let bounds = Bounds {
        tries_max: remote.limits.tries_max,
        deadline: Instant::now() + remote.limits.call_timeout,
    };
    let asked = retry::run(ACTION, bounds, || ask(remote, &region, body.clone())).await;
    asked.map_err(|(failure, _)| {
        let detail = format!("{ACTION} for {role}: {failure}");
        Problem::Failed {
            detail: one_line(&strike_out(&detail, std::iter::once(token))),
            retry_helps: failure.retry_helps(),
        }
    })
}

/// Whether anything of a pod identity is there.
pub(super) fn is_configured(remote: &Remote) -> bool {
    !matches!(variables(remote), Err(Problem::NotApplicable(_)))
}

pub(super) fn not_configured() -> Problem {
    Problem::NotApplicable(format!(
        "{PROVIDER}, {TOKEN_FILE} and {ROLE} are not set (the pod's ServiceAccount names no role)"
    ))
}

fn variables(remote: &Remote) -> Result<[String; 4], Problem> {
    let names = [REGION, PROVIDER, TOKEN_FILE, ROLE];
    let values = names.map(|name| remote.settings.environment.get(name));
    let missing: Vec<_> =
        names.iter().zip(&values).filter(|(_, value)| value.is_none()).map(|(n, _)| *n).collect();
    match values {
        [Some(region), Some(provider), Some(file), Some(role)] => {
            Ok([region, provider, file, role])
        }
        // TKE_REGION alone says nothing about an identity.
        [_, None, None, None] => Err(not_configured()),
        _ => Err(Problem::broken(format!("not set: {}", missing.join(", ")))),
    }
}

async fn ask(remote: &Remote, region: &str, body: Bytes) -> Result<Credentials, Failure> {
    let endpoint = &remote.settings.sts;
    let call =
        Call { action: ACTION, version: VERSION, region, host: endpoint.host(), body: &body };
    let headers = unsigned(remote.clock.now(), call, HeaderValue::from_static("SKIP"))
        .map_err(|error| Failure::Invalid(format!("{REGION} or the host of STS: {error}")))?;
    let mut request = Request::post(endpoint.uri("/"));
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request
        .body(Full::new(body))
        .map_err(|error| Failure::Invalid(format!("the address of STS: {error}")))?;
    let answer = remote
        .http
        .send(request, remote.limits.try_timeout, remote.limits.answer_max_bytes)
        .await?;
    let reply = envelope::open(&answer, remote.clock.now(), &|text| one_line(text))?;
    read(&reply.response).ok_or_else(|| Failure::Unexpected {
        detail: "Credentials or ExpiredTime are missing or cannot be used".to_owned(),
    })
}

fn read(response: &Value) -> Option<Credentials> {
    let text = |name: &str| response["Credentials"][name].as_str().map(str::to_owned);
    Credentials::new(
        CredentialSource::PodIdentity,
        text("TmpSecretId")?,
        text("TmpSecretKey")?,
        Some(text("Token")?),
        Some(expiry(response)?),
    )
    .ok()
}

/// When temporary credentials end. Without it they are not used: they would be used for ever.
pub(super) fn expiry(response: &Value) -> Option<Timestamp> {
    let seconds = response["ExpiredTime"].as_i64().filter(|seconds| *seconds > 0);
    seconds
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .or_else(|| response["Expiration"].as_str()?.parse().ok())
}
