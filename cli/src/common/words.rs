//! Numbers as people say them.

use jiff::{SignedDuration, Timestamp};

/// A duration as kubectl shows ages: `42s`, `3m12s`, `5h04m`, `12d`. What is negative is `0s`: clocks differ.
#[must_use]
pub fn duration(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// How long ago that was.
#[must_use]
pub fn since(then: Timestamp, now: Timestamp) -> String {
    duration(now.duration_since(then))
}

/// A time of day, `17:51:03Z`: waits are shorter than a day.
#[must_use]
pub fn clock(at: Timestamp) -> String {
    at.strftime("%H:%M:%SZ").to_string()
}

/// `1 pod`, `3 pods`.
#[must_use]
pub fn count(number: usize, word: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{number} {word}{s}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short_and_never_negative() {
        for (seconds, text) in [
            (-5, "0s"),
            (59, "59s"),
            (60, "1m00s"),
            (3599, "59m59s"),
            (3660, "1h01m"),
            (172_800, "2d"),
        ] {
            assert_eq!(duration(SignedDuration::from_secs(seconds)), text);
        }
        let at: Timestamp = "2026-11-22T14:32:09Z".parse().expect("a time");
        assert_eq!(clock(at), "14:32:09Z");
        assert_eq!([count(1, "pod"), count(0, "pod")], ["1 pod", "0 pods"]);
    }
}
