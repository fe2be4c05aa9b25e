//! The envelope of every answer: `{"Response": {…}}`, with `Error` in it where the call failed, whatever
//! the HTTP status is.

use hyper::header::DATE;
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use serde_json::Value;
use serde_json::error::Category;

use crate::error::{Failure, Refusal, RefusalKind};
use crate::http::Answer;

/// An answer without an error. Not printable: credentials come in answers, too.
pub(crate) struct Reply {
    /// The object under `Response`.
    pub(crate) response: Value,
    pub(crate) request_id: Option<String>,
}

/// Opens an answer that came at `now`; `clean` makes its texts fit to be shown.
///
/// # Errors
/// [`Failure::Refused`], [`Failure::Http`], [`Failure::Garbled`] or [`Failure::Unexpected`].
pub(crate) fn open(
    answer: &Answer,
    now: Timestamp,
    clean: &dyn Fn(&str) -> String,
) -> Result<Reply, Failure> {
    let body: Result<Value, _> = serde_json::from_slice(&answer.body);
    if !answer.status.is_success() {
        // A gateway's own page, or the API's word with a status of its own. A status of the server's
        // side stays one: its word may be about something else.
        let refusal = body.ok().and_then(|body| refusal(&body["Response"], answer, now, clean));
        return Err(match refusal {
            Some(refusal) if !answer.status.is_server_error() => Failure::Refused(refusal),
            Some(refusal) => http(answer, refusal.to_string()),
            // All of it: a secret that is cut in two would not be struck out.
            None => http(answer, clean(&String::from_utf8_lossy(&answer.body))),
        });
    }
    let mut body = body.map_err(|error| match error.classify() {
        Category::Data => Failure::Unexpected { detail: error.to_string() },
        _ => Failure::Garbled { detail: error.to_string() },
    })?;
    let response = body.get_mut("Response").map(Value::take).unwrap_or_default();
    if !response.is_object() {
        return Err(Failure::Unexpected { detail: "there is no object Response".to_owned() });
    }
    if let Some(refusal) = refusal(&response, answer, now, clean) {
        return Err(Failure::Refused(refusal));
    }
    let request_id = request_id(&response, clean);
    Ok(Reply { response, request_id })
}

fn http(answer: &Answer, detail: String) -> Failure {
    Failure::Http { status: answer.status.as_u16(), detail }
}

/// The error in `response`. One without a readable code is an error all the same.
fn refusal(
    response: &Value,
    answer: &Answer,
    now: Timestamp,
    clean: &dyn Fn(&str) -> String,
) -> Option<Refusal> {
    let error = response.get("Error").filter(|error| !error.is_null())?;
    let text = |name: &str| clean(error[name].as_str().unwrap_or("(not said)"));
    let (code, message) = (text("Code"), text("Message"));
    Some(Refusal {
        kind: RefusalKind::of(&code, &message),
        code,
        message,
        request_id: request_id(response, clean),
        clock_ahead_seconds: server_time(answer).map(|time| now.duration_since(time).as_secs()),
    })
}

fn request_id(response: &Value, clean: &dyn Fn(&str) -> String) -> Option<String> {
    response["RequestId"].as_str().map(clean).filter(|id| !id.is_empty())
}

fn server_time(answer: &Answer) -> Option<Timestamp> {
    let date = answer.headers.get(DATE)?.to_str().ok()?;
    rfc2822::DateTimeParser::new().parse_timestamp(date).ok()
}
