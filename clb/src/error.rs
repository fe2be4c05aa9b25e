//! Why a call did not come to an answer, and whether trying again helps.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::credentials::CredentialError;

/// A call without an answer: nothing is known about the load balancer. Prints as one line.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{action} in {region} failed{}: {failure}", after(*.tries))]
pub struct Error {
    /// What was called, for example `DescribeTargets`.
    pub action: &'static str,
    /// The region that was asked.
    pub region: String,
    /// Requests that were sent for this call.
    pub tries: u32,
    /// Why the last of them, or what came before the first, failed.
    pub failure: Failure,
}

impl Error {
    /// Whether the same call may succeed later, with nothing changed by a person.
    #[must_use]
    pub fn retry_helps(&self) -> bool {
        self.failure.retry_helps()
    }

    /// What the API said, where it did.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match &self.failure {
            Failure::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// What it says, without the request's id: that is another one each time, and this may be stored.
    #[must_use]
    pub fn without_request_id(&self) -> String {
        let Failure::Refused(refusal) = &self.failure else { return self.to_string() };
        let failure = Failure::Refused(Refusal { request_id: None, ..refusal.clone() });
        let Self { action, region, tries, .. } = self;
        Self { action, region: region.clone(), tries: *tries, failure }.to_string()
    }

    /// Whether the API says that the load balancer, listener or rule does not exist. A wrong region
    /// looks the same.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.refusal().is_some_and(|refusal| refusal.kind == RefusalKind::NotFound)
    }
}

fn after(tries: u32) -> String {
    if tries > 1 { format!(" after {tries} tries") } else { String::new() }
}

/// Why a request failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The API answered with an error.
    #[error("{0}")]
    Refused(Refusal),
    /// Something that is not the API answered, or the API without its envelope.
    #[error("HTTP status {status}: {detail}")]
    Http {
        /// The HTTP status.
        status: u16,
        /// Begin of the body.
        detail: String,
    },
    /// No whole answer in time.
    #[error("no answer within {} ms", waited.as_millis())]
    NoAnswer {
        /// How long was waited.
        waited: Duration,
    },
    /// No connection, or one that broke.
    #[error("the connection failed: {detail}")]
    Connection {
        /// What the network layer says.
        detail: String,
    },
    /// The answer was too large; it was not read to its end.
    #[error("the answer is larger than {max_bytes} bytes")]
    TooLarge {
        /// The bound.
        max_bytes: usize,
    },
    /// The answer is no JSON, or ends in the middle.
    #[error("the answer is not whole JSON: {detail}")]
    Garbled {
        /// Where and why.
        detail: String,
    },
    /// The answer is JSON, but not what was asked for. Never taken for "nothing there".
    #[error("the answer cannot be understood: {detail}")]
    Unexpected {
        /// Which member is missing or of another type.
        detail: String,
    },
    /// This process has more to ask than the API allows; nothing was sent.
    #[error("no free place within the {per_second} requests/s of this call in time; not sent")]
    Queue {
        /// The limit.
        per_second: u32,
    },
    /// No credentials; nothing was sent.
    #[error("{0}")]
    Credentials(Arc<CredentialError>),
    /// The arguments break a limit of the API, or cannot stand in a request; nothing was sent.
    #[error("{0}; not sent")]
    Invalid(String),
}

impl Failure {
    /// Whether the same call may succeed later, with nothing changed by a person.
    #[must_use]
    pub fn retry_helps(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.kind.retry_helps(),
            Self::Http { status, .. } => matches!(status, 408 | 429 | 500..),
            Self::NoAnswer { .. }
            | Self::Connection { .. }
            | Self::Garbled { .. }
            // Nobody knows what it was; a caller that goes on asking loses nothing.
            | Self::Unexpected { .. }
            | Self::Queue { .. } => true,
            Self::Credentials(error) => error.retry_helps(),
            Self::TooLarge { .. } | Self::Invalid(_) => false,
        }
    }

    /// Whether the call itself sends again, after a wait. Queue and credentials have had their own
    /// waits, and a refused token its own renewal.
    pub(crate) fn sends_again(&self) -> bool {
        let not_now = match self {
            Self::Queue { .. } | Self::Credentials(_) => true,
            // Whole JSON of another shape: hardly a passing fault of the network.
            Self::Unexpected { .. } => true,
            Self::Refused(refusal) => refusal.kind == RefusalKind::TokenFailure,
            _ => false,
        };
        self.retry_helps() && !not_now
    }
}

/// An error of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What it means for the caller.
    pub kind: RefusalKind,
    /// The API's code, for example `FailedOperation.ResourceInOperating`.
    pub code: String,
    /// The API's message.
    pub message: String,
    /// What Tencent's support asks for.
    pub request_id: Option<String>,
    /// Our clock minus the server's, in seconds, where the server said its time.
    pub clock_ahead_seconds: Option<i64>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.meaning())?;
        if let (RefusalKind::ClockSkew, Some(seconds)) = (self.kind, self.clock_ahead_seconds) {
            let side = if seconds < 0 { "behind" } else { "ahead" };
            write!(f, ", it is {} s {side}", seconds.unsigned_abs())?;
        }
        write!(f, ": {}: {}", self.code, self.message)?;
        match &self.request_id {
            Some(id) => write!(f, " (request id {id})"),
            None => Ok(()),
        }
    }
}

