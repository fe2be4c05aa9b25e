//! The generator as a process of its own: the program's side, and the side of who starts it.

use std::io::Write;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Counts, Line, Settings, Tally, run};

/// How long a generator may take to end after it was told to: a request that is under way may
/// connect and wait for its answer.
const END_LIMIT: Duration = Duration::from_secs(20);

/// The hidden subcommand: runs the load, and writes a [`Line`] each second and at the end.
#[must_use]
pub fn main(settings: Settings) -> ExitCode {
    // One thread is plenty for this rate, and leaves the other cores to the cluster.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("the load cannot start: no async runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let tally = runtime.block_on(async {
        let stop = CancellationToken::new();
        let stopper = stop.clone();
        tokio::spawn(async move {
            // Whatever comes: the end of the input is the end of the load.
            let mut rest = Vec::new();
            drop(tokio::io::stdin().take(1024).read_to_end(&mut rest).await);
            stopper.cancel();
        });
        run(settings, stop, |counts| drop(write(&Line::Counts(counts)))).await
    });
    let written = write(&Line::Result(tally));
    // A read of standard input that is still under way must not keep the process.
    runtime.shutdown_background();
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the load's result cannot be written: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn write(line: &Line) -> Result<()> {
    let mut text = serde_json::to_string(line)?;
    text.push('\n');
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()?;
    Ok(())
}

/// A generator that runs. Dropping it kills the process.
#[derive(Debug)]
pub struct LoadProcess {
    child: Child,
    counts: watch::Receiver<Counts>,
    result: JoinHandle<Result<Tally>>,
}

impl LoadProcess {
    /// Starts `command`, which is `lab load …` in whatever network.
    ///
    /// # Errors
    /// The process cannot be started.
    pub fn start(command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .context("the load generator cannot be started")?;
        let stdout = child.stdout.take().context("the load generator has no standard output")?;
        let (sender, counts) = watch::channel(Counts::default());
        let result = tokio::spawn(async move {
            let mut lines = BufReader::new(stdout).lines();
            while let Some(line) =
                lines.next_line().await.context("the load generator's output cannot be read")?
            {
                match serde_json::from_str(&line).with_context(|| {
                    format!("the load generator wrote no line of its own: {line}")
                })? {
                    Line::Counts(counts) => drop(sender.send(counts)),
                    Line::Result(tally) => return Ok(tally),
                }
            }
            bail!("the load generator ended without a result")
        });
        Ok(Self { child, counts, result })
    }

    /// The counts of the last second.
    #[must_use]
    pub fn counts(&self) -> Counts {
        *self.counts.borrow()
    }

    /// The counts, to be watched: a new value each second.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Counts> {
        self.counts.clone()
    }

    /// Ends the load and returns what it counted.
    ///
    /// # Errors
    /// The process died, or wrote no result within 20 s.
    pub async fn finish(mut self) -> Result<Tally> {
        drop(self.child.stdin.take());
        let tally = tokio::time::timeout(END_LIMIT, &mut self.result)
            .await
            .context("the load generator did not end in 20 s")?
            .context("the reader of the load generator's output died")??;
        tokio::time::timeout(END_LIMIT, self.child.wait())
            .await
            .context("the load generator did not exit in 20 s")?
            .context("the load generator cannot be waited for")?;
        Ok(tally)
    }
}

impl Drop for LoadProcess {
    fn drop(&mut self) {
        self.result.abort();
    }
}
