//! Reads Tencent's load balancers (CLBs) of pods that end. Leader only.
//!
//! ```text
//! index: pods that end, and the CLBs that their Services name --.
//! look-up of their addresses, once each: CLBs nobody named -----+-> one poll per CLB, however many
//!                                                                  pods drain -> index: histories
//! ```
//! One CLB or region that fails delays no other: each read stands for itself, and so does its reason.

mod outcome;
mod poll;
pub(crate) mod rows;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lameduck_clb::{Bindings, Client, Endpoint, Error, Health, Listeners, Settings, VpcAddress};
use lameduck_core::drain::clb::ReadOf;
use lameduck_core::text::chain;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::args::ClbArgs;
use crate::engine::Clock;
use crate::index::{ClbPod, Index, PodKey, SharedIndex, Tried};
use crate::leader::Leadership;
use crate::metrics::Metrics;

pub(crate) use outcome::label;
use poll::Polls;

/// The client that the arguments describe; none where they name no region.
///
/// # Errors
/// They cannot work.
pub fn client(args: &ClbArgs) -> Result<Option<Client>, lameduck_clb::SettingsError> {
    let Some(region) = &args.clb_region else { return Ok(None) };
    let mut settings = Settings::for_region(region);
    settings.endpoint = Endpoint::new(&args.clb_endpoint)?;
    if let Some(host) = &args.clb_host {
        settings.endpoint = settings.endpoint.with_host(host)?;
    }
    settings.credentials.sts = Endpoint::new(&args.clb_sts_endpoint)?;
    settings.credentials.folder.clone_from(&args.clb_credentials);
    Client::new(settings).map(Some)
}

/// Time between two looks at what drains.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Reads on their way at once: the API takes 20 requests per second and action.
const READS_AT_ONCE: usize = 20;
/// Addresses of one look-up: the largest number that other calls of the API take.
const LOOK_UP_MAX: usize = 20;
/// The same for those whose look-up failed before.
const LOOK_UP_AGAIN_MAX: usize = 5;
/// Time before a look-up that failed is tried again.
const LOOK_UP_AGAIN: Duration = Duration::from_secs(5);

/// What is asked of the CLB API. A trait, so that tests need no server.
pub trait Api: Clone + Send + Sync + 'static {
    /// Every listener of a load balancer with its backends; in another region where one is named.
    fn targets(
        &self,
        id: &str,
        region: Option<&str>,
    ) -> impl Future<Output = Result<Listeners, Error>> + Send;
    /// What its health checks say of the backends of a load balancer; in another region where one is named.
    fn health(
        &self,
        id: &str,
        region: Option<&str>,
    ) -> impl Future<Output = Result<Health, Error>> + Send;
    /// The load balancers that send to these addresses.
    fn bindings(
        &self,
        backends: &[VpcAddress],
    ) -> impl Future<Output = Result<Bindings, Error>> + Send;
}

impl Api for Client {
    async fn targets(&self, id: &str, region: Option<&str>) -> Result<Listeners, Error> {
        of(self, region).describe_targets(id, &[]).await
    }

    async fn health(&self, id: &str, region: Option<&str>) -> Result<Health, Error> {
        of(self, region).describe_target_health(&[id]).await
    }

    async fn bindings(&self, backends: &[VpcAddress]) -> Result<Bindings, Error> {
        self.describe_lb_listeners(backends).await
    }
}

/// The client that asks `region`, where one is named.
fn of(client: &Client, region: Option<&str>) -> Client {
    // A name that is none comes from the API itself: ours is asked, and says that there is no such CLB.
    let elsewhere = region.and_then(|region| client.in_region(region).ok());
    elsewhere.unwrap_or_else(|| client.clone())
}

/// Reads for as long as something drains.
pub struct Reader<A> {
    /// What is known.
    pub index: SharedIndex,
    /// The API.
    pub api: A,
    /// The VPC of the cluster, `vpc-…`: without it nothing is looked up, and only those CLBs are read that
    /// Services name.
    pub vpc_id: Option<String>,
    /// Who leads.
    pub leadership: Leadership,
    /// Metrics.
    pub metrics: Metrics,
    /// The wall clock.
    pub clock: Clock,
}

impl<A> std::fmt::Debug for Reader<A> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Reader")
    }
}

/// Regions of load balancers, as look-ups told them: a CLB may stand in another one than the cluster.
type Regions = HashMap<Arc<str>, Arc<str>>;

fn learn(regions: &mut Regions, found: &Bindings) {
    for bound in &found.load_balancers {
        if let Some(region) = bound.region.as_deref() {
            regions.insert(bound.load_balancer_id.as_str().into(), region.into());
        }
    }
}

/// What came back.
enum Answer {
    Read { id: Arc<str>, result: Result<Listeners, Error> },
    LookedUp { asked: Vec<ClbPod>, result: Result<Bindings, Error> },
}

/// What the loop has in hand. Nothing of it outlives leadership: who leads meanwhile reads on.
#[derive(Default)]
struct Desk {
    polls: Polls,
    under_way: JoinSet<Answer>,
    regions: Regions,
    /// A look-up is on its way.
    looking_up: bool,
    /// No other begins before.
    look_up_at: Option<Instant>,
    /// The next look at what drains.
    look_at: Option<Instant>,
}

