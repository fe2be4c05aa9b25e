//! Reads Tencent's load balancers (CLBs) of pods that end. Leader only.
//!
//! ```text
//! index: pods that end, and the CLBs that their Services name --.
//! look-up of their addresses, once each: CLBs nobody named -----+-> one poll per CLB, however many
//!                                                                  pods drain -> index: histories
//! ```
//! One CLB or region that fails delays no other: each read stands for itself, and so does its reason.

mod poll;
mod rows;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use lameduck_clb::{Bindings, Client, Endpoint, Error, Listeners, Settings, VpcAddress};
use lameduck_core::drain::clb::ReadOf;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::args::ClbArgs;
use crate::engine::Clock;
use crate::index::{ClbPod, PodKey, SharedIndex};
use crate::leader::Leadership;
use crate::text::chain;

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
    /// The load balancers that send to these addresses.
    fn bindings(
        &self,
        backends: &[VpcAddress],
    ) -> impl Future<Output = Result<Bindings, Error>> + Send;
}

impl Api for Client {
    async fn targets(&self, id: &str, region: Option<&str>) -> Result<Listeners, Error> {
        // A name that is none comes from the API itself: ours is asked, and says that there is no such CLB.
        let elsewhere = region.and_then(|region| self.in_region(region).ok());
        elsewhere.as_ref().unwrap_or(self).describe_targets(id, &[]).await
    }

    async fn bindings(&self, backends: &[VpcAddress]) -> Result<Bindings, Error> {
        self.describe_lb_listeners(backends).await
    }
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
    Read { id: Arc<str>, at: Timestamp, result: Result<Listeners, Error> },
    LookedUp { asked: Vec<PodKey>, result: Result<Bindings, Error> },
}

impl<A: Api> Reader<A> {
    /// Reads until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut polls = Polls::default();
        let mut under_way: JoinSet<Answer> = JoinSet::new();
        let mut looking_up: HashSet<PodKey> = HashSet::new();
        let mut not_before: Option<Instant> = None;
        let mut regions: Regions = HashMap::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(LOOK_EVERY) => {}
                Some(answer) = under_way.join_next(), if !under_way.is_empty() => {
                    match answer {
                        Ok(answer) => {
                            if let Answer::LookedUp { result: Ok(found), .. } = &answer {
                                learn(&mut regions, found);
                            }
                            self.take(answer, &mut polls, &mut looking_up, &mut not_before);
                        }
                        Err(error) => warn!(%error, "A read of a load balancer did not end in order."),
                    }
                }
            }
            if !self.leadership.is_held() {
                polls = Polls::default();
                continue;
            }
            let draining = self.index.with(|index| index.clb_draining());
            let mut wanted: HashMap<Arc<str>, Vec<PodKey>> = HashMap::new();
            for pod in &draining {
                for id in &pod.load_balancers {
                    wanted.entry(Arc::clone(id)).or_default().push(pod.key.clone());
                }
            }
            regions.retain(|id, _| wanted.contains_key(id));
            let now = Instant::now();
            for id in polls.due(&wanted, now, READS_AT_ONCE.saturating_sub(under_way.len())) {
                let api = self.api.clone();
                // The moment before the request: what is read is at least that new.
                let at = (self.clock)();
                let region = regions.get(&id).cloned();
                under_way.spawn(async move {
                    let result = api.targets(&id, region.as_deref()).await;
                    Answer::Read { id, at, result }
                });
            }
            if not_before.is_none_or(|at| at <= now) && looking_up.is_empty() {
                self.look_up(&draining, &mut looking_up, &mut under_way);
            }
        }
    }

    /// Starts the look-up of pods that were not looked up yet.
    fn look_up(
        &self,
        draining: &[ClbPod],
        looking_up: &mut HashSet<PodKey>,
        under_way: &mut JoinSet<Answer>,
    ) {
        let Some(vpc_id) = &self.vpc_id else { return };
        let (mut asked, mut backends) = (Vec::new(), Vec::new());
        for pod in draining.iter().filter(|pod| !pod.looked_up) {
            // The first one always: no pod has so many addresses.
            if !asked.is_empty() && backends.len() + pod.addresses.len() > LOOK_UP_MAX {
                break;
            }
            asked.push(pod.key.clone());
            let addresses = pod.addresses.iter();
            backends.extend(
                addresses.map(|private_ip| VpcAddress {
                    vpc_id: vpc_id.clone(),
                    private_ip: *private_ip,
                }),
            );
        }
        if backends.is_empty() {
            return;
        }
        looking_up.extend(asked.iter().cloned());
        let api = self.api.clone();
        under_way.spawn(async move {
            let result = api.bindings(&backends).await;
            Answer::LookedUp { asked, result }
        });
    }

    fn take(
        &self,
        answer: Answer,
        polls: &mut Polls,
        looking_up: &mut HashSet<PodKey>,
        not_before: &mut Option<Instant>,
    ) {
        match answer {
            Answer::Read { id, at, result } => {
                if let Err(error) = &result {
                    warn!(load_balancer = &*id, error = %chain(error), "A load balancer was not read.");
                }
                let changed = self.index.with(|index| {
                    index.clb_read(&id, at, |pod| match &result {
                        Ok(listeners) => rows::of(listeners, &pod.addresses),
                        Err(error) if error.is_not_found() => {
                            ReadOf::NotFound(error.to_string().into())
                        }
                        Err(error) => ReadOf::Failed(error.to_string().into()),
                    })
                });
                polls.ended(&id, changed, Instant::now());
            }
            Answer::LookedUp { asked, result } => {
                looking_up.clear();
                match &result {
                    Ok(found) => debug!(
                        pods = asked.len(),
                        load_balancers = found.load_balancers.len(),
                        "Addresses were looked up."
                    ),
                    Err(error) => {
                        *not_before = Some(Instant::now() + LOOK_UP_AGAIN);
                        warn!(
                            pods = asked.len(),
                            error = %chain(error),
                            "The load balancers of pods could not be looked up; trying again."
                        );
                    }
                }
                self.index.with(|index| {
                    for key in &asked {
                        let outcome = match &result {
                            Ok(found) => rows::bound(found, index.clb_addresses(key)),
                            Err(error) => Err(format!("the look-up of its address: {error}")),
                        };
                        index.clb_looked_up(key, outcome);
                    }
                });
            }
        }
    }
}
