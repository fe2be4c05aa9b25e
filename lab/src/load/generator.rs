//! The three kinds of load, on their schedules.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};
use tokio_util::sync::CancellationToken;

use super::client::{Connection, FailureKind};
use super::tally::{LossKind, Tally};
use super::{Counts, Settings};

/// What all tasks of a run share.
#[derive(Clone, Debug)]
struct Run {
    settings: Arc<Settings>,
    tally: Arc<Mutex<Tally>>,
    stop: CancellationToken,
}

impl Run {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        // A task that panicked has not left a count half written.
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn limit(&self) -> Duration {
        Duration::from_millis(self.settings.timeout_millis)
    }

    async fn open(&self, kind: LossKind) -> Option<Connection> {
        match Connection::open(self.settings.target, self.limit()).await {
            Ok(connection) => Some(connection),
            Err(failure) => {
                self.tally().failed(kind, failure, None, None);
                None
            }
        }
    }

    /// One request; `true` if the connection may carry another one.
    async fn request(
        &self,
        connection: &mut Connection,
        kind: LossKind,
    ) -> Result<bool, FailureKind> {
        match connection.request(kind != LossKind::New, self.limit()).await {
            Ok(answer) => {
                self.tally().answered(answer.pod.as_deref());
                Ok(answer.reusable)
            }
            Err(failure) => {
                let pod = connection.pod.as_deref();
                self.tally().failed(kind, failure, Some(connection.port), pod);
                Err(failure)
            }
        }
    }
}

/// Runs the load until `stop`, or for `settings.max_seconds`; calls `report` once a second with the
/// counts so far. Requests that are under way at the end are waited for, long connections are ended
/// by the client: neither is a loss.
pub async fn run(
    settings: Settings,
    stop: CancellationToken,
    mut report: impl FnMut(Counts),
) -> Tally {
    let end = Instant::now() + Duration::from_secs(settings.max_seconds);
    let run = Run { settings: Arc::new(settings), tally: Arc::default(), stop: stop.child_token() };
    let mut tasks = JoinSet::new();
    tasks.spawn(new_connections(run.clone()));
    for slot in 0..run.settings.kept_connections {
        tasks.spawn(kept_connection(run.clone(), slot));
    }
    for slot in 0..run.settings.long_connections {
        tasks.spawn(long_connections(run.clone(), slot));
    }
    let mut each_second = interval_at(Instant::now(), Duration::from_secs(1));
    loop {
        tokio::select! {
            () = run.stop.cancelled() => break,
            () = sleep_until(end) => break,
            _ = each_second.tick() => report(run.tally().counts),
        }
    }
    run.stop.cancel();
    // Every task ends within the time that its last request may take.
    while tasks.join_next().await.is_some() {}
    let mut tally = std::mem::take(&mut *run.tally());
    tally.ended();
    tally
}

/// The time between two starts at `per_second`; none if there is nothing to start.
fn period(per_second: f64) -> Option<Duration> {
    (per_second > 0.0).then(|| Duration::from_secs_f64(1.0 / per_second))
}

/// Requests on connections of their own. At most rate x (connect + answer time-out) are under way.
async fn new_connections(run: Run) {
    let Some(period) = period(f64::from(run.settings.new_per_second)) else { return };
    let mut ticks = interval_at(Instant::now(), period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut requests = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = run.stop.cancelled() => break,
            _ = ticks.tick() => {}
        }
        requests.spawn(one_request(run.clone(), LossKind::New));
        while requests.try_join_next().is_some() {}
    }
    while requests.join_next().await.is_some() {}
}

async fn one_request(run: Run, kind: LossKind) {
    let Some(mut connection) = run.open(kind).await else { return };
    // Counted where it happens, whichever way it goes.
    run.request(&mut connection, kind).await.ok();
}

/// A kept-alive connection with its time of birth.
struct Kept {
    connection: Connection,
    opened: Instant,
}

