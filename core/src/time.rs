//! Times, as decisions and messages use them.

use jiff::{SignedDuration, Timestamp, tz::TimeZone};

/// `at` plus seconds; the end of time where that does not exist.
pub(crate) fn later(at: Timestamp, seconds: u32) -> Timestamp {
    at.checked_add(SignedDuration::from_secs(i64::from(seconds))).unwrap_or(Timestamp::MAX)
}

/// `12:00:03Z`: the date stands on the object already.
pub(crate) fn clock(at: Timestamp) -> String {
    let time = at.to_zoned(TimeZone::UTC).datetime().time();
    format!("{:02}:{:02}:{:02}Z", time.hour(), time.minute(), time.second())
}
