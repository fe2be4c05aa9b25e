//! The load: on a thread of its own, bound to a core on which the webhook does not run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use hdrhistogram::Histogram;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

use super::client::{Client, Connection};

/// Reviews of the open loop that may wait for a connection: with more, the webhook is down.
const BACKLOG: usize = 100_000;

/// The cores of webhook and load. They are the same where this process may use one only.
#[derive(Clone, Copy)]
pub(super) struct Cores {
    pub(super) server: usize,
    pub(super) client: usize,
}

/// Picks two cores of those that this process may use.
pub(super) fn cores() -> Result<Cores> {
    let allowed = sched_getaffinity(None).context("the cores of this process cannot be read")?;
    let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
    let server = cores.next().context("this process may use no core")?;
    Ok(Cores { server, client: cores.next().unwrap_or(server) })
}

/// As many reviews as the connections carry, one after the other on each. Returns how many.
pub(super) async fn kept_alive(
    client: &Arc<Client>,
    core: usize,
    connections: usize,
    time: Duration,
) -> Result<u64> {
    let client = Arc::clone(client);
    on_core(core, async move {
        let mut workers = JoinSet::new();
        for mut connection in connect_all(&client, connections).await? {
            let client = Arc::clone(&client);
            workers.spawn(async move {
                let (started, mut reviews) = (Instant::now(), 0_u64);
                while started.elapsed() < time {
                    client.review(&mut connection).await?;
                    reviews += 1;
                }
                Ok(reviews)
            });
        }
        sum(workers).await
    })
    .await
}

/// As many reviews as `at_a_time` workers get answered with a new connection each. Returns how many.
pub(super) async fn cold(
    client: &Arc<Client>,
    core: usize,
    at_a_time: usize,
    time: Duration,
) -> Result<u64> {
    let client = Arc::clone(client);
    on_core(core, async move {
        let mut workers = JoinSet::new();
        for _ in 0..at_a_time {
            let client = Arc::clone(&client);
            workers.spawn(async move {
                let (started, mut reviews) = (Instant::now(), 0_u64);
                while started.elapsed() < time {
                    client.review(&mut client.connect().await?).await?;
                    reviews += 1;
                }
                Ok(reviews)
            });
        }
        sum(workers).await
    })
    .await
}

/// Reviews at a fixed rate, whether or not the last one was answered. Returns the time from when each
/// was due to its answer, in microseconds: a webhook that stalls is charged for all who had to wait.
pub(super) async fn open_loop(
    client: &Arc<Client>,
    core: usize,
    connections: usize,
    rate: u32,
    time: Duration,
) -> Result<Histogram<u64>> {
    let client = Arc::clone(client);
    on_core(core, async move {
        let connections = connect_all(&client, connections).await?;
        let (sender, receiver) = mpsc::channel(BACKLOG);
        let receiver = Arc::new(Mutex::new(receiver));
        let mut workers = JoinSet::new();
        for mut connection in connections {
            let (client, receiver) = (Arc::clone(&client), Arc::clone(&receiver));
            workers.spawn(async move {
                let mut latency = Histogram::<u64>::new(3)?;
                loop {
                    let due: Option<Instant> = receiver.lock().await.recv().await;
                    let Some(due) = due else { return Ok(latency) };
                    client.review(&mut connection).await?;
                    latency.record(u64::try_from(due.elapsed().as_micros())?)?;
                }
            });
        }
        // A timer of the runtime is good to a millisecond; a thread sleeps to some ten microseconds.
        let clock = std::thread::spawn(move || tick(&sender, core, rate, time));
        let mut all = Histogram::<u64>::new(3)?;
        while let Some(worker) = workers.join_next().await {
            let latency: Result<Histogram<u64>> = worker.context("a worker of the load failed")?;
            all.add(latency?)?;
        }
        clock.join().map_err(|_| anyhow!("the clock of the load failed"))??;
        Ok(all)
    })
    .await
}

fn tick(sender: &mpsc::Sender<Instant>, core: usize, rate: u32, time: Duration) -> Result<()> {
    bind(core)?;
    let started = Instant::now();
    let mut due = started;
    while due < started + time {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        sender.try_send(due).context("too many reviews wait for their answer")?;
        due += Duration::from_secs(1) / rate;
    }
    Ok(())
}

/// Opens connections, sends one review on each, and keeps them open.
pub(super) async fn connect(client: &Client, connections: usize) -> Result<Vec<Connection>> {
    let mut open = connect_all(client, connections).await?;
    for connection in &mut open {
        client.review(connection).await?;
    }
    Ok(open)
}

async fn connect_all(client: &Client, connections: usize) -> Result<Vec<Connection>> {
    let mut open = Vec::with_capacity(connections);
    for _ in 0..connections {
        open.push(client.connect().await?);
    }
    Ok(open)
}

async fn sum(mut workers: JoinSet<Result<u64>>) -> Result<u64> {
    let mut reviews = 0;
    while let Some(worker) = workers.join_next().await {
        reviews += worker.context("a worker of the load failed")??;
    }
    ensure!(reviews > 0, "no review was answered");
    Ok(reviews)
}

/// Runs `work` on a thread that is bound to `core`.
async fn on_core<T: Send + 'static>(
    core: usize,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let result = bind(core).and_then(|()| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(work)
        });
        // Nobody waits any more where the bench was interrupted.
        drop(sender.send(result));
    });
    receiver.await.context("the thread of the load failed")?
}

fn bind(core: usize) -> Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores)
        .with_context(|| format!("a thread cannot be bound to core {core}"))
}