/// The requests of one kept-alive connection, and of those that follow it. A request that is due
/// while another one is under way gets a connection of its own, as from any pool.
async fn kept_connection(run: Run, slot: u32) {
    let settings = &run.settings;
    let each = f64::from(settings.kept_per_second) / f64::from(settings.kept_connections);
    let Some(period) = period(each) else { return };
    let mut ticks =
        interval_at(Instant::now() + share(period, slot, settings.kept_connections), period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut kept: Option<Kept> = None;
    let mut under_way: Option<JoinHandle<Option<Kept>>> = None;
    let mut others = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = run.stop.cancelled() => break,
            _ = ticks.tick() => {}
        }
        if let Some(task) = under_way.take_if(|task| task.is_finished()) {
            kept = task.await.unwrap_or_default();
        }
        if under_way.is_some() {
            others.spawn(one_request(run.clone(), LossKind::Kept));
        } else {
            under_way = Some(tokio::spawn(kept_request(run.clone(), kept.take())));
        }
        while others.try_join_next().is_some() {}
    }
    if let Some(task) = under_way {
        drop(task.await);
    }
    while others.join_next().await.is_some() {}
}

/// One request on `kept`, or on a new connection; returns the connection if it can be kept.
async fn kept_request(run: Run, kept: Option<Kept>) -> Option<Kept> {
    let recycle = Duration::from_millis(run.settings.kept_millis);
    let kept = kept.filter(|kept| kept.opened.elapsed() < recycle).filter(|kept| {
        let ended = kept.connection.ended_by_server();
        run.tally().idle_closes += u64::from(ended);
        !ended
    });
    let mut kept = match kept {
        Some(kept) => kept,
        None => Kept { connection: run.open(LossKind::Kept).await?, opened: Instant::now() },
    };
    let reusable = run.request(&mut kept.connection, LossKind::Kept).await.ok()?;
    reusable.then_some(kept)
}

/// One long connection after the other.
async fn long_connections(run: Run, slot: u32) {
    let settings = &run.settings;
    let heartbeat = Duration::from_millis(settings.heartbeat_millis.max(1));
    let first = Instant::now() + share(heartbeat, slot, settings.long_connections);
    tokio::select! {
        () = run.stop.cancelled() => return,
        () = sleep_until(first) => {}
    }
    while !run.stop.is_cancelled() {
        if !long_connection(&run, heartbeat).await {
            // A heartbeat's pause, so that a dead server is not asked in a tight loop.
            tokio::select! {
                () = run.stop.cancelled() => return,
                () = tokio::time::sleep(heartbeat) => {}
            }
        }
    }
}

/// One long connection from its beginning to its end; `false` if it failed.
async fn long_connection(run: &Run, heartbeat: Duration) -> bool {
    let Some(mut connection) = run.open(LossKind::Long).await else { return false };
    let end = Instant::now() + Duration::from_millis(run.settings.long_millis);
    let mut ticks = interval_at(Instant::now(), heartbeat);
    let mut opened = false;
    loop {
        tokio::select! {
            biased;
            () = run.stop.cancelled() => return true,
            () = sleep_until(end) => return true,
            _ = ticks.tick() => {}
        }
        let went_well = if opened && connection.ended_by_server() {
            false
        } else {
            match run.request(&mut connection, LossKind::Long).await {
                Ok(reusable) => {
                    if !opened {
                        opened = true;
                        run.tally().long_opened();
                    }
                    // A polite "Connection: close" ends it before its time all the same.
                    reusable
                }
                Err(_) => false,
            }
        };
        if !went_well {
            if opened {
                run.tally().long_cut(connection.pod.as_deref());
            }
            return false;
        }
    }
}

/// The part of `period` by which `slot` of `slots` starts later, so that they do not all act at once.
fn share(period: Duration, slot: u32, slots: u32) -> Duration {
    period.mul_f64(f64::from(slot) / f64::from(slots.max(1)))
}

#[cfg(test)]
mod tests;
