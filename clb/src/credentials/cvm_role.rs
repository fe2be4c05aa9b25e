//! Source: the CAM role of the node, from its metadata service.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, StatusCode};
use serde_json::Value;

use super::pod_identity::expiry;
use super::{CredentialSource, Credentials, Problem, Remote};
use crate::error::Failure;
use crate::http::Answer;
use crate::text::one_line;

const FOLDER: &str = "/latest/meta-data/cam/security-credentials/";
/// It is link-local: a service that is there answers in milliseconds.
const ASK_MAX: Duration = Duration::from_secs(2);

/// The credentials of the node's role.
///
/// # Errors
/// [`Problem::NotApplicable`] where the node has no role.
pub(super) async fn credentials(remote: &Remote) -> Result<Credentials, Problem> {
    let role = role(remote).await?;
    let answer = get(remote, &format!("{FOLDER}{role}")).await?;
    if answer.status != StatusCode::OK {
        return Err(unexpected(&role, &answer));
    }
    let body: Value = serde_json::from_slice(&answer.body).map_err(|error| {
        Problem::passing(format!("the metadata service's answer for role {role}: {error}"))
    })?;
    // Not the body: it may hold a key.
    if let Some(code) = body["Code"].as_str().filter(|code| *code != "Success") {
        let code = one_line(code);
        return Err(Problem::passing(format!("the metadata service says {code} for role {role}")));
    }
    let text = |name: &str| body[name].as_str().map(str::to_owned);
    let (Some(id), Some(key), Some(token), Some(expires_at)) =
        (text("TmpSecretId"), text("TmpSecretKey"), text("Token"), expiry(&body))
    else {
        return Err(Problem::passing(format!(
            "the metadata service's answer for role {role} lacks TmpSecretId, TmpSecretKey, Token or \
             ExpiredTime"
        )));
    };
    Credentials::new(CredentialSource::CvmRole, id, key, Some(token), Some(expires_at))
}

async fn role(remote: &Remote) -> Result<String, Problem> {
    let answer = get(remote, FOLDER).await?;
    let body = String::from_utf8_lossy(&answer.body);
    let role = body.lines().next().unwrap_or_default().trim();
    let is_name = |role: &str| {
        role.len() <= 128
            && role.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.@+=,".contains(&byte))
    };
    match answer.status {
        StatusCode::OK if role.is_empty() => Err(no_role()),
        StatusCode::OK if is_name(role) => Ok(role.to_owned()),
        StatusCode::NOT_FOUND => Err(no_role()),
        _ => Err(unexpected("(list of roles)", &answer)),
    }
}

fn no_role() -> Problem {
    Problem::NotApplicable("the node has no CAM role".to_owned())
}

fn unexpected(role: &str, answer: &Answer) -> Problem {
    Problem::passing(format!(
        "the metadata service answers with HTTP status {} for role {role}",
        answer.status.as_u16()
    ))
}

async fn get(remote: &Remote, path: &str) -> Result<Answer, Problem> {
    let endpoint = &remote.settings.metadata;
    let request = Request::get(endpoint.uri(path))
        .header(hyper::header::HOST, endpoint.host())
        .body(Full::new(Bytes::new()))
        .map_err(|error| Problem::broken(format!("the metadata service's address: {error}")))?;
    remote.http.send(request, ASK_MAX, remote.limits.answer_max_bytes).await.map_err(
        |failure: Failure| {
            Problem::passing(format!("the metadata service cannot be asked: {failure}"))
        },
    )
}
