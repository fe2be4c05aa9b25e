//! `cargo lab fuzz`: libFuzzer on what the client of the CLB API reads.
//!
//! The target, and what must hold, is the crate `lameduck-fuzz`. What libFuzzer found to be interesting
//! stays in the lab's cache, so that each run goes on from the one before.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::assets::cache;
use crate::images::product::workspace;
use crate::process::{cargo, exit_code};
use crate::progress::Progress;

/// Longest answer that is tried: a few dozen rows. What goes wrong with more goes wrong with these.
const ANSWER_MAX_BYTES: usize = 16 * 1024;
/// An answer takes a tenth of a millisecond; machines that build Kubernetes meanwhile are slow.
const ANSWER_MAX_SECONDS: u32 = 10;
/// It takes 60 MB.
const MEMORY_MAX_MB: u32 = 1024;
/// Lines of libFuzzer that are kept for a failure's report: a panic's backtrace, and its last words.
const LINES_KEPT: usize = 60;

/// Arguments of `cargo lab fuzz`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// How long to look
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Only read this one answer, for example one that an earlier run failed on
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
}

/// Builds the target and runs it. The exit code is libFuzzer's: not 0 where it found something.
///
/// # Errors
/// It cannot be built or run, or it looked without being guided.
pub async fn run(arguments: &Arguments, progress: &Progress) -> Result<ExitCode> {
    let directory = cache::directory()?.join("fuzz/clb-answers");
    let (corpus, failures) = (directory.join("corpus"), directory.join("failures"));
    for folder in [&corpus, &failures] {
        fs::create_dir_all(folder)
            .with_context(|| format!("{} cannot be made", folder.display()))?;
    }
    build(progress).await?;
    let mut target = cargo();
    target.args(WHAT_IS_RUN).envs(instrumented()).current_dir(workspace());
    match &arguments.replay {
        Some(answer) => {
            let answer = fs::canonicalize(answer)
                .with_context(|| format!("{} cannot be read", answer.display()))?;
            target.arg("--").arg(answer);
        }
        None => {
            target
                .args(["--", &format!("-max_total_time={}", arguments.seconds)])
                .args([
                    &format!("-max_len={ANSWER_MAX_BYTES}"),
                    "-print_final_stats=1",
                    "-print_funcs=0",
                ])
                .arg(format!("-timeout={ANSWER_MAX_SECONDS}"))
                .arg(format!("-rss_limit_mb={MEMORY_MAX_MB}"))
                .arg(format!("-artifact_prefix={}/", failures.display()))
                // Where it finds more it writes it: into the first folder.
                .arg(&corpus)
                .arg(workspace().join("clb/samples"));
        }
    }
    let mut child = target
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("the fuzz target cannot be started")?;
    let errors = child.stderr.take().context("the fuzz target has no standard error")?;
    let said = listen(errors, progress).await?;
    let status = child.wait().await.context("the fuzz target's end is not known")?;
    if !status.success() {
        progress.line(said.last.join("\n"));
        let answer = said.answer.as_deref().or(arguments.replay.as_deref());
        progress.line(match answer {
            Some(answer) => format!(
                "the client reads this answer wrong: {0}\nto see it again: cargo lab fuzz --replay {0}",
                answer.display()
            ),
            None => format!("the fuzz target failed: {status}"),
        });
        return Ok(exit_code(status));
    }
    if arguments.replay.is_none() && (!said.guided || said.executions == 0) {
        progress.line(said.last.join("\n"));
        bail!("libFuzzer found no coverage counters in the target: fuzz/rustc did not put them in");
    }
    if let Some(pulse) = &said.pulse {
        progress.line(pulse);
    }
    progress.line(match arguments.replay {
        Some(_) => "the client reads this answer as it must".to_owned(),
        None => format!("{} answers tried, none is read wrong", said.executions),
    });
    Ok(ExitCode::SUCCESS)
}

const WHAT: [&str; 6] =
    ["--release", "--locked", "--package", "lameduck-fuzz", "--features", "libfuzzer"];
const WHAT_IS_RUN: [&str; 8] =
    ["run", "--quiet", WHAT[0], WHAT[1], WHAT[2], WHAT[3], WHAT[4], WHAT[5]];

/// Makes cargo build the client with counters of coverage.
fn instrumented() -> [(&'static str, PathBuf); 1] {
    [("RUSTC_WORKSPACE_WRAPPER", workspace().join("fuzz/rustc"))]
}

async fn build(progress: &Progress) -> Result<()> {
    let step = progress.step("building the fuzz target");
    let status = cargo()
        .args(["build", "--quiet"])
        .args(WHAT)
        .envs(instrumented())
        .current_dir(workspace())
        .status()
        .await
        .context("cargo cannot be started")?;
    if !status.success() {
        bail!("the fuzz target cannot be built: {status}; it needs a C++ compiler (Debian: g++)");
    }
    step.done("");
    Ok(())
}

/// What libFuzzer said.
#[derive(Debug, Default)]
struct Said {
    /// It has counters to be guided by.
    guided: bool,
    executions: u64,
    /// The answer that it failed on.
    answer: Option<PathBuf>,
    /// Its last line about how far it is.
    pulse: Option<String>,
    /// Its last lines.
    last: Vec<String>,
}

impl Said {
    fn take(&mut self, line: String) {
        if line.starts_with("INFO: Loaded") && line.contains("inline 8-bit counters") {
            self.guided = true;
        } else if let Some(count) = line.strip_prefix("stat::number_of_executed_units:") {
            self.executions = count.trim().parse().unwrap_or(0);
        } else if let Some((_, answer)) = line.split_once("Test unit written to ") {
            self.answer = Some(Path::new(answer.trim()).to_owned());
        }
        if line.strip_prefix('#').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        {
            self.pulse = Some(line);
            return;
        }
        if self.last.len() == LINES_KEPT {
            self.last.remove(0);
        }
        self.last.push(line);
    }
}

async fn listen(errors: impl tokio::io::AsyncRead + Unpin, progress: &Progress) -> Result<Said> {
    let mut said = Said::default();
    let mut step = progress.step("fuzzing the client of the CLB API");
    let mut lines = BufReader::new(errors).split(b'\n');
    while let Some(line) = lines.next_segment().await.context("libFuzzer's words are lost")? {
        said.take(String::from_utf8_lossy(&line).into_owned());
        step.message(said.pulse.as_deref().unwrap_or_default());
    }
    step.done("");
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::Said;

    #[test]
    fn what_libfuzzer_says() {
        let mut said = Said::default();
        for line in [
            "INFO: Loaded 1 modules   (4911 inline 8-bit counters): 4911 [0x1, 0x2), ",
            "#139483\tREDUCE cov: 911 ft: 2648 corp: 704/383Kb lim: 16384 exec/s: 8692 rss: 30Mb",
            "thread '<unnamed>' panicked at fuzz/src/invariants.rs:181:5:",
            "artifact_prefix='/c/'; Test unit written to /c/crash-0d8f",
            "stat::number_of_executed_units: 139579",
        ] {
            said.take(line.to_owned());
        }
        assert!(said.guided);
        assert_eq!(said.executions, 139_579);
        assert_eq!(said.answer.unwrap().to_str(), Some("/c/crash-0d8f"));
        assert!(said.pulse.unwrap().contains("cov: 911"));
        assert_eq!(said.last.len(), 4, "how far it is stands once");
    }
}
