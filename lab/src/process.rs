//! Programs that the lab starts, and that must not outlive it.

use std::ffi::OsStr;
use std::process::{ExitCode, ExitStatus, Stdio};

use anyhow::{Context, Result, bail};
use tokio::process::Command;

/// A command that dies with this process, even where this process is killed.
///
/// `setpriv` (util-linux, on every Debian) sets the parent-death signal and
/// then becomes `program`: the signal cannot be set from here without `unsafe`.
/// It follows the *thread* that starts the command, so start it from async code
/// (whose threads live as long as the runtime), never from `spawn_blocking`.
pub fn bound(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program).kill_on_drop(true);
    command
}

/// Runs `command` to its end with no input, and returns its standard output.
///
/// # Errors
/// The program cannot be started, or ends with a failure: the message has the
/// last 20 lines that it wrote to standard error.
pub async fn output(what: &str, command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .await
        .with_context(|| format!("{what}: the program cannot be started"))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("{what}: {}\n{}", output.status, last_lines(&errors, 20));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The `cargo` that this program was started with, or else the one on the `PATH`.
#[must_use]
pub fn cargo() -> Command {
    bound(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// A program's exit code, to be taken over; 1 where a signal ended it.
#[must_use]
pub fn exit_code(status: ExitStatus) -> ExitCode {
    status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
}

/// The last `count` lines of `text`.
#[must_use]
pub fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::{bound, last_lines, output};

    #[test]
    fn last_lines_of_shorter_text_is_the_text() {
        assert_eq!(last_lines("a\nb\n", 5), "a\nb");
        assert_eq!(last_lines("a\nb\nc", 2), "b\nc");
    }

    #[tokio::test]
    async fn a_failure_carries_what_the_program_said() {
        let error = output("listing", bound("sh").args(["-c", "echo no such thing >&2; exit 3"]))
            .await
            .unwrap_err();
        let text = format!("{error:#}");
        assert!(
            text.contains("listing") && text.contains("no such thing") && text.contains('3'),
            "{text}"
        );
    }
}
