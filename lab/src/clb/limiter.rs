//! 20 requests in any second, for each account and action. Pure: the time is an argument.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use jiff::Timestamp;

use super::error::ApiError;

/// What CLB documents for each of its actions.
pub const REQUESTS_PER_SECOND: usize = 20;

/// When the last requests came.
#[derive(Clone, Debug)]
pub struct Limiter {
    /// So many requests in any second.
    pub limit: usize,
    taken: BTreeMap<(String, String), VecDeque<Timestamp>>,
}

impl Default for Limiter {
    fn default() -> Self {
        Self { limit: REQUESTS_PER_SECOND, taken: BTreeMap::new() }
    }
}

impl Limiter {
    /// Counts a request.
    ///
    /// # Errors
    /// `RequestLimitExceeded`; the refused request is not counted.
    pub fn take(&mut self, account: &str, action: &str, now: Timestamp) -> Result<(), ApiError> {
        let key = (account.to_owned(), action.to_owned());
        let taken = self.taken.entry(key).or_default();
        let start = now.checked_sub(Duration::from_secs(1)).unwrap_or(Timestamp::UNIX_EPOCH);
        while taken.front().is_some_and(|time| *time <= start) {
            taken.pop_front();
        }
        if taken.len() >= self.limit {
            return Err(exceeded(action, self.limit));
        }
        taken.push_back(now);
        Ok(())
    }
}

/// `RequestLimitExceeded`.
#[must_use]
pub fn exceeded(action: &str, limit: usize) -> ApiError {
    ApiError::new(
        "RequestLimitExceeded",
        format!(
            "Your current request times equals to {limit} in a second, which exceeds the frequency limit {limit} for a second. Please reduce the frequency of calls. ({action})"
        ),
    )
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::Limiter;

    #[test]
    fn any_second_has_its_limit() {
        let at = |millis: i64| Timestamp::from_millisecond(millis).unwrap();
        let mut limiter = Limiter::default();
        let mut take = |action: &str, millis: i64| limiter.take("one", action, at(millis)).is_ok();
        assert!((0..20).all(|index| take("DescribeTargets", index * 10)), "twenty are free");
        assert!(!take("DescribeTargets", 999), "the twenty-first within the second is not");
        assert!(take("DescribeListeners", 999), "another action counts for itself");
        assert!(take("DescribeTargets", 1_000), "the first has left the second");
        assert!(!take("DescribeTargets", 1_001), "the next has not");
        assert!(limiter.take("two", "DescribeTargets", at(1_001)).is_ok(), "another account");
    }
}