/// What an error of the API means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefusalKind {
    /// `RequestLimitExceeded`: too many requests a second, maybe others' of the same account.
    Throttled,
    /// `InternalError`.
    Internal,
    /// `FailedOperation.ResourceInOperating` and its older forms: a CLB does one write at a time.
    Busy,
    /// `AuthFailure.TokenFailure`: temporary credentials that ended or were taken back.
    TokenFailure,
    /// `AuthFailure.SignatureExpire`: more than 300 s between our clock and the server's.
    ClockSkew,
    /// Any other `AuthFailure` and `UnauthorizedOperation`: wrong key, or no permission.
    Denied,
    /// The load balancer, listener or rule does not exist (in this region).
    NotFound,
    /// Anything else.
    Other,
}

impl RefusalKind {
    pub(crate) fn of(code: &str, message: &str) -> Self {
        let is = |family: &str| {
            code.strip_prefix(family).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let says = |text: &str| message.to_ascii_lowercase().contains(text);
        if is("RequestLimitExceeded") {
            Self::Throttled
        } else if is("InternalError") {
            Self::Internal
        } else if is("FailedOperation.ResourceInOperating")
            // The texts of a busy load balancer that came without that code.
            || code == "FailedOperation"
                && (says("task check failed")
                    || says("your task is working")
                    || says("not in normal desstate"))
        {
            Self::Busy
        } else if is("AuthFailure.TokenFailure") {
            Self::TokenFailure
        } else if is("AuthFailure.SignatureExpire") {
            Self::ClockSkew
        } else if is("AuthFailure") || is("UnauthorizedOperation") {
            Self::Denied
        } else if ["LBIdNotFound", "ListenerIdNotFound", "LocationNotFound"]
            .iter()
            .any(|end| code.strip_prefix("InvalidParameter.") == Some(end))
            || is("ResourceNotFound")
            || code == "InvalidParameter" && (says("not found") || says("not exist"))
        {
            Self::NotFound
        } else {
            Self::Other
        }
    }

    fn retry_helps(self) -> bool {
        match self {
            Self::Throttled | Self::Internal | Self::Busy | Self::TokenFailure => true,
            Self::ClockSkew | Self::Denied | Self::NotFound | Self::Other => false,
        }
    }

    /// What it means, for a person, without what the API said.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Throttled => "more requests per second than the account may send",
            Self::Internal => "the API failed inside",
            Self::Busy => "the load balancer is busy with another write",
            Self::TokenFailure => "the temporary credentials are not valid any more",
            Self::ClockSkew => {
                "this machine's clock differs from Tencent Cloud's by more than 300 s (set the clock)"
            }
            Self::Denied => "the credentials are wrong or lack the permission",
            Self::NotFound => "there is no such load balancer, listener or rule in this region",
            Self::Other => "the API refused",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::RefusalKind::{
        Busy, ClockSkew, Denied, Internal, NotFound, Other, Throttled, TokenFailure,
    };
    use super::*;

    #[test]
    fn what_a_code_means() {
        let table = [
            ("RequestLimitExceeded", "", Throttled),
            ("RequestLimitExceeded.AnyDetail", "", Throttled),
            ("InternalError", "", Internal),
            ("InternalErrors", "", Other),
            ("FailedOperation.ResourceInOperating", "", Busy),
            (
                "FailedOperation",
                "Task Check Failed : Same wsName is Working(AddQLBL4ListenerDevice), pls Try Later",
                Busy,
            ),
            ("FailedOperation", "something else", Other),
            ("AuthFailure.TokenFailure", "", TokenFailure),
            ("AuthFailure.SignatureExpire", "", ClockSkew),
            ("AuthFailure.SignatureFailure", "", Denied),
            ("AuthFailure.SecretIdNotFound", "", Denied),
            ("AuthFailure", "", Denied),
            ("UnauthorizedOperation", "", Denied),
            ("AuthFailure.UnauthorizedOperation", "", Denied),
            ("InvalidParameter.LBIdNotFound", "", NotFound),
            ("InvalidParameter", "some ListenerId lbl-1 not found", NotFound),
            ("InvalidParameter", "LB not exist", NotFound),
            ("InvalidParameter", "Weight", Other),
            ("OperationDenied", "", Other),
            ("UnsupportedOperation", "", Other),
        ];
        for (code, message, kind) in table {
            assert_eq!(RefusalKind::of(code, message), kind, "{code}: {message}");
        }
    }

    #[test]
    fn an_error_is_one_line_with_code_and_request_id() {
        let mut refusal = Refusal {
            kind: Busy,
            code: "FailedOperation.ResourceInOperating".into(),
            message: "Your task is working (DelQLBL4ListenerDevice).".into(),
            request_id: Some("85c7b3e8".into()),
            clock_ahead_seconds: None,
        };
        let error = |refusal: &Refusal| {
            Error {
                action: "ModifyTargetWeight",
                region: "ap-guangzhou".into(),
                tries: 5,
                failure: Failure::Refused(refusal.clone()),
            }
            .to_string()
        };
        assert_eq!(
            error(&refusal),
            "ModifyTargetWeight in ap-guangzhou failed after 5 tries: the load balancer is busy with \
             another write: FailedOperation.ResourceInOperating: Your task is working \
             (DelQLBL4ListenerDevice). (request id 85c7b3e8)"
        );
        refusal.kind = ClockSkew;
        refusal.clock_ahead_seconds = Some(-400);
        assert!(error(&refusal).contains("(set the clock), it is 400 s behind: "));
    }
}
