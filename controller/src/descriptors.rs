//! File descriptors: as many as the system allows, and how many connections that is enough for.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// Descriptors kept back: listeners, metrics and health, the API server, the runtime's own.
const KEPT_BACK: u64 = 100;

/// Raises the soft limit of open files to the hard one. The limit that is then in force; None where
/// there is none.
#[must_use]
pub fn raise_limit() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return limit.current;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        Ok(()) => limit.maximum,
        Err(error) => {
            warn!(
                %error,
                soft = limit.current,
                hard = limit.maximum,
                "The limit of open files could not be raised; fewer holds are answered at once."
            );
            limit.current
        }
    }
}

/// Connections that may be open at once under such a limit: at most `wanted`, at least one.
#[must_use]
pub fn connections(limit: Option<u64>, wanted: usize) -> usize {
    let room = limit.map_or(u64::MAX, |limit| limit.saturating_sub(KEPT_BACK).max(1));
    usize::try_from(room).unwrap_or(usize::MAX).min(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_for_everything_else() {
        let table = [
            // limit, wanted -> connections
            (None, 12_000, 12_000),
            (Some(1_048_576), 12_000, 12_000),
            (Some(12_100), 12_000, 12_000),
            (Some(1024), 12_000, 924),
            (Some(20), 12_000, 1),
        ];
        for (limit, wanted, expected) in table {
            assert_eq!(connections(limit, wanted), expected, "{limit:?}");
        }
    }

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let hard = getrlimit(Resource::Nofile).maximum;
        assert_eq!(raise_limit(), hard);
        assert_eq!(getrlimit(Resource::Nofile).current, hard);
    }
}
