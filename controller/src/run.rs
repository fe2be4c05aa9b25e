//! Puts the parts together, and takes them apart in order.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures::future::OptionFuture;
use kube::{Client, Config};
use lameduck_certs::Keeper;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::SetOnce;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::admin::Admin;
use crate::args::Args;
use crate::certificates;
use crate::clb::{self, Reader};
use crate::confirm::Confirm;
use crate::default_policy;
use crate::descriptors;
use crate::engine::Engine;
use crate::events;
use crate::hold::Holds;
use crate::index::{Kind, SharedIndex};
use crate::leader::{self, Leadership};
use crate::metrics::Metrics;
use crate::namespaces;
use crate::pods::Pods;
use crate::relabel;
use crate::serve::{bind, serve};
use crate::state::State;
use crate::unprotected::Scan;
use crate::upgrade::{Reads, Upgrader};
use crate::{slim, watch};

/// Connections of holds at once, where there are descriptors for so many. One per container that is
/// being held.
const HOLD_CONNECTIONS_MAX: usize = 12_000;
/// Connections to metrics and health at once.
const ADMIN_CONNECTIONS_MAX: usize = 64;
/// The longest orderly end.
const END_MAX: Duration = Duration::from_secs(15);

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// Where it cannot start: no configuration for a cluster, an address that is taken.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let Args {
        namespace,
        lease,
        identity,
        hold_address,
        admin_address,
        accept_node_addresses,
        hold_image,
        clb,
        certificates,
        log: _,
    } = args;
    let identity = identity.unwrap_or_else(default_identity);
    let mut config = Config::infer().await.context("no configuration for a cluster was found")?;
    // Every caller here has its own retries, with the state that is true by then.
    config.default_retry = false;
    let client = Client::try_from(config).context("the cluster's configuration cannot be used")?;

    let hold_listener = bind(hold_address)
        .await
        .with_context(|| format!("the address for holds, {hold_address}, cannot be bound"))?;
    let admin_listener = bind(admin_address)
        .await
        .with_context(|| format!("the address for metrics, {admin_address}, cannot be bound"))?;

    let clb_client =
        clb::client(&clb).context("the settings of Tencent's load balancers cannot work")?;

    let stop = CancellationToken::new();
    let stop_lease = CancellationToken::new();
    let stop_events = CancellationToken::new();
    let index = SharedIndex::default();
    let leadership = Leadership::default();
    let metrics = Metrics::new(leadership.clone());
    let pods = Pods::new(client.clone());
    let (events, send_events) =
        events::start(client.clone(), metrics.clone(), identity.clone(), stop_events.clone());
    let open_files = descriptors::raise_limit();
    let hold_connections = descriptors::connections(open_files, HOLD_CONNECTIONS_MAX);
    info!(identity, %hold_address, %admin_address, open_files, hold_connections, "Starting.");

    let background = TaskTracker::new();
    if clb_client.is_some() {
        // First: what is watched follows from it.
        index.with(|index| index.read_clbs(clb.clb_vpc_id.is_some()));
    }
    background.spawn(watch_all(&client, &index, &metrics, &stop));
    let keeper = Keeper::new(client.clone(), certificates.settings(&namespace))
        .context("the settings of the webhook's certificates cannot work")?;
    let policy_tried = Arc::new(SetOnce::new());
    background.spawn(default_policy::run(
        client.clone(),
        leadership.clone(),
        Arc::clone(&policy_tried),
        stop.clone(),
    ));
    background.spawn(certificates::run(
        keeper,
        leadership.clone(),
        policy_tried,
        metrics.clone(),
        stop.clone(),
    ));
    background.spawn(namespaces::run(
        index.clone(),
        client.clone(),
        leadership.clone(),
        stop.clone(),
    ));
    let events_task = tokio::spawn(send_events);
    let upgrades_client = client.clone();
    let lease_task = tokio::spawn(leader::run(
        client,
        namespace,
        lease,
        identity,
        leadership.clone(),
        stop_lease.clone(),
    ));
    let scan = Scan {
        index: index.clone(),
        pods: pods.clone(),
        leadership: leadership.clone(),
        events: events.clone(),
        metrics: metrics.clone(),
    };
    background.spawn(scan.run(stop.clone()));
    background.spawn(relabel::run(
        index.clone(),
        pods.clone(),
        leadership.clone(),
        events.clone(),
        stop.clone(),
    ));
    let upgrader = Upgrader {
        index: index.clone(),
        client: upgrades_client,
        api: clb_client.clone(),
        hold_image,
        leadership: leadership.clone(),
        events: events.clone(),
        metrics: metrics.clone(),
        clock: Arc::new(jiff::Timestamp::now),
        reads: Reads::default(),
    };
    background.spawn(upgrader.run(stop.clone()));
    let state_clb = clb_client.clone();
    let state_vpc_id = clb.clb_vpc_id.clone();
    if let Some(api) = clb_client {
        let reader = Reader {
            index: index.clone(),
            api,
            vpc_id: clb.clb_vpc_id,
            leadership: leadership.clone(),
            metrics: metrics.clone(),
            clock: Arc::new(jiff::Timestamp::now),
        };
        background.spawn(reader.run(stop.clone()));
    }
    let state_leadership = leadership.clone();
    let engine = Engine {
        index: index.clone(),
        pods: pods.clone(),
        confirm: Confirm::new(pods.clone()),
        leadership,
        events: events.clone(),
        metrics: metrics.clone(),
        clock: Arc::new(jiff::Timestamp::now),
    };
    let engine_task = tokio::spawn(engine.run(stop.clone()));
    let holds = Holds::new(
        index.clone(),
        pods,
        events,
        metrics.clone(),
        accept_node_addresses,
        stop.clone(),
    );
    let hold_task =
        tokio::spawn(serve(hold_listener, holds.clone().router(), hold_connections, stop.clone()));
    let state = State {
        index: index.clone(),
        leadership: state_leadership,
        seen: holds.seen(),
        clb: state_clb,
        vpc_id: state_vpc_id,
        tried: Arc::default(),
    };
    let admin = Admin { index, metrics, stop: stop.clone() };
    let stop_admin = CancellationToken::new();
    let admin_task = tokio::spawn(serve(
        admin_listener,
        admin.router().merge(state.router()),
        ADMIN_CONNECTIONS_MAX,
        stop_admin.clone(),
    ));

    let signal = terminated().await?;
    info!(signal, "Ending: waiting holds are answered, writes finished, the Lease given back.");
    stop.cancel();
    background.close();
    let orderly = async {
        log_panic("engine", engine_task.await);
        background.wait().await;
        // Only now: nobody else may write before our own writes have ended.
        stop_lease.cancel();
        log_panic("lease", lease_task.await);
        log_panic("hold endpoint", hold_task.await);
        holds.finish().await;
        stop_events.cancel();
        log_panic("events", events_task.await);
        stop_admin.cancel();
        log_panic("admin endpoint", admin_task.await);
    };
    if tokio::time::timeout(END_MAX, orderly).await.is_err() {
        warn!("The orderly end took too long.");
    }
    Ok(())
}

