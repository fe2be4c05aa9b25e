//! The wall clock: what requests are signed with, and what credentials end by.

use jiff::Timestamp;

/// The system's clock; in tests one that follows tokio's, which can be paused.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Clock {
    System,
    #[cfg(test)]
    Paused {
        began: Timestamp,
        started: tokio::time::Instant,
    },
}

impl Clock {
    pub(crate) fn now(self) -> Timestamp {
        match self {
            Self::System => Timestamp::now(),
            #[cfg(test)]
            Self::Paused { began, started } => began + started.elapsed(),
        }
    }
}
