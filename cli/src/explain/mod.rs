//! `explain`: why an object is treated as it is, and what would change that.
//!
//! ```text
//! gather -> facts -> view: what core says of them -> Explanation -> text | JSON | YAML
//! ```

pub mod cures;
pub mod document;
pub mod facts;
mod gather;
mod senders;
pub mod text;
mod verdict;
pub mod view;

use clap::Args;
use jiff::Timestamp;

use crate::common::cluster::Cluster;
use crate::common::failure::Failure;
use crate::common::screen::{OutputArgs, Screen};
use crate::common::target::Target;

/// Arguments of `explain`.
#[derive(Args, Debug)]
#[command(after_help = "\
Says which label enrols the object and where it stands, the policy, what was injected and what was left
alone and why, which load balancers carry it, where its end stands, what is decided, and what would change
that. For a workload: the same of its template, and each pod that is not protected.

Examples:
  kubectl lameduck explain pod/shop-2
  kubectl lameduck explain statefulset/shop -n prod
  kubectl lameduck explain deploy/web -o json | jq -r .decision")]
pub struct ExplainArgs {
    /// What is to be explained
    #[arg(value_name = "pod/NAME|statefulset/NAME|deployment/NAME")]
    pub target: Target,
    /// How.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Explains one object.
///
/// # Errors
/// There is no such object, or the cluster cannot be asked.
pub async fn run(args: ExplainArgs, cluster: &Cluster, screen: &Screen) -> Result<(), Failure> {
    let facts = gather::gather(&args.target, cluster).await?;
    screen.show(&view::view(&facts, Timestamp::now()), text::text)
}
