//! How a call of the CLB API ended, in a word for metrics.

use lameduck_clb::{Error, Failure, RefusalKind};

/// A stable word: docs/tencent-clb.md lists them.
pub(crate) fn label<T>(result: &Result<T, Error>) -> &'static str {
    let Err(error) = result else { return "ok" };
    match &error.failure {
        Failure::Refused(refusal) => match refusal.kind {
            RefusalKind::Throttled => "throttled",
            RefusalKind::TokenFailure | RefusalKind::Denied => "denied",
            RefusalKind::ClockSkew => "clock_skew",
            RefusalKind::NotFound => "not_found",
            _ => "refused",
        },
        Failure::Credentials(_) => "no_credentials",
        Failure::NoAnswer { .. } => "silent",
        Failure::Connection { .. } | Failure::Http { .. } => "unreachable",
        Failure::Queue { .. } => "not_sent",
        _ => "unreadable",
    }
}
