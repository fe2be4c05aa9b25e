//! `bench hold`: the hold's own cost, in a network namespace with ten thousand connections.
//!
//! The namespace has the addresses of a "pod" and of a "client" on its loopback interface, so that the
//! connections are real ones between two addresses, and a stand-in for the controller, which says that
//! traffic is off: from then on all that holds the container are its connections.

mod controller;
mod namespace;
mod pod_start;

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::sync::{mpsc, oneshot};

use self::namespace::Namespace;
use self::pod_start::Starts;
use super::process::{Memory, processor_nanos};
use super::{Figure, MIB};
use crate::images::product;
use crate::progress::Progress;

/// What the hold is given to look at, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Connections besides the one that is measured.
    pub connections: usize,
    /// Seconds over which the share of a core is measured.
    pub seconds: u64,
    /// Ends that are measured; the slowest counts.
    pub ends: usize,
    /// Pods that are started with a hold, and as many without.
    pub pods: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { connections: 10_000, seconds: 20, ends: 5, pods: 10 }
    }
}

/// The budgets of the specification.
const SIZE_MIB: f64 = 1.5;
const MEMORY_MIB: f64 = 2.0;
const END_SECONDS: f64 = 1.0;
const CORE_PERCENT: f64 = 1.0;
const START_SECONDS: f64 = 1.5;

/// Port of the application that is held, and of the "other" connections.
const SERVING: u16 = 8080;
const OTHER: u16 = 9090;
/// Time for a hold to get from its start to waiting for connections.
const SETTLE: Duration = Duration::from_secs(2);
/// A hold that has not ended by now never will.
const PATIENCE: Duration = Duration::from_secs(60);

/// Builds the hold and measures it.
///
/// # Errors
/// It cannot be built, or not be measured: this takes root, and a limit of open files above the number
/// of connections.
pub async fn run(options: Options, progress: &Progress) -> Result<Vec<Figure>> {
    let binary = product::hold(progress).await?;
    let mut figures = in_a_namespace(binary, options, progress).await?;
    let pods = options.pods;
    let Starts { without, with } = pod_start::measure(pods, progress).await?;
    figures.extend([
        Figure::for_information(
            format!("start of a pod without a hold, median of {pods}"),
            without.as_secs_f64(),
            "s",
        ),
        Figure::for_information(
            format!("start of a pod with a hold, median of {pods}"),
            with.as_secs_f64(),
            "s",
        ),
        Figure::at_most(
            "added start time",
            with.as_secs_f64() - without.as_secs_f64(),
            START_SECONDS,
            "s",
        ),
    ]);
    Ok(figures)
}

/// Measures on a thread of its own, because it gets a network namespace of its own.
async fn in_a_namespace(
    binary: PathBuf,
    options: Options,
    progress: &Progress,
) -> Result<Vec<Figure>> {
    let mut step = progress.step("measuring the hold");
    let (sender, result) = oneshot::channel();
    let (messages, mut said) = mpsc::unbounded_channel::<String>();
    thread::Builder::new()
        .name("bench hold".to_owned())
        .spawn(move || {
            // Nobody listens any more where the bench was interrupted.
            let say = |text: &str| drop(messages.send(text.to_owned()));
            drop(sender.send(measure(&binary, options, &say)));
        })
        .context("no thread to measure in")?;
    while let Some(text) = said.recv().await {
        step.message(text);
    }
    let figures = result.await.context("the measuring thread ended without a word")??;
    step.done("");
    Ok(figures)
}

