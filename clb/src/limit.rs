//! The API's limit of requests per second, kept before the API has to enforce it.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::error::Failure;

/// Tokio's clock: it stands still in tests that pause it.
#[derive(Clone, Debug)]
struct TokioClock(Instant);

impl Clock for TokioClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Lets requests of one action through, in the order of their asking, evenly spaced.
///
/// No burst: the API counts a sliding second, and a burst on top of the rate would be above it.
#[derive(Debug)]
pub(crate) struct Limiter {
    per_second: NonZeroU32,
    cells: RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<Duration>>,
    clock: TokioClock,
    /// Whoever holds it is next. Tokio's mutex is fair.
    turn: Mutex<()>,
    waiting: AtomicU32,
}

impl Limiter {
    pub(crate) fn new(per_second: NonZeroU32) -> Self {
        let clock = TokioClock(Instant::now());
        let quota = Quota::per_second(per_second).allow_burst(NonZeroU32::MIN);
        let cells = RateLimiter::direct_with_clock(quota, clock.clone());
        Self { per_second, cells, clock, turn: Mutex::new(()), waiting: AtomicU32::new(0) }
    }

    /// Waits for a place, at most until `deadline`.
    ///
    /// # Errors
    /// [`Failure::Queue`], at once where the queue is too long to be served until `deadline`: that
    /// bounds the queue.
    pub(crate) async fn place(&self, deadline: Instant) -> Result<(), Failure> {
        let full = || Failure::Queue { per_second: self.per_second.get() };
        let place = Waiting::enter(&self.waiting);
        let left = deadline.saturating_duration_since(Instant::now());
        if left < Duration::from_secs(1) * place.before / self.per_second.get() {
            return Err(full());
        }
        let _turn = timeout_at(deadline, self.turn.lock()).await.map_err(|_| full())?;
        while let Err(not_until) = self.cells.check() {
            let free_at = Instant::now() + not_until.wait_time_from(self.clock.now());
            if free_at > deadline {
                return Err(full());
            }
            sleep_until(free_at).await;
        }
        Ok(())
    }
}

/// One caller in the queue; leaves it when dropped.
struct Waiting<'a> {
    count: &'a AtomicU32,
    before: u32,
}

impl<'a> Waiting<'a> {
    fn enter(count: &'a AtomicU32) -> Self {
        Self { count, before: count.fetch_add(1, Ordering::Relaxed) }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn limiter() -> Arc<Limiter> {
        Arc::new(Limiter::new(NonZeroU32::new(20).unwrap()))
    }

    #[tokio::test(start_paused = true)]
    async fn no_sliding_second_has_more_than_the_limit_and_order_is_kept() {
        let limiter = limiter();
        let began = Instant::now();
        let deadline = began + Duration::from_secs(30);
        let (done, mut order) = tokio::sync::mpsc::unbounded_channel();
        for caller in 0..100_u32 {
            let (limiter, done) = (Arc::clone(&limiter), done.clone());
            tokio::spawn(async move {
                limiter.place(deadline).await.unwrap();
                done.send((caller, began.elapsed())).unwrap();
            });
            tokio::task::yield_now().await;
        }
        drop(done);
        let mut times = Vec::new();
        while let Some((caller, at)) = order.recv().await {
            assert_eq!(caller as usize, times.len(), "first come, first served");
            times.push(at);
        }
        assert_eq!(times.len(), 100);
        for (first, last) in times.iter().zip(&times[20..]) {
            assert!(*last >= *first + Duration::from_secs(1), "{first:?} {last:?}");
        }
        assert!(times[99] <= Duration::from_secs(5), "the limit is used: {:?}", times[99]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_late_by_100_ms_still_makes_no_second_with_more_than_20() {
        let limiter = Limiter::new(crate::settings::Limits::default().requests_per_second);
        let began = Instant::now();
        let mut arrivals = Vec::new();
        for request in 0..200_u32 {
            limiter.place(began + Duration::from_secs(60)).await.unwrap();
            // Late, then punctual: as close together as they get.
            let late = Duration::from_millis(if request / 20 % 2 == 0 { 100 } else { 0 });
            arrivals.push(began.elapsed() + late);
        }
        arrivals.sort_unstable();
        for (first, last) in arrivals.iter().zip(&arrivals[20..]) {
            assert!(*last >= *first + Duration::from_secs(1), "{first:?} {last:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_slips_in_before_who_waits() {
        // Both timers fire at once; whichever comes first, the one that waited has its turn.
        for newcomer_first in [false, true] {
            let limiter = limiter();
            let far = Instant::now() + Duration::from_secs(60);
            limiter.place(far).await.unwrap();
            let (done, mut order) = tokio::sync::mpsc::unbounded_channel();
            let caller = |name: &'static str, after: Duration| {
                let (limiter, done) = (Arc::clone(&limiter), done.clone());
                tokio::spawn(async move {
                    tokio::time::sleep(after).await;
                    limiter.place(far).await.unwrap();
                    done.send(name).unwrap();
                });
            };
            let mut callers = [("waits", Duration::ZERO), ("newcomer", Duration::from_millis(50))];
            if newcomer_first {
                callers.reverse();
            }
            for (name, after) in callers {
                caller(name, after);
                tokio::task::yield_now().await;
            }
            assert_eq!(order.recv().await, Some("waits"));
            assert_eq!(order.recv().await, Some("newcomer"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_too_long_for_the_deadline_is_refused_at_once() {
        let limiter = limiter();
        let began = Instant::now();
        let deadline = began + Duration::from_secs(1);
        let callers: Vec<_> = (0..1000)
            .map(|_| {
                let limiter = Arc::clone(&limiter);
                tokio::spawn(async move { (limiter.place(deadline).await, began.elapsed()) })
            })
            .collect();
        let (mut served, mut at_once) = (0, 0);
        for caller in callers {
            match caller.await.unwrap() {
                (Ok(()), at) => {
                    assert!(at <= Duration::from_secs(1));
                    served += 1;
                }
                (Err(Failure::Queue { per_second: 20 }), at) => {
                    at_once += usize::from(at.is_zero());
                }
                (Err(other), _) => panic!("{other}"),
            }
        }
        assert_eq!(served, 21, "one at the begin of the second, one at its end");
        assert!(at_once >= 970, "{at_once}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_gives_up_leaves_its_place() {
        let limiter = limiter();
        let far = Instant::now() + Duration::from_secs(60);
        limiter.place(far).await.unwrap();
        let dropped = {
            let limiter = Arc::clone(&limiter);
            tokio::spawn(async move { limiter.place(far).await })
        };
        tokio::task::yield_now().await;
        dropped.abort();
        dropped.await.unwrap_err();
        assert_eq!(limiter.waiting.load(Ordering::Relaxed), 0);
        limiter.place(far).await.unwrap();
    }
}
