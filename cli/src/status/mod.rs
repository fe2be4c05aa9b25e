//! `status`: enrolled workloads, pods that end now, upgrades; once, or for as long as somebody looks.
//!
//! ```text
//! gather (lists, watches) -> world ┐
//! details (pods, controller) ──────┴> view (pure) -> document -> text | changes | JSON | YAML
//! ```

pub mod changes;
mod details;
pub mod document;
pub mod end_facts;
mod ending;
pub mod facts;
mod gather;
mod live;
mod notes;
pub mod text;
pub mod view;
pub mod world;

use std::time::Duration;

use clap::Args;
use jiff::Timestamp;

use crate::common::cluster::{Cluster, ClusterArgs, ScopeArgs};
use crate::common::failure::{Exit, Failure};
use crate::common::screen::{Colours, OutputArgs};
use crate::common::target::Target;

use gather::Scope;
use view::Question;
use world::World;

/// Arguments of `status`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  kubectl lameduck status                       # the context's namespace
  kubectl lameduck status -A -o wide            # every namespace, with more columns
  kubectl lameduck status statefulset/shop -w   # follow one workload
  kubectl lameduck status -A -o json | jq '.ending[] | select(.deadlineInSeconds < 60)'")]
pub struct StatusArgs {
    /// Only this: statefulset/NAME, deployment/NAME or pod/NAME
    #[arg(value_name = "WORKLOAD")]
    workload: Option<Target>,
    /// Where to look.
    #[command(flatten)]
    scope: ScopeArgs,
    /// The format.
    #[command(flatten)]
    output: OutputArgs,
    /// Follow live: a picture on a terminal, a line per change elsewhere
    #[arg(long, short = 'w')]
    watch: bool,
}

/// Prints what Lameduck does now.
///
/// # Errors
/// The cluster cannot be asked, or what is named does not exist.
pub async fn run(
    args: StatusArgs,
    cluster_args: &ClusterArgs,
    colours: Colours,
) -> Result<Exit, Failure> {
    let StatusArgs { workload, scope, output, watch } = args;
    if workload.is_some() && scope.all_namespaces {
        return Err(Failure::usage("a workload is in one namespace: leave out --all-namespaces"));
    }
    let Cluster { client, namespace } = cluster_args.connect().await?;
    let namespace = (!scope.all_namespaces).then_some(namespace);
    let question = Question {
        namespace: namespace.clone(),
        target: workload.as_ref().map(ToString::to_string),
        selects: scope.selector.is_some(),
    };
    let limit = Duration::from_secs(cluster_args.request_timeout);
    let scope = Scope {
        namespace,
        target: workload,
        selector: scope.selector,
        request_seconds: cluster_args.request_timeout,
    };
    let screen = output.screen(colours);
    if watch {
        return live::follow(client, scope, question, screen).await;
    }
    let mut world = World::default();
    let mut ear = gather::listen(&client, &scope, &mut world, false).await?;
    gather::whole(&mut ear, &mut world).await?;
    drop(ear);
    let asks = details::is_anything_held(&world);
    world.learn(details::read(client, details::wanted(&world), asks, limit).await);
    screen.show(&view::status(&world, &question, Timestamp::now()), text::text)?;
    Ok(Exit::Done)
}
