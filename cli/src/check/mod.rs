//! `check`: what is wrong with the installation and with enrolled namespaces, and what to do about it.

pub mod facts;
pub mod findings;
mod gather;
pub mod read;
#[cfg(test)]
mod read_tests;
pub mod rights;
pub mod view;

use clap::Args;
use jiff::Timestamp;

use crate::common::cluster::{ClusterArgs, ScopeArgs};
use crate::common::failure::{Exit, Failure};
use crate::common::screen::{Colours, OutputArgs};
use findings::Severity;

/// Arguments of `check`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  # The installation, and the namespace of the context
  kubectl lameduck check

  # The installation, and every namespace
  kubectl lameduck check -A

  # In a pipeline: exit code 1 where there is an error
  kubectl lameduck check -n shop -l app=web -o json > findings.json

  # Only what is wrong with policies
  kubectl lameduck check -A -o json | jq '.findings[] | select(.reason == \"UnknownPolicy\")'

The installation is looked at in any case. Nothing is changed: a StatefulSet and a pod are created on trial
in the namespace default (dry run) to see whether the API server reaches the webhook.

Errors: something does not work. Warnings: it works, and requests may be lost. Each finding has a reason that
docs/check.md explains. The exit code is 0 where there is no error.")]
pub struct CheckArgs {
    /// What to look at.
    #[command(flatten)]
    pub scope: ScopeArgs,
    /// How to print it.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Looks, and prints what was found.
///
/// # Errors
/// The cluster cannot be asked, or there is no such namespace.
pub async fn run(
    args: &CheckArgs,
    cluster: &ClusterArgs,
    colours: Colours,
) -> Result<Exit, Failure> {
    let cluster = cluster.connect().await?;
    let facts = gather::gather(&cluster, &args.scope).await?;
    let found = findings::findings(&facts, Timestamp::now());
    let has_errors = found.iter().any(|finding| finding.severity == Severity::Error);
    let document = view::Document::new(facts.looks().0, found);
    args.output.screen(colours).show(&document, view::text)?;
    Ok(if has_errors { Exit::Refused } else { Exit::Done })
}