/// Every watch, until `stop`.
fn watch_all(
    client: &Client,
    index: &SharedIndex,
    metrics: &Metrics,
    stop: &CancellationToken,
) -> impl Future<Output = ()> + Send + use<> {
    fn one<T: watch::Watched>(
        client: &Client,
        index: &SharedIndex,
        metrics: &Metrics,
        stop: &CancellationToken,
    ) -> impl Future<Output = ()> + Send + use<T> {
        watch::run::<T>(client.clone(), index.clone(), metrics.clone(), stop.clone())
    }
    let pods = one::<slim::Pod>(client, index, metrics, stop);
    let services = one::<slim::Service>(client, index, metrics, stop);
    let slices = one::<slim::EndpointSlice>(client, index, metrics, stop);
    let namespaces = one::<slim::Namespace>(client, index, metrics, stop);
    let nodes = one::<slim::Node>(client, index, metrics, stop);
    let policies = one::<slim::TerminationPolicy>(client, index, metrics, stop);
    let reads_clbs = index.with(|index| index.kinds().any(|kind| kind == Kind::Ingresses));
    let ingresses = reads_clbs.then(|| one::<slim::Ingress>(client, index, metrics, stop));
    let ingresses = OptionFuture::from(ingresses);
    async move {
        tokio::join!(pods, services, slices, namespaces, nodes, policies, ingresses);
    }
}

async fn terminated() -> anyhow::Result<&'static str> {
    let mut term = signal(SignalKind::terminate()).context("SIGTERM cannot be listened for")?;
    let mut int = signal(SignalKind::interrupt()).context("SIGINT cannot be listened for")?;
    Ok(tokio::select! {
        _ = term.recv() => "SIGTERM",
        _ = int.recv() => "SIGINT",
    })
}

fn log_panic(part: &str, result: Result<(), tokio::task::JoinError>) {
    if let Err(error) = result {
        warn!(part, %error, "A part did not end in order.");
    }
}

/// The host's name, which is the pod's, and a number that is different at each start.
fn default_identity() -> String {
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "lameduck-controller".into());
    let random = RandomState::new().hash_one(std::process::id());
    format!("{host}_{random:016x}")
}
