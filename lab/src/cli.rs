//! The `cargo lab` command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::bench;
use crate::clb;
use crate::cluster::run_directory::RunDirectory;
use crate::cluster::{Cluster, Options, supervisor};
use crate::fuzz;
use crate::images;
use crate::load;
use crate::process::exit_code;
use crate::progress::Progress;
use crate::scenario;
use crate::suite;

/// A local two-node Kubernetes, and what is run on it.
#[derive(Debug, Parser)]
#[command(name = "cargo lab", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Bring the cluster up; it stays until `down`
    Up {
        /// Do not build and import Lameduck's own images
        #[arg(long)]
        without_product: bool,
    },
    /// End the cluster, and clear away what is left of one
    Down,
    /// Print the path of the cluster's kubeconfig: export KUBECONFIG=$(cargo lab kubeconfig)
    Kubeconfig,
    /// Run kubectl on the cluster
    Kubectl {
        /// kubectl's arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Run a program inside the cluster's network
    Enter {
        /// The program and its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<OsString>,
    },
    /// Say whether the cluster is up, and how its daemons are
    Status,
    /// Build Lameduck's images as archives that `docker load` and `ctr images import` take
    Image {
        /// The folder for the archives
        #[arg(long, default_value = "target/images")]
        output: PathBuf,
    },
    /// Measure the parts against their budgets; fails where one is missed
    Bench {
        #[command(subcommand)]
        part: Part,
        /// Print the figures as one JSON document on standard output
        #[arg(long, global = true)]
        json: bool,
    },
    /// End pods under load, without and with Lameduck, and show what was lost
    Demo(scenario::DemoArguments),
    /// The load on one address
    #[command(hide = true)]
    Load(load::Settings),
    /// Run every test there is, on a cluster of its own
    Test {
        /// Arguments for `cargo test`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Look for an answer of the CLB API that its client reads wrong: libFuzzer, guided by coverage
    Fuzz(fuzz::Arguments),
    /// Record what the API server sends to an admission webhook: the corpus of the injection's tests
    Record {
        /// The folder of manifests to apply
        #[arg(long, default_value = "tests/corpus/manifests")]
        manifests: PathBuf,
        /// The folder for the reviews; those of an earlier recording are replaced
        #[arg(long, default_value = "tests/corpus")]
        output: PathBuf,
    },
    /// The webhook that `record` lets the API server ask
    #[command(hide = true)]
    RecordServer {
        /// Where to listen
        #[arg(long)]
        address: std::net::Ipv4Addr,
    },
    /// The CLB API and TKE's controllers
    #[command(hide = true)]
    ClbStandIn(clb::server::Arguments),
    /// The cluster's first process
    #[command(hide = true)]
    Supervise(supervisor::Arguments),
}

/// What can be measured.
#[derive(Clone, Copy, Debug, Subcommand)]
enum Part {
    /// Time, memory and requests of `kubectl lameduck status` with 10,000 enrolled pods
    Cli,
    /// Requests to the CLB API and time to the end of 500 drains, behind 1 and behind 100 load balancers
    Clb,
    /// Memory of the controller with 10,000 pods, and time from a container's end to the finalizer's
    Controller,
    /// Size, memory, share of a core and time to end of the hold
    Hold,
    /// Time per pod of a StatefulSet's upgrade: by Kubernetes alone, by Tencent's guide, by Lameduck
    Upgrade,
    /// Reviews per second, latency, time of a decision and memory of the webhook
    Webhook,
}

/// Runs the command line of this process to its end.
#[must_use]
pub fn main() -> ExitCode {
    let Arguments { command } = Arguments::parse();
    let result = match command {
        Command::Supervise(arguments) => supervisor::run(&arguments).map(|()| ExitCode::SUCCESS),
        Command::Load(settings) => Ok(load::main(settings)),
        command => with_runtime(command),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

/// Runs `command` until it ends or a signal asks for the end. Then its future is
/// dropped, and with it goes all that it owns: an owned cluster is taken down.
fn with_runtime(command: Command) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the lab's runtime cannot be started")?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be received")?;
        let mut terminate =
            signal(SignalKind::terminate()).context("SIGTERM cannot be received")?;
        let mut hangup = signal(SignalKind::hangup()).context("SIGHUP cannot be received")?;
        tokio::select! {
            result = run(command) => result,
            _ = interrupt.recv() => Ok(ExitCode::from(130)),
            _ = terminate.recv() => Ok(ExitCode::from(143)),
            _ = hangup.recv() => Ok(ExitCode::from(129)),
        }
    })
}

