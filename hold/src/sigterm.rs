//! Whether the container's main process will end on SIGTERM, as far as the kernel tells.

use std::fs;

/// Number of SIGTERM; bit 14 of a signal mask.
const SIGTERM: u32 = 15;

/// Whether process 1 of this container neither catches nor waits for SIGTERM. The kernel drops a signal
/// for which the first process of a pid namespace has no handler (`pid_namespaces(7)`), so that such a
/// container lives until the kubelet kills it. False where nobody can tell.
pub(crate) fn is_ignored() -> bool {
    // With a shared pid namespace process 1 is the pod's, in a cgroup of its own.
    let cgroup = |process: &str| fs::read(format!("/proc/{process}/cgroup")).ok();
    if cgroup("1").is_none_or(|first| cgroup("self") != Some(first)) {
        return false;
    }
    fs::read_to_string("/proc/1/status").is_ok_and(|status| ignored(&status) == Some(true))
}

/// The same, from the text of `/proc/PID/status`. Blocked counts as waited for: small init programs
/// take their signals with `sigwait`. None where a mask is missing.
fn ignored(status: &str) -> Option<bool> {
    let has = |mask: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(mask))?;
        let bits = u64::from_str_radix(line.trim(), 16).ok()?;
        Some(bits & (1 << (SIGTERM - 1)) != 0)
    };
    Some(!has("SigCgt:")? && !has("SigBlk:")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(blocked: &str, ignored: &str, caught: &str) -> String {
        format!("Name:\tapp\nSigBlk:\t{blocked}\nSigIgn:\t{ignored}\nSigCgt:\t{caught}\n")
    }

    #[test]
    fn only_a_process_that_catches_or_waits_for_sigterm_ends_on_it() {
        let table = [
            // A shell as process 1; one that ignores it on purpose; a server; an init that waits.
            ("0000000000000000", "0000000000000000", "0000000000010002", Some(true)),
            ("0000000000000000", "0000000000004000", "0000000000000000", Some(true)),
            ("0000000000000000", "0000000040001000", "0000000018016a07", Some(false)),
            ("0000000000014003", "0000000000000000", "0000000000000000", Some(false)),
            ("0000000000000000", "0000000000000000", "none", None),
        ];
        for (blocked, ignores, caught, expected) in table {
            assert_eq!(ignored(&status(blocked, ignores, caught)), expected, "{caught}");
        }
        assert_eq!(ignored(""), None);
    }
}