fn measure(binary: &Path, options: Options, say: &dyn Fn(&str)) -> Result<Vec<Figure>> {
    let Options { connections, seconds, ends, .. } = options;
    let size = fs::metadata(binary).context("the hold that was built is not there")?.len();
    let mut figures =
        vec![Figure::at_most("size of the binary", size as f64 / MIB, SIZE_MIB, "MiB")];

    let namespace = Namespace::enter()?;
    let pod = Pod::new(binary, &namespace)?;
    say(&format!("opening {connections} connections"));
    let others = namespace.open(OTHER, connections)?;

    let app = namespace.listen(SERVING)?;
    let client = app.connect()?;
    let hold = pod.hold()?;
    say(&format!("share of a core over {seconds} s, beside {connections} other connections"));
    let beside = hold.cost(seconds)?;
    let mut slowest = hold.end_after(client)?;
    for end in 1..ends {
        say(&format!("end after the last close, {} of {ends}", end + 1));
        let client = app.connect()?;
        let hold = pod.hold()?;
        thread::sleep(SETTLE);
        slowest = slowest.max(hold.end_after(client)?);
    }
    drop((app, others));

    say(&format!("share of a core over {seconds} s, holding {connections} connections"));
    let own = namespace.open(SERVING, connections)?;
    let hold = pod.hold()?;
    let holding = hold.cost(seconds)?;
    drop((hold, own));

    let memory = beside.memory_bytes.max(holding.memory_bytes) as f64 / MIB;
    figures.extend([
        Figure::at_most("peak resident memory", memory, MEMORY_MIB, "MiB"),
        Figure::at_most(
            format!("end after the last close, {connections} other connections, slowest of {ends}"),
            slowest.as_secs_f64(),
            END_SECONDS,
            "s",
        ),
        Figure::at_most(
            format!("share of a core, {connections} other connections"),
            beside.core_percent,
            CORE_PERCENT,
            "%",
        ),
        Figure::at_most(
            format!("share of a core, {connections} connections that hold"),
            holding.core_percent,
            CORE_PERCENT,
            "%",
        ),
    ]);
    Ok(figures)
}

/// A folder with an installed hold, and a controller for it.
struct Pod {
    folder: PathBuf,
    controller: String,
}

impl Pod {
    fn new(binary: &Path, namespace: &Namespace) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("lameduck-bench-{}", std::process::id()));
        fs::create_dir_all(&folder).context("no temporary folder")?;
        let controller = controller::start()?.to_string();
        let pod = Self { folder, controller };
        let status = Command::new(binary)
            .args(["install", "--to"])
            .arg(&pod.folder)
            .env("LAMEDUCK_POD_NAMESPACE", "bench")
            .env("LAMEDUCK_POD_NAME", "pod")
            .env("LAMEDUCK_POD_UID", "1")
            .env("LAMEDUCK_POD_IP", namespace.pod_ip())
            .status()
            .context("the hold cannot be started")?;
        ensure!(status.success(), "the hold cannot be installed: {status}");
        Ok(pod)
    }

    fn hold(&self) -> Result<Hold> {
        let port = SERVING.to_string();
        let child = Command::new(self.folder.join("hold"))
            .args(["wait", "--container", "app", "--until", "ConnectionsClosed"])
            .args(["--controller", &self.controller, "--port", &port])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("the hold cannot be started")?;
        Ok(Hold(child))
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        // A temporary folder: the next boot removes it where this does not.
        drop(fs::remove_dir_all(&self.folder));
    }
}

struct Cost {
    core_percent: f64,
    memory_bytes: u64,
}

/// A hold that runs, and that ends with this value.
struct Hold(Child);

impl Hold {
    /// What it costs over `seconds`, once it has settled.
    fn cost(&self, seconds: u64) -> Result<Cost> {
        thread::sleep(SETTLE);
        let (began, before) = (Instant::now(), processor_nanos(self.0.id())?);
        thread::sleep(Duration::from_secs(seconds));
        let used = processor_nanos(self.0.id())?.saturating_sub(before);
        let core_percent = used as f64 / began.elapsed().as_nanos() as f64 * 100.0;
        Ok(Cost { core_percent, memory_bytes: Memory::of(self.0.id())?.peak_bytes })
    }

    /// Closes both ends of the one connection that holds it, and takes the time until it has ended.
    fn end_after(mut self, connection: (TcpStream, TcpStream)) -> Result<Duration> {
        ensure!(self.0.try_wait()?.is_none(), "the hold ended while a connection was open");
        let closed = Instant::now();
        drop(connection);
        loop {
            if let Some(status) = self.0.try_wait()? {
                ensure!(status.success(), "the hold failed: {status}");
                return Ok(closed.elapsed());
            }
            if closed.elapsed() > PATIENCE {
                bail!("the hold did not end within {} s", PATIENCE.as_secs());
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