async fn run(command: Command) -> Result<ExitCode> {
    let progress = Progress::new();
    match command {
        Command::Up { without_product } => {
            let options = Options { product_images: !without_product, ..Options::shared()? };
            let cluster = Cluster::up(&options, &progress).await?;
            progress.line(format!(
                "the cluster is up: export KUBECONFIG={}",
                cluster.kubeconfig().display()
            ));
            Ok(ExitCode::SUCCESS)
        }
        Command::Down => {
            Cluster::down_in(&RunDirectory::shared()?).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Kubeconfig => {
            println!("{}", attached().await?.kubeconfig().display());
            Ok(ExitCode::SUCCESS)
        }
        Command::Kubectl { arguments } => status_of(attached().await?.kubectl(arguments)).await,
        Command::Enter { command } => {
            let (program, arguments) = command.split_first().context("which program?")?;
            status_of(attached().await?.enter(program, arguments)).await
        }
        Command::Status => status().await,
        Command::Image { output } => {
            let images = images::product::all(&output, &progress).await?;
            for image in &images {
                println!("{}\t{}\t{}", image.name, image.digest, image.path.display());
            }
            progress.line(format!(
                "On each node of a cluster: ctr -n k8s.io images import FILE. With kind: kind load image-archive FILE.\n\
                 For a registry: docker load -i FILE, docker tag, docker push, and the new names in your kustomization's `images`. The folder is {}.",
                output.display()
            ));
            Ok(ExitCode::SUCCESS)
        }
        Command::Bench { part, json } => bench(part, json, &progress).await,
        Command::Demo(arguments) => scenario::demo(&arguments, &progress).await,
        Command::Load(_) => anyhow::bail!("`load` has a runtime of its own"),
        Command::Test { arguments } => suite::run(&arguments, &progress).await,
        Command::Fuzz(arguments) => fuzz::run(&arguments, &progress).await,
        Command::Record { manifests, output } => {
            let count =
                crate::record::record(&attached().await?, &manifests, &output, &progress).await?;
            progress.line(format!("{count} reviews in {}", output.display()));
            Ok(ExitCode::SUCCESS)
        }
        Command::RecordServer { address } => {
            crate::record::serve(address).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::ClbStandIn(arguments) => {
            clb::server::serve(arguments).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Supervise(_) => anyhow::bail!("`supervise` runs without a runtime around it"),
    }
}

async fn bench(part: Part, json: bool, progress: &Progress) -> Result<ExitCode> {
    let figures = match part {
        Part::Cli => bench::cli::run(bench::cli::Options::default(), progress).await?,
        Part::Clb => bench::clb::run(bench::clb::Options::default(), progress).await?,
        Part::Controller => {
            bench::controller::run(bench::controller::Options::default(), progress).await?
        }
        Part::Hold => bench::hold::run(bench::hold::Options::default(), progress).await?,
        Part::Upgrade => bench::upgrade::run(bench::upgrade::Options::default(), progress).await?,
        Part::Webhook => bench::webhook::run(bench::webhook::Options::default(), progress).await?,
    };
    if json {
        println!("{}", serde_json::to_string_pretty(&figures)?);
    } else {
        println!("{}", bench::table(&figures));
    }
    let pass = figures.iter().all(|figure| figure.pass);
    Ok(if pass { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The cluster that is up, or an error that says how to get one.
async fn attached() -> Result<Cluster> {
    Cluster::attach().await?.context("no cluster is up: `cargo lab up` starts one")
}

/// Runs `command` on this terminal and takes over its exit code.
async fn status_of(mut command: tokio::process::Command) -> Result<ExitCode> {
    Ok(exit_code(command.status().await.context("the program cannot be started")?))
}

async fn status() -> Result<ExitCode> {
    let run = RunDirectory::shared()?;
    let Some(status) = run.status()? else {
        println!("no cluster is up in {}", run.path().display());
        return Ok(ExitCode::FAILURE);
    };
    println!("{:?}: {}", status.phase, status.message);
    for line in &status.ended {
        println!("{line}; see {}", run.logs().display());
    }
    let Some(cluster) = Cluster::attach().await? else {
        println!("it is not whole: `cargo lab up` starts it anew");
        return Ok(ExitCode::FAILURE);
    };
    println!(
        "kubeconfig: {}\nlogs: {}",
        cluster.kubeconfig().display(),
        cluster.logs_dir().display()
    );
    status_of(cluster.kubectl(["get", "nodes", "--output", "wide"])).await
}