impl<A: Api> Reader<A> {
    /// Reads until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut desk = Desk::default();
        let mut led = false;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(LOOK_EVERY) => {}
                Some(answer) = desk.under_way.join_next(), if !desk.under_way.is_empty() => {
                    match answer {
                        Ok(answer) => self.take(answer, &mut desk),
                        Err(error) => {
                            // Maybe it was the look-up.
                            desk.looking_up = false;
                            warn!(%error, "A read of a load balancer did not end in order.");
                        }
                    }
                }
            }
            if !self.leadership.is_held() {
                if std::mem::take(&mut led) {
                    desk = Desk::default();
                    self.index.with(Index::forget_clbs);
                }
                continue;
            }
            led = true;
            let now = Instant::now();
            // Answers come more often than it is worth looking at everything that drains.
            if desk.look_at.is_none_or(|at| at <= now) {
                desk.look_at = Some(now + LOOK_EVERY);
                self.look(&mut desk, now);
            }
        }
    }

    /// Starts the reads and the look-up that are due.
    fn look(&self, desk: &mut Desk, now: Instant) {
        let draining = self.index.with(|index| index.clb_draining());
        let mut wanted: HashMap<Arc<str>, Vec<PodKey>> = HashMap::new();
        for pod in &draining {
            for id in &pod.load_balancers {
                wanted.entry(Arc::clone(id)).or_default().push(pod.key.clone());
            }
        }
        desk.regions.retain(|id, _| wanted.contains_key(id));
        let free = READS_AT_ONCE.saturating_sub(desk.under_way.len());
        for id in desk.polls.due(&wanted, now, free) {
            let api = self.api.clone();
            let region = desk.regions.get(&id).cloned();
            desk.under_way.spawn(async move {
                let result = api.targets(&id, region.as_deref()).await;
                Answer::Read { id, result }
            });
        }
        if !desk.looking_up && desk.look_up_at.is_none_or(|at| at <= now) {
            self.look_up(draining, desk);
        }
    }

    /// Starts the look-up of pods that were not looked up yet: those first that nobody tried, and of the
    /// others few at a time, those first whose try is longest ago. What one of them has that the API does
    /// not take holds up few others, and not again and again the same.
    fn look_up(&self, mut draining: Vec<ClbPod>, desk: &mut Desk) {
        let Some(vpc_id) = &self.vpc_id else { return };
        let untried = draining.iter().any(|pod| pod.look_up == Tried::Never);
        let most = if untried { LOOK_UP_MAX } else { LOOK_UP_AGAIN_MAX };
        draining.retain(|pod| match pod.look_up {
            Tried::Never => true,
            Tried::Failed(_) => !untried,
            Tried::Done => false,
        });
        draining.sort_by_key(|pod| pod.look_up);
        let (mut asked, mut backends) = (Vec::new(), Vec::new());
        for pod in draining {
            // The first one always: no pod has so many addresses.
            if !asked.is_empty() && backends.len() + pod.addresses.len() > most {
                break;
            }
            backends.extend(
                pod.addresses.iter().map(|private_ip| VpcAddress {
                    vpc_id: vpc_id.clone(),
                    private_ip: *private_ip,
                }),
            );
            asked.push(pod);
        }
        if backends.is_empty() {
            return;
        }
        desk.looking_up = true;
        let api = self.api.clone();
        desk.under_way.spawn(async move {
            let result = api.bindings(&backends).await;
            Answer::LookedUp { asked, result }
        });
    }

    fn take(&self, answer: Answer, desk: &mut Desk) {
        match answer {
            Answer::Read { id, result } => {
                self.metrics.clb_call("DescribeTargets", label(&result));
                if let Err(error) = &result {
                    warn!(load_balancer = &*id, error = %chain(error), "A load balancer was not read.");
                }
                let (at, pods) = ((self.clock)(), desk.polls.pods(&id));
                let changed = self.index.with(|index| {
                    index.clb_read(&id, &pods, at, |addresses| match &result {
                        Ok(listeners) => rows::of(listeners, addresses),
                        Err(error) if error.is_not_found() => {
                            ReadOf::NotFound(error.to_string().into())
                        }
                        Err(error) => ReadOf::Failed(error.to_string().into()),
                    })
                });
                desk.polls.ended(&id, changed, Instant::now());
            }
            Answer::LookedUp { asked, result } => {
                self.metrics.clb_call("DescribeLBListeners", label(&result));
                desk.looking_up = false;
                match &result {
                    Ok(found) => {
                        learn(&mut desk.regions, found);
                        debug!(
                            pods = asked.len(),
                            load_balancers = found.load_balancers.len(),
                            "Addresses were looked up."
                        );
                    }
                    Err(error) => warn!(
                        pods = asked.len(),
                        error = %chain(error),
                        "The load balancers of pods could not be looked up; trying again."
                    ),
                }
                let now = Instant::now();
                for pod in asked {
                    let outcome = match &result {
                        Ok(found) => rows::bound(found, &pod.addresses),
                        Err(error) => Err(format!("the look-up of its address: {error}")),
                    };
                    if outcome.is_err() {
                        desk.look_up_at = Some(now + LOOK_UP_AGAIN);
                    }
                    self.index.with(|index| index.clb_looked_up(&pod, now, outcome));
                }
            }
        }
    }
}
